//! Waiters of a condition, and permits that are posted: what participants do with them, and sums that must come out.
//!
//! `k` is a condition of five places. The parent has waiters there that never leave, whose numbers are the highest: the
//! *reserve*. While one of it waits, nothing that was told is lost. `p` is a semaphore whose own permit is used up.

use std::sync::atomic::Ordering;

use faretra::proof::{Enlisted, Form, Id, Kind, Load, Mem, Waiters, lock, meta};

use crate::check::Expect;
use crate::sim::ok;
use crate::stage::{Act, May, Script, Stage, enter};
use crate::told::{CONDITION, MOST, RESERVE, SEMAPHORE, at_k, give_back, is_told, leave, notify, post, sleep, take};
use crate::world::{Actor, PARENT, ROOM, quiet, tag, with, world};

fn publish(a: &Actor, name: &str, form: Form) {
    let draft = ok(a.draft_lock(form));
    if form.kind == Kind::Semaphore {
        a.fill_permits(ok(a.leases_of(draft.id)).expect("permits"), 0);
    }
    a.set_meta(draft.id, meta::ROWS, tag(name));
    ok(a.publish(name, draft, Some(0)).inspect_err(|_| a.drop_draft(draft)));
}

/// Makes `k` and `p`, which has two permits, and enlists so many of the reserve.
fn make(a: &Actor, reserve: u64) {
    publish(a, "k", CONDITION);
    publish(a, "p", SEMAPHORE);
    post(a, 2);
    let id = ok(a.pin_named("k")).expect("published");
    reserve_more(a, id, reserve);
}

fn reserve_more(a: &Actor, id: Id, more: u64) {
    let next = a.lock_word(id, lock::STATE);
    let before = a.env.load(next, Ordering::Relaxed);
    for number in 0..more {
        a.env.store(next, RESERVE + before + number, Ordering::Relaxed);
        ok(a.enlist(a.waiters_of(id, &CONDITION))).expect("room");
    }
    a.env.store(next, before + more, Ordering::Relaxed);
}

/// `k` with a reserve of two, and `p` with two posted permits.
pub fn waiting_stage() -> Stage {
    let sim = world();
    make(&quiet(&sim, PARENT), 2);
    Stage { expect: Expect::default(), image: sim.image() }
}

/// `k` with one place left.
pub fn narrow_stage() -> Stage {
    let sim = world();
    make(&quiet(&sim, PARENT), 4);
    Stage { expect: Expect::default(), image: sim.image() }
}

/// What is raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    fn act(name: &'static str, run: fn(&Actor)) -> Act {
        Act { name, run, may: &[] as May }
    }
    /// Enlists, if there is room, does something, and leaves.
    fn waiting(a: &Actor, f: impl FnOnce(Waiters, Enlisted)) {
        at_k(a, |waiters| {
            if let Some(who) = ok(a.enlist(waiters)) {
                f(waiters, who);
            }
        });
    }
    vec![
        act("wait at k in vain", |a| {
            waiting(a, |waiters, who| {
                leave(a, waiters, who);
            });
        }),
        act("notify one at k", |a| {
            at_k(a, |waiters| notify(a, waiters, 1));
        }),
        act("notify all at k", |a| {
            at_k(a, |waiters| notify(a, waiters, u64::MAX));
        }),
        act("wait at k, be told, leave", |a| {
            waiting(a, |waiters, who| {
                notify(a, waiters, 1);
                leave(a, waiters, who);
            });
        }),
        act("wait at k, be told, abandon it", |a| {
            waiting(a, |waiters, who| {
                notify(a, waiters, 1);
                a.abandon_wait(waiters, who);
            });
        }),
        act("wait twice at k, be told once", |a| {
            waiting(a, |waiters, first| {
                let second = ok(a.enlist(waiters));
                notify(a, waiters, 1);
                a.abandon_wait(waiters, first);
                if let Some(second) = second {
                    leave(a, waiters, second);
                }
            });
        }),
        act("wait at k, look for the dead, leave", |a| {
            waiting(a, |waiters, who| {
                a.hand_on_for_the_dead(waiters, 1);
                leave(a, waiters, who);
            });
        }),
        act("look for the dead at k", |a| {
            at_k(a, |waiters| a.hand_on_for_the_dead(waiters, 1));
        }),
        act("ask who died at k", |a| {
            at_k(a, |waiters| a.lost_waiters(waiters));
        }),
        act("post two to p", |a| post(a, 2)),
        act("take a posted permit, give it back", |a| {
            with(a, "p", |id, leases| {
                if let Some(lease) = take(a, id, leases) {
                    give_back(a, lease);
                }
            });
        }),
        act("take a posted permit for good", |a| {
            with(a, "p", |id, leases| take(a, id, leases));
        }),
        act("sweep", |a| {
            ok(a.sweep());
        }),
        act("remove k", |a| {
            ok(a.remove("k"));
        }),
    ]
}

