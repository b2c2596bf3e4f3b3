//! The segment of other systems than Linux: one map of shared memory, by the crate `shared_memory`, for all that a process does.
//!
//! ```text
//! what Linux has                                  what stands for it here
//! a file that gets its name last                  a random ID; the name is a small file that says it (place.rs)
//! a lock that a mapping keeps                     a lock of a file for each seat, kept by a descriptor
//! futexes                                         events of raw_sync, for a while at most (lanes.rs)
//! PROT_READ maps; copy-on-write; maps of a draft  one map, which everybody can write; copies (twin.rs)
//! pages committed, punched, counted               a bit for each page, and zeros (pages.rs)
//! pages that fork wipes                           the pid
//! ```
//!
//! Behind the segment, whose layout is that of [`Geometry`], lie words of this back-end alone:
//!
//! ```text
//! 0 ................ total | holds: a word for each seat | lanes | bits of pages
//! ```
//!
//! # Who is alive
//!
//! A participant locks the file of its seat and incarnation (`flock`, or `LockFileEx`) before it does anything else. The system
//! drops the lock when the last descriptor of that open file is closed, at the latest with the process. So a lock that is
//! free, of a file that is there, proves a death, by no pid and no timer. What it cannot tell:
//!
//! * *A forked child inherits the descriptor*, and keeps its dead parent's lock until it ends or executes a program. Where the
//!   pid's numbers are known to be ours there is another proof: a pid that no process has, not even a zombie.
//! * *Who closes descriptors that are not its own looks dead*, and others settle what it has. Do not.
//! * *A file that somebody else removed* proves nothing: a word of the segment says that it was there, and the pid decides.
//!
//! # What the crate lacks
//!
//! It maps for reading and writing only, maps all of a segment at once, and unlinks when its owner is dropped: so nobody stays
//! an owner, and an arena is unlinked by who becomes one for that.
//!
//! * G2: the segment never shrinks, so no access inside the map can be out of it.
#![allow(unsafe_code, reason = "maps the segment and lends out the addresses")]

use std::fs::File;
use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use memmap2::MmapMut;
use shared_memory::{Shmem, ShmemConf, ShmemError};

use crate::core::forked::patiently;
use crate::core::front;
use crate::core::geometry::{Geometry, MAX_CAPACITY, Params};
use crate::core::kernel::ForkGuard;
use crate::core::mem::{Load, Mapped, Mem};
use crate::core::spin::Spin;
use crate::core::sys::{Access, Doorbell, Full, Process, Slept, Sys, Trust, asks_to_interrupt};
use crate::core::twin::Twin;
use crate::core::word::Owner;
use crate::error::{Error, Result};

mod lanes;
mod pages;
mod place;

use lanes::{ANY, Kept, Lane, Lanes, nap};
use pages::Pages;
use place::Place;
pub use place::looks_like_ours;

/// The capacity of an arena that may use so many bytes, where the user does not say. Windows gives a segment all of its size at
/// once.
pub fn default_capacity(limit: u64) -> u64 {
    let room = if cfg!(windows) { 1 } else { 4 };
    limit.saturating_mul(room).min(MAX_CAPACITY).max(limit)
}

/// The layout of arenas for use: fewer objects and less address space than on Linux.
pub fn standard_params(capacity: u64, seats: u64, permits: u64) -> Params {
    const MIB: u64 = 1 << 20;
    let params = Params::standard(capacity, seats, permits);
    Params { max_slots: 1 << 18, shared: params.capacity.clamp(64 * MIB, 256 * MIB), ..params }
}

/// A segment as one participant or observer sees it.
#[derive(Debug)]
pub struct Posix {
    mem: Mapped,
    maps: Arc<Maps>,
    place: Place,
    /// While the arena is made and has no name.
    making: Mutex<Option<File>>,
    /// Who we are, with the file that we have locked.
    held: Mutex<Option<(Owner, File)>>,
    /// [`packed`] and one more; 0: nobody.
    me: AtomicU64,
    /// Lanes of ours that nobody sleeps in.
    idle: Mutex<Vec<Lane>>,
    /// Where the data region begins.
    data: u64,
    tail: Tail,
    spin: Spin,
    fork: ForkGuard,
}

/// What lies behind the segment.
#[derive(Clone, Copy, Debug)]
struct Tail {
    /// For each seat, the incarnation that locked its file, plus one.
    holds: u64,
    seats: u64,
    lanes: Lanes,
    pages: Pages,
}

