//! What participants do: scripts with a stage of their own, and acts that go with each other.

use faretra::Error;
use faretra::proof::Kind;
use faretra::proof::{Id, Load, Mem, Set, Sys, Until, header, info};
use std::sync::atomic::Ordering;

use crate::check::Expect;
use crate::sim::{in_time, ok};
use crate::stage::{Act, May, Script, Stage, Troupe, enter};
use crate::world::{
    Actor, PARENT, ROOM, alias, attach, draft, extend, publish, publish_if, quiet, read, tag, try_attach, value, world,
};

/// Where all acts begin: `x` with a part, `y`, a slot that was used before, a permit free, one of each that locks.
pub fn acting_stage() -> Stage {
    let stage = object_stage();
    let sim = enter(&stage);
    let other = quiet(&sim, PARENT + 1);
    crate::granted::publish_all(&other);
    let expect = Expect::of(&other, &["x", "y", "z", "u", "s", "e", "g"]);
    other.detach();
    Stage { expect, image: sim.image() }
}

/// Where acts of objects begin: `x` and `y` with nothing that locks, so that pages of names and lists may have nothing in them.
pub fn object_stage() -> Stage {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "w", 9, 1));
    ok(publish(&parent, "x", 1, 1));
    ok(publish(&parent, "y", 1, 0));
    ok(parent.remove("w"));
    Stage { expect: Expect::of(&parent, &["x", "y", "z"]), image: sim.image() }
}

/// A part of `x` is shared: its one hold is not in the first word, which is free. So a hold that moves to a new
/// version goes where a scan may have been already.
pub fn sharing_stage() -> Stage {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "x", 1, 1));
    for name in ["q", "r", "x"] {
        ok(extend(&parent, name, "x", 1));
    }
    for name in ["q", "r"] {
        ok(parent.remove(name));
    }
    Stage { expect: Expect::of(&parent, &["x", "z"]), image: sim.image() }
}

/// A part of `x` is shared, and its hold is in a knot; all four holds of its record are free, or taken.
pub fn knotted_stage(full: bool) -> Stage {
    let sim = world();
    let parent = quiet(&sim, PARENT);
    ok(publish(&parent, "x", 1, 1));
    for name in ["a", "b", "c", "d", "x"] {
        ok(extend(&parent, name, "x", 1));
    }
    for name in ["a", "b", "c", "d"].iter().filter(|_| !full) {
        ok(parent.remove(name));
    }
    Stage { expect: Expect::of(&parent, &["x", "z"]), image: sim.image() }
}

/// The stage of all acts, where somebody died in the middle of one, and nobody has noticed.
pub fn stage_after_death(act: &Act, step: usize) -> Stage {
    let stage = acting_stage();
    let mut images = crate::sweep::deaths(&enter(&stage), 50, act.run);
    let step = step % images.len();
    Stage { image: images.swap_remove(step), expect: stage.expect.with(act.may) }
}

/// An error that an act may meet because of the others: a version that moved on.
fn fair(result: faretra::Result<u64>) {
    match result {
        Ok(_) | Err(Error::Conflict { .. }) => {}
        Err(e) => panic!("an act failed: {e}"),
    }
}

/// The acts that are raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    let mut all = object_acts();
    all.extend(crate::granted::acts());
    all.extend(crate::makers::acts());
    all
}

/// All of them: objects and what locks; channels; channels without a bound; waiters and posted permits.
pub fn troupes() -> [Troupe; 4] {
    [
        Troupe { stage: acting_stage(), acts: acts() },
        Troupe { stage: crate::queue::queue_stage(), acts: crate::queue::acts() },
        Troupe { stage: crate::chains::chain_stage(), acts: crate::chains::acts() },
        Troupe { stage: crate::waiters::waiting_stage(), acts: crate::waiters::acts() },
    ]
}

