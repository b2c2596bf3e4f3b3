//! Locks and values that processes share by name, safe against the death of whoever holds them.
//!
//! Each is an object of the arena: made by the first who asks for it, found by all others, listed by `faretra
//! ls`, removed like any other name. Handles keep it in place, so removing the name takes it from nobody
//! who has it open.
//!
//! | | what | when its holder dies |
//! |---|---|---|
//! | [`Mutex`] | one holder at a time, perhaps with a value | the next is told ([`MutexGuard::recovered`]), the value is as it was |
//! | [`Semaphore`] | so many permits | the permit is free again, the next is told |
//! | [`Event`] | a flag that is waited for | nothing is held |
//! | [`SharedValue`] | a value that is read and replaced as a whole | the value is the old or the new one |
//!
//! Every wait has a timed form, notices within 100 ms that a holder is dead (as the kernel lets go of it), is not
//! ended by signals, and costs next to nothing while it lasts. Order among waiters is the kernel's: nobody is
//! guaranteed to be next. What is granted stays granted while its holder is stopped.
//!
//! Locks belong to processes, not to threads: a guard may be sent to another thread, and a thread that
//! locks twice waits for itself. In a forked child all calls are [`Error::Forked`], and inherited guards
//! hold nothing: the parent has the lock.
//!
//! ```
//! use faretra::{Arena, sync::Reset};
//! # let name = format!("doc-sync-{}", std::process::id());
//! # let name = name.as_str();
//! # let arena = Arena::options().keep(false).create(name)?;
//! let total = arena.mutex_with("total", 0_u64)?;      // the same in every process
//! *total.lock()? += 5;
//!
//! let gpus = arena.semaphore("gpus", 2)?;
//! let gpu = gpus.acquire()?;                            // back when dropped, or when this process dies
//!
//! let ready = arena.event("ready", Reset::Manual)?;
//! ready.set()?;
//! ready.wait()?;
//!
//! let done = arena.shared_value("done", 0_u32)?;
//! done.update(|n| n + 1)?;
//! # Ok::<(), faretra::Error>(())
//! ```

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytemuck::Pod;

use crate::arena::Arena;
use crate::core::geometry::lock;
use crate::core::lock::{Form, Lease, Leases, SLOTS, Slots};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::tables::Kind;
use crate::core::word::{Id, State};
use crate::error::{Error, Result};
use crate::value::view::{Attachment, Pin};

/// Most permits of a [`Semaphore`].
pub const MAX_PERMITS: u32 = 1 << 16;
/// Most bytes of the value of a [`Mutex`] or [`SharedValue`].
pub const MAX_VALUE: usize = 64 << 10;

/// An object that locks, open in this process.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) pin: Arc<Pin>,
}

impl Handle {
    pub(crate) fn at(&self) -> &Attachment {
        self.pin.attachment()
    }

    /// [`Attachment::core`].
    #[inline]
    pub(crate) fn core(&self) -> Result<&Core<Posix>> {
        self.at().core()
    }

    pub(crate) fn id(&self) -> Id {
        self.pin.id()
    }

    /// Finds the object, or makes it. `fill` writes into a new one what it begins with.
    fn open_or_make(
        arena: &Arena,
        name: &str,
        form: Form,
        says: fn(&Form) -> String,
        fill: impl Fn(&Core<Posix>, Id),
    ) -> Result<Handle> {
        crate::core::name::check(name)?;
        let at = arena.attachment();
        let pin = Pin::named_or_made(at, name, |core| {
            let draft = core.draft_lock(form)?;
            fill(core, draft.id);
            Ok(draft)
        })?;
        at.core()?.check_form(pin.id(), name, &form, says)?;
        Ok(Handle { pin: Arc::new(pin) })
    }
}

fn value_fits<T>() -> Result<()> {
    if size_of::<T>() <= MAX_VALUE {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "bytes of a shared value",
        asked: size_of::<T>() as u64,
        most: MAX_VALUE as u64,
        hint: "publish it, or use a mutable array",
    })
}

/// Words for a value of `T`, of zeros; on the stack if they are few.
fn with_words<T, R>(f: impl FnOnce(&mut [u64]) -> R) -> R {
    const FEW: usize = 16;
    let len = size_of::<T>().div_ceil(8);
    if len <= FEW { f(&mut [0; FEW][..len]) } else { f(&mut vec![0; len]) }
}

