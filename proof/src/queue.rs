//! Channels and feeds: what participants do with them.

use faretra::Error;
use faretra::proof::{End, Id, Kind, Oldest, Outcome, Until};

use crate::check::Expect;
use crate::items::{C, acknowledge, make, make_feed, number, read_feed, say, select_item, take, try_send, with};
use crate::sim::{Said, ok};
use crate::stage::{Act, May, Script, Stage, enter};
use crate::world::{Actor, PARENT, ROOM, alias_of, draft, quiet, read, value, world};

pub(crate) fn send(a: &Actor, name: &str) {
    with(a, name, |ring| {
        let number = number(a);
        let item = ok(draft(a, number, 1));
        if !try_send(a, ring, item, number) {
            a.drop_draft(item);
        }
    });
}

pub(crate) fn receive(a: &Actor, name: &str) {
    with(a, name, |ring| {
        if let Some(taken) = take(a, ring) {
            acknowledge(a, ring, taken);
        }
    });
}

pub(crate) fn refuse(a: &Actor, name: &str) {
    with(a, name, |ring| {
        if let Some(taken) = take(a, ring) {
            value(a, taken.id);
            a.refuse(ring, taken);
        }
    });
}

/// From one channel to another; back if there is no room.
pub(crate) fn forward(a: &Actor, from: &str, to: &str) {
    with(a, from, |from| {
        with(a, to, |to| {
            let Some(taken) = take(a, from) else { return };
            let number = value(a, taken.id);
            let draft = a.lease_to_draft(from, taken).expect("it is ours");
            if !try_send(a, to, draft, number) {
                let lease = a.draft_to_lease(draft, taken.attempts).expect("it is ours");
                let back = a.outstanding(from).into_iter().any(|(id, _)| id == lease.id);
                assert!(back, "Q1: what could not be sent on goes back where it came from");
                a.refuse(from, lease);
            }
        });
    });
}

pub(crate) fn remove(a: &Actor, name: &str) {
    say(a, Said::Removed, 0);
    ok(a.remove(name));
}

pub(crate) fn close(a: &Actor, name: &str) {
    with(a, name, |ring| a.close_ring(ring));
}

/// Closes a channel and takes all that there is. Returns whether that was all for good.
pub(crate) fn close_and_drain(a: &Actor, name: &str) -> bool {
    close(a, name);
    let drained = with(a, name, |ring| {
        loop {
            match ok(a.try_take(ring)) {
                Outcome::Done(taken) => acknowledge(a, ring, taken),
                outcome => return outcome == Outcome::Closed,
            }
        }
    });
    drained == Some(true)
}

fn come_and_go(a: &Actor) {
    with(a, "C", |ring| {
        for end in [End::Send, End::Receive] {
            a.join(ring, end);
            assert!(!a.is_deserted(ring, end) && a.present(ring, end).contains(&a.me()));
            a.leave_end(ring, end);
        }
    });
}

/// Appends to the feed, if that may be.
fn append(a: &Actor, oldest: Oldest) -> bool {
    with(a, "F", |ring| {
        let number = number(a);
        let item = ok(draft(a, number, 1));
        say(a, Said::Appending, number);
        let done = ok(a.try_append(ring, item, oldest)) == Outcome::Done(());
        match done {
            true => say(a, Said::Appended, number),
            false => a.drop_draft(item),
        }
        done
    }) == Some(true)
}

fn end_feed(a: &Actor) {
    with(a, "F", |ring| {
        let end = ok(a.draft_end());
        if ok(a.try_append(ring, end, Oldest::MayGo)) != Outcome::Done(()) {
            a.drop_draft(end);
        }
    });
}

/// A channel `c` of two cells with an item in it and one that came back, and `d` of one cell.
pub fn queue_stage() -> Stage {
    let sim = world();
    let a = quiet(&sim, PARENT);
    make(&a, "C", 2);
    make(&a, "D", 1);
    send(&a, "C");
    refuse(&a, "C");
    send(&a, "C");
    make_feed(&a);
    append(&a, Oldest::MayGo);
    Stage { expect: Expect::default(), image: sim.image() }
}

