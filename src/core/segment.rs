//! The segment: a file on a tmpfs, created whole or not at all, and its mappings.
//!
//! Creation writes the header into an unnamed file (O_TMPFILE) and gives it its name last (linkat), so
//! that no half-made arena is ever visible and one whose creator is killed vanishes.
//!
//! [`front`] parses the header, which is trusted from then on.
//!
//! ```text
//! process       control RW, data R from a read-only descriptor, data RW once it writes
//! participant   one page that nobody touches: it keeps the participant's lock
//! observer      everything R
//! ```
//!
//! The mappings take a multiple of the capacity in address space, so all that open one arena in one process share
//! them; a forked child, which has not inherited them, makes its own.
//!
//! * G2: the file never shrinks, so no access inside the mappings can be out of it.
#![allow(unsafe_code, reason = "maps the file and lends out the addresses")]

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw, UncheckedAdvice};
use nix::errno::Errno;
use nix::sys::mman::{ProtFlags, mprotect};

use crate::core::crew::Crew;
use crate::core::forked::patiently;
use crate::core::front;
use crate::core::geometry::{Geometry, MAX_CAPACITY, PAGE, Params};
use crate::core::kernel::{
    File, ForkGuard, Ringer, address_space_limit, futex_wait, futex_wait_any, futex_wake_all, is_refusal,
};
use crate::core::mem::{Load, Mapped, Mem};
use crate::core::spin::Spin;
use crate::core::sys::{Access, Doorbell, Full, Process, Slept, Sys, Trust, asks_to_interrupt};
use crate::core::twin::Twin;
use crate::core::word::Owner;
use crate::error::{Bound, Error, Result};

/// Bytes that are mapped for reads and writes through raw pointers.
pub use memmap2::MmapRaw as RawBytes;

/// The capacity of an arena that may use so many bytes, where the user does not say.
pub fn default_capacity(limit: u64) -> u64 {
    const GIB: u64 = 1 << 30;
    // An arena maps about 47 times its capacity, and twice that once it drafts. Of 1 TiB, an address space holds one such
    // map: a program in the middle of it leaves no room for two.
    limit.saturating_mul(16).clamp(64 * GIB, 256 * GIB).max(limit).min(MAX_CAPACITY)
}

/// The layout of arenas for use.
pub fn standard_params(capacity: u64, seats: u64, permits: u64) -> Params {
    Params::standard(capacity, seats, permits)
}

/// A segment as one participant or observer sees it.
#[derive(Debug)]
pub struct Posix {
    mem: Mapped,
    file: File,
    /// The descriptor that the participant's lock is taken on; closed once it is LIVE.
    lock_fd: Mutex<Option<OwnedFd>>,
    /// What keeps the lock after that: a page of the same open file, of which nothing is read.
    lock_page: Option<MmapRaw>,
    spin: Spin,
    /// Dropped last: the lock goes first.
    maps: Arc<Maps>,
}

/// The mappings of a segment in one process.
#[derive(Debug)]
struct Maps {
    /// The alias, the data mapping and the control mapping.
    alias: OnceLock<MmapRaw>,
    data: MmapRaw,
    control: MmapRaw,
    fork: ForkGuard,
}

/// Which mappings there are: of which file, and whether its control region can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MapsKey {
    device: u64,
    inode: u64,
    control: Access,
}

type AllMaps = Vec<(MapsKey, Weak<Maps>)>;

/// The mappings of this process. A file whose mappings exist exists too, so its number means no other file.
static MAPS: Mutex<AllMaps> = Mutex::new(Vec::new());

impl Load for Posix {
    #[inline(always)]
    fn load(&self, off: u64, order: std::sync::atomic::Ordering) -> u64 {
        self.mem.load(off, order)
    }

    fn in_memory_until(&self, off: u64, end: u64) -> u64 {
        self.file.hole_from(off).map_or(end, |hole| hole.min(end))
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
        self.take(off, len).map_err(|_| Full)
    }

    fn punch(&self, off: u64, len: u64) -> bool {
        self.file.punch(off, len)
            || self.maps.writable(off).is_some_and(|(map, off)| {
                // SAFETY: it does what punching does: the caller gives up what these pages say.
                unsafe { map.unchecked_advise_range(UncheckedAdvice::Remove, off as usize, len as usize) }.is_ok()
            })
    }

    fn counts_pages(&self) -> bool {
        self.file.counts_pages()
    }

    fn in_memory(&self) -> u64 {
        self.file.in_memory()
    }