/// A value as words, the last one padded with zeros.
fn to_words<T: Pod>(value: &T, words: &mut [u64]) {
    for (word, chunk) in words.iter_mut().zip(bytemuck::bytes_of(value).chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(bytes);
    }
}

/// A value of up to 8 bytes as one word.
fn to_word<T: Pod>(value: &T) -> u64 {
    let mut word = [0];
    to_words(value, &mut word);
    word[0]
}

fn from_words<T: Pod>(words: &[u64]) -> T {
    let mut value = T::zeroed();
    for (to, word) in bytemuck::bytes_of_mut(&mut value).chunks_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
    }
    value
}

fn mutex_form<T>() -> Form {
    Form { kind: Kind::Mutex, leases: 1, size: size_of::<T>() as u64, slots: 2 }
}

impl Arena {
    /// The mutex of this name, made if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or that of a mutex with a value.
    pub fn mutex(&self, name: &str) -> Result<Mutex> {
        self.mutex_with(name, ())
    }

    /// The mutex of this name with the value that it guards, made with `initial` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or the value has another size.
    pub fn mutex_with<T: Pod>(&self, name: &str, initial: T) -> Result<Mutex<T>> {
        value_fits::<T>()?;
        let form = mutex_form::<T>();
        let says = |f: &Form| format!("a mutex with a value of {} bytes", f.size);
        let handle = Handle::open_or_make(self, name, form, says, |core, id| fill(core, id, &form, &initial))?;
        let slots = handle.core()?.slots_of(handle.id(), &form);
        Ok(Mutex { handle, slots, value: PhantomData })
    }

    /// The semaphore of this name, made with `permits` free permits if there is none; never more than that.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or a semaphore with another number of permits;
    /// [`Error::Invalid`] for 0 permits or more than [`MAX_PERMITS`].
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore> {
        self.semaphore_with(name, permits, permits)
    }

    /// Returns the semaphore of this name, or makes one with `initial` free permits that never has more than `capacity`.
    /// [`Semaphore::release`] raises the number of free permits. Errors are those of [`Arena::semaphore`].
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

    /// The event of this name, made unset if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or an event that resets otherwise.
    pub fn event(&self, name: &str, reset: Reset) -> Result<Event> {
        let form = Form { kind: Kind::Event, leases: 0, size: (reset == Reset::Auto).into(), slots: 0 };
        let says = |f: &Form| format!("an event that {}", if f.size == 1 { "resets itself" } else { "stays set" });
        let handle = Handle::open_or_make(self, name, form, says, |_, _| {})?;
        Ok(Event { handle, reset })
    }

    /// The value of this name, made as `initial` if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if the name is something else's, or a value of another size;
    /// [`Error::TooLarge`] for more than [`MAX_VALUE`] bytes.
    pub fn shared_value<T: Pod>(&self, name: &str, initial: T) -> Result<SharedValue<T>> {
        value_fits::<T>()?;
        let size = size_of::<T>() as u64;
        let slots = if size <= 8 { 0 } else { SLOTS };
        let form = Form { kind: Kind::Value, leases: slots, size, slots };
        let says = |f: &Form| format!("a value of {} bytes", f.size);
        let handle = Handle::open_or_make(self, name, form, says, |core, id| fill(core, id, &form, &initial))?;
        let slots = handle.core()?.slots_of(handle.id(), &form);
        Ok(SharedValue { handle, slots, value: PhantomData })
    }
}

/// Writes the first value of a new object.
fn fill<T: Pod>(core: &Core<Posix>, id: Id, form: &Form, initial: &T) {
    if form.slots == 0 {
        core.store_word(core.lock_word(id, lock::STATE), to_word(initial));
    } else {
        with_words::<T, _>(|words| {
            to_words(initial, words);
            core.fill_slots(core.slots_of(id, form), words);
        });
    }
}

/// A lock that one process holds at a time, with or without a value.
///
/// The value is a copy while it is locked, and is stored as a whole when it is unlocked: who dies, or panics,
/// before that has changed nothing.
#[derive(Clone, Debug)]
pub struct Mutex<T: Pod = ()> {
    handle: Handle,
    slots: Slots,
    value: PhantomData<T>,
}

