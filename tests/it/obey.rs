//! Shows nothing by itself: what a child does to hear and answer its parent, and what only a child may do.
#![allow(unsafe_code, reason = "fork, timers, and the forbidden write that must fault have no safe form")]

use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faretra::Arena;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::support::MARK;

/// Answers the parent.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let line = line.replace('\n', " ");
    writeln!(out, "{MARK}{line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// The next line from the parent. `None`: there is nothing more to do.
pub fn hear() -> Option<String> {
    let mut line = String::new();
    let n = std::io::stdin().lock().read_line(&mut line).expect("a line");
    (n != 0).then(|| line.trim_end().to_owned())
}

/// Argument `i`, which is a number.
pub fn number(args: &[&str], i: usize) -> u64 {
    args.get(i).and_then(|a| a.parse().ok()).unwrap_or_else(|| panic!("argument {i} of {args:?} is no number"))
}

/// How long to wait: argument `i` in milliseconds, or for ever.
pub fn limit(args: &[&str], i: usize) -> Option<Duration> {
    (args.len() > i).then(|| Duration::from_millis(number(args, i)))
}

/// Goes on, by steps of some kind, until something is named `stop`.
pub fn until_stopped(arena: &Arena, mut step: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    say("ok");
    while arena.get("stop").is_err() {
        for _ in 0..20 {
            step()?;
        }
    }
    Ok(())
}

/// Parts per million of a processor that this thread used during a wait of that long.
pub fn cost(limit: Duration, wait: impl FnOnce()) -> u64 {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("ourselves");
        let time = usage.user_time() + usage.system_time();
        time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64
    };
    let before = used();
    wait();
    ((used() - before) * 1e6 / limit.as_micros() as f64) as u64
}

/// Runs `f` in a forked child, which then ends with its result as exit code (101: panicked). Only in
/// children, whose other thread, the test harness's, sleeps.
pub fn forked(f: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the other thread of this process waits for this one (children run one test alone), so nothing
    // that the child needs is locked by a thread that it does not have.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Parent { child } => child,
        nix::unistd::ForkResult::Child => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(101);
            // SAFETY: ends the process, and runs nothing of the parent's on the way.
            unsafe { libc::_exit(code) }
        }
    }
}

/// How a forked child ended, in words.
pub fn end_of(child: Pid) -> String {
    format!("{:?}", nix::sys::wait::waitpid(child, None).expect("a child"))
}

/// Tries to change a byte that is only lent for reading: the process has to die of it.
pub fn write_where_forbidden(at: *const u8) {
    // SAFETY: none; that is what the test is about. The page is read-only, so that this faults.
    unsafe { at.cast_mut().write_volatile(1) };
}

static ALARMS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: i32) {
    ALARMS.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts this process a thousand times a second (0: no more). Returns how often it was so far.
pub fn alarms(per_second: u32) -> u64 {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    // Without SA_RESTART: every interrupted call returns EINTR.
    let action = SigAction::new(SigHandler::Handler(on_alarm), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only adds to an atomic.
    unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler");
    let every = 1_000_000_u32.checked_div(per_second).unwrap_or(0);
    let every = libc::timeval { tv_sec: 0, tv_usec: i64::from(every) };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: reads `timer`, and writes nothing where the old value is not asked for.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    ALARMS.load(Ordering::Relaxed)
}

/// When SIGINT came last, in nanoseconds of the monotonic clock; 0: it did not, or a wait was told.
static INTERRUPT: AtomicU64 = AtomicU64::new(0);

fn clock() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

extern "C" fn on_interrupt(_: i32) {
    INTERRUPT.store(clock(), Ordering::Relaxed);
}

/// From here on SIGINT, whose handler does not ask for calls to be restarted, ends the waits of this process. Returns the
/// number of this thread.
pub fn be_interruptible() -> i32 {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let action = SigAction::new(SigHandler::Handler(on_interrupt), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler asks the clock and stores in an atomic, which is allowed in handlers.
    unsafe { sigaction(Signal::SIGINT, &action) }.expect("a handler");
    faretra::set_interrupt_hook(Some(Box::new(|| match INTERRUPT.load(Ordering::Relaxed) {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    })));
    nix::unistd::gettid().as_raw()
}

/// How long ago SIGINT came, which is forgotten.
pub fn since_interrupt() -> Duration {
    let came = INTERRUPT.swap(0, Ordering::Relaxed);
    assert_ne!(came, 0, "a wait was interrupted by nothing");
    Duration::from_nanos(clock() - came)
}

/// Sends SIGINT to one thread of a process.
pub fn interrupt_thread(process: i32, thread: i32) {
    // SAFETY: sends a signal; touches no memory.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGINT) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// From now on a system call fails in this thread, and in those that it starts; if `only` is given, where that argument has
/// that value.
pub fn forbid_call(call: i64, error: i32, only: Option<(usize, u32)>) {
    let statement =
        |code: u32, k: u32, [then, other]: [u8; 2]| libc::sock_filter { code: code as u16, jt: then, jf: other, k };
    let load = |at: u32| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, [0, 0]);
    let unless = |k: u32, skip: u8| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, [0, skip]);
    let give = |what: u32| statement(libc::BPF_RET | libc::BPF_K, what, [0, 0]);
    // The call's number is the first word that a filter is given; the arguments are 8 bytes each from the 16th on.
    let mut program = vec![load(0), unless(call as u32, if only.is_some() { 3 } else { 1 })];
    if let Some((argument, value)) = only {
        program.extend([load(16 + 8 * argument as u32), unless(value, 1)]);
    }
    program.extend([give(libc::SECCOMP_RET_ERRNO | error as u32), give(libc::SECCOMP_RET_ALLOW)]);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    nix::sys::prctl::set_no_new_privs().expect("that is allowed to everybody");
    // SAFETY: the kernel reads the program, which lives until it returns.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let mut args = [0_u64; 4];
    if let Some((argument, value)) = only {
        args[argument] = value.into();
    }
    // SAFETY: it waits for nothing, touches no memory, and is forbidden.
    let called = unsafe { libc::syscall(call, args[0], args[1], args[2], args[3], 0) };
    assert_eq!((called, std::io::Error::last_os_error().raw_os_error()), (-1, Some(error)));
}

/// Becomes another user for good: USER GROUP [OTHER GROUPS].
pub fn become_user(args: &[&str]) {
    use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
    let (user, group) = (Uid::from_raw(number(args, 0) as u32), Gid::from_raw(number(args, 1) as u32));
    let groups: Vec<Gid> = (1..args.len()).map(|i| Gid::from_raw(number(args, i) as u32)).collect();
    setgroups(&groups).expect("root may");
    setresgid(group, group, group).expect("root may");
    setresuid(user, user, user).expect("root may");
    nix::sys::prctl::set_dumpable(true).expect("ourselves");
}

/// Gives a file an access list: entries of a tag, rights and the number of a user or group, as the kernel takes them.
pub fn set_acl(path: &std::path::Path, which: &std::ffi::CStr, entries: &[(u16, u16, u32)]) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(rights.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: two strings that end with 0 and so many bytes, which the kernel only reads.
    let set = unsafe { libc::setxattr(path.as_ptr(), which.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Closes every descriptor from `first` on, as some daemons do.
pub fn close_from(first: u32) {
    // SAFETY: that is what some programs do; what owned the numbers must cope.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    assert_eq!(closed, 0, "{}", std::io::Error::last_os_error());
}
