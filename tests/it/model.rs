//! Shows that an arena does what a map of names and a few queues would: random operations of several participants, some of which are
//! killed, each compared with a model of a few lines. A failure is shrunk, and printed as the operations that are left.
//!
//! `FARETRA_MODEL_SECONDS` makes it run longer, `FARETRA_MODEL_SEED` elsewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use faretra::channel::{Contents, WhenDeserted};
use faretra::feed::{Start, Subscriber, WhenFull};
use faretra::{
    AppendError, Arena, Bundle, Error, Feed, Lease, MIB, Object, Receiver, RecvError, SendError, Sender,
    SubscriberError, Value, Writer,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::model_deeds::{CHANNELS, Deed, FEED, FEED_CAPACITY, Hands, sender};
use crate::support::{Child, TestArena};
use crate::values::{self, KINDS};

/// How long it runs, unless told.
const SECONDS: u64 = 12;
const NAMES: usize = 4;
/// Participants of this process.
const HERE: usize = 2;

/// What a participant does.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish {
        who: usize,
        name: usize,
        kind: usize,
        words: usize,
    },
    /// With the version that is there, or another one.
    PublishIf {
        who: usize,
        name: usize,
        right: bool,
    },
    Remove {
        who: usize,
        name: usize,
    },
    /// Keeps what it finds.
    Get {
        who: usize,
        name: usize,
    },
    LetGo,
    /// Publishes what is there once more, whole or in a bundle.
    Share {
        who: usize,
        from: usize,
        to: usize,
        bundled: bool,
    },
    Send {
        who: usize,
        channel: usize,
        kind: usize,
    },
    Recv {
        who: usize,
        channel: usize,
    },
    Ack {
        which: usize,
    },
    Refuse {
        which: usize,
    },
    Forward {
        who: usize,
        which: usize,
        to: usize,
    },
    Close {
        who: usize,
        channel: usize,
    },
    Append {
        who: usize,
        patient: bool,
    },
    Subscribe {
        who: usize,
        oldest: bool,
    },
    Next {
        which: usize,
    },
    Unsubscribe {
        which: usize,
    },
    Latest {
        who: usize,
    },
    CloseFeed {
        who: usize,
    },
    /// Drops a clone of everything that it has open.
    Clone {
        who: usize,
    },
    /// Drops all of its ends.
    Leave {
        who: usize,
    },
    Settle {
        who: usize,
        trim: bool,
    },
    /// A process of its own does it, and is killed so many microseconds later.
    Die {
        deed: Deed,
        after: u64,
    },
    /// A process of its own receives, and keeps the item until `Kill`.
    Hold {
        channel: usize,
    },
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let (who, name, channel) = (0..HERE, 0..NAMES, 0..CHANNELS.len());
    let which = 0..8_usize;
    let deed = prop_oneof![
        (name.clone(), 0..KINDS.len()).prop_map(|(name, kind)| Deed::Publish { name, kind, item: 0 }),
        name.clone().prop_map(|name| Deed::Remove { name }),
        channel.clone().prop_map(|channel| Deed::Send { channel, item: 0 }),
        channel.clone().prop_map(|channel| Deed::Take { channel }),
        channel.clone().prop_map(|channel| Deed::TakeAndAck { channel }),
        (channel.clone(), channel.clone()).prop_map(|(from, to)| Deed::Forward { from, to }),
        Just(Deed::Append { item: 0 }),
    ];
    prop_oneof![
        6 => (who.clone(), name.clone(), 0..KINDS.len(), 2..9000_usize)
            .prop_map(|(who, name, kind, words)| Step::Publish { who, name, kind, words }),
        2 => (who.clone(), name.clone(), any::<bool>()).prop_map(|(who, name, right)| Step::PublishIf { who, name, right }),
        3 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Remove { who, name }),
        3 => (who.clone(), name.clone()).prop_map(|(who, name)| Step::Get { who, name }),
        1 => Just(Step::LetGo),
        3 => (who.clone(), name.clone(), name.clone(), any::<bool>())
            .prop_map(|(who, from, to, bundled)| Step::Share { who, from, to, bundled }),
        8 => (who.clone(), channel.clone(), 0..4_usize).prop_map(|(who, channel, kind)| Step::Send { who, channel, kind }),
        7 => (who.clone(), channel.clone()).prop_map(|(who, channel)| Step::Recv { who, channel }),
        4 => which.clone().prop_map(|which| Step::Ack { which }),
        3 => which.clone().prop_map(|which| Step::Refuse { which }),
        3 => (who.clone(), which.clone(), channel.clone()).prop_map(|(who, which, to)| Step::Forward { who, which, to }),
        1 => (who.clone(), channel.clone()).prop_map(|(who, channel)| Step::Close { who, channel }),
        5 => (who.clone(), any::<bool>()).prop_map(|(who, patient)| Step::Append { who, patient }),
        2 => (who.clone(), any::<bool>()).prop_map(|(who, oldest)| Step::Subscribe { who, oldest }),
        5 => which.clone().prop_map(|which| Step::Next { which }),
        1 => which.prop_map(|which| Step::Unsubscribe { which }),
        1 => who.clone().prop_map(|who| Step::Latest { who }),
        1 => who.clone().prop_map(|who| Step::CloseFeed { who }),
        1 => who.clone().prop_map(|who| Step::Clone { who }),
        1 => who.clone().prop_map(|who| Step::Leave { who }),
        1 => (who, any::<bool>()).prop_map(|(who, trim)| Step::Settle { who, trim }),
        3 => (deed, 0..1500_u64).prop_map(|(deed, after)| Step::Die { deed, after }),
        1 => channel.prop_map(|channel| Step::Hold { channel }),
        1 => Just(Step::Kill),
    ]
}

