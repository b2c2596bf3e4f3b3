//! The system calls that arenas are made of, tried one by one: a kernel may be too old for one, and a filter (seccomp) may
//! forbid it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use memmap2::{Advice, MmapOptions};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, FcntlArg, OFlag, fallocate, fcntl, open};
use nix::sys::eventfd::EventFd;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::{ftruncate, linkat, unlink};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::thread::futex;
use rustix::time::Timespec;
use serde_json::json;

use super::finding::{Finding, Verdict};
use super::machine::seccomp;

const PAGE: usize = 4096;

/// A call, what it is for, and what follows where it does not work.
struct Call {
    name: &'static str,
    /// As seccomp profiles name it.
    seccomp: &'static str,
    /// The first kernel that has it.
    since: &'static str,
    lacking: Verdict,
    why: &'static str,
}

const fn call(
    name: &'static str,
    seccomp: &'static str,
    since: &'static str,
    lacking: Verdict,
    why: &'static str,
) -> Call {
    Call { name, seccomp, since, lacking, why }
}

const O_TMPFILE: Call =
    call("O_TMPFILE", "openat", "3.11", Verdict::Fails, "an arena is made as a file without a name: `create` fails");
const LINKAT: Call =
    call("linkat", "linkat", "2.6.39", Verdict::Fails, "an arena gets its name when it is whole: `create` fails");
const LOCKS: Call = call(
    "OFD locks",
    "fcntl",
    "3.15",
    Verdict::Fails,
    "each participant holds a lock (F_OFD_SETLK), by which others know that it lives: `create` and `open` fail",
);
const FALLOCATE: Call = call(
    "fallocate",
    "fallocate",
    "3.5",
    Verdict::Note,
    "memory is taken before it is written, so that a full tmpfs is an error and no signal; MADV_POPULATE_WRITE does it as well",
);
const PUNCH: Call = call(
    "punch hole",
    "fallocate",
    "3.5",
    Verdict::Note,
    "freed memory is given back by it: without it the memory is used again, and given back when the arena ends",
);
const POPULATE: Call = call(
    "MADV_POPULATE_WRITE",
    "madvise",
    "5.14",
    Verdict::Note,
    "fresh memory is taken by it; without it fallocate does it, and the first write to each page costs a fault more",
);
const DONTFORK: Call = call(
    "MADV_DONTFORK",
    "madvise",
    "2.6.16",
    Verdict::Fails,
    "a forked child does not inherit the lock that says who lives: `create` and `open` fail",
);
const FUTEX: Call =
    call("futex", "futex", "2.6", Verdict::Fails, "every wait sleeps by it, the standard library's too");
const FUTEX_WAITV: Call = call(
    "futex_waitv",
    "futex_waitv",
    "5.16",
    Verdict::Note,
    "`Select`, futures and descriptors sleep on several things by it; without it they look every 2 ms",
);
const EVENTFD: Call =
    call("eventfd", "eventfd2", "2.6.27", Verdict::Note, "`pollable()` and futures need it, and fail without");
const PIDFD: Call = call(
    "pidfd_open",
    "pidfd_open",
    "5.3",
    Verdict::Note,
    "managers of `faretra.multiprocessing` watch their parent by it; nothing else needs it",
);
const MEMFD: Call =
    call("memfd_create", "memfd_create", "3.17", Verdict::Fine, "arenas have names, and do not need it");

/// Tries each call, in files without a name in this directory if it can hold arenas.
pub fn look(dir: &Path) -> Vec<Finding> {
    let filter = seccomp();
    let unnamed = || open(dir, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR);
    let made = unnamed();
    let mut done: Vec<(Call, Result<(), Errno>)> = vec![(O_TMPFILE, made.as_ref().map(drop).map_err(|e| *e))];
    if let Ok(fd) = &made {
        // What needs a file is of no interest where there can be none.
        done.push((LINKAT, named(fd, dir)));
        done.push((LOCKS, locks(fd)));
        let sized = ftruncate(fd, 64 * PAGE as i64);
        done.push((FALLOCATE, sized.and_then(|()| fallocate(fd, FallocateFlags::empty(), 0, PAGE as i64))));
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        done.push((PUNCH, fallocate(fd, hole, 0, PAGE as i64)));
        done.push((POPULATE, populates(fd)));
    }
    done.push((DONTFORK, stays_here()));
    let word = AtomicU32::new(0);
    done.push((FUTEX, sleeps(futex::wait(&word, futex::Flags::empty(), 1, Some(&Timespec::default())).map(drop))));
    done.push((FUTEX_WAITV, sleeps_on_two()));
    done.push((EVENTFD, EventFd::new().map(drop)));
    done.push((PIDFD, pidfd_open(getpid(), PidfdFlags::empty()).map(drop).map_err(from_rustix)));
    done.push((MEMFD, memfd_create(c"faretra", MFdFlags::MFD_CLOEXEC).map(drop)));
    let refused = |name: &str| done.iter().any(|(call, done)| call.name == name && done.is_err_and(is_refusal));
    let no_memory = refused(FALLOCATE.name) && refused(POPULATE.name);
    let mut found: Vec<Finding> = done.into_iter().map(|(call, result)| finding(call, result, filter)).collect();
    // Either does.
    for one in found.iter_mut().filter(|one| no_memory && [FALLOCATE.name, POPULATE.name].contains(&one.what)) {
        one.verdict = Verdict::Fails;
    }
    found
}

