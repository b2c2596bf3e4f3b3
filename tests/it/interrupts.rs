//! Shows that the interrupt hook ends every kind of wait within 100 ms of a signal, that whoever waited gets back what it
//! gave, and that nothing is lost or kept by it. And that a hook that says nothing ends no wait.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, RecordBatchIterator};
use faretra::call::{CallError, WithoutServer};
use faretra::channel::{Contents, ForwardError, WhenDeserted};
use faretra::feed::{Start, WhenFull};
use faretra::sync::Reset;
use faretra::{AppendError, Arena, Error, MIB, RecvError, Select, SendError, SubscriberError};
use ndarray::Ix1;
use nix::sys::signal::Signal;

use crate::obey::{interrupt_thread, since_interrupt};
use crate::support::{DEADLINE, TestArena, until};

/// What a puppet waits for in vain, while a test has what it wants.
const KINDS: [&str; 27] = [
    "writer",
    "wait_for",
    "receiver_wait",
    "subscribe_wait",
    "lock",
    "acquire",
    "event",
    "select",
    "write",
    "read",
    "write_all",
    "read_all",
    "freeze",
    "send",
    "send_all",
    "send_memory",
    "send_deserted",
    "forward",
    "recv",
    "recv_deserted",
    "iter",
    "schema",
    "reader",
    "append",
    "subscriber",
    "feed_schema",
    "feed_reader",
];

/// What a puppet waits for in vain of values whose slots are all being written, services, and what another process makes.
const NEWER_KINDS: [&str; 7] =
    ["store", "update", "compare_exchange", "call", "call_without_server", "server", "get_or_publish"];

fn batch(rows: usize) -> RecordBatch {
    let values: Int64Array = (0..rows as i64).collect();
    RecordBatch::try_from_iter([("n", Arc::new(values) as _)]).expect("a batch")
}

