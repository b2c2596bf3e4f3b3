//! What can go wrong, sorted by what the caller can do about it.
//!
//! Every message says what was wrong, the numbers, and what to do. Bad input, damaged segments
//! and full memory arrive here; none of them panics.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use arrow_schema::ArrowError;

/// The result of everything that can fail.
///
/// ```
/// fn newest(arena: &faretra::Arena) -> faretra::Result<u64> {
///     Ok(arena.get("flights")?.version())
/// }
/// # let _ = newest;
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A process that holds memory of the arena, named by [`Error::NoSpace`].
///
/// ```
/// # use faretra::HolderBytes;
/// fn largest(holders: &[HolderBytes]) -> Option<u32> {
///     holders.first().map(|holder| holder.pid)
/// }
/// # assert_eq!(largest(&[]), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderBytes {
    /// Process id as that process sees it (another PID namespace has other numbers).
    pub pid: u32,
    /// Bytes that stay in memory because of this process: its drafts, and objects that it pins and no name keeps.
    pub bytes: u64,
    /// Whether the process is stopped (SIGSTOP, debugger), where the process that asks can see it.
    pub stopped: bool,
}

/// What kind of thing was not found; see [`Error::NotFound`].
///
/// ```
/// use faretra::{Arena, Error, Missing};
/// let refused = Arena::open("no-such-arena").unwrap_err();
/// assert!(matches!(refused, Error::NotFound { what: Missing::Arena, .. }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// An arena. `within` is the directory.
    Arena,
    /// A published object, channel, feed or lock. `within` is the arena's name.
    Object,
    /// A column. `within` is the name of the batch, and empty for a draft.
    Column,
    /// A member of a bundle. `within` is the bundle's name.
    Member,
    /// The schema of a feed to which no batch was appended. `within` is the arena's name.
    Schema,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Missing::Arena => "arena",
            Missing::Object => "object",
            Missing::Column => "column",
            Missing::Member => "member",
            Missing::Schema => "schema",
        })
    }
}

/// Which bound left no room for more bytes; see [`Error::NoSpace`].
///
/// ```
/// use faretra::{Bound, Error};
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-bound-{}", std::process::id());
/// let arena = Arena::options().limit(8 * MIB).keep(false).create(&name)?;
/// let refused = arena.writer()?.publish("large", vec![0_u8; 16 << 20]).unwrap_err();
/// assert!(matches!(refused, Error::NoSpace { bound: Bound::Limit, .. }), "{refused}");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// The arena's limit. [`Arena::set_limit`](crate::Arena::set_limit) raises it.
    Limit,
    /// The file system that the arena's file lies on.
    FileSystem,
    /// Neither: the limit and the file system have room, and the kernel refused. A memory cgroup is full, or a filter of
    /// system calls forbids what is needed. The numbers are those of the limit.
    Kernel,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bound::Limit | Bound::Kernel => "limit",
            Bound::FileSystem => "file system",
        })
    }
}

/// What there is a fixed number of; see [`Error::Limit`].
///
/// ```
/// use faretra::{Counted, Error};
/// /// Whether to try again when another process has left.
/// fn is_crowded(error: &Error) -> bool {
///     matches!(error, Error::Limit { what: Counted::Participants, .. })
/// }
/// # assert!(!is_crowded(&Error::Forked(1)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counted {
    /// Processes that take part in an arena.
    Participants,
    /// Objects of one power of two of bytes.
    Objects,
    /// Subscribers of one feed.
    Subscribers,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Counted::Participants => "participants",
            Counted::Objects => "objects of this size",
            Counted::Subscribers => "subscribers of one feed",
        })
    }
}