/// What a channel is, as far as anybody can tell.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<u64>,
    /// Received, and given back.
    returned: BTreeSet<u64>,
    /// As `returned`, or gone: who had them died while it acknowledged them.
    perhaps: BTreeSet<u64>,
    leased: usize,
    closed: bool,
    capacity: Option<usize>,
}

/// What was appended, and who has read how much.
#[derive(Debug, Default)]
struct Log {
    items: Vec<u64>,
    closed: bool,
}

impl Log {
    fn oldest(&self) -> u64 {
        (self.items.len() as u64).saturating_sub(FEED_CAPACITY as u64)
    }

    /// Who comes to this position still finds its item: there is one cell more, which the end takes.
    fn oldest_found(&self) -> u64 {
        (self.items.len() as u64 + u64::from(self.closed)).saturating_sub(FEED_CAPACITY as u64 + 1)
    }
}

#[derive(Default)]
struct Model {
    /// Value and version of each name.
    names: BTreeMap<usize, (u64, u64)>,
    highest: BTreeMap<usize, u64>,
    queues: Vec<Queue>,
    log: Log,
}

/// Everything that is in somebody's hands.
struct Play {
    t: TestArena,
    arenas: Vec<Arena>,
    senders: [[Option<Sender>; CHANNELS.len()]; HERE],
    receivers: [[Option<Receiver>; CHANNELS.len()]; HERE],
    producers: [[Option<Feed>; 2]; HERE],
    kept: Vec<(Object, u64)>,
    leases: Vec<(Lease, usize, u64)>,
    subscribers: Vec<(Subscriber, u64)>,
    /// A process that keeps an item of a channel.
    hostage: Option<(Child, usize, u64)>,
    model: Model,
    next: u64,
}

fn name_of(name: usize) -> String {
    format!("n{name}")
}

/// A value that tells its number.
fn value<'a>(kind: usize, item: u64, words: &'a [u64]) -> Value<'a> {
    let bytes: &[u8] = bytemuck::cast_slice(words);
    match kind {
        0 => bytes.into(),
        1 => ndarray::ArrayView1::from(words).into(),
        2 => values::batch(item, words.len()).into(),
        _ => Bundle::new().with("a", bytes).with("b", values::batch(item, 40)).with("c", bytes).into(),
    }
}

