//! Shows nothing by itself: what processes did with the items of channels, written down so that a kill leaves it
//! whole, and what must hold of it. (That of feeds is in `feed_history.rs`.)
//!
//! One file for all of them: each record is one short write at its end, so that the kernel puts them in one order,
//! which agrees with what came before what. What a process is about to do it writes before it does it. A process
//! whose records end without its leave is dead.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::Path;

/// What records of a history may say.
pub trait Deed: Copy + PartialEq + 'static {
    /// Each of them: a record has its index here.
    const ALL: &'static [Self];
    /// Nothing more comes from this process, which holds nothing any more.
    const LEAVE: Self;
}

/// What a process does or did with an item of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// Is about to send it.
    Send,
    Sent,
    /// It was given back, or is gone: nobody has it.
    NotSent,
    /// Has a lease of it.
    Received,
    Ack,
    Acked,
    /// Is about to drop the lease.
    Refuse,
    /// Is about to send it on to another channel.
    Forward,
    Forwarded,
    /// Has the lease as before.
    NotForwarded,
    /// Was told that the channel is closed for good.
    Closed,
    /// Nothing more comes from this process, which holds nothing any more.
    Leave,
}

impl Deed for Did {
    const ALL: &'static [Did] = &[
        Did::Send,
        Did::Sent,
        Did::NotSent,
        Did::Received,
        Did::Ack,
        Did::Acked,
        Did::Refuse,
        Did::Forward,
        Did::Forwarded,
        Did::NotForwarded,
        Did::Closed,
        Did::Leave,
    ];
    const LEAVE: Did = Did::Leave;
}

/// One line of a history. `ring` is the channel where the item comes from or, of [`Did::Forward`], goes to; or the feed.
#[derive(Clone, Copy, Debug)]
pub struct Record<D> {
    pub process: u64,
    pub did: D,
    pub ring: u8,
    /// How often the item was received before; or its position in a feed.
    pub number: u64,
    pub item: u64,
}

/// 32 bytes never lie in two pages, so that no kill leaves a part of them.
pub const BYTES: usize = 32;

/// Writes a history.
#[derive(Debug)]
pub struct Log {
    file: File,
    process: u64,
    next: u64,
}

impl Log {
    /// Begins a process's part of the history in a file. A forked child has to do so itself.
    pub fn open(path: &Path) -> std::io::Result<Log> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let random = RandomState::new().hash_one((std::process::id(), std::thread::current().id()));
        Ok(Log { file, process: u64::from(std::process::id()) << 32 | random & 0xffff_ffff, next: 0 })
    }

    /// An id that no other item has.
    pub fn new_item(&mut self) -> u64 {
        self.next += 1;
        self.process.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xfff_ffff | self.next
    }

    pub fn did(&mut self, did: impl Deed, ring: u8, item: u64) {
        self.did_at(did, ring, item, 0);
    }

    /// Writes down a deed that a number belongs to.
    pub fn did_at<D: Deed>(&mut self, did: D, ring: u8, item: u64, number: u64) {
        let kind = D::ALL.iter().position(|d| *d == did).expect("all of them") as u64;
        let words = [self.process, kind << 8 | u64::from(ring), number, item];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        self.file.write_all(&bytes).expect("room for a history");
    }
}

/// A history, in its order.
pub fn read<D: Deed>(path: &Path) -> std::io::Result<Vec<Record<D>>> {
    let bytes = std::fs::read(path)?;
    let (records, rest) = bytes.as_chunks::<BYTES>();
    assert!(rest.is_empty(), "a record is cut");
    let record = |bytes: &[u8; BYTES]| {
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|b| bytes[i * 8 + b]));
        let did = D::ALL[(word(1) >> 8) as usize];
        Record { process: word(0), did, ring: word(1) as u8, number: word(2), item: word(3) }
    };
    Ok(records.iter().map(record).collect())
}

/// Where the last record of each process is, and whether it is its leave: who did not leave is dead.
pub fn last_records<D: Deed>(history: &[Record<D>]) -> HashMap<u64, (usize, bool)> {
    let mut last = HashMap::new();
    for (i, r) in history.iter().enumerate() {
        last.insert(r.process, (i, r.did == D::LEAVE));
    }
    last
}

/// What a history tells when nothing is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub processes: u64,
    pub dead: u64,
    pub sent: u64,
    /// Their senders died before they could say whether they had sent them, and nobody received them.
    pub perhaps_sent: u64,
    pub received: u64,
    pub received_again: u64,
    pub acked: u64,
    /// Those who had them died before they could say whether they had acknowledged them.
    pub perhaps_acked: u64,
    pub refused: u64,
    pub forwarded: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hands {
    Holds,
    Acks,
    Refuses,
    ForwardsTo(u8),
}

#[derive(Debug, Default)]
struct Item {
    producer: u64,
    /// Among those that its producer sent.
    order: u64,
    /// Given back to its sender.
    not_sent: bool,
    sent: bool,
    acked: bool,
    holder: Option<(u64, Hands)>,
    received: u64,
    was_forwarded: bool,
    perhaps_acked: bool,
}

