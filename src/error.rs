//! What can go wrong, sorted by what the caller can do about it.
//!
//! Every message says what was wrong, the numbers, and what to do. Bad input, damaged segments
//! and full memory arrive here; none of them panics.

use std::path::PathBuf;

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A process that holds memory of the arena, named by [`Error::NoSpace`] and [`crate::Arena::who`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderBytes {
    /// Process id as that process saw it (another PID namespace has other numbers).
    pub pid: u32,
    /// Bytes that stay in memory because of it: pinned objects no name keeps, and its drafts.
    pub bytes: u64,
    /// Whether the process is stopped (SIGSTOP, debugger), where this process can see it.
    pub stopped: bool,
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, size or option is not usable. Nothing was changed: correct the call.
    #[error("{0}")]
    Invalid(String),

    /// No arena, or no object, of this name. Create it, publish it, or wait for it.
    #[error("no {what} named `{name}`{hint}")]
    NotFound {
        /// `arena` or `object`.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// Where it was looked for and what to do, with a leading separator; may be empty.
        hint: String,
    },

    /// An arena of this name exists already. Open it, or remove it first.
    #[error("arena `{name}` exists already at {path}: open it, or remove it with `faretra rm {name}`")]
    AlreadyExists {
        /// The arena's name.
        name: String,
        /// Where it lies.
        path: PathBuf,
    },

    /// `publish_if` met another version than the one it was to replace.
    #[error("`{name}` is at version {found}, not {expected}: read it again and retry")]
    Conflict {
        /// The object's name.
        name: String,
        /// The version that the caller expected (0: no object of that name).
        expected: u64,
        /// The version that is current (0: no object of that name).
        found: u64,
    },

    /// Memory ran out: the arena's limit, the file system, or a memory cgroup. Nothing was lost,
    /// and a smaller request still works.
    #[error(
        "no room for {asked} bytes: {free} bytes free of the {bound} {of} bytes{}; {hint}",
        holders_text(.largest_holders)
    )]
    NoSpace {
        /// Bytes that were asked for.
        asked: u64,
        /// Bytes that could still be had.
        free: u64,
        /// What ran out: `limit of` or `file system of`.
        bound: &'static str,
        /// Its size in bytes.
        of: u64,
        /// The processes that hold the most memory that no name keeps, largest first.
        largest_holders: Vec<HolderBytes>,
        /// What to do.
        hint: &'static str,
    },

    /// One of the fixed numbers of the arena is used up.
    #[error("{what}: the arena has {limit} and all are in use; {hint}")]
    Limit {
        /// What ran out.
        what: &'static str,
        /// How many there are.
        limit: u64,
        /// What to do.
        hint: &'static str,
    },

    /// The wait ended before what was waited for came.
    #[error("timed out after {0:?}")]
    TimedOut(std::time::Duration),

    /// A channel or feed did not take a value: what [`crate::SendError`], which gives the value back, becomes where
    /// only the reason matters.
    #[error("not sent: {0}")]
    NotSent(&'static str),

    /// The value is of another kind, element type, shape or schema than was asked for.
    #[error("`{name}` is {found}, not {expected}")]
    Mismatch {
        /// What was read or written.
        name: String,
        /// What the caller asked for.
        expected: String,
        /// What is there.
        found: String,
    },

    /// The file is not an arena that this version can use: foreign, of another version, or cut.
    #[error("{path} cannot be used as an arena: {reason}")]
    NotAnArena {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },

    /// Something in the segment contradicts itself. Other objects may still be fine.
    #[error("the arena is damaged: {0}; run `faretra verify`")]
    Damaged(String),

    /// The arena belongs to somebody else, or others may write it; see [`crate::Options::trust_others`].
    #[error("{path} is not safe to open: {reason}")]
    Untrusted {
        /// The file.
        path: PathBuf,
        /// Who can write it.
        reason: String,
    },

    /// This handle was inherited through fork. The child has to open the arena itself.
    #[error("this arena handle came through fork (opened by process {0}): open the arena again in the child")]
    Forked(u32),

    /// The operating system refused.
    #[error("cannot {action} {path}: {source}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// arrow could not make sense of a value.
    #[error("arrow: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
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

impl Error {
    pub(crate) fn damaged(what: impl Into<String>) -> Error {
        Error::Damaged(what.into())
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid(what.into())
    }
}
