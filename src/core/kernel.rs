//! The kernel of Linux: files on tmpfs, byte locks, futexes, processes.
//!
//! # Who is alive
//!
//! A participant holds an *open file description* lock on one byte of the file, at an offset made
//! of its seat and incarnation. The lock is kept by the control mapping itself: it survives
//! `close`, is not inherited by `fork` (the mapping is MADV_DONTFORK), works across PID
//! namespaces, and is dropped by the kernel when the last thread that could run is gone. So a free
//! byte proves that nobody will ever store another word in that name. No pid, no timer.
//!
//! The kernel tears the address space down before it lets go of the lock (about 0.15 s per GiB
//! touched). In one PID namespace there is a faster proof: every task of the process has PF_EXITING
//! set, which is after its last user instruction.
#![allow(unsafe_code, reason = "futex has no safe wrapper")]

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::thread::available_parallelism;
use std::time::Duration;

use memmap2::{MmapMut, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, FcntlArg, OFlag, fallocate, fcntl, open};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::mman::{MmapAdvise, madvise};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::signal::SigSet;
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, stat};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::core::answers::{Access, Slept};
use crate::core::geometry::PAGE;
use crate::core::word::{INCARNATIONS, Owner};
use crate::error::{Error, Result};

/// One line of `/proc/PID/stat` or of a task.
#[derive(Debug, PartialEq)]
struct Status {
    state: u8,
    flags: u64,
    threads: u64,
    started: u64,
}

/// More than a line has up to the fields that are read: a name of 64 bytes, and 21 numbers of 20 digits at most.
const LINE: usize = 1024;

impl Status {
    fn read(path: &str) -> Option<Status> {
        let mut line = [0; LINE];
        // The kernel makes the line at the first read, and gives as much of it as there is room for.
        let len = std::fs::File::open(path).ok()?.read(&mut line).ok()?;
        Status::parse(&line[..len])
    }

    fn parse(line: &[u8]) -> Option<Status> {
        // The command name may hold anything, so count from its closing parenthesis. The last field may be cut short.
        let end = line.iter().rposition(|byte| *byte == b')')?;
        let (whole, _) = std::str::from_utf8(&line[end + 1..]).ok()?.rsplit_once(' ')?;
        let mut fields = whole.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let flags = fields.nth(5)?.parse().ok()?;
        let threads = fields.nth(10)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        Some(Status { state, flags, threads, started })
    }

    fn exiting(&self) -> bool {
        const PF_EXITING: u64 = 4;
        self.flags & PF_EXITING != 0 || matches!(self.state, b'Z' | b'X')
    }
}

/// When this process started, in clock ticks since boot.
pub fn started() -> u64 {
    Status::read("/proc/self/stat").map_or(0, |s| s.started)
}

/// Which PID namespace the numbers of this process are of. 0: /proc tells nothing of processes as this one numbers them: there
/// is none, or it is another namespace's.
pub fn pid_namespace() -> u64 {
    let is_ours = std::fs::read_link("/proc/self").is_ok_and(|me| me == Path::new(&std::process::id().to_string()));
    stat("/proc/self/ns/pid").map_or(0, |s| if is_ours { s.st_ino } else { 0 })
}

fn status_of(pid: u32, started: u64) -> Option<Status> {
    Status::read(&format!("/proc/{pid}/stat")).filter(|s| s.started == started)
}

/// Whether no task of a process can run user code again. `false` proves nothing.
pub fn is_exiting(pid: u32, started: u64) -> bool {
    let tasks = || -> Option<Vec<String>> {
        let dir = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let mut names: Vec<_> = dir.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        Some(names)
    };
    // One look is enough for nearly everybody.
    if !status_of(pid, started).is_some_and(|s| s.exiting()) {
        return false;
    }
    // A task that ran while the first list was read may have started one that is not in it;
    // so the list must be the same again after every task on it was seen exiting.
    let Some(before) = tasks() else {
        return false;
    };
    let exiting = |task: &String| Status::read(&format!("/proc/{pid}/task/{task}/stat")).is_some_and(|s| s.exiting());
    let all = !before.is_empty() && before.iter().all(exiting);
    let threads = |s: Status| s.threads <= before.len() as u64;
    all && tasks().as_ref() == Some(&before) && status_of(pid, started).is_some_and(threads)
}

/// Whether a process is stopped by a signal or a debugger.
pub fn is_stopped(pid: u32, started: u64) -> bool {
    status_of(pid, started).is_some_and(|s| matches!(s.state, b'T' | b't'))
}