impl Play {
    fn new() -> Play {
        let t = TestArena::with(|o| o.limit(64 * MIB).capacity(64 * MIB).writers(12).spin(0));
        let arenas: Vec<Arena> = (0..HERE).map(|_| t.arena.reopen().expect("a seat")).collect();
        let writer = t.arena.writer().expect("a permit");
        let mut model = Model::default();
        for (i, (_, capacity)) in CHANNELS.iter().enumerate() {
            drop(sender(&writer, i).expect("room"));
            model.queues.push(Queue { capacity: *capacity, ..Queue::default() });
        }
        drop(writer.feed_with(FEED, FEED_CAPACITY, WhenFull::DropOldest, Contents::Mixed).expect("room"));
        drop(writer);
        Play {
            t,
            arenas,
            senders: Default::default(),
            receivers: Default::default(),
            producers: Default::default(),
            kept: vec![],
            leases: vec![],
            subscribers: vec![],
            hostage: None,
            model,
            next: 0,
        }
    }

    fn writer(&self, who: usize) -> Writer {
        self.arenas[who].writer().expect("a permit")
    }

    fn item(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn sender(&mut self, who: usize, channel: usize) -> &Sender {
        let writer = self.writer(who);
        self.senders[who][channel].get_or_insert_with(|| sender(&writer, channel).expect("it is there"))
    }

    fn receiver(&mut self, who: usize, channel: usize) -> &Receiver {
        let arena = &self.arenas[who];
        self.receivers[who][channel].get_or_insert_with(|| {
            let mut receiver = arena.receiver(CHANNELS[channel].0).expect("it is there");
            receiver.set_when_deserted(WhenDeserted::Block);
            receiver
        })
    }

    fn producer(&mut self, who: usize, patient: bool) -> &Feed {
        let writer = self.writer(who);
        let when_full = if patient { WhenFull::Fail } else { WhenFull::DropOldest };
        self.producers[who][usize::from(patient)].get_or_insert_with(|| {
            writer.feed_with(FEED, FEED_CAPACITY, when_full, Contents::Mixed).expect("it is there")
        })
    }

    fn published(&mut self, name: usize, item: u64, version: u64) {
        let highest = self.model.highest.entry(name).or_default();
        assert!(version > *highest, "`{}` went from version {highest} to {version}", name_of(name));
        *highest = version;
        self.model.names.insert(name, (item, version));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish { who, name, kind, words } => {
                let item = self.item();
                let version =
                    values::publish(&self.writer(who), &name_of(name), KINDS[kind], item, words).expect("room");
                self.published(name, item, version);
            }
            Step::PublishIf { who, name, right } => {
                let item = self.item();
                let there = self.model.names.get(&name).map_or(0, |n| n.1);
                let words = values::payload(item, 30);
                let bytes: &[u8] = bytemuck::cast_slice(&words);
                let asked = if right { there } else { there + 1 };
                match self.writer(who).publish_if(&name_of(name), asked, bytes) {
                    Ok(version) if right => self.published(name, item, version),
                    Err(Error::Conflict { expected, found, .. }) if !right => {
                        assert_eq!((expected, found), (asked, there))
                    }
                    other => panic!("version {asked} where {there} is: {other:?}"),
                }
            }
            Step::Remove { who, name } => {
                let removed = self.writer(who).remove(&name_of(name)).expect("removed or not");
                assert_eq!(removed, self.model.names.remove(&name).is_some());
            }
            Step::Get { who, name } => {
                let object = self.look(who, name);
                if let (Some(object), true) = (object, self.kept.len() < 20) {
                    self.kept.push(object);
                }
            }
            Step::LetGo => drop(self.kept.pop()),
            Step::Share { who, from, to, bundled } => self.share(who, from, to, bundled),
            Step::Send { who, channel, kind } => self.send(who, channel, kind),
            Step::Recv { who, channel } => self.recv(who, channel),
            Step::Ack { which } => {
                if let Some((lease, channel, _)) = self.lease(which) {
                    lease.ack();
                    self.model.queues[channel].leased -= 1;
                }
            }
            Step::Refuse { which } => {
                if let Some((lease, channel, item)) = self.lease(which) {
                    drop(lease);
                    self.model.queues[channel].leased -= 1;
                    self.model.queues[channel].returned.insert(item);
                }
            }
            Step::Forward { who, which, to } => self.forward(who, which, to),
            Step::Close { who, channel } => {
                self.sender(who, channel).close().expect("closed");
                self.model.queues[channel].closed = true;
            }
            Step::Append { who, patient } => self.append(who, patient),
            Step::Subscribe { who, oldest } => {
                if self.subscribers.len() < 6 {
                    let start = if oldest { Start::Oldest } else { Start::Newest };
                    let mut subscriber = self.arenas[who].subscribe(FEED, start).expect("a seat");
                    subscriber.set_when_deserted(WhenDeserted::Block);
                    let at = if oldest { self.model.log.oldest() } else { self.model.log.items.len() as u64 };
                    assert_eq!(subscriber.position(), at);
                    self.subscribers.push((subscriber, at));
                }
            }
            Step::Next { which } => self.next_of(which),
            Step::Unsubscribe { which } => {
                if !self.subscribers.is_empty() {
                    drop(self.subscribers.remove(which % self.subscribers.len()));
                }
            }
            Step::Latest { who } => {
                let found = self.arenas[who].latest(FEED).expect("looked at");
                let found = found.map(|object| values::check(&object).expect("whole"));
                assert_eq!(found, self.model.log.items.last().copied());
            }
            Step::CloseFeed { who } => {
                self.producer(who, false).close().expect("closed");
                self.model.log.closed = true;
            }
            Step::Clone { who } => {
                drop((self.senders[who].clone(), self.receivers[who].clone(), self.producers[who].clone()))
            }
            Step::Leave { who } => {
                (self.senders[who], self.receivers[who]) = Default::default();
                self.producers[who] = Default::default();
            }
            Step::Settle { who, trim } => {
                self.arenas[who].recover().expect("recovered");
                if trim {
                    self.arenas[who].trim().expect("trimmed");
                }
            }
            Step::Die { deed, after } => self.die(deed, after),
            Step::Hold { channel } => self.hold(channel),
            Step::Kill => self.kill(),
        }
    }

