//! Descriptors for `poll(2)`.

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;

use crate::arena::Arena;
use crate::channel::{Receiver, Sender};
use crate::core::bells::Awaited;
use crate::core::kernel::Flag;
use crate::error::Result;
use crate::feed::{Feed, Subscriber};
use crate::ready::source::{Source, What};
use crate::ready::watcher::{Tell, Watch, watch};
use crate::sync::{Event, Mutex as SharedMutex, Semaphore};

/// A file descriptor that becomes readable when something is ready.
///
/// The descriptor stays readable until [`Pollable::rearm`], and nothing is watched meanwhile. So a program does this: it
/// polls the descriptor; once that is readable, it calls `try_` forms until one finds nothing; it calls [`Pollable::rearm`],
/// and polls again if that returned `false`. The descriptor is a hint: a `try_` form may find nothing, because
/// another process was faster. It can be polled with level and with edge triggers alike. Nobody but `rearm` needs to read it.
///
/// A `Pollable` keeps a handle to what it was made of: an end of a channel is not left before the `Pollable` is dropped.
/// The descriptor is closed on `exec`. In a forked child, [`Pollable::rearm`] fails with [`Error::Forked`](crate::Error::Forked).
///
/// ```
/// # use faretra::{Arena, MIB, RecvError};
/// # let name = format!("doc-pollable-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
/// use std::os::fd::AsFd;
///
/// let sender = arena.writer()?.sender("jobs", 8)?;
/// let receiver = arena.receiver("jobs")?;
/// let pollable = receiver.pollable()?;
/// sender.send("a job")?;
/// assert_eq!(poll(&mut [PollFd::new(pollable.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?, 1);
/// receiver.try_recv()?.ack();
/// assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
/// assert!(!pollable.rearm()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pollable {
    flag: Arc<Flag>,
    source: Source,
    watch: Mutex<Option<Watch>>,
}

impl Pollable {
    fn new(source: Source) -> Result<Pollable> {
        source.core()?;
        let pollable = Pollable { flag: Arc::new(Flag::new()?), source, watch: Mutex::default() };
        pollable.rearm()?;
        Ok(pollable)
    }

    /// Makes the descriptor unreadable until what it stands for is ready. Returns whether that is ready now: then the
    /// descriptor is readable already, and one more `try_` form is worth it.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`](crate::Error::Forked); [`Error::Os`](crate::Error::Os) if the thread that watches cannot be started.
    pub fn rearm(&self) -> Result<bool> {
        self.source.core()?;
        let mut slot = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // First, so that the thread does not tell of what was before.
        *slot = None;
        self.flag.lower();
        if self.source.is_ready() {
            self.flag.raise();
            return Ok(true);
        }
        *slot = Some(watch(self.source.clone(), Tell::Flag(self.flag.clone()))?);
        Ok(false)
    }

    /// Returns whether what the descriptor stands for is ready now. Leaves the descriptor as it is.
    pub fn is_ready(&self) -> Result<bool> {
        self.source.core()?;
        Ok(self.source.is_ready())
    }
}

#[cfg(unix)]
impl AsFd for Pollable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.flag.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Pollable {
    fn as_raw_fd(&self) -> RawFd {
        self.flag.as_fd().as_raw_fd()
    }
}

impl Receiver {
    /// Returns a descriptor that is readable when there is an item to receive, or when none comes any more.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::receive(self))
    }

    /// Returns whether there is an item to receive, or none comes any more: whether [`Receiver::recv`] would not wait. Items that
    /// came back from a receiver count.
    pub fn is_ready(&self) -> Result<bool> {
        let source = Source::receive(self);
        source.core()?;
        Ok(source.is_ready())
    }
}

impl Sender {
    /// Returns a descriptor that is readable when the channel has room, is closed or has lost its last receiver.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::new(What::Send(self.port.clone(), self.deserted)))
    }
}

impl Subscriber {
    /// Returns a descriptor that is readable when there is an item at the subscriber's position, or when none comes any
    /// more.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::read(self))
    }
}

impl Feed {
    /// Returns a descriptor that is readable when an append would not have to wait for a subscriber.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::append(self))
    }
}

impl Event {
    /// Returns a descriptor that is readable when the event is set.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::new(What::Event(self.clone())))
    }
}

impl<T: Pod> SharedMutex<T> {
    /// Returns a descriptor that is readable when the mutex is free.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::new(What::Lock(self.handle.clone(), self.slots.leases)))
    }
}

impl Semaphore {
    /// Returns a descriptor that is readable when a permit is free.
    pub fn pollable(&self) -> Result<Pollable> {
        Pollable::new(Source::new(What::Acquire(self.handle.clone(), self.leases)))
    }
}

impl Arena {
    /// Returns a descriptor that is readable when there is an object of this name whose version is above `newer_than`.
    /// Fails with [`Error::Invalid`](crate::Error::Invalid) or [`Error::TooLarge`](crate::Error::TooLarge) for what is no name.
    pub fn pollable(&self, name: &str, newer_than: u64) -> Result<Pollable> {
        Pollable::new(Source::name(self, name, newer_than)?)
    }
}
