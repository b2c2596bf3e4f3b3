//! Shows nothing by itself: arenas that clean up after themselves, and real processes to kill.
//!
//! A child is this test binary again, running [`role`] alone. A **puppet** is a child that
//! does what it is told, line by line, and answers each line; see `puppet.rs` for what it understands.
//! Children die with the test that started them.
#![allow(unsafe_code, reason = "fork, timers, and the forbidden write that must fault have no safe form")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use faretra::{Arena, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every wait ends by then.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// An arena in a directory of its own, removed at the end.
pub struct TestArena {
    pub arena: Arena,
    pub name: String,
    dir: Dir,
}

/// A directory on tmpfs that goes when it is dropped.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Dir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/dev/shm/faretra-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl TestArena {
    pub fn new(limit: u64) -> TestArena {
        TestArena::with(|o| o.limit(limit))
    }

    pub fn with(options: impl FnOnce(Options) -> Options) -> TestArena {
        let dir = Dir::new();
        let arena = options(Arena::options()).dir(&dir.0).create("t").expect("an arena");
        TestArena { arena, name: "t".into(), dir }
    }

    pub fn options(&self) -> Options {
        Arena::options().dir(&self.dir.0)
    }

    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    pub fn open(&self) -> Arena {
        self.options().open(&self.name).expect("the arena")
    }

    /// Closes this handle, and keeps the directory until what is returned is dropped.
    #[must_use]
    pub fn close(self) -> Dir {
        let TestArena { arena, dir, .. } = self;
        drop(arena);
        dir
    }

    /// A process that has this arena open.
    pub fn puppet(&self) -> Child {
        let mut child = Child::puppet(self.dir());
        child.ask("open t");
        child
    }

    /// Settles everything, and demands that nothing is wrong, lost, or left: `live` bytes and no more.
    #[track_caller]
    pub fn assert_sound(&self, live: u64) {
        assert_sound(&self.arena, live);
    }

    /// Ends the children, takes all names away, and demands that nothing is left, to the byte.
    #[track_caller]
    pub fn assert_nothing_left(&self, children: Vec<Child>) {
        for mut child in children {
            child.finish();
        }
        let w = self.arena.writer().expect("a permit");
        for entry in self.arena.names().expect("names") {
            assert!(w.remove(&entry.name).expect("remove"));
        }
        drop(w);
        self.assert_sound(0);
        let s = self.arena.stats().expect("stats");
        assert_eq!((s.names, s.objects, s.participants, s.writers_busy), (0, 0, 1, 0), "{s:?}");
    }

    /// Publishes so many bytes, which leave no room for others.
    pub fn occupy(&self, bytes: u64) {
        let w = self.arena.writer().expect("a permit");
        w.publish("large", vec![0_u8; bytes as usize].as_slice()).expect("room");
    }

    /// Removes what [`TestArena::occupy`] published.
    pub fn vacate(&self) {
        assert!(self.arena.writer().expect("a permit").remove("large").expect("remove"));
    }

    /// Has a puppet fork a child that looks at what it inherited. The child is refused everything, and the puppet keeps
    /// what it has.
    #[track_caller]
    pub fn fork(&self, parent: &mut Child, line: &str) {
        let end = parent.ask(line);
        assert!(end.starts_with("Exited(") && end.ends_with(", 0)"), "{end}");
        assert_eq!(self.arena.recover().expect("recover").participants, 0, "the child left, the parent did not");
    }
}

/// See [`TestArena::assert_sound`].
#[track_caller]
pub fn assert_sound(arena: &Arena, live: u64) {
    arena.recover().expect("recover");
    assert_eq!(arena.verify().expect("verify"), [], "with freed memory still warm");
    arena.trim().expect("trim");
    assert_eq!(arena.verify().expect("verify"), [], "after trim");
    let s = arena.stats().expect("stats");
    assert_eq!((s.live, s.warm), (live, 0), "{s:?}");
}

/// Runs `look` until it finds something.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Says on stderr that a test could not be done here, and why.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// A process of this test, killed and reaped at the end.
pub struct Child {
    process: std::process::Child,
    stdin: Option<std::process::ChildStdin>,
    lines: Receiver<String>,
    /// Its process id as it sees it itself.
    pub pid: i32,
    /// What it was told last, for messages.
    last: String,
}

const ROLE: &str = "FARETRA_TEST_ROLE";
const PARENT: &str = "FARETRA_TEST_PARENT";
/// Tells our lines from those of the test harness, which come on the same pipe.
const MARK: &str = "@@";

impl Child {
    /// A child that does what it is told, in this directory of arenas.
    pub fn puppet(dir: &Path) -> Child {
        Child::start("puppet", dir, &[])
    }

