//! Shows that one call, a descriptor or a future waits for any of many things: each does what it says, none is left out,
//! none sleeps on, and a death among those who are waited for is noticed.

use std::time::{Duration, Instant};

use faretra::channel::WhenDeserted;
use faretra::feed::{Start, WhenFull};
use faretra::ready::Selected;
use faretra::sync::Reset;
use faretra::{Error, MIB, Pollable, RecvError, Select};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::ready_puppet::{is_readable, jobs};
use crate::support::{Child, DEADLINE, PORTABLE, TestArena, until};

const SHORT: Duration = Duration::from_millis(20);

/// Who waits for somebody to come to the other end is not ready before that: its descriptor and its `Select` would be ready over
/// and over again otherwise, and find nothing.
#[test]
fn who_waits_for_another_end_is_not_ready() {
    let t = TestArena::new(16 * MIB);
    let a = &t.arena;
    let writer = a.writer().expect("a permit");
    let mut sender = writer.sender("full", 1).expect("made");
    sender.send("a").expect("room");
    drop(a.receiver("full").expect("made"));
    drop(writer.feed("ticks", 1, WhenFull::Block).expect("made"));
    let mut subscriber = a.subscribe("ticks", Start::Oldest).expect("room");
    assert!(sender.pollable().expect("made").is_ready().expect("ours"));
    assert!(subscriber.pollable().expect("made").is_ready().expect("ours"));

    sender.set_when_deserted(WhenDeserted::Block);
    subscriber.set_when_deserted(WhenDeserted::Block);
    let (room, tick) = (sender.pollable().expect("made"), subscriber.pollable().expect("made"));
    assert!(!room.rearm().expect("ours") && !tick.rearm().expect("ours"));
    let mut select = Select::new();
    select.send(&sender);
    select.read(&subscriber);
    assert_eq!(select.try_ready().expect("ours"), None);

    a.receiver("full").expect("made").recv().expect("an item").ack();
    assert!(is_readable(&room, DEADLINE));
    writer.feed("ticks", 1, WhenFull::Block).expect("made").append("b").expect("room");
    assert!(is_readable(&tick, DEADLINE));
}

/// Each operation is selected when it can be done, with its result; nothing is when none can.
#[test]
fn each_operation_is_selected() {
    let t = TestArena::new(16 * MIB);
    let a = &t.arena;
    let writer = a.writer().expect("a permit");
    let (sender, receiver) = (jobs(a).expect("made"), a.receiver("jobs").expect("made"));
    let feed = writer.feed("ticks", 1, WhenFull::Block).expect("made");
    let mut subscriber = a.subscribe("ticks", Start::Oldest).expect("room");
    let event = a.event("e", Reset::Auto).expect("made");
    let mutex = a.mutex_with("m", 5_u64).expect("made");
    let semaphore = a.semaphore("s", 1).expect("made");
    let (guard, permit) = (mutex.lock().expect("free"), semaphore.acquire().expect("free"));

    let mut select = Select::new();
    assert!(matches!(select.select(), Err(Error::Invalid(_))), "there is nothing to wait for");
    let job = select.recv(&receiver);
    let tick = select.read(&subscriber);
    let set = select.wait(&event);
    let lock = select.lock(&mutex);
    let acquire = select.acquire(&semaphore);
    let named = select.wait_for(a, "x", 0).expect("a name");
    assert!(select.try_select().expect("ours").is_none());
    assert!(matches!(select.select_timeout(SHORT), Err(Error::TimedOut(limit)) if limit == SHORT));
    assert!(matches!(select.select_deadline(Instant::now() + SHORT), Err(Error::TimedOut(_))));
    assert_eq!(select.try_ready().expect("ours"), None);

    sender.send("a").expect("room");
    assert_eq!(select.ready().expect("one"), job);
    let done = select.select().expect("one");
    assert_eq!(done.index(), job);
    // Unused, it is undone.
    drop(done);
    let done = select.select().expect("one");
    assert_eq!(done.index(), job);
    let lease = done.recv(&receiver).expect("an item");
    assert_eq!((lease.bytes().expect("bytes"), lease.attempts()), (&b"a"[..], 1));
    lease.ack();

    feed.append("b").expect("room");
    let done = select.select().expect("one");
    assert_eq!(done.index(), tick);
    assert_eq!(done.read(&mut subscriber).expect("an item").bytes().expect("bytes"), b"b");

    event.set().expect("ours");
    drop(select.select().expect("one"));
    assert!(event.is_set().expect("ours"), "what was not used is set again");
    let done = select.select().expect("one");
    assert_eq!(done.index(), set);
    assert!(matches!(done.lock(&mutex), Err(Error::Invalid(_))), "it is another operation");
    select.select().expect("one").wait(&event).expect("that one");
    assert!(!event.is_set().expect("ours"));

    drop(guard);
    let done = select.select().expect("one");
    assert_eq!(done.index(), lock);
    let mut guard = done.lock(&mutex).expect("locked");
    assert!(!guard.recovered());
    *guard += 1;
    assert!(mutex.try_lock().expect("ours").is_none());

    drop(permit);
    let done = select.select().expect("one");
    assert_eq!(done.index(), acquire);
    let permit = done.acquire(&semaphore).expect("acquired");
    assert_eq!(semaphore.available().expect("ours"), 0);

    writer.publish("x", "1").expect("room");
    let done = select.select().expect("one");
    assert_eq!(done.index(), named);
    assert_eq!(done.object().expect("that one").version(), 1);
    select.remove(named);
    let named = select.wait_for(a, "x", 1).expect("a name");
    assert!(select.try_select().expect("ours").is_none());
    writer.publish("x", "2").expect("room");
    let done = select.select().expect("one");
    assert_eq!((done.index(), done.object().expect("that one").version()), (named, 2));
    drop((guard, permit));
    assert_eq!(*mutex.lock().expect("free"), 6);
    t.assert_nothing_left_but(select, (sender, receiver, feed, subscriber, event, mutex, semaphore, writer));
}