/// The command name of this process.
pub fn command() -> Option<String> {
    std::fs::read_to_string("/proc/self/comm").ok().map(|name| name.trim_end().to_owned())
}

/// Bytes of page tables of this process.
pub fn page_tables() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmPTE:"));
    let kib = line.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Milliseconds since the Unix epoch, as of the kernel's last tick: a few of them late, and cheap.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |t| t.num_milliseconds().try_into().unwrap_or(0))
}

/// Processors of the machine that nothing runs on at this moment; as many as there may be, where the system does not say.
pub fn idle_processors() -> u64 {
    let running = std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| {
        let (running, _) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
        running.parse::<u64>().ok()
    });
    let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().and_then(|count| u64::try_from(count).ok());
    match (online, running) {
        (Some(online), Some(running)) => online.saturating_sub(running),
        _ => u64::MAX,
    }
}

/// Processors that this thread may use now, and that the control group's quota allows.
pub fn processors() -> u64 {
    // The quota is read from files, which takes longer than to copy a little.
    static ALLOWED: OnceLock<usize> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| available_parallelism().map_or(1, NonZero::get));
    let mine = sched_getaffinity(Pid::from_raw(0))
        .map_or(1, |set| (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count());
    allowed.min(mine) as u64
}

/// Has signals handled by other threads than this one, which is the library's.
pub fn block_signals() {
    let _ = SigSet::all().thread_block();
}

/// A descriptor that is readable while it is raised.
#[derive(Debug)]
pub struct Flag(EventFd);

impl Flag {
    pub fn new() -> Result<Flag> {
        let fail = |e: Errno| Error::Os { action: "make", path: "an eventfd".into(), source: e.into() };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Flag(EventFd::from_value_and_flags(0, flags).map_err(fail)?))
    }

    /// Makes it readable. One whose count is full is.
    pub fn raise(&self) {
        let _ = self.0.write(1);
    }

    /// Makes it unreadable. Nothing to read is as good.
    pub fn lower(&self) {
        let _ = self.0.read();
    }
}

impl AsFd for Flag {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A page that fork wipes: how a child knows that a handle is its parent's.
#[derive(Debug)]
pub struct ForkGuard {
    page: MmapMut,
    pid: u32,
}

impl ForkGuard {
    /// The guard of this process.
    pub fn new() -> Result<ForkGuard> {
        let fail = |e| Error::Os { action: "map", path: "a page".into(), source: e };
        let mut page = MmapOptions::new().len(PAGE as usize).map_anon().map_err(fail)?;
        page[0] = 1;
        let at = std::ptr::NonNull::from(&mut page[..]).cast();
        // SAFETY: the whole of a private anonymous mapping of our own; nothing changes in this process.
        unsafe { madvise(at, PAGE as usize, MmapAdvise::MADV_WIPEONFORK) }.map_err(|e| fail(e.into()))?;
        Ok(ForkGuard { page, pid: std::process::id() })
    }

    /// `Err` in a child of the process that made it.
    #[inline]
    pub fn check(&self) -> Result<()> {
        // Volatile in effect: the byte changes only across fork, in which this code does not run.
        if std::hint::black_box(&self.page)[0] == 1 { Ok(()) } else { Err(Error::Forked(self.pid)) }
    }
}

/// Where arenas are by default.
pub fn default_directory() -> PathBuf {
    "/dev/shm".into()
}

/// Whether arenas can be made in a directory: on a tmpfs only.
pub fn check_directory(dir: &Path) -> Result<()> {
    let on = nix::sys::statfs::statfs(dir).map_err(|e| os_error("look at", dir, e))?;
    if on.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC {
        return Ok(());
    }
    let reason = "it is not on a tmpfs, so memory could not be shared and given back; use /dev/shm, or mount one";
    Err(Error::NotAnArena { path: dir.to_owned(), reason: reason.into() })
}

/// Bytes of memory that a file has.
pub fn bytes_of(file: &Metadata) -> u64 {
    file.blocks() * 512
}

fn flags(access: Access) -> OFlag {
    match access {
        Access::Read => OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Access::ReadWrite => OFlag::O_RDWR | OFlag::O_CLOEXEC,
    }
}

/// The segment's file. Its descriptor is only for questions and for giving memory back; the
/// participant's lock hangs on the control mapping.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    fd: RwLock<OwnedFd>,
    device: u64,
    inode: u64,
    access: Access,
}

