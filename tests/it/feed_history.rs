//! Shows nothing by itself: what processes did with the items of feeds, written down as that of channels is
//! (`history.rs`), and what must hold of it.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Deed, Record, last_records};

/// What a process does or did at a feed. A process has one subscription of a feed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Is about to append it.
    Append,
    Appended,
    /// It was given back, or is gone: nobody has it.
    NotAppended,
    /// The item was given back, and the process was told that the feed is closed for good.
    TooLate,
    /// Is about to subscribe, or to end its subscription.
    Subscribe,
    /// Begins at the oldest item there was, at this position.
    BeganOldest,
    /// Begins at the next item.
    BeganNewest,
    /// Begins where it wanted to, which may be gone.
    BeganAt,
    /// Got the item of this position.
    Read,
    /// Was told that it missed so many, and is at the position `item` now.
    Lagged,
    /// Was told at this position that the feed is closed for good.
    Ended,
    /// Is about to close it.
    Close,
    Closed,
    /// Is about to ask for the newest item.
    Look,
    /// That was it; 0: there was none.
    Latest,
    /// Is about to take a snapshot.
    Snap,
    /// The item is in the snapshot, at this index.
    Snapped,
    /// So many were.
    SnapEnd,
    /// Nothing more comes from this process, which holds nothing any more.
    Leave,
}

impl Deed for Did {
    const ALL: &'static [Did] = &[
        Did::Append,
        Did::Appended,
        Did::NotAppended,
        Did::TooLate,
        Did::Subscribe,
        Did::BeganOldest,
        Did::BeganNewest,
        Did::BeganAt,
        Did::Read,
        Did::Lagged,
        Did::Ended,
        Did::Close,
        Did::Closed,
        Did::Look,
        Did::Latest,
        Did::Snap,
        Did::Snapped,
        Did::SnapEnd,
        Did::Leave,
    ];
    const LEAVE: Did = Did::Leave;
}

/// What is known of a feed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub capacity: u64,
    /// All its producers wait for the slowest subscriber, or give up.
    pub waits: bool,
}

/// What a history tells when nothing is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub processes: u64,
    pub dead: u64,
    pub appended: u64,
    /// Their producers died before they could say whether they had appended them, and nobody saw them.
    pub perhaps_appended: u64,
    pub subscribed: u64,
    pub read: u64,
    /// How often somebody was told that he missed something, and how many items that were.
    pub lagged: u64,
    pub missed: u64,
    /// Subscribers that got to the end.
    pub ended: u64,
    pub latest: u64,
    pub snapshots: u64,
}

/// Demands of a history in which each feed is closed and somebody got to its end:
///
/// * what is seen was appended, or its producer died meanwhile; what was given back is not seen;
/// * an item has one position, and a position one item, for all who look; positions agree with what came before what,
///   a producer's order among that;
/// * a subscriber gets every position in order, from where it began, or is told exactly how many it missed, that
///   were gone; no living one misses any where producers wait (F4: but the first, if the feed was closed meanwhile);
/// * each item that was appended has a position, and each position an item;
/// * `latest` is never older than what was there when it was asked for, so that it never goes back;
/// * a snapshot is a run of positions without a gap, with what was there when it was asked for;
/// * all are told the end at the same position, after somebody closed the feed, and nothing is appended after it.
pub fn check(history: &[Record<Did>], rules: &[Rules]) -> Result<Told, String> {
    let last = last_records(history);
    let dead = last.values().filter(|(_, left)| !left).count() as u64;
    let mut told = Told { processes: last.len() as u64, dead, ..Told::default() };
    for (ring, rules) in rules.iter().enumerate() {
        let of_it = history.iter().enumerate().filter(|(_, r)| usize::from(r.ring) == ring && r.did != Did::Leave);
        let of_it: Vec<(usize, &Record<Did>)> = of_it.collect();
        if of_it.is_empty() {
            continue;
        }
        let mut checker = Checker { rules: *rules, ..Checker::default() };
        let step = |checker: &mut Checker, f: fn(&mut Checker, usize, &Record<Did>) -> Result<(), String>| {
            of_it.iter().try_for_each(|(i, r)| f(checker, *i, r).map_err(|why| about(history, *i, r, &why)))
        };
        step(&mut checker, Checker::place)?;
        checker.place_snapshots().map_err(|why| format!("feed {ring}: {why}"))?;
        step(&mut checker, Checker::order)?;
        let left = |process: u64| last.get(&process).is_some_and(|(_, left)| *left);
        checker.end(&left).map_err(|why| format!("feed {ring}: {why}"))?;
        told.add(&checker.told);
    }
    Ok(told)
}