/// Those of objects alone.
pub fn object_acts() -> Vec<Act> {
    fn act(name: &'static str, may: May, run: fn(&Actor)) -> Act {
        Act { name, run, may }
    }
    vec![
        act("publish x", &[("x", Some(2))], |a| {
            ok(publish(a, "x", 2, 1));
        }),
        act("publish x without parts", &[("x", Some(3))], |a| {
            ok(publish(a, "x", 3, 0));
        }),
        act("publish x if at version 1", &[("x", Some(4))], |a| {
            fair(publish_if(a, "x", 4, 0, Some(1)));
        }),
        act("publish z if absent", &[("z", Some(5))], |a| {
            fair(publish_if(a, "z", 5, 0, Some(0)));
        }),
        act("publish z", &[("z", Some(6))], |a| {
            ok(publish(a, "z", 6, 0));
        }),
        act("alias z of x", &[("z", Some(20))], |a| {
            ok(alias(a, "z", "x", 20));
        }),
        act("x again, with its parts shared", &[("x", Some(21))], |a| {
            ok(extend(a, "x", "x", 21));
        }),
        act("alias z of x, remove x, read z", &[("z", Some(22)), ("x", None)], |a| {
            if ok(alias(a, "z", "x", 22)) {
                ok(a.remove("x"));
            }
            ok(read(a, "z"));
        }),
        act("remove x", &[("x", None)], |a| {
            ok(a.remove("x"));
        }),
        act("remove y", &[("y", None)], |a| {
            ok(a.remove("y"));
        }),
        act("remove z", &[("z", None)], |a| {
            ok(a.remove("z"));
        }),
        act("read x", &[], |a| {
            ok(read(a, "x"));
        }),
        act("read y, list names", &[], |a| {
            ok(read(a, "y"));
            for named in ok(a.names()) {
                assert_eq!(named.rows, tag(&named.name), "N3: `{}` with another's record", named.name);
            }
        }),
        act("remove x, publish z instead", &[("x", None), ("z", Some(10))], |a| {
            ok(a.remove("x"));
            ok(publish(a, "z", 10, 1));
        }),
        act("recover, sit down, publish z", &[("z", Some(11))], |a| {
            ok(a.sweep());
            if let Ok(guest) = try_attach(&a.env, a.env.number(), a.env.hook()) {
                ok(publish(&guest, "z", 11, 0));
                guest.detach();
            }
        }),
        act("pin x while it is replaced", &[("x", Some(7))], |a| {
            let pinned = ok(a.pin_named("x")).map(|id| (id, value(a, id)));
            ok(publish(a, "x", 7, 0));
            if let Some((id, before)) = pinned {
                assert_eq!(value(a, id), before, "a pinned object changed");
                a.unpin(id);
            }
        }),
        act("recover, then pin x while it is replaced", &[("x", Some(12)), ("x", Some(13))], |a| {
            ok(a.sweep());
            ok(publish(a, "x", 12, 1));
            if let Some(id) = ok(a.pin_named("x")) {
                let before = value(a, id);
                ok(publish(a, "x", 13, 1));
                // Writes over whatever is free.
                a.drop_draft(ok(draft(a, 14, 1)));
                assert_eq!(value(a, id), before, "a pinned object changed");
                a.unpin(id);
            }
        }),
        act("read whatever is kept", &[], |a| {
            let payloads = a.geo.zones.iter().filter(|zone| zone.set == Set::Payload);
            let ids: Vec<Id> = payloads.flat_map(|zone| (0..a.used(zone)).map(|slot| zone.id(slot))).collect();
            for id in ids {
                if ok(a.pin_kept(id)) {
                    let before = value(a, id);
                    assert_eq!(value(a, id), before, "a pinned object changed");
                    a.unpin(id);
                }
            }
        }),
        act("take a permit", &[], |a| {
            if let Some(p) = ok(a.try_lease(a.permits())) {
                a.give_back(p);
            }
        }),
        act("drop a draft", &[], |a| {
            a.drop_draft(ok(draft(a, 8, 1)));
        }),
        act("trim", &[], |a| {
            a.trim(u64::MAX);
        }),
        act("remove everything, trim", &[("x", None), ("y", None), ("z", None)], |a| {
            for name in ["x", "y", "z"] {
                ok(a.remove(name));
            }
            a.trim(u64::MAX);
        }),
        act("recover", &[], |a| {
            ok(a.sweep());
        }),
        act("attach, detach", &[], |a| {
            if let Ok(guest) = try_attach(&a.env, a.env.number(), a.env.hook()) {
                guest.detach();
            }
        }),
        act("wait", &[], |a| {
            let mut tries = 0;
            let mut third = || {
                tries += 1;
                Ok((tries == 3).then_some(()))
            };
            ok(a.wait(header::NAME_BELL, Until::Forever, || {}, &mut third));
        }),
    ]
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    let mut all = object_scripts();
    all.extend(crate::granted::scripts());
    all.extend(crate::makers::scripts());
    all.extend(crate::queue::scripts());
    all.extend(crate::chains::scripts());
    all.extend(crate::waiters::scripts());
    all
}