impl TestArena {
    fn assert_nothing_left_but<T>(&self, select: Select, others: T) {
        drop((select, others));
        self.assert_nothing_left(vec![]);
    }
}

/// A sender and a producer that wait for room go on when there is some; a value that has no room comes back.
#[test]
fn room_is_selected() {
    let t = TestArena::new(16 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let sender = writer.sender("one", 1).expect("made");
    let receiver = t.arena.receiver("one").expect("made");
    let feed = writer.feed("ticks", 1, WhenFull::Block).expect("made");
    let mut subscriber = t.arena.subscribe("ticks", Start::Oldest).expect("room");
    let mut select = Select::new();
    let (send, append) = (select.send(&sender), select.append(&feed));
    for _ in 0..2 {
        let done = select.select().expect("room");
        match done.index() {
            i if i == send => done.send(&sender, "a").expect("room"),
            i if i == append => done.append(&feed, "b").expect("room"),
            other => unreachable!("{other}"),
        }
    }
    assert!(select.try_ready().expect("ours").is_none());
    receiver.recv().expect("an item").ack();
    assert_eq!(select.try_ready().expect("ours"), Some(send));
    sender.send("c").expect("room");
    subscriber.recv().expect("an item");
    assert_eq!(select.try_ready().expect("ours"), Some(append));
    drop((select, sender, receiver, feed, subscriber, writer));
    t.assert_nothing_left(vec![]);
}

/// Of many that are always ready, each is selected as often as every other.
#[test]
fn none_is_left_out() {
    let t = TestArena::new(16 * MIB);
    let events: Vec<_> = (0..7).map(|i| t.arena.event(&format!("e{i}"), Reset::Manual).expect("made")).collect();
    let mut select = Select::new();
    for event in &events {
        select.wait(event);
        event.set().expect("ours");
    }
    let mut counts = [0; 7];
    for _ in 0..70 {
        counts[select.select().expect("all are").index()] += 1;
    }
    assert_eq!(counts, [10; 7]);
}

/// A select that sleeps is woken by each thing that it waits for, in two arenas, more of them than the kernel lets one
/// sleep on at once.
#[test]
fn a_sleeper_is_woken_by_each_of_many() {
    let (t, u) = (TestArena::new(16 * MIB), TestArena::new(16 * MIB));
    for many in [2, 64, 300] {
        let event = |i: usize| {
            (if i.is_multiple_of(2) { &t } else { &u }).arena.event(&format!("e{i}"), Reset::Auto).expect("made")
        };
        let events: Vec<_> = (0..many).map(event).collect();
        let mut select = Select::new();
        for event in &events {
            select.wait(event);
        }
        for i in [0, 1, many / 2, many - 1] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(5));
                    events[i].set().expect("ours");
                });
                let done = select.select_timeout(DEADLINE).expect("it was set");
                assert_eq!(done.index(), i);
                done.wait(&events[i]).expect("that one");
            });
        }
    }
}