/// Somebody died in an act, at each of its steps, and nobody has noticed: with room for others, and with none but there.
pub fn orphaned_stages(act: &Act) -> Vec<Stage> {
    let stages = [waiting_stage(), narrow_stage()].into_iter();
    let dead = stages.flat_map(|stage| crate::sweep::deaths(&enter(&stage), 50, act.run));
    dead.map(|image| Stage { image, expect: Expect::default() }).collect()
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor)) -> Script {
        Script { name, before, victim, may: &[], room: ROOM }
    }
    /// Dies with a place that was told to go on, one that waits, and a posted permit.
    fn die(a: &Actor) {
        make(a, 1);
        let dead = quiet(&a.env, 50);
        at_k(&dead, |waiters| {
            let both = [0; 2].map(|_| ok(dead.enlist(waiters)).expect("room"));
            notify(a, waiters, 1);
            assert!(is_told(&dead, waiters, both[0]) && !is_told(&dead, waiters, both[1]), "the first one");
        });
        with(&dead, "p", |id, leases| take(&dead, id, leases));
        a.env.state().kill(50);
    }
    vec![
        plain("make a condition", |_| {}, |a| publish(a, "k", CONDITION)),
        plain(
            "wait in vain, and in turn",
            |a| make(a, 1),
            |a| {
                at_k(a, |waiters| {
                    let [first, second, third] = [0; 3].map(|_| ok(a.enlist(waiters)).expect("room"));
                    assert!(!sleep(a, waiters, first));
                    notify(a, waiters, 2);
                    assert!(sleep(a, waiters, first) && sleep(a, waiters, second) && !sleep(a, waiters, third));
                    assert!(leave(a, waiters, second) && !leave(a, waiters, third));
                    // The reserve is next.
                    a.abandon_wait(waiters, first);
                    assert_eq!(a.count_waiting(waiters), 0);
                    // The place of the first is the third's, who came after the second.
                    let [first, second] = [0; 2].map(|_| ok(a.enlist(waiters)).expect("room"));
                    assert!(!leave(a, waiters, first));
                    let third = ok(a.enlist(waiters)).expect("room");
                    assert_eq!(third.index, first.index);
                    notify(a, waiters, 1);
                    assert!(is_told(a, waiters, second) && !is_told(a, waiters, third), "W1: out of turn");
                    assert!(leave(a, waiters, second) && !leave(a, waiters, third));
                });
            },
        ),
        plain(
            "notify all, and ring each",
            |a| make(a, 2),
            |a| {
                at_k(a, |waiters| {
                    let who = ok(a.enlist(waiters)).expect("room");
                    with(a, "k", |id, _| {
                        let bells = a.slots_of(id, &CONDITION).first();
                        (0..3).for_each(|i| a.env.store(bells + i * 16, 1, Ordering::Relaxed));
                    });
                    let wakes = a.env.state().wakes;
                    notify(a, waiters, u64::MAX);
                    assert_eq!(a.env.state().wakes, wakes + 3, "B2: somebody was not woken");
                    assert!(leave(a, waiters, who));
                });
            },
        ),
        plain("what a dead waiter was told", die, |a| {
            at_k(a, |waiters| {
                let [first, second] = [0; 2].map(|_| ok(a.enlist(waiters)).expect("room"));
                notify(a, waiters, 1);
                assert!(is_told(a, waiters, first), "W2: a dead one was told");
                assert!(
                    !is_told(a, waiters, second) && (sleep(a, waiters, first) || is_told(a, waiters, second)),
                    "W2"
                );
                assert_eq!(a.lost_waiters(waiters), 2);
                assert_eq!(a.lost_waiters(waiters), 0, "once");
                assert!(leave(a, waiters, first) && leave(a, waiters, second), "W2");
            });
        }),
        plain(
            "enlist where the dead was told",
            |a| {
                die(a);
                let id = ok(a.pin_named("k")).expect("there");
                reserve_more(a, id, 2);
            },
            |a| {
                at_k(a, |waiters| {
                    let [first, second] = [0; 2].map(|_| ok(a.enlist(waiters)).expect("of the dead"));
                    assert!(ok(a.enlist(waiters)).is_none(), "full");
                    assert!(!leave(a, waiters, first) && !leave(a, waiters, second), "W2: it was not on the list");
                });
            },
        ),
        plain(
            "post, take, and take for good",
            |a| make(a, 0),
            |a| {
                with(a, "p", |id, leases| {
                    let [_, second] = [0; 2].map(|_| take(a, id, leases).expect("posted"));
                    assert!(take(a, id, leases).is_none());
                    a.env.store(leases.bell, 1, Ordering::Relaxed);
                    let wakes = a.env.state().wakes;
                    post(a, 3);
                    assert_eq!(a.env.state().wakes, wakes + 1, "B2: nobody was woken");
                    give_back(a, second);
                    assert_eq!(a.added_permits(id), (4, true));
                    assert!(!a.post_permits(id, MOST, MOST), "bounded");
                });
            },
        ),
    ]
}
