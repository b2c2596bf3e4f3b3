//! Why something was not appended, or nothing came.

use crate::error::Error;
use crate::input::Value;
use crate::port::{Ended, NotBuilt};

const FULL: &str = "the feed is full: a subscriber has not read its oldest item yet";
const STAYED_FULL: &str = "the feed stayed full: a subscriber did not read its oldest item in time";
const CLOSED: &str = "the feed is closed";
const INTERRUPTED: &str = "the wait was interrupted";

/// Why a feed did not take a value.
///
/// Each variant but [`AppendError::Failed`] gives the value back. A value that was copied into the arena before the append
/// failed comes back as a draft, so that appending it again copies nothing. An error whose value is owned
/// (`AppendError<'static>`) can be sent to other threads and boxed. Where nobody wants the value back, `?` makes an
/// [`Error`] of an `AppendError`.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::{AppendError, Start, WhenFull};
/// # let name = format!("doc-append-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ticks = arena.writer()?.feed("ticks", 1, WhenFull::Fail)?;
/// let mut subscriber = arena.subscribe("ticks", Start::Oldest)?;
/// ticks.append("first")?;
///
/// let Err(AppendError::Full(value)) = ticks.append("second") else { panic!("nobody read the first") };
/// subscriber.recv()?;
/// ticks.append(value)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError<'a> {
    /// A subscriber has not read yet what the value would replace, and the feed was opened with
    /// [`WhenFull::Fail`](crate::feed::WhenFull::Fail) or the call is [`Feed::try_append`](crate::Feed::try_append).
    #[error("{FULL}")]
    Full(Value<'a>),
    /// Somebody closed the feed. Nothing can be appended any more.
    #[error("{CLOSED}")]
    Closed(Value<'a>),
    /// A subscriber had not read until the timeout what the value would replace.
    #[error("{STAYED_FULL}")]
    TimedOut(Value<'a>),
    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook).
    #[error("{INTERRUPTED}")]
    Interrupted(Value<'a>),
    /// The arena has no room for a copy of the value, or had none until the timeout.
    #[error("{error}")]
    NoSpace {
        /// The value that was not appended.
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
impl From<AppendError<'_>> for Error {
    fn from(e: AppendError<'_>) -> Error {
        Error::NotSent(match e {
            AppendError::Failed(e) => return e,
            AppendError::NoSpace { error, .. } => return *error,
            AppendError::Interrupted(_) => return Error::Interrupted,
            AppendError::Full(_) => FULL,
            AppendError::TimedOut(_) => STAYED_FULL,
            AppendError::Closed(_) => CLOSED,
        })
    }
}

impl<'a> AppendError<'a> {
    pub(crate) fn not_built(not_built: NotBuilt<'a>) -> AppendError<'a> {
        match not_built {
            NotBuilt::NoSpace { value, ended: Some(Ended::Closed), .. } => AppendError::Closed(value),
            NotBuilt::NoSpace { value, error, .. } => AppendError::NoSpace { value, error },
            NotBuilt::Interrupted(value) => AppendError::Interrupted(value),
            NotBuilt::Failed(error) => AppendError::Failed(error),
        }
    }

    /// Returns the value that was not appended, or `None` for [`AppendError::Failed`], which dropped the value.
    pub fn into_value(self) -> Option<Value<'a>> {
        match self {
            AppendError::Full(value) | AppendError::Closed(value) | AppendError::TimedOut(value) => Some(value),
            AppendError::NoSpace { value, .. } | AppendError::Interrupted(value) => Some(value),
            AppendError::Failed(_) => None,
        }
    }
}

/// Why a subscriber got no item.
///
/// ```
/// # use faretra::{Arena, MIB};
/// use faretra::feed::{Start, SubscriberError, WhenFull};
/// # let name = format!("doc-subscriber-error-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ticks = arena.writer()?.feed("ticks", 1, WhenFull::DropOldest)?;
/// let mut subscriber = arena.subscribe("ticks", Start::Oldest)?;
/// assert!(matches!(subscriber.try_recv(), Err(SubscriberError::Empty)));
/// for tick in ["1", "2", "3"] {
///     ticks.append(tick)?;
/// }
/// assert!(matches!(subscriber.recv(), Err(SubscriberError::Lagged(2))));
/// assert_eq!(subscriber.recv()?.bytes()?, b"3");
/// ticks.close()?;
/// assert!(matches!(subscriber.recv(), Err(SubscriberError::Closed { clean: true })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriberError {
    /// No new item is there, and [`Subscriber::try_recv`](crate::Subscriber::try_recv) does not wait.
    #[error("the feed has no new item")]
    Empty,
    /// The feed is closed and the subscriber has read all of it (`clean`), or it has nothing new and its last producer left.
    #[error("{}", if *.clean { CLOSED } else { "the last producer left or died" })]
    Closed {
        /// `true`: somebody called [`Feed::close`](crate::Feed::close), and no item is left to read. `false`: the last
        /// producer left or died without closing the feed, and items come again when there is another producer.
        clean: bool,
    },
    /// No item came until the timeout.
    #[error("nothing came in time")]
    TimedOut,
    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook).
    #[error("{INTERRUPTED}")]
    Interrupted,
    /// So many items were replaced before the subscriber read them. The next call goes on with the oldest item that the
    /// feed keeps.
    #[error("{0} items are gone: the feed went on without this subscriber")]
    Lagged(u64),
    /// Anything else that can go wrong.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<Ended> for SubscriberError {
    fn from(ended: Ended) -> SubscriberError {
        SubscriberError::Closed { clean: ended.is_clean() }
    }
}
