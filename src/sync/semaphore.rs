//! Counting semaphores.

use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::core::geometry::lock;
use crate::core::lease::{Lease, Leases};
use crate::core::lock::Form;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::core::word::{State, Ticket};
use crate::error::{Error, Result, in_time};
use crate::held::{Held, Keeper};
use crate::sync::{Handle, Lent, MAX_PERMITS, keep};

impl Arena {
    /// Returns the semaphore `name`. Makes one with `permits` free permits if there is no object of that name; it never has
    /// more than that.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `name` stands for an object of another kind, or for a semaphore with another number of
    /// permits; [`Error::Invalid`] for 0 permits or more than [`MAX_PERMITS`].
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore> {
        self.semaphore_with(name, permits, permits)
    }

    /// Returns the semaphore `name`. Makes one with `initial` free permits if there is no object of that name; it never has
    /// more than `capacity`. [`Semaphore::release`] raises the number of free permits. Errors are those of
    /// [`Arena::semaphore`].
    pub fn semaphore_with(&self, name: &str, initial: u32, capacity: u32) -> Result<Semaphore> {
        if !(1..=MAX_PERMITS).contains(&capacity) || initial > capacity {
            return Err(Error::invalid(format!(
                "a semaphore has 1 to {MAX_PERMITS} permits and as many free at first at most, not {capacity} and {initial}"
            )));
        }
        let form = Form { kind: Kind::Semaphore, leases: capacity.into(), size: 0, slots: 0 };
        let says = |f: &Form| format!("a semaphore of {} permits", f.leases);
        let handle = Handle::open_or_make(self, name, form, says, |core, id| {
            if let Ok(Some(leases)) = core.leases_of(id) {
                core.fill_permits(leases, initial.into());
            }
        })?;
        let leases = handle.core()?.leases_of(handle.id())?;
        let leases = leases.ok_or_else(|| Error::damaged(format!("the semaphore `{name}` has no permits")))?;
        Ok(Semaphore { handle, leases })
    }

    /// Returns the semaphore `name`, whatever its number of permits is.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if it is of another kind.
    pub fn open_semaphore(&self, name: &str) -> Result<Semaphore> {
        let handle = Handle::open(self, name, Kind::Semaphore)?;
        let leases = handle.core()?.leases_of(handle.id())?;
        let leases = leases.ok_or_else(|| Error::damaged(format!("the semaphore `{name}` has no permits")))?;
        Ok(Semaphore { handle, leases })
    }
}

/// The most permits that can be added to a semaphore.
const MAX_ADDED: u64 = i32::MAX as u64;

/// A permit's lease, with what becomes of it when it ends.
pub(crate) fn held<K: Keeper>(keeper: K, lease: Lease, leases: Leases) -> Held<K> {
    if lease.off < leases.first { Held::added(keeper, lease) } else { Held::permit(keeper, lease) }
}

/// A counting semaphore, bounded by its number of permits.
///
/// A [`Permit`] belongs to the process that acquired it and comes back when it is dropped or its process dies. A semaphore
/// can also count something else than its holders: [`Permit::forget`] uses a permit up, and [`Semaphore::release`], in any
/// process, makes a permit free that was used up.
///
/// ```
/// # let name = format!("doc-semaphore-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let gpus = arena.semaphore("gpus", 2)?;                  // the same in every process
/// let (first, second) = (gpus.acquire()?, gpus.acquire()?);
/// assert!(gpus.try_acquire()?.is_none());
/// drop(first);
/// assert_eq!(gpus.available()?, 1);
/// # drop(second);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    pub(crate) handle: Handle,
    pub(crate) leases: Leases,
}

