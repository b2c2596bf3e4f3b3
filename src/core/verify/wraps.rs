//! Shows that counters begin again at their largest values without harm: turns of places, positions and laps of rings, tickets,
//! numbers of bells, versions. Nobody lives to see 2^35 changes of one name, so the tests start just before.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use super::tests::participant;
use super::*;
use crate::core::broadcast::{Found, Oldest};
use crate::core::cell::{End, Ring, RingForm};
use crate::core::geometry::{Set, header, meta, ring};
use crate::core::mem::Mem;
use crate::core::ring::Outcome;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::wait::Until;
use crate::core::word::{Place, TURNS};
use crate::core::zone::Draft;

/// How many steps before its end each counter starts.
const BEFORE: u64 = 5;

fn item(core: &Core<Posix>, number: u64) -> Draft {
    let draft = core.alloc(Kind::Bytes, 100).expect("room");
    core.set_meta(draft.id, meta::ROWS, number);
    draft
}

/// A ring as if so many items had been sent and taken before: its positions, and the turns of its cells.
fn ring_at(core: &Core<Posix>, name: &str, form: RingForm, position: u64) -> Ring {
    let draft = core.draft_ring(form).expect("room");
    core.publish(name, draft, None).expect("room");
    let found = core.ring_of(draft.id).expect("a ring");
    let per_lap = if found.is_feed() { 1 } else { 2 };
    for word in [ring::TAIL, ring::HEAD] {
        core.env.store(found.word(word), position, SeqCst);
    }
    for next in position..position + found.cells {
        let off = if found.is_chain() { found.entry(next) } else { found.cell(next) };
        // The first that comes to an entry says its lap.
        if !found.is_chain() || next == position || (next % found.cells).is_multiple_of(found.cells / 4) {
            core.env.store(off, Place::at(None, per_lap * (next / found.cells)).0, SeqCst);
        }
    }
    core.join(found, End::Send);
    core.join(found, End::Receive);
    found
}

/// Positions just before the items' words begin again (2^34), and before the cells' turns do.
fn positions(cells: u64, per_lap: u64) -> [u64; 3] {
    [TURNS / 2 - BEFORE, TURNS / per_lap * cells - BEFORE, TURNS / 2 / per_lap * cells - BEFORE]
}

/// Q1 to Q7: items come in order, once, refused ones first, across the end of positions, laps and turns.
#[test]
fn channels_go_on_where_their_counters_end() {
    let forms = [1, 2, 3, 4, 7].map(RingForm::channel).into_iter().chain([RingForm::chain(4, 3)]);
    for (n, form) in forms.enumerate() {
        for (i, position) in positions(form.cells, 2).into_iter().enumerate() {
            let core = participant();
            let ring = ring_at(&core, &format!("c{n}.{i}"), form, position);
            assert_eq!(core.look_for_violations(), [], "{form:?} at {position}");
            let (mut sent, mut got) = (0, 0);
            let mut refused = false;
            while got < 6 * BEFORE {
                // As many as fit, and one more that does not.
                loop {
                    let draft = item(&core, sent);
                    match core.try_send(ring, draft).expect("sound") {
                        Outcome::Done(()) => sent += 1,
                        other => {
                            assert_eq!(other, Outcome::NotNow);
                            core.drop_draft(draft);
                            break;
                        }
                    }
                    if form.segment != 0 && sent > got + 5 {
                        break;
                    }
                }
                assert!(sent > got, "{form:?} at {position}: {sent} sent, {got} received");
                core.recover().expect("recovered");
                assert_eq!(core.look_for_violations(), [], "{form:?} at {position}");
                let Outcome::Done(taken) = core.try_take(ring).expect("sound") else {
                    panic!("{form:?} at {position}: nothing of {sent}, {got} received")
                };
                assert_eq!((core.meta(taken.id, meta::ROWS), taken.attempts), (got, u64::from(refused)));
                if got % 3 == 1 && !refused {
                    core.refuse(ring, taken);
                    refused = true;
                } else {
                    core.acknowledge(ring, taken);
                    (got, refused) = (got + 1, false);
                }
            }
            assert!(core.sent(ring) > position && core.depth(ring) == sent - got);
            assert!(core.remove(&format!("c{n}.{i}")).expect("sound"));
            assert_eq!(core.look_for_violations(), []);
        }
    }
}

/// F1 to F3: a subscriber gets every item in order, and is told of what it missed, across the end of positions and laps.
#[test]
fn feeds_go_on_where_their_counters_end() {
    for capacity in [1, 2, 3, 6] {
        let form = RingForm::feed(capacity, 4);
        for position in positions(form.cells, 1) {
            let core = participant();
            let feed = ring_at(&core, "f", form, position);
            let (lease, mut next) = core.try_subscribe(feed, |_, newest| newest).expect("sound").expect("a seat");
            assert_eq!(next, position);
            for number in 0..6 * BEFORE {
                let draft = item(&core, number);
                let sent = core.try_append(feed, draft, Oldest::MayGo).expect("sound");
                assert_eq!(sent, Outcome::Done(()), "{form:?} at {position}: item {number}");
                assert_eq!(core.look_for_violations(), [], "{form:?} at {position}");
                // It reads now and then, and misses some.
                if number % 5 > 2 {
                    continue;
                }
                loop {
                    match core.pin_position(feed, next).expect("sound") {
                        Found::Item(id) => {
                            assert_eq!(core.meta(id, meta::ROWS), next - position, "{form:?} at {position}");
                            core.unpin(id);
                            next += 1;
                            core.show_position(feed, lease, next);
                        }
                        Found::Gone(oldest) => {
                            assert!(oldest > next && oldest <= position + number, "{oldest} after {next}");
                            next = oldest;
                        }
                        Found::Nothing => break,
                        Found::End => panic!("nobody ended it"),
                    }
                }
                assert_eq!(next, position + number + 1, "{form:?} at {position}");
            }
        }
    }
}