fn finding(call: Call, result: Result<(), Errno>, filter: Option<u64>) -> Finding {
    let Call { name, seccomp, since, lacking, why } = call;
    let facts = json!({
        "works": result.is_ok(),
        "errno": result.err().map(|e| e as i32),
        "since": since,
        "seccomp": filter,
    });
    let error = match result {
        Ok(()) => return Finding::fine(name, "works", facts, why),
        // A file system that is full or read-only is told of elsewhere.
        Err(error) if !is_refusal(error) => {
            return Finding::fine(name, format!("could not be tried: {}", error.desc()), facts, why);
        }
        Err(error) => error,
    };
    let filtered =
        if filter == Some(2) { "this process has a seccomp filter" } else { "by a security module, or a filter" };
    let here = match error {
        Errno::EPERM => format!("forbidden ({error:?}; {filtered})"),
        Errno::ENOSYS if filter == Some(2) => {
            format!("not there (ENOSYS: before Linux {since}, or a seccomp filter says so)")
        }
        error => format!("not there ({error:?}: Linux {since} has it)"),
    };
    let rule = format!(r#"{{"names": ["{seccomp}"], "action": "SCMP_ACT_ALLOW"}}"#);
    Finding::fine(name, here, facts, why).or(true, lacking).changed_by([
        format!("docker run --security-opt seccomp=PROFILE.json ..    # with {rule} in its \"syscalls\""),
        "Kubernetes: securityContext: {seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}}".to_owned(),
    ])
}

/// Whether the kernel, or a filter, does not offer a call, as against a call that found something in its way.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::EPERM | Errno::ENOSYS | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EISDIR)
}

/// Gives the file a name, and takes it away.
fn named(fd: &OwnedFd, dir: &Path) -> nix::Result<()> {
    // No arena's: those begin with `faretra.`.
    let name = dir.join(format!(".faretra-doctor-{}", std::process::id()));
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    linkat(AT_FDCWD, link.as_str(), AT_FDCWD, &name, AtFlags::AT_SYMLINK_FOLLOW)?;
    unlink(&name)
}

fn locks(fd: &OwnedFd) -> nix::Result<()> {
    let request = |kind: i32| nix::libc::flock {
        l_type: kind as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&request(nix::libc::F_WRLCK)))?;
    fcntl(fd.as_fd(), FcntlArg::F_OFD_GETLK(&mut request(nix::libc::F_WRLCK)))?;
    fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&request(nix::libc::F_UNLCK))).map(drop)
}

fn populates(fd: &OwnedFd) -> nix::Result<()> {
    let file = File::from(fd.try_clone().map_err(from_io)?);
    let map = MmapOptions::new().len(PAGE).map_raw(&file).map_err(from_io)?;
    map.advise(Advice::PopulateWrite).map_err(from_io)
}

fn stays_here() -> nix::Result<()> {
    let map = MmapOptions::new().len(PAGE).map_anon().map_err(from_io)?;
    map.advise(Advice::DontFork).map_err(from_io)
}

/// A sleep that ends at once, in one of three ways.
fn sleeps(slept: Result<(), rustix::io::Errno>) -> nix::Result<()> {
    match slept.map_err(from_rustix) {
        Err(Errno::EAGAIN | Errno::ETIMEDOUT | Errno::EINTR) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

fn sleeps_on_two() -> nix::Result<()> {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let waits: Vec<futex::Wait> = words
        .iter()
        .map(|word| {
            let mut wait = futex::Wait::new();
            wait.val = 1;
            wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
            wait.flags = futex::WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    let now = Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)?);
    let end = Timespec { tv_sec: now.as_secs() as i64, tv_nsec: i64::from(now.subsec_nanos()) };
    sleeps(futex::waitv(&waits, futex::WaitvFlags::empty(), Some(&end), rustix::time::ClockId::Monotonic).map(drop))
}

fn from_io(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn from_rustix(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