    fn room(&self) -> (u64, u64) {
        self.file.room()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn lock(&self, owner: Owner) -> bool {
        let fd = self.lock_fd.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fd.as_ref().is_some_and(|fd| File::lock(fd, owner))
    }

    fn unlock(&self, owner: Owner) {
        let fd = self.lock_fd.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Without the descriptor, unmapping the control region drops the lock.
        if let Some(fd) = fd.as_ref() {
            File::unlock(fd, owner);
        }
    }

    fn is_gone(&self, owner: Owner, process: Process) -> bool {
        self.file.is_unlocked(owner) || process.is_exiting()
    }

    fn sleep(&self, off: u64, expected: u32, limit: Duration) -> Slept {
        let word = self.futex(off);
        // SAFETY: `futex` gives an aligned address inside the control mapping, which lives with `self`.
        unsafe { futex_wait(word, expected, limit) }
    }

    fn is_interrupted(&self) -> bool {
        asks_to_interrupt()
    }

    fn sleep_any(words: &[(&Posix, u64, u32)], door: Option<(&Doorbell, u32)>, limit: Duration) -> Slept {
        let door = door.map(|(door, now)| (door.word(), now, Ringer::ThisProcess));
        let bell = |(posix, off, expected): &(&Posix, u64, u32)| (posix.futex(*off), *expected, Ringer::Anybody);
        let words: Vec<_> = door.into_iter().chain(words.iter().map(bell)).collect();
        // SAFETY: as above, and the door outlives the call.
        unsafe { futex_wait_any(&words, limit) }
    }

    fn has_name(&self) -> Result<bool> {
        self.file.has_name()
    }

    fn unlink(&self) -> Result<()> {
        self.file.unlink()
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_millis(1));
    }

    fn peek(&self, off: u64) -> u64 {
        self.file.peek(off)
    }

    fn spins(&self) -> u32 {
        self.spin.looks()
    }

    fn spun(&self, looks: Option<u32>) {
        self.spin.spun(looks);
    }

    fn wake(&self, off: u64) {
        let word = self.futex(off);
        // SAFETY: as above.
        unsafe { futex_wake_all(word) };
    }
}

/// The most that is put in memory by one call: only a signal that kills ends such a call early, and a process should
/// hear of the others within some ten milliseconds.
const POPULATE_STEP: u64 = 16 << 20;

/// Pages that are worth a thread, in bytes: more than a millisecond.
const POPULATE_BY_ONE: u64 = 2 << 20;

/// Puts pages in memory and in the page tables.
fn populate(map: &MmapRaw, off: u64, len: u64) -> nix::Result<()> {
    let failed = AtomicI32::new(0);
    let crew = Crew::new(len, POPULATE_BY_ONE);
    crew.share_out((0..len).step_by(crew.part() as usize), |start| {
        let (mut done, end) = (start, len.min(start + crew.part()));
        while done < end && failed.load(Relaxed) == 0 {
            let step = POPULATE_STEP.min(end - done);
            match map.advise_range(Advice::PopulateWrite, (off + done) as usize, step as usize) {
                Ok(()) => done += step,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => failed.store(e.raw_os_error().unwrap_or(libc::ENOMEM), Relaxed),
            }
        }
    });
    match failed.into_inner() {
        0 => Ok(()),
        number => Err(Errno::from_raw(number)),
    }
}

impl Posix {
    /// Makes an unnamed segment of this layout.
    pub fn create(dir: &Path, path: PathBuf, mode: u32, geo: &Geometry) -> Result<Posix> {
        let file = File::unnamed(dir, path, mode)?;
        file.set_size(geo.total)?;
        let must = front::first_ranges(geo);
        let posix = Posix::map(file, geo, Access::ReadWrite)?;
        for (off, len) in must {
            if let Err(e) = posix.take(off, len) {
                posix.must_offer(e)?;
                let (free, of) = posix.file.room();
                let asked = must.iter().map(|(_, len)| len.next_multiple_of(PAGE)).sum();
                let bound = Bound::FileSystem;
                return Err(Error::NoSpace { asked, free, bound, of, largest_holders: vec![] });
            }
        }
        front::write(&posix, geo);
        Ok(posix)
    }

