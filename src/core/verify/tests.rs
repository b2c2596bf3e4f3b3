//! Shows that damaged words of the core are met in words and made good where they can be: no panic, no memory by a damaged
//! number, no harm to neighbours.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::core::cell::{End, RingForm};
use crate::core::geometry::{Geometry, Params, header, lock};
use crate::core::mem::Mem;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::sys::Process;
use crate::core::waiters::CONDITION;
use crate::core::word::{ArenaLife, Life};
use crate::core::zone::Draft;

/// The only participant of a segment without a name, in which something is published under `x`.
pub(super) fn participant() -> Core<Posix> {
    participant_of(Params::standard(1 << 23, 4, 2))
}

fn participant_of(params: Params) -> Core<Posix> {
    let dir = Path::new("/dev/shm");
    let geo = Geometry::new(params).expect("valid");
    let env = Posix::create(dir, dir.join("faretra.has-no-name"), 0o600, &geo).expect("a segment");
    env.store(header::LIMIT, 1 << 23, Relaxed);
    let attached = Core::attach(Tables::new(env, geo), 4, Process::current(), "test", |_| Ok(true));
    let core = attached.expect("a seat").expect("nobody is refused");
    let draft = core.alloc(Kind::Bytes, 300).expect("room");
    core.publish("x", draft, None).expect("room");
    core
}

/// O1: a draft of ours that we have pinned is kept when it is dropped, and goes with the pin; so does its part.
#[test]
fn a_dropped_draft_stays_while_we_pin_it() {
    let core = participant();
    core.env.map_for_writing().expect("mapped");
    let (draft, part) = (core.alloc(Kind::Batch, 300).expect("room"), core.alloc(Kind::Column, 300).expect("room"));
    core.adopt_part(draft, 0, part).expect("room");
    core.raise_pin(draft.id).expect("room");
    core.drop_draft(draft);
    let lives = || [draft.id, part.id].map(|id| core.life(id, Relaxed));
    assert_eq!(lives(), [Life::LOOSE, Life::part(draft.id)]);
    core.unpin(draft.id);
    assert_eq!(lives(), [Life::FREE, Life::FREE]);
    assert_eq!(core.look_for_violations(), []);
}

/// Z1: a mark that tells of more slots than have words in memory is reported, costs no memory, and is made good by the next
/// who needs a slot.
#[test]
fn a_damaged_mark_is_not_believed() {
    let core = participant();
    let before = core.env.in_memory();
    for zone in &core.geo.zones {
        let sound = core.told(zone);
        for damaged in [sound + 4096, zone.slots, u64::MAX].into_iter().filter(|told| *told > sound) {
            core.env.store(zone.head, damaged, Relaxed);
            core.sweep().expect("swept");
            core.recover().expect("recovered");
            let found = core.look_for_violations();
            assert!(found.iter().any(|v| v.rule == "word" && v.what.contains("mark")), "{damaged}: {found:?}");
            assert!(core.pin_named("x").expect("there").map(|id| core.unpin(id)).is_some());
            let now = core.env.in_memory();
            assert!(now < before + (1 << 20), "a mark of {damaged}: {now} bytes in memory, {before} before");
        }
        core.env.store(zone.head, sound, Relaxed);
    }
    let zone = core.geo.zone(Set::Payload, 300).expect("a zone");
    core.env.store(zone.head, zone.slots, Relaxed);
    let drafts: Vec<_> = (0..200).map(|_| core.alloc(Kind::Bytes, 300).expect("room")).collect();
    assert_eq!(core.told(zone), core.used(zone), "made good");
    drafts.into_iter().for_each(|draft| core.drop_draft(draft));
    assert_eq!(core.look_for_violations(), []);
}

/// Small shared objects have larger slots when theirs are all taken; a text that says it is longer than its slot ends there.
#[test]
fn a_full_zone_of_small_objects_is_not_the_end() {
    let params = Params { max_slots: 1 << 7, shared: 1 << 14, shared_top: 9, ..Params::standard(1 << 23, 4, 2) };
    let core = participant_of(params);
    let of = |draft: Draft| core.slot(draft.id).0.size();
    let mut sizes = vec![];
    let full = loop {
        match core.alloc(Kind::Name, 40) {
            Ok(draft) => sizes.push(of(draft)),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Limit { .. }), "{full}");
    assert!(sizes.is_sorted() && [64, 128, 256, 512].iter().all(|size| sizes.contains(size)), "{sizes:?}");
    let name = core.pin_named("x").expect("readable").expect("there");
    core.unpin(name);
    let listed = core.list_of(core.bucket_of("x")).expect("readable").1[0].id();
    core.env.store(core.payload(listed) + 8, 200, Relaxed);
    assert_eq!((core.slot(listed).0.size(), core.text(listed).len()), (64, 40));
    assert!(core.pin_named("x").expect("readable").is_none());
}