/// A violation, and what else is known of its item and its process at this feed.
fn about(history: &[Record<Did>], i: usize, r: &Record<Did>, why: &str) -> String {
    let of_item = |other: &Record<Did>| other.item == r.item && r.item != 0 && r.did != Did::Lagged;
    let near = |at: usize, other: &Record<Did>| other.process == r.process && at <= i && at + 200 > i;
    let all = history.iter().enumerate().filter(|(at, o)| o.ring == r.ring && (of_item(o) || near(*at, o)));
    let lines: String = all.map(|(i, r)| format!("\n  {i}: {r:x?}")).collect();
    format!(
        "record {i} of {}, {r:x?}: {why}; all about its item, and what its process did before:{lines}",
        history.len()
    )
}

impl Told {
    fn add(&mut self, other: &Told) {
        self.appended += other.appended;
        self.perhaps_appended += other.perhaps_appended;
        self.subscribed += other.subscribed;
        self.read += other.read;
        self.lagged += other.lagged;
        self.missed += other.missed;
        self.ended += other.ended;
        self.latest += other.latest;
        self.snapshots += other.snapshots;
    }
}

/// An item, and between which records it came to be there.
#[derive(Debug)]
struct Item {
    process: u64,
    from: usize,
    /// The first record that says so: its producer's, or that of one who saw it.
    until: Option<usize>,
    given_back: bool,
    position: Option<u64>,
}

#[derive(Debug)]
struct Reading {
    /// Next position.
    at: u64,
    /// Where it wanted to begin may be gone.
    may_be_gone: bool,
    has_read: bool,
}

/// What was there for certain at some time.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    /// So many items.
    items: u64,
    /// One that was begun at this record.
    begun: usize,
}

#[derive(Debug)]
struct Snapshot {
    floor: Floor,
    items: Vec<u64>,
}

#[derive(Default)]
struct Checker {
    rules: Rules,
    items: HashMap<u64, Item>,
    positions: BTreeMap<u64, u64>,
    /// Complete ones, by their processes while they are not.
    snapping: HashMap<u64, Snapshot>,
    snapshots: Vec<Vec<u64>>,
    /// Position of the end.
    end: Option<u64>,
    /// Whether somebody is about to close it, or did.
    closing: bool,
    /// The first record that says that it is closed.
    closed: Option<usize>,
    floor: Floor,
    /// Items that may be there at most.
    most: u64,
    readings: HashMap<u64, Reading>,
    /// What was there when a process asked, or was about to subscribe.
    asked: HashMap<u64, Floor>,
    told: Told,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { capacity: 1, waits: false }
    }
}

