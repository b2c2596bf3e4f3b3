//! Orderings: a happens-before race detector (ThreadSanitizer's rules) under every schedule of a race.
//!
//! Words of the data region, and the value of a mutex, are payload: accesses of two participants to one of them, one writing, must be
//! ordered by synchronisation through other words, as they will be plain copies in use. An ordering can be
//! weakened to `Relaxed` at one place of the crate while a test runs ([`Clocks::weaken`]); if no race appears,
//! that ordering is not what makes payloads visible.
//!
//! `SeqCst` counts as `AcqRel` here; what needs more is [`crate::weak`]'s business.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use faretra::proof::PAGE;

use crate::race::{Race, Searched, Watch, try_explore};
use crate::script::{acting_stage, acts};
use crate::sim::{Done, Hook, Op, Site, ok, tiny};
use crate::stage::enter;
use crate::world::quiet;

const RACERS: usize = 4;
type Clock = [u32; RACERS];

fn join(into: &mut Clock, from: &Clock) {
    for (a, b) in into.iter_mut().zip(from) {
        *a = (*a).max(*b);
    }
}

/// A place in the crate at which memory is accessed: file, line, column.
pub type Place = (&'static str, u32, u32);

/// `file.rs function #n`: the n-th such place in that function.
pub type Name = String;

/// Clocks of one execution.
#[derive(Default)]
struct Now {
    racers: [Clock; RACERS],
    /// What an acquiring load of a word synchronises with.
    released: HashMap<u64, Clock>,
    written: HashMap<u64, (usize, u32)>,
    read: HashMap<u64, Clock>,
}

/// The detector, and what it was told to weaken.
#[derive(Default)]
pub struct Clocks {
    now: Mutex<Now>,
    weakened: Option<Place>,
    seen: Mutex<BTreeSet<Place>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn acquires(order: Ordering) -> bool {
    matches!(order, Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst)
}

fn releases(order: Ordering) -> bool {
    matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst)
}

impl Clocks {
    /// With every ordering at the given place taken for `Relaxed`.
    pub fn weaken(place: Option<Place>) -> Arc<Clocks> {
        Arc::new(Clocks { weakened: place, ..Clocks::default() })
    }

    /// A new execution begins; this is its first racer's clock hook if `who` is 0.
    pub fn hook(self: &Arc<Clocks>, who: usize) -> Arc<dyn Hook> {
        let mut now = locked(&self.now);
        if who == 0 {
            *now = Now::default();
        }
        now.racers[who][who] = 1;
        drop(now);
        Arc::new(Follow { who, clocks: self.clone(), data: tiny().data, guarded: guarded() })
    }

    /// Places at which an ordering stronger than relaxed was asked for.
    pub fn places(&self) -> Vec<Place> {
        locked(&self.seen).iter().copied().collect()
    }
}

struct Follow {
    who: usize,
    clocks: Arc<Clocks>,
    data: u64,
    guarded: Range<u64>,
}

/// Where the value of the mutex `m` lies: its holder alone uses it, so it is payload, too. (The slots of other values
/// are read while they are written, and are [`crate::weak`]'s business.)
fn guarded() -> Range<u64> {
    static GUARDED: OnceLock<Range<u64>> = OnceLock::new();
    let find = || {
        let watcher = quiet(&enter(&acting_stage()), 80);
        let m = ok(watcher.pin_named("m")).expect("published");
        let words = crate::locks::guarded_words(&watcher, m);
        watcher.detach();
        words
    };
    GUARDED.get_or_init(find).clone()
}

impl Follow {
    fn payload(&self, now: &mut Now, off: u64, writes: bool) {
        let mine = now.racers[self.who];
        if let Some((writer, time)) = now.written.get(&off) {
            assert!(*time <= mine[*writer], "data race: word {off:#x} was written by {writer}, used by {}", self.who);
        }
        if writes {
            if let Some(readers) = now.read.get(&off) {
                let ordered = readers.iter().zip(&mine).all(|(r, m)| r <= m);
                assert!(ordered, "data race: word {off:#x} was being read when {} wrote it", self.who);
            }
            now.written.insert(off, (self.who, mine[self.who]));
        } else {
            now.read.entry(off).or_default()[self.who] = mine[self.who];
        }
    }
}

impl Hook for Follow {
    fn step(&self, _: Op, _: u64, _: Site) {}

    fn done(&self, done: Done, off: u64, mut order: Ordering, at: Site) {
        let mut now = locked(&self.clocks.now);
        let place = (at.file(), at.line(), at.column());
        if order != Ordering::Relaxed {
            locked(&self.clocks.seen).insert(place);
        }
        if self.clocks.weakened == Some(place) {
            order = Ordering::Relaxed;
        }
        match done {
            Done::Gone(process) => {
                // The kernel lets go of a lock after its holder's last instruction.
                if let Some(clock) = process.checked_sub(10).and_then(|who| now.racers.get(who).copied()) {
                    join(&mut now.racers[self.who], &clock);
                }
                return;
            }
            Done::Punched(_) => {
                // Whoever gives a page back must come after all who used it.
                for off in (off..off + PAGE).step_by(8) {
                    if now.written.contains_key(&off) || now.read.contains_key(&off) {
                        self.payload(&mut now, off, true);
                    }
                }
                return;
            }
            _ if off >= self.data || self.guarded.contains(&off) => {
                let writes = !matches!(done, Done::Load | Done::Refused);
                return self.payload(&mut now, off, writes);
            }
            _ => {}
        }
        let loads = !matches!(done, Done::Store);
        if loads
            && acquires(order)
            && let Some(clock) = now.released.get(&off).copied()
        {
            join(&mut now.racers[self.who], &clock);
        }
        if matches!(done, Done::Store | Done::Update) {
            let mine = now.racers[self.who];
            let word = now.released.entry(off).or_default();
            if matches!(done, Done::Store) {
                // A plain store ends a release sequence; an update goes on with it.
                *word = Clock::default();
            }
            if releases(order) {
                join(word, &mine);
                now.racers[self.who][self.who] += 1;
            }
        }
    }
}

macro_rules! sources {
    ($($name:literal)*) => { &[$(($name, include_str!(concat!("../../src/core/", $name)))),*] };
}

/// The crate's sources as they were when it was built, to tell which function a line is in.
const SOURCES: &[(&str, &str)] = sources![
    "part.rs" "cell.rs" "list.rs" "object.rs" "hold.rs" "name.rs" "lease.rs" "ring.rs" "broadcast.rs" "recover.rs" "lock.rs"
    "seat.rs" "wait.rs" "tables.rs" "zone.rs"
];

/// Names places by the function they are in, so that lists of them survive edits elsewhere in a file.
pub struct Names {
    all: BTreeMap<(String, String), BTreeSet<(u32, u32)>>,
}

impl Names {
    /// Reads the crate's sources, to name these places.
    pub fn of(places: &[Place]) -> Names {
        let mut names = Names { all: BTreeMap::new() };
        for (file, line, column) in places {
            let key = names.function(file, *line);
            names.all.entry(key).or_default().insert((*line, *column));
        }
        names
    }

    fn function(&mut self, file: &str, line: u32) -> (String, String) {
        let short = file.rsplit('/').next().unwrap_or(file).to_owned();
        let text = SOURCES.iter().find(|(name, _)| *name == short).map_or("", |(_, text)| text);
        let lines: Vec<_> = text.lines().take(line as usize).collect();
        let mut found = lines.iter().rev().filter_map(|l| l.split_once("fn ")?.1.split(['(', '<']).next());
        (short, found.next().unwrap_or("?").to_owned())
    }

    /// `file.rs function #n`.
    pub fn name(&mut self, (file, line, column): Place) -> Name {
        let key = self.function(file, line);
        let index = self.all.get(&key).and_then(|at| at.iter().position(|p| *p == (line, column)));
        format!("{} {} #{}", key.0, key.1, index.map_or(0, |i| i + 1))
    }
}

/// Acts that payload goes between: written and read, freed and used again, guarded by leases, by two or three.
pub const RACES: &[&[&str]] = &[
    &["publish x", "read x"],
    &["pin x while it is replaced", "publish x"],
    &["drop a draft", "trim"],
    &["read x", "remove everything, trim"],
    &["drop a draft", "drop a draft"],
    &["remove x", "drop a draft"],
    &["read x", "publish x without parts", "drop a draft"],
    &["write half of g", "read half of g"],
    &["write half of g", "write half of g"],
    &["write g, half by half", "freeze g"],
];

/// Places that carry payload from one participant to another, and the race above that shows it. Weakened, each
/// must make a data race. (Others that [`survey`] finds unneeded order words that are not payload, or say twice what
/// these say: a slot's FREE is also told by its hint, a part's word by its root's place, the value of a mutex by its
/// lease and by its state.)
pub const NEEDED: &[(&str, usize)] = &[
    ("lease.rs count_leases #1", 7),
    ("lease.rs end_lease #1", 7),
    ("lease.rs end_lease #1", 8),
    ("lease.rs end_lease #1", 9),
    ("lock.rs read_partition #1", 7),
    ("lease.rs try_lease #2", 8),
    ("object.rs put_within #2", 6),
    ("object.rs unpin #1", 3),
    ("seat.rs turn_seat #1", 3),
    ("tables.rs pins_of #1", 3),
    ("tables.rs place #1", 6),
    ("tables.rs seat #1", 3),
    ("zone.rs claim #1", 2),
];

/// Whether a race of these acts has no data race.
pub fn is_ordered(names: &[&str], clocks: &Arc<Clocks>, most: u64) -> Result<Searched, String> {
    let all = acts();
    let racers: Vec<_> = names.iter().filter_map(|n| all.iter().find(|a| a.name == *n)).collect();
    let clocks = clocks.clone();
    let watch: Arc<Watch> = Arc::new(move |who| Some(clocks.hook(who)));
    let bound = if names.len() > 2 { 2 } else { 1 };
    try_explore(Race::new(&acting_stage(), &racers), bound, most, watch).map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        text.unwrap_or_else(|| "it panicked".to_owned())
    })
}

/// The places that the races use, with their names.
pub fn places(most: u64) -> BTreeMap<Name, Place> {
    let clocks = Clocks::weaken(None);
    for race in RACES {
        is_ordered(race, &clocks, most).expect("nothing is weakened");
    }
    let places = clocks.places();
    let mut names = Names::of(&places);
    places.iter().map(|p| (names.name(*p), *p)).collect()
}

/// Weakens each place in turn, and says in which race that is noticed, if in any.
pub fn survey(most: u64) -> BTreeMap<Name, Option<&'static [&'static str]>> {
    let noticed = |place: Place| {
        let weak = |race: &&&[&str]| is_ordered(race, &Clocks::weaken(Some(place)), most).is_err();
        RACES.iter().find(weak).copied()
    };
    places(most).into_iter().map(|(name, place)| (name, noticed(place))).collect()
}
