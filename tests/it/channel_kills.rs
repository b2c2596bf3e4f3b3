//! Shows that channels outlive whoever sends, receives or sends on: killed, stopped, interrupted or forked. Nothing
//! is lost, seen twice, or seen by halves.

use std::path::Path;
use std::time::{Duration, Instant};

use faretra::{Arena, MIB, RecvError, SendError, Writer};

use crate::course::{self, Workers, kill_often};
use crate::flow::{CHANNELS, Flow, Got, Went, make_channels, sender};
use crate::history::{self, Told};
use crate::support::{Child, DEADLINE, until};
use crate::values::{self, Random};

/// Longer than it takes to find out that somebody is dead.
const A_WHILE: Duration = Duration::from_millis(400);

/// An arena with its channels.
type Course = course::Course<Flow>;

impl course::Flow for Flow {
    type Told = Told;
    const VERBS: &'static str = "c";

    fn make(writer: &Writer) -> faretra::Result<()> {
        make_channels(writer)
    }

    fn begin(arena: &Arena, history: &Path) -> Result<Flow, String> {
        Flow::new(arena, history)
    }

    fn drain(self) -> Result<(), String> {
        Flow::drain(self)
    }

    fn check(history: &Path) -> Result<Told, String> {
        history::check(&history::read(history).map_err(|e| e.to_string())?)
    }
}

impl Course {
    fn depth(&self, channel: u8) -> u64 {
        self.info(CHANNELS[usize::from(channel)].0).depth
    }
}

/// Sends so many items, and returns their ids.
#[track_caller]
fn send_some(flow: &mut Flow, channel: u8, count: u64) -> Vec<u64> {
    let one = |_| match flow.send(channel, "drafted-batch", 50, Some(DEADLINE)).expect("sound") {
        Went::Sent(id) => id,
        other => panic!("not sent: {other:?}"),
    };
    (0..count).map(one).collect()
}

#[track_caller]
fn receive(flow: &mut Flow, channel: u8) -> (u64, u64) {
    match flow.receive(channel, Some(DEADLINE)).expect("whole") {
        Got::Item { id, attempts } => (id, attempts),
        other => panic!("nothing received: {other:?}"),
    }
}

/// What a killed receiver had leased comes to another who waits, by itself; and before newer items.
#[test]
fn leases_of_the_killed_come_to_another() {
    let course = Course::new(16 * MIB);
    let (mut here, mut other) = (course.flow(), course.puppet());
    for leases in [1, 2, 5] {
        let mut victim = course.puppet();
        let ids = send_some(&mut here, 0, leases);
        for id in &ids {
            assert_eq!(victim.ask("c-take 0 30000"), format!("{id} attempts=0"));
        }
        other.tell("c-take 0");
        other.until_waiting();
        victim.kill();
        assert_eq!(other.answer(), Ok(format!("{} attempts=1", ids[0])), "to one who waits already");
        assert_eq!(course.t.arena.recover().expect("recover").participants, 0, "the waiter did it");
        let newer = send_some(&mut here, 0, 2);
        for (i, id) in ids.iter().enumerate().skip(1) {
            assert_eq!(other.ask("c-take 0 30000"), format!("{id} attempts=1"), "lease {i} before newer ones");
        }
        for id in &newer {
            assert_eq!(other.ask("c-take 0 30000"), format!("{id} attempts=0"));
        }
        // What comes back again says so, and is the oldest again.
        other.ask("c-refuse");
        assert_eq!(other.ask("c-take 0 30000"), format!("{} attempts=2", ids[0]));
        for _ in 0..leases + 2 {
            other.ask("c-ack");
        }
    }
    here.leave().expect("in order");
    let told = course.end(vec![other]);
    assert_eq!((told.sent, told.acked, told.dead, told.perhaps_acked), (14, 14, 3, 0), "{told:?}");
}

