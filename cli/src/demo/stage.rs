//! The demo's arena and processes. However the demo ends, they end with it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use faretra::Arena;
use serde_json::Value;

use super::data::PATIENCE;
use crate::args::{Cli, Role};
use crate::failure::{Failure, Result, one_line};
use crate::{open, signal};

/// The arena and what its processes need to know.
pub struct Stage<'a> {
    cli: &'a Cli,
    /// Starts the command.
    again: &'a [OsString],
    name: String,
    arena: Arena,
    rows: u64,
    batches: u64,
    /// A signal may leave no time to drop this.
    _leftover: signal::Leftover,
}

impl<'a> Stage<'a> {
    /// An arena of this demo's own, which goes with its last participant.
    pub fn new(cli: &'a Cli, again: &'a [OsString], limit: u64, rows: u64, batches: u64) -> Result<Stage<'a>> {
        let name = format!("demo-{}", std::process::id());
        let options = open::options(cli).keep(false).limit(limit);
        let arena = options.create(&name)?;
        let _leftover = signal::leftover(arena.path());
        Ok(Stage { cli, again, name, arena, rows, batches, _leftover })
    }

    /// The arena.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Its file.
    pub fn path(&self) -> PathBuf {
        self.arena.path().to_owned()
    }

    /// Starts a process that gets orders and reports.
    pub fn start(&self, role: Role) -> Result<Child> {
        self.spawn(role, Stdio::piped(), Stdio::piped())
    }

    /// Starts two processes with a pipe from the first to the second.
    pub fn start_pipe(&self) -> Result<(Child, Child)> {
        let (reader, writer) = std::io::pipe()?;
        let from = self.spawn(Role::PipeOut, Stdio::piped(), writer.into())?;
        let to = self.spawn(Role::PipeIn, reader.into(), Stdio::piped())?;
        Ok((from, to))
    }

    fn spawn(&self, role: Role, stdin: Stdio, stdout: Stdio) -> Result<Child> {
        let name = role.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        let Some((program, first)) = self.again.split_first() else {
            return Err(Failure::new("cannot find the program that runs: is /proc mounted?"));
        };
        let mut command = Command::new(program);
        command.args(first);
        if let Some(dir) = &self.cli.dir {
            command.arg("--dir").arg(dir);
        }
        command
            .args(["demo-part", name.as_str(), self.name.as_str()])
            .arg(self.rows.to_string())
            .arg(self.batches.to_string())
            .arg(std::process::id().to_string())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Failure::new(format!("cannot start the {name} process: {error}")))?;
        let (sender, reports) = channel();
        if let Some(stdout) = child.stdout.take() {
            // Ends with the process: its standard output closes.
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { break };
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Child { orders: child.stdin.take(), child, name, reports })
    }

    /// How much the arena says that a process holds; none if it does not know the process.
    pub fn pins_of(&self, pid: u32) -> Result<Option<u64>> {
        let holders = self.arena.who()?;
        let holder = holders.iter().find(|holder| holder.pid == pid);
        Ok(holder.map(|holder| holder.pins))
    }

    /// Removes the arena and says how many files of it are left.
    pub fn clear(self) -> Result<u64> {
        let path = self.path();
        drop(self);
        Ok(u64::from(path.symlink_metadata().is_ok()))
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // Not there is what we want; nothing else can be done about a failure here.
        let _ = open::options(self.cli).remove(&self.name);
    }
}

/// A process of the demo; killed when dropped.
pub struct Child {
    child: std::process::Child,
    name: String,
    orders: Option<ChildStdin>,
    reports: Receiver<String>,
}

impl Child {
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it what to do.
    pub fn order(&mut self, order: &str) -> Result<()> {
        let written = match &mut self.orders {
            Some(orders) => writeln!(orders, "{order}"),
            None => return Err(Failure::new(format!("the {} takes no orders", self.name))),
        };
        match written {
            Ok(()) => Ok(()),
            Err(_) => Err(self.failure()),
        }
    }

    /// Its next report.
    pub fn next(&mut self) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            signal::check()?;
            match self.reports.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    return serde_json::from_str(&line)
                        .map_err(|_| Failure::new(format!("the {} process says `{line}`", self.name)));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.failure()),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Failure::new(format!("the {} process did not answer in {PATIENCE:?}", self.name)));
                }
            }
        }
    }

    /// Lets it end and sees that it ends well.
    pub fn end(mut self) -> Result<()> {
        drop(self.orders.take());
        let deadline = Instant::now() + PATIENCE;
        loop {
            signal::check()?;
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.failure()),
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                None => {
                    return Err(Failure::new(format!("the {} process does not end", self.name)));
                }
            }
        }
    }

    /// Kills it with SIGKILL, and gives its process id when it is dead.
    pub fn kill(mut self) -> Result<u32> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.id())
    }

    /// Why it ended although it should not have.
    fn failure(&mut self) -> Failure {
        // It is ending, or it would not have closed its end.
        let _ = self.child.kill();
        let status = match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            let mut stderr = File::from(std::os::fd::OwnedFd::from(stderr));
            // What it said, if it said anything; the status is told in any case.
            let _ = stderr.read_to_string(&mut said);
        }
        let said = one_line(said.trim_start_matches("faretra: "));
        let reason = if said.is_empty() { status } else { said };
        Failure::new(format!("the demo's {} process failed: {reason}", self.name))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Dead already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number in a report.
pub fn number(report: &Value, key: &str) -> Result<u64> {
    report
        .get(key)
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::new(format!("a demo process reported no `{key}`: {report}")))
}

/// A text in a report.
pub fn text(report: &Value, key: &str) -> Result<String> {
    match report.get(key).and_then(Value::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::new(format!("a demo process reported no `{key}`: {report}"))),
    }
}
