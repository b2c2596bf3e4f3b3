//! Waiters of a condition, and permits that are posted: what participants do with them, and sums that must come out.
//!
//! `k` is a condition of five places. The parent has waiters there that never leave, whose numbers are the highest: the
//! *reserve*. While one of it waits, nothing that was told is lost. `p` is a semaphore whose own permit is used up.

use faretra::Error;
use faretra::proof::{Enlisted, Form, Id, Kind, Leases, Load, Mem, State, Until, Waiters, lock, meta};
use std::sync::atomic::Ordering;

use crate::check::Expect;
use crate::granted::with;
use crate::sim::{Image, Said, ok};
use crate::stage::{Act, May, Script, Stage, enter};
use crate::world::{Actor, PARENT, ROOM, quiet, tag, world};

/// The condition `k`.
pub const CONDITION: Form = Form { kind: Kind::Condition, leases: 5, size: 16, slots: 5 };
const SEMAPHORE: Form = Form { kind: Kind::Semaphore, leases: 1, size: 0, slots: 0 };
/// The first number of the reserve.
const RESERVE: u64 = 1000;
/// Permits that can be posted.
const MOST: u64 = 100;

/// What is summed up.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// Waiters that a notifier told.
    Told,
    /// Waiters that left and had been told.
    Left,
    /// Permits that were posted.
    Posted,
    /// Posted permits that were taken.
    Taken,
    /// Those that were given back.
    Given,
}

/// Changes a sum, by `most` at most: says so before, and by how much afterwards.
fn change<T>(a: &Actor, sum: Sum, most: u64, f: impl FnOnce() -> (T, u64)) -> T {
    let say = |said, by: u64| a.env.state().said.push((said, (sum as u64) << 32 | most << 16 | by));
    say(Said::Changing, 0);
    let (done, by) = f();
    say(Said::Changed, by);
    done
}

/// The least and the most that a sum can be: who died while changing it may have done so, or not.
fn sum(image: &Image, sum: Sum) -> (u64, u64) {
    let (mut sure, mut open) = (0, 0);
    for (said, item) in image.said.iter().filter(|(_, item)| item >> 32 == sum as u64) {
        let most = item >> 16 & 0xffff;
        match said {
            Said::Changing => open += most,
            Said::Changed => {
                open -= most;
                sure += item & 0xffff;
            }
            _ => {}
        }
    }
    (sure, sure + open)
}

fn publish(a: &Actor, name: &str, form: Form) {
    let draft = ok(a.draft_lock(form));
    if form.kind == Kind::Semaphore {
        a.fill_permits(ok(a.leases_of(draft.id)).expect("permits"), 0);
    }
    a.set_meta(draft.id, meta::ROWS, tag(name));
    ok(a.publish(name, draft, Some(0)).inspect_err(|_| a.drop_draft(draft)));
}

