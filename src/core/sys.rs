//! What the protocols ask of the system, and who may interrupt their waits.
//!
//! The protocols reach the system through [`Sys`], so that tests can kill at each call, make memory
//! run out, or let a model decide who is dead. In production the answers come from [`crate::core::kernel`] and
//! [`crate::core::segment`], of which there are two each: for Linux, and in `portable/` for every other system. Which of them
//! is compiled is decided in `core/mod.rs`, and nowhere else.
#![allow(unsafe_code, reason = "reads a pointer that is set once and never freed")]

use std::cell::Cell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

pub use crate::core::answers::{Access, Full, Slept, Trust};
use crate::core::kernel;
pub use crate::core::kernel::Doorbell;
use crate::core::word::Owner;
use crate::error::Result;

/// What protocols ask of the kernel.
pub trait Sys: Sized {
    /// Puts the pages of a range in memory, so that touching them cannot fail. New ones are zero.
    fn commit(&self, off: u64, len: u64) -> Result<(), Full>;
    /// Gives the pages of a range back. `false`: they may still be there.
    fn punch(&self, off: u64, len: u64) -> bool;
    /// Bytes that the segment has in memory, by the kernel's count.
    fn in_memory(&self) -> u64;
    /// Whether that is a count of the pages that were committed. On a tmpfs of huge pages it counts those.
    fn counts_pages(&self) -> bool {
        true
    }
    /// Free bytes and size of the file system.
    fn room(&self) -> (u64, u64);
    /// How long the file is, if the system says: a page that another program has cut off cannot be touched.
    fn size(&self) -> Option<u64> {
        None
    }
    /// Takes this process's lock on `owner`'s byte. `false`: somebody has it.
    fn lock(&self, owner: Owner) -> bool;
    /// Gives that lock back.
    fn unlock(&self, owner: Owner);
    /// Whether it is proved that no instruction in `owner`'s name can run any more.
    fn is_gone(&self, owner: Owner, process: Process) -> bool;
    /// Sleeps while the low half of the word at `off` is `expected`, `limit` at most.
    fn sleep(&self, off: u64, expected: u32, limit: Duration) -> Slept;
    /// Sleeps while all these words are as expected, each of its own segment: the low halves of words at offsets. Until
    /// `door` is rung, too, and `limit` at most. May end earlier.
    fn sleep_any(words: &[(&Self, u64, u32)], door: Option<(&Doorbell, u32)>, limit: Duration) -> Slept;
    /// Asks whoever may interrupt waits of this process whether this one ends now.
    fn is_interrupted(&self) -> bool {
        false
    }
    /// Wakes all who sleep on the word at `off`.
    fn wake(&self, off: u64);
    /// How often a waiter looks again before it sleeps: a sleep and a wake-up cost a few microseconds.
    fn spins(&self) -> u32 {
        0
    }
    /// Says how that went: after so many looks it had what it waited for; `None`: it had not, and sleeps.
    fn spun(&self, _looks: Option<u32>) {}
    /// The word at `off`, or 0 where the file has a hole: for looks at payloads that nobody keeps in place
    /// meanwhile. (Loading from a hole through a mapping would put a page there.)
    fn peek(&self, off: u64) -> u64;
    /// Whether the segment's name still is this segment's. An error says neither.
    fn has_name(&self) -> Result<bool>;
    /// Takes the segment's name away, if it still is this segment's. After an error it is as it was.
    fn unlink(&self) -> Result<()>;
    /// Is told of what only damage brings about, and what the code makes good or reports. A model, where nothing damages
    /// words, takes it for a bug.
    fn met_damage(&self, _what: &str) {}
    /// Lets a millisecond pass, for those who wait for what no bell tells of.
    fn pause(&self);
    /// Milliseconds since the Unix epoch, as of the kernel's last tick: a few of them late, and cheap.
    fn now(&self) -> u64 {
        kernel::now()
    }
}

/// A process as its own PID namespace knows it. Diagnostic, and the subject of the fast proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Which numbers `pid` is one of: on Linux the inode of the PID namespace.
    pub namespace: u64,
    /// Tells reused pids apart: on Linux when it started, in clock ticks since boot.
    pub started: u64,
}

impl Process {
    /// The process that runs this.
    pub fn current() -> Process {
        Process { pid: std::process::id(), namespace: kernel::pid_namespace(), started: kernel::started() }
    }