impl Tail {
    /// Offsets of the holds, the lanes and the bits, and where all ends.
    fn offsets(geo: &Geometry) -> (u64, u64, u64, u64) {
        let holds = geo.total;
        let lanes = holds + (geo.params.seats * 8).next_multiple_of(64);
        let pages = lanes + Lanes::BYTES;
        (holds, lanes, pages, Pages::new(geo.total, pages).end())
    }
}

/// The map of a segment in one process. A forked child has it too.
struct Maps {
    os_id: String,
    shm: Shmem,
}

// SAFETY: an address and a length, which stay; what lies there is reached by atomics, and by slices whose makers say why they may.
unsafe impl Send for Maps {}
// SAFETY: as above.
unsafe impl Sync for Maps {}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Maps({}, {} bytes)", self.os_id, self.shm.len())
    }
}

impl Kept for Maps {
    fn store(&self, off: u64, value: u64) {
        let word = self.shm.as_ptr().wrapping_add(off as usize).cast::<u64>();
        // SAFETY: inside the map, 8-aligned; all access to it is atomic.
        unsafe { AtomicU64::from_ptr(word) }.store(value, SeqCst);
    }
}

type AllMaps = Vec<Weak<Maps>>;

/// The maps of this process.
static MAPS: Mutex<AllMaps> = Mutex::new(Vec::new());

fn packed(owner: Owner) -> u64 {
    u64::from(owner.seat) << 32 | u64::from(owner.incarnation)
}

fn unpacked(word: u64) -> Owner {
    Owner { seat: (word >> 32) as u16, incarnation: word as u32 }
}

/// What `shared_memory` says, as the system said it.
fn os_error(action: &'static str, path: &Path, e: ShmemError) -> Error {
    let source = match e {
        ShmemError::MapCreateFailed(code) | ShmemError::MapOpenFailed(code) | ShmemError::UnknownOsError(code) => {
            IoError::from_raw_os_error(code as i32)
        }
        other => IoError::other(other),
    };
    Error::Os { action, path: path.to_owned(), source }
}

/// Takes the system's name of a segment away, if it has one.
fn unlink(os_id: &str) -> Result<(), ShmemError> {
    match ShmemConf::new().os_id(os_id).open() {
        Ok(mut shm) => {
            // Its owner unlinks it when it is dropped.
            shm.set_owner(true);
            Ok(())
        }
        Err(ShmemError::MapOpenFailed(code)) if is_missing(code) => Ok(()),
        Err(e) => Err(e),
    }
}

fn is_missing(code: u32) -> bool {
    IoError::from_raw_os_error(code as i32).kind() == ErrorKind::NotFound
}

impl Load for Posix {
    #[inline(always)]
    fn load(&self, off: u64, order: std::sync::atomic::Ordering) -> u64 {
        self.mem.load(off, order)
    }

    fn in_memory_until(&self, off: u64, end: u64) -> u64 {
        self.tail.pages.end_of_run(&self.mem, off, end)
    }
}

impl Mem for Posix {
    #[inline(always)]
    fn store(&self, off: u64, value: u64, order: std::sync::atomic::Ordering) {
        self.mem.store(off, value, order);
    }

    #[inline(always)]
    fn cas(&self, off: u64, old: u64, new: u64, order: std::sync::atomic::Ordering) -> Result<u64, u64> {
        self.mem.cas(off, old, new, order)
    }

    #[inline(always)]
    fn fetch_add(&self, off: u64, value: u64, order: std::sync::atomic::Ordering) -> u64 {
        self.mem.fetch_add(off, value, order)
    }
}

impl Sys for Posix {
    fn commit(&self, off: u64, len: u64) -> Result<(), Full> {
        self.tail.pages.set(&self.mem, off, len);
        Ok(())
    }

    fn punch(&self, off: u64, len: u64) -> bool {
        self.tail.pages.clear(&self.mem, off, len);
        true
    }

    fn in_memory(&self) -> u64 {
        self.tail.pages.bytes(&self.mem)
    }

    fn room(&self) -> (u64, u64) {
        (u64::MAX, u64::MAX)
    }

    fn lock(&self, owner: Owner) -> bool {
        let Some(file) = self.place.lock(owner) else { return false };
        self.mem.store(self.hold(owner), u64::from(owner.incarnation) + 1, SeqCst);
        self.me.store(packed(owner) + 1, SeqCst);
        *self.held() = Some((owner, file));
        true
    }

    fn unlock(&self, owner: Owner) {
        // A forked child would take its parent's.
        if self.check_fork().is_err() {
            return;
        }
        self.give_lanes();
        self.give_lock(owner);
        *self.held() = None;
    }