/// Receivers that are killed in the middle of their work: each item is acknowledged once.
#[test]
fn busy_receivers_lose_nothing() {
    let course = Course::new(16 * MIB);
    let mut sends = course.puppet();
    sends.ask("c-produce 0 40");
    let mut survivor = course.puppet();
    survivor.ask("c-consume 0");
    let mut victim = kill_often(&course, "c-consume 0", 40, 15_000);
    let mut here = course.flow();
    here.sender(0).expect("sound").expect("room").close().expect("open");
    for child in [&mut sends, &mut survivor, &mut victim] {
        child.answer().expect("closed for good");
    }
    here.leave().expect("in order");
    let told = course.end(vec![sends, survivor, victim]);
    assert!(told.dead >= 20 && told.perhaps_acked <= told.dead, "{told:?}");
    eprintln!("{told:?}");
}

/// Senders that are killed in the middle of sending: what they sent is received, whole, before anybody is told that
/// they are gone, and another goes on.
#[test]
fn busy_senders_send_nothing_by_halves() {
    for (channel, words, kills, longest_us) in [(0, 40, 40, 10_000), (2, 8 << 17, 15, 60_000)] {
        let course = Course::new(128 * MIB);
        let mut receives = course.puppet();
        receives.ask(&format!("c-consume {channel}"));
        let mut victim = kill_often(&course, &format!("c-produce {channel} {words}"), kills, longest_us);
        let mut here = course.flow();
        // The last one too: nobody is left who could send.
        victim.kill();
        receives.kill();
        let mut last = None;
        let got = until("everything that they sent", || match here.receive(channel, Some(A_WHILE)).expect("whole") {
            Got::Item { id, .. } => {
                last = Some(id);
                here.ack(0).expect("whole");
                None
            }
            got => Some(got),
        });
        assert_eq!(got, Got::Closed { clean: false }, "{words} words each");
        let after = send_some(&mut here, channel, 1);
        assert_eq!(receive(&mut here, channel), (after[0], 0), "another sender goes on");
        assert!(last != Some(after[0]));
        here.leave().expect("in order");
        let told = course.end(vec![]);
        assert!(told.dead > kills / 2 && told.received > 0, "{told:?}");
        eprintln!("{words} words: {told:?}");
    }
}

/// A sender that is killed while it waits for room leaves nothing behind, and no hole.
#[test]
fn blocked_senders_that_die_leave_nothing() {
    let course = Course::new(16 * MIB);
    let mut here = course.flow();
    here.receiver(0).expect("sound").expect("made");
    let ids = send_some(&mut here, 0, CHANNELS[0].1 as u64);
    for _ in 0..3 {
        let mut blocked: Vec<Child> = (0..3).map(|_| course.puppet()).collect();
        for b in &mut blocked {
            b.tell("c-send 0 1000");
            b.until_waiting();
        }
        blocked.iter_mut().for_each(Child::kill);
    }
    course.t.arena.recover().expect("recover");
    for id in ids {
        assert_eq!(receive(&mut here, 0), (id, 0));
        here.ack(0).expect("whole");
    }
    assert_eq!(here.receive(0, Some(A_WHILE)), Ok(Got::Nothing), "nothing that was not sent");
    here.leave().expect("in order");
    let told = course.end(vec![]);
    assert_eq!((told.sent, told.perhaps_sent, told.acked), (8, 9, 8));
}

