//! Leases that are given back: what guards, permits and writers have in common.

use std::sync::Arc;

use crate::core::lease::Lease;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::error::Result;
use crate::value::view::Attachment;

/// What a lease is of, kept while it is held.
pub(crate) trait Keeper {
    /// [`Attachment::core`].
    fn core(&self) -> Result<&Core<Posix>>;
}

impl Keeper for Arc<Attachment> {
    #[inline]
    fn core(&self) -> Result<&Core<Posix>> {
        Attachment::core(self)
    }
}

/// What stands behind a lease, and so what the next holder is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing that could be left half done: the lease is a permit.
    Nothing,
    /// Nothing, and nobody is named: the permit is one that was added to a semaphore.
    Added,
    /// Something that is consistent, unless this thread panics.
    Consistent,
    /// Something that somebody left half done.
    Unsure,
}

/// A lease that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held<K: Keeper> {
    pub(crate) keeper: K,
    lease: Lease,
    behind: Behind,
    /// It was given back, used up or moved.
    ended: bool,
}

impl<K: Keeper> Held<K> {
    /// The lease of something that a holder may leave half done.
    #[inline]
    pub(crate) fn guard(keeper: K, lease: Lease) -> Held<K> {
        let behind = if lease.recovered { Behind::Unsure } else { Behind::Consistent };
        Held { keeper, lease, behind, ended: false }
    }

    /// A permit.
    #[inline]
    pub(crate) fn permit(keeper: K, lease: Lease) -> Held<K> {
        Held { keeper, lease, behind: Behind::Nothing, ended: false }
    }

    /// A permit that was added to a semaphore.
    #[inline]
    pub(crate) fn added(keeper: K, lease: Lease) -> Held<K> {
        Held { keeper, lease, behind: Behind::Added, ended: false }
    }

    /// Whether the holder before died, or left things half done.
    pub(crate) fn recovered(&self) -> bool {
        self.lease.recovered
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.behind != Behind::Unsure
    }

    pub(crate) fn mark_consistent(&mut self) {
        self.behind = Behind::Consistent;
    }

    /// Says that something was left half done: whoever has it next is told.
    pub(crate) fn mark_inconsistent(&mut self) {
        self.behind = Behind::Unsure;
    }

    /// Uses a permit up: it is nobody's from here on.
    pub(crate) fn use_up(mut self) {
        self.ended = true;
        if self.behind != Behind::Added
            && let Ok(core) = self.keeper.core()
        {
            core.use_up(self.lease);
        }
    }

    /// The lease alone, which is not given back.
    pub(crate) fn into_lease(mut self) -> Lease {
        self.ended = true;
        self.lease
    }

    /// The lease with another keeper.
    pub(crate) fn kept_by<L: Keeper>(mut self, keeper: impl FnOnce(&K) -> L) -> Held<L> {
        self.ended = true;
        Held { keeper: keeper(&self.keeper), lease: self.lease, behind: self.behind, ended: false }
    }
}

impl<K: Keeper> Drop for Held<K> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended
            && let Ok(core) = self.keeper.core()
        {
            let woke = match self.behind {
                Behind::Added => core.give_back_added(self.lease),
                Behind::Nothing => core.give_back(self.lease),
                Behind::Consistent if !std::thread::panicking() => core.give_back(self.lease),
                Behind::Consistent | Behind::Unsure => core.give_back_unmended(self.lease),
            };
            // Who takes leases in a loop would have one again before the woken are awake.
            if woke {
                std::thread::yield_now();
            }
        }
    }
}
