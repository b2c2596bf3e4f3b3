//! Locks, semaphores, events, values and mutable arrays: what participants do with them.

use std::sync::atomic::Ordering;

use faretra::Error;
use faretra::proof::{Form, Id, Kind, Lease, Leases, Load, Mem, PARTITION, Slots, Until, lock};

use crate::locks::{ALL, ARRAY, EVENT, MUTEX, SEMAPHORE, VALUE, value};
use crate::sim::{in_time, ok};
use crate::stage::{Act, May, Script};
use crate::world::{Actor, ROOM, quiet, read, with};

const NOW: Until = Until::Now;

/// Publishes one of each: mutex `m`, values `u` and `v`, semaphore `s`, event `e`, array `g`.
pub fn publish_all(a: &Actor) {
    for (name, form) in ALL {
        ok(publish(a, name, form));
    }
}

/// Publishes one of those.
pub fn publish_one(a: &Actor, name: &str) {
    let (_, form) = ALL.into_iter().find(|(known, _)| *known == name).expect("one of those");
    ok(publish(a, name, form));
}

fn publish(a: &Actor, name: &str, form: Form) -> faretra::Result<u64> {
    let draft = a.draft_lock(form)?;
    let fill = || {
        match form.kind {
            Kind::Semaphore => a.fill_permits(ok(a.leases_of(draft.id)).expect("permits"), 2),
            Kind::MutableArray => {
                let part = a.alloc(Kind::Array, 5000)?;
                for w in 0..4 {
                    a.env.store(a.payload(part.id) + w * 8, 0, Ordering::Relaxed);
                }
                a.adopt_part(draft, 0, part).inspect_err(|_| a.drop_draft(part))?;
            }
            Kind::Mutex | Kind::Value => a.fill_slots(a.slots_of(draft.id, &form), &[0, 0]),
            _ => {}
        }
        a.set_meta(draft.id, faretra::proof::meta::ROWS, crate::world::tag(name));
        a.publish(name, draft, Some(0))
    };
    fill().inspect_err(|_| a.drop_draft(draft))
}

fn slots(a: &Actor, id: Id, form: &Form) -> Slots {
    a.slots_of(id, form)
}

/// Locks `m`, adds one, unlocks. `None` if somebody else has it; else what it made of it.
pub fn lock_and_add(a: &Actor) -> Option<u64> {
    with(a, "m", |id, leases| {
        let lease = ok(a.try_lease(leases))?;
        let s = slots(a, id, &MUTEX);
        let mut words = [0; 2];
        ok(a.load_slots(s, &mut words));
        let next = words[0] + 1;
        a.store_locked(s, &[next; 2]);
        // No two holders may make the same of it.
        a.env.state().counted.push(("m", next));
        a.give_back(lease);
        Some(next)
    })?
}

/// Adds one to `v`, and says what it made of it.
pub fn update(a: &Actor) -> u64 {
    let done = with(a, "v", |id, _| {
        let mut words = [0; 2];
        ok(a.update_slots(slots(a, id, &VALUE), &mut words, Until::Forever, |w| {
            assert_eq!(w[0], w[1], "K3: torn");
            w.fill(w[0] + 1);
            true
        }));
        a.env.state().counted.push(("v", words[0]));
        words[0]
    });
    done.unwrap_or(0)
}

/// Stores in `u`.
pub fn store(a: &Actor, to: u64) {
    with(a, "u", |id, _| ok(a.store_slots(slots(a, id, &VALUE), &[to; 2], Until::Forever)));
}

/// Loads a value.
pub fn load(a: &Actor, name: &str) -> u64 {
    with(a, name, |id, _| value(a, id, Kind::Value)).unwrap_or(0)
}

fn use_up_and_release(a: &Actor) {
    with(a, "s", |_, leases| {
        if let Some(lease) = ok(a.try_lease(leases)) {
            a.use_up(lease);
            assert!(a.add_permit(leases), "one was used up");
        }
    });
}

fn take_and_return(a: &Actor) {
    with(a, "s", |_, leases| {
        if let Some(lease) = ok(a.try_lease(leases)) {
            a.give_back(lease);
        }
    });
}

fn partition(leases: Leases, p: u64) -> Leases {
    leases.part(p * PARTITION, PARTITION)
}

fn cell(a: &Actor, id: Id, p: u64, w: u64) -> u64 {
    a.payload(a.part_entry(id, 0).part()) + (p * 2 + w) * 8
}

