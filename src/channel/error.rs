//! Why something was not sent, received or forwarded.

use crate::channel::Lease;
use crate::error::Error;
use crate::input::Value;
use crate::port::{Ended, NotBuilt};

const FULL: &str = "the channel is full";
const STAYED_FULL: &str = "the channel stayed full";
const CLOSED: &str = "the channel is closed";
const NO_RECEIVER: &str = "the last receiver left or died";
const INTERRUPTED: &str = "the wait was interrupted";

/// Why a channel did not take a value.
///
/// Each variant but [`SendError::Failed`] gives the value back. A value that was copied into the arena before the send
/// failed comes back as a draft, so that sending it again copies nothing. An error whose value is owned
/// (`SendError<'static>`) can be sent to other threads and boxed. Where nobody wants the value back, `?` makes an
/// [`Error`] of a `SendError`.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::SendError;
/// # let name = format!("doc-send-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let jobs = arena.writer()?.sender("jobs", 1)?;
/// jobs.send("first")?;
///
/// let Err(SendError::Full(value)) = jobs.try_send("second") else { panic!("there is room for one") };
/// arena.receiver("jobs")?.recv()?.ack();
/// jobs.send(value)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<'a> {
    /// The channel is full, and [`Sender::try_send`](crate::Sender::try_send) does not wait.
    #[error("{FULL}")]
    Full(Value<'a>),
    /// The channel is closed (`clean`), or it or the arena is full and the last receiver, who could make room, left.
    #[error("{}", if *.clean { CLOSED } else { NO_RECEIVER })]
    Closed {
        /// The value that was not sent.
        value: Value<'a>,
        /// `true`: somebody called [`Sender::close`](crate::Sender::close), and nothing can be sent any more. `false`:
        /// the last receiver left or died, and sending goes on when another one comes.
        clean: bool,
    },
    /// The channel stayed full until the timeout.
    #[error("{STAYED_FULL}")]
    TimedOut(Value<'a>),
    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook).
    #[error("{INTERRUPTED}")]
    Interrupted(Value<'a>),
    /// The arena has no room for a copy of the value, or had none until the timeout.
    #[error("{error}")]
    NoSpace {
        /// The value that was not sent.
        value: Value<'a>,
        /// An [`Error::NoSpace`].
        error: Box<Error>,
    },
    /// Anything else that can go wrong: an [`Error::Mismatch`] for a batch of another schema, an [`Error::TooLarge`] for a
    /// value that no limit makes room for. The value is dropped.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Keeps the reason and drops the value.
impl From<SendError<'_>> for Error {
    fn from(e: SendError<'_>) -> Error {
        Error::NotSent(match e {
            SendError::Failed(e) => return e,
            SendError::NoSpace { error, .. } => return *error,
            SendError::Interrupted(_) => return Error::Interrupted,
            SendError::Full(_) => FULL,
            SendError::TimedOut(_) => STAYED_FULL,
            SendError::Closed { clean: true, .. } => CLOSED,
            SendError::Closed { clean: false, .. } => NO_RECEIVER,
        })
    }
}

impl<'a> SendError<'a> {
    pub(crate) fn not_built(not_built: NotBuilt<'a>) -> SendError<'a> {
        match not_built {
            NotBuilt::NoSpace { value, error, ended: None } => SendError::NoSpace { value, error },
            NotBuilt::NoSpace { value, ended: Some(ended), .. } => SendError::closed(value, ended),
            NotBuilt::Interrupted(value) => SendError::Interrupted(value),
            NotBuilt::Failed(error) => SendError::Failed(error),
        }
    }

    pub(crate) fn closed(value: Value<'a>, ended: Ended) -> SendError<'a> {
        SendError::Closed { value, clean: ended.is_clean() }
    }

    /// Returns the value that was not sent, or `None` for [`SendError::Failed`], which dropped the value.
    pub fn into_value(self) -> Option<Value<'a>> {
        match self {
            SendError::Full(value) | SendError::TimedOut(value) | SendError::Interrupted(value) => Some(value),
            SendError::Closed { value, .. } | SendError::NoSpace { value, .. } => Some(value),
            SendError::Failed(_) => None,
        }
    }
}

/// Why nothing was received from a channel.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::RecvError;
/// # let name = format!("doc-recv-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let jobs = arena.writer()?.sender("jobs", 1)?;
/// let receiver = arena.receiver("jobs")?;
/// assert!(matches!(receiver.try_recv(), Err(RecvError::Empty)));
/// drop(jobs);
/// assert!(matches!(receiver.recv(), Err(RecvError::Closed { clean: false })));
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// No item is in the channel, and [`Receiver::try_recv`](crate::Receiver::try_recv) does not wait.
    #[error("the channel is empty")]
    Empty,
    /// The channel is closed and drained (`clean`), or it is empty and its last sender left.
    #[error("{}", if *.clean { CLOSED } else { "the last sender left or died" })]
    Closed {
        /// `true`: somebody called [`Sender::close`](crate::Sender::close), and every item was acknowledged. `false`: the
        /// last sender left or died without closing the channel, and receiving goes on when another one comes.
        clean: bool,
    },
    /// No item came until the timeout.
    #[error("nothing came in time")]
    TimedOut,
    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook).
    #[error("{INTERRUPTED}")]
    Interrupted,
    /// Anything else that can go wrong.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<Ended> for RecvError {
    fn from(ended: Ended) -> RecvError {
        RecvError::Closed { clean: ended.is_clean() }
    }
}