    fn is_gone(&self, owner: Owner, process: Process) -> bool {
        self.is_unlocked(owner) || process.is_exiting()
    }

    fn sleep(&self, off: u64, expected: u32, limit: Duration) -> Slept {
        self.sleep_in_lane(off, None, limit, || self.mem.load(off, SeqCst) as u32 == expected);
        Slept::Through
    }

    fn is_interrupted(&self) -> bool {
        asks_to_interrupt()
    }

    fn sleep_any(words: &[(&Posix, u64, u32)], door: Option<(&Doorbell, u32)>, limit: Duration) -> Slept {
        let unchanged = || {
            let same = |(posix, off, expected): &(&Posix, u64, u32)| posix.mem.load(*off, SeqCst) as u32 == *expected;
            door.is_none_or(|(door, expected)| door.now() == expected) && words.iter().all(same)
        };
        match (words, door) {
            ([], Some((door, expected))) => door.wait(expected, limit),
            ([], None) => std::thread::sleep(limit),
            ([(posix, off, _)], door) => posix.sleep_in_lane(*off, door, limit, unchanged),
            // Events of one segment are rung for that one only.
            ([(posix, ..), rest @ ..], door)
                if rest.iter().all(|(other, ..)| Arc::ptr_eq(&posix.maps, &other.maps)) =>
            {
                posix.sleep_in_lane(ANY, door, limit, unchanged);
            }
            _ => nap(limit, unchanged),
        }
        Slept::Through
    }

    fn has_name(&self) -> Result<bool> {
        self.place.has_name()
    }

    fn unlink(&self) -> Result<()> {
        if !self.has_name()? {
            return Ok(());
        }
        self.place.remove_name()?;
        // If that fails, it is found by its side directory: S2.
        let _ = unlink(&self.maps.os_id);
        Ok(())
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_millis(1));
    }

    fn peek(&self, off: u64) -> u64 {
        // P1.
        if self.tail.pages.has(&self.mem, off) { self.mem.load(off, Relaxed) } else { 0 }
    }

    fn spins(&self) -> u32 {
        self.spin.looks()
    }

    fn spun(&self, looks: Option<u32>) {
        self.spin.spun(looks);
    }

    fn wake(&self, off: u64) {
        self.tail.lanes.wake(&self.mem, off, &self.keep());
    }
}

impl Posix {
    /// Makes a segment of this layout, which has no name yet.
    pub fn create(dir: &Path, path: PathBuf, mode: u32, geo: &Geometry) -> Result<Posix> {
        if mode & 0o077 != 0 {
            let text = format!(
                "this platform's back-end makes memory that its owner alone can open; the mode {mode:o} would let others in: use 600"
            );
            let source = IoError::new(ErrorKind::Unsupported, text);
            return Err(Error::Os { action: "create a segment in", path: dir.to_owned(), source });
        }
        Place::sweep(dir, |os_id| drop(unlink(os_id)));
        let (place, making) = Place::make(&path)?;
        let os_id = place.os_id();
        let (.., size) = Tail::offsets(geo);
        let made = ShmemConf::new().os_id(&os_id).size(size as usize).create();
        let mut shm = made.map_err(|e| {
            place.made();
            place.remove_side();
            os_error("create a segment in", dir, e)
        })?;
        // It stays when we go.
        shm.set_owner(false);
        let maps = Arc::new(Maps { os_id, shm });
        if let Some(mut all) = patiently(&MAPS) {
            all.push(Arc::downgrade(&maps));
        }
        let posix = Posix::new(maps, place, geo)?;
        *posix.making.lock().unwrap_or_else(PoisonError::into_inner) = Some(making);
        for (off, len) in front::first_ranges(geo) {
            posix.tail.pages.set(&posix.mem, off, len);
        }
        front::write(&posix, geo);
        Ok(posix)
    }