impl Semaphore {
    /// Waits until a permit is free, and takes it.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.take(Until::Forever)
    }

    /// Takes a permit if one is free now, and returns `None` if not.
    #[inline]
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        in_time(self.take(Until::Now))
    }

    /// Waits until a permit is free, and takes it. Fails with [`Error::TimedOut`] if no permit is free after `timeout`.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.take(Until::Within(timeout))
    }

    /// Waits until a permit is free, and takes it. Fails with [`Error::TimedOut`] if no permit is free at `deadline`.
    pub fn acquire_deadline(&self, deadline: Instant) -> Result<Permit<'_>> {
        self.take(Until::deadline(deadline))
    }

    #[inline]
    fn take(&self, until: Until) -> Result<Permit<'_>> {
        let core = self.handle.core()?;
        let lease = match core.lease_free(self.leases) {
            Some(lease) => lease,
            None => core.permit(self.handle.id(), self.leases, until)?,
        };
        Ok(Permit { held: held(Lent::Here(&self.handle), lease, self.leases) })
    }

    /// Returns the permit that [`Permit::into_words`] turned into numbers. It is dropped, forgotten or turned into numbers as
    /// any other, once.
    ///
    /// ```
    /// # let name = format!("doc-permit-words-{}", std::process::id());
    /// # let arena = faretra::Arena::options().keep(false).create(&name)?;
    /// let gpus = arena.semaphore("gpus", 2)?;
    /// let kept = gpus.acquire()?.into_words();
    /// assert_eq!(gpus.available()?, 1);
    /// drop(gpus.permit(kept)?);
    /// assert_eq!(gpus.available()?, 2);
    /// # Ok::<(), faretra::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for numbers that are of no permit of this semaphore.
    pub fn permit(&self, words: [u64; 2]) -> Result<Permit<'_>> {
        let core = self.handle.core()?;
        let [off, ticket] = words;
        let Leases { bell, first, count } = self.leases;
        let leased = (first..first + count * 8).contains(&off) && off.is_multiple_of(8);
        if !leased && off != core.lock_word(self.handle.id(), lock::STATE) {
            return Err(Error::invalid(format!("the numbers {words:?} are of no permit of this semaphore")));
        }
        let lease = Lease { off, bell, ticket: Ticket::of_word(ticket), recovered: false };
        Ok(Permit { held: held(Lent::Here(&self.handle), lease, self.leases) })
    }

    /// Makes a permit free that was used up.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if no permit was used up: a semaphore never has more permits than it was made with.
    pub fn release(&self) -> Result<()> {
        let core = self.handle.core()?;
        if core.add_permit(self.leases) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the semaphore has {} permits and none was used up: nothing to release",
            self.leases.count
        )))
    }

    /// Adds free permits to those that the semaphore was made with, whoever has these.
    ///
    /// Added permits are counted, and nobody is named who has one: an added permit that a process has when it dies is lost.
    /// [`Semaphore::is_posted`] says whether permits were added at some time.
    ///
    /// ```
    /// # let name = format!("doc-post-{}", std::process::id());
    /// # let arena = faretra::Arena::options().keep(false).create(&name)?;
    /// let items = arena.semaphore_with("items", 0, 1)?;
    /// items.post(1000)?;
    /// items.acquire()?.forget();                               // one item less
    /// assert_eq!(items.available()?, 999);
    /// # Ok::<(), faretra::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if more than 2,147,483,647 added permits would be free.
    pub fn post(&self, permits: u32) -> Result<()> {
        if self.handle.core()?.post_permits(self.handle.id(), permits.into(), MAX_ADDED) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{permits} more permits are too many: {MAX_ADDED} of those that were added can be free"
        )))
    }

    /// Returns whether somebody added permits: whether [`Semaphore::post`] was called at some time.
    #[inline]
    pub fn is_posted(&self) -> Result<bool> {
        Ok(self.handle.core()?.added_permits(self.handle.id()).1)
    }

    /// Returns how many permits are free at this moment.
    pub fn available(&self) -> Result<u32> {
        let core = self.handle.core()?;
        let back = core.count_leases(self.leases, |state| matches!(state, State::Free | State::Back(_)));
        Ok((back + core.added_permits(self.handle.id()).0) as u32)
    }

    /// Returns the number of permits that the semaphore was made with.
    pub fn capacity(&self) -> u32 {
        self.leases.count as u32
    }
}

/// A permit of a [`Semaphore`]. Dropping the permit makes it free again.
///
/// ```
/// # let name = format!("doc-permit-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let tickets = arena.semaphore("tickets", 2)?;
/// tickets.acquire()?.forget();                             // sold: not free when this process ends
/// let kept = tickets.acquire()?.into_owned();              // can be kept beside `tickets`
/// assert!(!kept.recovered());
/// drop(kept);
/// assert_eq!(tickets.available()?, 1);
/// tickets.release()?;                                      // the one that was sold
/// assert_eq!(tickets.available()?, 2);
/// # Ok::<(), faretra::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the permit gives it back at once"]
pub struct Permit<'a> {
    pub(crate) held: Held<Lent<'a>>,
}

impl Permit<'_> {
    /// Returns whether the process that had this permit before died with it.
    pub fn recovered(&self) -> bool {
        self.held.recovered()
    }

    /// Uses the permit up: it belongs to nobody until somebody calls [`Semaphore::release`].
    pub fn forget(self) {
        self.held.use_up();
    }

    /// Turns the permit into two numbers, for who keeps it beside the semaphore without a handle of its own: a binding, for
    /// example. The permit stays taken until [`Semaphore::permit`] makes one of the numbers, or this process dies.
    pub fn into_words(self) -> [u64; 2] {
        let lease = self.held.into_lease();
        [lease.off, lease.ticket.word()]
    }

    /// Turns the permit into one that owns its handle, so that it can be kept beside the semaphore or sent to another
    /// thread.
    pub fn into_owned(self) -> Permit<'static> {
        Permit { held: keep(self.held) }
    }
}