/// When the last receiver dies, a sender that waits for room is told, and has its value back.
#[test]
fn senders_are_told_when_the_last_receiver_dies() {
    let course = Course::new(16 * MIB);
    let (mut receives, mut sends) = (course.puppet(), course.puppet());
    receives.ask("c-join 2 receive");
    for _ in 0..CHANNELS[2].1 {
        assert!(sends.ask("c-send 2 100 30000").starts_with("sent"));
    }
    sends.tell("c-send 2 100");
    sends.until_waiting();
    let w = course.t.arena.writer().expect("a permit");
    let here = sender(&w, 2).expect("made");
    let words = values::payload(77, 1000);
    let refused = std::thread::scope(|s| {
        let t = &course.t;
        let killed = s.spawn(move || {
            until("both to wait", || {
                let all = t.arena.channels().expect("sound");
                (all.iter().any(|c| c.blocked.len() == 2)).then_some(())
            });
            receives.kill();
        });
        let draft = values::drafted_batch(&w, &words).expect("room");
        let refused = here.send_timeout(draft, DEADLINE).expect_err("nobody receives");
        killed.join().expect("no panic");
        refused
    });
    let SendError::Closed { value, clean: false } = refused else { panic!("{refused:?}") };
    assert_eq!(sends.answer().as_deref(), Ok("closed clean=false"));
    // Another receiver comes, and gets it.
    let receiver = course.t.arena.receiver(CHANNELS[2].0).expect("made");
    for _ in 0..CHANNELS[2].1 {
        receiver.recv_timeout(DEADLINE).expect("sent").ack();
    }
    here.send_timeout(value, DEADLINE).expect("it goes on");
    let lease = receiver.recv_timeout(DEADLINE).expect("sent");
    assert_eq!(values::check(&lease), Ok(77));
    lease.ack();
    drop(receiver);
    // The history does not know of what was received here.
    drop((here, w));
    sends.finish();
    let w = course.t.arena.writer().expect("a permit");
    for (name, ..) in CHANNELS {
        assert!(w.remove(name).expect("sound"));
    }
    drop(w);
    course.t.assert_sound(0);
}

/// Nobody receives: `try_send` says so when there is no room, as `send` does.
#[test]
fn trying_to_send_tells_that_nobody_receives() {
    let course = Course::new(16 * MIB);
    let (mut receives, mut here) = (course.puppet(), course.flow());
    receives.ask("c-join 2 receive");
    send_some(&mut here, 2, CHANNELS[2].1 as u64);
    let mut send = |limit| here.send(2, "drafted-batch", 4, Some(limit)).expect("sound");
    assert_eq!(send(Duration::ZERO), Went::Full);
    receives.kill();
    course.t.arena.recover().expect("recover");
    assert_eq!(send(DEADLINE), Went::Closed { clean: false });
    assert_eq!(send(Duration::ZERO), Went::Closed { clean: false });
    here.leave().expect("in order");
    course.end(vec![]);
}

/// Nobody receives, and nobody recovers but the one who tries to send: polling looks for deaths too.
#[test]
fn trying_to_send_finds_the_dead() {
    let course = Course::new(16 * MIB);
    let (mut receives, mut here) = (course.puppet(), course.flow());
    receives.ask("c-join 2 receive");
    send_some(&mut here, 2, CHANNELS[2].1 as u64);
    receives.kill();
    until("to be told", || {
        let tried = here.send(2, "drafted-batch", 4, Some(Duration::ZERO)).expect("sound");
        (tried == Went::Closed { clean: false }).then_some(()).or_else(|| {
            assert_eq!(tried, Went::Full);
            None
        })
    });
    here.leave().expect("in order");
    course.end(vec![]);
}

/// Who waits for memory that a dead receiver had is told of the death, or has the memory, as soon as any other waiter.
#[test]
fn waiting_for_memory_finds_the_dead() {
    let course = Course::new(16 * MIB);
    let (mut receives, mut sends) = (course.puppet(), course.puppet());
    receives.ask("c-join 0 receive");
    course.t.occupy(13 * MIB);
    sends.tell("c-send 0 524288");
    sends.until_waiting();
    let start = Instant::now();
    receives.kill();
    assert_eq!(sends.answer(), Ok("closed clean=false".into()));
    eprintln!("told after {:?}", start.elapsed());
    course.t.vacate();
    course.end(vec![sends]);
}