/// Writes a partition of `g`, word by word, if it is free and not frozen.
pub fn write(a: &Actor, p: u64, to: u64) -> bool {
    let done = with(a, "g", |id, leases| {
        let Some(lease) = in_time(a.write_partition(partition(leases, p), NOW)) else { return false };
        let frozen = a.is_frozen(id);
        if !frozen {
            let [x, y] = [0, 1].map(|w| a.env.load(cell(a, id, p, w), Ordering::Relaxed));
            assert!(x == y || lease.recovered, "K2: half written, and nobody says so");
            for w in 0..2 {
                a.env.store(cell(a, id, p, w), to, Ordering::Relaxed);
            }
        }
        a.give_back(lease);
        !frozen
    });
    done.unwrap_or(false)
}

/// Reads a partition of `g`, if nobody writes it.
pub fn look(a: &Actor, p: u64) -> Option<u64> {
    with(a, "g", |id, leases| {
        let lease = in_time(a.read_partition(partition(leases, p), NOW))?;
        let [x, y] = [0, 1].map(|w| a.env.load(cell(a, id, p, w), Ordering::Relaxed));
        assert!(x == y || lease.recovered, "K2, K4: half written, and nobody says so");
        a.give_back(lease);
        Some(x)
    })?
}

/// Freezes `g`, if all of it is free, and says what its first element is; afterwards it never changes.
pub fn freeze(a: &Actor) -> Option<u64> {
    with(a, "g", |id, leases| {
        let take = |p| in_time(a.write_partition(partition(leases, p), NOW));
        let held: Vec<Lease> = (0..2).map_while(take).collect();
        let whole = held.len() == 2 && held.iter().all(|l| !l.recovered);
        if whole {
            a.set_frozen(id);
        }
        for lease in held {
            if lease.recovered {
                a.give_back_unmended(lease)
            } else {
                a.give_back(lease)
            };
        }
        whole.then(|| {
            let all = || [0, 1, 2, 3].map(|w| a.env.load(cell(a, id, 0, w), Ordering::Relaxed));
            let before = all();
            assert!(a.is_frozen(id));
            assert_eq!(all(), before, "K5: a frozen array changed");
            before[0]
        })
    })?
}

fn signal(a: &Actor) {
    with(a, "e", |id, _| {
        a.set_event(id);
        a.take_event(id);
    });
}

/// What is raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    fn act(name: &'static str, may: May, run: fn(&Actor)) -> Act {
        Act { name, run, may }
    }
    vec![
        act("lock m, add 1", &[], |a| {
            lock_and_add(a);
        }),
        act("update v", &[], |a| {
            update(a);
        }),
        act("store u", &[("u", Some(4))], |a| store(a, 4)),
        act("store u twice", &[("u", Some(8)), ("u", Some(9))], |a| {
            store(a, 8);
            store(a, 9);
        }),
        act("read u and v", &[], |a| {
            ok(read(a, "u"));
            ok(read(a, "v"));
        }),
        act("store u and read it", &[("u", Some(5))], |a| {
            store(a, 5);
            ok(read(a, "u"));
        }),
        // 0: two died in the middle.
        act(
            "use a permit of s up, release one",
            &[("s", Some(0)), ("s", Some(1)), ("s", Some(2)), ("s", Some(3))],
            use_up_and_release,
        ),
        act("take a permit of s", &[], take_and_return),
        act("signal e", &[("e", Some(1))], signal),
        act("write half of g", &[("g", Some(6)), ("g", Some(0))], |a| {
            write(a, 0, 6);
        }),
        act("write g, half by half", &[("g", Some(7)), ("g", Some(0))], |a| {
            write(a, 0, 7);
            write(a, 1, 7);
        }),
        act("read half of g", &[], |a| {
            look(a, 0);
        }),
        act("freeze g", &[], |a| {
            freeze(a);
        }),
        act("remove m", &[], |a| {
            ok(a.remove("m"));
        }),
    ]
}

fn one(a: &Actor, name: &str, form: Form) {
    ok(publish(a, name, form));
}