    /// Maps the segment that the file at `path` says, if it is one that this version can use.
    pub fn open(path: &Path, access: Access, trust: Trust) -> Result<(Posix, Geometry)> {
        let place = Place::find(path)?;
        let wrong = |reason: String| Error::NotAnArena { path: path.to_owned(), reason };
        if trust == Trust::OurFilesOnly && access == Access::ReadWrite {
            let file = std::fs::metadata(path);
            let file = file.map_err(|source| Error::Os { action: "look at", path: path.to_owned(), source })?;
            if let Some(reason) = crate::core::kernel::stranger(&file) {
                return Err(Error::Untrusted { path: path.to_owned(), reason });
            }
        }
        let maps = match Maps::shared(&place) {
            Err(ShmemError::MapOpenFailed(code)) if is_missing(code) && place.has_name()? => {
                return Err(wrong("its memory is gone, with a restart of the machine as a rule; remove it".into()));
            }
            other => other.map_err(|e| os_error("open", path, e))?,
        };
        let size = maps.shm.len() as u64;
        if size < front::BYTES as u64 {
            return Err(wrong(format!("it has {size} bytes, less than a header")));
        }
        let word = |off: u64| {
            let word = maps.shm.as_ptr().wrapping_add(off as usize).cast::<u64>();
            // SAFETY: in the first page (`front::parse`), which is mapped; all access to it is atomic.
            unsafe { AtomicU64::from_ptr(word) }.load(Relaxed)
        };
        let geo = front::parse(word).map_err(wrong)?;
        let (.., least) = Tail::offsets(&geo);
        // Some systems have large pages.
        if size < least {
            return Err(wrong(front::cut(size, least)));
        }
        Ok((Posix::new(maps, place, &geo)?, geo))
    }

    /// This segment for one more participant, by its map and not by its name. Also in a forked child, which has the map.
    pub fn again(&self, geo: &Geometry) -> Result<Posix> {
        let posix = Posix::new(self.maps.clone(), self.place.clone(), geo)?;
        posix.set_spin(self.spin.most());
        Ok(posix)
    }

    fn new(maps: Arc<Maps>, place: Place, geo: &Geometry) -> Result<Posix> {
        let fork = ForkGuard::new()?;
        let base = NonNull::new(maps.shm.as_ptr()).expect("a map");
        let (holds, lanes, pages, end) = Tail::offsets(geo);
        let data = base.as_ptr().wrapping_add(geo.data as usize);
        // SAFETY: the map covers `end` bytes (`create`, `open`), is page-aligned, and lives in the same value; words are only
        // reached through `Mem`.
        let mem = unsafe { Mapped::new(base.as_ptr(), geo.data, data, end) };
        // SAFETY: the same bytes.
        unsafe { mem.set_alias(data) };
        // SAFETY: the map covers them, and they lie behind everything else.
        let lanes = unsafe { Lanes::new(base, lanes) };
        Ok(Posix {
            mem,
            maps,
            place,
            making: Mutex::default(),
            held: Mutex::default(),
            me: AtomicU64::new(0),
            idle: Mutex::default(),
            data: geo.data,
            tail: Tail { holds, seats: geo.params.seats, lanes, pages: Pages::new(geo.total, pages) },
            spin: Spin::default(),
            fork,
        })
    }