impl File {
    /// A new unnamed file in `dir`, which vanishes unless it is given a name.
    pub fn unnamed(dir: &Path, path: PathBuf, mode: u32) -> Result<File> {
        let os = |e| os_error("create a segment in", dir, e);
        let mode = Mode::from_bits_truncate(mode);
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let fd = match open(dir, flags, mode) {
            Err(Errno::EOPNOTSUPP | Errno::EISDIR) => {
                let reason =
                    "its file system has no unnamed files (O_TMPFILE); use a directory on a tmpfs, such as /dev/shm"
                        .into();
                return Err(Error::NotAnArena { path: dir.to_owned(), reason });
            }
            other => other.map_err(os)?,
        };
        fchmod(&fd, mode).map_err(os)?;
        File::from_fd(fd, path, Access::ReadWrite)
    }

    /// The file at `path`.
    pub fn open(path: &Path, access: Access) -> Result<File> {
        let flags = flags(access) | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let fd = open(path, flags, Mode::empty()).map_err(|e| os_error("open", path, e))?;
        File::from_fd(fd, path.to_owned(), access)
    }

    fn from_fd(fd: OwnedFd, path: PathBuf, access: Access) -> Result<File> {
        let s = fstat(&fd).map_err(|e| os_error("look at", &path, e))?;
        Ok(File { path, fd: RwLock::new(fd), device: s.st_dev, inode: s.st_ino, access })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Uses the descriptor after making sure that it still is this file: a program that closes
    /// all descriptors (`closefrom`) may have given the number to another file.
    fn with_fd<T>(&self, f: impl FnOnce(&OwnedFd, &FileStat) -> nix::Result<T>) -> nix::Result<T> {
        let ours = |s: &FileStat| s.st_dev == self.device && s.st_ino == self.inode;
        {
            let fd = self.fd.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(s) = fstat(&*fd).ok().filter(ours) {
                return f(&fd, &s);
            }
        }
        let fresh = open(&self.path, flags(self.access) | OFlag::O_NOFOLLOW, Mode::empty())?;
        let s = fstat(&fresh)?;
        if !ours(&s) {
            return Err(Errno::ESTALE);
        }
        let mut fd = self.fd.write().unwrap_or_else(PoisonError::into_inner);
        // The old number is not ours to close any more.
        std::mem::forget(std::mem::replace(&mut *fd, fresh));
        f(&fd, &s)
    }

    /// A descriptor of its own to map from.
    pub fn reopen(&self, access: Access) -> Result<OwnedFd> {
        let link = self.with_fd(|fd, _| Ok(format!("/proc/self/fd/{}", fd.as_raw_fd())));
        let link = link.map_err(|e| os_error("look at", &self.path, e))?;
        let fresh = open(link.as_str(), flags(access), Mode::empty());
        // Without /proc the name has to do; the inode is compared.
        let fresh = fresh.or_else(|no_link| {
            open(&self.path, flags(access), Mode::empty()).map_err(|e| match e {
                // A file without a name, as every new one: there is but the link.
                Errno::ENOENT => os_error("open", Path::new(&link), no_link),
                e => os_error("open", &self.path, e),
            })
        })?;
        let s = fstat(&fresh).map_err(|e| os_error("look at", &self.path, e))?;
        if (s.st_dev, s.st_ino) != (self.device, self.inode) {
            return Err(os_error("open", &self.path, Errno::ESTALE));
        }
        Ok(fresh)
    }

    /// This file as a new open file, for another participant. Also in a forked child: it waits for no lock that a thread of
    /// its parent may have had.
    pub fn again(&self) -> Result<File> {
        let is_this = |fd: &OwnedFd| fstat(fd).is_ok_and(|s| (s.st_dev, s.st_ino) == (self.device, self.inode));
        let number = self.fd.try_read().ok().filter(|fd| is_this(fd));
        let flags = flags(Access::ReadWrite);
        let by_number = number.and_then(|fd| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            open(link.as_str(), flags, Mode::empty()).ok()
        });
        // Where the descriptor was closed, and without /proc, the name has to do.
        let by_name = || open(&self.path, flags | OFlag::O_NOFOLLOW, Mode::empty());
        let fresh = by_number.map_or_else(by_name, Ok).map_err(|e| os_error("open", &self.path, e))?;
        let file = File::from_fd(fresh, self.path.clone(), Access::ReadWrite)?;
        if (file.device, file.inode) != (self.device, self.inode) {
            return Err(os_error("open", &self.path, Errno::ESTALE));
        }
        Ok(file)
    }

