//! Shows nothing by itself: what processes do with the feeds of an arena, with everything that they do written down;
//! see `flow.rs`, which does the same with channels.

use std::path::Path;
use std::time::{Duration, Instant};

use faretra::feed::{Contents, Start, WhenFull};
use faretra::{AppendError, Arena, Error, Feed, Missing, Object, Subscriber, SubscriberError, Value, Writer};

use crate::feed_history::{self, Did, Rules, Told};
use crate::flow::{KINDS, Patience, Refused, Went, allowed, offer, try_to, went};
use crate::history::{self, Log};
use crate::values::{self, Random};

/// Feeds, by number: their names, how many items they keep, what their producers do when somebody is slow, and
/// whether the items are of any kind. Only those of one schema have snapshots.
pub const FEEDS: [(&str, usize, WhenFull, Contents); 4] = [
    ("whole", 4, WhenFull::Block, Contents::Mixed),
    ("recent", 3, WhenFull::DropOldest, Contents::OneSchema),
    ("tight", 2, WhenFull::Fail, Contents::OneSchema),
    ("last", 1, WhenFull::DropOldest, Contents::OneSchema),
];

/// The producing end of a feed.
pub fn producer(w: &Writer, feed: u8) -> faretra::Result<Feed> {
    let (name, capacity, when_full, contents) = FEEDS[usize::from(feed)];
    w.feed_with(name, capacity, when_full, contents)
}

/// Makes all of them.
pub fn make_feeds(w: &Writer) -> faretra::Result<()> {
    (0..FEEDS.len() as u8).try_for_each(|feed| producer(w, feed).map(drop))
}

/// Demands that a history is as it should be.
pub fn check(path: &Path) -> Result<Told, String> {
    let rules = |(_, capacity, when_full, _): (_, usize, WhenFull, _)| Rules {
        capacity: capacity as u64,
        waits: when_full != WhenFull::DropOldest,
    };
    feed_history::check(&history::read(path).map_err(|e| e.to_string())?, &FEEDS.map(rules))
}

/// Longer than anything takes when nobody else is there.
const LONG: Patience = Some(Duration::from_secs(20));

/// What a subscriber got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Item(u64),
    Lagged(u64),
    Closed { clean: bool },
    Nothing,
}

/// What is done at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Produce,
    Subscribe,
    All,
}

/// What one process has in its hands.
pub struct FeedFlow {
    arena: Arena,
    log: Log,
    /// One permit for all that is appended.
    writer: Option<Writer>,
    producers: [Option<Feed>; FEEDS.len()],
    subscribers: [Option<Subscriber>; FEEDS.len()],
    /// Where our last subscription of each ended.
    positions: [u64; FEEDS.len()],
    /// What was read, for a last look.
    held: Vec<(Object, u64)>,
}

impl FeedFlow {
    /// With a history of its own in this file.
    pub fn new(arena: &Arena, history: &Path) -> Result<FeedFlow, String> {
        let log = Log::open(history).map_err(|e| format!("{}: {e}", history.display()))?;
        Ok(FeedFlow {
            arena: arena.clone(),
            log,
            writer: None,
            producers: Default::default(),
            subscribers: Default::default(),
            positions: Default::default(),
            held: vec![],
        })
    }

    fn writer(&mut self) -> Result<Option<Writer>, String> {
        if self.writer.is_none() {
            self.writer = allowed(self.arena.writer_timeout(Duration::from_secs(2)))?;
        }
        Ok(self.writer.clone())
    }

    /// The producing end, taken if it was not. `None`: there is no permit, or no room for the feed.
    pub fn producer(&mut self, feed: u8) -> Result<Option<Feed>, String> {
        let at = usize::from(feed);
        if self.producers[at].is_none()
            && let Some(w) = self.writer()?
        {
            self.producers[at] = allowed(producer(&w, feed))?;
        }
        Ok(self.producers[at].clone())
    }

    /// Leaves the producing end.
    pub fn leave_end(&mut self, feed: u8) {
        self.producers[usize::from(feed)] = None;
    }

