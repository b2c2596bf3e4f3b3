//! A segment and a kernel in memory, with a step before every access.
//!
//! An [`Image`] is everything that processes share: pages, byte locks, the clock. Images are cheap to
//! copy (pages are shared until written), so a sweep keeps one for each step at which a process might
//! have died, and goes on from any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use faretra::proof::{Doorbell, Full, Geometry, Load, Mem, Owner, PAGE, Params, Process, Slept, Stay, Sums, Sys};

/// Where in the crate an access is.
pub type Site = &'static Location<'static>;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A shared load.
    Load,
    /// A shared store, swap or addition.
    Write,
    /// A system call that changes something.
    Call,
    /// Waiting for others: a retry or a sleep.
    Spin,
    /// Waiting for others, who all get on meanwhile.
    Pause,
}

impl Op {
    /// Whether being killed before it differs from being killed after it.
    pub fn changes(self) -> bool {
        matches!(self, Op::Write | Op::Call)
    }
}

/// What has happened, for those who follow orderings.
#[derive(Clone, Copy, Debug)]
pub enum Done {
    /// A load.
    Load,
    /// A plain store.
    Store,
    /// A swap that succeeded, or an addition.
    Update,
    /// A swap that failed.
    Refused,
    /// Pages of this many bytes were given back.
    Punched(u64),
    /// The kernel said that this process can run no more.
    Gone(usize),
}

/// Sees each access of one process.
pub trait Hook: Send + Sync {
    /// Before it. May unwind with [`Killed`], block, or let others run.
    fn step(&self, op: Op, off: u64, at: Site);
    /// After it, before anybody else does something.
    fn done(&self, _done: Done, _off: u64, _order: Ordering, _at: Site) {}
}

/// Words that live elsewhere than in the image, under a memory model of their own. `None`: not one of them.
pub trait Cells: Send + Sync {
    /// A load.
    fn load(&self, off: u64, order: Ordering) -> Option<u64>;
    /// A store.
    fn store(&self, off: u64, value: u64, order: Ordering) -> Option<()>;
    /// A compare-and-swap.
    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Option<Result<u64, u64>>;
    /// An addition.
    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> Option<u64>;
}

/// Does nothing.
#[derive(Debug, Default)]
pub struct Quiet;
impl Hook for Quiet {
    fn step(&self, _: Op, _: u64, _: Site) {}
}

/// What a killed process unwinds with.
#[derive(Debug)]
pub struct Killed;

const WORDS: usize = (PAGE / 8) as usize;
type Page = [u64; WORDS];

/// Whose the arena's name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Name {
    /// This arena's.
    #[default]
    Ours,
    /// It was taken away.
    Nobodys,
    /// A new arena's, which was made when it was nobody's.
    Anothers,
}