    /// What a name stands for is what the model says.
    fn look(&self, who: usize, name: usize) -> Option<(Object, u64)> {
        let there = self.model.names.get(&name).copied();
        match self.arenas[who].get(&name_of(name)) {
            Ok(object) => {
                let item = values::check(&object).expect("whole");
                assert_eq!(Some((item, object.version())), there, "`{}`", name_of(name));
                Some((object, item))
            }
            Err(Error::NotFound { .. }) => {
                assert_eq!(there, None, "`{}` is gone", name_of(name));
                None
            }
            Err(error) => panic!("`{}`: {error}", name_of(name)),
        }
    }

    fn share(&mut self, who: usize, from: usize, to: usize, bundled: bool) {
        let Some((object, item)) = self.look(who, from) else { return };
        let writer = self.writer(who);
        let version = match bundled && !matches!(object.kind(), faretra::Kind::Bundle | faretra::Kind::Table) {
            true => {
                let words = values::payload(item, 30);
                let bytes: &[u8] = bytemuck::cast_slice(&words);
                writer.publish(&name_of(to), Bundle::new().with("a", &object).with("b", bytes).with("c", &object))
            }
            false => writer.publish(&name_of(to), &object),
        };
        self.published(to, item, version.expect("room"));
    }

    fn send(&mut self, who: usize, channel: usize, kind: usize) {
        let item = self.item();
        let words = values::payload(item, 20 + (item % 3) as usize * 3000);
        // Sometimes what lies in the arena already.
        let shared = item.is_multiple_of(4).then(|| self.model.names.keys().next().copied()).flatten();
        let shared = shared.and_then(|name| self.look(who, name));
        let (item, value) = match &shared {
            Some((object, item)) => (*item, Value::from(object)),
            None => (item, value(kind, item, &words)),
        };
        // Two items of one number could not be told apart.
        if self.has(item) {
            return;
        }
        let sent = self.sender(who, channel).try_send(value);
        let queue = &mut self.model.queues[channel];
        let full = queue.capacity == Some(queue.waiting.len());
        match sent {
            Ok(()) => {
                assert!(!queue.closed && !full, "sent to {queue:?}");
                queue.waiting.push_back(item);
            }
            Err(SendError::Full(_) | SendError::Closed { clean: false, .. }) => {
                assert!(full && !queue.closed, "full: {queue:?}")
            }
            Err(SendError::Closed { clean: true, .. }) => assert!(queue.closed, "closed: {queue:?}"),
            Err(error) => panic!("{error}: {queue:?}"),
        }
    }