/// Who is stopped keeps what he has leased, and holds up nobody: receivers, and senders in the middle of sending.
#[test]
fn the_stopped_hold_up_nobody() {
    let course = Course::new(64 * MIB);
    let (mut stopped, mut here) = (course.puppet(), course.flow());
    let ids = send_some(&mut here, 0, 3);
    assert_eq!(stopped.ask("c-take 0 30000"), format!("{} attempts=0", ids[0]));
    stopped.stop();
    for id in &ids[1..] {
        assert_eq!(receive(&mut here, 0), (*id, 0));
        here.ack(0).expect("whole");
    }
    assert_eq!(here.receive(0, Some(A_WHILE)), Ok(Got::Nothing), "it is not dead");
    stopped.resume();
    assert_eq!(stopped.ask("c-ack"), ids[0].to_string());

    let mut senders: Vec<Child> = (0..2).map(|_| course.puppet()).collect();
    for s in &mut senders {
        s.ask("c-produce 0 200");
    }
    let mut random = Random(5);
    for round in 0..25 {
        until("a sender to get on", || (course.depth(0) > 0).then_some(()));
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        senders.iter().for_each(Child::stop);
        // Whatever they were at: everything that was there is received, and what is sent now too.
        while let Got::Item { .. } = here.receive(0, Some(Duration::ZERO)).expect("whole") {
            here.ack(0).expect("whole");
        }
        let ids = send_some(&mut here, 0, 2);
        for id in ids {
            assert_eq!(receive(&mut here, 0), (id, 0), "round {round}");
            here.ack(0).expect("whole");
        }
        senders.iter().for_each(Child::resume);
    }
    senders.iter_mut().for_each(Child::kill);
    here.leave().expect("in order");
    course.end(vec![stopped]);
}

/// Items go through a chain whose middle is killed again and again: each is in one place at a time.
#[test]
fn forwarding_survives_those_who_forward() {
    let course = Course::new(16 * MIB);
    let mut sends = course.puppet();
    sends.ask("c-produce 0 40");
    let mut receives = course.puppet();
    receives.ask("c-consume 1");
    let mut relay = course.puppet();
    relay.ask("c-relay 0 1");
    let mut victim = kill_often(&course, "c-relay 0 1", 40, 10_000);
    let mut here = course.flow();
    here.sender(0).expect("sound").expect("room").close().expect("open");
    for child in [&mut sends, &mut relay, &mut victim] {
        child.answer().expect("closed for good");
    }
    here.sender(1).expect("sound").expect("room").close().expect("open");
    receives.answer().expect("closed for good");
    here.leave().expect("in order");
    let told = course.end(vec![sends, receives, relay, victim]);
    assert!(told.perhaps_acked == 0 && told.forwarded > 0, "{told:?}");
    eprintln!("{told:?}");
}

/// After the close, what a receiver has leased comes to the others when it dies; only then are they told the end.
#[test]
fn the_end_comes_after_what_comes_back() {
    let course = Course::new(16 * MIB);
    let mut here = course.flow();
    let mut children: Vec<Child> = (0..3).map(|_| course.puppet()).collect();
    let ids = send_some(&mut here, 0, 2);
    for id in &ids {
        assert_eq!(children[0].ask("c-take 0 30000"), format!("{id} attempts=0"));
    }
    here.sender(0).expect("sound").expect("room").close().expect("open");
    for c in &mut children[1..] {
        c.tell("c-take 0");
        c.until_waiting();
    }
    assert_eq!(here.receive(0, Some(A_WHILE)), Ok(Got::Nothing), "two leases are out");
    children.remove(0).kill();
    let mut got: Vec<String> = children.iter_mut().map(|c| c.answer().expect("an item")).collect();
    got.sort();
    let mut expected: Vec<String> = ids.iter().map(|id| format!("{id} attempts=1")).collect();
    expected.sort();
    assert_eq!(got, expected);
    for c in &mut children {
        c.ask("c-ack");
    }
    for c in &mut children {
        assert_eq!(c.ask("c-take 0"), "closed clean=true");
    }
    here.leave().expect("in order");
    course.end(children);
}