/// Everything that is shared: the segment's bytes, and what the kernel knows.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pages: Vec<Option<Arc<Page>>>,
    count: u64,
    /// Who holds which lock.
    locks: BTreeMap<Owner, usize>,
    /// Who held those that went with their process.
    gone: BTreeMap<Owner, usize>,
    /// Pages that the file system has at most.
    pub room: u64,
    /// Times that sleepers were woken.
    pub wakes: u64,
    /// How often sleepers had been woken when the last one fell asleep.
    pub slept: Option<u64>,
    /// Versions that publishers were told, under which name.
    pub told: Vec<(String, u64)>,
    /// What participants said of items of channels, and how many items there were.
    pub said: Vec<(Said, u64)>,
    /// The number of the last item.
    pub items: u64,
    /// What changes under a lock, or at once, made of a counter: nothing twice.
    pub counted: Vec<(&'static str, u64)>,
    /// Who is making what a name will stand for.
    pub making: Vec<(usize, &'static str)>,
    /// Pages are put in memory by touching them, as a kernel would; else that is a bug.
    pub lenient: bool,
    /// Whose the arena's name is.
    pub name: Name,
    /// Processes in which a signal has come: their interrupt hook ends waits.
    pub interrupted: BTreeSet<usize>,
    /// Names cannot be taken away.
    pub sticky: bool,
    /// Somebody removes the arena, whoever takes part in it.
    pub removed: bool,
    /// Pages that the kernel walked over when it was asked where a hole begins.
    pub walked: u64,
    clock: u64,
    print: u64,
}

/// A number that depends on a word and its offset, 0 for 0 (a finalizer of splitmix64).
fn mix(off: u64, value: u64) -> u64 {
    if value == 0 {
        return 0;
    }
    let z = value ^ off.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl Image {
    /// The kernel lets go of what a process held.
    pub fn kill(&mut self, process: usize) {
        let dead = |holder: &usize| *holder == process;
        self.gone.extend(self.locks.iter().filter(|(_, p)| dead(p)).map(|(o, p)| (*o, *p)));
        self.locks.retain(|_, holder| !dead(holder));
        self.making.retain(|(maker, _)| !dead(maker));
    }

    /// Everybody is dead but one.
    pub fn kill_all_but(&mut self, process: usize) {
        let mut others: Vec<usize> = self.locks.values().copied().filter(|p| *p != process).collect();
        others.dedup();
        for other in others {
            self.kill(other);
        }
    }

    /// Pages in memory.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A number that is equal for equal contents and locks; what differs else is of no consequence.
    pub fn fingerprint(&self) -> u64 {
        let locks =
            self.locks.iter().map(|(o, p)| mix(u64::from(o.seat) << 32 | u64::from(o.incarnation), *p as u64 + 1));
        locks.fold(self.print ^ mix(1, self.count) ^ mix(2, self.name as u64), |a, b| a ^ b)
    }

    /// Flips a bit, for damage tests.
    pub fn flip(&mut self, off: u64, bit: u32) {
        let now = self.get(off);
        self.set(off, now ^ 1 << bit);
    }

    /// Offsets of all words that are not zero.
    pub fn offsets(&self) -> Vec<u64> {
        let pages = self.pages.iter().enumerate();
        let words = pages.flat_map(|(p, page)| {
            let words = page.iter().flat_map(|page| page.iter().enumerate());
            words.filter(|(_, v)| **v != 0).map(move |(w, _)| p as u64 * PAGE + w as u64 * 8)
        });
        words.collect()
    }

    fn has(&self, page: u64) -> bool {
        self.pages[page as usize].is_some()
    }

    /// Whether a word's page is in memory.
    pub fn has_word(&self, off: u64) -> bool {
        self.has(off / PAGE)
    }

    fn add(&mut self, page: u64) {
        if !self.has(page) {
            self.pages[page as usize] = Some(Arc::new([0; WORDS]));
            self.count += 1;
        }
    }

    fn remove(&mut self, page: u64) {
        if let Some(words) = self.pages[page as usize].take() {
            self.count -= 1;
            for (w, value) in words.iter().enumerate() {
                self.print ^= mix(page * PAGE + w as u64 * 8, *value);
            }
        }
    }

    fn touch(&mut self, off: u64) {
        assert!(off.is_multiple_of(8), "offset {off:#x} is not aligned");
        if self.lenient {
            self.add(off / PAGE);
        }
        assert!(self.has(off / PAGE), "offset {off:#x} was touched while its page was not in memory");
    }

    /// A word, behind everyone's back.
    pub fn get(&self, off: u64) -> u64 {
        let page = self.pages[(off / PAGE) as usize].as_ref();
        page.map_or(0, |p| p[(off % PAGE / 8) as usize])
    }

    /// Changes a word, behind everyone's back.
    pub fn set(&mut self, off: u64, value: u64) {
        self.print ^= mix(off, self.get(off)) ^ mix(off, value);
        self.add(off / PAGE);
        if let Some(page) = &mut self.pages[(off / PAGE) as usize] {
            Arc::make_mut(page)[(off % PAGE / 8) as usize] = value;
        }
    }
}

/// One process's door to the shared state.
#[derive(Clone)]
pub struct Sim {
    image: Arc<Mutex<Image>>,
    process: usize,
    hook: Arc<dyn Hook>,
    cells: Option<Arc<dyn Cells>>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sim(process {})", self.process)
    }
}

impl Sim {
    /// A new, zeroed segment with the pages that creation puts in memory.
    pub fn new(geo: &Geometry, room: u64) -> Sim {
        let sim = Sim::of(Image { room, pages: vec![None; geo.total.div_ceil(PAGE) as usize], ..Image::default() });
        let p = &geo.params;
        let must = [
            (0, 2 * PAGE),
            (geo.seat_words, p.seats * 8),
            (geo.seats, p.seats * 128),
            (geo.permits, p.permits * 8),
            (geo.buckets, p.buckets * 8),
            (geo.heads, geo.zones.len() as u64 * 64),
        ];
        for (off, len) in must {
            sim.commit(off, len).expect("room for the header");
        }
        sim
    }

    /// A segment that goes on from an image, and shares nothing with where that came from.
    pub fn of(image: Image) -> Sim {
        Sim { image: Arc::new(Mutex::new(image)), process: 0, hook: Arc::new(Quiet), cells: None }
    }

    /// This segment as another process sees it.
    pub fn process(&self, process: usize, hook: Arc<dyn Hook>) -> Sim {
        Sim { image: self.image.clone(), process, hook, cells: self.cells.clone() }
    }

    /// This segment with some words that live elsewhere.
    pub fn with_cells(&self, cells: Arc<dyn Cells>) -> Sim {
        Sim { cells: Some(cells), ..self.clone() }
    }

    /// A copy of what is shared.
    pub fn image(&self) -> Image {
        self.state().clone()
    }

    /// A copy of what is shared, in which a process has died.
    pub fn image_without(&self, process: usize) -> Image {
        let mut image = self.image();
        image.kill(process);
        image
    }

    /// Looks at the shared state behind everyone's back.
    pub fn state(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What sees this process's accesses.
    pub fn hook(&self) -> Arc<dyn Hook> {
        self.hook.clone()
    }

    /// Who this is.
    pub fn number(&self) -> usize {
        self.process
    }
}

impl Load for Sim {
    #[track_caller]
    fn load(&self, off: u64, order: Ordering) -> u64 {
        let at = Location::caller();
        self.hook.step(Op::Load, off, at);
        if let Some(done) = self.cells.as_ref().and_then(|c| c.load(off, order)) {
            return done;
        }
        let mut image = self.state();
        image.touch(off);
        let value = image.get(off);
        self.hook.done(Done::Load, off, order, at);
        value
    }

    fn in_memory_until(&self, off: u64, end: u64) -> u64 {
        let mut image = self.state();
        let (first, last) = (off / PAGE, end.div_ceil(PAGE));
        let hole = (first..last).find(|page| !image.has(*page));
        image.walked += hole.unwrap_or(last) - first;
        hole.map_or(end, |page| (page * PAGE).clamp(off, end))
    }
}

impl Mem for Sim {
    #[track_caller]
    fn store(&self, off: u64, value: u64, order: Ordering) {
        let at = Location::caller();
        self.hook.step(Op::Write, off, at);
        if let Some(done) = self.cells.as_ref().and_then(|c| c.store(off, value, order)) {
            return done;
        }
        let mut image = self.state();
        image.touch(off);
        image.set(off, value);
        self.hook.done(Done::Store, off, order, at);
    }

    #[track_caller]
    fn cas(&self, off: u64, old: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        let at = Location::caller();
        self.hook.step(Op::Write, off, at);
        if let Some(done) = self.cells.as_ref().and_then(|c| c.cas(off, old, new, order)) {
            return done;
        }
        let mut image = self.state();
        image.touch(off);
        let found = image.get(off);
        if found != old {
            self.hook.done(Done::Refused, off, Ordering::Acquire, at);
            return Err(found);
        }
        image.set(off, new);
        self.hook.done(Done::Update, off, order, at);
        Ok(old)
    }

    #[track_caller]
    fn fetch_add(&self, off: u64, value: u64, order: Ordering) -> u64 {
        let at = Location::caller();
        self.hook.step(Op::Write, off, at);
        if let Some(done) = self.cells.as_ref().and_then(|c| c.fetch_add(off, value, order)) {
            return done;
        }
        let mut image = self.state();
        image.touch(off);
        let before = image.get(off);
        image.set(off, before.wrapping_add(value));
        self.hook.done(Done::Update, off, order, at);
        before
    }

    #[track_caller]
    fn spin(&self) {
        self.hook.step(Op::Spin, 0, Location::caller());
    }
}

impl Sys for Sim {
    /// Page by page: a kernel may be killed, or run out, in the middle, and some pages stay.
    #[track_caller]
    fn commit(&self, off: u64, len: u64) -> Result<(), Full> {
        let at = Location::caller();
        for page in off / PAGE..(off + len).div_ceil(PAGE) {
            self.hook.step(Op::Call, page * PAGE, at);
            let mut image = self.state();
            if !image.has(page) {
                if image.count >= image.room {
                    return Err(Full);
                }
                image.add(page);
            }
        }
        Ok(())
    }

    #[track_caller]
    fn punch(&self, off: u64, len: u64) -> bool {
        let at = Location::caller();
        assert!(off.is_multiple_of(PAGE) && len.is_multiple_of(PAGE) && len != 0, "punched {len} bytes at {off:#x}");
        for page in off / PAGE..(off + len) / PAGE {
            if page == off / PAGE || self.state().has(page) {
                self.hook.step(Op::Call, page * PAGE, at);
            }
            let mut image = self.state();
            image.remove(page);
            self.hook.done(Done::Punched(PAGE), page * PAGE, Ordering::SeqCst, at);
        }
        true
    }

    fn in_memory(&self) -> u64 {
        self.state().count * PAGE
    }

    fn room(&self) -> (u64, u64) {
        let image = self.state();
        (image.room.saturating_sub(image.count) * PAGE, image.room * PAGE)
    }

    #[track_caller]
    fn lock(&self, owner: Owner) -> bool {
        self.hook.step(Op::Call, 0, Location::caller());
        let mut image = self.state();
        *image.locks.entry(owner).or_insert(self.process) == self.process
    }

    #[track_caller]
    fn unlock(&self, owner: Owner) {
        self.hook.step(Op::Call, 0, Location::caller());
        self.state().locks.remove(&owner);
    }

    #[track_caller]
    fn is_gone(&self, owner: Owner, _: Process) -> bool {
        let at = Location::caller();
        self.hook.step(Op::Load, 0, at);
        let image = self.state();
        let gone = !image.locks.contains_key(&owner);
        if let Some(process) = image.gone.get(&owner)
            && gone
        {
            self.hook.done(Done::Gone(*process), 0, Ordering::SeqCst, at);
        }
        gone
    }

    #[track_caller]
    fn sleep(&self, off: u64, expected: u32, _: Duration) -> Slept {
        self.hook.step(Op::Spin, 0, Location::caller());
        let mut image = self.state();
        if image.get(off) as u32 == expected {
            image.slept = Some(image.wakes);
        }
        match image.interrupted.contains(&self.process) {
            true => Slept::Interrupted,
            false => Slept::Through,
        }
    }

    fn is_interrupted(&self) -> bool {
        self.state().interrupted.contains(&self.process)
    }

    #[track_caller]
    fn sleep_any(words: &[(&Sim, u64, u32)], _: Option<(&Doorbell, u32)>, _: Duration) -> Slept {
        let Some((sim, ..)) = words.first() else { return Slept::Through };
        sim.hook.step(Op::Spin, 0, Location::caller());
        let mut image = sim.state();
        if words.iter().all(|(_, off, expected)| image.get(*off) as u32 == *expected) {
            image.slept = Some(image.wakes);
        }
        Slept::Through
    }

    #[track_caller]
    fn has_name(&self) -> faretra::Result<bool> {
        self.hook.step(Op::Call, 0, Location::caller());
        Ok(self.state().name == Name::Ours)
    }

    #[track_caller]
    fn unlink(&self) -> faretra::Result<()> {
        // The kernel is asked whose the name is, and then takes it away, whosever it is by then.
        if self.has_name()? {
            self.hook.step(Op::Call, 0, Location::caller());
            let mut image = self.state();
            if image.sticky {
                return Err(faretra::Error::Damaged("the directory is sticky".into()));
            }
            assert_ne!(image.name, Name::Anothers, "A1: the name of a new arena was taken away");
            image.name = Name::Nobodys;
        }
        Ok(())
    }

    #[track_caller]
    fn met_damage(&self, what: &str) {
        assert!(self.state().lenient, "{what}");
    }

    #[track_caller]
    fn pause(&self) {
        self.hook.step(Op::Pause, 0, Location::caller());
    }

    fn peek(&self, off: u64) -> u64 {
        self.hook.step(Op::Load, off, Location::caller());
        self.state().get(off)
    }

    #[track_caller]
    fn wake(&self, off: u64) {
        self.hook.step(Op::Call, off, Location::caller());
        self.state().wakes += 1;
    }

    fn now(&self) -> u64 {
        // The same at every step, so that runs that differ in it alone look the same.
        self.state().clock
    }
}

const TINY: Params = Params {
    capacity: 1 << 16,
    seats: 6,
    permits: 2,
    buckets: 2,
    max_slots: 32,
    shared: 2 * PAGE,
    shared_top: 9,
    stay: Stay::Kept,
    sums: Sums::None,
};

/// A layout small enough to be walked through, yet with every kind of zone.
pub fn tiny() -> Geometry {
    Geometry::new(TINY).expect("valid numbers")
}

/// What happened to items, in the words of those who did it. Who dies in between has said the first word only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// Is about to be sent.
    Sending,
    /// Was sent.
    Sent,
    /// Is about to be acknowledged.
    Acking,
    /// Was acknowledged.
    Acked,
    /// Somebody was told that it is closed, and took all that there was.
    Drained,
    /// The channel was removed: what was in it went with it.
    Removed,
    /// Is about to be appended to the feed.
    Appending,
    /// Was appended.
    Appended,
    /// The feed was removed.
    FeedRemoved,
    /// Is about to change a sum: see [`crate::waiters`].
    Changing,
    /// Changed it.
    Changed,
}

/// The result of an operation that a script does not expect to fail.
pub fn ok<T>(result: faretra::Result<T>) -> T {
    result.expect("an operation of the script")
}

/// What a wait that may end without it came to.
pub fn in_time<T>(waited: faretra::Result<T>) -> Option<T> {
    match waited {
        Err(faretra::Error::TimedOut(_)) => None,
        other => Some(ok(other)),
    }
}