    /// Maps the file at `path`, if it is a segment that this version can use: to take part, or to look at it only.
    pub fn open(path: &Path, access: Access, trust: Trust) -> Result<(Posix, Geometry)> {
        let file = File::open(path, access)?;
        let wrong = |reason: String| Error::NotAnArena { path: path.to_owned(), reason };
        let stat = file.stat()?;
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Err(wrong("it is no regular file".into()));
        }
        let us = nix::unistd::geteuid().as_raw();
        if trust == Trust::OurFilesOnly && access == Access::ReadWrite {
            let reason = match stat.st_mode & 0o022 {
                _ if stat.st_uid != us => {
                    format!("its owner is user {}, you are user {us}", stat.st_uid)
                }
                0 => String::new(),
                _ => format!("its mode {:o} lets others write it", stat.st_mode & 0o7777),
            };
            if !reason.is_empty() {
                return Err(Error::Untrusted { path: path.to_owned(), reason });
            }
        }
        if (stat.st_size as u64) < 2 * PAGE {
            return Err(wrong(format!("it has {} bytes, less than a header", stat.st_size)));
        }
        let geo = read_header(&file, stat.st_size as u64).map_err(wrong)?;
        let posix = Posix::map(file, &geo, access)?;
        // A page that every arena has: asks whether others can be had at all.
        if access == Access::ReadWrite
            && let Err(e) = posix.take(0, PAGE)
        {
            posix.must_offer(e)?;
        }
        Ok((posix, geo))
    }

    /// Puts pages in memory, by one call or, where that is not offered, by the other. Through a writer's mapping they are
    /// also entered in its page tables.
    fn take(&self, off: u64, len: u64) -> nix::Result<()> {
        let by_file = || self.file.commit(off, len);
        match self.maps.writable(off) {
            Some((map, at)) if off >= self.maps.control_len() => {
                populate(map, at, len).or_else(|e| if is_refusal(e) { by_file() } else { Err(e) })
            }
            Some((map, at)) => by_file().or_else(|e| if is_refusal(e) { populate(map, at, len) } else { Err(e) }),
            None => by_file(),
        }
    }

    /// Says so if [`Posix::take`] failed because neither call is offered to this process.
    fn must_offer(&self, e: Errno) -> Result<()> {
        if !is_refusal(e) {
            return Ok(());
        }
        let text = format!(
            "neither fallocate nor MADV_POPULATE_WRITE works in this process ({}): a filter of system calls (seccomp) has \
             to allow one of them",
            e.desc()
        );
        let source = std::io::Error::new(std::io::ErrorKind::PermissionDenied, text);
        Err(Error::Os { action: "take memory for", path: self.file.path().to_owned(), source })
    }

    /// This segment for one more participant, by its open file and not by its name. Also in a forked child, which makes its own
    /// mappings.
    pub fn again(&self, geo: &Geometry) -> Result<Posix> {
        let posix = Posix::map(self.file.again()?, geo, Access::ReadWrite)?;
        posix.set_spin(self.spin.most());
        Ok(posix)
    }

    fn map(file: File, geo: &Geometry, access: Access) -> Result<Posix> {
        let maps = Maps::shared(&file, geo, access)?;
        let (mut lock_fd, mut lock_page) = (None, None);
        if access == Access::ReadWrite {
            let fail = |e| no_room(&file, geo.total, e);
            let fd = file.reopen(Access::ReadWrite)?;
            let page = MmapOptions::new().len(PAGE as usize).map_raw(&fd).map_err(fail)?;
            page.advise(Advice::DontFork).map_err(fail)?;
            (lock_fd, lock_page) = (Some(fd), Some(page));
        }
        // SAFETY: the mappings cover these ranges, are page-aligned, and are dropped after `mem`,
        // which lives in the same value; words are only reached through `Mem`.
        let mem = unsafe { Mapped::new(maps.control.as_mut_ptr(), geo.data, maps.data.as_ptr(), geo.total) };
        Ok(Posix { mem, file, lock_fd: Mutex::new(lock_fd), lock_page, spin: Spin::default(), maps })
    }

    /// Maps the data region for writing too. The first writer pays, readers never do.
    pub fn map_for_writing(&self) -> Result<()> {
        if self.mem.is_writable() {
            return Ok(());
        }
        if self.maps.alias.get().is_none() {
            let fd = self.file.reopen(Access::ReadWrite)?;
            let mut alias = MmapOptions::new();
            alias.no_reserve_swap().offset(self.maps.control_len()).len(self.maps.data.len());
            let fail = |e| no_room(&self.file, self.maps.data.len() as u64, e);
            let alias = alias.map_raw(&fd).map_err(fail)?;
            alias.advise(Advice::DontFork).map_err(fail)?;
            alias.advise(Advice::DontDump).map_err(fail)?;
            // Another thread's may be there by now: then this one goes again.
            let _ = self.maps.alias.set(alias);
        }
        let alias = self.maps.alias.get().expect("set above");
        // SAFETY: it maps the bytes of the data region, and is dropped after `mem`.
        unsafe { self.mem.set_alias(alias.as_mut_ptr()) };
        Ok(())
    }

    /// How often a waiter looks again at most before it sleeps. On one processor, spinning keeps the others from working.
    pub fn set_spin(&self, most: u32) {
        self.spin.set(most);
    }

    /// From here on the participant's lock hangs on the control mapping alone: closing descriptors,
    /// as some programs do wholesale, does not make it look dead.
    pub fn close_lock_fd(&self) {
        self.lock_fd.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    /// Gives a new segment its name. `false`: there is an arena of that name.
    pub fn publish(&self) -> Result<bool> {
        self.file.link()
    }

    /// The path of the arena's name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether both are of one segment.
    pub fn is_same(&self, other: &Posix) -> bool {
        let file = |posix: &Posix| posix.file.stat().ok().map(|s| (s.st_dev, s.st_ino));
        file(self).is_some_and(|mine| file(other) == Some(mine))
    }

    /// Maps bytes of the segment once more, copy-on-write: what is written is this process's own.
    ///
    /// # Safety
    ///
    /// * The bytes are of an object whose pages are in memory, and nobody changes them while the map lives.
    pub unsafe fn map_private(&self, off: u64, len: usize) -> Result<MmapMut> {
        let fail = |source| Error::Os { action: "map a private copy of", path: self.path().to_owned(), source };
        let fd = self.file.reopen(Access::Read)?;
        let mut options = MmapOptions::new();
        // Copied pages are paid for when they are written, as other memory of the process is.
        options.no_reserve_swap().offset(off).len(len);
        // SAFETY: G2: the bytes lie in the file for ever; nobody changes them (contract). A write is this process's own.
        unsafe { options.map_copy(&fd) }.map_err(fail)
    }

    /// Maps bytes of the segment once more; at least one.
    ///
    /// # Safety
    ///
    /// * What [`Twin::new`] asks for.
    pub unsafe fn map_again(&self, off: u64, len: usize) -> Result<Twin> {
        let fail = |source| Error::Os { action: "map a draft of", path: self.path().to_owned(), source };
        let fd = self.file.reopen(Access::ReadWrite)?;
        // SAFETY: contract.
        unsafe { Twin::new(fd, off, len) }.map_err(fail)
    }

    /// Maps bytes of the segment once more, for reads and writes through raw pointers; at least one.
    pub fn map_raw(&self, off: u64, len: usize) -> Result<RawBytes> {
        let fail = |source| Error::Os { action: "map bytes of", path: self.path().to_owned(), source };
        let mut options = MmapOptions::new();
        options.offset(off).len(len).populate();
        options.map_raw(&self.file.reopen(Access::ReadWrite)?).map_err(fail)
    }

    /// `Err` in a child of the process that opened this.
    #[inline]
    pub fn check_fork(&self) -> Result<()> {
        self.maps.fork.check()
    }

    /// First byte of the data region, for reading.
    pub fn data(&self) -> (*const u8, u64) {
        (self.maps.data.as_ptr(), self.maps.data.len() as u64)
    }

    /// First byte of the data region, for writing. `None` before [`Posix::map_for_writing`].
    pub fn data_for_writing(&self) -> Option<*mut u8> {
        self.maps.alias.get().map(MmapRaw::as_mut_ptr)
    }

    fn futex(&self, off: u64) -> *const u32 {
        assert!(off.is_multiple_of(8) && off < self.maps.control_len(), "bells lie in the control region");
        // Little-endian: the low half comes first.
        self.maps.control.as_ptr().wrapping_add(off as usize).cast()
    }
}