/// The channels of [`queue_stage`], and somebody dead who had both items leased, and nobody has noticed.
pub fn orphaned_stage() -> Stage {
    let stage = queue_stage();
    let sim = enter(&stage);
    let dead = quiet(&sim, 50);
    with(&dead, "C", |ring| while take(&dead, ring).is_some() {});
    sim.state().kill(50);
    Stage { image: sim.image(), ..stage }
}

/// What is raced, stopped and piled on each other.
pub fn acts() -> Vec<Act> {
    fn act(name: &'static str, run: fn(&Actor)) -> Act {
        Act { name, run, may: &[] as May }
    }
    vec![
        act("send to C", |a| send(a, "C")),
        act("receive from C", |a| receive(a, "C")),
        act("receive twice from C", |a| {
            receive(a, "C");
            receive(a, "C");
        }),
        // The second item has the memory of the second that was received: the lowest slot is used first.
        act("receive twice from C, then send twice", |a| {
            (0..2).for_each(|_| receive(a, "C"));
            (0..2).for_each(|_| send(a, "C"));
        }),
        act("wait for an item of C and something else, and take it", |a| {
            if with(a, "C", |ring| select_item(a, ring).0) == Some(true) {
                receive(a, "C");
            }
        }),
        act("close C and drain it", |a| {
            if close_and_drain(a, "C") {
                say(a, Said::Drained, C);
            }
        }),
        act("recover, receive twice, send twice", |a| {
            ok(a.sweep());
            (0..2).for_each(|_| receive(a, "C"));
            (0..2).for_each(|_| send(a, "C"));
        }),
        act("refuse what comes from C", |a| refuse(a, "C")),
        act("forward from C to D", |a| forward(a, "C", "D")),
        act("send to D and receive, twice", |a| {
            for _ in 0..2 {
                send(a, "D");
                receive(a, "D");
            }
        }),
        act("send to D", |a| send(a, "D")),
        act("receive from D", |a| receive(a, "D")),
        act("close C", |a| close(a, "C")),
        act("remove C", |a| remove(a, "C")),
        act("come and go", come_and_go),
        act("append to F", |a| {
            append(a, Oldest::MayGo);
        }),
        act("append to F twice", |a| {
            append(a, Oldest::MayGo);
            append(a, Oldest::MayGo);
        }),
        act("append to F five times", |a| {
            for _ in 0..5 {
                append(a, Oldest::MayGo);
            }
        }),
        act("append to F when all have read", |a| {
            append(a, Oldest::MustBeSeen);
            append(a, Oldest::MustBeSeen);
        }),
        act("read F", |a| {
            read_feed(a);
        }),
        // The memory of its first item becomes an end's, as large as an item, which is not appended.
        act("append to F three times, and think of closing it", |a| {
            for _ in 0..3 {
                append(a, Oldest::MayGo);
            }
            let end = ok(a.alloc(Kind::End, 300));
            a.drop_draft(end);
        }),
        act("look where F ends", |a| {
            with(a, "F", |ring| {
                let (items, ended) = (a.items_end(ring), a.has_ended(ring));
                let (more, again) = (a.items_end(ring), a.has_ended(ring));
                assert!(more >= items, "F1: {more} items, after {items}");
                assert!(again >= ended, "F3: it had ended");
            });
        }),
        act("close F", end_feed),
        act("remove F", |a| {
            say(a, Said::FeedRemoved, 0);
            ok(a.remove("F"));
        }),
        act("sweep", |a| {
            ok(a.sweep());
        }),
    ]
}

fn empty_channels(a: &Actor) {
    make(a, "C", 2);
    make(a, "D", 1);
}

fn id_of(a: &Actor, name: &str) -> Id {
    with(a, name, |ring| ring.id).expect("made")
}

