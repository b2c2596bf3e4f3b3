//! What a system is asked and how it answers, whichever system it is.

/// Memory could not be had: the file system or the cgroup is full. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// The word is another, somebody woke the sleeper, or the time was over: the sleeper looks.
    Through,
    /// A handler of a signal ran in this thread.
    Interrupted,
}

/// What a segment is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// Whose segments may be opened to take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of this user that nobody else may write.
    OurFilesOnly,
    /// All: see [`crate::Options::trust_others`].
    Others,
}

/// What bytes that were mapped once more are when they are shared no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// What they are now. Somebody pins those of the segment.
    AsTheyAre,
    Zero,
}