/// Two threads that wait for the same items get each once, in whatever order, and none waits for what the other took.
#[test]
fn who_is_too_late_waits_on() {
    let t = TestArena::new(16 * MIB);
    let sender = jobs(&t.arena).expect("made");
    let run = || {
        let receiver = t.arena.receiver("jobs").expect("made");
        let mut select = Select::new();
        select.recv(&receiver);
        let mut count = 0;
        loop {
            match select.select().expect("ours").recv(&receiver) {
                Ok(lease) => {
                    lease.ack();
                    count += 1;
                }
                Err(RecvError::Closed { clean: true }) => return count,
                Err(e) => panic!("{e}"),
            }
        }
    };
    let received: u32 = std::thread::scope(|scope| {
        let both = [scope.spawn(run), scope.spawn(run)];
        for _ in 0..2000 {
            sender.send("x").expect("room");
        }
        sender.close().expect("open");
        both.map(|one| one.join().expect("no panic")).iter().sum()
    });
    assert_eq!(received, 2000);
}

fn pollables(t: &TestArena, many: usize) -> Vec<(Pollable, faretra::sync::Event)> {
    let event = |i| t.arena.event(&format!("e{i}"), Reset::Auto).expect("made");
    (0..many).map(event).map(|event| (event.pollable().expect("a thread"), event)).collect()
}