/// Reads and checks the first page, without mapping anything.
fn read_header(file: &File, size: u64) -> Result<Geometry, String> {
    use std::os::unix::fs::FileExt;
    let fd = file.reopen(Access::Read).map_err(|e| e.to_string())?;
    let mut page = [0u8; front::BYTES];
    std::fs::File::from(fd).read_exact_at(&mut page, 0).map_err(|e| format!("its header cannot be read: {e}"))?;
    let words = page.as_chunks::<8>().0;
    let geo = front::parse(|off| u64::from_le_bytes(words[off as usize / 8]))?;
    if geo.total != size {
        return Err(front::cut(size, geo.total));
    }
    Ok(geo)
}

impl Maps {
    /// The mappings of a file: those that this process has, or new ones.
    fn shared(file: &File, geo: &Geometry, access: Access) -> Result<Arc<Maps>> {
        let stat = file.stat()?;
        let key = MapsKey { device: stat.st_dev, inode: stat.st_ino, control: access };
        let Some(mut all) = patiently(&MAPS) else {
            return Ok(Arc::new(Maps::new(file, geo, access)?));
        };
        all.retain(|(_, maps)| maps.strong_count() != 0);
        let known = all.iter().filter(|(known, _)| *known == key).find_map(|(_, maps)| maps.upgrade());
        // What came through fork is the parent's.
        if let Some(maps) = known.filter(|maps| maps.fork.check().is_ok()) {
            return Ok(maps);
        }
        let maps = Arc::new(Maps::new(file, geo, access)?);
        all.retain(|(known, _)| *known != key);
        all.push((key, Arc::downgrade(&maps)));
        Ok(maps)
    }

