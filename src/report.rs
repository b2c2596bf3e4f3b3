//! What an arena tells about itself: entries, statistics, holders; also to observers without a seat.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::core::cell::{End, Ring};
use crate::core::geometry::{Set, Sums, header};
use crate::core::list::Named;
use crate::core::lock::PARTITION;
use crate::core::seat::Occupant;
use crate::core::segment::Posix;
use crate::core::sys::{Process, Sys};
use crate::core::tables::{Kind as Stored, Tables};
use crate::core::verify::Violation;
use crate::core::word::{Id, Life, Owner, SeatState, State};
use crate::error::Result;
use crate::kind::Kind;

/// A read-only look at an arena, by a process that does not take part: it changes nothing, needs no seat, and is possible
/// also where the process may not write the arena's file. [`Options::observe`](crate::Options::observe) returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-observer-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// let observer = Arena::options().observe(name)?;
/// assert_eq!(observer.who()?.len(), 1);
/// assert!(observer.verify()?.is_empty());
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
pub struct Observer {
    pub(crate) tables: Tables<Posix>,
}

impl Observer {
    /// Returns everything that is published, by name, as [`Arena::names`](crate::Arena::names) does.
    pub fn names(&self) -> Result<Vec<Entry>> {
        entries(self.whole()?)
    }

    /// Returns what the arena holds, as [`Arena::stats`](crate::Arena::stats) does.
    pub fn stats(&self) -> Result<Stats> {
        stats(self.whole()?)
    }

    /// Returns who takes part and what each keeps, as [`Arena::who`](crate::Arena::who) does.
    pub fn who(&self) -> Result<Vec<Holder>> {
        holders(self.whole()?)
    }

    /// Returns the channels and feeds, by name, as [`Arena::channels`](crate::Arena::channels) does.
    pub fn channels(&self) -> Result<Vec<ChannelInfo>> {
        channels(self.whole()?)
    }

    /// Checks every rule of the arena, as [`Arena::verify`](crate::Arena::verify) does.
    pub fn verify(&self) -> Result<Vec<Violation>> {
        self.whole()?.verify()
    }

    fn whole(&self) -> Result<&Tables<Posix>> {
        self.tables.check_size()?;
        Ok(&self.tables)
    }
}

/// An arena of a directory, as [`Options::list`](crate::Options::list) returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-info-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// let all = Arena::options().list()?;
/// let info = all.iter().find(|info| info.name == name).unwrap();
/// assert_eq!((info.participants, info.keep, info.limit), (1, false, 16 * MIB));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArenaInfo {
    /// The arena's name.
    pub name: String,
    /// The arena's file.
    pub path: PathBuf,
    /// Bytes that the arena has in memory.
    pub bytes: u64,
    /// Bytes that the arena may use now.
    pub limit: u64,
    /// Bytes that the arena may ever use.
    pub capacity: u64,
    /// Processes that take part.
    pub participants: u32,
    /// Whether the arena stays when nobody takes part.
    pub keep: bool,
    /// Why the arena cannot be used, if it cannot; the numbers are 0 then.
    pub problem: Option<String>,
}

/// How much room a file system has: what [`Options::room`](crate::Options::room) returns.
///
/// ```
/// let room = faretra::Options::default().dir("/dev/shm").room()?;
/// assert!(room.free <= room.size);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Room {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that there are.
    pub size: u64,
}

/// What a name stands for, as [`Arena::names`](crate::Arena::names) returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-entry-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// arena.writer()?.publish("greeting", "hello")?;
/// let entry = &arena.names()?[0];
/// assert_eq!((entry.name.as_str(), entry.version, entry.rows), ("greeting", 1, 5));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What the object is.
    pub kind: Kind,
    /// The object's version under this name.
    pub version: u64,
    /// Bytes of the object and its parts.
    pub bytes: u64,
    /// Rows of a batch or table, elements of an array, bytes of bytes, members of a bundle, items of a channel.
    pub rows: u64,
    /// When the object was published.
    pub published: SystemTime,
}

