//! Planted bugs of load once, and of channels without a bound.

use super::bug::{Bug, CHAINS, DRAIN, KILL, RACE, WEAK_GRANTED, WEAK_RINGS};

/// All of them.
pub const BUGS: &[Bug] = &[
    Bug {
        what: "a name goes whoever makes something for it",
        breaks: "N5",
        file: "core/name.rs",
        edits: &[("Some(State::Leased(_)) => return false,", "Some(State::Leased(_)) => return true,")],
        test: KILL,
    },
    Bug {
        what: "a name of nothing stays when its maker ends",
        breaks: "N6",
        file: "core/maker.rs",
        edits: &[(
            "self.give_back(making.lease); self.leave_name(self.bucket_of(&self.text(making.name)), making.name);",
            "self.give_back(making.lease);",
        )],
        test: KILL,
    },
    Bug {
        what: "recovery lets a name of nothing stay whose maker died, quick recovery",
        breaks: "N6",
        file: "core/recover.rs",
        edits: &[("self.leave_name(self.bucket_of(&self.text(id)), id);", "")],
        test: KILL,
    },
    Bug {
        what: "who becomes the maker does not say that it is under way, quick recovery",
        breaks: "N6",
        file: "core/maker.rs",
        edits: &[("self.putting(|| self.become_maker(name, until))", "self.become_maker(name, until)")],
        test: KILL,
    },
    Bug {
        what: "a maker does not look at the place again",
        breaks: "N7",
        file: "core/maker.rs",
        edits: &[(
            "Ok(Awaited::Maker(lease)) if self.place(off).object().is_none() => {",
            "Ok(Awaited::Maker(lease)) if true => {",
        )],
        test: RACE,
    },
    Bug {
        what: "versions begin anew where a name stays for its maker",
        breaks: "N4",
        file: "core/name.rs",
        edits: &[("self.raise(self.geo.meta(found, meta::VERSION), version.saturating_add(1));", "")],
        test: ("it", "load_once::removed_and_published_while_it_is_made"),
    },
    Bug {
        what: "who empties a place does not look at the maker, under weak memory",
        breaks: "N6",
        file: "core/name.rs",
        edits: &[(
            "self.leave_name(self.bucket_of(name), found); removed",
            "let _ = self.drop_name(self.bucket_of(name), found); removed",
        )],
        test: WEAK_GRANTED,
    },
    Bug {
        what: "a maker is taken from the living",
        breaks: "K1",
        file: "core/lease.rs",
        edits: &[
            (
                "if matches!(word.state(), Some(State::Leased(_) | State::Loose)) { continue; } let ticket",
                "if matches!(word.state(), Some(State::Loose)) { continue; } let word = if matches!(word.state(), Some(State::Leased(_))) && leases.count == 1 { Life::FREE } else { word }; let ticket",
            ),
            (
                "if self.env.cas(off, word.0, leased.0, SeqCst).is_ok() {",
                "if self.env.cas(off, self.env.load(off, SeqCst), leased.0, SeqCst).is_ok() {",
            ),
        ],
        test: KILL,
    },
    Bug {
        what: "cells are changed without a pin of their segment",
        breaks: "C1",
        file: "core/chain.rs",
        edits: &[
            ("self.raise_pin(segment)?;", ""),
            ("if let Some((segment, _)) = reached.segment { self.unpin(segment); }", "let _ = reached;"),
            ("self.unpin(segment); self.env.spin();", "self.env.spin();"),
        ],
        test: CHAINS,
    },
    Bug {
        what: "a segment's entry is not looked at again after the pin, rings under weak memory",
        breaks: "C1",
        file: "core/chain.rs",
        edits: &[("self.raise_pin(segment)?; if self.place(at) == entry {", "self.raise_pin(segment)?; if true {")],
        test: WEAK_RINGS,
    },
    Bug {
        what: "a segment goes with the first of its cells that was used",
        breaks: "C2",
        file: "core/cell.rs",
        edits: &[("(position % self.cells + 1).is_multiple_of(self.segment)", "position < u64::MAX")],
        test: KILL,
    },
    Bug {
        what: "a segment that is used up stays",
        breaks: "C2",
        file: "core/chain.rs",
        edits: &[("&& ring.is_last_of_segment(position)", "&& false && ring.is_last_of_segment(position)")],
        test: KILL,
    },
    Bug {
        what: "who drains a chain leaves its entry",
        breaks: "C3",
        file: "core/ring.rs",
        edits: &[(
            "let drained = self.env.cas(off, cell.0, dead.0, SeqCst).is_ok();",
            "let drained = !reached.is_there(ring) || self.env.cas(off, cell.0, dead.0, SeqCst).is_ok();",
        )],
        test: DRAIN,
    },
    Bug {
        what: "a segment goes without a word that this is under way, quick recovery",
        breaks: "r2",
        file: "core/chain.rs",
        edits: &[(
            "self.putting(|| { let used = Place::at(None, entry.turn() + 1);",
            "(|f: &mut dyn FnMut()| f())(&mut || { let used = Place::at(None, entry.turn() + 1);",
        )],
        test: KILL,
    },
    Bug {
        what: "the cells of each segment begin with the first lap",
        breaks: "C1",
        file: "core/chain.rs",
        edits: &[("Place::at(None, entry.turn()).0, Relaxed", "Place::at(None, 0).0, Relaxed")],
        test: KILL,
    },
    Bug {
        what: "teardown forgets what is in segments",
        breaks: "Q6",
        file: "core/cell.rs",
        edits: &[("self.empty_cell(dying, self.payload(segment) + cell * 8, todo);", "let _ = (segment, cell);")],
        test: KILL,
    },
];
