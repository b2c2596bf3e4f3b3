//! Values as words, as they lie in the arena.

use bytemuck::Pod;

use crate::core::geometry::lock;
use crate::core::lock::Form;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::word::Id;
use crate::error::{Error, Result};
use crate::sync::MAX_VALUE;

pub(super) fn value_fits<T>() -> Result<()> {
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
pub(super) fn with_words<T, R>(f: impl FnOnce(&mut [u64]) -> R) -> R {
    const FEW: usize = 16;
    let len = size_of::<T>().div_ceil(8);
    if len <= FEW { f(&mut [0; FEW][..len]) } else { f(&mut vec![0; len]) }
}

/// A value as words, the last one padded with zeros.
pub(super) fn to_words<T: Pod>(value: &T, words: &mut [u64]) {
    for (word, chunk) in words.iter_mut().zip(bytemuck::bytes_of(value).chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(bytes);
    }
}

/// A value of up to 8 bytes as one word.
pub(super) fn to_word<T: Pod>(value: &T) -> u64 {
    let mut word = [0];
    to_words(value, &mut word);
    word[0]
}

pub(super) fn from_words<T: Pod>(words: &[u64]) -> T {
    let mut value = T::zeroed();
    for (to, word) in bytemuck::bytes_of_mut(&mut value).chunks_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
    }
    value
}

/// Writes the first value of a new object.
pub(super) fn fill<T: Pod>(core: &Core<Posix>, id: Id, form: &Form, initial: &T) {
    if form.slots == 0 {
        core.store_word(core.lock_word(id, lock::STATE), to_word(initial));
    } else {
        with_words::<T, _>(|words| {
            to_words(initial, words);
            core.fill_slots(core.slots_of(id, form), words);
        });
    }
}