/// Why something could not be done.
///
/// The variants are sorted by what the caller can do. [`Error::code`] is a stable name of each, [`Error::fact`] and
/// [`Error::advice`] are the two halves of its message. Every error is `Send + Sync + 'static`, so `?` turns it into
/// `Box<dyn std::error::Error + Send + Sync>` and its like.
///
/// ```
/// use faretra::{Arena, Error};
///
/// match Arena::open("no-such-arena") {
///     Err(Error::NotFound { name, .. }) => assert_eq!(name, "no-such-arena"),
///     Err(other) => panic!("{}: {other}", other.code()),
///     Ok(_) => panic!("nobody made it"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A name, size or option is not usable. Nothing was changed: correct the call.
    Invalid(String),

    /// There is nothing of this name. Create it, publish it, or wait for it.
    NotFound {
        /// What kind of thing was asked for.
        what: Missing,
        /// The name that was asked for.
        name: String,
        /// Where it was looked for: see each kind of [`Missing`].
        within: String,
        /// What is there instead, or what happened to it; may be empty.
        detail: String,
    },

    /// An arena of this name exists already. Open it, or remove it first.
    AlreadyExists {
        /// The arena's name.
        name: String,
        /// The arena's file.
        path: PathBuf,
    },

    /// [`Writer::publish_if`](crate::Writer::publish_if) met another version than the one that it was to replace. Read the
    /// object again, and retry.
    Conflict {
        /// The object's name.
        name: String,
        /// The version that the caller expected (0: no object of that name).
        expected: u64,
        /// The version that is current (0: no object of that name).
        found: u64,
    },

    /// Memory ran out: the arena's limit, the file system, or a memory cgroup. Nothing was lost,
    /// and a smaller request still works. Remove objects or raise the bound, and retry.
    NoSpace {
        /// Bytes that were asked for.
        asked: u64,
        /// Bytes that could still be had.
        free: u64,
        /// What ran out.
        bound: Bound,
        /// The size of what ran out, in bytes.
        of: u64,
        /// The processes that hold the most memory that no name keeps, largest first.
        largest_holders: Vec<HolderBytes>,
    },

    /// One thing is larger than any arena, or this arena, can have it. Waiting does not help: make it smaller.
    TooLarge {
        /// What is too large, in what unit.
        what: &'static str,
        /// The size that was asked for.
        asked: u64,
        /// The largest size that can be.
        most: u64,
        /// What to do.
        hint: &'static str,
    },

    /// All of a fixed number of things are in use. Wait until one is free, or end one.
    Limit {
        /// What all are in use of.
        what: Counted,
        /// How many there are.
        limit: u64,
    },

    /// The wait ended before what was waited for came. Wait again, or give up.
    TimedOut(Duration),

    /// The interrupt hook ended the wait; see [`set_interrupt_hook`](crate::set_interrupt_hook). Nothing was changed: attend
    /// to what interrupted it, and make the call again or give up.
    Interrupted,

    /// A channel or feed did not take a value. [`SendError`](crate::SendError), [`ForwardError`](crate::ForwardError) and
    /// [`AppendError`](crate::AppendError), which give the value back, become this where only the reason matters.
    NotSent(&'static str),

    /// The value is of another kind, element type, shape or schema than was asked for.
    Mismatch {
        /// What was read or written.
        name: String,
        /// What the caller asked for.
        expected: String,
        /// What is there.
        found: String,
    },

    /// The file is not an arena that this version can use: foreign, of another version, or cut.
    NotAnArena {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },

    /// Something in the segment contradicts itself. Other objects may still be fine.
    Damaged(String),

    /// The arena belongs to somebody else, or others may write it; see [`crate::Options::trust_others`].
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Who can write it.
        reason: String,
    },

    /// This handle was inherited through fork, from the process of this id. The child has to open the arena itself.
    Forked(u32),

    /// The operating system refused.
    Os {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// arrow could not make sense of a value.
    Arrow(ArrowError),
}

