//! SIGINT and SIGTERM: the first asks the verb to stop, and ends the process within 100 ms in any
//! case; the second ends it at once.
//!
//! The library's waits end when a signal came, loops ask [`check`], and a verb that hears of the signal in time ends in its own words. What
//! cannot ask (a decoder at work, a full pipe, a slow disk) is ended by a thread that waits for the
//! signal, gives the verb [`GRACE`], and then lets the signal take its default action: a process
//! may die at any instruction without harm to an arena. What a verb wants to have said also then,
//! it leaves ahead with [`last_words`]; a file that must not stay, with [`leftover`].
//!
//! SIGBUS comes when a page of a mapped file is gone: another program has cut off the file of an arena, or one that is read.
//! Nothing can be done about it where it happens, and the instruction is tried for ever; the same thread says what it is,
//! and ends the process.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal};
use signal_hook::consts::{SIGBUS, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, one_line};

/// How long a verb waits for something before it looks at other things.
pub const SLICE: Duration = Duration::from_millis(25);

/// How long a verb has to end by itself.
const GRACE: Duration = Duration::from_millis(50);

/// How long the removal of what must not stay may take, on a disk that hangs.
const REMOVAL: Duration = Duration::from_millis(10);

struct Flags {
    interrupt: Arc<AtomicBool>,
    terminate: Arc<AtomicBool>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

/// What is said when a signal ends this process.
static WORDS: Mutex<Option<String>> = Mutex::new(None);

/// What is said of a file that is gone.
const CUT: &str = "another program has cut off a file that is in use here (SIGBUS): the arena's, or one that is read; \
                   `faretra verify` tells whether it is the arena's";

/// Whether somebody says it already.
static SAID: AtomicBool = AtomicBool::new(false);

/// Files that are removed when a verb does not end by itself.
static LEFTOVERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Whether a signal came, for those who sleep.
static CAME: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// From now on signals are noted and end the library's waits, and the process has a moment before it ends.
pub fn install() -> io::Result<()> {
    faretra::set_interrupt_hook(Some(Box::new(|| match received() {
        Some(_) => ControlFlow::Break(()),
        None => ControlFlow::Continue(()),
    })));
    let flags = FLAGS.get_or_init(|| Flags {
        interrupt: Arc::new(AtomicBool::new(false)),
        terminate: Arc::new(AtomicBool::new(false)),
    });
    for (signal, flag) in [(SIGINT, &flags.interrupt), (SIGTERM, &flags.terminate)] {
        // The order counts: the first signal finds the flag down and only raises it, the second
        // finds it up and takes the default action.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    // A file beyond `ulimit -f` is an error of the write, and not the end of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    forget_std_handler();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGBUS])?;
    thread::Builder::new().name("signals".to_owned()).stack_size(128 << 10).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            if signal == SIGBUS {
                remove_leftovers();
                if !SAID.swap(true, Ordering::Relaxed) {
                    say(CUT);
                }
                signal_hook::low_level::exit(1);
            }
            *lock(&CAME.0) = true;
            CAME.1.notify_all();
            thread::sleep(GRACE);
            remove_leftovers();
            say_last_words();
            die_of(signal);
        }
    })?;
    Ok(())
}

/// The standard library has a handler of SIGBUS, for stacks that overflow on other systems. It is called before ours, and lets
/// the signal end the process at once.
#[allow(unsafe_code, reason = "the standard library's handler has to go, which no safe call does")]
fn forget_std_handler() {
    // SAFETY: the default action is no handler: nothing is called that would have to be safe in one.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGBUS, SigHandler::SigDfl) };
}

/// The signal that asked us to stop, if one did.
pub fn received() -> Option<i32> {
    let flags = FLAGS.get()?;
    if flags.interrupt.load(Ordering::Relaxed) {
        Some(SIGINT)
    } else if flags.terminate.load(Ordering::Relaxed) {
        Some(SIGTERM)
    } else {
        None
    }
}

/// Fails when a signal asked us to stop.
pub fn check() -> Result<(), Failure> {
    match received() {
        None => Ok(()),
        Some(_) => Err(Failure::new("interrupted")),
    }
}

/// Sleeps for `time`, or until a signal comes.
pub fn sleep(time: Duration) {
    // How it ended does not matter: callers look at what they wait for, and ask `check`.
    let _ = CAME.1.wait_timeout_while(lock(&CAME.0), time, |came| !*came);
}

/// Leaves ahead what is said if a signal ends this process, in place of what was left before.
pub fn last_words(text: impl Into<String>) {
    *lock(&WORDS) = Some(text.into());
}

/// A file that is removed when a signal ends the process, for as long as this value lives.
pub struct Leftover(PathBuf);

/// Notes a file that must not stay if a signal ends this process before the value is dropped.
pub fn leftover(path: &Path) -> Leftover {
    lock(&LEFTOVERS).push(path.to_owned());
    Leftover(path.to_owned())
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let mut leftovers = lock(&LEFTOVERS);
        if let Some(at) = leftovers.iter().position(|path| *path == self.0) {
            leftovers.swap_remove(at);
        }
    }
}

/// Says on standard error that a signal ends this process, once, whoever asks.
pub fn say_last_words() {
    if SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    let words = lock(&WORDS).take();
    let words = words.as_deref().unwrap_or("nothing was left half done");
    say(&format!("interrupted; {}", one_line(words)));
}

/// One line on standard error, if somebody reads that.
fn say(words: &str) {
    let line = format!("faretra: {words}\n");
    // Not through `eprintln!`: whoever is stuck in a full pipe holds its lock.
    let stderr = io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if matches!(poll(&mut ready, PollTimeout::from(5u8)), Ok(1)) {
        // There is nobody to tell about a failure of this.
        let _ = nix::unistd::write(stderr.as_fd(), line.as_bytes());
    }
}

/// Ends this process as the signal would have, after everything was cleaned up.
pub fn die_of(signal: i32) -> ! {
    // Only fails for signals without a default action; then the shell's code for it will do.
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    std::process::exit(128 + signal)
}

fn remove_leftovers() {
    let leftovers = std::mem::take(&mut *lock(&LEFTOVERS));
    if leftovers.is_empty() {
        return;
    }
    let (done, wait) = channel::<()>();
    let removal = thread::Builder::new().spawn(move || {
        for path in leftovers {
            // One that is gone is as it should be; nothing can be done about the others.
            let _ = std::fs::remove_file(path);
        }
        drop(done);
    });
    if removal.is_ok() {
        // Ends when the thread has dropped its end.
        let _ = wait.recv_timeout(REMOVAL);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