    /// Whether it has numbers.
    fn is_known(&self) -> bool {
        self.pid != 0 && self.started != 0 && self.namespace != 0
    }

    /// Whether its numbers mean anything to this process.
    fn visible(&self) -> bool {
        self.is_known() && self.namespace == kernel::pid_namespace()
    }

    /// The fast proof: no thread of it can run user code again. `false` proves nothing.
    pub fn is_exiting(&self) -> bool {
        // Nearly everybody lives: whose numbers those are is asked last, and then only.
        self.is_known() && kernel::is_exiting(self.pid, self.started) && self.visible()
    }

    /// Whether it is stopped by a signal or a debugger, as far as this process can see.
    pub fn is_stopped(&self) -> bool {
        self.visible() && kernel::is_stopped(self.pid, self.started)
    }

    /// The command name of this process.
    pub fn command() -> Option<String> {
        kernel::command()
    }

    /// Bytes of page tables of this process: what mappings cost beyond the memory itself.
    pub fn page_tables() -> u64 {
        kernel::page_tables()
    }
}

type InterruptHook = Box<dyn Fn() -> ControlFlow<()> + Send + Sync>;

/// What [`set_interrupt_hook`] set; null: nothing. A hook is never freed, because a wait may be running it; so a forked
/// child, and a thread that waits while another one sets a hook, need no lock.
static INTERRUPT_HOOK: AtomicPtr<InterruptHook> = AtomicPtr::new(std::ptr::null_mut());

thread_local! {
    /// Whether this thread runs the hook.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Sets the function that every wait of this process asks whether it should end, or removes it with `None`.
///
/// A wait calls the hook about every 90 ms, and at once when a signal handler has run in the thread that waits. If the hook
/// returns `ControlFlow::Break(())`, the wait ends with [`Error::Interrupted`], or with the variant of this name of
/// [`SendError`](crate::SendError), [`RecvError`](crate::RecvError) and their like, which give back what they were given.
/// What the wait was for is left as it was: no lock is taken, no item is lost, and the call can be made again. A call that
/// does not have to wait never asks the hook.
///
/// The hook runs in the thread that waits, which holds no lock of this crate meanwhile, so the hook may call this crate; a
/// wait of the hook's own does not ask it again. The hook can be set and removed at any time, from any thread; a wait that asks at that moment uses the one or the other. A process
/// has one hook. A forked child inherits it. The hook should be quick, and a panic in it ends the wait as `Break` does.
///
/// Each call of this function takes some bytes of memory for good: set the hook once, and let it look at a variable.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use faretra::{Error, sync::Reset};
///
/// static STOP: AtomicBool = AtomicBool::new(false);         // a handler of SIGINT sets it
///
/// faretra::set_interrupt_hook(Some(Box::new(|| match STOP.load(Ordering::Relaxed) {
///     true => ControlFlow::Break(()),
///     false => ControlFlow::Continue(()),
/// })));
/// # let name = format!("doc-interrupt-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let ready = arena.event("ready", Reset::Manual)?;
/// STOP.store(true, Ordering::Relaxed);
/// assert!(matches!(ready.wait(), Err(Error::Interrupted)));
/// faretra::set_interrupt_hook(None);
/// # Ok::<(), Error>(())
/// ```
///
/// [`Error::Interrupted`]: crate::Error::Interrupted
pub fn set_interrupt_hook(hook: Option<Box<dyn Fn() -> ControlFlow<()> + Send + Sync>>) {
    let hook = hook.map_or(std::ptr::null_mut(), |hook| Box::into_raw(Box::new(hook)));
    INTERRUPT_HOOK.store(hook, Ordering::Release);
}

/// Asks the interrupt hook, if there is one, whether a wait ends.
pub fn asks_to_interrupt() -> bool {
    let hook = INTERRUPT_HOOK.load(Ordering::Acquire);
    // SAFETY: null, or made by `Box::into_raw` of a box that is never freed and only ever shared; the acquire load sees what
    // was written before the pointer was stored.
    let Some(hook) = (unsafe { hook.as_ref() }) else { return false };
    // A wait of the hook's own does not ask it.
    if ASKING.replace(true) {
        return false;
    }
    // Half-done calls of this crate are not left by unwinding.
    let ends = catch_unwind(AssertUnwindSafe(hook)).map_or(true, |flow| flow.is_break());
    ASKING.set(false);
    ends
}
