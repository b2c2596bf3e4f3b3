//! Free slots that this process freed last, which it uses again first: a private hint, without a lock.
//!
//! A stack of a few cells. Each is 0, or a slot plus one, and is filled and emptied by one exact swap; so a slot comes out as
//! often as it went in. Where the top is, is a hint: threads that meet there may leave a slot above it, which is found when the
//! stack grows past it, or by [`Stash::take_all`].

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

const CELLS: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Stash {
    /// There from the first time on that somebody asks: only who allocates keeps slots back.
    cells: OnceLock<Box<[AtomicU64]>>,
    /// How many cells may be full.
    top: AtomicU64,
}

impl Stash {
    /// A slot that was pushed, the last one if no other thread is at it.
    #[inline]
    pub(crate) fn pop(&self) -> Option<u64> {
        let cells = self.cells();
        let top = (self.top.load(Relaxed) as usize).min(CELLS);
        let full = cells[..top].iter().rposition(|cell| cell.load(Relaxed) != 0)?;
        self.top.store(full as u64, Relaxed);
        cells[full].swap(0, Relaxed).checked_sub(1)
    }

    /// Keeps a slot. `false`: there is no room for it, or nobody allocates here.
    #[inline]
    pub(crate) fn push(&self, slot: u64) -> bool {
        let Some(cells) = self.cells.get() else { return false };
        let top = self.top.load(Relaxed);
        let Some(cell) = cells.get(top as usize) else { return false };
        // Told before: another thread that pushes meanwhile goes above.
        self.top.store(top + 1, Relaxed);
        cell.compare_exchange(0, slot + 1, Relaxed, Relaxed).is_ok()
    }

    /// Everything that is kept, wherever the top is.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = u64> {
        let cells = self.cells.get().map(|cells| &cells[..]).unwrap_or_default();
        cells.iter().filter_map(|cell| cell.swap(0, Relaxed).checked_sub(1))
    }

    fn cells(&self) -> &[AtomicU64] {
        self.cells.get_or_init(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last slot that went in comes out first; one that is not asked for keeps nothing, nor does a full one.
    #[test]
    fn the_last_in_is_the_first_out() {
        let stash = Stash::default();
        assert!(!stash.push(7), "nobody allocates here");
        assert_eq!(stash.pop(), None);
        assert!((0..CELLS as u64).all(|slot| stash.push(slot)));
        assert!(!stash.push(99), "full");
        assert_eq!((stash.pop(), stash.pop()), (Some(63), Some(62)));
        assert!(stash.push(5));
        assert_eq!((stash.pop(), stash.pop()), (Some(5), Some(61)));
        assert_eq!(stash.take_all().count(), 61);
        assert_eq!(stash.pop(), None);
    }

    /// Whatever threads do at once, a slot comes out as often as it went in.
    #[test]
    fn nothing_is_doubled_and_nothing_lost() {
        const EACH: u64 = 20_000;
        let stash = Stash::default();
        let _ = stash.pop();
        let out: Vec<u64> = std::thread::scope(|scope| {
            let work = |thread: u64| {
                let stash = &stash;
                move || {
                    let (mut refused, mut came) = (vec![], vec![]);
                    for slot in thread * EACH..(thread + 1) * EACH {
                        if !stash.push(slot) {
                            refused.push(slot);
                        }
                        came.extend(stash.pop());
                    }
                    refused.into_iter().chain(came).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(work(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        let mut all: Vec<u64> = out.into_iter().chain(stash.take_all()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..4 * EACH));
    }
}