/// A descriptor of each kind is readable when that is ready and not before, once; and it is closed on exec.
#[test]
fn descriptors_are_readable_when_it_is_time() {
    let t = TestArena::new(16 * MIB);
    let a = &t.arena;
    let writer = a.writer().expect("a permit");
    let (sender, receiver) = (writer.sender("one", 1).expect("made"), a.receiver("one").expect("made"));
    let feed = writer.feed("ticks", 1, WhenFull::Block).expect("made");
    let mut subscriber = a.subscribe("ticks", Start::Oldest).expect("room");
    let event = a.event("e", Reset::Auto).expect("made");
    let (mutex, semaphore) = (a.mutex("m").expect("made"), a.semaphore("s", 1).expect("made"));
    let check = |pollable: &Pollable, what: &str, make_ready: &mut dyn FnMut()| {
        assert!(!is_readable(pollable, SHORT), "{what}: too early");
        assert!(!pollable.is_ready().expect("ours"));
        make_ready();
        assert!(is_readable(pollable, DEADLINE), "{what}: never");
        assert!(is_readable(pollable, Duration::ZERO) && pollable.is_ready().expect("ours"));
        assert!(pollable.rearm().expect("ours"), "{what}: it still is");
        assert!(is_readable(pollable, Duration::ZERO));
        let flags = FdFlag::from_bits_truncate(fcntl(pollable, FcntlArg::F_GETFD).expect("a descriptor"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    };
    let items = receiver.pollable().expect("a thread");
    check(&items, "an item", &mut || sender.send("a").expect("room"));
    let room = sender.pollable().expect("a thread");
    check(&room, "room", &mut || receiver.recv().expect("one").ack());
    assert!(!items.rearm().expect("ours"), "it was taken");
    check(&items, "another item", &mut || sender.send("b").expect("room"));
    let ticks = subscriber.pollable().expect("a thread");
    check(&ticks, "a tick", &mut || feed.append("c").expect("room"));
    let seen = feed.pollable().expect("a thread");
    check(&seen, "room in a feed", &mut || drop(subscriber.recv().expect("one")));
    check(&event.pollable().expect("a thread"), "an event", &mut || event.set().expect("ours"));
    let mut guard = Some(mutex.lock().expect("free").into_owned());
    check(&mutex.pollable().expect("a thread"), "a mutex", &mut || guard = None);
    let mut permit = Some(semaphore.acquire().expect("free").into_owned());
    check(&semaphore.pollable().expect("a thread"), "a permit", &mut || permit = None);
    let mut version = 0;
    check(&a.pollable("x", 0).expect("a thread"), "a new name", &mut || {
        version = writer.publish("x", "1").expect("room")
    });
    check(&a.pollable("x", version).expect("a thread"), "a version", &mut || drop(writer.publish("x", "2")));
    // Far more than one thread can sleep on.
    let many = pollables(&t, 300);
    for (_, event) in &many {
        event.set().expect("ours");
    }
    for (pollable, event) in &many {
        assert!(is_readable(pollable, DEADLINE));
        assert!(event.try_wait().expect("ours"));
        assert!(!pollable.rearm().expect("ours"));
    }
    for i in [299, 128, 0] {
        many[i].1.set().expect("ours");
        assert!(is_readable(&many[i].0, DEADLINE));
    }
    drop((
        guard, permit, many, items, room, ticks, seen, sender, receiver, feed, subscriber, event, mutex, semaphore,
        writer,
    ));
    t.assert_nothing_left(vec![]);
}

/// What a dead process held, or was to do, makes those ready who wait for it: by a select and by a descriptor.
#[test]
fn deaths_make_things_ready() {
    let t = TestArena::new(16 * MIB);
    let mut waiter = t.puppet();
    let mut watcher = t.puppet();
    let mut holder = t.puppet();
    // So that nothing is ready: `m` and `s` are held by one who stays, too.
    holder.ask("lock m");
    holder.ask("acquire s 1");
    let slowest = |what: &str, since: Instant| eprintln!("{what}: {:?}", since.elapsed());
    // A sender that dies, with nothing in the channel.
    let mut dies = t.puppet();
    dies.ask("w-send a");
    assert_eq!(waiter.ask("w-select 30000"), "job a attempts=0");
    watcher.ask("w-watch");
    assert_eq!(watcher.ask("w-poll 50"), "false");
    waiter.tell("w-select 30000");
    until_asleep(&waiter);
    let since = Instant::now();
    dies.kill();
    assert_eq!(waiter.answer(), Ok("job closed clean=false".into()));
    assert_eq!(watcher.ask("w-poll 30000"), "true");
    slowest("a sender that was killed", since);
    assert_eq!(watcher.ask("w-try"), "closed clean=false");

    // A receiver that dies with an item.
    let keeper = t.arena.clone();
    let sender = jobs(&keeper).expect("there");
    assert_eq!(watcher.ask("w-rearm"), "false");
    sender.send("b").expect("room");
    let mut dies = t.puppet();
    assert_eq!(dies.ask("w-take"), "b");
    while watcher.ask("w-rearm") == "true" {
        assert_eq!(watcher.ask("w-try"), "empty");
    }
    waiter.tell("w-select 30000");
    until_asleep(&waiter);
    let since = Instant::now();
    dies.kill();
    let got = waiter.answer().expect("an answer");
    slowest("a receiver that was killed", since);
    assert_eq!(got, "job b attempts=1");
    assert_eq!(watcher.ask("w-poll 30000"), "true");

    // The holder of a mutex and a permit.
    for (verb, says) in [("lock m", "lock recovered=true"), ("acquire s 1", "permit recovered=true")] {
        waiter.tell("w-select 30000");
        until_asleep(&waiter);
        let since = Instant::now();
        holder.kill();
        let got = waiter.answer().expect("an answer");
        slowest(verb, since);
        assert!(got == "lock recovered=true" || got == "permit recovered=true", "{got} for {says}");
        holder = t.puppet();
        holder.ask("lock m");
        holder.ask("consistent");
        holder.ask("acquire s 1");
    }
    drop((sender, keeper));
    t.assert_nothing_left(vec![waiter, watcher, holder]);
}

/// Waits until the thread of a child that was told something sleeps on several bells.
fn until_asleep(child: &Child) {
    if PORTABLE {
        return child.until_waiting();
    }
    let call = libc::SYS_futex_waitv.to_string();
    let sleeps = |task: std::io::Result<std::fs::DirEntry>| {
        let at = task.and_then(|task| std::fs::read_to_string(task.path().join("syscall")));
        at.is_ok_and(|at| at.split(' ').next() == Some(&call))
    };
    let tasks = || std::fs::read_dir(format!("/proc/{}/task", child.pid)).expect("it lives");
    until("a waiter to sleep on several bells", || tasks().any(sleeps).then_some(()));
}

/// Where the kernel has no call that sleeps on several bells (before Linux 5.16), or a sandbox forbids that call, a select and
/// a descriptor notice all that they wait for, deaths too.
#[test]
fn without_the_call_that_sleeps_on_several() {
    for error in [libc::ENOSYS, libc::EPERM] {
        let t = TestArena::new(16 * MIB);
        let sender = jobs(&t.arena).expect("made");
        let event = t.arena.event("e", Reset::Auto).expect("made");
        let mut holder = t.puppet();
        holder.ask("lock m");
        holder.ask("acquire s 1");
        let mut waiter = t.puppet();
        waiter.ask(&format!("forbid {} {error}", libc::SYS_futex_waitv));
        let mut slowest = Duration::ZERO;
        for round in 0..10 {
            let mut when_asleep = |happens: &mut dyn FnMut(), says: &str| {
                waiter.tell("w-select 30000");
                waiter.until_waiting();
                let since = Instant::now();
                happens();
                assert_eq!(waiter.answer().as_deref(), Ok(says));
                slowest = slowest.max(since.elapsed());
            };
            when_asleep(&mut || sender.send("a").expect("room"), "job a attempts=0");
            when_asleep(&mut || event.set().expect("ours"), "event");
            when_asleep(&mut || drop(holder.ask("unlock")), "lock recovered=false");
            holder.ask("lock m");
            when_asleep(&mut || drop(holder.ask("give")), "permit recovered=false");
            holder.ask("acquire s 1");
            if round == 9 {
                let version = || t.arena.writer().expect("a permit").publish("x", "it").expect("room");
                when_asleep(&mut || assert_eq!(version(), 1), "name 1");
            }
        }
        eprintln!("{error}: {slowest:?} at most");
        t.arena.writer().expect("a permit").remove("x").expect("sound");
        waiter.tell("w-select 30000");
        waiter.until_waiting();
        holder.kill();
        let got = waiter.answer().expect("an answer");
        assert!(got == "lock recovered=true" || got == "permit recovered=true", "{got}");
        // The thread that watches is started under the same rule.
        waiter.ask("w-watch");
        assert_eq!(waiter.ask("w-poll 20"), "false");
        for _ in 0..10 {
            sender.send("b").expect("room");
            assert_eq!(waiter.ask("w-poll 30000"), "true");
            assert_eq!(waiter.ask("w-try"), "b");
            assert_eq!(waiter.ask("w-rearm"), "false");
        }
        drop((sender, event));
        t.assert_nothing_left(vec![waiter]);
    }
}

/// Waiters that are killed at any moment take nothing with them and leave nobody asleep.
#[test]
fn killed_waiters_leave_nothing() {
    let t = TestArena::new(16 * MIB);
    let sender = jobs(&t.arena).expect("made");
    let mut holder = t.puppet();
    holder.ask("lock m");
    holder.ask("acquire s 1");
    let mut random = crate::values::Random(11);
    for _ in 0..12 {
        let mut all: Vec<Child> = (0..2).map(|_| t.puppet()).collect();
        for child in &mut all {
            child.ask("w-storm");
        }
        let until = Instant::now() + Duration::from_millis(3 + random.below(30));
        while Instant::now() < until {
            let _ = sender.try_send("x");
        }
        all.iter_mut().for_each(Child::kill);
        t.arena.recover().expect("recover");
        // One who lives gets all that is left, and what comes.
        let receiver = t.arena.receiver("jobs").expect("there");
        let mut select = Select::new();
        select.recv(&receiver);
        while let Some(done) = select.try_select().expect("ours") {
            done.recv(&receiver).expect("an item").ack();
        }
        sender.send("last").expect("room");
        let done = select.select_timeout(DEADLINE).expect("an item");
        let lease = done.recv(&receiver).expect("an item");
        assert_eq!(lease.bytes().expect("bytes"), b"last");
        lease.ack();
    }
    drop(sender);
    t.assert_nothing_left(vec![holder]);
}

/// A process that is stopped, its watching thread too, finds its descriptor readable when it goes on; signals do not end
/// waits; a forked child has neither the thread nor descriptors, until it opens the arena itself.
#[test]
fn stopped_interrupted_and_forked() {
    let t = TestArena::new(16 * MIB);
    let sender = jobs(&t.arena).expect("made");
    let mut watcher = t.puppet();
    watcher.ask("w-watch");
    for _ in 0..5 {
        assert_eq!(watcher.ask("w-poll 1"), "false");
        watcher.stop();
        sender.send("x").expect("room");
        watcher.resume();
        assert_eq!(watcher.ask("w-poll 30000"), "true");
        assert_eq!(watcher.ask("w-try"), "x");
        assert_eq!(watcher.ask("w-rearm"), "false");
    }
    t.fork(&mut watcher, "w-fork");
    let mut holder = t.puppet();
    holder.ask("lock m");
    holder.ask("acquire s 1");
    watcher.interrupt();
    watcher.tell("w-select 30000");
    std::thread::sleep(Duration::from_millis(300));
    sender.send("y").expect("room");
    assert_eq!(watcher.answer(), Ok("job y attempts=0".into()));
    watcher.assert_interrupted(100);
    // The child had closed nothing of the parent's.
    while watcher.ask("w-rearm") == "true" {
        watcher.ask("w-try");
    }
    sender.send("z").expect("room");
    assert_eq!(watcher.ask("w-poll 30000"), "true");
    assert_eq!(watcher.ask("w-try"), "z");
    drop(sender);
    t.assert_nothing_left(vec![watcher, holder]);
}

/// Waiting in vain, by a select or with a descriptor armed, costs next to nothing.
#[test]
fn waiting_for_many_is_cheap() {
    let t = TestArena::new(16 * MIB);
    let sender = jobs(&t.arena).expect("made");
    let mut holder = t.puppet();
    holder.ask("lock m");
    holder.ask("acquire s 1");
    let mut waiter = t.puppet();
    waiter.assert_idle("w-idle 1000", "a select over five things; a descriptor");
    drop(sender);
    t.assert_nothing_left(vec![waiter, holder]);
}

/// Names come and go while they are waited for.
#[test]
fn names_that_come_and_go_are_waited_for() {
    let t = TestArena::new(16 * MIB);
    let rounds = 300_u64;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let writer = t.arena.writer().expect("a permit");
            for i in 0..rounds {
                writer.publish("x", format!("{i}").as_str()).expect("room");
                if i % 3 == 0 && i + 1 != rounds {
                    writer.remove("x").expect("there or not");
                }
            }
        });
        let mut seen = 0;
        while seen < rounds {
            let mut select = Select::new();
            select.wait_for(&t.arena, "x", seen).expect("a name");
            let done: Selected = select.select_timeout(DEADLINE).expect("a version");
            let version = done.object().expect("that one").version();
            assert!(version > seen);
            seen = version;
        }
    });
    t.assert_nothing_left(vec![]);
}