impl<T: Pod> Mutex<T> {
    /// Waits until the mutex is free, and takes it.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, T>> {
        self.take(None)?.ok_or(Error::TimedOut(Duration::MAX))
    }

    /// Takes the mutex if it is free now. `None`: it is not.
    #[inline]
    pub fn try_lock(&self) -> Result<Option<MutexGuard<'_, T>>> {
        self.take(Some(Duration::ZERO))
    }

    /// Takes the mutex if it becomes free in time; [`Error::TimedOut`] if not.
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_, T>> {
        self.take(Some(timeout))?.ok_or(Error::TimedOut(timeout))
    }

    #[inline]
    fn take(&self, timeout: Option<Duration>) -> Result<Option<MutexGuard<'_, T>>> {
        let core = self.handle.core()?;
        let lease = match core.lease_free(self.slots.leases) {
            Some(lease) => lease,
            None => match core.lease(self.slots.leases, timeout)? {
                Some(lease) => lease,
                None => return Ok(None),
            },
        };
        // From here on it is given back whatever happens.
        let held = Held::of(Lent::Here(&self.handle), lease);
        let value = match size_of::<T>() {
            0 => T::zeroed(),
            _ => with_words::<T, _>(|words| core.load_slots(self.slots, words).map(|_| from_words(words)))?,
        };
        Ok(Some(MutexGuard { held: Some(held), value, changed: false }))
    }

    /// Whether somebody holds it at this moment.
    pub fn is_locked(&self) -> Result<bool> {
        let core = self.handle.core()?;
        Ok(core.count_leases(self.slots.leases, |state| matches!(state, State::Leased(_))) != 0)
    }
}

/// A handle that a guard borrows, or has.
#[derive(Debug)]
pub(crate) enum Lent<'a> {
    Here(&'a Handle),
    Kept(Handle),
}

impl Deref for Lent<'_> {
    type Target = Handle;
    #[inline]
    fn deref(&self) -> &Handle {
        match self {
            Lent::Here(handle) => handle,
            Lent::Kept(handle) => handle,
        }
    }
}

/// A lease that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    handle: Lent<'a>,
    pub(crate) lease: Lease,
    pub(crate) consistent: bool,
    /// It was given back, or used up.
    ended: bool,
}

impl Held<'static> {
    /// One that keeps its handle.
    pub(crate) fn new(handle: &Handle, lease: Lease) -> Held<'static> {
        Held::of(Lent::Kept(handle.clone()), lease)
    }
}

impl<'a> Held<'a> {
    fn of(handle: Lent<'a>, lease: Lease) -> Held<'a> {
        Held { handle, lease, consistent: !lease.recovered, ended: false }
    }

    /// Turns the lease into one that owns its handle.
    fn keep(mut self) -> Held<'static> {
        self.ended = true;
        let handle = Lent::Kept(self.handle.clone());
        Held { handle, lease: self.lease, consistent: self.consistent, ended: false }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended
            && let Ok(core) = self.handle.core()
        {
            let consistent = self.consistent && !std::thread::panicking();
            // Who locks in a loop would have it again before the woken are awake.
            if core.give_back(self.lease, consistent) {
                std::thread::yield_now();
            }
        }
    }
}

/// A locked [`Mutex`]: derefs to its value. Dropping it stores the value and unlocks.
///
/// Dropped while its thread panics, it stores nothing, and the next holder is told as after a death.
#[derive(Debug)]
#[must_use = "dropping the guard unlocks at once"]
pub struct MutexGuard<'a, T: Pod = ()> {
    held: Option<Held<'a>>,
    value: T,
    changed: bool,
}

impl<T: Pod> MutexGuard<'_, T> {
    /// Whether a holder before died, or panicked, while it had the lock, and nobody has said since that
    /// what the lock guards is consistent.
    pub fn recovered(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.lease.recovered)
    }

    /// Says that what the lock guards is consistent again: the next holder is not told any more.
    pub fn mark_consistent(&mut self) {
        if let Some(held) = &mut self.held {
            held.consistent = true;
        }
    }

    /// Turns the guard into one that owns its handle, so that it can be kept beside the mutex or sent to another thread.
    pub fn into_owned(mut self) -> MutexGuard<'static, T> {
        let held = self.held.take().map(Held::keep);
        MutexGuard { held, value: self.value, changed: self.changed }
    }
}

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changed = true;
        &mut self.value
    }
}