    fn held(&self) -> MutexGuard<'_, Option<(Owner, File)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, owner: Owner) -> u64 {
        self.tail.holds + u64::from(owner.seat) * 8
    }

    /// Whether nobody has the lock of `owner`. Doubt means "no".
    fn is_unlocked(&self, owner: Owner) -> bool {
        // A damaged word may name a seat that there is not: nobody sits there.
        if u64::from(owner.seat) >= self.tail.seats {
            return true;
        }
        // Without a file it was never locked, unless the word says that it was.
        let had = || self.mem.load(self.hold(owner), SeqCst) == u64::from(owner.incarnation) + 1;
        self.place.is_locked(owner).map_or_else(|| !had(), |locked| !locked)
    }

    /// Sleeps in a lane of ours, or without one.
    fn sleep_in_lane(&self, bell: u64, door: Option<(&Doorbell, u32)>, limit: Duration, unchanged: impl Fn() -> bool) {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (lanes, me) = (self.tail.lanes, self.me.load(SeqCst));
        let kept = idle().pop();
        let is_gone = |owner| self.is_unlocked(unpacked(owner));
        let claim = || lanes.claim(&self.mem, me.checked_sub(1)?, &self.keep(), is_gone);
        let Some(lane) = kept.or_else(claim) else { return nap(limit, unchanged) };
        if door.is_some_and(|(door, expected)| !door.wake_too(expected, lane.waker())) {
            return idle().push(lane);
        }
        if lanes.sleep(&self.mem, &lane, bell, limit, unchanged) {
            idle().push(lane);
        }
    }

    /// Whoever asks in between takes us for alive.
    fn give_lock(&self, owner: Owner) {
        self.place.unlock(owner);
        self.mem.store(self.hold(owner), 0, SeqCst);
    }

    fn give_lanes(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        idle.into_iter().for_each(|lane| self.tail.lanes.release(lane, &self.keep()));
    }

    fn keep(&self) -> Arc<dyn Kept> {
        self.maps.clone()
    }

    /// There is one map, which can be written.
    pub fn map_for_writing(&self) -> Result<()> {
        debug_assert!(self.mem.is_writable(), "since it is mapped");
        Ok(())
    }

    /// How often a waiter looks again at most before it sleeps.
    pub fn set_spin(&self, most: u32) {
        self.spin.set(most);
    }

    /// The lock needs its descriptor.
    pub fn close_lock_fd(&self) {}

    /// Gives a new segment its name. `false`: there is an arena of that name.
    pub fn publish(&self) -> Result<bool> {
        let named = self.place.publish()?;
        if named {
            self.making.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.place.made();
        }
        Ok(named)
    }

    /// The path of the arena's name.
    pub fn path(&self) -> &Path {
        self.place.name()
    }

    /// Whether both are of one segment.
    pub fn is_same(&self, other: &Posix) -> bool {
        self.maps.os_id == other.maps.os_id
    }

    /// Copies bytes of the segment: what is written to the copy is this process's own.
    ///
    /// # Safety
    ///
    /// * The bytes are of an object, and nobody changes them meanwhile.
    pub unsafe fn map_private(&self, off: u64, len: usize) -> Result<MmapMut> {
        let fail = |source| Error::Os { action: "make a private copy of", path: self.path().to_owned(), source };
        let mut map = MmapMut::map_anon(len).map_err(fail)?;
        // SAFETY: inside the map, as they are an object's (contract); the copy is a map of its own.
        unsafe { std::ptr::copy_nonoverlapping(self.at(off), map.as_mut_ptr(), len) };
        Ok(map)
    }

    /// Bytes of the segment that are written in a copy; at least one.
    ///
    /// # Safety
    ///
    /// * What [`Twin::new`] asks for, but that they are mapped: this must live for longer.
    pub unsafe fn map_again(&self, off: u64, len: usize) -> Result<Twin> {
        let fail = |source| Error::Os { action: "copy a draft of", path: self.path().to_owned(), source };
        // SAFETY: contract.
        unsafe { Twin::new(NonNull::new(self.at(off)).expect("a map"), len) }.map_err(fail)
    }

    /// Bytes of the segment for reads and writes through raw pointers; at least one.
    pub fn map_raw(&self, off: u64, _len: usize) -> Result<RawBytes> {
        Ok(RawBytes { at: self.at(off), _maps: self.maps.clone() })
    }

    fn at(&self, off: u64) -> *mut u8 {
        self.maps.shm.as_ptr().wrapping_add(off as usize)
    }

    /// `Err` in a child of the process that opened this.
    #[inline]
    pub fn check_fork(&self) -> Result<()> {
        self.fork.check()
    }

    /// First byte of the data region, for reading.
    pub fn data(&self) -> (*const u8, u64) {
        // What lies behind the segment is no data.
        (self.at(self.data), self.tail.holds - self.data)
    }

    /// First byte of the data region, for writing.
    pub fn data_for_writing(&self) -> Option<*mut u8> {
        Some(self.at(self.data))
    }
}

/// Bytes that are read and written through raw pointers.
#[derive(Debug)]
pub struct RawBytes {
    at: *mut u8,
    _maps: Arc<Maps>,
}

// SAFETY: an address; who uses it says why that is right.
unsafe impl Send for RawBytes {}
// SAFETY: as above.
unsafe impl Sync for RawBytes {}

impl RawBytes {
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.at
    }
}

impl Maps {
    /// The map of a segment: that which this process has, or a new one.
    fn shared(place: &Place) -> Result<Arc<Maps>, ShmemError> {
        let os_id = place.os_id();
        let mut all = patiently(&MAPS);
        if let Some(all) = &mut all {
            all.retain(|maps| maps.strong_count() != 0);
            let known = all.iter().filter_map(Weak::upgrade).find(|maps| maps.os_id == os_id);
            if let Some(maps) = known {
                return Ok(maps);
            }
        }
        let shm = ShmemConf::new().os_id(&os_id).open()?;
        let maps = Arc::new(Maps { os_id, shm });
        if let Some(all) = &mut all {
            all.push(Arc::downgrade(&maps));
        }
        Ok(maps)
    }
}

impl Drop for Posix {
    fn drop(&mut self) {
        if self.check_fork().is_err() {
            return;
        }
        self.give_lanes();
        if let Some((owner, _)) = &*self.held() {
            self.give_lock(*owner);
        }
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner).take();
        if making.is_some() {
            self.place.made();
        }
        // It never had a name, or has it no longer: then the memory goes with the last map of it.
        if !self.has_name().unwrap_or(true) && unlink(&self.maps.os_id).is_ok() {
            self.place.remove_side();
        }
    }
}