/// After the close, an item that is being sent on to a channel without room is not out of the first channel yet: the end
/// comes after it.
#[test]
fn the_end_comes_after_what_is_being_sent_on() {
    for closed in [true, false] {
        let course = Course::new(16 * MIB);
        let mut here = course.flow();
        let mut relay = course.puppet();
        let mut sends = course.puppet();
        here.receiver(1).expect("sound").expect("made");
        send_some(&mut here, 1, CHANNELS[1].1 as u64);
        let sent = sends.ask("c-send 0 100");
        let id = sent.strip_prefix("sent ").expect("sent");
        assert_eq!(relay.ask("c-take 0 30000"), format!("{id} attempts=0"));
        if closed {
            sends.ask("c-close 0");
        }
        sends.ask("c-end");
        sends.finish();
        relay.tell("c-forward 1");
        relay.until_waiting();
        let shown = course.t.arena.channels().expect("sound").into_iter().find(|c| c.name == "in").expect("made");
        assert_eq!((shown.leased, shown.returned), (1, 0), "closed: {closed}");
        let got = here.receive(0, Some(A_WHILE));
        assert_eq!(got, Ok(Got::Nothing), "closed: {closed}: it may come back");
        relay.kill();
        let (again, attempts) = receive(&mut here, 0);
        assert_eq!((again.to_string(), attempts), (id.to_owned(), 1), "closed: {closed}");
        here.ack(0).expect("whole");
        let end = here.receive(0, Some(DEADLINE));
        assert_eq!(end, Ok(Got::Closed { clean: closed }));
        here.leave().expect("in order");
        course.end(vec![]);
    }
}

/// Who sends an item on is killed in the middle of that, wherever it stands, while others wait for the end of the
/// channel: one of them gets the item, or the other channel has it, and only then are they told the end.
#[test]
fn the_end_comes_after_who_sends_on_is_killed() {
    let mut random = Random(7);
    for round in 0..24 {
        let course = Course::new(16 * MIB);
        let mut here = course.flow();
        let mut relay = course.puppet();
        let mut others: Vec<Child> = (0..2).map(|_| course.puppet()).collect();
        // In every third round there is room, and it may be done.
        let has_room = round % 3 == 0;
        here.receiver(1).expect("sound").expect("made");
        let full = send_some(&mut here, 1, if has_room { 0 } else { CHANNELS[1].1 as u64 });
        let id = send_some(&mut here, 0, 1)[0];
        assert_eq!(relay.ask("c-take 0 30000"), format!("{id} attempts=0"));
        here.sender(0).expect("sound").expect("room").close().expect("open");
        for other in &mut others {
            other.tell("c-consume 0");
            other.answer().expect("it begins");
            other.until_waiting();
        }
        relay.tell("c-forward 1");
        match round % 3 {
            1 => relay.until_waiting(),
            _ => std::thread::sleep(Duration::from_micros(random.below(600))),
        }
        relay.kill();
        let received: Vec<u64> = others.iter_mut().map(|o| o.answer().expect("the end").parse().unwrap()).collect();
        let came_back = received.iter().sum::<u64>();
        for id in &full {
            assert_eq!(receive(&mut here, 1), (*id, 0));
            here.ack(0).expect("whole");
        }
        let went_on = here.receive(1, Some(Duration::ZERO)).expect("whole");
        match came_back {
            // It may have been the other channel's only sender.
            1 => assert!(matches!(went_on, Got::Nothing | Got::Closed { clean: false }), "round {round}: {went_on:?}"),
            0 => assert_eq!(went_on, Got::Item { id, attempts: 0 }, "round {round}"),
            _ => panic!("round {round}: received {received:?}"),
        }
        here.leave().expect("in order");
        let told = course.end(others);
        assert_eq!((told.dead, told.acked), (1, told.sent), "round {round}: {told:?}");
    }
}

