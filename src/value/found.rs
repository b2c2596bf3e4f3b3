//! Where columns lie that this thread found lately, so that who reads the same ones again and again need not look again.
//!
//! * F1: an entry is of one attachment of this process, one life of an object (C2 in `check.rs`), and one name and element
//!   type. Published objects do not change: what was checked when the column was found is true for as long as the object
//!   is pinned, also if its descriptor was damaged since.
//! * F2: nothing of an arena that is [untrusted](crate::Options::untrusted) is remembered: there each read validates.
//!
//! Each thread has a few slots of its own, so that threads do not wait for each other and a fork finds no lock taken. A slot
//! has room for one column, and the next one takes it.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use smol_str::SmolStr;

use crate::value::check::Key;
use crate::value::element::ElementType;
use crate::value::extent::Extent;

/// An attachment, among all that this process ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number(u64);

impl Number {
    /// One that no attachment had.
    pub(crate) fn new() -> Number {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Number(NEXT.fetch_add(1, Relaxed))
    }
}

/// One column of numbers, as it is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub attachment: Number,
    pub key: Key,
    pub element: ElementType,
    pub name: &'a str,
}

struct Found {
    attachment: Number,
    key: Key,
    element: ElementType,
    name: SmolStr,
    at: Extent,
}

/// A power of two.
const SLOTS: usize = 64;

thread_local! {
    static FOUND: RefCell<[Option<Found>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

impl Wanted<'_> {
    /// Columns of one batch differ in the ends of their names, mostly.
    #[inline]
    fn slot(&self) -> usize {
        let last = self.name.as_bytes().last().map_or(0, |byte| usize::from(*byte));
        (self.key.spread() as usize ^ last ^ self.name.len() << 3) % SLOTS
    }

    #[inline]
    fn is(&self, found: &Found) -> bool {
        let same = found.key == self.key && found.attachment == self.attachment && found.element == self.element;
        same && found.name.as_bytes() == self.name.as_bytes()
    }

    /// Where it lies, if this thread knows.
    #[inline]
    pub(crate) fn known(&self) -> Option<Extent> {
        // A thread that ends may have forgotten everything before it reads for the last time.
        let known = FOUND.try_with(|found| {
            let found = found.borrow();
            found[self.slot()].as_ref().filter(|found| self.is(found)).map(|found| found.at)
        });
        known.ok().flatten()
    }

    /// Remembers where it lies.
    pub(crate) fn found(&self, at: Extent) {
        let &Wanted { attachment, key, element, name } = self;
        let new = Found { attachment, key, element, name: name.into(), at };
        // What is forgotten is dropped outside the borrow.
        drop(FOUND.try_with(|found| found.borrow_mut()[self.slot()].replace(new)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::word::{Id, Life, Turn};

    fn key(object: u32, turn: u64) -> Key {
        let id = Id(Id::FIRST + object);
        Key::new(id, id, Life::home(Turn { container: Id(7), turn })).expect("a home is unique")
    }

    /// F1: what differs in anything is not taken for what was found.
    #[test]
    fn only_the_same_column_is_known() {
        let wanted = Wanted { attachment: Number::new(), key: key(3, 5), element: ElementType::F64, name: "price" };
        assert_eq!(wanted.known(), None);
        let at = Extent { offset: 64, len: 8 };
        wanted.found(at);
        assert_eq!(wanted.known(), Some(at));
        let others = [
            Wanted { attachment: Number::new(), ..wanted },
            Wanted { key: key(3, 6), ..wanted },
            Wanted { key: key(4, 5), ..wanted },
            Wanted { element: ElementType::I64, ..wanted },
            Wanted { name: "prise", ..wanted },
            Wanted { name: "pric", ..wanted },
        ];
        assert!(others.iter().all(|other| other.known().is_none()));
        assert_eq!(std::thread::spawn(move || wanted.known()).join().expect("no panic"), None);
        let elsewhere = Extent { offset: 128, len: 8 };
        wanted.found(elsewhere);
        assert_eq!(wanted.known(), Some(elsewhere));
    }

    /// Columns of one batch do not take each other's slots.
    #[test]
    fn columns_of_a_batch_have_slots_of_their_own() {
        let names: Vec<_> = (0..10).map(|i| format!("column-{i}")).collect();
        let wanted = |name| Wanted { attachment: Number(0), key: key(3, 5), element: ElementType::F64, name };
        let slots: std::collections::HashSet<_> = names.iter().map(|name| wanted(name).slot()).collect();
        assert_eq!(slots.len(), names.len());
    }
}