    pub fn stat(&self) -> Result<FileStat> {
        self.with_fd(|_, s| Ok(*s)).map_err(|e| os_error("look at", &self.path, e))
    }

    /// Gives a new file its size. Only before it has a name.
    pub fn set_size(&self, bytes: u64) -> Result<()> {
        // Beyond its limit the system would end this process by a signal.
        if let Some(most) = limit_of(Resource::RLIMIT_FSIZE).filter(|most| *most < bytes) {
            let text = format!(
                "the arena's file has {bytes} bytes, sparse, and this process may make files of {most} (`ulimit -f`): \
                 `ulimit -f unlimited` lifts that, or create the arena with a smaller capacity"
            );
            let source = std::io::Error::new(ErrorKind::FileTooLarge, text);
            return Err(Error::Os { action: "size", path: self.path.clone(), source });
        }
        let set = |fd: &OwnedFd, _: &FileStat| nix::unistd::ftruncate(fd, bytes as i64);
        self.with_fd(set).map_err(|e| os_error("size", &self.path, e))
    }

    /// Gives an unnamed file its name. `false`: the name is taken.
    pub fn link(&self) -> Result<bool> {
        let link = self.with_fd(|fd, _| {
            let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let cwd = nix::fcntl::AT_FDCWD;
            nix::unistd::linkat(cwd, from.as_str(), cwd, &self.path, AtFlags::AT_SYMLINK_FOLLOW)
        });
        match link {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(e) => Err(os_error("name", &self.path, e)),
        }
    }

    /// Whether the name is this file's.
    pub fn has_name(&self) -> Result<bool> {
        match stat(&self.path) {
            Ok(s) => Ok((s.st_dev, s.st_ino) == (self.device, self.inode)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(e) => Err(os_error("look at", &self.path, e)),
        }
    }

    /// Takes the name away, if it is still this file's.
    pub fn unlink(&self) -> Result<()> {
        if !self.has_name()? {
            return Ok(());
        }
        match std::fs::remove_file(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::Os { action: "remove", path: self.path.clone(), source: e })
            }
            _ => Ok(()),
        }
    }

    pub fn commit(&self, off: u64, len: u64) -> nix::Result<()> {
        loop {
            match self.with_fd(|fd, _| fallocate(fd, FallocateFlags::empty(), off as i64, len as i64)) {
                Err(Errno::EINTR) => {}
                done => return done,
            }
        }
    }

    pub fn punch(&self, off: u64, len: u64) -> bool {
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        loop {
            match self.with_fd(|fd, _| fallocate(fd, flags, off as i64, len as i64)) {
                Err(Errno::EINTR) => {}
                done => return done.is_ok(),
            }
        }
    }

    /// Reads a word without touching the mapping. 0: a hole, or it could not be read.
    pub fn peek(&self, off: u64) -> u64 {
        let mut word = [0; 8];
        let read = self.with_fd(|fd, _| nix::sys::uio::pread(fd, &mut word, off as i64));
        if read == Ok(8) { u64::from_le_bytes(word) } else { 0 }
    }

    /// Where the first hole at or behind `off` begins. `None`: the system does not say.
    pub fn hole_from(&self, off: u64) -> Option<u64> {
        let found = self.with_fd(|fd, _| nix::unistd::lseek(fd, off as i64, nix::unistd::Whence::SeekHole));
        found.ok().map(|at| at as u64)
    }

    /// How long it is now.
    pub fn size(&self) -> Option<u64> {
        self.with_fd(|_, s| Ok(s.st_size as u64)).ok()
    }

    pub fn in_memory(&self) -> u64 {
        self.with_fd(|_, s| Ok(s.st_blocks as u64 * 512)).unwrap_or(0)
    }

    /// Whether [`File::in_memory`] counts small pages: where the file system takes huge ones, a file's block is one.
    pub fn counts_pages(&self) -> bool {
        self.with_fd(|_, s| Ok(s.st_blksize as u64 <= PAGE)).unwrap_or(true)
    }

    pub fn room(&self) -> (u64, u64) {
        let room = self.with_fd(|fd, _| nix::sys::statvfs::fstatvfs(fd));
        room.map_or((u64::MAX, u64::MAX), |v| file_system_room(&v))
    }

    /// Takes the lock of `owner` for the description behind `fd`.
    pub fn lock(fd: impl AsFd, owner: Owner) -> bool {
        let request = lock_request(owner, libc::F_WRLCK);
        fcntl(fd, FcntlArg::F_OFD_SETLK(&request)).is_ok()
    }

    pub fn unlock(fd: impl AsFd, owner: Owner) {
        let request = lock_request(owner, libc::F_UNLCK);
        // Cannot fail for a lock of our own; and if it did, the byte would only look alive longer.
        let _ = fcntl(fd, FcntlArg::F_OFD_SETLK(&request));
    }

    /// Whether the kernel says that nobody has `owner`'s lock. Doubt means "no".
    pub fn is_unlocked(&self, owner: Owner) -> bool {
        let asked = self.with_fd(|fd, _| {
            let mut request = lock_request(owner, libc::F_WRLCK);
            fcntl(fd, FcntlArg::F_OFD_GETLK(&mut request)).map(|_| request.l_type)
        });
        asked == Ok(libc::F_UNLCK as i16)
    }
}