    /// Appends an item of so many words.
    pub fn append(&mut self, feed: u8, kind: &str, words: usize, patience: Patience) -> Result<Went, String> {
        let Some(to) = self.producer(feed)? else { return Ok(Went::NoRoom) };
        let Some(w) = self.writer()? else { return Ok(Went::NoRoom) };
        let id = self.log.new_item();
        let words = values::payload(id, words);
        self.log.did(Did::Append, feed, id);
        let done = offer(&w, kind, &words, |value| {
            let append = |value| match patience {
                Some(limit) => to.append_timeout(value, limit),
                None => to.append(value),
            };
            let append = |value| append(value).map_err(not_appended);
            try_to(&append, value, id.is_multiple_of(2))
        });
        let went = went(id, done)?;
        let did = match went {
            Went::Sent(_) => Did::Appended,
            Went::Closed { clean: true } => Did::TooLate,
            _ => Did::NotAppended,
        };
        self.log.did(did, feed, id);
        Ok(went)
    }

    /// An item of a kind that the feed takes.
    pub fn append_any(
        &mut self,
        feed: u8,
        random: &mut Random,
        words: usize,
        patience: Patience,
    ) -> Result<Went, String> {
        let one_schema = FEEDS[usize::from(feed)].3 == Contents::OneSchema;
        let kind = if one_schema { "batch" } else { KINDS[random.below(KINDS.len() as u64) as usize] };
        self.append(feed, kind, random.below(words as u64) as usize, patience)
    }

    /// Subscribes anew. `false`: there is no such feed at the moment, or no room at it.
    pub fn subscribe(&mut self, feed: u8, start: Start) -> Result<bool, String> {
        self.unsubscribe(feed);
        let at = usize::from(feed);
        let Some(subscriber) = allowed(self.arena.subscribe(FEEDS[at].0, start))? else { return Ok(false) };
        let did = match start {
            Start::Oldest => Did::BeganOldest,
            Start::Newest => Did::BeganNewest,
            Start::Position(_) => Did::BeganAt,
        };
        self.log.did_at(did, feed, 0, subscriber.position());
        self.subscribers[at] = Some(subscriber);
        Ok(true)
    }

    pub fn unsubscribe(&mut self, feed: u8) {
        let at = usize::from(feed);
        self.log.did(Did::Subscribe, feed, 0);
        if let Some(subscriber) = self.subscribers[at].take() {
            self.positions[at] = subscriber.position();
        }
    }

    /// Reads the next item, and checks that it is whole.
    pub fn next(&mut self, feed: u8, patience: Patience) -> Result<Got, String> {
        let Some(subscriber) = &mut self.subscribers[usize::from(feed)] else { return Ok(Got::Nothing) };
        let position = subscriber.position();
        let next = match patience {
            Some(Duration::ZERO) => subscriber.try_recv(),
            Some(limit) => subscriber.recv_timeout(limit),
            None => subscriber.recv(),
        };
        let after = subscriber.position();
        let object = match next {
            Ok(object) => object,
            Err(SubscriberError::Empty | SubscriberError::TimedOut) => return Ok(Got::Nothing),
            Err(SubscriberError::Lagged(missed)) => {
                self.log.did_at(Did::Lagged, feed, after, missed);
                return Ok(Got::Lagged(missed));
            }
            Err(SubscriberError::Closed { clean }) => {
                if clean {
                    self.log.did_at(Did::Ended, feed, 0, position);
                }
                return Ok(Got::Closed { clean });
            }
            Err(SubscriberError::Failed(e)) => return allowed(Err(e)).map(|none| none.unwrap_or(Got::Nothing)),
            Err(e) => return Err(e.to_string()),
        };
        let id = values::check(&object)?;
        self.log.did_at(Did::Read, feed, id, position);
        if after != position + 1 {
            return Err(format!("item {id:x} was at position {position}, the next is at {after}"));
        }
        self.hold(object, id)?;
        Ok(Got::Item(id))
    }

