//! A directory of arenas for one test, and the command run in it under a deadline.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// No command takes that long, on any machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A fresh directory on a tmpfs; everything in it goes with it.
pub struct Lab {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Lab {
    pub fn new() -> Lab {
        let dir = tempfile::Builder::new().prefix("faretra-cli-test-").tempdir_in("/dev/shm").unwrap();
        Lab { dir }
    }

    /// With an arena `a`.
    pub fn with_arena() -> Lab {
        let lab = Lab::new();
        lab.ok(["create", "a", "--limit", "256MiB"]);
        lab
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of a file here, as an argument.
    pub fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.file(name)
    }

    pub fn command<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faretra"));
        command
            .args(args)
            .env("FARETRA_DIR", self.dir.path())
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Outcome {
        finish(self.command(args).spawn().unwrap())
    }

    /// Runs it with bytes on its standard input.
    pub fn run_with<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I, input: &[u8]) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // It may stop reading when it does not like what it reads.
            scope.spawn(move || drop(stdin.write_all(input)));
            finish(child)
        })
    }

    /// Runs it, expects success, gives its standard output.
    pub fn ok<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
        outcome.stdout
    }

    /// Runs it with --json, expects success and one JSON document.
    pub fn json<const N: usize>(&self, args: [&str; N]) -> Value {
        let text = self.ok(args.into_iter().chain(["--json"]));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs it, expects this exit code and one line that says why, gives that line.
    pub fn fails<I: IntoIterator<Item: AsRef<OsStr>>>(&self, code: i32, args: I) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.status.code(), Some(code), "{outcome:?}");
        assert!(outcome.stderr.starts_with("faretra: "), "{outcome:?}");
        let last = outcome.stderr.lines().last().unwrap().to_owned();
        assert!(last.starts_with("faretra: "), "{outcome:?}");
        last
    }

    /// Names of the files in the directory.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

/// Reads all that it prints and waits for its end.
pub fn finish(mut child: Child) -> Outcome {
    let read = |pipe: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let status = wait(&mut child);
    Outcome {
        status,
        stdout: String::from_utf8_lossy(&stdout.join().unwrap()).into_owned(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap()).into_owned(),
    }
}

/// Waits for its end; kills it and fails at the deadline.
pub fn wait(child: &mut Child) -> ExitStatus {
    until("the command ends", || child.try_wait().unwrap())
}

/// Waits until something is there; fails at the deadline.
pub fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = there() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Reads standard error until a line says this.
pub fn hear(stderr: &mut BufReader<ChildStderr>, what: &str) -> String {
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended without saying {what}");
    }
    line
}

/// Its standard error, read by the caller.
pub fn ears(child: &mut Child) -> BufReader<ChildStderr> {
    BufReader::new(child.stderr.take().unwrap())
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, signal).unwrap();
}

impl Outcome {
    /// The signal that it died of.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}