/// Whether a call failed because the kernel does not have it, or a filter (seccomp) forbids it.
pub fn is_refusal(e: Errno) -> bool {
    matches!(e, Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::EOPNOTSUPP)
}

/// Free bytes and size.
fn file_system_room(v: &nix::sys::statvfs::Statvfs) -> (u64, u64) {
    let unit = v.fragment_size();
    // A tmpfs without a size limit reports no blocks at all.
    if v.blocks() == 0 {
        return (u64::MAX, u64::MAX);
    }
    (v.blocks_available() * unit, v.blocks() * unit)
}

/// Free bytes and size of the file system that holds `dir`.
pub fn directory_room(dir: &Path) -> Result<(u64, u64)> {
    let v = nix::sys::statvfs::statvfs(dir).map_err(|e| os_error("look at", dir, e))?;
    Ok(file_system_room(&v))
}

fn lock_request(owner: Owner, kind: i32) -> libc::flock {
    const BASE: i64 = 1 << 60;
    let byte = i64::from(owner.seat) << 24 | i64::from(owner.incarnation % INCARNATIONS);
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: BASE + byte, l_len: 1, l_pid: 0 }
}

/// The most of a resource that this process may use. `None`: there is no limit.
fn limit_of(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}

/// Bytes of address space that this process may have. `None`: as much as there is.
pub fn address_space_limit() -> Option<u64> {
    limit_of(Resource::RLIMIT_AS)
}

pub fn os_error(action: &'static str, path: &Path, e: Errno) -> Error {
    Error::Os { action, path: path.to_owned(), source: e.into() }
}

/// Sleeps while `*word == expected`, `limit` at most. Wakes early for a signal too, also where its handler asks for system
/// calls to be restarted (SA_RESTART): the kernel does not restart a futex wait that has a timeout.
///
/// # Safety
///
/// `word` is 4-aligned and mapped.
pub unsafe fn futex_wait(word: *const u32, expected: u32, limit: Duration) -> Slept {
    // Without the private flag, so that sleepers of all processes meet.
    // SAFETY: contract.
    unsafe { futex_wait_by(word, expected, limit, 0) }
}

/// # Safety
///
/// `word` is 4-aligned and mapped.
unsafe fn futex_wait_by(word: *const u32, expected: u32, limit: Duration, private: i32) -> Slept {
    let time = libc::timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
    let op = libc::FUTEX_WAIT | private;
    // SAFETY: the word is mapped (contract); the kernel only reads it and `time`. Every outcome means: look again.
    let done = unsafe { libc::syscall(libc::SYS_futex, word, op, expected, &raw const time) };
    if done == -1 && Errno::last() == Errno::EINTR { Slept::Interrupted } else { Slept::Through }
}

/// Wakes everyone who sleeps on `word`.
///
/// # Safety
///
/// `word` is 4-aligned and mapped.
pub unsafe fn futex_wake_all(word: *const u32) {
    // SAFETY: the word is mapped (contract); the kernel only uses its address.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
}

/// Most words that the kernel lets one sleep on at once.
pub const MOST_WORDS: usize = 128;

/// How long one sleeps on some words where there are others that the kernel is not told of.
const SHORT: Duration = Duration::from_millis(2);