/// Who has a channel open goes on when its name is removed; it goes with the last of them, with what is in it.
#[test]
fn removed_channels_go_with_their_last_user() {
    let course = Course::new(64 * MIB);
    let (mut sends, mut receives, mut victim) = (course.puppet(), course.puppet(), course.puppet());
    let sent = |child: &mut Child| child.ask("c-send 0 100000 30000").strip_prefix("sent ").expect("room").to_owned();
    let ids: Vec<String> = (0..5).map(|_| sent(&mut sends)).collect();
    assert_eq!(victim.ask("c-take 0 30000"), format!("{} attempts=0", ids[0]));
    assert_eq!(receives.ask("c-take 0 30000"), format!("{} attempts=0", ids[1]));
    let w = course.t.arena.writer().expect("a permit");
    for (name, ..) in CHANNELS {
        assert!(w.remove(name).expect("sound"));
    }
    assert!(course.t.arena.channels().expect("sound").is_empty());
    // Another of that name has nothing to do with it.
    let other = sender(&w, 0).expect("made");
    let other_end = course.t.arena.receiver("in").expect("made");
    sent(&mut sends);
    assert!(matches!(other_end.try_recv(), Err(RecvError::Empty)));
    victim.kill();
    course.t.arena.recover().expect("recover");
    assert_eq!(receives.ask("c-take 0 30000"), format!("{} attempts=1", ids[0]), "what comes back still does");
    assert_eq!(receives.ask("c-take 0 30000"), format!("{} attempts=0", ids[2]));
    receives.ask("c-ack");
    drop((other, other_end));
    assert!(w.remove("in").expect("sound"));
    drop(w);
    let live = course.t.arena.stats().expect("stats").live;
    assert!(live > 5 * 800_000, "{live} bytes: three in it, two leased");
    sends.finish();
    course.t.arena.recover().expect("recover");
    let live = course.t.arena.stats().expect("stats").live;
    assert!(live > 5 * 800_000, "{live} bytes: it is open still");
    receives.kill();
    course.t.assert_sound(0);
    assert_eq!(course.t.arena.stats().expect("stats").objects, 0);
}

/// A sender waits for memory that a receiver gives back; what could never fit is an error at once.
#[test]
fn a_full_arena_makes_senders_wait() {
    const LIMIT: u64 = 16 * MIB;
    let course = Course::new(LIMIT);
    let mut sends = course.puppet();
    let mut here = course.flow();
    here.receiver(0).expect("sound").expect("made");
    // Three of 4 MiB fit beside the arena's own.
    for _ in 0..3 {
        assert!(sends.ask("c-send-kind 0 bytes 524288").starts_with("sent"));
    }
    sends.tell("c-send-kind 0 bytes 524288");
    sends.until_waiting();
    assert_eq!(sends.try_answer(A_WHILE), None, "the channel has room, the arena has not");
    receive(&mut here, 0);
    assert_eq!(sends.try_answer(A_WHILE), None, "what is leased is there still");
    here.ack(0).expect("whole");
    assert!(sends.answer().expect("memory").starts_with("sent"));

    // Alone it could be had, with what is there already not: that depends on others.
    let w = course.t.arena.writer().expect("a permit");
    let to = sender(&w, 1).expect("made");
    let start = Instant::now();
    let words = vec![0_u8; LIMIT as usize - 3 * MIB as usize];
    let late = to.send_timeout(words.as_slice(), A_WHILE).expect_err("no room");
    assert!(matches!(late, SendError::TimedOut(_) | SendError::NoSpace { .. }), "{late:?}");
    assert!(start.elapsed() >= A_WHILE, "it may come");
    // In one piece, in one piece beside the arena's own, and in several pieces.
    let column = |rows: u64| -> arrow_array::ArrayRef {
        std::sync::Arc::new(arrow_array::UInt64Array::from_iter_values(0..rows))
    };
    let columns = [("a", column(LIMIT / 16)), ("b", column(LIMIT / 16)), ("c", column(LIMIT / 16))];
    let in_pieces = arrow_array::RecordBatch::try_from_iter(columns).expect("a batch");
    for (what, bytes) in [("more than the limit", LIMIT + 1), ("the limit", LIMIT)] {
        let words = vec![0_u8; bytes as usize];
        assert_is_too_large(what, to.clone(), move |to| to.send(words.as_slice()).map_err(|e| e.to_string()));
    }
    assert_is_too_large("three columns", to.clone(), move |to| to.send(&in_pieces).map_err(|e| e.to_string()));
    drop((to, w));
    here.leave().expect("in order");
    course.end(vec![sends]);
}

