//! Planted bugs: each an edit of the crate that breaks a named invariant, and the test that must fail with it.
//!
//! A test that passes whatever is broken proves nothing; these show that the proof bites. `bin/planted.rs`
//! applies them one by one to a copy of the sources.

mod bug;
mod makers;
mod rings;
mod values;
mod waits;

pub use bug::Bug;
use bug::{CHAOS, CORE, DAMAGED_ENDS, ENDS, KILL, RACE, SHARES, WEAK, WEAK_GRANTED, WEAK_HOLDS};

/// All of them. Not among them: turns that begin anew with a name's record (N3). Nothing that these tests do goes
/// wrong then, because whoever uses a record has pinned it, and `names` looks at the bucket again; N3 is a second
/// line of defence, shown by the walks in `core/word.rs`. And a hole: a reclaim that looks for pins before DYING instead of
/// after it passes, because it goes wrong only when the same id lives a second life between the look and the swap.
pub fn bugs() -> impl Iterator<Item = &'static Bug> {
    BUGS.iter().chain(rings::BUGS).chain(makers::BUGS).chain(values::BUGS).chain(waits::BUGS)
}

const BUGS: &[Bug] = &[
    Bug {
        what: "settle does not look again after u3",
        breaks: "u4",
        file: "core/object.rs",
        edits: &[("&& !self.is_at(draft.id, at)", "&& false")],
        test: RACE,
    },
    Bug {
        what: "settle does not look again after u3, under weak memory",
        breaks: "u4",
        file: "core/object.rs",
        edits: &[("&& !self.is_at(draft.id, at)", "&& false")],
        test: WEAK,
    },
    Bug {
        what: "a pin by id does not look again",
        breaks: "O1",
        file: "core/object.rs",
        edits: &[("if kept(self.life(id, SeqCst)) { return Ok(true);", "if true { return Ok(true);")],
        test: RACE,
    },
    Bug {
        what: "pin does not look again",
        breaks: "O1",
        file: "core/object.rs",
        edits: &[(
            "if self.place(off) == place { return Ok(Some((id, place)));",
            "if true { return Ok(Some((id, place)));",
        )],
        test: CORE,
    },
    Bug {
        what: "no second look after DYING is put back (t9)",
        breaks: "O2",
        file: "core/object.rs",
        edits: &[("if self.is_held_or_pinned(id) { break; } }", "break; }")],
        test: WEAK,
    },
    Bug {
        what: "unpin does not look",
        breaks: "O2",
        file: "core/object.rs",
        edits: &[("if self.life(id, SeqCst) == Life::LOOSE { self.reclaim(id); } }", "}")],
        test: WEAK,
    },
    Bug {
        what: "an entry is written after its part's word",
        breaks: "O3",
        file: "core/object.rs",
        edits: &[(
            "self.list_part(parent, index, PartEntry::own(part.id))?; self.turn_life(part.id, part.life(), Life::part(parent.id));",
            "self.turn_life(part.id, part.life(), Life::part(parent.id)); self.list_part(parent, index, PartEntry::own(part.id))?;",
        )],
        test: KILL,
    },
    Bug {
        what: "an object is FREE before its entries are dropped",
        breaks: "O4",
        file: "core/object.rs",
        edits: &[
            (
                "for index in 0..self.part_count(id) { let entry = self.part_entry(id, index); let Ok(part)",
                "self.free(id, dying); for index in 0..self.part_count(id) { let entry = self.part_entry(id, index); let Ok(part)",
            ),
            ("self.set_meta(id, meta::FROM, 0); } self.free(id, dying);", "self.set_meta(id, meta::FROM, 0); }"),
        ],
        test: KILL,
    },
    Bug {
        what: "the target is not written before the put",
        breaks: "u1",
        file: "core/object.rs",
        edits: &[("self.set_meta(draft.id, meta::TARGET, u64::from(container.0) + 1);", "")],
        test: KILL,
    },
    Bug {
        what: "recovery makes every draft of the dead LOOSE",
        breaks: "V1",
        file: "core/recover.rs",
        edits: &[("if home { next", "if home && false { next")],
        test: KILL,
    },
    Bug {
        what: "a dead owner is compared by seat only",
        breaks: "L3",
        file: "core/recover.rs",
        edits: &[("dead.contains(&t.owner())", "dead.iter().any(|d| d.seat == t.owner().seat)")],
        test: ("race", "a_successor_is_let_be"),
    },
    Bug {
        what: "participants are buried without proof",
        breaks: "R1",
        file: "core/seat.rs",
        edits: &[("&& self.is_gone(owner)", "")],
        test: RACE,
    },
    Bug {
        what: "a predecessor's pins are not cleared",
        breaks: "R3",
        file: "core/seat.rs",
        edits: &[("self.env.store(off, 0, Relaxed); }", "}")],
        test: KILL,
    },
    Bug {
        what: "a page of a row is not shown before it is pinned in",
        breaks: "O1",
        file: "core/seat.rs",
        edits: &[("while word & bit == 0 {", "while word & bit == 0 && false {")],
        test: RACE,
    },
    Bug {
        what: "the permit of the dead is FREE, not BACK",
        breaks: "L1",
        file: "core/word.rs",
        edits: &[("Some(Life::back(t)),", "Some(Life::FREE),")],
        test: KILL,
    },
    Bug {
        what: "the floor is not raised by a removal",
        breaks: "N4",
        file: "core/name.rs",
        edits: &[("self.raise(header::FLOOR, version);", "let _ = version;")],
        test: KILL,
    },
    Bug {
        what: "what a name stands for is pinned without a look at the list afterwards",
        breaks: "N1",
        file: "core/name.rs",
        edits: &[("if self.place(off) == place { return taken.map(Some); }", "return taken.map(Some);")],
        test: RACE,
    },
    Bug {
        what: "a lease that is acknowledged is freed without a look at who keeps it",
        breaks: "O1",
        file: "core/ring.rs",
        edits: &[("taken.ticket, true)", "taken.ticket, false)")],
        test: KILL,
    },
    Bug {
        what: "a name leaves its list before it is dead",
        breaks: "N1",
        file: "core/name.rs",
        edits: &[
            (
                "let removed = self.remove_at(found, Removes::Anything);",
                "let _ = self.drop_name(self.bucket_of(name), found); let removed = self.remove_at(found, Removes::Anything);",
            ),
            ("if !self.place(self.geo.meta(name, meta::PLACE)).is_dead() { return Ok(()); }", ""),
        ],
        test: KILL,
    },
    Bug {
        what: "two may insert one name",
        breaks: "N1",
        file: "core/name.rs",
        edits: &[(
            "if self.is_named(self.name_object(listed.id())?, name) {",
            "if false && self.is_named(self.name_object(listed.id())?, name) {",
        )],
        test: RACE,
    },
    Bug {
        what: "a slot says committed before the kernel did it",
        breaks: "Z2",
        file: "core/zone.rs",
        edits: &[(
            "self.set_meta(id, meta::COMMITTED, have | DIRTY); if self.env.commit(from",
            "self.set_meta(id, meta::COMMITTED, want); if self.env.commit(from",
        )],
        test: KILL,
    },
    Bug {
        what: "a slot is not dirty while pages are put in memory",
        breaks: "Z3",
        file: "core/zone.rs",
        edits: &[(
            "self.set_meta(id, meta::COMMITTED, have | DIRTY); if self.env.commit(from",
            "if self.env.commit(from",
        )],
        test: KILL,
    },
    Bug {
        what: "a dirty slot is punched by its remembered length",
        breaks: "Z3",
        file: "core/zone.rs",
        edits: &[(
            "self.set_meta(id, meta::COMMITTED, DIRTY); if self.env.punch(zone.offset(slot), zone.size()) {",
            "let len = (self.meta(id, meta::COMMITTED) & !DIRTY).max(PAGE); self.set_meta(id, meta::COMMITTED, DIRTY); if self.env.punch(zone.offset(slot), len) {",
        )],
        test: KILL,
    },
    Bug {
        what: "pages of lists and names are given back",
        breaks: "Z5",
        file: "core/zone.rs",
        edits: &[("if zone.set == Set::Shared { continue; } let used", "let used")],
        test: RACE,
    },
    Bug {
        what: "a page is punched by one who owns some of its slots",
        breaks: "Z4",
        file: "core/zone.rs",
        edits: &[(
            "let owns_all = claimed.len() as u64 == to - from && (to - from == whole || to == zone.slots);",
            "let owns_all = !claimed.is_empty() && (to - from == whole || to == zone.slots);",
        )],
        test: RACE,
    },
    Bug {
        what: "a slot is claimed by a store",
        breaks: "L1",
        file: "core/zone.rs",
        edits: &[(
            "self.turn_life(id, Life::FREE, draft.life()).then_some(draft)",
            "self.env.store(self.geo.life(id), draft.life().0, SeqCst); Some(draft)",
        )],
        test: RACE,
    },
    Bug {
        what: "`used` rises before its pages are in memory",
        breaks: "Z1",
        file: "core/zone.rs",
        edits: &[
            (
                "for (off, len) in self.geo.control_of(zone, used, n) {",
                "let raised = self.env.cas(zone.head, told, used + n, SeqCst).is_ok(); for (off, len) in self.geo.control_of(zone, used, n) {",
            ),
            (
                "if told >= used && self.env.cas(zone.head, told, used + n, SeqCst).is_ok() { for slot",
                "if raised { for slot",
            ),
        ],
        test: KILL,
    },
    Bug {
        what: "the bell is rung before the permit is back",
        breaks: "B2",
        file: "core/lease.rs",
        edits: &[
            ("let ended = self", "self.ring_bell(lease.bell); let ended = self"),
            ("ended.is_ok() && self.ring_bell(lease.bell)", "ended.is_ok()"),
        ],
        test: ("race", "no_wake_up_is_lost"),
    },
    Bug {
        what: "a sleeper does not look again after it set the flag",
        breaks: "B2",
        file: "core/wait.rs",
        edits: &[("if let Some(done) = attempt()? { return Ok(done); } let slice", "let slice")],
        test: ("race", "no_wake_up_is_lost"),
    },
    Bug {
        what: "a hold moves without a turn",
        breaks: "H4",
        file: "core/hold.rs",
        edits: &[("self.env.fetch_add(self.geo.meta(part, meta::HOLD_TURN), 1, SeqCst);", "")],
        test: SHARES,
    },
    Bug {
        what: "the hold turn rises before the hold is taken",
        breaks: "H4",
        file: "core/hold.rs",
        edits: &[
            ("self.env.fetch_add(self.geo.meta(part, meta::HOLD_TURN), 1, SeqCst);", ""),
            (
                "self.take_hold(parent.id, part)?;",
                "self.env.fetch_add(self.geo.meta(part, meta::HOLD_TURN), 1, SeqCst); self.take_hold(parent.id, part)?;",
            ),
        ],
        test: SHARES,
    },
    Bug {
        what: "reclaim does not look for holds",
        breaks: "O1",
        file: "core/object.rs",
        edits: &[("self.is_pinned(id) || self.is_held(id)", "self.is_pinned(id)")],
        test: KILL,
    },
    Bug {
        what: "reclaim does not look into knots",
        breaks: "H3",
        file: "core/part.rs",
        edits: &[("if self.slot(part).0.set == Set::Shared { return false; }", "if true { return false; }")],
        test: KILL,
    },
    Bug {
        what: "a hold is taken before its entry is written",
        breaks: "H2",
        file: "core/hold.rs",
        edits: &[(
            "self.list_part(parent, index, PartEntry::held(part))?; self.take_hold(parent.id, part)?;",
            "self.take_hold(parent.id, part)?; self.list_part(parent, index, PartEntry::held(part))?;",
        )],
        test: KILL,
    },
    Bug {
        what: "holds of what is freed stay",
        breaks: "O4",
        file: "core/object.rs",
        edits: &[("self.erase_holds(part, id);", "")],
        test: KILL,
    },
    Bug {
        what: "nobody looks at a shared part after its hold is erased",
        breaks: "O2",
        file: "core/object.rs",
        edits: &[("todo.push(part);", "if !entry.is_held() { todo.push(part); }")],
        test: KILL,
    },
    Bug {
        what: "knots stay when their part is freed",
        breaks: "H3",
        file: "core/object.rs",
        edits: &[("self.drop_knots(id, todo);", "")],
        test: KILL,
    },
    Bug {
        what: "a lease is taken by a store",
        breaks: "K1",
        file: "core/lease.rs",
        edits: &[(
            "if self.env.cas(off, word.0, leased.0, SeqCst).is_ok() { return Ok(Some(Lease",
            "self.env.store(off, leased.0, SeqCst); if true { return Ok(Some(Lease",
        )],
        test: RACE,
    },
    Bug {
        what: "locks of the dead stay theirs",
        breaks: "V5",
        file: "core/recover.rs",
        edits: &[("let mut locks = take_back_locks();", "let mut locks = Ok(0);")],
        test: KILL,
    },
    Bug {
        what: "a lock that is not marked consistent is free",
        breaks: "K2",
        file: "core/lease.rs",
        edits: &[("self.end_lease(lease, Life::back(lease.ticket))", "self.end_lease(lease, Life::FREE)")],
        test: KILL,
    },
    Bug {
        what: "a value is written in the slot that is current",
        breaks: "K3",
        file: "core/lock.rs",
        edits: &[
            ("(0..slots.count).filter(|slot| *slot != current)", "(0..slots.count).filter(|slot| *slot == current)"),
            ("if Current(self.env.load(slots.state, SeqCst)).slot() != slot {", "if true {"),
        ],
        test: KILL,
    },
    Bug {
        what: "a store does not look again whether its slot is current",
        breaks: "K3",
        file: "core/lock.rs",
        edits: &[("if Current(self.env.load(slots.state, SeqCst)).slot() != slot {", "if true {")],
        test: ("race", "deaths_in_races"),
    },
    Bug {
        what: "a reader of a value does not look again",
        breaks: "K3",
        file: "core/lock.rs",
        edits: &[("if self.env.load(slots.state, SeqCst) == current.0 {", "if true {")],
        test: RACE,
    },
    Bug {
        what: "a mutex writes its value in place",
        breaks: "K2",
        file: "core/lock.rs",
        edits: &[("let spare = (current.slot() + 1) % slots.count;", "let spare = current.slot();")],
        test: KILL,
    },
    Bug {
        what: "a writer of rows does not wait for readers",
        breaks: "K4",
        file: "core/lock.rs",
        edits: &[("Ok((busy == 0).then_some(()))", "Ok((busy < 8).then_some(()))")],
        test: RACE,
    },
    Bug {
        what: "a reader of rows does not look again for a writer",
        breaks: "K4",
        file: "core/lock.rs",
        edits: &[("if writing() { self.give_back(lease); return Ok(None); }", "")],
        test: CORE,
    },
    Bug {
        what: "a permit is added without a ring",
        breaks: "B2",
        file: "core/lease.rs",
        edits: &[("self.ring_bell(leases.bell); return true;", "return true;")],
        test: KILL,
    },
    Bug {
        what: "recovery does not count what is BACK",
        breaks: "Q5",
        file: "core/recover.rs",
        edits: &[("note(self.announce(id, word).map(|()| false));", "let _ = word;")],
        test: KILL,
    },
    Bug {
        what: "a sent item whose sender died is not sent",
        breaks: "Q1",
        file: "core/recover.rs",
        edits: &[("if self.settle_item_for_the_dead(id, word)?.is_some() { return Ok(()); }", "")],
        test: KILL,
    },
    Bug {
        what: "items stay when their channel goes",
        breaks: "Q6",
        file: "core/object.rs",
        edits: &[("self.drop_items(id, todo);", "")],
        test: KILL,
    },
    Bug {
        what: "a scan reads holds without acquire, under weak memory",
        breaks: "H4",
        file: "core/part.rs",
        edits: &[(
            "self.env.load(off, SeqCst) != 0)",
            "self.env.load(off, std::sync::atomic::Ordering::Relaxed) != 0)",
        )],
        test: WEAK_HOLDS,
    },
    Bug {
        what: "a scan of holds is not sequentially consistent, under weak memory",
        breaks: "O2",
        file: "core/part.rs",
        edits: &[(
            "self.env.load(off, SeqCst) != 0)",
            "self.env.load(off, std::sync::atomic::Ordering::Acquire) != 0)",
        )],
        test: WEAK_HOLDS,
    },
    Bug {
        what: "a reader of rows looks for a writer with acquire only, under weak memory",
        breaks: "K4",
        file: "core/lock.rs",
        edits: &[("Life(self.env.load(partition.word(0), SeqCst))", "Life(self.env.load(partition.word(0), Acquire))")],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "words of a value are loaded without acquire, under weak memory",
        breaks: "K3",
        file: "core/lock.rs",
        edits: &[(
            "*word = self.env.load(at + i as u64 * 8, Acquire);",
            "*word = self.env.load(at + i as u64 * 8, Relaxed);",
        )],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "words of a value are stored without release, under weak memory",
        breaks: "K3",
        file: "core/lock.rs",
        edits: &[(
            "self.env.store(at + i as u64 * 8, *word, Release);",
            "self.env.store(at + i as u64 * 8, *word, Relaxed);",
        )],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "a lease is given back without release, under weak memory",
        breaks: "K1",
        file: "core/lease.rs",
        edits: &[(
            "self.env.cas(lease.off, Life::leased(lease.ticket).0, next.0, SeqCst)",
            "self.env.cas(lease.off, Life::leased(lease.ticket).0, next.0, Relaxed)",
        )],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "a sleeper's second look at a lease is acquire only, under weak memory",
        breaks: "B2",
        file: "core/lease.rs",
        edits: &[(
            "let word = Life(self.env.load(off, SeqCst)); if matches!(word.state(), Some(State::Leased(_) | State::Loose)) {",
            "let word = Life(self.env.load(off, Acquire)); if matches!(word.state(), Some(State::Leased(_) | State::Loose)) {",
        )],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "who waits for memory is not told that the feed is closed",
        breaks: "F3",
        file: "port.rs",
        edits: &[("core.is_closed(self.ring) || core.has_ended(self.ring);", "core.is_closed(self.ring);")],
        test: ("it", "feed_kills::waiting_for_memory_ends_with_the_feed"),
    },
    Bug {
        what: "a guard that becomes its own gives its lease back at once, and again at its end",
        breaks: "K1",
        file: "held.rs",
        edits: &[("self.ended = true; Held {", "self.ended = false; Held {")],
        test: ("it", "midway::a_permit_that_becomes_its_own"),
    },
    Bug {
        what: "a stream acknowledges an item before its last batch was looked at",
        breaks: "Q1",
        file: "channel/receiver.rs",
        edits: &[(
            "*next += 1; return Ok(Some(batch.record_batch().clone()));",
            "*next += 1; let batch = batch.record_batch().clone(); self.item.take().map(|(lease, _, _)| lease.ack()); return Ok(Some(batch));",
        )],
        test: ("it", "midway::a_stream_that_is_dropped"),
    },
    Bug {
        what: "a put does not say that it is under way, quick recovery",
        breaks: "r2",
        file: "core/seat.rs",
        edits: &[
            ("self.env.fetch_add(off, 1, SeqCst); let done = f();", "let done = f();"),
            ("self.env.fetch_add(off, u64::MAX, SeqCst); done", "let _ = off; done"),
        ],
        test: KILL,
    },
    Bug {
        what: "who takes leases does not say so, quick recovery",
        breaks: "r1",
        file: "core/seat.rs",
        edits: &[("if !self.leases_shown.load(Acquire) {", "if false {")],
        test: KILL,
    },
    Bug {
        what: "what is loose is left to sweeps, quick recovery",
        breaks: "r2",
        file: "core/recover.rs",
        edits: &[(
            "State::Loose if look != Look::Dead => self.reclaim(id),",
            "State::Loose if look == Look::Everything => self.reclaim(id),",
        )],
        test: KILL,
    },
    Bug {
        what: "a draft has the target of the slot's last tenant when its kind is set",
        breaks: "r2",
        file: "core/zone.rs",
        edits: &[(
            "self.set_meta(draft.id, meta::TARGET, 0); self.set_kind(draft.id, kind);",
            "self.set_kind(draft.id, kind); self.set_meta(draft.id, meta::TARGET, 0);",
        )],
        test: KILL,
    },
    Bug {
        what: "the arena's closing is taken over from the living",
        breaks: "A1",
        file: "core/end.rs",
        edits: &[("if self.is_gone(owner) {", "if true {")],
        test: ENDS,
    },
    Bug {
        what: "a closer looks at the seats before it says that it closes",
        breaks: "A2",
        file: "core/end.rs",
        edits: &[
            (
                "if !self.turn_arena(ArenaLife::OPEN, ArenaLife::closing(self.me())) { return Ok(Closed::Busy); }",
                "if keep(self).unwrap_or(true) || !self.turn_arena(ArenaLife::OPEN, ArenaLife::closing(self.me())) { return Ok(Closed::Busy); }",
            ),
            ("// What cannot be read may be somebody. if keep(self).unwrap_or(true) {", "if false {"),
        ],
        test: ("ends", "the_last_leaves_while_another_joins"),
    },
    Bug {
        what: "who is LIVE does not look again whether the arena is over",
        breaks: "A2",
        file: "core/end.rs",
        edits: &[("match core.outlives_closing(true) {", "match Ok::<bool, crate::Error>(true) {")],
        test: ENDS,
    },
    Bug {
        what: "a closing of the dead stays",
        breaks: "A3",
        file: "core/end.rs",
        edits: &[("if self.is_gone(owner) {", "if false && self.is_gone(owner) {")],
        test: ("ends", "kill_at_every_step"),
    },
    Bug {
        what: "an arena whose closer died is over, whoever is in it",
        breaks: "A3",
        file: "core/end.rs",
        edits: &[(
            "if named { ArenaLife::OPEN } else { ArenaLife::GONE }",
            "{ let _ = self.env.unlink(); ArenaLife::GONE }",
        )],
        test: ("ends", "kill_at_every_step"),
    },
    Bug {
        what: "an arena without its name is open again when its closer died",
        breaks: "A3",
        file: "core/end.rs",
        edits: &[("if named { ArenaLife::OPEN } else { ArenaLife::GONE }", "ArenaLife::OPEN")],
        test: ("ends", "kill_at_every_step"),
    },
    Bug {
        what: "the second page alone says that an arena is ephemeral",
        breaks: "A6",
        file: "core/tables.rs",
        edits: &[("self.geo.params.stay != Stay::Ephemeral || ", "")],
        test: DAMAGED_ENDS,
    },
    Bug {
        what: "what does not say that it is kept is ephemeral",
        breaks: "A6",
        file: "core/tables.rs",
        edits: &[(
            "self.geo.params.stay != Stay::Ephemeral || self.stay_again() != Stay::Ephemeral.word()",
            "self.stay_again() == Stay::Kept.word()",
        )],
        test: ("it", "no_deletion::no_flipped_bit_deletes_an_arena"),
    },
    Bug {
        what: "the first page alone says that an arena is ephemeral",
        breaks: "A6",
        file: "core/tables.rs",
        edits: &[(" || self.stay_again() != Stay::Ephemeral.word()", "")],
        test: DAMAGED_ENDS,
    },
    Bug {
        what: "a damaged word is the end of an arena that has its name",
        breaks: "A7",
        file: "core/end.rs",
        edits: &[("if !self.env.has_name()? { return Ok(false); }", "if true { return Ok(false); }")],
        test: DAMAGED_ENDS,
    },
    Bug {
        what: "a damaged word is made good by one who does not close",
        breaks: "A7",
        file: "core/end.rs",
        edits: &[("self.take_over(word)?; continue;", "self.turn_arena(word, ArenaLife::OPEN); continue;")],
        test: DAMAGED_ENDS,
    },
    Bug {
        what: "a closer that could not take the name away goes on closing",
        breaks: "A7",
        file: "core/end.rs",
        edits: &[("let done = self.env.unlink();", "self.env.unlink()?; let done = Ok(());")],
        test: ("ends", "a_name_that_cannot_go_keeps_nobody_waiting"),
    },
    Bug {
        what: "an object's length is believed, whatever its slot has",
        breaks: "M1",
        file: "value/view.rs",
        edits: &[("if zone.set != Set::Payload || len > zone.size() {", "if zone.set != Set::Payload {")],
        test: CHAOS,
    },
    Bug {
        what: "the kernel walks over all pages of a zone at each extension",
        breaks: "Z1",
        file: "core/tables.rs",
        edits: &[("let seen = self.seen[zone.index].load(Relaxed).min(told);", "let seen = 0;")],
        test: ("histories", "growth_walks_over_each_page_a_few_times"),
    },
    Bug {
        what: "a column that was found is any object's of that name",
        breaks: "F1",
        file: "value/found.rs",
        edits: &[("let same = found.key == self.key && ", "let same = ")],
        test: ("it", "columns::a_column_that_was_found_is_that_of_this_object"),
    },
    Bug {
        what: "a column that was found is in any arena",
        breaks: "F1",
        file: "value/found.rs",
        edits: &[("found.attachment == self.attachment && ", "")],
        test: ("it", "columns::a_column_that_was_found_is_that_of_this_object"),
    },
    Bug {
        what: "a draft stays when its pages cannot be had",
        breaks: "Z2",
        file: "core/zone.rs",
        edits: &[("self.give_up(draft); return Err(e);", "return Err(e);")],
        test: ("it", "failing_calls::every_call_fails_once"),
    },
    Bug {
        what: "who leaves looks at the others first",
        breaks: "A5",
        file: "core/end.rs",
        edits: &[("self.return_stash(); self.show_leaving();", "self.return_stash();")],
        test: ("ends", "the_last_leaves_while_another_joins"),
    },
    Bug {
        what: "who leaves does not look again after another closer",
        breaks: "A5",
        file: "core/end.rs",
        edits: &[("Closed::Busy if self.outlives_closing(false)? => {}", "")],
        test: ("ends", "kill_at_every_step"),
    },
    Bug {
        what: "an owner is told by the low byte of its seat",
        breaks: "L3",
        file: "core/word.rs",
        edits: &[(
            "Owner { seat: (self.0 >> 49) as u16 % SEATS as u16,",
            "Owner { seat: u16::from((self.0 >> 49) as u8),",
        )],
        test: ("it", "limits::more_participants_than_fit_a_byte"),
    },
];