    fn has(&self, item: u64) -> bool {
        let there = |queue: &Queue| {
            queue.waiting.contains(&item) || queue.returned.contains(&item) || queue.perhaps.contains(&item)
        };
        let held = self.hostage.as_ref().is_some_and(|(_, _, held)| *held == item);
        held || self.model.queues.iter().any(there) || self.leases.iter().any(|(_, _, leased)| *leased == item)
    }

    fn recv(&mut self, who: usize, channel: usize) {
        let received = self.receiver(who, channel).try_recv();
        let came = match received {
            Ok(lease) => {
                let item = values::check(&lease).expect("whole");
                self.leases.push((lease, channel, item));
                Some(item)
            }
            Err(RecvError::Empty) => None,
            Err(RecvError::Closed { clean: true }) => {
                let queue = &mut self.model.queues[channel];
                assert!(queue.closed && queue.leased == 0, "it ended: {queue:?}");
                None
            }
            Err(error) => panic!("{error}: {:?}", self.model.queues[channel]),
        };
        self.received(channel, came);
    }

    /// What was received, by whom ever, is what the model says: what came back first, then in order.
    fn received(&mut self, channel: usize, came: Option<u64>) {
        let queue = &mut self.model.queues[channel];
        queue.leased += usize::from(came.is_some());
        let Some(item) = came else {
            queue.perhaps.clear();
            assert!(queue.waiting.is_empty() && queue.returned.is_empty(), "nothing came: {queue:?}");
            return;
        };
        if queue.returned.remove(&item) || queue.perhaps.remove(&item) {
            return;
        }
        assert!(queue.returned.is_empty(), "{item} came before what came back: {queue:?}");
        queue.perhaps.clear();
        let first = queue.waiting.pop_front();
        assert_eq!(Some(item), first, "{queue:?}");
    }

    fn lease(&mut self, which: usize) -> Option<(Lease, usize, u64)> {
        (!self.leases.is_empty()).then(|| self.leases.remove(which % self.leases.len()))
    }

    fn forward(&mut self, who: usize, which: usize, to: usize) {
        let Some((lease, from, item)) = self.lease(which) else { return };
        let sent = lease.try_send(self.sender(who, to));
        let queue = &self.model.queues[to];
        let takes = !queue.closed && queue.capacity != Some(queue.waiting.len());
        match sent {
            Ok(()) => {
                assert!(takes, "forwarded to {queue:?}");
                self.model.queues[from].leased -= 1;
                self.model.queues[to].waiting.push_back(item);
            }
            Err(error) => {
                assert!(!takes, "{error}: {queue:?}");
                self.leases.push((error.into_lease().expect("it is given back"), from, item));
            }
        }
    }

    fn append(&mut self, who: usize, patient: bool) {
        let item = self.item();
        let words = values::payload(item, 40);
        let appended = self.producer(who, patient).try_append(value(item as usize % 4, item, &words));
        let log = &mut self.model.log;
        let replaces = (log.items.len() as u64).checked_sub(FEED_CAPACITY as u64);
        let unread = replaces.is_some_and(|replaced| self.subscribers.iter().any(|(_, at)| *at <= replaced));
        match appended {
            Ok(()) => {
                assert!(!(log.closed || patient && unread), "appended to {log:?}");
                log.items.push(item);
            }
            Err(AppendError::Closed(_)) => assert!(log.closed, "closed: {log:?}"),
            Err(AppendError::Full(_)) => assert!(patient && unread && !log.closed, "full: {log:?}"),
            Err(error) => panic!("{error}: {log:?}"),
        }
    }

    fn next_of(&mut self, which: usize) {
        if self.subscribers.is_empty() {
            return;
        }
        let which = which % self.subscribers.len();
        let (subscriber, at) = &mut self.subscribers[which];
        let log = &self.model.log;
        match subscriber.try_recv() {
            Ok(object) => {
                assert!(*at >= log.oldest_found(), "{at} of {log:?} is gone");
                assert_eq!(
                    Some(&values::check(&object).expect("whole")),
                    log.items.get(*at as usize),
                    "at {at} of {log:?}"
                );
                *at += 1;
            }
            Err(SubscriberError::Lagged(missed)) => {
                assert!(*at < log.oldest_found(), "{at} of {log:?} is there");
                assert_eq!(*at + missed, log.oldest(), "{missed} missed at {at} of {log:?}");
                *at = log.oldest();
            }
            Err(SubscriberError::Empty) => {
                assert!(!log.closed && *at == log.items.len() as u64, "nothing at {at} of {log:?}")
            }
            Err(SubscriberError::Closed { clean: true }) => {
                assert!(log.closed && *at == log.items.len() as u64, "ended at {at} of {log:?}");
            }
            Err(error) => panic!("{error} at {at} of {log:?}"),
        }
        assert_eq!(subscriber.position(), *at);
    }