/// Sends in a thread of its own, which the deadline leaves behind.
#[track_caller]
fn assert_is_too_large(
    what: &str,
    to: faretra::Sender,
    send: impl FnOnce(&faretra::Sender) -> Result<(), String> + Send + 'static,
) {
    let (told, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(send(&to)));
    let done = done.recv_timeout(Duration::from_secs(10));
    assert!(matches!(&done, Ok(Err(e)) if e.contains("no room")), "{what}: {done:?}");
}

/// A sender that waits for memory is told too when the last receiver dies, or the channel is closed: nobody would ever
/// give it any.
#[test]
fn waiting_for_memory_ends_when_nobody_receives() {
    for closed in [true, false] {
        let course = Course::new(16 * MIB);
        let (mut sends, mut receives) = (course.puppet(), course.puppet());
        receives.ask("c-join 0 receive");
        for _ in 0..3 {
            assert!(sends.ask("c-send-kind 0 bytes 524288").starts_with("sent"));
        }
        sends.tell("c-send 0 524288");
        sends.until_waiting();
        if closed {
            receives.ask("c-close 0");
        } else {
            receives.kill();
        }
        assert_eq!(sends.answer(), Ok(format!("closed clean={closed}")));
        course.end(if closed { vec![sends, receives] } else { vec![sends] });
    }
}

/// Signals at 1 kHz at both ends lose no item, and no wake-up: a lost one costs a slice.
#[test]
fn signals_disturb_no_hand_over() {
    const ROUNDS: u64 = 8000;
    let course = Course::new(16 * MIB);
    let mut two = [course.puppet(), course.puppet()];
    two.iter_mut().for_each(Child::interrupt);
    two[0].ask("c-join 0 send");
    two[1].ask("c-join 1 send");
    // Interrupted for long in a wait that is in vain.
    assert_eq!(two[0].ask("c-take 1 300"), "nothing");
    let start = Instant::now();
    for (side, c) in two.iter_mut().enumerate() {
        c.tell(&format!("c-rounds {ROUNDS} {side}"));
    }
    for c in &mut two {
        c.answer().expect("in time");
    }
    eprintln!("{ROUNDS} items to and fro with alarms: {:?}", start.elapsed());
    two.iter_mut().for_each(|c| c.assert_interrupted(100));
    let told = course.end(two.into());
    assert_eq!((told.acked, told.received_again), (told.sent, 0), "{told:?}");
}

/// Waiting costs next to nothing.
#[test]
fn waiters_are_idle() {
    let course = Course::new(16 * MIB);
    let mut here = course.flow();
    here.receiver(2).expect("sound").expect("made");
    here.sender(0).expect("sound").expect("room");
    send_some(&mut here, 2, CHANNELS[2].1 as u64);
    let mut idle = course.puppet();
    idle.assert_idle("c-idle 2000", "an item, for room");
    here.leave().expect("in order");
    course.end(vec![idle]);
}