fn object_scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor), may: May) -> Script {
        Script { name, before, victim, may, room: ROOM }
    }
    /// A process that died with a draft, a pin and a permit, which nobody has recovered.
    fn leave_a_dead_process(a: &Actor) {
        let dead = quiet(&a.env, 50);
        ok(draft(&dead, 5, 1));
        ok(dead.pin_named("x"));
        ok(dead.try_lease(dead.permits()));
        a.env.state().kill(50);
    }
    fn with_x(a: &Actor) {
        ok(publish(a, "x", 1, 1));
    }
    let nothing: fn(&Actor) = |_| {};
    vec![
        plain(
            "attach, detach",
            nothing,
            |a| {
                attach(&a.env, a.env.number(), a.env.hook()).detach();
            },
            &[],
        ),
        plain("alloc, drop a draft", nothing, |a| a.drop_draft(ok(draft(a, 5, 0))), &[]),
        plain(
            "alloc, drop a draft with parts",
            nothing,
            |a| {
                a.drop_draft(ok(draft(a, 5, 2)));
            },
            &[],
        ),
        plain(
            "publish a new name",
            nothing,
            |a| {
                ok(publish(a, "x", 1, 0));
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "publish with parts",
            nothing,
            |a| {
                ok(publish(a, "x", 1, 2));
            },
            &[("x", None), ("x", Some(1))],
        ),
        plain(
            "replace",
            with_x,
            |a| {
                ok(publish(a, "x", 2, 1));
            },
            &[("x", Some(1)), ("x", Some(2))],
        ),
        plain(
            "replace two names of one bucket",
            |a| {
                for name in ["a", "b", "c", "d", "e"] {
                    ok(publish(a, name, 1, 0));
                }
            },
            |a| {
                // Of five names in two buckets, three share one.
                for name in ["a", "b", "c", "d", "e"] {
                    ok(publish(a, name, 2, 0));
                }
            },
            &[("a", Some(1)), ("a", Some(2)), ("b", Some(1)), ("b", Some(2)), ("e", Some(1)), ("e", Some(2))],
        ),
        plain(
            "publish if, and meet a conflict",
            with_x,
            |a| {
                let refused = publish_if(a, "x", 2, 1, Some(7));
                assert!(matches!(refused, Err(Error::Conflict { found: 1, .. })), "{refused:?}");
                let refused = publish_if(a, "q", 2, 1, Some(7));
                assert!(matches!(refused, Err(Error::Conflict { found: 0, .. })), "{refused:?}");
                assert_eq!(ok(publish_if(a, "x", 3, 0, Some(1))), 2);
            },
            &[("x", Some(1)), ("x", Some(3)), ("q", None)],
        ),
        plain(
            "replace what is pinned",
            |a| {
                with_x(a);
                let id = ok(a.pin_named("x")).expect("published");
                ok(publish(a, "x", 2, 1));
                a.unpin(id);
                // The parent keeps a pin on what the victim replaces.
                ok(a.pin_named("x"));
            },
            |a| {
                let id = ok(a.pin_named("x")).expect("published");
                ok(publish(a, "x", 3, 1));
                assert_eq!(value(a, id), 2);
                a.unpin(id);
            },
            &[("x", Some(2)), ("x", Some(3))],
        ),
        plain("remove", with_x, |a| assert!(ok(a.remove("x"))), &[("x", None), ("x", Some(1))]),
        plain(
            "remove one of several in a bucket",
            |a| {
                for name in ["x", "y", "z", "w"] {
                    ok(publish(a, name, 1, 0));
                }
            },
            |a| assert!(ok(a.remove("y"))),
            &[("x", Some(1)), ("y", None), ("y", Some(1)), ("z", Some(1)), ("w", Some(1))],
        ),
        plain(
            "get a name that is being removed",
            |a| {
                with_x(a);
                // Its remover died between making the name dead and dropping it.
                let dead = quiet(&a.env, 50);
                let name = ok(dead.lookup("x")).expect("published");
                let off = dead.geo.meta(name, faretra::proof::meta::PLACE);
                let place = dead.place(off);
                dead.raise(header::FLOOR, 1);
                ok(dead.empty(name, place, place.kill().expect("alive")));
                let putting = dead.geo.seat_info(dead.me().seat.into(), info::PUTTING);
                dead.env.fetch_add(putting, 1, Ordering::SeqCst);
                a.env.state().kill(50);
            },
            |a| {
                assert_eq!(ok(read(a, "x")), None);
                assert!(!ok(a.remove("x")));
                ok(publish(a, "x", 2, 0));
                assert_eq!(ok(read(a, "x")), Some(2));
            },
            &[("x", None), ("x", Some(2))],
        ),
        plain(
            "remove and publish again, twice",
            with_x,
            |a| {
                for value in [2, 3] {
                    let before = ok(a.names())[0].version;
                    ok(a.remove("x"));
                    assert!(ok(publish(a, "x", value, 0)) > before, "N4");
                }
            },
            &[("x", None), ("x", Some(1)), ("x", Some(2)), ("x", Some(3))],
        ),
        plain(
            "alias, remove the target, then the alias",
            with_x,
            |a| {
                assert!(ok(alias(a, "y", "x", 2)) && ok(a.remove("x")));
                assert_eq!(ok(read(a, "y")), Some(2));
                assert!(ok(alias(a, "z", "y", 3)) && ok(a.remove("y")));
                assert_eq!(ok(read(a, "z")), Some(3));
                ok(a.remove("z"));
            },
            &[("x", Some(1)), ("x", None), ("y", Some(2)), ("y", None), ("z", Some(3)), ("z", None)],
        ),
        plain(
            "versions that share parts",
            |a| {
                ok(publish(a, "x", 1, 2));
            },
            |a| {
                ok(extend(a, "x", "x", 2));
                ok(extend(a, "y", "x", 3));
                ok(publish(a, "x", 4, 0));
                assert_eq!(ok(read(a, "y")), Some(3));
            },
            &[("x", Some(1)), ("x", Some(2)), ("x", Some(4)), ("y", None), ("y", Some(3))],
        ),
        plain(
            "more holds than a record has room for",
            |a| {
                ok(publish(a, "x", 1, 0));
                for name in ["a", "b", "c"] {
                    ok(alias(a, name, "x", 1));
                }
                ok(extend(a, "q", "x", 1));
            },
            |a| {
                for name in ["d", "e", "f"] {
                    ok(alias(a, name, "x", 2));
                }
                ok(a.remove("x"));
                for name in ["a", "b", "c", "d", "f"] {
                    ok(a.remove(name));
                }
                assert_eq!(ok(read(a, "e")), Some(2));
                ok(alias(a, "x", "e", 5));
                ok(a.remove("e"));
                assert_eq!(ok(read(a, "x")), Some(5));
            },
            &[("x", Some(1)), ("x", None), ("x", Some(5)), ("e", None), ("e", Some(2)), ("f", None), ("f", Some(2))],
        ),
        plain(
            "share without room for a knot",
            |a| {
                ok(publish(a, "x", 1, 0));
                for name in ["a", "b", "c", "d"] {
                    ok(alias(a, name, "x", 1));
                }
                // Every slot that a knot could have is taken; they come back with their owner's death.
                let taker = quiet(&a.env, 51);
                while taker.alloc(Kind::Knot, 256).is_ok() {}
                a.env.state().kill(51);
            },
            |a| {
                let refused = alias(a, "a", "x", 2);
                assert!(matches!(refused, Err(Error::Limit { .. })), "{refused:?}");
                ok(a.sweep());
                ok(alias(a, "a", "x", 2));
            },
            &[("x", Some(1)), ("a", Some(1)), ("a", Some(2)), ("b", Some(1))],
        ),
        plain("get", with_x, |a| assert_eq!(ok(read(a, "x")), Some(1)), &[("x", Some(1))]),
        plain(
            "permits",
            nothing,
            |a| {
                let p = ok(a.try_lease(a.permits())).expect("free");
                let q = ok(a.try_lease(a.permits())).expect("free");
                assert!(!p.recovered && !q.recovered && ok(a.try_lease(a.permits())).is_none());
                a.give_back(p);
                a.give_back(q);
            },
            &[],
        ),
        plain(
            "the permit of a dead holder",
            |a| {
                with_x(a);
                leave_a_dead_process(a);
            },
            |a| {
                ok(a.recover());
                let taken = [0, 1].map(|_| ok(a.try_lease(a.permits())).expect("two permits"));
                let told = taken.iter().filter(|p| p.recovered).count();
                assert_eq!(told, 1, "the next holder is told, once");
                for p in taken {
                    a.give_back(p);
                }
            },
            &[("x", Some(1))],
        ),
        plain(
            "trim",
            |a| {
                for name in ["x", "y", "z"] {
                    ok(publish(a, name, 1, 2));
                }
                ok(a.remove("x"));
                ok(a.remove("z"));
            },
            |a| {
                a.trim(u64::MAX);
            },
            &[("x", None), ("y", Some(1)), ("z", None)],
        ),
        plain(
            "trim with dirty slots",
            |a| {
                with_x(a);
                for len in [1000, 2000, 5000, 20_000] {
                    a.drop_draft(ok(a.alloc(Kind::Bytes, len)));
                }
                a.trim(u64::MAX);
                // The file system was full: the slots may have pages that their records do not tell of.
                let room = a.env.state().count();
                let before = std::mem::replace(&mut a.env.state().room, room);
                for len in [1000, 2000, 5000, 20_000] {
                    assert!(a.alloc(Kind::Bytes, len).is_err());
                }
                a.env.state().room = before;
            },
            |a| {
                a.trim(u64::MAX);
            },
            &[("x", Some(1))],
        ),
        plain(
            "free with no warm budget",
            |a| {
                with_x(a);
                a.env.store(header::WARM_LIMIT, 0, Ordering::Relaxed);
            },
            |a| {
                ok(publish(a, "x", 2, 2));
                ok(publish(a, "x", 3, 0));
            },
            &[("x", Some(1)), ("x", Some(2)), ("x", Some(3))],
        ),
        plain(
            "a shorter tenant with little warm budget",
            |a| {
                ok(a.alloc(Kind::Bytes, 60_000)).pipe(|d| a.drop_draft(d));
                a.env.store(header::WARM_LIMIT, 70_000, Ordering::Relaxed);
            },
            |a| {
                ok(a.alloc(Kind::Bytes, 33_000)).pipe(|d| a.drop_draft(d));
                ok(a.alloc(Kind::Bytes, 60_000)).pipe(|d| a.drop_draft(d));
            },
            &[],
        ),
        plain(
            "ring and wait",
            |a| {
                with_x(a);
                // Sleepers on both bells, and on the name's.
                let name = ok(a.lookup("x")).expect("published");
                for bell in [header::NAME_BELL, header::PERMIT_BELL, a.name_bell(name)] {
                    a.env.store(bell, 1, Ordering::Relaxed);
                }
                a.unpin(name);
            },
            |a| {
                let wakes = a.env.state().wakes;
                ok(publish(a, "x", 2, 0));
                ok(publish(a, "y", 2, 0));
                a.give_back(ok(a.try_lease(a.permits())).expect("free"));
                assert_eq!(a.env.state().wakes, wakes + 3, "B2: somebody was not woken");
                let found = in_time(a.wait(header::NAME_BELL, Until::Now, || {}, || read(a, "z")));
                assert_eq!(found, None);
            },
            &[("x", Some(1)), ("x", Some(2)), ("y", None), ("y", Some(2))],
        ),
        plain(
            "grow a zone, and run out of it",
            nothing,
            |a| {
                let drafts: Vec<_> = (0..40).map_while(|_| a.alloc(Kind::Bytes, 200).ok()).collect();
                assert_eq!(drafts.len(), 32, "all slots, and no more");
                for d in drafts {
                    a.drop_draft(d);
                }
            },
            &[],
        ),
        Script {
            name: "run out of memory",
            before: with_x,
            victim: |a| {
                for i in 0..8 {
                    if publish(a, "x", 2 + i, 3).is_err() {
                        // What did not fit left nothing behind; the next smaller request works.
                        ok(publish(a, "x", 10, 0));
                        return;
                    }
                    let _ = publish(a, "big", 99, 4);
                }
            },
            may: &[
                ("x", Some(1)),
                ("x", Some(2)),
                ("x", Some(3)),
                ("x", Some(4)),
                ("x", Some(5)),
                ("x", Some(6)),
                ("x", Some(7)),
                ("x", Some(8)),
                ("x", Some(9)),
                ("x", Some(10)),
            ],
            room: 24,
        },
        Script {
            name: "run out of the limit",
            before: |a| {
                with_x(a);
                let now = a.env.in_memory();
                a.env.store(header::LIMIT, now + 9 * 4096, Ordering::Relaxed);
            },
            victim: |a| {
                let refused = publish(a, "big", 99, 6);
                assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
                assert_eq!(ok(read(a, "big")), None);
                let limit = a.env.load(header::LIMIT, Ordering::Relaxed);
                a.env.store(header::LIMIT, limit * 2, Ordering::Relaxed);
                ok(publish(a, "big", 99, 6));
            },
            may: &[("x", Some(1)), ("big", None), ("big", Some(99))],
            room: ROOM,
        },
        plain(
            "recover what another left",
            |a| {
                with_x(a);
                leave_a_dead_process(a);
                ok(publish(a, "x", 2, 1));
            },
            |a| {
                let done = ok(a.sweep());
                assert_eq!((done.participants, done.permits), (1, 1));
            },
            &[("x", Some(2))],
        ),
    ]
}

/// `value.pipe(f)` is `f(value)`, for steps in a row.
trait Pipe: Sized {
    fn pipe<T>(self, f: impl FnOnce(Self) -> T) -> T {
        f(self)
    }
}

impl<T> Pipe for T {}