impl<T: Pod> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = &self.held
            && self.changed
            && size_of::<T>() != 0
            && !std::thread::panicking()
            && let Ok(core) = held.handle.core()
        {
            let slots = core.slots_of(held.handle.id(), &mutex_form::<T>());
            with_words::<T, _>(|words| {
                to_words(&self.value, words);
                core.store_locked(slots, words);
            });
        }
    }
}

/// A counting semaphore, bounded by its number of permits.
///
/// A [`Permit`] belongs to the process that acquired it and comes back when it is dropped or its process dies.
/// For semaphores that count something else than holders, [`Permit::forget`] uses a permit up, and
/// [`Semaphore::release`] makes one that was used up free again, in any process.
#[derive(Clone, Debug)]
pub struct Semaphore {
    handle: Handle,
    leases: Leases,
}

impl Semaphore {
    /// Waits until a permit is free, and takes it.
    #[inline]
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.take(None)?.ok_or(Error::TimedOut(Duration::MAX))
    }

    /// Takes a permit if one is free now.
    #[inline]
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.take(Some(Duration::ZERO))
    }

    /// Takes a permit if one becomes free in time; [`Error::TimedOut`] if not.
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.take(Some(timeout))?.ok_or(Error::TimedOut(timeout))
    }

    #[inline]
    fn take(&self, timeout: Option<Duration>) -> Result<Option<Permit<'_>>> {
        let core = self.handle.core()?;
        let lease = match core.lease_free(self.leases) {
            Some(lease) => Some(lease),
            None => core.lease(self.leases, timeout)?,
        };
        // A permit stands for nothing that could be left half done.
        Ok(lease.map(|lease| Permit {
            held: Held { handle: Lent::Here(&self.handle), lease, consistent: true, ended: false },
        }))
    }

    /// Makes a permit free that was used up.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if none was: there are never more permits than the semaphore was made with.
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

    /// Permits that are free at this moment.
    pub fn available(&self) -> Result<u32> {
        let core = self.handle.core()?;
        Ok(core.count_leases(self.leases, |state| matches!(state, State::Free | State::Back(_))) as u32)
    }

    /// Permits that it was made with.
    pub fn capacity(&self) -> u32 {
        self.leases.count as u32
    }
}

/// A permit of a [`Semaphore`].
#[derive(Debug)]
#[must_use = "dropping the permit gives it back at once"]
pub struct Permit<'a> {
    held: Held<'a>,
}

impl Permit<'_> {
    /// Whether the process that had this permit before died with it.
    pub fn recovered(&self) -> bool {
        self.held.lease.recovered
    }

    /// Uses the permit up: it is nobody's until somebody calls [`Semaphore::release`].
    pub fn forget(mut self) {
        if let Ok(core) = self.held.handle.core() {
            core.use_up(self.held.lease);
            self.held.ended = true;
        }
    }

    /// Turns the permit into one that owns its handle, so that it can be kept beside the semaphore or sent to another
    /// thread.
    pub fn into_owned(self) -> Permit<'static> {
        Permit { held: self.held.keep() }
    }
}

/// How an [`Event`] is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It stays set until [`Event::reset`]: everybody who waits goes on.
    Manual,
    /// One waiter goes on and resets it.
    Auto,
}

/// A flag that is waited for.
#[derive(Clone, Debug)]
pub struct Event {
    handle: Handle,
    reset: Reset,
}

impl Event {
    /// Sets it.
    #[inline]
    pub fn set(&self) -> Result<()> {
        let core = self.handle.core()?;
        core.set_event(self.handle.id());
        Ok(())
    }

    /// Takes it back, if it is set and nobody went on because of it yet.
    pub fn reset(&self) -> Result<()> {
        let core = self.handle.core()?;
        core.store_word(core.lock_word(self.handle.id(), lock::STATE), 0);
        Ok(())
    }

    /// Whether it is set at this moment.
    #[inline]
    pub fn is_set(&self) -> Result<bool> {
        let core = self.handle.core()?;
        Ok(core.pass_event(self.handle.id(), false))
    }

    /// Waits until it is set.
    pub fn wait(&self) -> Result<()> {
        self.pass(None)?.ok_or(Error::TimedOut(Duration::MAX))
    }