/// A puppet's half: waits for what it does not get, and returns how many microseconds after the signal the wait ended.
pub fn wait_in_vain(arena: &Arena, what: &str) -> String {
    let interrupted = |e: Option<Error>| assert!(matches!(e, Some(Error::Interrupted)), "{what}: {e:?}");
    let grid = || arena.mutable_array::<u8, Ix1>("grid").expect("made");
    let writer = |f: &dyn Fn(faretra::Writer)| f(arena.writer().expect("one is left"));
    let full = |w: &faretra::Writer, name: &str| w.sender_with(name, 1, Contents::Mixed).expect("made");
    match what {
        "writer" => {
            let _last = arena.writer().expect("one is left");
            interrupted(arena.writer().err());
        }
        "wait_for" => interrupted(arena.wait_for("nothing", 0).err()),
        "receiver_wait" => interrupted(arena.receiver_wait("nothing").err()),
        "subscribe_wait" => interrupted(arena.subscribe_wait("nothing", Start::Oldest).err()),
        "lock" => interrupted(arena.mutex("mutex").expect("made").lock().err()),
        "acquire" => interrupted(arena.semaphore("semaphore", 1).expect("made").acquire().err()),
        "event" => interrupted(arena.event("event", Reset::Auto).expect("made").wait().err()),
        "select" => {
            let (event, mutex) = (arena.event("event", Reset::Auto), arena.mutex("mutex"));
            let mut select = Select::new();
            select.wait(&event.expect("made"));
            select.lock(&mutex.expect("made"));
            interrupted(select.select().err());
        }
        "write" => interrupted(grid().write(1).err()),
        "read" => interrupted(grid().read(1).err()),
        "write_all" => interrupted(grid().write_all().err()),
        "read_all" => interrupted(grid().read_all().err()),
        "freeze" => interrupted(grid().freeze().err()),
        "send" | "send_deserted" => writer(&|w| {
            let mut sender = full(&w, if what == "send" { "full" } else { "deserted" });
            sender.set_when_deserted(WhenDeserted::Block);
            let sent = sender.send(b"given back".as_slice());
            let Err(SendError::Interrupted(value)) = sent else { panic!("{what}: {sent:?}") };
            w.publish("given-back", value).expect("the value is whole");
        }),
        "send_all" => writer(&|w| {
            let one = batch(1);
            let reader = RecordBatchIterator::new([Ok(one.clone())], one.schema());
            let sent = full(&w, "full").send_all(reader);
            assert!(matches!(sent, Err(SendError::Interrupted(_))), "{what}: {sent:?}");
        }),
        "send_memory" => writer(&|w| {
            let large = batch(1 << 20);
            let sent = full(&w, "open").send(&large);
            let Err(SendError::Interrupted(value)) = sent else { panic!("{what}: {sent:?}") };
            assert!(matches!(full(&w, "open").try_send(value), Err(SendError::NoSpace { .. })), "the value is whole");
        }),
        "forward" => writer(&|w| {
            let lease = arena.receiver("source").expect("made").recv().expect("sent");
            let sent = lease.send(&full(&w, "full"));
            let Err(ForwardError::Interrupted(lease)) = sent else { panic!("{what}: {sent:?}") };
            assert_eq!(lease.bytes().expect("it is ours"), b"an item");
        }),
        "recv" | "recv_deserted" => {
            let mut receiver = arena.receiver(if what == "recv" { "open" } else { "left" }).expect("made");
            receiver.set_when_deserted(WhenDeserted::Block);
            let got = receiver.recv();
            assert!(matches!(got, Err(RecvError::Interrupted)), "{what}: {got:?}");
        }
        "iter" => {
            let receiver = arena.receiver("open").expect("made");
            let mut items = receiver.iter();
            let got = items.next();
            assert!(matches!(got, Some(Err(RecvError::Interrupted))), "{what}: {got:?}");
            let since = since_interrupt();
            arena.event("go-on", Reset::Auto).expect("made").set().expect("sound");
            let item = items.next().expect("it goes on").expect("sent");
            assert_eq!(item.bytes().expect("whole"), b"after the signal");
            return since.as_micros().to_string();
        }
        "schema" | "reader" => {
            let receiver = arena.receiver("unknown").expect("made");
            let got = if what == "schema" { receiver.schema().map(drop) } else { receiver.reader().map(drop) };
            assert!(matches!(got, Err(RecvError::Interrupted)), "{what}: {got:?}");
        }
        "append" => writer(&|w| {
            let feed = w.feed("feed", 1, WhenFull::Block).expect("made");
            let sent = feed.append(b"given back".as_slice());
            let Err(AppendError::Interrupted(value)) = sent else { panic!("{what}: {sent:?}") };
            w.publish("given-back", value).expect("the value is whole");
        }),
        "subscriber" | "feed_schema" | "feed_reader" => {
            let mut subscriber = arena.subscribe("feed", Start::Newest).expect("made");
            let got = match what {
                "subscriber" => subscriber.recv().map(drop),
                "feed_schema" => subscriber.schema().map(drop),
                _ => subscriber.reader().map(drop),
            };
            assert!(matches!(got, Err(SubscriberError::Interrupted)), "{what}: {got:?}");
        }
        "store" | "update" | "compare_exchange" => {
            let value = arena.shared_value("value", [0_u64; 4]).expect("made");
            interrupted(match what {
                "store" => value.store([9; 4]).err(),
                "update" => value.update(|_| [9; 4]).err(),
                _ => value.compare_exchange([0; 4], [9; 4]).err(),
            });
        }
        "call" | "call_without_server" => writer(&|w| {
            let service = if what == "call" { "silent" } else { "unserved" };
            let mut client = w.client(service, WithoutServer::Waits).expect("room");
            let called = client.call("in vain");
            assert!(matches!(called, Err(CallError::Failed(Error::Interrupted))), "{what}: {called:?}");
        }),
        "server" => writer(&|w| {
            let server = w.server("uncalled").expect("room");
            let got = server.recv().map(drop);
            assert!(matches!(got, Err(RecvError::Interrupted)), "{what}: {got:?}");
        }),
        "get_or_publish" => writer(&|w| {
            let made = w.get_or_publish("made", || -> Result<&str, Error> { panic!("another process makes it") });
            interrupted(made.err());
        }),
        _ => panic!("no wait is called {what}"),
    }
    since_interrupt().as_micros().to_string()
}