impl Checker {
    /// First pass: which item is where, and since when.
    fn place(&mut self, now: usize, r: &Record<Did>) -> Result<(), String> {
        match r.did {
            Did::Append => {
                let item = Item { process: r.process, from: now, until: None, given_back: false, position: None };
                match self.items.insert(r.item, item) {
                    Some(_) => Err("it was appended already".into()),
                    None => Ok(()),
                }
            }
            Did::Appended => self.see(now, r.item),
            Did::NotAppended | Did::TooLate => {
                let item = self.items.get_mut(&r.item).ok_or("nobody began to append it")?;
                item.given_back = true;
                match item.until {
                    Some(at) => Err(format!("it was seen at {at}")),
                    None => Ok(()),
                }
            }
            Did::Read => {
                self.see(now, r.item)?;
                self.put_at(r.item, r.number)
            }
            Did::Latest if r.item != 0 => self.see(now, r.item),
            Did::Snap => {
                self.snapping.insert(r.process, Snapshot { floor: Floor::default(), items: vec![] });
                Ok(())
            }
            Did::Snapped => {
                let snapshot = self.snapping.get_mut(&r.process).ok_or("no snapshot was begun")?;
                snapshot.items.push(r.item);
                self.see(now, r.item)
            }
            Did::SnapEnd => {
                let items = self.snapping.remove(&r.process).ok_or("no snapshot was begun")?.items;
                self.snapshots.push(items);
                Ok(())
            }
            Did::Ended if self.end.is_some_and(|end| end != r.number) => Err(format!("others end at {:?}", self.end)),
            Did::Ended => {
                self.end = Some(r.number);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, now: usize, id: u64) -> Result<(), String> {
        let item = self.items.get_mut(&id).ok_or("nobody began to append it")?;
        if item.given_back {
            return Err("its producer has it back".into());
        }
        item.until.get_or_insert(now);
        Ok(())
    }

    fn put_at(&mut self, id: u64, position: u64) -> Result<(), String> {
        let there = *self.positions.entry(position).or_insert(id);
        if there != id {
            return Err(format!("item {there:x} is at position {position}, too"));
        }
        let item = self.items.get_mut(&id).ok_or("nobody began to append it")?;
        match item.position.replace(position) {
            Some(other) if other != position => Err(format!("item {id:x} is at positions {other} and {position}")),
            _ => Ok(()),
        }
    }

    fn position(&self, id: u64) -> Option<u64> {
        self.items.get(&id).and_then(|item| item.position)
    }

    /// What one knows the position of says where its neighbours are.
    fn place_snapshots(&mut self) -> Result<(), String> {
        let all = std::mem::take(&mut self.snapshots);
        let mut known = usize::MAX;
        while known != self.positions.len() {
            known = self.positions.len();
            for items in &all {
                let anchor = items.iter().zip(0_u64..).find_map(|(id, i)| Some((self.position(*id)?, i)));
                let Some((position, index)) = anchor else { continue };
                for (id, i) in items.iter().zip(0_u64..) {
                    let at = (position + i).checked_sub(index);
                    let at = at.ok_or_else(|| format!("a snapshot begins before the feed: {items:x?}"))?;
                    self.put_at(*id, at).map_err(|why| format!("{why}: a snapshot has a gap: {items:x?}"))?;
                }
            }
        }
        Ok(())
    }

    /// Second pass: what each was told, when positions are known.
    fn order(&mut self, now: usize, r: &Record<Did>) -> Result<(), String> {
        match r.did {
            Did::Append => {
                self.most += u64::from(!self.items[&r.item].given_back);
            }
            Did::Appended => {
                self.told.appended += 1;
                if self.closed.is_some_and(|closed| closed < self.items[&r.item].from) {
                    return Err("the feed was closed before".into());
                }
                self.is_there(r.item);
                self.floor.items = self.floor.items.max(self.told.appended);
            }
            Did::NotAppended | Did::Leave => {}
            Did::TooLate if !self.closing => return Err("nobody closed the feed".into()),
            Did::TooLate => {}
            Did::Subscribe => {
                self.readings.remove(&r.process);
                self.asked.insert(r.process, self.floor);
            }
            Did::BeganOldest | Did::BeganNewest | Did::BeganAt => self.begin(r)?,
            Did::Read => self.read(r)?,
            Did::Lagged => self.lag(r)?,
            Did::Ended => {
                self.told.ended += 1;
                let at = self.readings.get(&r.process).ok_or("it is no subscriber")?.at;
                if at != r.number || !self.closing || self.floor.items > at {
                    let (there, closing) = (self.floor.items, self.closing);
                    return Err(format!("it was at {at}, {there} items were there, and closed: {closing}"));
                }
                self.closed.get_or_insert(now);
            }
            Did::Close => self.closing = true,
            Did::Closed => {
                self.closed.get_or_insert(now);
            }
            Did::Look => drop(self.asked.insert(r.process, self.floor)),
            Did::Latest => self.latest(r)?,
            Did::Snap => {
                self.snapping.insert(r.process, Snapshot { floor: self.floor, items: vec![] });
            }
            Did::Snapped => {
                self.snapping.get_mut(&r.process).ok_or("no snapshot was begun")?.items.push(r.item);
            }
            Did::SnapEnd => {
                let snapshot = self.snapping.remove(&r.process).ok_or("no snapshot was begun")?;
                self.snapshot(&snapshot, r.number)?;
            }
        }
        Ok(())
    }

    /// From now on, everybody finds this item or a newer one.
    fn is_there(&mut self, id: u64) {
        let item = &self.items[&id];
        self.floor.begun = self.floor.begun.max(item.from);
        if let Some(position) = item.position {
            self.floor.items = self.floor.items.max(position + 1);
        }
    }

    fn begin(&mut self, r: &Record<Did>) -> Result<(), String> {
        self.told.subscribed += 1;
        let there = self.asked.get(&r.process).ok_or("it was not about to subscribe")?.items;
        let back = if r.did == Did::BeganNewest { 0 } else { self.rules.capacity };
        let (least, most) = (there.saturating_sub(back), self.most.saturating_sub(back));
        let fits = match r.did {
            Did::BeganAt => r.number <= self.most,
            _ => (least..=most).contains(&r.number),
        };
        if !fits {
            return Err(format!("it began at {}, and should at {least} to {most}", r.number));
        }
        let reading = Reading { at: r.number, may_be_gone: r.did == Did::BeganAt, has_read: false };
        self.readings.insert(r.process, reading);
        Ok(())
    }

    fn read(&mut self, r: &Record<Did>) -> Result<(), String> {
        self.told.read += 1;
        let reading = self.readings.get_mut(&r.process).ok_or("it is no subscriber")?;
        if r.number != reading.at {
            return Err(format!("its next position is {}", reading.at));
        }
        (reading.at, reading.has_read) = (reading.at + 1, true);
        self.is_there(r.item);
        Ok(())
    }

    fn lag(&mut self, r: &Record<Did>) -> Result<(), String> {
        self.told.lagged += 1;
        self.told.missed += r.number;
        let Rules { capacity, waits } = self.rules;
        let (most, closing) = (self.most, self.closing);
        let reading = self.readings.get_mut(&r.process).ok_or("it is no subscriber")?;
        let from = std::mem::replace(&mut reading.at, r.item);
        if r.number == 0 || from + r.number != r.item {
            return Err(format!("it was at position {from}, and is at {}", r.item));
        }
        // Its item goes with that of the lap after; beside the capacity there is one cell for the end.
        if from + capacity + 2 > most + u64::from(closing) {
            return Err(format!("position {from} was not gone: {most} items at most"));
        }
        if r.item > most.saturating_sub(capacity).max(from + 1) {
            return Err(format!("{most} items at most: it went on behind the oldest"));
        }
        // F4. A producer that had looked before it subscribed, and then the end, which waits for nobody.
        let first = closing && r.number == 1;
        let may_miss = !reading.has_read && (reading.may_be_gone || first);
        reading.may_be_gone = false;
        if waits && !may_miss {
            return Err("producers wait for it, and it missed something".into());
        }
        Ok(())
    }

    /// Whether an item is no older than what was there then, and no newer than what may be there now.
    fn is_as_new(&self, id: u64, then: Floor) -> Result<(), String> {
        let item = &self.items[&id];
        let is = match item.position {
            Some(position) => position + 1 >= then.items && position < self.most,
            None => item.until.is_none_or(|until| until >= then.begun),
        };
        if is { Ok(()) } else { Err(format!("{then:?} was there before, and is newer than {id:x}, {item:?}")) }
    }

    fn latest(&mut self, r: &Record<Did>) -> Result<(), String> {
        self.told.latest += 1;
        let then = *self.asked.get(&r.process).ok_or("it was not about to look")?;
        if r.item == 0 {
            return if then.items == 0 { Ok(()) } else { Err(format!("{then:?} was there before")) };
        }
        self.is_as_new(r.item, then)?;
        self.is_there(r.item);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &Snapshot, count: u64) -> Result<(), String> {
        self.told.snapshots += 1;
        let Snapshot { floor, items } = snapshot;
        let least = floor.items.min(self.rules.capacity);
        if count != items.len() as u64 || count < least || count > self.rules.capacity {
            return Err(format!("{} items of {count}, and at least {least} were there: {items:x?}", items.len()));
        }
        for two in items.windows(2) {
            let (a, b) = (&self.items[&two[0]], &self.items[&two[1]]);
            if two[0] == two[1] || b.until.is_some_and(|until| until < a.from) {
                return Err(format!("its items are not in order: {a:x?}, {b:x?}"));
            }
        }
        let Some(last) = items.last() else { return Ok(()) };
        self.is_as_new(*last, *floor)?;
        self.is_there(*last);
        Ok(())
    }

    fn end(&mut self, left: &dyn Fn(u64) -> bool) -> Result<(), String> {
        let end = self.end.ok_or("nobody got to its end")?;
        if let Some((position, id)) = self.positions.range(end..).next() {
            return Err(format!("item {id:x} is at position {position}, behind the end at {end}"));
        }
        let mut newest = 0;
        for (position, id) in &self.positions {
            let item = &self.items[id];
            if item.until.is_some_and(|until| until < newest) {
                return Err(format!("item {id:x} of position {position} was there before the one before was begun"));
            }
            newest = newest.max(item.from);
        }
        let mut unplaced = vec![];
        for (id, item) in &self.items {
            match item {
                Item { given_back: true, .. } | Item { position: Some(_), .. } => {}
                Item { until: Some(until), .. } => unplaced.push((*id, item.from, *until)),
                _ if left(item.process) => return Err(format!("item {id:x}: its producer does not know")),
                _ => self.told.perhaps_appended += 1,
            }
        }
        let unseen = end - self.positions.len() as u64;
        let (least, more) = (unplaced.len() as u64, self.told.perhaps_appended);
        if !(least..=least + more).contains(&unseen) {
            return Err(format!(
                "{unseen} of {end} positions were seen by nobody, and {least} items (perhaps {more} more) are at none"
            ));
        }
        self.fit_in(&unplaced, end)
    }

    /// Each item that was appended and not read is at a position that nobody read, among what came before and after
    /// it: a subscriber that was not told of having missed that would have read it.
    fn fit_in(&self, unplaced: &[(u64, usize, usize)], end: u64) -> Result<(), String> {
        let unread: Vec<u64> = (0..end).filter(|position| !self.positions.contains_key(position)).collect();
        let placed = || self.positions.iter().map(|(position, id)| (*position, &self.items[id]));
        let mut ends: Vec<(usize, u64)> = placed().filter_map(|(at, item)| Some((item.until?, at))).collect();
        let mut begins: Vec<(usize, u64)> = placed().map(|(at, item)| (item.from, at)).collect();
        ends.sort_unstable();
        begins.sort_unstable();
        (1..ends.len()).for_each(|i| ends[i].1 = ends[i].1.max(ends[i - 1].1));
        (1..begins.len()).rev().for_each(|i| begins[i - 1].1 = begins[i - 1].1.min(begins[i].1));
        for (id, from, until) in unplaced {
            let before = ends.partition_point(|(at, _)| at < from).checked_sub(1).map(|i| ends[i].1);
            let after = begins.get(begins.partition_point(|(at, _)| at <= until)).map_or(end, |(_, at)| *at);
            let first = unread.partition_point(|position| before.is_some_and(|before| *position < before));
            if unread.get(first).is_none_or(|position| *position >= after) {
                return Err(format!(
                    "item {id:x} was appended ({from} to {until}), behind {before:?} and before {after}, and is not there"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Did, Rules, Told, check};
    use crate::history::Record;

    /// The records of a word: a process, what it did, numbers.
    ///
    /// ```text
    /// 1+11       appends 11: 1?11 is about to, 1!11 did, 1-11 has it back, 1x11 too late
    /// 2<0        subscribes, and begins at the oldest, 0; 2>5 at the newest, 5; 2@1 where it wanted to, 1
    /// 2r0:11,12  read 11 at position 0, 12 at 1
    /// 2l3:4      missed 3, goes on at 4
    /// 2e5        was told the end, at 5; 9c closes
    /// 3n12       asks for the newest, 12; 3s11,12 takes a snapshot
    /// 1.         leaves
    /// ```
    fn records(word: &str) -> Vec<Record<Did>> {
        let at = word.find(|c: char| !c.is_ascii_digit()).expect("a deed");
        let process: u64 = word[..at].parse().expect("a process");
        let (deed, rest) = word[at..].split_at(1);
        let numbers: Vec<u64> = rest.split([':', ',']).filter_map(|n| n.parse().ok()).collect();
        let n = |i: usize| numbers.get(i).copied().unwrap_or(0);
        let asks = |did| vec![(did, 0, 0)];
        let all = match deed {
            "+" => numbers.iter().flat_map(|id| [(Did::Append, *id, 0), (Did::Appended, *id, 0)]).collect(),
            "?" => vec![(Did::Append, n(0), 0)],
            "!" => vec![(Did::Appended, n(0), 0)],
            "-" => vec![(Did::NotAppended, n(0), 0)],
            "x" => vec![(Did::TooLate, n(0), 0)],
            "<" => [asks(Did::Subscribe), vec![(Did::BeganOldest, 0, n(0))]].concat(),
            ">" => [asks(Did::Subscribe), vec![(Did::BeganNewest, 0, n(0))]].concat(),
            "@" => [asks(Did::Subscribe), vec![(Did::BeganAt, 0, n(0))]].concat(),
            "r" => numbers[1..].iter().zip(n(0)..).map(|(id, position)| (Did::Read, *id, position)).collect(),
            "l" => vec![(Did::Lagged, n(1), n(0))],
            "e" => vec![(Did::Ended, 0, n(0))],
            "c" => [asks(Did::Close), asks(Did::Closed)].concat(),
            "n" => [asks(Did::Look), vec![(Did::Latest, n(0), 0)]].concat(),
            "s" => {
                let items = numbers.iter().map(|id| (Did::Snapped, *id, 0)).collect();
                [asks(Did::Snap), items, vec![(Did::SnapEnd, 0, numbers.len() as u64)]].concat()
            }
            "." => asks(Did::Leave),
            _ => panic!("no deed {word}"),
        };
        all.into_iter().map(|(did, item, number)| Record { process, did, ring: 0, number, item }).collect()
    }

    /// Of a feed that keeps two items.
    fn of(waits: bool, words: &str) -> Result<Told, String> {
        let all: Vec<_> = words.split_whitespace().flat_map(records).collect();
        check(&all, &[Rules { capacity: 2, waits }])
    }

    /// What may happen is right.
    #[test]
    fn right_histories_pass() {
        for (what, waits, words) in [
            ("plain", true, "2<0 1+11,12 2r0:11,12 9c 2e2 2e2"),
            ("two see the same, of two producers", true, "2<0 3>0 1+11 4+12 2r0:11,12 9c 3r0:11,12 3e2 2e2"),
            ("it lags", false, "2<0 1+11,12,13,14,15 2l3:3 2r3:14,15 9c 2e5"),
            ("it lags, for the end", false, "2<0 1+11,12,13 9c 2l1:1 2r1:12,13 2e3"),
            ("it misses the first, for a late producer and the end", true, "2<0 1+11,12,13 9c 2l1:1 2r1:12,13 2e3"),
            ("it asks for what is gone", true, "1+11,12,13,14,15 2@1 2l2:3 2r3:14,15 9c 2e5"),
            ("its producer died", true, "2<0 1?11 2r0:11 9c 2e1"),
            ("before that", true, "2<0 1?11 9c 2e0"),
            ("given back", true, "2<0 1?11 1-11 1?12 9c 1x12 2e0 1."),
            ("who closes dies", true, "2<0 1+11 2r0:11 9c 2e1 1?12 1x12"),
            ("one dies, another begins at what is left", false, "2<0 1+11,12,13,14,15 3<3 3r3:14,15 9c 3e5"),
            (
                "latest and snapshots",
                true,
                "2<0 3n0 3s 1+11,12 3n12 3s11,12 2r0:11,12 1+13 3n13 3s12,13 2r2:13 9c 3s12,13 3n13 2e3",
            ),
            ("of what nobody reads", false, "1+11,12,13,14 3n14 3s13,14 1+15,16,17 2>7 9c 2e7"),
        ] {
            of(waits, words).unwrap_or_else(|why| panic!("{what}: {why}"));
        }
    }

    /// Each kind of wrong is told.
    #[test]
    fn wrong_histories_are_told() {
        for (what, why, waits, words) in [
            ("by nobody", "nobody began", true, "2<0 2r0:11 9c 2e1"),
            ("given back, and seen", "has it back", true, "2<0 1?11 1-11 2r0:11 9c 2e1"),
            ("seen, and given back", "was seen", true, "2<0 1?11 2r0:11 9c 1x11 2e1"),
            ("two items at a position", "at position 0, too", true, "2<0 3<0 1+11,12 2r0:11,12 3r0:12 9c 2e2"),
            ("an item at two", "at positions 0 and 1", true, "2<0 1+11,12 2r0:11,11 9c 2e2"),
            ("one passed over", "next position is 1", true, "2<0 1+11,12,13 2r0:11 2r2:13 9c 2e3"),
            ("one read twice", "next position is 2", true, "2<0 1+11,12 2r0:11,12 2r1:12 9c 2e2"),
            ("one lost, by position", "is not there", false, "2<0 1+11,12,14,15,16 2l3:3 2r3:14,15 9c 2e5"),
            ("one lost, by count", "perhaps 0 more", true, "2<0 1+11 3?12 2r0:11 9c 2e1 3!12"),
            ("told of one less", "it was at position 0", false, "2<0 1+11,12,13,14,15 2l2:3 2r3:14,15 9c 2e5"),
            ("told of none", "it was at position 0", false, "2<0 1+11,12 2l0:0 2r0:11,12 9c 2e2"),
            ("of what is there", "was not gone", false, "2<0 1+11,12,13 2l1:1 2r1:12,13 9c 2e3"),
            ("of more than is gone", "behind the oldest", false, "2<0 1+11,12,13,14,15 2l4:4 2r4:15 9c 2e5"),
            ("not waited for", "producers wait", true, "2<0 1+11,12,13,14,15 2l3:3 2r3:14,15 9c 2e5"),
            ("nor when it had read", "producers wait", true, "2<0 1+11,12,13,14 2r0:11 9c 2l1:2 2r2:13,14 2e4"),
            (
                "nor where it wanted to begin",
                "producers wait",
                true,
                "1+11 2@0 1+12,13,14,15 2r0:11 2l2:3 2r3:14,15 9c 2e5",
            ),
            ("a producer's in another order", "before the one before", true, "2<0 1+11,12 2r0:12,11 9c 2e2"),
            ("two producers'", "before the one before", true, "2<0 1+11 3+12 2r0:12,11 9c 2e2"),
            ("began before the oldest", "should at", false, "1+11,12,13,14,15 3<2 9c 3e5"),
            ("behind the oldest", "should at", true, "1+11,12 3<1 9c 3e2"),
            ("before the newest", "should at", true, "1+11,12 3>1 9c 3e2"),
            ("where nothing is yet", "should at", true, "1+11,12 3@3 9c 3e2"),
            ("latest: nothing", "was there before", true, "2<0 1+11,12 3n0 2r0:11,12 9c 2e2"),
            ("latest: the one before", "newer than", true, "2<0 1+11,12 3n11 2r0:11,12 9c 2e2"),
            ("the same, read by nobody", "newer than", false, "1+11,12,13,14 3n13 2>4 9c 2e4"),
            ("latest: goes back", "newer than", true, "2<0 1+11 4?12 3n12 3n11 2r0:11,12 9c 2e2"),
            ("the same, read by nobody", "newer than", false, "1+11 4?12 3n12 3n11 2>2 9c 2e2"),
            ("latest: given back", "has it back", true, "2<0 1?11 1-11 3n11 9c 2e0"),
            ("a snapshot with a gap", "has a gap", true, "2<0 1+11,12,13 2r0:11,12,13 3s11,13 9c 2e3"),
            ("the wrong way round", "not in order", false, "1+11,12 3s12,11 2>2 9c 2e2"),
            ("that is old", "newer than", true, "2<0 1+11,12,13 2r0:11,12,13 3s11,12 9c 2e3"),
            ("that is empty", "at least 2 were there", true, "2<0 1+11,12 2r0:11,12 3s 9c 2e2"),
            ("that is short", "at least 2 were there", true, "2<0 1+11,12 2r0:11,12 3s12 9c 2e2"),
            ("that is too long", "at least 2 were there", true, "2<0 1+11,12,13 2r0:11,12,13 3s11,12,13 9c 2e3"),
            ("two ends", "others end at", true, "2<0 3<0 1+11,12 2r0:11,12 9c 2e2 3r0:11 3e1"),
            ("an end that nobody made", "closed: false", true, "2<0 1+11 2r0:11 2e1"),
            ("an end before the last", "2 items were there", true, "2<0 3<0 1+11,12 2r0:11 9c 2e1"),
            ("an item behind it", "behind the end", true, "2<0 3<0 1?11 1?12 3r0:11 9c 3e1 2r0:11,12"),
            ("appended after it", "closed before", true, "2<0 9c 1+11 2r0:11 2e1"),
            ("refused for it, and it was not", "nobody closed", true, "2<0 1?11 1x11 9c 2e0"),
            ("left in the middle", "does not know", true, "2<0 1?11 1. 9c 2e0"),
            ("no end", "nobody got to its end", true, "2<0 1+11 2r0:11"),
        ] {
            match of(waits, words) {
                Ok(told) => panic!("{what}: {told:?}"),
                Err(told) => assert!(told.contains(why), "{what}: {told}"),
            }
        }
    }
}