    /// Has a process do it, and kills the process while it does, or after.
    fn die(&mut self, deed: Deed, after: u64) {
        let item = self.item();
        let deed = deed.with(item);
        // Which of several would be taken, nobody knows.
        let known = |queue: &Queue| queue.returned.len() <= 1 && queue.perhaps.is_empty();
        match deed {
            // Of an item that goes where it came from, nobody knows whether it went.
            Deed::Forward { from, to } if from == to => return,
            Deed::TakeAndAck { channel } | Deed::Forward { from: channel, .. }
                if !known(&self.model.queues[channel]) =>
            {
                return;
            }
            _ => {}
        }
        let mut child = Child::start("model", self.t.dir(), &[]);
        child.tell(&deed.to_string());
        std::thread::sleep(Duration::from_micros(after));
        child.kill();
        self.t.arena.recover().expect("recovered");
        self.settle(deed);
    }

    /// After a death: what would have been done is done, or not at all.
    fn settle(&mut self, deed: Deed) {
        let lengths: Vec<usize> = (0..CHANNELS.len()).map(|channel| self.receiver(0, channel).len()).collect();
        // An item that was taken came back, or waits still.
        let taken = |queue: &mut Queue, length: usize| -> Option<u64> {
            match queue.waiting.len() - length {
                0 => None,
                1 => queue.waiting.pop_front(),
                more => panic!("{more} items are gone: {queue:?}"),
            }
        };
        match deed {
            Deed::Publish { name, item, .. } => {
                if let Ok(object) = self.arenas[0].get(&name_of(name))
                    && values::check(&object) == Ok(item)
                {
                    self.published(name, item, object.version());
                }
            }
            Deed::Remove { name } => {
                if matches!(self.arenas[0].get(&name_of(name)), Err(Error::NotFound { .. })) {
                    self.model.names.remove(&name);
                }
            }
            Deed::Send { channel, item } => {
                let queue = &mut self.model.queues[channel];
                if lengths[channel] == queue.waiting.len() + 1 {
                    assert!(!queue.closed, "sent to {queue:?}");
                    queue.waiting.push_back(item);
                }
            }
            Deed::Take { channel } => {
                let queue = &mut self.model.queues[channel];
                let item = taken(queue, lengths[channel]);
                queue.returned.extend(item);
            }
            Deed::TakeAndAck { channel } => {
                let queue = &mut self.model.queues[channel];
                let item = taken(queue, lengths[channel]);
                let returned = std::mem::take(&mut queue.returned);
                // What had come back would have been taken first.
                assert!(item.is_none() || returned.is_empty(), "{item:?} was taken before {returned:?}");
                queue.perhaps.extend(item.into_iter().chain(returned));
            }
            Deed::Forward { from, to } => {
                let arrived = lengths[to] == self.model.queues[to].waiting.len() + 1;
                let queue = &mut self.model.queues[from];
                let item = taken(queue, lengths[from]);
                let item = item.or_else(|| if arrived { queue.returned.pop_first() } else { None });
                match (item, arrived) {
                    (Some(item), true) => self.model.queues[to].waiting.push_back(item),
                    (Some(item), false) => drop(queue.returned.insert(item)),
                    (None, arrived) => assert!(!arrived, "what arrived was nowhere"),
                }
            }
            Deed::Append { item } => {
                let position = self.producer(0, false).position();
                let log = &mut self.model.log;
                if position == log.items.len() as u64 + 1 {
                    assert!(!log.closed, "appended to {log:?}");
                    log.items.push(item);
                }
            }
        }
        for (channel, length) in lengths.iter().enumerate() {
            assert_eq!(*length, self.model.queues[channel].waiting.len(), "{:?}", self.model.queues[channel]);
        }
    }

