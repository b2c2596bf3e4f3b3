//! Values that are replaced as a whole.

use std::any::TypeId;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use crate::arena::Arena;
use crate::core::geometry::lock;
use crate::core::lock::{Form, SLOTS, Slots};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::tables::Kind;
use crate::core::wait::Until;
use crate::error::{Error, Result};
use crate::held::Keeper;
use crate::sync::Handle;
use crate::sync::words::{fill, from_words, to_word, to_words, value_fits, with_words};
use crate::value::element::{Element, ElementType};

impl Arena {
    /// Returns the shared value `name`. Makes one that is `initial` if there is no object of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Mismatch`] if `name` stands for an object of another kind, or for a value of another
    /// size, or for a number of another type; [`Error::TooLarge`] for a value of more than [`MAX_VALUE`](crate::sync::MAX_VALUE) bytes.
    pub fn shared_value<T: Pod>(&self, name: &str, initial: T) -> Result<SharedValue<T>> {
        value_fits::<T>()?;
        let size = size_of::<T>() as u64;
        let slots = if size <= 8 { 0 } else { SLOTS };
        let form = Form { kind: Kind::Value, leases: slots, size, slots };
        let says = |f: &Form| format!("a value of {} bytes", f.size);
        let code = number_type::<T>().map_or(0, |number| number as u64);
        let handle = Handle::open_or_make(self, name, form, says, |core, id| {
            core.store_word(core.lock_word(id, lock::TYPE), code);
            fill(core, id, &form, &initial);
        })?;
        let core = handle.core()?;
        let found = core.load_word(core.lock_word(handle.id(), lock::TYPE));
        if let (Some(asked), Some(found)) = (number_type::<T>(), ElementType::from_code(found))
            && asked != found
        {
            let (expected, found) = (format!("a value of type {asked}"), format!("a value of type {found}"));
            return Err(Error::Mismatch { name: name.into(), expected, found });
        }
        let slots = core.slots_of(handle.id(), &form);
        Ok(SharedValue { handle, slots, value: PhantomData })
    }
}

/// The type, if it is that of a number: two of the same size would read each other's bits.
fn number_type<T: 'static>() -> Option<ElementType> {
    fn one<T: 'static, E: Element>() -> Option<ElementType> {
        (TypeId::of::<T>() == TypeId::of::<E>()).then_some(E::TYPE)
    }
    let integers = || one::<T, u8>().or(one::<T, i8>()).or(one::<T, u16>()).or(one::<T, i16>()).or(one::<T, u32>());
    let longer = || one::<T, i32>().or(one::<T, u64>()).or(one::<T, i64>()).or(one::<T, u128>()).or(one::<T, i128>());
    let floats = || one::<T, f32>().or(one::<T, f64>());
    integers().or_else(longer).or_else(floats)
}