/// Each kind of wait, interrupted in the thread that waits; and one that is told by the next slice, because another thread
/// got the signal. The time is that of the best of five, as the machine may be busy with other things.
#[test]
fn of_each_kind() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(2));
    let w = t.arena.writer().expect("a permit");
    let (mutex, semaphore) = (t.arena.mutex("mutex").expect("made"), t.arena.semaphore("semaphore", 1).expect("made"));
    let grid = w.mutable_array::<u8, Ix1>("grid", 8, 2).expect("room");
    let mixed = |name: &str| w.sender_with(name, 1, Contents::Mixed).expect("made");
    let (full, open, source, unknown) = (mixed("full"), mixed("open"), mixed("source"), w.sender("unknown", 1));
    mixed("deserted").send(b"the only item".as_slice()).expect("room");
    drop(mixed("left"));
    let receivers = ["full", "open", "unknown"].map(|name| t.arena.receiver(name).expect("made"));
    full.send(b"the only item".as_slice()).expect("room");
    source.send(b"an item".as_slice()).expect("room");
    let feed = w.feed("feed", 1, WhenFull::Block).expect("made");
    let mut subscriber = t.arena.subscribe("feed", Start::Oldest).expect("made");
    feed.append(b"the only item".as_slice()).expect("room");
    let go_on = t.arena.event("go-on", Reset::Auto).expect("made");
    let held = (mutex.lock().expect("free"), semaphore.acquire().expect("free"), grid.write(1).expect("free"));

    let mut puppet = t.puppet();
    let thread: i32 = puppet.ask("interruptible").parse().expect("a number");
    let mut interrupt = |what: &str, directed: bool| {
        if what == "send_memory" {
            w.publish("hog", vec![0_u8; 12 << 20].as_slice()).expect("room");
        }
        puppet.tell(&format!("vain {what}"));
        puppet.until_waiting();
        match directed {
            true => interrupt_thread(puppet.pid, thread),
            false => puppet.signal(Signal::SIGINT),
        }
        if what == "iter" {
            go_on.wait_timeout(DEADLINE).expect("it was interrupted");
            open.send(b"after the signal".as_slice()).expect("room");
        }
        let micros: u64 = puppet.answer().expect("it was interrupted").parse().expect("a number");
        w.remove("hog").expect("sound");
        if what == "iter" {
            // The iterator was dropped, and its last item came back.
            receivers[1].recv_timeout(DEADLINE).expect("returned").ack();
        }
        micros
    };
    for what in KINDS {
        let best = (0..5).map(|_| interrupt(what, true)).find(|micros| *micros < 100_000);
        assert!(best.is_some(), "{what}: never within 100 ms");
        eprintln!("{what}: {best:?} us");
    }
    let slices: Vec<u64> = (0..5).map(|_| interrupt("event", false)).collect();
    eprintln!("told by the next slice: {slices:?} us");
    assert!(slices.iter().any(|micros| *micros < 100_000), "{slices:?}");

    // Everything is where it was.
    drop(held);
    drop((mutex.try_lock().expect("sound").expect("free"), semaphore.try_acquire().expect("sound").expect("free")));
    drop(grid.try_write_all().expect("sound").expect("free"));
    let left = |name: &str| t.arena.receiver(name).expect("made").try_recv().map(faretra::Lease::ack);
    for name in ["full", "source", "deserted"] {
        left(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(left(name).is_err(), "{name}: one item was sent");
    }
    assert!(left("open").is_err(), "nothing is there");
    assert_eq!(subscriber.recv().expect("appended").bytes().expect("whole"), b"the only item");
    assert!(matches!(subscriber.try_recv(), Err(SubscriberError::Empty)));
    drop((receivers, subscriber, feed, full, open, source, unknown, grid, mutex, semaphore, go_on, w));
    t.assert_nothing_left(vec![puppet]);
}