    fn new(file: &File, geo: &Geometry, access: Access) -> Result<Maps> {
        let fail = |e| no_room(file, geo.total, e);
        let mut control = MmapOptions::new();
        control.no_reserve_swap().len(geo.data as usize);
        let control = match access {
            Access::ReadWrite => control.map_raw(&file.reopen(Access::ReadWrite)?),
            Access::Read => control.map_raw_read_only(&file.reopen(Access::Read)?),
        };
        let control = control.map_err(fail)?;
        let mut data = MmapOptions::new();
        data.no_reserve_swap().offset(geo.data).len((geo.total - geo.data) as usize);
        let data = data.map_raw_read_only(&file.reopen(Access::Read)?).map_err(fail)?;
        if access == Access::ReadWrite {
            control.advise(Advice::DontFork).map_err(fail)?;
        }
        // Core dumps of terabytes of address space help nobody.
        control.advise(Advice::DontDump).map_err(fail)?;
        data.advise(Advice::DontDump).map_err(fail)?;
        for guard in &geo.guards {
            let at = std::ptr::NonNull::new(control.as_mut_ptr().wrapping_add(*guard as usize)).expect("a mapping");
            // SAFETY: the guard page lies inside our own mapping, and nothing ever refers to it.
            unsafe { mprotect(at.cast(), PAGE as usize, ProtFlags::PROT_NONE) }.map_err(|e| fail(e.into()))?;
        }
        Ok(Maps { alias: OnceLock::new(), data, control, fork: ForkGuard::new()? })
    }

    fn control_len(&self) -> u64 {
        self.control.len() as u64
    }

    /// The mapping through which this process writes what is at `off`, and where that is in it.
    fn writable(&self, off: u64) -> Option<(&MmapRaw, u64)> {
        match off.checked_sub(self.control_len()) {
            Some(at) => self.alias.get().map(|alias| (alias, at)),
            None => Some((&self.control, off)),
        }
    }
}

/// Why a file could not be mapped: as a rule because the address space is full, which is said with the numbers.
fn no_room(file: &File, asked: u64, source: std::io::Error) -> Error {
    let path = file.path().to_owned();
    if source.raw_os_error() != Some(libc::ENOMEM) {
        return Error::Os { action: "map", path, source };
    }
    let gib = |bytes: u64| bytes.div_ceil(1 << 30);
    let most = address_space_limit().map_or_else(String::new, |most| {
        format!(", and this process may have {} GiB (`ulimit -v`), which `ulimit -v unlimited` lifts", gib(most))
    });
    let text = format!(
        "it takes {} GiB of address space, a multiple of its capacity{most}; close other arenas, or create this one with \
         a smaller capacity",
        gib(asked)
    );
    Error::Os { action: "map", path, source: std::io::Error::new(std::io::ErrorKind::OutOfMemory, text) }
}

impl Drop for Posix {
    fn drop(&mut self) {
        if self.check_fork().is_err() {
            // The child has not inherited it: its address may be another's by now.
            std::mem::forget(self.lock_page.take());
        }
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        if self.fork.check().is_err() {
            // The child has no control mapping and no alias: these addresses may be others' by now.
            let alias = self.alias.take();
            std::mem::forget(alias);
            let empty = MmapOptions::new().len(PAGE as usize).map_anon().map(MmapRaw::from);
            if let Ok(empty) = empty {
                std::mem::forget(std::mem::replace(&mut self.control, empty));
            }
        }
    }
}

/// Whether a file at least began as an arena of some version.
pub fn looks_like_ours(path: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let mut magic = [0; 8];
    let file = std::fs::File::open(path);
    file.and_then(|f| f.read_exact_at(&mut magic, 0)).is_ok() && u64::from_le_bytes(magic) == front::MAGIC
}