struct Checker {
    items: HashMap<u64, Item>,
    /// Where the last record of each process is, and whether it is its leave.
    last: HashMap<u64, (usize, bool)>,
    dead: u64,
    orders: HashMap<u64, u64>,
    /// What each consumer received first of a producer's, last.
    seen: HashMap<(u64, u8, u64), u64>,
    closed: HashMap<u8, u64>,
    told: Told,
}

/// Demands of a history that ends with everything received and acknowledged:
///
/// * what is received was sent, and not given back to its sender;
/// * an item is in one process's hands at a time, unless that one refused it, sent it on, or died with it;
/// * it is acknowledged once, and not received afterwards;
/// * everything that was sent is acknowledged, in the end;
/// * a consumer gets a producer's items in their order, but for those that came back or were sent on;
/// * nothing is received from a channel after somebody was told that it is closed for good.
pub fn check(history: &[Record<Did>]) -> Result<Told, String> {
    let last = last_records(history);
    let dead = last.values().filter(|(_, left)| !left).count() as u64;
    let mut checker = Checker {
        told: Told { processes: last.len() as u64, dead, ..Told::default() },
        items: HashMap::new(),
        last,
        dead,
        orders: HashMap::new(),
        seen: HashMap::new(),
        closed: HashMap::new(),
    };
    for (i, r) in history.iter().enumerate() {
        checker.step(i, r).map_err(|why| {
            let of_it = history.iter().enumerate().filter(|(_, other)| other.item == r.item);
            let lines: String = of_it.map(|(i, r)| format!("\n  {i}: {r:x?}")).collect();
            format!("record {i} of {}, {r:x?}: {why}; all about this item:{lines}", history.len())
        })?;
    }
    checker.end()
}

impl Checker {
    fn is_dead_by(&self, process: u64, now: usize) -> bool {
        self.last.get(&process).is_some_and(|(last, left)| *last < now && !left)
    }

    fn step(&mut self, now: usize, r: &Record<Did>) -> Result<(), String> {
        match r.did {
            Did::Leave => Ok(()),
            Did::Closed => {
                self.closed.insert(r.ring, r.process);
                Ok(())
            }
            Did::Send => self.send(r),
            Did::Received => self.receive(now, r),
            _ => self.hold(r),
        }
    }

