//! What is read of a batch's values before arrow gets them, and for which objects that was done.
//!
//! arrow trusts the offsets, indices and UTF-8 of an array: with a damaged one, safe code that iterates a column
//! reads outside its memory. So everything of variable width is checked when a process first reads it, and never
//! again while the object lives: published objects do not change. Numbers without nulls need no check.
//!
//! * **C1**: no array is made of offsets, views, keys, run ends, type ids, text or a count of nulls that were not
//!   checked by this process in this life of the object, unless the user vouched for all values.
//! * **C2**: an object is remembered by its id and its root's word. A word that names a place and a turn, or a
//!   lease's ticket, is never used for another life, so memory that is used again is checked again.
//!
//! * **C3**: of an arena that is [`Values::Untrusted`], what is checked (descriptors too) is copied to memory of this process
//!   before that, because a process that does not keep to the rules could write it between the check and the use. Numbers
//!   that have no check stay where they are.
//!
//! The table of what was checked is a hint that may forget: a slot has room for one object, and the next one
//! takes it. Both words of a slot are written without a lock; a reader that meets halves of two entries finds that
//! they do not fit, because the second is stored combined with the first (the lockless hash table of Hyatt and
//! Mann, "A lock-less transposition table implementation for parallel search", 2002).

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arrow_buffer::{ArrowNativeType, Buffer};

use crate::core::word::{Id, Life, State};

/// Whose values an arena's batches are, as the user said when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// The user vouches for them: only bounds are checked.
    Vouched,
    /// Checked once per object and process.
    #[default]
    Checked,
    /// Validated each time, with everything that arrow can validate.
    Untrusted,
}

/// What one reading of a batch has to look at.
#[derive(Clone, Copy)]
pub(crate) enum Trust<'a> {
    /// Bounds; the values were checked before, or somebody vouches for them.
    Writers,
    /// What is of variable width, unless it turns out to be known.
    Ask(&'a Ask<'a>),
    /// Everything, as arrow does for a file.
    Nobody,
    /// Everything, and of copies: somebody may write to the values between the check and the use (C3).
    Others,
}

impl Trust<'_> {
    /// Whether values of variable width are to be checked. Asked when such values are met, and not before.
    #[inline]
    pub(crate) fn look(&self) -> bool {
        match self {
            Trust::Writers => false,
            Trust::Ask(ask) => !ask.is_known(),
            Trust::Nobody | Trust::Others => true,
        }
    }

    /// Whether everything is to be validated that arrow can validate.
    pub(crate) fn validates(&self) -> bool {
        matches!(self, Trust::Nobody | Trust::Others)
    }

    /// Whether what is checked is copied first.
    #[inline]
    pub(crate) fn copies(&self) -> bool {
        matches!(self, Trust::Others)
    }

    /// C3: what is checked is copied first. Where nothing is to be checked, nothing is copied.
    #[inline]
    pub(crate) fn checked(&self, buffer: Buffer) -> Buffer {
        if self.copies() { Buffer::from_slice_ref(buffer.as_slice()) } else { buffer }
    }
}

/// A question that is asked at most once: whether an object's values were checked before.
pub(crate) struct Ask<'a> {
    known: &'a dyn Fn() -> bool,
    answer: Cell<Option<bool>>,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(known: &'a dyn Fn() -> bool) -> Ask<'a> {
        Ask { known, answer: Cell::new(None) }
    }

    fn is_known(&self) -> bool {
        self.answer.get().unwrap_or_else(|| {
            let answer = (self.known)();
            self.answer.set(Some(answer));
            answer
        })
    }

    /// Whether it was asked, and the answer was no: then the values were checked meanwhile.
    pub(crate) fn was_unknown(&self) -> bool {
        self.answer.get() == Some(false)
    }
}

/// One life of an object: its id, and the id and word of the root that it is read through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    object: u64,
    word: u64,
}

impl Key {
    /// `None`: the root's word does not say which life this is.
    #[inline]
    pub(crate) fn new(object: Id, root: Id, word: Life) -> Option<Key> {
        let unique = matches!(word.state(), Some(State::Home(_) | State::Leased(_)));
        unique.then_some(Key { object: u64::from(root.0) << 32 | u64::from(object.0), word: word.0 })
    }

    /// One column of the batch, which is checked and remembered alone; `None`: it has too high an index. An id has
    /// [`Id::BITS`] bits, so that the index, counted from 1, has the free ones above both.
    pub(crate) fn of_column(self, index: usize) -> Option<Key> {
        const FREE: u32 = 32 - Id::BITS;
        let number = index as u64 + 1;
        let (low, high) = (number & ((1 << FREE) - 1), number >> FREE);
        (high < 1 << FREE)
            .then_some(Key { object: self.object | low << Id::BITS | high << (32 + Id::BITS), word: self.word })
    }