/// A value of plain bytes that is read and replaced as a whole: a counter, a status.
///
/// Reads never wait and never see a mixture. A value of up to 8 bytes is one atomic word. A larger value lies in one of 8
/// slots: a store writes a slot that is not current and makes that slot current. So a store waits only while 7 others are
/// under way, in processes that are stopped in the middle, for example. The `try_` forms fail with
/// [`Error::TimedOut`] then.
///
/// ```
/// # let name = format!("doc-shared-value-{}", std::process::id());
/// # let arena = faretra::Arena::options().keep(false).create(&name)?;
/// let range = arena.shared_value("range", [0_u64, 10])?;    // the same in every process
/// range.update(|[from, to]| [from + 1, to])?;
/// assert_eq!(range.load()?, [1, 10]);
/// assert_eq!(range.compare_exchange([1, 10], [2, 20])?, Ok([1, 10]));
/// range.store([0, 0])?;
/// # Ok::<(), faretra::Error>(())
/// ```
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

    /// Returns the current value.
    pub fn load(&self) -> Result<T> {
        let core = self.handle.core()?;
        if Self::is_word() {
            return Ok(from_words(&[core.load_word(self.word(core))]));
        }
        with_words::<T, _>(|words| core.load_slots(self.slots, words).map(|_| from_words(words)))
    }

    /// Replaces the value by `value`, whatever it was.
    pub fn store(&self, value: T) -> Result<()> {
        self.store_by(value, Until::Forever)
    }

    /// Replaces the value by `value`, and fails with [`Error::TimedOut`] if all slots are taken now.
    pub fn try_store(&self, value: T) -> Result<()> {
        self.store_by(value, Until::Now)
    }

    /// Replaces the value by `value`, and fails with [`Error::TimedOut`] if all slots are still taken
    /// after `timeout`.
    pub fn store_timeout(&self, value: T, timeout: Duration) -> Result<()> {
        self.store_by(value, Until::Within(timeout))
    }

    /// Replaces the value by `value`, and fails with [`Error::TimedOut`] if all slots are still taken
    /// at `deadline`.
    pub fn store_deadline(&self, value: T, deadline: Instant) -> Result<()> {
        self.store_by(value, Until::deadline(deadline))
    }

    fn store_by(&self, value: T, until: Until) -> Result<()> {
        let core = self.handle.core()?;
        if Self::is_word() {
            core.store_word(self.word(core), to_word(&value));
            return Ok(());
        }
        with_words::<T, _>(|words| {
            to_words(&value, words);
            core.store_slots(self.slots, words, until)
        })
    }

    /// Replaces the value by what `next` makes of it, and returns the value that was replaced. `next` runs again if somebody
    /// else replaced the value meanwhile.
    pub fn update(&self, next: impl FnMut(T) -> T) -> Result<T> {
        self.update_by(next, Until::Forever)
    }

    /// Replaces the value by what `next` makes of it, as [`SharedValue::update`] does. Fails with
    /// [`Error::TimedOut`] if all slots are taken now; then `next` did not run.
    pub fn try_update(&self, next: impl FnMut(T) -> T) -> Result<T> {
        self.update_by(next, Until::Now)
    }

    /// Replaces the value by what `next` makes of it, as [`SharedValue::update`] does. Fails with
    /// [`Error::TimedOut`] if all slots are still taken after `timeout`; then `next` did not run.
    pub fn update_timeout(&self, next: impl FnMut(T) -> T, timeout: Duration) -> Result<T> {
        self.update_by(next, Until::Within(timeout))
    }

    /// Replaces the value by what `next` makes of it, as [`SharedValue::update`] does. Fails with
    /// [`Error::TimedOut`] if all slots are still taken at `deadline`; then `next` did not run.
    pub fn update_deadline(&self, next: impl FnMut(T) -> T, deadline: Instant) -> Result<T> {
        self.update_by(next, Until::deadline(deadline))
    }

    fn update_by(&self, mut next: impl FnMut(T) -> T, until: Until) -> Result<T> {
        let before = self.change(until, |value| Some(next(value)))?;
        Ok(before.unwrap_or_else(|now| now))
    }

    /// Replaces the value by `new` if its bytes are those of `current`. Returns the value that was there before, in `Ok` if
    /// it was replaced and in `Err` if not, as the atomics of the standard library do.
    pub fn compare_exchange(&self, current: T, new: T) -> Result<std::result::Result<T, T>> {
        self.exchange_by(current, new, Until::Forever)
    }

    /// Replaces the value as [`SharedValue::compare_exchange`] does. Fails with
    /// [`Error::TimedOut`] if all slots are taken now.
    pub fn try_compare_exchange(&self, current: T, new: T) -> Result<std::result::Result<T, T>> {
        self.exchange_by(current, new, Until::Now)
    }

    /// Replaces the value as [`SharedValue::compare_exchange`] does. Fails with
    /// [`Error::TimedOut`] if all slots are still taken after `timeout`.
    pub fn compare_exchange_timeout(&self, current: T, new: T, timeout: Duration) -> Result<std::result::Result<T, T>> {
        self.exchange_by(current, new, Until::Within(timeout))
    }

    /// Replaces the value as [`SharedValue::compare_exchange`] does. Fails with
    /// [`Error::TimedOut`] if all slots are still taken at `deadline`.
    pub fn compare_exchange_deadline(
        &self,
        current: T,
        new: T,
        deadline: Instant,
    ) -> Result<std::result::Result<T, T>> {
        self.exchange_by(current, new, Until::deadline(deadline))
    }

    fn exchange_by(&self, current: T, new: T, until: Until) -> Result<std::result::Result<T, T>> {
        let same = |value: &T| bytemuck::bytes_of(value) == bytemuck::bytes_of(&current);
        self.change(until, |value| same(&value).then_some(new))
    }

    /// `Ok(before)`: changed; `Err(now)`: `next` made nothing of it.
    fn change(&self, until: Until, mut next: impl FnMut(T) -> Option<T>) -> Result<std::result::Result<T, T>> {
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
        let changed = with_words::<T, _>(|words| core.update_slots(self.slots, words, until, change))?;
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
        Ok(changed.map_or(Err(before), |()| Ok(before)))
    }
}