/// The kinds of waits that end when a slot of a value, a reply, a request or a maker comes. The times are as above.
#[test]
fn of_values_services_and_makers() {
    let t = TestArena::with(|o| o.limit(16 * MIB).writers(4));
    let w = t.arena.writer().expect("a permit");
    let value = t.arena.shared_value("value", [0_u64; 4]).expect("made");
    let silent = w.server("silent").expect("room");
    let mut puppet = t.puppet();
    let thread: i32 = puppet.ask("interruptible").parse().expect("a number");
    // Seven slots of eight are being written, one is current; and somebody makes a value.
    let (inside, go_on) = (AtomicU32::new(0), AtomicU32::new(0));
    let stay = || {
        inside.fetch_add(1, Ordering::SeqCst);
        until("the puppet was interrupted", || (go_on.load(Ordering::SeqCst) != 0).then_some(()));
    };
    std::thread::scope(|scope| {
        for _ in 0..7 {
            let value = &value;
            scope.spawn(move || {
                let mut waited = false;
                let add = |[n, ..]: [u64; 4]| {
                    if !std::mem::replace(&mut waited, true) {
                        stay();
                    }
                    [n + 1; 4]
                };
                value.update(add).expect("sound");
            });
        }
        let maker = scope.spawn(|| {
            w.get_or_publish("made", || {
                stay();
                Ok::<_, Error>("by another process")
            })
        });
        until("all are at work", || (inside.load(Ordering::SeqCst) == 8).then_some(()));
        for what in NEWER_KINDS {
            let best = (0..5).map(|_| {
                puppet.tell(&format!("vain {what}"));
                puppet.until_waiting();
                interrupt_thread(puppet.pid, thread);
                puppet.answer().expect("it was interrupted").parse::<u64>().expect("a number")
            });
            let best = best.into_iter().find(|micros| *micros < 100_000);
            assert!(best.is_some(), "{what}: never within 100 ms");
            eprintln!("{what}: {best:?} us");
        }
        go_on.store(1, Ordering::SeqCst);
        let made = maker.join().expect("no panic").expect("made");
        assert_eq!(made.bytes().expect("whole"), b"by another process");
    });
    // Each of the others counted, nothing else was stored, and the slots are free again.
    assert_eq!(value.load().expect("sound"), [7; 4]);
    // Each call was sent, and nobody waits for its reply any more.
    let mut sent = 0;
    while let Ok(request) = silent.try_recv() {
        request.reply("dropped").expect("nobody is there");
        sent += 1;
    }
    assert!((1..=5).contains(&sent), "{sent} calls");
    assert!(matches!(silent.try_recv(), Err(RecvError::Empty)));
    drop((silent, value, w));
    t.assert_nothing_left(vec![puppet]);
}

/// A hook that is set, says to go on, panics, is replaced and removed by other threads while others wait.
#[test]
fn hooks_change_while_others_wait() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let t = TestArena::new(16 * MIB);
    let event = t.arena.event("event", Reset::Manual).expect("made");
    let waits = || std::thread::scope(|scope| scope.spawn(|| event.wait_timeout(DEADLINE)).join().expect("no panic"));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| event.wait_timeout(DEADLINE))).collect();
        for _ in 0..1000 {
            faretra::set_interrupt_hook(Some(Box::new(|| {
                ASKED.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            })));
            faretra::set_interrupt_hook(None);
        }
        faretra::set_interrupt_hook(Some(Box::new(|| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        })));
        until("the hook is asked", || (ASKED.load(Ordering::Relaxed) > 5).then_some(()));
        event.set().expect("sound");
        for waiter in waiters {
            waiter.join().expect("no panic").expect("nobody interrupted it");
        }
    });
    event.reset().expect("sound");
    faretra::set_interrupt_hook(Some(Box::new(|| panic!("the hook's own"))));
    assert!(matches!(waits(), Err(Error::Interrupted)), "a panic ends the wait, and no more");
    // A hook may call the library, and wait there.
    let other = t.arena.event("other", Reset::Manual).expect("made");
    faretra::set_interrupt_hook(Some(Box::new(move || match other.wait_timeout(Duration::from_millis(1)) {
        Err(Error::TimedOut(_)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })));
    assert!(matches!(waits(), Err(Error::Interrupted)));
    faretra::set_interrupt_hook(None);
    assert!(matches!(event.wait_timeout(Duration::from_millis(100)), Err(Error::TimedOut(_))));
}