    /// A number that keys have which differ, mostly, in its low bits.
    #[inline]
    pub(crate) fn spread(self) -> u64 {
        self.mixed() ^ self.word
    }

    /// The finaliser of splitmix64 (Steele, Lea and Flood, 2014): one to one.
    #[inline]
    fn mixed(self) -> u64 {
        let x = (self.object ^ self.object >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }
}

/// The objects whose values this process has checked.
#[derive(Debug, Default)]
pub(crate) struct Known {
    slots: OnceLock<Box<[[AtomicU64; 2]]>>,
}

/// 1 MiB of address space, in memory as far as it is used.
const SLOTS: usize = 1 << 16;

impl Known {
    fn slot(&self, key: Key) -> &[AtomicU64; 2] {
        let slots = self.slots.get_or_init(|| bytemuck::allocation::zeroed_slice_box(SLOTS));
        &slots[key.spread() as usize % SLOTS]
    }

    pub(crate) fn has(&self, key: Key) -> bool {
        let [object, word] = self.slot(key);
        object.load(Relaxed) == key.object && word.load(Relaxed) == key.word ^ key.mixed()
    }

    pub(crate) fn add(&self, key: Key) {
        let [object, word] = self.slot(key);
        object.store(key.object, Relaxed);
        word.store(key.word ^ key.mixed(), Relaxed);
    }
}

/// The first entry of offsets that do not rise.
pub(crate) fn falls<O: ArrowNativeType>(offsets: &[O]) -> Option<usize> {
    // Without an early exit, so that the compiler compares many at a time.
    let rising = offsets.windows(2).fold(true, |rising, pair| rising & (pair[0] <= pair[1]));
    match rising {
        true => None,
        false => offsets.windows(2).position(|pair| pair[0] > pair[1]),
    }
}

/// The first entry of these offsets, which rise and end inside `text`, whose bytes are not UTF-8.
pub(crate) fn not_utf8<O: ArrowNativeType>(offsets: &[O], text: &[u8]) -> Option<usize> {
    let (first, last) = (offsets.first()?.as_usize(), offsets.last()?.as_usize());
    let used = text.get(first..last)?;
    if used.is_ascii() {
        return None;
    }
    // All of it at once, and then that no entry begins inside a character: continuation bytes are 10xxxxxx.
    let splits = |offset: &O| text.get(offset.as_usize()).is_some_and(|byte| byte & 0xc0 == 0x80);
    if simdutf8::basic::from_utf8(used).is_ok() {
        // The entry before ends there. (The first begins where all of it begins.)
        return offsets.iter().take(offsets.len() - 1).position(splits).map(|next| next.saturating_sub(1));
    }
    let entry = |pair: &[O]| text.get(pair[0].as_usize()..pair[1].as_usize());
    offsets.windows(2).position(|pair| entry(pair).is_none_or(|text| simdutf8::basic::from_utf8(text).is_err()))
}

/// The most bytes that a view has in itself; one that says more names a buffer.
const INLINE: u32 = 12;

/// The first of these views that does not lie in these buffers, does not begin as it says, has bits where it has no bytes,
/// or is not UTF-8 where it is to be text.
pub(crate) fn bad_view(views: &[u128], buffers: &[Buffer], text: bool) -> Option<usize> {
    views.iter().position(|view| {
        let len = *view as u32;
        let fine = if len <= INLINE {
            let (bytes, used) = (view >> 32, 8 * len);
            // Most text is ASCII, and then nothing more is to be looked at.
            let ascii = bytes & 0x8080_8080_8080_8080_8080_8080 == 0;
            bytes >> used == 0
                && (!text || ascii || simdutf8::basic::from_utf8(&bytes.to_le_bytes()[..len as usize]).is_ok())
        } else {
            let (index, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
            let value = buffers.get(index).and_then(|buffer| buffer.get(offset..offset + len as usize));
            let begins = ((view >> 32) as u32).to_le_bytes();
            value.is_some_and(|v| v.starts_with(&begins) && (!text || simdutf8::basic::from_utf8(v).is_ok()))
        };
        !fine
    })
}

#[cfg(test)]
mod tests {
    use arrow_data::{validate_binary_view, validate_string_view};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::core::word::{Owner, Ticket, Turn};

    fn key(object: u32, turn: u64) -> Key {
        let at = Turn { container: Id(Id::FIRST + 3), turn };
        Key::new(Id(Id::FIRST + object), Id(Id::FIRST + object), Life::home(at)).expect("a home is unique")
    }

    #[test]
    fn another_life_of_an_object_is_not_known() {
        let known = Known::default();
        for object in 0..100 {
            known.add(key(object, 7));
            assert!(known.has(key(object, 7)));
            assert!(!known.has(key(object, 8)) && !known.has(key(object + 1, 7)));
        }
        assert_eq!(Key::new(Id(9), Id(9), Life::LOOSE), None);
        let ticket = Ticket::new(Owner { seat: 1, incarnation: 2 }, 3);
        assert_eq!(Key::new(Id(9), Id(9), Life::back(ticket)), None);
        let leased = |object, root| Key::new(Id(object), Id(root), Life::leased(ticket)).expect("a ticket is unique");
        assert_ne!(leased(9, 10), leased(10, 10));
    }

    /// A column is another key than its batch, than every other column, and than every column of another batch.
    #[test]
    fn a_column_is_known_alone() {
        let key = |object, root| {
            let at = Turn { container: Id(Id::FIRST + 3), turn: 7 };
            Key::new(Id(object), Id(root), Life::home(at)).expect("a home is unique")
        };
        let (last, first) = (Id::MAX - 1, Id::FIRST);
        let mut all = std::collections::HashSet::new();
        for batch in [key(last, last), key(first, last), key(last, first), key(first, first)] {
            assert!(all.insert(batch.object));
            for column in 0..4095 {
                assert!(all.insert(batch.of_column(column).expect("an index with 12 bits").object));
            }
            assert_eq!(batch.of_column(4095), None);
        }
    }

    /// Halves of two entries in one slot are no entry.
    #[test]
    fn halves_of_two_entries_fit_together_nowhere() {
        let known = Known::default();
        let (a, b) = (key(1, 7), key(2, 9));
        let mixed = Key { object: a.object, word: b.word };
        known.add(a);
        known.slot(mixed)[0].store(a.object, Relaxed);
        known.slot(mixed)[1].store(b.word ^ b.mixed(), Relaxed);
        assert!(!known.has(mixed));
    }

    #[test]
    fn text_is_checked_entry_by_entry() {
        let offsets = [1, 1, 4, 6];
        assert_eq!(falls(&offsets), None);
        assert_eq!(falls(&[0, 5, 4, 6]), Some(1));
        assert_eq!(not_utf8(&offsets, b"\xffabcde"), None);
        assert_eq!(not_utf8(&offsets, "xaäbc\u{ff}".as_bytes()), None);
        assert_eq!(not_utf8(&[0, 2, 4], "aäb".as_bytes()), Some(0), "it ends inside a character");
        assert_eq!(not_utf8(&[0, 2, 4], b"ab\xff\xff"), Some(1));
        assert_eq!(not_utf8(&[0, 1, 3], "äb".as_bytes()), Some(0));
        assert_eq!(not_utf8::<i32>(&[0], b""), None);
    }
    /// Views are judged as arrow judges them, which looks at each in a slower way.
    #[test]
    fn views_are_judged_as_arrow_does() {
        let text = "ASCII, größer, and 漢字 behind it, twice: größer, 漢字".as_bytes().to_vec();
        proptest!(|(
            mut text in proptest::strategy::Just(text),
            rows in proptest::collection::vec((0..40_u32, 0..3_u32, 0..60_u32), 0..6),
            flips in proptest::collection::vec((any::<usize>(), 0..128_u32), 0..2),
            broken in proptest::option::weighted(0.2, 0..40_usize),
        )| {
            if let Some(at) = broken {
                text[at] = 0xff;
            }
            let buffers = [Buffer::from(text.clone()), Buffer::from(vec![b'x'; 30])];
            let mut views: Vec<u128> = rows.into_iter().map(|(len, index, offset)| {
                let from = |all: &[u8]| all.get(offset as usize..(offset + len) as usize).map(<[u8]>::to_vec);
                let bytes = buffers.get(index as usize).and_then(|b| from(b)).unwrap_or(vec![b'x'; len as usize]);
                let mut view = [0; 16];
                view[..4].copy_from_slice(&len.to_le_bytes());
                if len <= INLINE {
                    view[4..4 + bytes.len()].copy_from_slice(&bytes);
                } else {
                    view[4..8].copy_from_slice(&bytes[..4]);
                    view[8..12].copy_from_slice(&index.to_le_bytes());
                    view[12..].copy_from_slice(&offset.to_le_bytes());
                }
                u128::from_le_bytes(view)
            }).collect();
            for (row, bit) in flips {
                let rows = views.len().max(1);
                if let Some(view) = views.get_mut(row % rows) {
                    *view ^= 1 << bit;
                }
            }
            prop_assert_eq!(bad_view(&views, &buffers, true).is_none(), validate_string_view(&views, &buffers).is_ok());
            prop_assert_eq!(bad_view(&views, &buffers, false).is_none(), validate_binary_view(&views, &buffers).is_ok());
        });
    }
}