    fn hold(&mut self, channel: usize) {
        if self.hostage.is_some() {
            return;
        }
        let mut child = Child::start("model", self.t.dir(), &[]);
        match child.ask(&Deed::Take { channel }.to_string()).parse() {
            Ok(item) => {
                self.received(channel, Some(item));
                self.hostage = Some((child, channel, item));
            }
            Err(_) => self.received(channel, None),
        }
    }

    fn kill(&mut self) {
        if let Some((mut child, channel, item)) = self.hostage.take() {
            child.kill();
            self.t.arena.recover().expect("recovered");
            let queue = &mut self.model.queues[channel];
            queue.leased -= 1;
            queue.returned.insert(item);
        }
    }

    /// Names and lengths are the model's.
    fn compare(&mut self) {
        let named: BTreeMap<String, u64> =
            self.arenas[0].names().expect("names").into_iter().map(|n| (n.name, n.version)).collect();
        let mut expected: BTreeMap<String, u64> =
            self.model.names.iter().map(|(name, n)| (name_of(*name), n.1)).collect();
        let others = CHANNELS.iter().map(|(name, _)| *name).chain([FEED]);
        expected.extend(others.map(|name| (name.to_owned(), named.get(name).copied().unwrap_or_default())));
        assert_eq!(named, expected);
        for channel in 0..CHANNELS.len() {
            let length = self.receiver(0, channel).len();
            assert_eq!(length, self.model.queues[channel].waiting.len(), "{:?}", self.model.queues[channel]);
        }
    }

    /// Everything that is left is what the model says; then nothing is.
    fn end(mut self) {
        self.kill();
        for name in 0..NAMES {
            self.look(1, name);
        }
        for (object, item) in &self.kept {
            assert_eq!(values::check(object), Ok(*item), "what is pinned changed");
        }
        while let Some((lease, channel, item)) = self.lease(0) {
            drop(lease);
            self.model.queues[channel].leased -= 1;
            self.model.queues[channel].returned.insert(item);
        }
        for channel in 0..CHANNELS.len() {
            let most = 1 + self.next as usize;
            for _ in 0..most {
                self.recv(1, channel);
                let Some((lease, ..)) = self.lease(0) else { break };
                lease.ack();
                self.model.queues[channel].leased -= 1;
            }
            assert!(self.leases.is_empty(), "more came than was sent");
        }
        self.t.arena.recover().expect("recovered");
        assert_eq!(self.t.arena.verify().expect("looked at"), []);
        self.into_arena().assert_nothing_left(vec![]);
    }

    /// Drops all else.
    fn into_arena(self) -> TestArena {
        self.t
    }
}

/// The child's half: does what it is told, and keeps what it has.
pub fn run() {
    Hands::default().obey_all();
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")))
}

/// Whatever is done to an arena, by whom ever, a map and a few queues would have said the same.
#[test]
fn an_arena_does_what_the_model_does() {
    let end = Instant::now() + Duration::from_secs(number("FARETRA_MODEL_SECONDS", SECONDS));
    let mut seed = [0; 32];
    let mut steps = 0_usize;
    let steps_of = std::cell::Cell::new(0_usize);
    let mut round = number("FARETRA_MODEL_SEED", 1) << 32;
    while Instant::now() < end {
        round += 1;
        seed[..8].copy_from_slice(&round.to_le_bytes());
        let config = Config {
            cases: 1,
            failure_persistence: None,
            max_shrink_iters: 2000,
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let done = runner.run(&prop::collection::vec(step(), 1..80), |all| {
            steps_of.set(all.len());
            let mut play = Play::new();
            for step in &all {
                play.take(*step);
                play.compare();
            }
            play.end();
            Ok::<(), TestCaseError>(())
        });
        match done {
            Ok(()) => steps += steps_of.get(),
            Err(TestError::Fail(why, all)) => {
                let all: Vec<String> = all.iter().map(|step| format!("{step:?}")).collect();
                panic!("round {round}: {why}; what is left of it:\n{}", all.join("\n"));
            }
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    eprintln!("{} histories, {steps} steps", round - (number("FARETRA_MODEL_SEED", 1) << 32));
}