    /// A child in a role, run by a wrapping command (`strace`, `unshare`) if there is one.
    pub fn start(role: &str, dir: &Path, wrapper: &[&str]) -> Child {
        let exe = std::env::current_exe().expect("this program");
        let mut command = match wrapper {
            [] => Command::new(&exe),
            [program, args @ ..] => {
                let mut command = Command::new(program);
                command.args(args).arg(&exe);
                command
            }
        };
        command
            .args(["--exact", "support::role", "--ignored", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env("FARETRA_DIR", dir)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        match wrapper {
            [] => command.env(PARENT, std::process::id().to_string()),
            _ => command.env_remove(PARENT),
        };
        let mut process = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, ours)) = line.split_once(MARK)
                    && send.send(ours.to_owned()).is_err()
                {
                    break;
                }
            }
        });
        let mut child = Child { process, stdin, lines, pid: 0, last: "start".into() };
        child.pid = child.answer().expect("a pid").parse().expect("a number");
        child
    }

    /// Tells it to do something, without waiting for the answer.
    pub fn tell(&mut self, line: &str) {
        self.last = line.to_owned();
        let stdin = self.stdin.as_mut().expect("not closed");
        // A child that is dead by now is noticed by who waits for its answer.
        let _ = writeln!(stdin, "{line}").and_then(|()| stdin.flush());
    }

    /// Its answer: `Err` for an error of the library, `Variant: message`.
    #[track_caller]
    pub fn answer(&mut self) -> Result<String, String> {
        match self.try_answer(DEADLINE) {
            Some(answer) => answer,
            None => panic!("`{}`: no answer from process {}: {:?}", self.last, self.pid, self.process.try_wait()),
        }
    }

    /// Its answer, if it comes in time. `None` too if it died.
    pub fn try_answer(&mut self, limit: Duration) -> Option<Result<String, String>> {
        let line = self.lines.recv_timeout(limit).ok()?;
        Some(match line.strip_prefix("err ") {
            Some(error) => Err(error.to_owned()),
            None => Ok(line.strip_prefix("ok").unwrap_or(&line).trim().to_owned()),
        })
    }

    /// Tells it something that must work.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let answer = self.answer();
        answer.unwrap_or_else(|e| panic!("`{line}`: {e}"))
    }

    /// Tells it something that must fail, and returns the error.
    #[track_caller]
    pub fn refuse(&mut self, line: &str) -> String {
        self.tell(line);
        match self.answer() {
            Ok(done) => panic!("`{line}` should fail, but: {done}"),
            Err(e) => e,
        }
    }

    /// Waits until a process that was told to wait for something does: all its threads are in futex calls, and none
    /// listens to us.
    #[track_caller]
    pub fn until_waiting(&self) {
        let sleeps = |task: std::io::Result<std::fs::DirEntry>| {
            let call = task.and_then(|task| std::fs::read_to_string(task.path().join("syscall")));
            call.is_ok_and(|call| call.split(' ').next() == Some(&libc::SYS_futex.to_string()))
        };
        let tasks = || std::fs::read_dir(format!("/proc/{}/task", self.pid)).expect("it lives");
        until("a waiter to sleep", || tasks().all(sleeps).then_some(()));
    }

    /// Interrupts it a thousand times a second, until [`Child::assert_interrupted`].
    pub fn interrupt(&mut self) {
        self.ask("alarms 1000");
    }

    /// Ends the interruptions, and demands that there were at least so many.
    #[track_caller]
    pub fn assert_interrupted(&mut self, least: u64) {
        let alarms: u64 = self.ask("alarms 0").parse().expect("a number");
        assert!(alarms > least, "{alarms} signals");
    }

    /// Has it wait in vain in the ways that `what` lists, and demands that each costs next to nothing.
    #[track_caller]
    pub fn assert_idle(&mut self, line: &str, what: &str) {
        let costs = self.ask(line);
        eprintln!("parts per million of a processor for one who waits for {what}: {costs}");
        for cost in costs.split(' ') {
            assert!(cost.parse::<u64>().expect("a number") < 20_000, "{costs}: more than 2 %");
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).expect("it was not reaped");
    }

    /// Stops it, and waits until it stands.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        until("a process to stop", || (self.state() == Some('T')).then_some(()));
    }

    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// The letter that the kernel gives for its state.
    pub fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// Kills and reaps it.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        self.wait();
    }

    /// Kills it and leaves it a zombie.
    pub fn kill_unreaped(&self) {
        self.signal(Signal::SIGKILL);
        until("a zombie", || (self.state() == Some('Z')).then_some(()));
    }

    /// Lets it end by itself.
    pub fn finish(&mut self) -> ExitStatus {
        self.stdin.take();
        self.wait()
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        until("a child to end", || self.process.try_wait().expect("a child"))
    }

    /// The signal that ended it.
    pub fn killed_by(&mut self) -> Option<i32> {
        self.wait().signal()
    }

    /// Id of the process started here: of the wrapping command, if there is one.
    pub fn outer_pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a child runs. As a test by itself it does nothing.
#[test]
#[ignore = "run by other tests, in processes of their own"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    // In a PID namespace of its own the parent has no number; there the wrapping command sees to it.
    if let Ok(parent) = std::env::var(PARENT) {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("a signal");
        if nix::unistd::getppid().to_string() != parent {
            return;
        }
    }
    say(&std::process::id().to_string());
    match role.as_str() {
        "puppet" => crate::puppet::run(),
        "damage" => crate::damage::flip_bits(),
        _ => panic!("no role `{role}`"),
    }
}

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

/// Closes every descriptor from `first` on, as some daemons do.
pub fn close_from(first: u32) {
    // SAFETY: that is what some programs do; what owned the numbers must cope.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    assert_eq!(closed, 0, "{}", std::io::Error::last_os_error());
}
