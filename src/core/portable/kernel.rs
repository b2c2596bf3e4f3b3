//! What is asked of systems other than Linux: processes, descriptors, directories. Nothing here is about segments.
//!
//! # What cannot be known
//!
//! * Whether a process is stopped, how large page tables are: nobody knows.
//! * When a process started. So a pid that is in use again says nothing, and a pid that nobody has says that its process is
//!   gone: see "Who is alive" in [`crate::core::segment`].

use std::fs::Metadata;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

#[cfg_attr(not(unix), path = "windows.rs")]
mod unix;

pub use unix::{Flag, block_signals, make_private_directory, private_file, stranger};

/// Most words that are slept on at once.
pub const MOST_WORDS: usize = 128;

/// Which numbers the pids of this process are of. 0: not known. Where there are PID namespaces they have numbers; on macOS there
/// are none; elsewhere (jails) a pid that is not seen may be in use all the same.
pub fn pid_namespace() -> u64 {
    match std::env::consts::OS {
        "linux" | "android" => {
            let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
            let digits: String = link.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        }
        "macos" | "ios" => 1,
        _ => 0,
    }
}

/// What a participant writes where Linux's write when they started: a seal of its pid, so that a damaged pid is not believed.
pub fn started() -> u64 {
    seal(std::process::id())
}

fn seal(pid: u32) -> u64 {
    (u64::from(pid) ^ 0xcbf2_9ce4_8422_2325).wrapping_mul(0x100_0000_01b3) | 1
}

/// Whether there is no process of that pid: it ended, and was reaped. `false` proves nothing.
pub fn is_exiting(pid: u32, started: u64) -> bool {
    started == seal(pid) && unix::is_unused(pid)
}

/// Nobody knows.
pub fn is_stopped(_pid: u32, _started: u64) -> bool {
    false
}

/// The name of this program.
pub fn command() -> Option<String> {
    let program = std::env::current_exe().ok()?;
    Some(program.file_name()?.to_string_lossy().into_owned())
}

/// Nobody knows.
pub fn page_tables() -> u64 {
    0
}

/// Milliseconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Processors that this process may use.
pub fn processors() -> u64 {
    static ALLOWED: OnceLock<usize> = OnceLock::new();
    *ALLOWED.get_or_init(|| available_parallelism().map_or(1, NonZero::get)) as u64
}

/// Processors that nothing runs on at this moment: as many as there may be, because no call says so everywhere.
pub fn idle_processors() -> u64 {
    u64::MAX
}

/// The pid: how a child knows that a handle is its parent's.
#[derive(Debug)]
pub struct ForkGuard(u32);

impl ForkGuard {
    /// The guard of this process.
    pub fn new() -> Result<ForkGuard> {
        Ok(ForkGuard(std::process::id()))
    }

    /// `Err` in a child of the process that made it.
    pub fn check(&self) -> Result<()> {
        if std::process::id() == self.0 { Ok(()) } else { Err(Error::Forked(self.0)) }
    }
}

/// Where arenas are by default: on a tmpfs if there is one at the usual place, because the arena's small files are best lost
/// when its memory is, with the machine.
pub fn default_directory() -> PathBuf {
    let usual = Path::new("/dev/shm");
    if usual.is_dir() { usual.into() } else { std::env::temp_dir() }
}

/// Whether arenas can be named in a directory: in any that there is.
pub fn check_directory(dir: &Path) -> Result<()> {
    let found = std::fs::metadata(dir).map_err(|source| Error::Os { action: "look at", path: dir.into(), source })?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Error::NotAnArena { path: dir.into(), reason: "it is no directory".into() })
}

/// Free bytes and size of what memory comes from. Nobody knows: as much as there can be.
pub fn directory_room(dir: &Path) -> Result<(u64, u64)> {
    check_directory(dir)?;
    Ok((u64::MAX, u64::MAX))
}

/// Bytes of a file: as a rule of an arena's name.
pub fn bytes_of(file: &Metadata) -> u64 {
    file.len()
}

/// Wakes a thread of this process that sleeps on bells.
#[derive(Debug, Default)]
pub struct Doorbell {
    state: Mutex<Door>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct Door {
    rung: u32,
    /// Wakes a thread that sleeps on bells too.
    sleeper: Option<Waker>,
}

impl Doorbell {
    fn state(&self) -> MutexGuard<'_, Door> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it says now. A sleep that expects this ends when it is rung after that.
    pub fn now(&self) -> u32 {
        self.state().rung
    }

    /// Ends the sleep of a thread, or its next.
    pub fn ring(&self) {
        let sleeper = {
            let mut state = self.state();
            state.rung = state.rung.wrapping_add(1);
            state.sleeper.take()
        };
        self.told.notify_all();
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }

    /// Sleeps until it is rung, `limit` at most.
    pub fn wait(&self, expected: u32, limit: Duration) {
        let state = self.state();
        let waited = self.told.wait_timeout_while(state, limit, |state| state.rung == expected);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Has it wake who sleeps on bells when it is rung next. `false`: it was rung since it was `expected`.
    pub fn wake_too(&self, expected: u32, sleeper: Waker) -> bool {
        let mut state = self.state();
        state.sleeper = Some(sleeper);
        state.rung == expected
    }
}