/// B4: the hook ends waits for room and for items: what was to be sent is a draft still, what was to be sent on is leased.
fn interrupted_waits(a: &Actor) {
    let me = a.env.number();
    a.env.state().interrupted.insert(me);
    let is_interrupted = |bell, attempt: &mut dyn FnMut() -> bool| {
        let waited = a.wait(bell, Until::Forever, || {}, || Ok(attempt().then_some(())));
        matches!(waited, Err(Error::Interrupted))
    };
    send(a, "C");
    send(a, "D");
    with(a, "D", |to| {
        let own = number(a);
        let item = ok(draft(a, own, 1));
        assert!(is_interrupted(to.bell(End::Send), &mut || try_send(a, to, item, own)));
        a.drop_draft(item);
        with(a, "C", |from| {
            let taken = take(a, from).expect("sent");
            let number = value(a, taken.id);
            let draft = a.lease_to_draft(from, taken).expect("it is ours");
            assert!(is_interrupted(to.bell(End::Send), &mut || try_send(a, to, draft, number)));
            let lease = a.draft_to_lease(draft, taken.attempts).expect("Q1: it is ours still");
            a.refuse(from, lease);
        });
    });
    receive(a, "D");
    forward(a, "C", "D");
    receive(a, "D");
    with(a, "D", |ring| assert!(is_interrupted(ring.bell(End::Receive), &mut || take(a, ring).is_some())));
    send(a, "D");
    with(a, "D", |ring| {
        // There is one: the hook is not asked.
        let mut taken = None;
        let come = || {
            taken = take(a, ring);
            taken.is_some()
        };
        let mut come = come;
        assert!(!is_interrupted(ring.bell(End::Receive), &mut come));
        acknowledge(a, ring, taken.expect("sent"));
    });
    a.env.state().interrupted.remove(&me);
}

