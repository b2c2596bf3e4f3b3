//! Shows nothing by itself: arenas that clean up after themselves, and real processes to kill.
//!
//! A child is this test binary again, running `role` of `roles.rs` alone. A **puppet** is a child that
//! does what it is told, line by line, and answers each line; see `puppet.rs` for what it understands.
//! Children die with the test that started them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use faretra::{Arena, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every wait ends by then.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Whether the back-end under test is that of other systems than Linux.
pub const PORTABLE: bool = cfg!(all(feature = "portable", not(feature = "proof")));

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
        loop {
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let dir = PathBuf::from(format!("/dev/shm/faretra-test-{}-{n}", std::process::id()));
            match std::fs::create_dir(&dir) {
                Ok(()) => return Dir(dir),
                // Left by a test that was killed, whose number this process has now.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => panic!("a directory: {e}"),
            }
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // The memory of an arena of the portable back-end lies elsewhere, and is not removed with its name's file.
        if PORTABLE {
            let here = Arena::options().dir(&self.0);
            here.list().into_iter().flatten().for_each(|arena| drop(here.remove(&arena.name)));
        }
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

/// What a child is to do.
pub const ROLE: &str = "FARETRA_TEST_ROLE";
/// Whose child it is.
pub const PARENT: &str = "FARETRA_TEST_PARENT";
/// Tells our lines from those of the test harness, which come on the same pipe.
pub const MARK: &str = "@@";

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
            .args(["--exact", "roles::role", "--ignored", "--nocapture", "--test-threads=1"])
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
            let calls = [libc::SYS_futex, libc::SYS_futex_waitv].map(|call| call.to_string());
            call.is_ok_and(|call| call.split(' ').next().is_some_and(|call| calls.iter().any(|known| known == call)))
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

    /// Kills it if it is there still, so that [`Child::wait`] tells how it ended.
    pub fn kill_if_it_lives(&mut self) {
        // A process that has just ended is given the time to be seen ended.
        std::thread::sleep(Duration::from_millis(50));
        if let Ok(None) = self.process.try_wait() {
            let _ = self.process.kill();
        }
    }

    /// Kills it and leaves it a zombie. One whose first thread is a zombie may have others that are still to let go of its
    /// memory and files.
    pub fn kill_unreaped(&self) {
        self.signal(Signal::SIGKILL);
        let threads = || std::fs::read_dir(format!("/proc/{}/task", self.process.id())).map_or(0, Iterator::count);
        until("a zombie", || (self.state() == Some('Z') && threads() == 1).then_some(()));
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