/// What an arena holds, as [`Arena::stats`](crate::Arena::stats) returns it; in bytes where nothing else is said.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-stats-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// let stats = arena.stats()?;
/// assert_eq!((stats.limit, stats.participants, stats.names), (16 * MIB, 1, 0));
/// assert!(stats.used <= stats.limit);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the arena may use now.
    pub limit: u64,
    /// What the arena may ever use.
    pub capacity: u64,
    /// What the arena has in memory, by the kernel's count.
    pub used: u64,
    /// Of what is in memory: objects.
    pub live: u64,
    /// Of what is in memory: freed memory that is kept to be used again.
    pub warm: u64,
    /// Of what is in memory: names, lists, words, records, pins.
    pub metadata: u64,
    /// The number of objects, parts and names included.
    pub objects: u64,
    /// The number of names.
    pub names: u64,
    /// The number of processes that take part.
    pub participants: u32,
    /// The number of processes that can take part at a time.
    pub seats: u32,
    /// The number of writers that there can be at a time.
    pub writers: u32,
    /// The number of writers that there are.
    pub writers_busy: u32,
    /// Free bytes of the file system.
    pub file_system_free: u64,
    /// Bytes of this process's page tables, for all that the process has mapped.
    pub page_tables: u64,
    /// Whether objects keep checksums ([`Options::checksums`](crate::Options::checksums)).
    pub checksums: bool,
}

/// A channel or feed, as [`Arena::channels`](crate::Arena::channels) returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-channel-info-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// let jobs = arena.writer()?.sender("jobs", 16)?;
/// jobs.send("one")?;
/// let info = &arena.channels()?[0];
/// assert_eq!((info.capacity, info.depth, info.senders.len()), (Some(16), 1, 1));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The name of the channel or feed.
    pub name: String,
    /// [`Kind::Channel`] or [`Kind::Feed`].
    pub kind: Kind,
    /// The number of items that there is room for; `None`: the channel has no bound.
    pub capacity: Option<u64>,
    /// The number of items that wait to be received; of a feed, of those that it keeps.
    pub depth: u64,
    /// The number of items that were sent or appended so far.
    pub sent: u64,
    /// The number of items that are leased: received, and not acknowledged.
    pub leased: u64,
    /// The number of items that came back and wait to be received again.
    pub returned: u64,
    /// Ids of the processes that can send or append, as they see them.
    pub senders: Vec<u32>,
    /// Ids of the processes that can receive, or have subscribed.
    pub receivers: Vec<u32>,
    /// Ids of the processes that wait at an end: for room, or for an item.
    pub blocked: Vec<u32>,
    /// Whether the channel or feed is closed.
    pub closed: bool,
    /// Whether its items may be any values, and batches have different schemas.
    pub mixed: bool,
}

/// A participant, and what it keeps, as [`Arena::who`](crate::Arena::who) returns it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-holder-{}", std::process::id());
/// # let name = name.as_str();
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(name)?;
/// let writer = arena.writer()?;
/// let who = arena.who()?;
/// assert_eq!((who[0].pid, who[0].permits, who[0].alive), (std::process::id(), 1, true));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Holder {
    /// Process id, as that process sees it.
    pub pid: u32,
    /// The process's command name.
    pub command: String,
    /// Whether the process may be alive. `false` means proved dead, and not recovered yet.
    pub alive: bool,
    /// Whether the process is stopped, as far as the process that asks can see.
    pub stopped: bool,
    /// When the process joined the arena.
    pub since: SystemTime,
    /// The number of pins.
    pub pins: u64,
    /// Bytes of the objects that the process pins.
    pub pinned_bytes: u64,
    /// Bytes of the pinned objects that nothing else keeps.
    pub only_pinned_bytes: u64,
    /// The number of objects that the process is writing or freeing.
    pub drafts: u64,
    /// Bytes of the objects that the process is writing or freeing.
    pub draft_bytes: u64,
    /// The number of writers' permits that the process has.
    pub permits: u32,
    /// What the process holds of what is granted (locks, permits of semaphores, partitions, leases, ends), in words.
    pub holds: Vec<String>,
    /// What threads of the process sleep on, up to 7, in words.
    pub waits_for: Vec<String>,
    /// Whether this is the process that asks.
    pub this_process: bool,
}