/// A count of pins that somebody else has set to 0 is 0 when the last of the pins is gone; the largest counts are told of.
#[test]
fn a_damaged_count_of_pins_ends_at_none() {
    let core = participant();
    let id = core.pin_named("x").expect("readable").expect("there");
    let count = core.geo.pin(core.me().seat.into(), id);
    core.env.store(count, 0, Relaxed);
    core.unpin(id);
    assert_eq!(core.env.load(count, Relaxed), 0);
    let draft = core.alloc(Kind::Bytes, 300).expect("room");
    core.publish("y", draft, None).expect("room");
    for name in ["x", "y"] {
        let id = core.pin_named(name).expect("readable").expect("there");
        core.env.store(core.geo.pin(core.me().seat.into(), id), u64::MAX - 1, Relaxed);
    }
    assert_eq!(core.kept()[&core.me()].pins, u64::MAX);
}

/// An end of a channel that was left more often than joined, by what its word says, was left.
#[test]
fn a_damaged_presence_ends_at_none() {
    let core = participant();
    let draft = core.draft_ring(RingForm::channel(4)).expect("room");
    core.publish("c", draft, None).expect("room");
    let ring = core.ring_of(draft.id).expect("a ring");
    core.join(ring, End::Send);
    let count = ring.presence(End::Send, core.me().seat.into());
    core.env.store(count, 0, Relaxed);
    core.leave_end(ring, End::Send);
    assert_eq!((core.env.load(count, Relaxed), core.present(ring, End::Send)), (0, vec![]));
}

/// Z2: a slot that says that it has more bytes in memory than it is large takes nothing from its neighbours, and breaks no sum.
#[test]
fn a_damaged_number_of_bytes_spares_the_neighbours() {
    let core = participant();
    core.env.map_for_writing().expect("mapped");
    for len in [300_u64, 3000, 70_000, 300_000] {
        let drafts: Vec<_> = (0..4).map(|_| core.alloc(Kind::Bytes, len).expect("room")).collect();
        for (draft, n) in drafts.iter().zip(1..) {
            core.env.store(core.payload(draft.id), n, Relaxed);
        }
        for damaged in [u64::MAX, u64::MAX - 1, 1 << 40, 1 << 63] {
            // Freed with room for the warm, and without; taken again, shorter; trimmed.
            for warm in [1 << 22, 0] {
                core.env.store(header::WARM_LIMIT, warm, Relaxed);
                let victim = core.alloc(Kind::Bytes, len).expect("room");
                core.set_meta(victim.id, meta::COMMITTED, damaged);
                core.drop_draft(victim);
                core.set_meta(victim.id, meta::COMMITTED, damaged);
                let again = core.alloc(Kind::Bytes, len / 2 + 1).expect("room");
                core.drop_draft(again);
                core.set_meta(victim.id, meta::COMMITTED, damaged);
                core.return_stash();
                core.trim(u64::MAX);
            }
        }
        for (draft, n) in drafts.iter().zip(1..) {
            assert_eq!(core.env.load(core.payload(draft.id), Relaxed), n, "a neighbour of {len} bytes");
        }
        drafts.into_iter().for_each(|draft| core.drop_draft(draft));
    }
}

/// A word that names a seat that there is not names nobody who lives.
#[test]
fn nobody_sits_beyond_the_last_seat() {
    let core = participant();
    for seat in [4, 5, 4094, 40_000, u16::MAX] {
        let nobody = Owner { seat, incarnation: 3 };
        assert_eq!(core.process(nobody), Process::default());
        assert!(core.is_gone(nobody));
        core.env.store(header::LIFE, ArenaLife::closing(nobody).0, Relaxed);
        assert!(core.impossible_end().is_empty() && core.sweep().is_ok());
    }
}

/// The number that a condition's next waiter gets may be any: it begins again behind the largest.
#[test]
fn a_damaged_number_of_waiters_begins_again() {
    let core = participant();
    let draft = core.draft_lock(CONDITION).expect("room");
    let waiters = core.waiters_of(draft.id, &CONDITION);
    // The word of the object's state, from which waiters are numbered.
    core.env.store(core.lock_word(draft.id, lock::STATE), u64::MAX, Relaxed);
    let one = core.enlist(waiters).expect("readable").expect("a place");
    let other = core.enlist(waiters).expect("readable").expect("a place");
    assert_ne!(one.index, other.index);
}
