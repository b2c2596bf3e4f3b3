//! Shows that feeds outlive whoever appends to them or reads them: killed, stopped or forked. Nobody who lives misses
//! anything that he is not told of, sees anything twice or by halves, or waits for the dead.

use std::path::Path;
use std::time::{Duration, Instant};

use faretra::feed::Start;
use faretra::{Arena, MIB, Writer};

use crate::course::{self, Workers};
use crate::feed_flow::{FEEDS, FeedFlow, Got, check, make_feeds};
use crate::feed_history::Told;
use crate::flow::Went;
use crate::support::{Child, DEADLINE, until};
use crate::values::Random;

const WHOLE: u8 = 0;
const RECENT: u8 = 1;

/// An arena with its feeds.
type Course = course::Course<FeedFlow>;

impl course::Flow for FeedFlow {
    type Told = Told;
    const VERBS: &'static str = "f";

    fn make(writer: &Writer) -> faretra::Result<()> {
        make_feeds(writer)
    }

    fn begin(arena: &Arena, history: &Path) -> Result<FeedFlow, String> {
        FeedFlow::new(arena, history)
    }

    fn drain(self) -> Result<(), String> {
        FeedFlow::drain(self)
    }

    fn check(history: &Path) -> Result<Told, String> {
        check(history)
    }
}

impl Course {
    /// Waits until a process waits at a feed.
    fn until_waiting(&self, child: &Child, feed: u8) {
        let name = FEEDS[usize::from(feed)].0;
        until("a process to wait", || self.info(name).blocked.contains(&(child.pid as u32)).then_some(()));
    }

    /// How many items a feed has had.
    fn position(&self, feed: u8) -> u64 {
        self.info(FEEDS[usize::from(feed)].0).sent
    }
}

#[track_caller]
fn append(flow: &mut FeedFlow, feed: u8) -> u64 {
    match flow.append(feed, "batch", 20, Some(DEADLINE)).expect("sound") {
        Went::Sent(id) => id,
        other => panic!("not appended: {other:?}"),
    }
}

#[track_caller]
fn next(flow: &mut FeedFlow, feed: u8) -> u64 {
    match flow.next(feed, Some(DEADLINE)).expect("whole") {
        Got::Item(id) => id,
        other => panic!("nothing read: {other:?}"),
    }
}

const STEPS: u64 = 250;

/// The feed that may be closed at this step.
fn closed_at(step: u64) -> Option<u8> {
    let every = STEPS / FEEDS.len() as u64;
    (step % every == every - 1).then_some((step / every) as u8).filter(|feed| usize::from(*feed) < FEEDS.len())
}

/// Producers, subscribers and those who do everything at all kinds of feeds, killed, stopped and replaced at random,
/// some of the feeds closed meanwhile: the history of all of them is as it should be.
#[test]
fn histories_are_in_order() {
    for seed in [1, 2] {
        let course = Course::new(64 * MIB);
        let parts = ["produce", "produce", "subscribe", "subscribe", "all", "all"];
        let mut workers = Workers::start(&course, seed, parts.len(), |i, seed| format!("f-flow {} {seed}", parts[i]));
        let begun = Instant::now();
        for step in 0..STEPS {
            workers.disturb_one(8_000);
            // Two of them are closed while all is going on.
            if let Some(feed) = closed_at(step).filter(|feed| (seed + u64::from(*feed)).is_multiple_of(2)) {
                let mut flow = course.flow();
                assert!(flow.close(feed).expect("sound"), "no room");
                flow.leave().expect("in order");
            }
        }
        let mut all = workers.into_all();
        course.stop(&mut all);
        let told = course.end(all);
        eprintln!("seed {seed}: {STEPS} steps in {:?}: {told:?}", begun.elapsed());
        let enough = told.dead > STEPS / 4 && told.appended > 100 && told.read > 100;
        assert!(enough && told.latest > 10 && told.snapshots > 10 && told.missed > 0, "{told:?}");
    }
}

/// Producers that append as fast as they can, with a subscriber from the first item to the end: where they wait it sees
/// all items, where not it is told of each that it missed, and none is lost; whoever is killed beside it.
#[test]
fn busy_producers_lose_nothing() {
    for (feed, words) in [(WHOLE, [40, 5000]), (RECENT, [2, 2])] {
        let course = Course::new(64 * MIB);
        let mut follows = course.puppet();
        follows.ask(&format!("f-follow {feed}"));
        let [a, b] = words.map(|words| format!("f-produce {feed} {words}"));
        let verbs = [a, b, format!("f-follow {feed}")];
        let mut workers = Workers::start(&course, 3, verbs.len(), |i, _| verbs[i].clone());
        workers.kill_often(42, 8_000);
        let mut all = workers.into_all();
        let mut here = course.flow();
        assert!(here.close(feed).expect("sound"), "no room");
        here.leave().expect("in order");
        all.push(follows);
        for child in &mut all {
            child.answer().expect("to the end");
        }
        let told = course.end(all);
        eprintln!("{told:?}");
        assert!(told.dead > 20 && told.appended > 50, "{told:?}");
        assert!(told.read + told.missed >= told.appended && (feed == WHOLE || told.missed > 0), "{told:?}");
    }
}

