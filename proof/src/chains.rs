//! Channels without a bound: what participants do with one whose segments come and go.

use std::sync::atomic::Ordering;

use faretra::proof::{Kind, Outcome};

use crate::check::Expect;
use crate::items::{U, acknowledge, make, make_chain, say, take, with};
use crate::queue::{close, close_and_drain, forward, receive, refuse, remove, send};
use crate::sim::{Said, ok};
use crate::stage::{Act, May, Script, Stage, enter};
use crate::world::{Actor, PARENT, ROOM, draft, quiet, value, world};

/// A channel `U` without a bound, whose first segment is full and has one item left: the next to take gives it back, the
/// next to send makes another. And `D`, of one cell.
pub fn chain_stage() -> Stage {
    let sim = world();
    let a = quiet(&sim, PARENT);
    make_chain(&a);
    make(&a, "D", 1);
    (0..2).for_each(|_| send(&a, "U"));
    receive(&a, "U");
    Stage { expect: Expect::default(), image: sim.image() }
}

/// The channels of [`chain_stage`], with U empty where a segment ends: the next item needs a new one.
pub fn emptied_chain() -> Stage {
    let stage = chain_stage();
    let sim = enter(&stage);
    receive(&quiet(&sim, PARENT), "U");
    Stage { image: sim.image(), ..stage }
}

/// The channels of [`chain_stage`], and somebody dead who had leased an item of each of two segments, and nobody has noticed.
pub fn orphaned_chain() -> Stage {
    let stage = chain_stage();
    let sim = enter(&stage);
    let dead = quiet(&sim, 50);
    send(&dead, "U");
    with(&dead, "U", |ring| while take(&dead, ring).is_some() {});
    sim.state().kill(50);
    Stage { image: sim.image(), ..stage }
}

fn twice(f: impl Fn()) {
    f();
    f();
}

/// What is raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    fn act(name: &'static str, run: fn(&Actor)) -> Act {
        Act { name, run, may: &[] as May }
    }
    vec![
        act("send to U", |a| send(a, "U")),
        act("send to U twice", |a| twice(|| send(a, "U"))),
        act("receive from U", |a| receive(a, "U")),
        act("receive twice from U", |a| twice(|| receive(a, "U"))),
        // The new segment may have the memory of the old one.
        act("receive from U, then send three", |a| {
            receive(a, "U");
            (0..3).for_each(|_| send(a, "U"));
        }),
        act("send to U and receive, three times", |a| {
            for _ in 0..3 {
                send(a, "U");
                receive(a, "U");
            }
        }),
        act("refuse what comes from U", |a| refuse(a, "U")),
        act("forward from U to D", |a| forward(a, "U", "D")),
        act("forward from D to U", |a| forward(a, "D", "U")),
        act("send to D", |a| send(a, "D")),
        act("close U", |a| close(a, "U")),
        act("close U and drain it", |a| {
            if close_and_drain(a, "U") {
                say(a, Said::Drained, U);
            }
        }),
        act("remove U", |a| remove(a, "U")),
        act("sweep", |a| {
            ok(a.sweep());
        }),
        act("recover, receive twice, send twice", |a| {
            ok(a.recover());
            twice(|| receive(a, "U"));
            twice(|| send(a, "U"));
        }),
    ]
}

fn segments(a: &Actor) -> usize {
    let ids = a.geo.zones.iter().flat_map(|zone| (0..a.used(zone)).map(|slot| zone.id(slot)));
    let in_use = ids.filter(|id| a.life(*id, Ordering::Relaxed).0 != 0);
    in_use.filter(|id| a.kind(*id).is_ok_and(|kind| kind == Kind::Segment)).count()
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor)) -> Script {
        Script { name, before, victim, may: &[], room: ROOM }
    }
    fn both(a: &Actor) {
        make_chain(a);
        make(a, "D", 1);
    }
    vec![
        plain("make a channel without a bound", |_| {}, make_chain),
        plain("send more than a segment holds, receive all, twice round", both, |a| {
            for _ in 0..3 {
                (0..5).for_each(|_| send(a, "U"));
                assert_eq!(segments(a), 3);
                (0..6).for_each(|_| receive(a, "U"));
                assert!(segments(a) <= 1, "C2: segments stay that nobody needs");
            }
        }),
        plain("fill all segments that there may be", both, |a| {
            (0..7).for_each(|_| send(a, "U"));
            twice(|| receive(a, "U"));
            twice(|| send(a, "U"));
        }),
        plain("refuse and forward across segments", both, |a| {
            (0..3).for_each(|_| send(a, "U"));
            twice(|| refuse(a, "U"));
            with(a, "U", |ring| {
                let taken = take(a, ring).expect("it came back");
                assert_eq!((value(a, taken.id), taken.attempts), (1, 2), "Q5: the oldest first");
                acknowledge(a, ring, taken);
            });
            forward(a, "U", "D");
            forward(a, "U", "D");
            forward(a, "D", "U");
            twice(|| receive(a, "U"));
        }),
        plain("close and drain, at the end of a segment", both, |a| {
            twice(|| send(a, "U"));
            assert!(close_and_drain(a, "U"), "C3");
            with(a, "U", |ring| {
                let item = ok(draft(a, 99, 0));
                assert_eq!(ok(a.try_send(ring, item)), Outcome::Closed);
                a.drop_draft(item);
            });
        }),
        plain("close and drain, in a segment", both, |a| {
            (0..3).for_each(|_| send(a, "U"));
            assert!(close_and_drain(a, "U"), "Q4");
        }),
        plain("remove it with items, leases and returns", both, |a| {
            (0..4).for_each(|_| send(a, "U"));
            refuse(a, "U");
            receive(a, "U");
            remove(a, "U");
            assert_eq!(segments(a), 0, "Q6");
        }),
        plain(
            "leases of the dead in a chain",
            |a| {
                both(a);
                (0..3).for_each(|_| send(a, "U"));
                let dead = quiet(&a.env, 50);
                with(&dead, "U", |ring| {
                    let one = take(&dead, ring).expect("sent");
                    take(&dead, ring).expect("sent");
                    // One of them half forwarded.
                    dead.lease_to_draft(ring, one).expect("its own");
                });
                a.env.state().kill(50);
            },
            |a| {
                ok(a.recover());
                (0..3).for_each(|_| receive(a, "U"));
            },
        ),
    ]
}