/// Runs `f` at the condition, if it is there.
pub fn at_k<T>(a: &Actor, f: impl FnOnce(Waiters) -> T) -> Option<T> {
    with(a, "k", |id, _| f(a.waiters_of(id, &CONDITION)))
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

/// Notifies waiters, so many at most.
pub fn notify(a: &Actor, waiters: Waiters, most: u64) {
    change(a, Sum::Told, most.min(CONDITION.leases), || ((), a.notify(waiters, most)));
}

/// Leaves, and says whether it was told.
pub fn leave(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    change(a, Sum::Left, 1, || {
        let told = a.leave_waiters(waiters, who);
        (told, u64::from(told))
    })
}

/// Waits for one slice, as far as nobody tells it; says whether somebody did.
fn sleep(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    let number = a.env.number();
    a.env.state().interrupted.insert(number);
    let waited = a.wait_enlisted(waiters, who, Until::Forever);
    a.env.state().interrupted.remove(&number);
    match waited {
        Err(Error::Interrupted) => false,
        told => {
            ok(told);
            true
        }
    }
}

fn is_told(a: &Actor, waiters: Waiters, who: Enlisted) -> bool {
    crate::sim::in_time(a.wait_enlisted(waiters, who, Until::Now)).is_some()
}

/// Posts permits to `p`.
pub fn post(a: &Actor, permits: u64) {
    with(a, "p", |id, _| {
        change(a, Sum::Posted, permits, || {
            let posted = a.post_permits(id, permits, MOST);
            ((), if posted { permits } else { 0 })
        });
    });
}

fn take(a: &Actor, id: Id, leases: Leases) -> Option<faretra::proof::Lease> {
    change(a, Sum::Taken, 1, || {
        let taken = ok(a.try_permit(id, leases));
        assert!(taken.is_none_or(|lease| lease.off < leases.first), "its own permit is used up");
        (taken, u64::from(taken.is_some()))
    })
}

fn give_back(a: &Actor, lease: faretra::proof::Lease) {
    change(a, Sum::Given, 1, || (a.give_back_added(lease), 1));
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

fn marks(a: &Actor, id: Id) -> Vec<u64> {
    let data = a.slots_of(id, &CONDITION).first();
    (0..CONDITION.slots).map(|i| a.env.load(data + i * 16 + 8, Ordering::SeqCst)).collect()
}

/// W1, W2: what was told and what came of it, and how many permits there are. `r` waits with those who are left.
pub fn check_sums(r: &Actor, image: &Image) {
    with(r, "p", |id, leases| {
        let [posted, taken, given] = [Sum::Posted, Sum::Taken, Sum::Given].map(|of| sum(image, of));
        let free = r.added_permits(id).0;
        let sums = format!("{free} of {posted:?} are free, {taken:?} taken, {given:?} given back");
        assert!(posted.0 + given.0 <= free + taken.1, "K6: a permit is lost: {sums}");
        assert!(free + taken.0 <= posted.1 + given.1, "K6: a permit is there twice: {sums}");
        let all: Vec<_> = std::iter::from_fn(|| ok(r.try_permit(id, leases))).collect();
        assert_eq!(all.len() as u64, free, "K6");
        for lease in all {
            r.give_back_added(lease);
        }
    });
    with(r, "k", |id, leases| {
        let waiters = r.waiters_of(id, &CONDITION);
        let mine = ok(r.enlist(waiters));
        if let Some(mine) = mine {
            sleep(r, waiters, mine);
        }
        let marks = marks(r, id);
        assert!(marks.iter().all(|mark| mark & 3 != 3), "W2: nobody hands it on: {marks:x?}");
        let of_living = |i: u64| r.count_leases(leases.part(i, 1), |state| matches!(state, State::Leased(_))) != 0;
        let now: Vec<u64> = (0..).zip(&marks).filter(|(_, mark)| **mark & 3 == 2).map(|(i, _)| i).collect();
        assert!(now.iter().all(|i| of_living(*i)), "W2: nobody hands it on: {marks:x?}");
        let (told, left, now) = (sum(image, Sum::Told), sum(image, Sum::Left), now.len() as u64);
        assert!(left.0 + now <= told.1, "W2: {now} and {left:?} were told, of {told:?}");
        if marks.iter().any(|mark| mark & 3 == 1 && mark >> 13 >= RESERVE) {
            assert!(told.0 <= left.1 + now, "W2: of {told:?} that were told {now} and {left:?} are there");
        }
        if let Some(mine) = mine {
            r.leave_waiters(waiters, mine);
        }
    });
}

/// With all others dead, each place can be used again, once.
pub fn check_places(r: &Actor) {
    at_k(r, |waiters| {
        let all: Vec<_> = std::iter::from_fn(|| ok(r.enlist(waiters))).collect();
        assert_eq!(all.len() as u64, CONDITION.leases, "a place of the dead is not used again");
        r.notify(waiters, u64::MAX);
        assert!(all.iter().all(|who| is_told(r, waiters, *who)), "W2: somebody was passed over");
        for who in all {
            r.leave_waiters(waiters, who);
        }
        assert_eq!((r.count_waiting(waiters), r.lost_waiters(waiters)), (0, 0));
    });
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