impl Error {
    /// Returns the stable name of this kind of error, for programs that tell kinds apart in another language or in a log:
    /// one of `invalid`, `not_found`, `already_exists`, `conflict`, `no_space`, `too_large`, `limit`, `timed_out`,
    /// `interrupted`, `not_sent`, `mismatch`, `not_an_arena`, `damaged`, `untrusted`, `forked`, `os` and `arrow`. A later version may add
    /// names and changes none.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Invalid(_) => "invalid",
            Error::NotFound { .. } => "not_found",
            Error::AlreadyExists { .. } => "already_exists",
            Error::Conflict { .. } => "conflict",
            Error::NoSpace { .. } => "no_space",
            Error::TooLarge { .. } => "too_large",
            Error::Limit { .. } => "limit",
            Error::TimedOut(_) => "timed_out",
            Error::Interrupted => "interrupted",
            Error::NotSent(_) => "not_sent",
            Error::Mismatch { .. } => "mismatch",
            Error::NotAnArena { .. } => "not_an_arena",
            Error::Damaged(_) => "damaged",
            Error::Untrusted { .. } => "untrusted",
            Error::Forked(_) => "forked",
            Error::Os { .. } => "os",
            Error::Arrow(_) => "arrow",
        }
    }

    /// Returns the first half of the message: what was wrong, with the numbers. For programs that give advice of their own.
    pub fn fact(&self) -> String {
        match self {
            Error::Invalid(text) => text.clone(),
            Error::NotFound { what: Missing::Schema, name, .. } => format!("the feed `{name}` has no schema yet"),
            Error::NotFound { what, name, within, .. } => {
                let place = match what {
                    Missing::Arena | Missing::Schema => within.clone(),
                    Missing::Object => format!("arena `{within}`"),
                    Missing::Column if within.is_empty() => "the draft".into(),
                    Missing::Column => format!("`{within}`"),
                    Missing::Member => format!("the bundle `{within}`"),
                };
                format!("no {what} named `{name}` in {place}")
            }
            Error::AlreadyExists { name, path } => format!("arena `{name}` exists already at {}", path.display()),
            Error::Conflict { name, expected, found } => format!("`{name}` is at version {found}, not {expected}"),
            Error::NoSpace { asked, free, bound, of, largest_holders } => format!(
                "no room for {asked} bytes: {free} bytes free of the {bound} of {of} bytes{}",
                holders_text(largest_holders)
            ),
            Error::TooLarge { what, asked, most, .. } => format!("{asked} {what} are too many: {most} are the most"),
            Error::Limit { what, limit } => format!("{what}: all {limit} are in use"),
            Error::TimedOut(after) => format!("timed out after {after:?}"),
            Error::Interrupted => "the wait was interrupted".into(),
            Error::NotSent(why) => format!("not sent: {why}"),
            Error::Mismatch { name, expected, found } => format!("`{name}` is {found}, not {expected}"),
            Error::NotAnArena { path, reason } => format!("{} cannot be used as an arena: {reason}", path.display()),
            Error::Damaged(what) => format!("the arena is damaged: {what}"),
            Error::Untrusted { path, reason } => format!("{} is not safe to open: {reason}", path.display()),
            Error::Forked(pid) => format!("this arena handle came through fork (opened by process {pid})"),
            Error::Os { action, path, source } => format!("cannot {action} {}: {source}", path.display()),
            Error::Arrow(error) => format!("arrow: {error}"),
        }
    }

    /// Returns the second half of the message: what to do, in terms of this crate. `None` where the first half says all
    /// there is.
    pub fn advice(&self) -> Option<&str> {
        Some(match self {
            Error::NotFound { detail, .. } if !detail.is_empty() => detail,
            Error::NotFound { what: Missing::Arena, .. } => {
                "make it with `Options::create`; `Options::list` tells which there are"
            }
            Error::NotFound { what: Missing::Object, .. } => "`Arena::names` tells which there are",
            Error::NotFound { what: Missing::Schema, .. } => "nothing was appended to it",
            Error::AlreadyExists { .. } => "open it with `Options::open`, or remove it first with `Options::remove`",
            Error::Conflict { .. } => "read it again and retry",
            Error::NoSpace { bound: Bound::Limit, .. } => {
                "raise the limit with `Arena::set_limit`, or remove objects; `Arena::who` tells what keeps them"
            }
            Error::NoSpace { bound: Bound::FileSystem, .. } => {
                "remove objects or files there, or use a larger tmpfs with `Options::dir`"
            }
            Error::NoSpace { bound: Bound::Kernel, .. } => {
                "the kernel refused all the same: see the memory cgroup of this process, and its filter of system calls"
            }
            Error::TooLarge { hint, .. } => hint,
            Error::Limit { what: Counted::Participants | Counted::Subscribers, .. } => {
                "end some; `Arena::who` tells which processes they are"
            }
            Error::Limit { what: Counted::Objects, .. } => {
                "remove some, put several values in one table or bundle, or create the arena with a larger capacity"
            }
            Error::Untrusted { .. } => {
                "take part as its owner, or say `Options::trust_others`; `Options::observe` looks at it without trust"
            }
            Error::Os { action: "open", source, .. }
                if matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) =>
            {
                "to take part in an arena is to write to its file; `Options::observe` needs the right to read it only"
            }
            Error::Damaged(_) => "`Arena::verify` tells what else is wrong",
            Error::Forked(_) => "`Arena::reopen` in the child takes part in the arena anew",
            _ => return None,
        })
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Error {
        Error::Damaged(what.into())
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid(what.into())
    }
}

/// The whole message, on one line: [`Error::fact`], and [`Error::advice`] where there is some.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fact())?;
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Os { source, .. } => Some(source),
            Error::Arrow(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Error {
        Error::Arrow(error)
    }
}

/// For readers of arrow, whose items are arrow's errors.
impl From<Error> for ArrowError {
    fn from(error: Error) -> ArrowError {
        match error {
            Error::Arrow(error) => error,
            error => ArrowError::ExternalError(Box::new(error)),
        }
    }
}

/// `None` where a wait ended before what was waited for came.
pub(crate) fn in_time<T>(waited: Result<T>) -> Result<Option<T>> {
    match waited {
        Ok(done) => Ok(Some(done)),
        Err(Error::TimedOut(_)) => Ok(None),
        Err(e) => Err(e),
    }
}

fn holders_text(holders: &[HolderBytes]) -> String {
    let mut text = String::new();
    for h in holders {
        text += if text.is_empty() { " (held by " } else { ", " };
        text += &format!("process {}: {} bytes", h.pid, h.bytes);
        if h.stopped {
            text += ", stopped";
        }
    }
    if !text.is_empty() {
        text.push(')');
    }
    text
}