    /// Keeps what was read for a while; it stays what it is.
    fn hold(&mut self, object: Object, id: u64) -> Result<(), String> {
        self.held.push((object, id));
        if self.held.len() > 4 { self.let_go(2) } else { Ok(()) }
    }

    /// Lets go of what was read first, after a last look at it.
    fn let_go(&mut self, count: usize) -> Result<(), String> {
        let changed = |(object, id): (Object, u64)| match values::check(&object) {
            Ok(same) if same == id => None,
            other => Some(format!("item {id:x} became {other:x?} while it was kept")),
        };
        self.held.drain(..count).find_map(changed).map_or(Ok(()), Err)
    }

    /// Asks for the newest item.
    pub fn latest(&mut self, feed: u8) -> Result<Option<u64>, String> {
        self.log.did(Did::Look, feed, 0);
        let Some(latest) = allowed(self.arena.latest(FEEDS[usize::from(feed)].0))? else { return Ok(None) };
        let id = latest.as_ref().map(values::check).transpose()?;
        self.log.did(Did::Latest, feed, id.unwrap_or(0));
        if let (Some(object), Some(id)) = (latest, id) {
            self.hold(object, id)?;
        }
        Ok(id)
    }

    /// Takes a snapshot: so many batches. `None`: there are no snapshots of this feed, or there was no room.
    pub fn snapshot(&mut self, feed: u8) -> Result<Option<u64>, String> {
        let (name, _, _, contents) = FEEDS[usize::from(feed)];
        if contents == Contents::Mixed {
            return Ok(None);
        }
        self.log.did(Did::Snap, feed, 0);
        let count = match self.arena.snapshot(name) {
            Ok(table) => {
                for i in 0..table.num_batches() {
                    let batch = table.batch(i).map_err(|e| e.to_string())?;
                    self.log.did_at(Did::Snapped, feed, values::check(batch.object())?, i);
                }
                table.num_batches()
            }
            Err(Error::NotFound { what: Missing::Schema, .. }) => 0,
            Err(e) => return allowed(Err(e)),
        };
        self.log.did_at(Did::SnapEnd, feed, 0, count);
        Ok(Some(count))
    }

    /// Closes a feed. `false`: there is no room for that.
    pub fn close(&mut self, feed: u8) -> Result<bool, String> {
        let Some(to) = self.producer(feed)? else { return Ok(false) };
        self.log.did(Did::Close, feed, 0);
        let closed = allowed(to.close())?.is_some();
        if closed {
            self.log.did(Did::Closed, feed, 0);
        }
        Ok(closed)
    }

    /// One thing at random. Returns how many items were appended, how many read, and how often a feed was looked at.
    pub fn step(&mut self, random: &mut Random, part: Part, words: usize) -> Result<[u64; 3], String> {
        let feed = random.below(FEEDS.len() as u64) as u8;
        let patience = Some(Duration::from_micros([0, 500, 3000][random.below(3) as usize]));
        match random.below(100) {
            0..2 => self.leave_end(feed),
            2..45 if part != Part::Subscribe => {
                let went = self.append_any(feed, random, words, patience)?;
                return Ok([u64::from(matches!(went, Went::Sent(_))), 0, 0]);
            }
            45..80 if part != Part::Produce => {
                if self.subscribers[usize::from(feed)].is_none() {
                    let start = match random.below(4) {
                        0..2 => Start::Oldest,
                        2 => Start::Newest,
                        _ => Start::Position(random.below(self.positions[usize::from(feed)] + 1)),
                    };
                    self.subscribe(feed, start)?;
                }
                let mut read = 0;
                for _ in 0..1 + random.below(8) {
                    match self.next(feed, patience)? {
                        Got::Item(_) => read += 1,
                        Got::Lagged(_) => {}
                        Got::Closed { .. } | Got::Nothing => break,
                    }
                }
                return Ok([0, read, 0]);
            }
            80..83 => self.unsubscribe(feed),
            83..90 => return Ok([0, 0, u64::from(self.latest(feed)?.is_some())]),
            90..97 => return Ok([0, 0, u64::from(self.snapshot(feed)?.is_some())]),
            97.. => self.let_go(self.held.len())?,
            _ => {}
        }
        Ok([0; 3])
    }