#[cfg(feature = "async")]
mod futures {
    use super::*;
    use faretra::SubscriberError;
    use futures_lite::StreamExt;
    use std::future::Future;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    /// Runs the same under tokio and under async-executor.
    fn under_both<F: Future<Output = ()> + Send + 'static>(make: impl Fn() -> F) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        tokio.block_on(async { tokio::spawn(make()).await.expect("no panic") });
        let executor = async_executor::Executor::new();
        futures_lite::future::block_on(executor.run(executor.spawn(make())));
    }

    /// Every wait has a future, woken by another process' or thread's doing.
    #[test]
    fn futures_wait_for_everything() {
        under_both(|| async {
            let t = TestArena::new(16 * MIB);
            let a = &t.arena;
            let writer = a.writer().expect("a permit");
            let (sender, receiver) = (writer.sender("one", 1).expect("made"), a.receiver("one").expect("made"));
            let feed = writer.feed("ticks", 1, WhenFull::Block).expect("made");
            let mut subscriber = a.subscribe("ticks", Start::Oldest).expect("room");
            let event = a.event("e", Reset::Auto).expect("made");
            let (mutex, semaphore) = (a.mutex_with("m", 1_u32).expect("made"), a.semaphore("s", 1).expect("made"));
            let (guard, permit) =
                (mutex.lock().expect("free").into_owned(), semaphore.acquire().expect("free").into_owned());

            let waits = async {
                let item = receiver.recv_async().await.expect("one");
                assert_eq!(item.bytes().expect("bytes"), b"a");
                item.ack();
                assert_eq!(subscriber.recv_async().await.expect("one").bytes().expect("bytes"), b"b");
                event.wait_async().await.expect("set");
                *mutex.lock_async().await.expect("free") += 1;
                drop(semaphore.acquire_async().await.expect("free"));
                let x = a.wait_for_async("x", 0).await.expect("published");
                assert_eq!(a.wait_for_async("x", x.version()).await.expect("published").version(), 2);
                // Room is made by who receives below.
                sender.send_async("c").await.expect("room");
                sender.send_async("d").await.expect("room");
                feed.append_async("e").await.expect("room");
                let reads = async {
                    futures_lite::future::yield_now().await;
                    assert_eq!(subscriber.recv_async().await.expect("one").bytes().expect("bytes"), b"e");
                };
                let (appended, ()) = futures_lite::future::zip(feed.append_async("f"), reads).await;
                appended.expect("room");
            };
            let others = std::thread::spawn({
                let (sender, receiver, feed, event) = (sender.clone(), receiver.clone(), feed.clone(), event.clone());
                let slow = || std::thread::sleep(Duration::from_millis(5));
                let other = a.clone();
                move || {
                    slow();
                    sender.send("a").expect("room");
                    slow();
                    feed.append("b").expect("room");
                    slow();
                    event.set().expect("ours");
                    slow();
                    drop(guard);
                    slow();
                    drop(permit);
                    slow();
                    let writer = other.writer().expect("a permit");
                    writer.publish("x", "1").expect("room");
                    slow();
                    writer.publish("x", "2").expect("room");
                    slow();
                    receiver.recv_timeout(DEADLINE).expect("one").ack();
                    receiver.recv_timeout(DEADLINE).expect("one").ack();
                }
            });
            waits.await;
            others.join().expect("no panic");
        });
    }

    /// A stream yields what the iterator yields, and ends as it does.
    #[test]
    fn streams_yield_everything_and_end() {
        under_both(|| async {
            let t = TestArena::new(16 * MIB);
            let sender = jobs(&t.arena).expect("made");
            let receiver = t.arena.receiver("jobs").expect("made");
            let feed = t.arena.writer().expect("a permit").feed("ticks", 4, WhenFull::DropOldest).expect("made");
            let mut subscriber = t.arena.subscribe("ticks", Start::Oldest).expect("room");
            let sends = std::thread::spawn(move || {
                for _ in 0..500 {
                    sender.send("x").expect("room");
                    feed.append("y").expect("room");
                }
                sender.close().expect("open");
                feed.close().expect("room");
            });
            let mut items = receiver.stream();
            let mut count = 0;
            while let Some(item) = items.next().await {
                item.expect("an item").ack();
                count += 1;
            }
            assert_eq!(count, 500);
            assert!(items.next().await.is_none());
            let (mut ticks, mut seen, mut missed) = (subscriber.stream(), 0, 0);
            while let Some(tick) = ticks.next().await {
                match tick {
                    Ok(_) => seen += 1,
                    Err(SubscriberError::Lagged(n)) => missed += n,
                    Err(e) => panic!("{e}"),
                }
            }
            assert_eq!(seen + missed, 500);
            drop(ticks);
            sends.join().expect("no panic");
            // Nobody is at the other end, and it was not closed: an error, then the end.
            let (deserted, receiver) = (t.arena.writer().expect("a permit").sender("d", 1), t.arena.receiver("d"));
            drop(deserted.expect("made"));
            let mut items = receiver.expect("made").stream();
            assert!(matches!(items.next().await, Some(Err(RecvError::Closed { clean: false }))));
            assert!(items.next().await.is_none());
        });
    }

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_pending<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> bool {
        let waker = Waker::from(count.clone());
        let mut future = std::pin::Pin::new(future);
        matches!(future.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending)
    }

    /// A future that is dropped while it waits has taken nothing, and leaves nothing: also after it was woken.
    #[test]
    fn dropped_futures_take_nothing() {
        let t = TestArena::new(16 * MIB);
        let a = &t.arena;
        let writer = a.writer().expect("a permit");
        let (sender, receiver) = (writer.sender("one", 1).expect("made"), a.receiver("one").expect("made"));
        let (mutex, semaphore) = (a.mutex("m").expect("made"), a.semaphore("s", 1).expect("made"));
        let event = a.event("e", Reset::Auto).expect("made");
        for woken in [false, true] {
            let count = Arc::new(Count(AtomicU32::new(0)));
            let (guard, permit) = (mutex.lock().expect("free"), semaphore.acquire().expect("free"));
            let mut recv = receiver.recv_async();
            let mut lock = mutex.lock_async();
            let mut acquire = semaphore.acquire_async();
            let mut wait = event.wait_async();
            assert!(is_pending(&mut recv, &count) && is_pending(&mut lock, &count));
            assert!(is_pending(&mut acquire, &count) && is_pending(&mut wait, &count));
            if woken {
                drop((guard, permit));
                event.set().expect("ours");
                sender.send("a").expect("room");
                until("four wakes", || (count.0.load(Ordering::Relaxed) == 4).then_some(()));
                let mut send = sender.send_async("b");
                assert!(is_pending(&mut send, &count), "the channel is full");
                drop(send);
            }
            drop((recv, lock, acquire, wait));
        }
        assert!(mutex.try_lock().expect("ours").is_some());
        assert!(semaphore.try_acquire().expect("ours").is_some());
        assert!(event.try_wait().expect("ours"));
        let lease = receiver.try_recv().expect("it is there");
        assert_eq!((lease.bytes().expect("bytes"), lease.attempts()), (&b"a"[..], 0));
        lease.ack();
        assert!(receiver.is_empty(), "what was not sent is not there");
        drop((sender, receiver, mutex, semaphore, event, writer));
        t.assert_nothing_left(vec![]);
    }

    /// A send waits for memory as well as for room, and holds none while it waits for memory.
    #[test]
    fn sends_wait_for_memory() {
        under_both(|| async {
            let t = TestArena::new(4 * MIB);
            let sender = t.arena.writer().expect("a permit").sender("big", 4).expect("made");
            let receiver = t.arena.receiver("big").expect("made");
            let big = vec![7_u8; MIB as usize + 1000];
            let sends = async {
                for _ in 0..12 {
                    sender.send_async(&big[..]).await.expect("room comes");
                }
            };
            let receives = async {
                for _ in 0..12 {
                    let item = receiver.recv_async().await.expect("one");
                    assert_eq!(item.bytes().expect("bytes").len(), big.len());
                    item.ack();
                }
            };
            futures_lite::future::zip(sends, receives).await;
            // What could never fit fails at once.
            let huge = vec![0_u8; 8 * MIB as usize];
            let failed = sender.send_async(&huge[..]).await.expect_err("no room");
            assert!(format!("{failed:?}").contains("NoSpace"), "{failed:?}");
        });
    }
}

/// A channel without a bound is ready while it has items, wherever in its segments they lie, and not when it has none.
#[test]
fn an_unbounded_channel_is_ready() {
    let t = TestArena::new(16 * MIB);
    let sender = t.arena.writer().expect("a permit").unbounded("jobs").expect("made");
    let receiver = t.arena.receiver("jobs").expect("made");
    let pollable = receiver.pollable().expect("ours");
    for n in 0..3000_u64 {
        assert!(!receiver.is_ready().expect("ours"), "empty, after {n} items");
        assert!(!pollable.rearm().expect("ours"), "empty, after {n} items");
        sender.send(n.to_le_bytes().as_slice()).expect("room");
        assert!(receiver.is_ready().expect("ours"), "item {n}");
        assert!(pollable.rearm().expect("ours"), "item {n}");
        receiver.try_recv().expect("an item").ack();
    }
    // One that came back counts.
    sender.send("again").expect("room");
    drop(receiver.try_recv().expect("an item"));
    assert!(receiver.is_ready().expect("ours"));
    assert!(pollable.rearm().expect("ours"));
    assert_eq!(receiver.sent(), 3001);
}