/// O1 to O4, P1: a name goes on where its turns end, and so do a directory's list and a new name in the place of an old one.
#[test]
fn places_go_on_where_their_turns_end() {
    let core = participant();
    // Every place that is empty: buckets, and the places of objects that were freed.
    for i in 0..20 {
        core.publish(&format!("n{i}"), item(&core, i), None).expect("room");
    }
    for i in 0..20 {
        assert!(core.remove(&format!("n{i}")).expect("sound"));
    }
    let near = |off: u64, change: u64| {
        let place = core.place(off);
        if place.object().is_none() {
            let dead = place.0 & 1 << 63;
            core.env.store(off, dead | Place::at(None, TURNS - BEFORE + change).0, SeqCst);
        }
    };
    for bucket in 0..core.geo.params.buckets {
        near(core.geo.bucket(bucket as u32), bucket % BEFORE);
    }
    for zone in core.geo.zones.iter().filter(|zone| zone.set == Set::Shared) {
        for id in (0..core.used(zone)).map(|slot| zone.id(slot)) {
            if core.life(id, SeqCst) == Life::FREE {
                near(core.geo.meta(id, meta::PLACE), u64::from(id.0) % BEFORE);
            }
        }
    }
    for round in 0..4 * BEFORE {
        for i in 0..20 {
            let (name, number) = (format!("n{i}"), round * 100 + i);
            let before = core.pin_named(&name).expect("sound");
            core.publish(&name, item(&core, number), None).expect("room");
            let now = core.pin_named(&name).expect("sound").expect("published");
            assert_eq!(core.meta(now, meta::ROWS), number);
            core.unpin(now);
            if let Some(before) = before {
                assert_eq!(core.meta(before, meta::ROWS), number - 100, "pinned, so as it was");
                core.unpin(before);
            }
            if round % 4 == i % 4 {
                assert!(core.remove(&name).expect("sound"));
                assert_eq!(core.pin_named(&name).expect("sound"), None);
            }
        }
        core.recover().expect("recovered");
        assert_eq!(core.look_for_violations(), []);
    }
}

/// L2, B1: tickets and the numbers of bells begin again; nothing is confused, and a sleeper is woken.
#[test]
fn tickets_and_bells_go_on_where_they_end() {
    let core = participant();
    core.start_tickets_at(u64::from(u32::MAX) - BEFORE);
    let ring = ring_at(&core, "c", RingForm::channel(3), 0);
    for number in 0..20 {
        assert_eq!(core.try_send(ring, item(&core, number)).expect("sound"), Outcome::Done(()));
        let Outcome::Done(taken) = core.try_take(ring).expect("sound") else { panic!("nothing there") };
        core.acknowledge(ring, taken);
        assert_eq!(core.look_for_violations(), []);
    }
    for bell in [header::NAME_BELL, ring.bell(End::Receive)] {
        // The number is the low half, its lowest bit the flag of sleepers.
        let number = u64::from(u32::MAX) & !(2 * BEFORE - 1) & !1;
        core.env.store(bell, number, SeqCst);
        for round in 0..2 * BEFORE {
            let (looks, rung) = (AtomicU64::new(0), AtomicBool::new(false));
            std::thread::scope(|scope| {
                let sleeper = scope.spawn(|| {
                    let until = Until::Within(Duration::from_secs(20)).started();
                    core.wait(
                        bell,
                        until,
                        || {},
                        || {
                            looks.fetch_add(1, SeqCst);
                            Ok(rung.load(SeqCst).then_some(()))
                        },
                    )
                });
                while looks.load(SeqCst) == 0 {
                    std::thread::yield_now();
                }
                rung.store(true, SeqCst);
                core.ring_bell(bell);
                sleeper.join().expect("no panic").unwrap_or_else(|e| panic!("round {round}: {e}"));
            });
        }
    }
}

/// N4: versions at the end of their numbers are an error in words or go on; nothing breaks.
#[test]
fn versions_end_in_words() {
    let core = participant();
    for floor in [u64::MAX - 2, u64::MAX - 1, u64::MAX, 1 << 63] {
        core.env.store(header::FLOOR, floor, Relaxed);
        for name in ["fresh", "x"] {
            for _ in 0..4 {
                let draft = item(&core, 1);
                match core.publish(name, draft, None) {
                    Ok(_) => {}
                    Err(error) => {
                        assert!(matches!(error, Error::Damaged(_) | Error::Limit { .. }), "{error}");
                        core.drop_draft(draft);
                    }
                }
            }
            core.remove(name).expect("sound");
        }
    }
}