pub(crate) fn entries(t: &Tables<Posix>) -> Result<Vec<Entry>> {
    let bytes = |n: &Named| n.len.saturating_add(t.bytes_of_parts(n.id, 4));
    let rows = |n: &Named| match n.kind {
        kind if kind.is_ring() => t.ring_of(n.id).map_or(0, |ring| t.depth(ring)),
        _ => n.rows,
    };
    let entry = |n: Named| Entry {
        kind: Kind::of(n.kind),
        version: n.version,
        bytes: bytes(&n),
        rows: rows(&n),
        published: UNIX_EPOCH + Duration::from_millis(n.time),
        name: n.name,
    };
    let mut all: Vec<Entry> = t.names()?.into_iter().map(entry).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub(crate) fn stats(t: &Tables<Posix>) -> Result<Stats> {
    let (mut live, mut warm, mut objects) = (0, 0, 0);
    for zone in &t.geo.zones {
        if zone.set == Set::Payload {
            let c = t.committed(zone);
            live += c.bytes - c.warm;
            warm += c.warm;
        }
        objects += t.in_use(zone);
    }
    Ok(Stats {
        limit: t.limit(),
        capacity: t.geo.params.capacity,
        checksums: t.geo.params.sums == Sums::Kept,
        used: t.env.in_memory(),
        live,
        warm,
        metadata: t.records_bytes(),
        objects,
        names: t.names()?.len() as u64,
        participants: living(t)?.len() as u32,
        seats: t.geo.params.seats as u32,
        writers: t.geo.params.permits as u32,
        writers_busy: t.permits_held(),
        file_system_free: t.env.room().0,
        page_tables: Process::page_tables(),
    })
}

pub(crate) fn holders(t: &Tables<Posix>) -> Result<Vec<Holder>> {
    let kept = t.kept();
    let here = Process::current();
    let names: Names = t.names()?.into_iter().map(|n| (n.id, n.name)).collect();
    let rings = rings(t)?;
    let holder = |o: Occupant| {
        let k = kept.get(&o.owner).cloned().unwrap_or_default();
        Holder {
            pid: o.process.pid,
            command: o.command,
            alive: o.state != SeatState::Dead && !t.env.is_gone(o.owner, o.process),
            stopped: o.process.is_stopped(),
            since: UNIX_EPOCH + Duration::from_millis(o.since),
            pins: k.pins,
            pinned_bytes: k.pinned_bytes,
            only_pinned_bytes: k.only_pinned_bytes,
            drafts: k.drafts,
            draft_bytes: k.draft_bytes,
            permits: k.permits,
            holds: {
                let mut holds = leases_text(t, &names, &k.leases);
                holds.extend(rings.iter().flat_map(|(name, ring)| channel_text(t, name, *ring, o.owner)));
                holds
            },
            waits_for: t.waits_of(o.owner.seat.into()).into_iter().map(|bell| bell_text(t, &names, bell)).collect(),
            this_process: o.process == here,
        }
    };
    Ok(t.occupants()?.into_iter().map(holder).collect())
}

type Names = HashMap<Id, String>;

/// Every channel and feed that has a name.
fn rings(t: &Tables<Posix>) -> Result<Vec<(String, Ring)>> {
    let channels = t.names()?.into_iter().filter(|n| n.kind.is_ring());
    channels.map(|n| Ok((n.name, t.ring_of(n.id)?))).collect()
}

pub(crate) fn channels(t: &Tables<Posix>) -> Result<Vec<ChannelInfo>> {
    let occupants = t.occupants()?;
    let pids = |owners: Vec<Owner>| -> Vec<u32> {
        let pid = |owner| occupants.iter().find(|o| o.owner == owner).map(|o| o.process.pid);
        owners.into_iter().filter_map(pid).collect()
    };
    let info = |(name, ring): (String, Ring)| {
        let out = t.outstanding(ring);
        let is_leased = |word: &Life| matches!(word.state(), Some(State::Leased(_) | State::Draft(_)));
        let bells = [ring.bell(End::Send), ring.bell(End::Receive)];
        let waits = |o: &&Occupant| t.waits_of(o.owner.seat.into()).iter().any(|bell| bells.contains(bell));
        ChannelInfo {
            name,
            kind: if ring.is_feed() { Kind::Feed } else { Kind::Channel },
            capacity: (!ring.is_chain()).then(|| ring.capacity()),
            depth: t.depth(ring),
            sent: if ring.is_feed() { t.items_end(ring) } else { t.sent(ring) },
            leased: out.iter().filter(|(_, word)| is_leased(word)).count() as u64,
            returned: out.iter().filter(|(_, word)| !is_leased(word)).count() as u64,
            senders: pids(t.present(ring, End::Send)),
            receivers: pids(t.present(ring, End::Receive)),
            blocked: occupants.iter().filter(waits).map(|o| o.process.pid).collect(),
            closed: t.is_closed(ring) || t.has_ended(ring),
            mixed: t.is_mixed(ring),
        }
    };
    let mut all: Vec<ChannelInfo> = rings(t)?.into_iter().map(info).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// What somebody does at a channel, in words.
fn channel_text(t: &Tables<Posix>, name: &str, ring: Ring, owner: Owner) -> Vec<String> {
    let mut all = vec![];
    let owned = |word: &Life| matches!(word.state(), Some(State::Leased(t) | State::Draft(t)) if t.owner() == owner);
    match t.outstanding(ring).iter().filter(|(_, word)| owned(word)).count() {
        0 => {}
        1 => all.push(format!("a lease of channel `{name}`")),
        n => all.push(format!("{n} leases of channel `{name}`")),
    }
    let kind = if ring.is_feed() { "feed" } else { "channel" };
    for (end, what) in [(End::Send, "sending"), (End::Receive, "receiving")] {
        if t.present(ring, end).contains(&owner) {
            all.push(format!("the {what} end of {kind} `{name}`"));
        }
    }
    all
}

/// An object that locks, in words.
fn object_text(t: &Tables<Posix>, names: &Names, id: Id) -> String {
    let kind = t.kind(id).map_or_else(|_| "object".to_owned(), |kind| kind.to_string());
    match names.get(&id) {
        Some(name) => format!("{kind} `{name}`"),
        None => format!("{kind} without a name"),
    }
}

/// What somebody has leases of, each object or partition once.
fn leases_text(t: &Tables<Posix>, names: &Names, leases: &[(Id, u64)]) -> Vec<String> {
    let one = |(id, index): &(Id, u64)| match t.kind(*id) {
        Ok(Stored::MutableArray) => {
            let how = if index % PARTITION == 0 { "writes" } else { "reads" };
            format!("{how} partition {} of {}", index / PARTITION, object_text(t, names, *id))
        }
        Ok(Stored::Name) => format!("makes `{}`", t.text(*id)),
        _ => object_text(t, names, *id),
    };
    let mut all: Vec<(String, u32)> = vec![];
    for lease in leases {
        let text = one(lease);
        match all.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => all.push((text, 1)),
        }
    }
    all.into_iter().map(|(text, count)| if count == 1 { text } else { format!("{text} x {count}") }).collect()
}

/// What a bell is rung for, in words.
fn bell_text(t: &Tables<Posix>, names: &Names, bell: u64) -> String {
    match bell {
        header::PERMIT_BELL => "a writer's permit".into(),
        header::NAME_BELL => "a name that is not there yet".into(),
        _ => match t.geo.locate(bell) {
            Some(id) if t.kind(id).is_ok_and(|kind| kind == Stored::Name) => {
                format!("a newer version of `{}`", t.text(id))
            }
            Some(id) => object_text(t, names, id),
            None => "an unknown bell".into(),
        },
    }
}

/// Participants that are not proved dead.
pub(crate) fn living(t: &Tables<Posix>) -> Result<Vec<Owner>> {
    let alive = t.occupants()?.into_iter().filter(|o| o.state != SeatState::Dead && !t.env.is_gone(o.owner, o.process));
    Ok(alive.map(|o| o.owner).collect())
}