    fn send(&mut self, r: &Record<Did>) -> Result<(), String> {
        let order = self.orders.entry(r.process).or_default();
        *order += 1;
        let item = Item { producer: r.process, order: *order, ..Item::default() };
        match self.items.insert(r.item, item) {
            Some(before) if !before.not_sent => Err("it was sent already".into()),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, now: usize, r: &Record<Did>) -> Result<(), String> {
        if let Some(process) = self.closed.get(&r.ring) {
            return Err(format!("process {process:x} was told before that nothing comes any more"));
        }
        let dead = self.dead;
        let holder = self.items.get(&r.item).and_then(|item| item.holder);
        let died = holder.is_some_and(|(process, _)| self.is_dead_by(process, now));
        let item = self.items.get_mut(&r.item).ok_or("nobody sent it")?;
        if item.not_sent {
            return Err("its sender has it back".into());
        }
        if item.acked {
            return Err("it was acknowledged".into());
        }
        match item.holder {
            Some((_, Hands::Refuses)) | None => {}
            Some((_, Hands::ForwardsTo(channel))) if channel == r.ring => {}
            Some(_) if died => {}
            Some(holder) => return Err(format!("another has it: {holder:x?}")),
        }
        if r.number > item.received + dead {
            return Err(format!("{} deliveries are known, and {dead} died", item.received));
        }
        if r.number == 0 {
            if item.received > 0 && !item.was_forwarded {
                return Err("it was received before, and does not say so".into());
            }
            let seen = self.seen.entry((r.process, r.ring, item.producer)).or_default();
            if !item.was_forwarded && *seen >= item.order {
                return Err(format!("item {} of its producer after item {seen}", item.order));
            }
            *seen = item.order.max(*seen);
        } else {
            self.told.received_again += 1;
        }
        item.received += 1;
        item.holder = Some((r.process, Hands::Holds));
        self.told.received += 1;
        Ok(())
    }

    fn hold(&mut self, r: &Record<Did>) -> Result<(), String> {
        let item = self.items.get_mut(&r.item).ok_or("nobody sent it")?;
        let is_ours = item.holder.filter(|(process, _)| *process == r.process).map(|(_, hands)| hands);
        let from = |hands: Hands, next: Option<Hands>| match is_ours {
            Some(now) if now == hands => Ok(next.map(|next| (r.process, next))),
            _ => Err(format!("it is in other hands: {:x?}", item.holder)),
        };
        match r.did {
            Did::Sent => {
                item.sent = true;
                self.told.sent += 1;
            }
            Did::NotSent => {
                if item.received > 0 {
                    return Err("it was received".into());
                }
                item.not_sent = true;
            }
            Did::Ack => {
                item.holder = from(Hands::Holds, Some(Hands::Acks))?;
                item.perhaps_acked = true;
            }
            Did::Acked => {
                item.holder = from(Hands::Acks, None)?;
                item.acked = true;
                self.told.acked += 1;
            }
            Did::Refuse => {
                item.holder = from(Hands::Holds, Some(Hands::Refuses))?;
                self.told.refused += 1;
            }
            Did::Forward => {
                item.holder = from(Hands::Holds, Some(Hands::ForwardsTo(r.ring)))?;
                item.was_forwarded = true;
            }
            Did::Forwarded => {
                self.told.forwarded += 1;
                // Somebody else may have received it since.
                if is_ours == Some(Hands::ForwardsTo(r.ring)) {
                    item.holder = None;
                }
            }
            Did::NotForwarded => item.holder = from(Hands::ForwardsTo(r.ring), Some(Hands::Holds))?,
            Did::Send | Did::Received | Did::Closed | Did::Leave => {}
        }
        Ok(())
    }

    fn end(mut self) -> Result<Told, String> {
        for (id, item) in &self.items {
            let left = |process: u64| self.last.get(&process).is_some_and(|(_, left)| *left);
            match item {
                _ if item.acked || item.not_sent => {}
                Item { holder: Some((process, hands)), .. } if left(*process) => {
                    return Err(format!("process {process:x} left with item {id:x}, which it {hands:?}"));
                }
                _ if item.perhaps_acked => self.told.perhaps_acked += 1,
                _ if item.sent || item.received > 0 => return Err(format!("item {id:x} is lost: {item:x?}")),
                _ if left(item.producer) => return Err(format!("item {id:x}: its sender does not know")),
                _ => self.told.perhaps_sent += 1,
            }
        }
        Ok(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::{Did, Record, Told, check};

    fn history(records: &[(u64, Did, u64)]) -> Result<Told, String> {
        let record = |(process, did, attempts): &(u64, Did, u64)| {
            let ring = u8::from(*did == Did::Forward || *did == Did::Forwarded);
            let item = if matches!(did, Did::Closed | Did::Leave) { 0 } else { 7 };
            Record { process: *process, did: *did, ring, number: *attempts, item }
        };
        check(&records.iter().map(record).collect::<Vec<_>>())
    }

    /// What is wrong is found, and what may happen is not.
    #[test]
    fn wrong_histories_are_told_from_right_ones() {
        use Did::{Ack, Acked, Closed, Forward, Forwarded, Leave, NotForwarded, NotSent, Received, Refuse, Send, Sent};
        let sent = [(1, Send, 0), (1, Sent, 0), (1, Leave, 0)];
        let with = |more: &[(u64, Did, u64)]| history(&[&sent[..], more].concat());
        let acked = |process, attempts| [(process, Received, attempts), (process, Ack, 0), (process, Acked, 0)];
        with(&acked(2, 0)).expect("plain");
        // Process 2 dies with it, and 3 has it next; or it died when it was acknowledging it.
        with(&[&[(2, Received, 0)][..], &acked(3, 1)].concat()).expect("a death");
        with(&[&[(2, Received, 0), (2, Ack, 0)][..], &acked(3, 1)].concat()).expect("a death");
        assert_eq!(with(&[(2, Received, 0), (2, Ack, 0)]).expect("a death").perhaps_acked, 1);
        with(&[&[(2, Received, 0), (2, Refuse, 0)][..], &acked(3, 1), &[(2, Leave, 0)]].concat()).expect("refused");
        let on = [(2, Received, 0), (2, Forward, 0), (2, Forwarded, 0), (2, Leave, 0)];
        with(&[&on[..], &acked(3, 0)].concat()).expect("sent on");
        assert_eq!(history(&[(1, Send, 0)]).expect("a death").perhaps_sent, 1);
        history(&[(1, Send, 0), (1, NotSent, 0), (1, Leave, 0)]).expect("refused");

        for (what, wrong) in [
            ("lost", with(&[])),
            ("lost by one who is dead", with(&[(2, Received, 0)])),
            ("lost by one who left", with(&[(2, Received, 0), (2, Ack, 0), (2, Leave, 0)])),
            ("lost by one who sends on", with(&[(2, Received, 0), (2, Forward, 0), (2, Forwarded, 0)])),
            ("in two hands", with(&[&[(2, Received, 0)][..], &acked(3, 1), &[(2, Leave, 0)]].concat())),
            ("acknowledged twice", with(&[&acked(2, 0)[..], &acked(3, 1)].concat())),
            ("acknowledged by another", with(&[(2, Received, 0), (3, Ack, 0)])),
            ("again, and not said", with(&[&[(2, Received, 0)][..], &acked(3, 0)].concat())),
            ("more often than could be", with(&acked(2, 3))),
            ("after the end", with(&[&[(4, Closed, 0), (4, Leave, 0)][..], &acked(2, 0)].concat())),
            ("by nobody", history(&acked(2, 0))),
            ("given back", history(&[&[(1, Send, 0), (1, NotSent, 0)][..], &acked(2, 0)].concat())),
            ("back, though received", with(&[&on[..2], &acked(3, 0), &[(2, NotForwarded, 0)]].concat())),
        ] {
            assert!(wrong.is_err(), "{what}: {wrong:?}");
        }
    }
}