/// Why an item was not forwarded to another channel. The error gives the item's lease back: while the lease is kept, nobody
/// else gets the item, and it can be forwarded again. Dropping the error with the lease returns the item to its channel.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::channel::ForwardError;
/// # let name = format!("doc-forward-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let writer = arena.writer()?;
/// let (jobs, done) = (writer.sender("jobs", 1)?, writer.sender("done", 1)?);
/// jobs.send("job")?;
/// done.close()?;
///
/// let lease = arena.receiver("jobs")?.recv()?;
/// let Err(ForwardError::Closed { lease, clean: true }) = lease.send(&done) else { panic!("`done` is closed") };
/// lease.ack();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The other channel is closed (`clean`), or it is full and its last receiver left.
    #[error("not sent on: {}", if *.clean { CLOSED } else { NO_RECEIVER })]
    Closed {
        /// The lease of the item that was not forwarded.
        lease: Lease,
        /// `true`: somebody closed the other channel. `false`: its last receiver left or died.
        clean: bool,
    },
    /// The other channel stayed full until the timeout, or is full and the call does not wait.
    #[error("not sent on: {STAYED_FULL}")]
    TimedOut(Lease),
    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook).
    #[error("not sent on: {INTERRUPTED}")]
    Interrupted(Lease),
    /// Anything else that can go wrong, such as an [`Error::Mismatch`] for a batch of another schema.
    #[error("not sent on: {error}")]
    Failed {
        /// The lease of the item that was not forwarded. `None`: this process did not have the item any more.
        lease: Option<Lease>,
        /// What went wrong.
        error: Box<Error>,
    },
}

impl ForwardError {
    /// Returns the lease of the item that was not forwarded, or `None` if this process did not have the item any more.
    pub fn into_lease(self) -> Option<Lease> {
        match self {
            ForwardError::Closed { lease, .. } | ForwardError::TimedOut(lease) | ForwardError::Interrupted(lease) => {
                Some(lease)
            }
            ForwardError::Failed { lease, .. } => lease,
        }
    }
}

/// Keeps the reason, and returns the item to its channel.
impl From<ForwardError> for Error {
    fn from(e: ForwardError) -> Error {
        Error::NotSent(match e {
            ForwardError::Failed { error, .. } => return *error,
            ForwardError::Interrupted(_) => return Error::Interrupted,
            ForwardError::TimedOut(_) => STAYED_FULL,
            ForwardError::Closed { clean: true, .. } => CLOSED,
            ForwardError::Closed { clean: false, .. } => NO_RECEIVER,
        })
    }
}