/// A forked child is told so by every call; the parent's ends and leases stay the parent's.
#[test]
fn forked_children_hold_nothing() {
    let course = Course::new(16 * MIB);
    let (mut here, mut parent) = (course.flow(), course.puppet());
    let ids = send_some(&mut here, 0, 3);
    parent.ask("c-join 0 send");
    parent.ask("c-join 1 send");
    for id in &ids[..2] {
        assert_eq!(parent.ask("c-take 0 30000"), format!("{id} attempts=0"));
    }
    course.t.fork(&mut parent, "c-fork");
    let all = course.t.arena.channels().expect("sound");
    let one = all.iter().find(|c| c.name == "in").expect("made");
    assert_eq!((one.depth, one.leased, one.returned, one.closed), (1, 2, 0, false));
    assert!(one.senders.contains(&(parent.pid as u32)) && one.receivers.contains(&(parent.pid as u32)), "{one:?}");
    assert_eq!(receive(&mut here, 0), (ids[2], 0));
    here.ack(0).expect("whole");
    for id in &ids[..2] {
        assert_eq!(parent.ask("c-ack"), id.to_string());
    }
    here.leave().expect("in order");
    course.end(vec![parent]);
}

#[track_caller]
fn assert_is_another_schema(w: &Writer) {
    let batch = values::drafted_batch(w, &[1, 2]).expect("room");
    let refused = sender(w, 2).expect("made").send_timeout(batch, DEADLINE);
    assert!(matches!(refused, Err(SendError::Failed(faretra::Error::Mismatch { .. }))), "{refused:?}");
}

/// A channel of one schema tells it before the first batch, and keeps to it, whoever dies; one of mixed contents
/// takes everything.
#[test]
fn schemas_are_one_or_many() {
    let course = Course::new(16 * MIB);
    let (mut sends, mut receives, mut here) = (course.puppet(), course.puppet(), course.flow());
    sends.ask("c-join 2 send");
    receives.tell("c-schema 2");
    receives.until_waiting();
    // Asking for the schema does not make one; a batch does, also where its sender dies.
    assert_eq!(receives.try_answer(A_WHILE), None);
    assert!(sends.ask("c-send-kind 2 batch 100").starts_with("sent"));
    assert_eq!(receives.answer().as_deref(), Ok("w:UInt64 s:Utf8"));
    sends.kill();
    assert_is_another_schema(&course.t.arena.writer().expect("a permit"));
    let mut late = course.puppet();
    assert_eq!(late.ask("c-schema 2 30000"), "w:UInt64 s:Utf8");
    assert!(receives.ask("c-take 2 30000").ends_with("attempts=0"));
    receives.ask("c-ack");
    for kind in ["bytes", "array", "batch", "drafted-array", "drafted-batch"] {
        assert!(matches!(here.send(0, kind, 30, Some(DEADLINE)), Ok(Went::Sent(_))), "{kind}");
    }
    for _ in 0..5 {
        assert!(late.ask("c-take 0 30000").ends_with("attempts=0"));
        late.ask("c-ack");
    }
    // Nothing was ever sent there, and nobody is left who could; then somebody comes, and closes it.
    assert_eq!(late.ask("c-schema 1"), "the last sender left or died");
    here.sender(1).expect("sound").expect("room");
    late.tell("c-schema 1");
    late.until_waiting();
    here.sender(1).expect("sound").expect("room").close().expect("open");
    assert_eq!(late.answer().as_deref(), Ok("the channel is closed"));
    here.leave().expect("in order");
    course.end(vec![receives, late]);
}

/// How often somebody is disturbed.
const STEPS: u64 = 150;

/// Producers, consumers and those who do everything, killed, stopped and replaced at random: the history of all of
/// them is as it should be.
#[test]
fn histories_are_in_order() {
    for seed in [1, 2] {
        let course = Course::new(64 * MIB);
        let parts = ["produce", "produce", "consume", "consume", "all", "all"];
        let mut workers = Workers::start(&course, seed, parts.len(), |i, seed| format!("c-flow {} {seed}", parts[i]));
        for _ in 0..STEPS {
            workers.disturb_one(12_000);
        }
        let mut all = workers.into_all();
        course.stop(&mut all);
        let told = course.end(all);
        eprintln!("seed {seed}: {told:?}");
        assert!(told.dead > STEPS / 4 && told.acked > 100 && told.forwarded > 10, "{told:?}");
    }
}