    /// Whether it is set now; one that resets itself is not any more then.
    pub fn try_wait(&self) -> Result<bool> {
        Ok(self.pass(Some(Duration::ZERO))?.is_some())
    }

    /// Waits until it is set; [`Error::TimedOut`] if it is not in time.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.pass(Some(timeout))?.ok_or(Error::TimedOut(timeout))
    }

    fn pass(&self, timeout: Option<Duration>) -> Result<Option<()>> {
        let core = self.handle.core()?;
        let (id, resets) = (self.handle.id(), self.reset == Reset::Auto);
        let bell = core.lock_word(id, lock::BELL);
        core.wait(bell, timeout, || {}, || Ok(core.pass_event(id, resets).then_some(())))
    }
}

/// A value of plain bytes that is read and replaced as a whole: a counter, a status.
///
/// Reads never wait and never see a mixture. Up to 8 bytes it is one atomic word. Larger ones lie in 8
/// slots: a store writes one that is not current and makes it current, so it waits only while 7 others are
/// under way (in processes that are stopped in the middle, say).
#[derive(Clone, Debug)]
pub struct SharedValue<T: Pod> {
    handle: Handle,
    slots: Slots,
    value: PhantomData<T>,
}

impl<T: Pod> SharedValue<T> {
    fn is_word() -> bool {
        size_of::<T>() <= 8
    }

    fn word(&self, core: &Core<Posix>) -> u64 {
        core.lock_word(self.handle.id(), lock::STATE)
    }

    /// The current value.
    pub fn load(&self) -> Result<T> {
        let core = self.handle.core()?;
        if Self::is_word() {
            return Ok(from_words(&[core.load_word(self.word(core))]));
        }
        with_words::<T, _>(|words| core.load_slots(self.slots, words).map(|_| from_words(words)))
    }

    /// Replaces the value, whatever it is.
    pub fn store(&self, value: T) -> Result<()> {
        let core = self.handle.core()?;
        if Self::is_word() {
            core.store_word(self.word(core), to_word(&value));
            return Ok(());
        }
        with_words::<T, _>(|words| {
            to_words(&value, words);
            core.store_slots(self.slots, words)
        })
    }

    /// Replaces the value by what `next` makes of it, and returns what was there before. `next` runs
    /// again when somebody else was faster.
    pub fn update(&self, mut next: impl FnMut(T) -> T) -> Result<T> {
        let before = self.change(|value| Some(next(value)))?;
        Ok(before.unwrap_or_else(|now| now))
    }

    /// Replaces the value if its bytes are those of `current`, and says what was there before: `Ok` if it
    /// was replaced, `Err` if not.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<std::result::Result<T, T>> {
        let same = |value: &T| bytemuck::bytes_of(value) == bytemuck::bytes_of(&current);
        self.change(|value| same(&value).then_some(new))
    }

    /// `Ok(before)`: changed; `Err(now)`: `next` made nothing of it.
    fn change(&self, mut next: impl FnMut(T) -> Option<T>) -> Result<std::result::Result<T, T>> {
        let core = self.handle.core()?;
        if Self::is_word() {
            let mut now = core.load_word(self.word(core));
            loop {
                let before: T = from_words(&[now]);
                let Some(new) = next(before) else { return Ok(Err(before)) };
                match core.swap_word(self.word(core), now, to_word(&new)) {
                    Ok(_) => return Ok(Ok(before)),
                    Err(found) => now = found,
                }
            }
        }
        let mut before = T::zeroed();
        let mut panicked = None;
        let change = |words: &mut [u64]| {
            before = from_words(words);
            // A panic may not pass: the slot would stay taken for as long as this process lives.
            match catch_unwind(AssertUnwindSafe(|| next(before))) {
                Ok(new) => new.inspect(|new| to_words(new, words)).is_some(),
                Err(panic) => {
                    panicked = Some(panic);
                    false
                }
            }
        };
        let changed = with_words::<T, _>(|words| core.update_slots(self.slots, words, change))?;
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        Ok(changed.map_or(Err(before), |()| Ok(before)))
    }
}

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Mutex<[u64; 4]>>();
    shared::<MutexGuard<'_, u32>>();
    shared::<Semaphore>();
    shared::<Event>();
    shared::<SharedValue<u64>>();
};
