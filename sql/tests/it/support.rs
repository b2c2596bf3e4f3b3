//! A directory of arenas for one test, and the command run in it under a deadline.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use faretra::{Arena, MIB};
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
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

impl Lab {
    pub fn new() -> Lab {
        Lab { dir: tempfile::Builder::new().prefix("faretra-sql-test-").tempdir_in("/dev/shm").unwrap() }
    }

    /// A new arena in the directory.
    pub fn arena(&self, name: &str) -> Arena {
        Arena::options().dir(self.dir.path()).limit(64 * MIB).create(name).unwrap()
    }

    pub fn remove(&self, arena: &str) {
        Arena::options().dir(self.dir.path()).remove(arena).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faretra-sql"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("FARETRA_DIR", self.dir.path())
            .env("XDG_STATE_HOME", self.dir.path())
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run<const N: usize>(&self, args: [&str; N]) -> Outcome {
        finish(self.command(args).spawn().unwrap())
    }

    /// Runs it with a text on its standard input.
    pub fn run_with<const N: usize>(&self, args: [&str; N], input: &str) -> Outcome {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        finish(child)
    }

    /// Runs it, expects success and nothing on standard error, gives its standard output.
    pub fn ok<const N: usize>(&self, args: [&str; N]) -> String {
        let outcome = self.run(args);
        assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
        outcome.text().to_owned()
    }

    /// Runs it, expects this exit code and one line that says why, gives that line.
    pub fn fails<const N: usize>(&self, code: i32, args: [&str; N]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.status.code(), Some(code), "{outcome:?}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert!(matches!(lines.as_slice(), [line] if line.starts_with("faretra: ")), "{outcome:?}");
        lines[0].to_owned()
    }
}

/// Rows of flights.
pub fn flights() -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let port: ArrayRef = Arc::new(StringArray::from(vec!["LIS", "OPO", "LIS"]));
    let delay: ArrayRef = Arc::new(Float64Array::from(vec![Some(4.5), None, Some(8.0)]));
    RecordBatch::try_from_iter_with_nullable([("id", id, false), ("port", port, false), ("delay", delay, true)])
        .unwrap()
}

/// Reads all that it prints and waits for its end.
pub fn finish(mut child: Child) -> Outcome {
    fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        })
    }
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let status = wait(&mut child);
    let stderr = String::from_utf8_lossy(&stderr.join().unwrap()).into_owned();
    Outcome { status, stdout: stdout.join().unwrap(), stderr }
}

/// Waits for its end; kills it and fails at the deadline.
pub fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the command runs for more than {DEADLINE:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends SIGINT, as Ctrl-C does.
pub fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}