/// Ends that were told to block go on when somebody comes to the other end again.
#[test]
fn waits_go_on_through_desertion() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    drop(w.sender("jobs", 1).expect("made"));
    drop(w.feed("ticks", 1, WhenFull::Block).expect("made"));
    let mut receiver = t.arena.receiver("jobs").expect("made");
    let mut subscriber = t.arena.subscribe("ticks", Start::Oldest).expect("made");
    assert!(matches!(receiver.recv(), Err(RecvError::Closed { clean: false })));
    assert!(matches!(subscriber.recv(), Err(SubscriberError::Closed { clean: false })));
    receiver.set_when_deserted(WhenDeserted::Block);
    subscriber.set_when_deserted(WhenDeserted::Block);
    assert!(matches!(receiver.recv_timeout(Duration::from_millis(10)), Err(RecvError::TimedOut)));
    assert!(matches!(subscriber.recv_timeout(Duration::from_millis(10)), Err(SubscriberError::TimedOut)));
    std::thread::scope(|scope| {
        let job = scope.spawn(|| receiver.recv_timeout(DEADLINE).map(|lease| lease.bytes().expect("whole").to_vec()));
        let tick = scope.spawn(|| subscriber.recv_timeout(DEADLINE).map(|tick| tick.bytes().expect("whole").to_vec()));
        w.sender("jobs", 1).expect("there").send(b"job".as_slice()).expect("room");
        w.feed("ticks", 1, WhenFull::Block).expect("there").append(b"tick".as_slice()).expect("room");
        assert_eq!(job.join().expect("no panic").expect("sent"), b"job");
        assert_eq!(tick.join().expect("no panic").expect("appended"), b"tick");
    });
    drop(receiver);
    let mut sender = w.sender("jobs", 1).expect("there");
    sender.send(b"first".as_slice()).expect("room");
    let sent = sender.try_send(b"more".as_slice());
    assert!(matches!(sent, Err(SendError::Closed { clean: false, .. })), "{sent:?}");
    sender.set_when_deserted(WhenDeserted::Block);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| sender.send_timeout(b"last".as_slice(), DEADLINE).map_err(|e| e.to_string()));
        let receiver = t.arena.receiver("jobs").expect("there");
        until("it is received", || {
            let lease = receiver.recv_timeout(DEADLINE).expect("sent");
            let last = lease.bytes().expect("whole") == b"last";
            lease.ack();
            last.then_some(())
        });
        sent.join().expect("no panic").expect("room");
    });
}

/// A receiver and a subscriber that wait for names that are not there yet.
#[test]
fn waits_go_on_through_absence() {
    let t = TestArena::new(16 * MIB);
    let w = t.arena.writer().expect("a permit");
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| t.arena.receiver_wait("jobs").map(drop));
        let subscriber = scope.spawn(|| t.arena.subscribe_wait("ticks", Start::Oldest).map(drop));
        let object = scope.spawn(|| t.arena.wait_for("value", 0).map(drop));
        let _jobs = w.sender("jobs", 1).expect("made");
        let _ticks = w.feed("ticks", 1, WhenFull::Block).expect("made");
        w.publish("value", b"it".as_slice()).expect("room");
        for waiter in [receiver, subscriber, object] {
            waiter.join().expect("no panic").expect("made");
        }
    });
}