/// A process that died with everything that is granted, and with `g` half written.
fn die_with_all(a: &Actor) {
    publish_all(a);
    let dead = quiet(&a.env, 50);
    for name in ["m", "s"] {
        with(&dead, name, |_, leases| ok(dead.try_lease(leases)).expect("free"));
    }
    with(&dead, "g", |id, leases| {
        ok(dead.write_partition(partition(leases, 0), NOW));
        ok(dead.read_partition(partition(leases, 1), NOW));
        dead.env.store(cell(&dead, id, 0, 0), 9, Ordering::Relaxed);
    });
    with(&dead, "v", |_, leases| ok(dead.try_lease(leases.part(3, 1))).expect("free"));
    a.env.state().kill(50);
}

/// B4: the hook ends each wait after its first sleep, and nothing is taken, lost or shown by that.
fn interrupted_waits(a: &Actor) {
    let number = a.env.number();
    a.env.state().interrupted.insert(number);
    let shown = || a.waits_of(a.me().seat.into());
    with(a, "m", |_, leases| {
        // Yielded by the first try, by the second one, which comes before a sleep; and by none.
        for (at, gets) in [(1, true), (2, true), (3, false)] {
            let mut tries = 0;
            let got = a.wait(
                leases.bell,
                Until::Forever,
                || {},
                || {
                    tries += 1;
                    if tries == at { a.try_lease(leases) } else { Ok(None) }
                },
            );
            match got {
                Ok(lease) => {
                    assert!(gets, "B4: it went on although it was told to end");
                    a.give_back(lease);
                }
                Err(Error::Interrupted) => assert!(!gets && tries == 2, "B4: try {at} was lost, of {tries}"),
                Err(e) => panic!("{e}"),
            }
            assert!(shown().is_empty(), "a wait that ended is shown");
            let free = ok(a.try_lease(leases)).expect("B4: the lease was lost");
            let wakes = a.env.state().wakes;
            a.give_back(free);
            let woken = a.env.state().wakes - wakes;
            assert!(woken <= 1, "B4");
            let free = ok(a.try_lease(leases)).expect("free");
            a.give_back(free);
            assert_eq!(a.env.state().wakes - wakes, woken, "B4: who rings next pays, and nobody after that");
        }
    });
    with(a, "g", |_, leases| {
        let partition = partition(leases, 0);
        let reader = ok(a.read_partition(partition, NOW));
        let waited = a.write_partition(partition, Until::Forever);
        assert!(matches!(waited, Err(Error::Interrupted)), "{waited:?}");
        a.give_back(reader);
        let writer = ok(a.write_partition(partition, NOW));
        assert!(!writer.recovered);
        a.give_back(writer);
    });
    with(a, "v", |id, leases| {
        let all: Vec<Lease> = (0..leases.count).map(|s| ok(a.try_lease(leases.part(s, 1))).expect("free")).collect();
        let mut words = [0; 2];
        let waited = a.update_slots(slots(a, id, &VALUE), &mut words, Until::Forever, |_| panic!("it has no slot"));
        assert!(matches!(waited, Err(Error::Interrupted)), "{waited:?}");
        let waited = a.store_slots(slots(a, id, &VALUE), &[9; 2], Until::Forever);
        assert!(matches!(waited, Err(Error::Interrupted)), "{waited:?}");
        for lease in all {
            a.give_back(lease);
        }
    });
    a.env.state().interrupted.remove(&number);
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor), may: May) -> Script {
        Script { name, before, victim, may, room: ROOM }
    }
    vec![
        plain("make one of each that locks", |_| {}, publish_all, &[]),
        plain(
            "a name where a mutex was",
            |a| {
                // Somebody else, who leaves: the slots are anybody's.
                let other = quiet(&a.env, 50);
                one(&other, "m", MUTEX);
                ok(other.remove("m"));
                other.detach();
            },
            |a| {
                for name in ["x", "y", "z"] {
                    ok(crate::world::publish(a, name, 1, 0));
                }
            },
            &[],
        ),
        plain(
            "lock, add, unlock, twice",
            |a| one(a, "m", MUTEX),
            |a| {
                lock_and_add(a);
                lock_and_add(a);
                assert_eq!(ok(read(a, "m")), Some(2));
            },
            &[("m", Some(0)), ("m", Some(1)), ("m", Some(2))],
        ),
        plain(
            "unlock without a word that it is consistent",
            |a| one(a, "m", MUTEX),
            |a| {
                with(a, "m", |_, leases| {
                    for (consistent, told) in [(false, false), (false, true), (true, true), (true, false)] {
                        let lease = ok(a.try_lease(leases)).expect("free");
                        assert!(ok(a.try_lease(leases)).is_none(), "K1: two holders");
                        assert_eq!(lease.recovered, told, "K2");
                        if consistent {
                            a.give_back(lease)
                        } else {
                            a.give_back_unmended(lease)
                        };
                    }
                });
            },
            &[("m", Some(0))],
        ),
        plain(
            "store and update values",
            |a| {
                one(a, "u", VALUE);
                one(a, "v", VALUE);
            },
            |a| {
                for to in 1..=2 {
                    store(a, to);
                    update(a);
                }
                assert_eq!((ok(read(a, "u")), ok(read(a, "v"))), (Some(2), Some(2)));
            },
            &[("u", Some(0)), ("u", Some(1)), ("u", Some(2)), ("v", Some(0)), ("v", Some(1)), ("v", Some(2))],
        ),
        plain(
            "permits of a semaphore",
            |a| one(a, "s", SEMAPHORE),
            |a| {
                take_and_return(a);
                with(a, "s", |_, leases| {
                    let all: Vec<_> = (0..3).map_while(|_| ok(a.try_lease(leases))).collect();
                    assert_eq!(all.len(), 2);
                    assert!(a.add_permit(leases) && !a.add_permit(leases), "bounded");
                    a.use_up(all[0]);
                    a.give_back(all[1]);
                });
            },
            &[("s", Some(1)), ("s", Some(2)), ("s", Some(3))],
        ),
        plain(
            "ring who sleeps",
            publish_all,
            |a| {
                let arm = |name| {
                    let id = ok(a.pin_named(name)).expect("made");
                    a.env.store(a.lock_word(id, lock::BELL), 1, Ordering::Relaxed);
                    a.unpin(id);
                };
                ["m", "s", "e", "g", "v"].into_iter().for_each(arm);
                let wakes = a.env.state().wakes;
                lock_and_add(a);
                with(a, "s", |_, leases| assert!(a.add_permit(leases)));
                with(a, "e", |id, _| a.set_event(id));
                write(a, 0, 1);
                update(a);
                assert_eq!(a.env.state().wakes, wakes + 5, "B2: somebody was not woken");
            },
            &[("s", Some(2)), ("s", Some(3)), ("e", Some(0)), ("e", Some(1))],
        ),
        plain("waits that are interrupted", publish_all, interrupted_waits, &[]),
        plain("an event", |a| one(a, "e", EVENT), signal, &[("e", Some(0)), ("e", Some(1))]),
        plain(
            "write, read and freeze",
            |a| one(a, "g", ARRAY),
            |a| {
                write(a, 0, 1);
                look(a, 0);
                write(a, 1, 1);
                freeze(a);
                write(a, 0, 2);
                assert_eq!(ok(read(a, "g")), Some(1), "K5");
            },
            &[("g", Some(0)), ("g", Some(1))],
        ),
        plain(
            "what a dead process had been granted",
            die_with_all,
            |a| {
                let done = ok(a.recover());
                assert_eq!(done.locks, 5, "{done:?}");
                for name in ["m", "s"] {
                    with(a, name, |_, leases| {
                        let lease = ok(a.try_lease(leases)).expect("back");
                        assert!(lease.recovered, "K2: `{name}`");
                        a.give_back(lease);
                    });
                }
                with(a, "g", |_, leases| {
                    let told = |p| {
                        let lease = ok(a.read_partition(partition(leases, p), NOW));
                        a.give_back(lease);
                        lease.recovered
                    };
                    assert!(told(0) && !told(1), "K2: a reader that died breaks nothing");
                });
                write(a, 0, 5);
                update(a);
            },
            &[("g", Some(0)), ("g", Some(9)), ("g", Some(5)), ("v", Some(0)), ("v", Some(1))],
        ),
        plain(
            "remove what is held",
            |a| one(a, "m", MUTEX),
            |a| {
                with(a, "m", |id, leases| {
                    let lease = ok(a.try_lease(leases)).expect("free");
                    ok(a.remove("m"));
                    one(a, "m", MUTEX);
                    a.store_locked(slots(a, id, &MUTEX), &[7; 2]);
                    a.give_back(lease);
                });
                assert_eq!(ok(read(a, "m")), Some(0));
            },
            &[("m", Some(0)), ("m", None)],
        ),
    ]
}
