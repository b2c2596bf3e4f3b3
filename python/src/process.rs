//! What this process takes part in: what becomes of it when it forks, and when it exits.
//!
//! # Forks: what a child inherits stays as it was
//!
//! A forked child has its parent's views: arrays, bytes, private maps. They lie in the arena's memory, and what keeps that
//! memory are pins of the parent. So a process that forks keeps what it had pinned by then until the child has ended, whether or
//! not it drops it itself.
//!
//! * R1: what is kept for a child is kept from before the fork on, so that no moment is without a pin.
//! * R2: the child has the writing end of a pipe for as long as it lives, and so have the children that it forks. The reading
//!   end says when the last of them is gone. Nobody writes.
//! * R3: when this process ends before its child, the pins go, and what the child has may change.
//!
//! The parent looks when it next forks, puts, receives a parcel, or opens or closes an arena: nothing runs in the background.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use faretra::{Error, Pins, WeakArena};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pyo3::prelude::*;

use crate::error::{Failure, run_plain, wait};
use crate::memory;

/// What this process takes part in. Touched by who has the interpreter only, so that `fork` finds it unlocked.
static OPEN: Mutex<Vec<WeakArena>> = Mutex::new(Vec::new());

/// Counts an arena among them.
pub fn remember(arena: &faretra::Arena) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    // The last that is asked is dropped here, where nothing else is kept.
    open.retain(|weak| weak.upgrade().is_some());
    open.push(arena.downgrade());
}

/// When the interpreter exits: takes the names of ephemeral arenas away that no other process has open. What Python still has
/// of them keeps their memory until the process ends, and then nothing is left in the file system.
#[pyfunction]
pub fn _at_exit(py: Python<'_>) {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for arena in open.iter().filter_map(WeakArena::upgrade) {
        // Nobody can be told of an error any more; whoever opens or lists the arena next prunes it.
        let _: PyResult<bool> = wait(py, || arena.end_if_alone());
    }
}

/// Pins everything once more that this process has pinned.
fn pin_again(py: Python<'_>) -> PyResult<Vec<Pins>> {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut all = vec![];
    for arena in open.iter().filter_map(WeakArena::upgrade) {
        match run_plain(py, || arena.pin_again())? {
            Ok(pins) if pins.is_empty() => {}
            Ok(pins) => all.push(pins),
            // It came through a fork itself.
            Err(Error::Forked(_)) => {}
            Err(error) => return Err(Failure::from(error).raise(py)),
        }
    }
    Ok(all)
}

/// A fork that is under way.
struct Fork {
    thread: ThreadId,
    reading: PipeReader,
    writing: PipeWriter,
    pins: Vec<Pins>,
}

/// What is kept for children. Touched by who has the interpreter only, so that `fork` finds it unlocked.
struct Kept {
    under_way: Vec<Fork>,
    children: Vec<(PipeReader, Vec<Pins>)>,
    /// What nobody can tell when to drop: there were no descriptors left.
    for_ever: Vec<Vec<Pins>>,
    /// The writing ends that this process inherited. Never closed.
    mine: Vec<PipeWriter>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { under_way: vec![], children: vec![], for_ever: vec![], mine: vec![] });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops what was kept for children that have ended.
pub fn let_go() {
    let mut kept = kept();
    if kept.children.is_empty() {
        return;
    }
    let mut ends: Vec<_> = kept.children.iter().map(|(end, _)| PollFd::new(end.as_fd(), PollFlags::empty())).collect();
    // Children whose ends cannot be asked about are asked about next time.
    if poll(&mut ends, PollTimeout::ZERO).is_err() {
        return;
    }
    let mut gone = ends.iter().map(|end| end.any() != Some(false)).collect::<Vec<_>>().into_iter();
    let dropped: Vec<_> = kept.children.extract_if(.., |_| gone.next() == Some(true)).collect();
    // Closing an arena asks, too.
    drop(kept);
    drop(dropped);
}

/// Before `fork`.
#[pyfunction]
pub fn _before_fork(py: Python<'_>) -> PyResult<()> {
    let_go();
    let pins = pin_again(py);
    memory::before_fork();
    let pins = pins?;
    if pins.is_empty() {
        return Ok(());
    }
    let mut kept = kept();
    match std::io::pipe() {
        Ok((reading, writing)) => {
            let thread = std::thread::current().id();
            kept.under_way.push(Fork { thread, reading, writing, pins });
        }
        Err(_) => kept.for_ever.push(pins),
    }
    Ok(())
}

/// The fork of this thread that is under way.
fn this_fork(kept: &mut Kept) -> Option<Fork> {
    let thread = std::thread::current().id();
    let at = kept.under_way.iter().position(|fork| fork.thread == thread)?;
    Some(kept.under_way.swap_remove(at))
}

/// After `fork`, in the parent.
#[pyfunction]
pub fn _after_fork_in_parent() {
    memory::after_fork_in_parent();
    let mut kept = kept();
    if let Some(Fork { reading, writing, pins, .. }) = this_fork(&mut kept) {
        drop(writing);
        kept.children.push((reading, pins));
    }
}

/// After `fork`, in the child.
#[pyfunction]
pub fn _after_fork_in_child() {
    memory::after_fork_in_child();
    let mut kept = kept();
    if let Some(fork) = this_fork(&mut kept) {
        kept.mine.push(fork.writing);
    }
    // The pins are the parent's, and nothing is done when they are dropped here. With them go the pipes of its other children,
    // and those of forks that its other threads had under way.
    let inherited =
        (std::mem::take(&mut kept.under_way), std::mem::take(&mut kept.children), std::mem::take(&mut kept.for_ever));
    drop(kept);
    drop(inherited);
}