/// Sleeps while all words are as expected, `limit` at most; [`SHORT`] at most if the kernel takes fewer words than these,
/// or (before Linux 5.16) one at a time. The flag of each says whether only this process rings it.
///
/// # Safety
///
/// The words are 4-aligned and mapped.
pub unsafe fn futex_wait_any(words: &[(*const u32, u32, Ringer)], limit: Duration) -> Slept {
    /// What the kernel reads: `struct futex_waitv`.
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const SIZE_U32: u32 = 2;
    const PRIVATE: u32 = 128;
    let alone = |(word, value, ringer): (*const u32, u32, Ringer), limit| {
        let private = if ringer == Ringer::ThisProcess { libc::FUTEX_PRIVATE_FLAG } else { 0 };
        // SAFETY: contract.
        unsafe { futex_wait_by(word, value, limit, private) }
    };
    match words {
        [] => {
            std::thread::sleep(limit);
            return Slept::Through;
        }
        [one] => return alone(*one, limit),
        _ => {}
    }
    let limit = if words.len() > MOST_WORDS { limit.min(SHORT) } else { limit };
    let waiter = |(word, value, ringer): &(*const u32, u32, Ringer)| Waiter {
        value: u64::from(*value),
        address: word.addr() as u64,
        flags: if *ringer == Ringer::ThisProcess { SIZE_U32 | PRIVATE } else { SIZE_U32 },
        reserved: 0,
    };
    let waiters: Vec<Waiter> = words.iter().take(MOST_WORDS).map(waiter).collect();
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let end = now + limit;
    let end = libc::timespec { tv_sec: end.as_secs() as i64, tv_nsec: i64::from(end.subsec_nanos()) };
    let (first, count) = (waiters.as_ptr(), waiters.len());
    // SAFETY: the kernel only reads the waiters and `end`, which live until it returns, and the words, which are mapped
    // (contract). Every outcome but the two below means: look again.
    let slept = unsafe { libc::syscall(libc::SYS_futex_waitv, first, count, 0, &raw const end, libc::CLOCK_MONOTONIC) };
    match Errno::last() {
        _ if slept >= 0 => Slept::Through,
        Errno::ENOSYS | Errno::EPERM => alone(words[0], limit.min(SHORT)),
        Errno::EINTR => Slept::Interrupted,
        _ => Slept::Through,
    }
}

/// Who rings a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ringer {
    ThisProcess,
    Anybody,
}

/// Wakes a thread of this process that sleeps on bells.
#[derive(Debug, Default)]
pub struct Doorbell(AtomicU32);

impl Doorbell {
    /// What it says now. A sleep that expects this ends when it is rung after that.
    pub fn now(&self) -> u32 {
        self.0.load(SeqCst)
    }

    /// Ends the sleep of a thread, or its next.
    pub fn ring(&self) {
        self.0.fetch_add(1, SeqCst);
        // SAFETY: the kernel only uses the address.
        unsafe {
            libc::syscall(libc::SYS_futex, self.0.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX)
        };
    }

    /// What the kernel is to look at.
    pub fn word(&self) -> *const u32 {
        self.0.as_ptr().cast_const()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process may call itself anything; and what is cut off behind the fields that are read is not missed.
    #[test]
    fn lines_of_proc_are_read() {
        let fields = "S 1 2 3 4 5 4194308 7 8 9 10 11 12 13 14 15 16 17 19 7939806 20 21 22";
        let expected = Status { state: b'S', flags: 4_194_308, threads: 17, started: 7_939_806 };
        for name in [&b"name"[..], b"a) R 1 (b", b"", b"\xff\xfe )", b"two\nlines"] {
            let line = [b"77 (", name, b") ", fields.as_bytes(), b"\n"].concat();
            assert_eq!(Status::parse(&line), Some(Status { ..expected }), "{name:?}");
            let cut = line.iter().rposition(|byte| *byte == b' ').expect("a space");
            assert_eq!(Status::parse(&line[..cut]).as_ref(), Some(&expected));
        }
        assert!(expected.exiting());
        let cut_short = format!("77 (name) {}", &fields[..fields.find("9806").expect("there")]);
        assert_eq!(Status::parse(cut_short.as_bytes()), None, "not a part of the number");
        for line in ["", "77 (name", "77 (name) ", "77 (name) S 1 2"] {
            assert_eq!(Status::parse(line.as_bytes()), None);
        }
        assert!(started() > 0 && Status::read("/proc/self/stat").is_some_and(|me| me.threads > 0 && !me.exiting()));
    }
}