/// The operations that the sweeps go through, each with its own stage.
pub fn scripts() -> Vec<Script> {
    fn plain(name: &'static str, before: fn(&Actor), victim: fn(&Actor)) -> Script {
        Script { name, before, victim, may: &[], room: ROOM }
    }
    vec![
        plain("make a channel", |_| {}, |a| make(a, "C", 2)),
        Script {
            may: &[("z", Some(20)), ("z", None)],
            ..plain("share what is leased, and acknowledge it", empty_channels, |a| {
                send(a, "C");
                with(a, "C", |ring| {
                    let taken = take(a, ring).expect("sent");
                    assert!(ok(alias_of(a, "z", taken.id, 20)));
                    acknowledge(a, ring, taken);
                });
                assert_eq!(ok(read(a, "z")), Some(20));
            })
        },
        plain("send until it is full, receive all, twice", empty_channels, |a| {
            for _ in 0..2 {
                (0..3).for_each(|_| send(a, "C"));
                (0..3).for_each(|_| receive(a, "C"));
            }
        }),
        plain("wait for one of two things", empty_channels, |a| {
            let select = || with(a, "C", |ring| select_item(a, ring).0) == Some(true);
            assert!(!select(), "there is no item");
            let wakes = a.env.state().wakes;
            send(a, "C");
            assert_eq!(a.env.state().wakes, wakes + 1, "B5: the second bell was not armed");
            assert!(select());
            receive(a, "C");
            // B6: what was armed is no matter to those who ring, and to those who sleep.
            assert!(!select());
            send(a, "C");
            receive(a, "C");
            assert!(!select());
        }),
        plain("refuse, and take again", empty_channels, |a| {
            send(a, "C");
            send(a, "C");
            refuse(a, "C");
            with(a, "C", |ring| {
                let taken = take(a, ring).expect("it came back");
                assert_eq!((value(a, taken.id), taken.attempts), (1, 1), "Q5: the oldest first");
                acknowledge(a, ring, taken);
            });
            receive(a, "C");
        }),
        plain("forward, with and without room", empty_channels, |a| {
            send(a, "C");
            send(a, "C");
            forward(a, "C", "D");
            forward(a, "C", "D");
            assert_eq!(with(a, "C", |ring| a.outstanding(ring).len()), Some(1), "it goes back where it came from");
            receive(a, "D");
            forward(a, "C", "D");
            receive(a, "D");
        }),
        plain("send, forward and receive, interrupted", empty_channels, interrupted_waits),
        plain("close, drain", empty_channels, |a| {
            send(a, "C");
            close(a, "C");
            with(a, "C", |ring| {
                let item = ok(draft(a, 99, 0));
                assert_eq!(ok(a.try_send(ring, item)), Outcome::Closed);
                a.drop_draft(item);
                let taken = take(a, ring).expect("sent before");
                acknowledge(a, ring, taken);
                assert_eq!(ok(a.try_take(ring)), Outcome::Closed);
            });
        }),
        plain("remove a channel with items, leases and returns", empty_channels, |a| {
            (0..2).for_each(|_| send(a, "C"));
            refuse(a, "C");
            send(a, "C");
            let id = id_of(a, "C");
            remove(a, "C");
            assert_ne!(a.kind(id).ok(), None::<Kind>);
        }),
        plain(
            "leases of the dead",
            |a| {
                empty_channels(a);
                (0..2).for_each(|_| send(a, "C"));
                let dead = quiet(&a.env, 50);
                with(&dead, "C", |ring| {
                    let one = take(&dead, ring).expect("sent");
                    take(&dead, ring).expect("sent");
                    // One of them half forwarded.
                    dead.lease_to_draft(ring, one).expect("its own");
                });
                a.env.state().kill(50);
            },
            |a| {
                ok(a.recover());
                (0..2).for_each(|_| receive(a, "C"));
            },
        ),
        plain(
            "remove a channel whose leases the dead had",
            |a| {
                empty_channels(a);
                (0..2).for_each(|_| send(a, "C"));
                let dead = quiet(&a.env, 50);
                with(&dead, "C", |ring| take(&dead, ring).expect("sent"));
                a.env.state().kill(50);
            },
            |a| {
                remove(a, "C");
                ok(a.recover());
            },
        ),
        plain("come and go", empty_channels, come_and_go),
        plain("make a feed", |_| {}, make_feed),
        plain("append, twice round", make_feed, |a| {
            (0..7).for_each(|_| assert!(append(a, Oldest::MayGo)));
            assert_eq!(read_feed(a).0.len(), 2);
            let loose = a.look_for_violations();
            assert!(loose.is_empty(), "what was replaced was not let go: {loose:?}");
        }),
        plain("wait for a subscriber", make_feed, |a| {
            with(a, "F", |ring| {
                let (lease, start) = ok(a.try_subscribe(ring, |oldest, _| oldest)).expect("room");
                assert!(
                    append(a, Oldest::MustBeSeen) && append(a, Oldest::MustBeSeen) && !append(a, Oldest::MustBeSeen),
                    "F4"
                );
                a.show_position(ring, lease, start + 1);
                assert!(append(a, Oldest::MustBeSeen), "F4: it has read one");
                a.give_back(lease);
                assert!(
                    append(a, Oldest::MustBeSeen) && append(a, Oldest::MustBeSeen),
                    "nobody is waited for who left"
                );
            });
        }),
        plain("close a feed, full and waited for", make_feed, |a| {
            with(a, "F", |ring| {
                let (lease, _) = ok(a.try_subscribe(ring, |oldest, _| oldest)).expect("room");
                assert!(append(a, Oldest::MustBeSeen) && append(a, Oldest::MustBeSeen));
                end_feed(a);
                assert!(!append(a, Oldest::MayGo), "F3");
                a.give_back(lease);
            });
            assert_eq!(read_feed(a).0.len(), 2, "the end replaced nothing");
        }),
        plain(
            "a subscriber that died",
            |a| {
                make_feed(a);
                let dead = quiet(&a.env, 50);
                with(&dead, "F", |ring| ok(dead.try_subscribe(ring, |_, newest| newest)).expect("room"));
                a.env.state().kill(50);
                assert!(
                    append(a, Oldest::MustBeSeen) && append(a, Oldest::MustBeSeen) && !append(a, Oldest::MustBeSeen)
                );
            },
            |a| {
                ok(a.recover());
                assert!(append(a, Oldest::MustBeSeen), "F4: the dead are not waited for");
            },
        ),
    ]
}