/// A stopped subscriber is waited for where producers wait, for that is what it was granted; until it is killed. Where
/// they do not, it holds up nobody, and is told what it missed.
#[test]
fn a_stopped_subscriber_has_what_it_was_granted() {
    let course = Course::new(16 * MIB);
    let (mut stopped, mut sends, mut here) = (course.puppet(), course.puppet(), course.flow());
    for feed in [WHOLE, RECENT] {
        stopped.ask(&format!("f-subscribe {feed} oldest"));
        assert!(here.subscribe(feed, Start::Oldest).expect("sound"));
    }
    stopped.stop();
    for _ in 0..FEEDS[usize::from(RECENT)].1 * 3 {
        let id = append(&mut here, RECENT);
        assert_eq!(next(&mut here, RECENT), id);
    }
    for _ in 0..FEEDS[usize::from(WHOLE)].1 {
        let id = append(&mut here, WHOLE);
        assert_eq!(next(&mut here, WHOLE), id);
    }
    sends.tell(&format!("f-append {WHOLE} 20"));
    course.until_waiting(&sends, WHOLE);
    let full = here.append(WHOLE, "batch", 20, Some(Duration::from_millis(200)));
    assert_eq!(full, Ok(Went::Full), "the slowest has read nothing");
    assert_eq!(sends.try_answer(Duration::ZERO), None);

    stopped.resume();
    let missed = FEEDS[usize::from(RECENT)].1 * 2;
    assert_eq!(stopped.ask(&format!("f-next {RECENT} 30000")), format!("missed {missed}"));
    stopped.ask(&format!("f-next {WHOLE} 30000"));
    let id: u64 = sends.answer().expect("room").parse().expect("appended");
    assert_eq!(next(&mut here, WHOLE), id);
    // Once more, and killed.
    stopped.stop();
    sends.tell(&format!("f-append {WHOLE} 20"));
    course.until_waiting(&sends, WHOLE);
    stopped.kill();
    let id: u64 = sends.answer().expect("nobody waits for the dead").parse().expect("appended");
    assert_eq!(next(&mut here, WHOLE), id);
    here.leave().expect("in order");
    let told = course.end(vec![sends]);
    assert_eq!((told.dead, told.lagged, told.missed), (1, 1, missed as u64), "{told:?}");
}

/// A stopped producer holds up nobody, wherever it stands: others append and read, and it goes on behind them.
#[test]
fn a_stopped_producer_holds_up_nobody() {
    let course = Course::new(64 * MIB);
    let mut here = course.flow();
    let mut producers: Vec<Child> = (0..2).map(|_| course.puppet()).collect();
    for feed in [RECENT, WHOLE] {
        assert!(here.subscribe(feed, Start::Oldest).expect("sound"));
    }
    for (p, feed) in producers.iter_mut().zip([RECENT, WHOLE]) {
        p.ask(&format!("f-produce {feed} 200"));
    }
    let mut random = Random(5);
    for round in 0..25 {
        for feed in [RECENT, WHOLE] {
            let before = course.position(feed);
            until("a producer to get on", || {
                while let Got::Item(_) | Got::Lagged(_) = here.next(feed, Some(Duration::ZERO)).expect("whole") {}
                (course.position(feed) > before).then_some(())
            });
        }
        std::thread::sleep(Duration::from_micros(random.below(3000)));
        producers.iter().for_each(Child::stop);
        for feed in [RECENT, WHOLE] {
            // More than a lap: each cell that it may be at.
            for _ in 0..FEEDS[usize::from(feed)].1 + 2 {
                while let Got::Item(_) | Got::Lagged(_) = here.next(feed, Some(Duration::ZERO)).expect("whole") {}
                let id = append(&mut here, feed);
                assert_eq!(next(&mut here, feed), id, "round {round}");
            }
        }
        producers.iter().for_each(Child::resume);
    }
    producers.iter_mut().for_each(Child::kill);
    here.leave().expect("in order");
    let told = course.end(vec![]);
    assert!(told.appended > 200, "{told:?}");
}

/// A producer that waits for memory is told when the feed is closed meanwhile, and has its value back.
#[test]
fn waiting_for_memory_ends_with_the_feed() {
    let course = Course::new(16 * MIB);
    let (mut reads, mut sends) = (course.puppet(), course.puppet());
    reads.ask(&format!("f-subscribe {WHOLE} oldest"));
    course.t.occupy(13 * MIB);
    sends.tell(&format!("f-append {WHOLE} 100000"));
    course.until_waiting(&sends, WHOLE);
    reads.ask(&format!("f-close {WHOLE}"));
    assert_eq!(sends.answer().as_deref(), Ok("Closed { clean: true }"));
    course.t.vacate();
    course.end(vec![reads, sends]);
}

/// A forked child is told so by every call; the parent's ends stay the parent's.
#[test]
fn forked_children_hold_nothing() {
    let course = Course::new(16 * MIB);
    let (mut here, mut parent) = (course.flow(), course.puppet());
    parent.ask(&format!("f-join {WHOLE}"));
    parent.ask(&format!("f-subscribe {WHOLE} oldest"));
    course.t.fork(&mut parent, "f-fork");
    let id = append(&mut here, WHOLE);
    assert_eq!(parent.ask(&format!("f-next {WHOLE} 30000")), id.to_string());
    here.leave().expect("in order");
    course.end(vec![parent]);
}