    /// Lets go of everything in good order; nothing more is written down.
    pub fn leave(mut self) -> Result<(), String> {
        self.let_go(self.held.len())?;
        self.subscribers = Default::default();
        self.producers = Default::default();
        self.writer = None;
        self.log.did(Did::Leave, 0, 0);
        Ok(())
    }

    /// Appends an item where nobody else is. `false`: the feed is closed.
    fn append_surely(&mut self, feed: u8, random: &mut Random) -> Result<bool, String> {
        let start = Instant::now();
        loop {
            match self.append_any(feed, random, 50, LONG)? {
                Went::Sent(_) => return Ok(true),
                Went::Closed { clean: true } => return Ok(false),
                // It does not wait for those of whose death it learns in a moment.
                Went::Full if LONG.is_some_and(|limit| start.elapsed() < limit) => {}
                went => return Err(format!("nobody else is at feed {feed}, and it said {went:?}")),
            }
        }
    }

    /// Appends more than a lap to each feed that is not closed, closes it, and reads to the end: the dead are not
    /// waited for, and the end is as it should be. Nobody else may use them any more.
    pub fn drain(mut self) -> Result<(), String> {
        let mut random = Random(1);
        for feed in 0..FEEDS.len() as u8 {
            let (name, capacity, ..) = FEEDS[usize::from(feed)];
            if !self.subscribe(feed, Start::Oldest)? {
                return Err(format!("no room at the feed `{name}`"));
            }
            // We too would be waited for.
            while let Got::Item(_) | Got::Lagged(_) = self.next(feed, Some(Duration::ZERO))? {}
            let mut open = true;
            for _ in 0..capacity + 2 {
                open = open && self.append_surely(feed, &mut random)?;
                if open && matches!(self.next(feed, LONG)?, Got::Nothing | Got::Closed { .. }) {
                    return Err(format!("the feed `{name}` has nothing"));
                }
            }
            if open && !self.close(feed)? {
                return Err("no room for the end of a feed".into());
            }
            loop {
                match self.next(feed, LONG)? {
                    Got::Item(_) | Got::Lagged(_) => {}
                    Got::Closed { clean: true } => break,
                    got => return Err(format!("the feed `{name}` is closed, and gave {got:?}")),
                }
            }
            if !matches!(self.append_any(feed, &mut random, 50, LONG)?, Went::Closed { clean: true }) {
                return Err(format!("the feed `{name}` is closed, and took something"));
            }
            self.latest(feed)?;
            self.snapshot(feed)?;
        }
        self.leave()
    }

    /// In a forked child: what the parent holds is the parent's, and goes nowhere.
    pub fn forget_inherited(mut self) -> Result<(), String> {
        let e = |what: &str| Err(format!("an inherited {what} does not say that it is"));
        for to in self.producers.iter().flatten() {
            if !matches!(to.append(b"x".as_slice()), Err(AppendError::Failed(Error::Forked(_)))) || to.position() != 0 {
                return e("producer");
            }
            if !matches!(to.close(), Err(Error::Forked(_))) {
                return e("producer, closed,");
            }
        }
        for from in self.subscribers.iter_mut().flatten() {
            if !matches!(from.try_recv(), Err(SubscriberError::Failed(Error::Forked(_)))) {
                return e("subscriber");
            }
        }
        Ok(())
    }
}

/// What a refused append comes to, and the value.
fn not_appended(e: AppendError<'_>) -> (Refused, Option<Value<'_>>) {
    match e {
        AppendError::Failed(e) => (Refused::Failed(e.into()), None),
        AppendError::NoSpace { value, error } => (Refused::Failed(error), Some(value)),
        AppendError::Full(value) | AppendError::TimedOut(value) => (Refused::Full, Some(value)),
        AppendError::Closed(value) => (Refused::Closed(true), Some(value)),
        e => unreachable!("{e}"),
    }
}
