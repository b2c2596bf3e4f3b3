//! Large pieces of work, done by several threads of this process at once.
//!
//! One core can neither enter fresh pages nor copy as fast as memory allows: two threads on two cores take 0.6 of the time
//! of one for either (64 MiB and 512 MiB). Plasma copied with six threads by default. Ours live as long as the call: a
//! process that does nothing has no thread more, and what a fork inherits does not change.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, scope};

use crate::core::kernel::{block_signals, idle_processors, processors};

/// What is done at once, in bytes. Threads that start late do less of it.
const PART: u64 = 1 << 20;
/// More threads than this have nothing more to gain from memory.
const MOST: u64 = 4;
/// What the threads need to call a function that copies.
const STACK: usize = 64 << 10;

/// Who works on some bytes.
#[derive(Clone, Copy, Debug)]
pub struct Crew {
    threads: u64,
    part: u64,
}

impl Crew {
    /// For so many bytes, of which `least` are worth a thread: it takes some 100 us until one is there. Four at most, and no
    /// more than there are processors without work: on a busy machine a thread begins when all is done, and is waited for.
    pub fn new(len: u64, least: u64) -> Crew {
        let worth = (len / least).min(MOST);
        let threads = if worth > 1 { worth.min(processors()).min(idle_processors().saturating_add(1)) } else { 1 };
        Crew { threads, part: if threads > 1 { PART } else { len.max(1) } }
    }

    /// Whether the calling thread works alone.
    pub fn is_one(self) -> bool {
        self.threads == 1
    }

    /// Bytes of each part that the work is to be cut into. All but the last are that long; a multiple of the page size if
    /// there are several.
    pub fn part(self) -> u64 {
        self.part
    }

    /// Runs `work` on each part, here and on the other threads. Returns when all are done. Where no thread can be started,
    /// all is done here.
    ///
    /// # Panics
    ///
    /// If `work` does.
    pub fn share_out<T: Send>(self, parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        let parts = Mutex::new(parts);
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            while let Some(part) = next() {
                work(part);
            }
        };
        if self.threads == 1 {
            return run();
        }
        scope(|scope| {
            for _ in 1..self.threads {
                let blocked = || {
                    // A signal is for a thread that waits or runs the user's code.
                    block_signals();
                    run();
                };
                if Builder::new().stack_size(STACK).spawn_scoped(scope, blocked).is_err() {
                    break;
                }
            }
            run();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Every part is done once, by as many threads as there may be.
    #[test]
    fn every_part_is_done_once() {
        for threads in 1..=MOST {
            let done: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
            Crew { threads, part: 1 }.share_out(0..100, |part: usize| {
                done[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
        }
    }

    /// Little work starts no thread, and has one part.
    #[test]
    fn little_work_is_done_here() {
        for len in [0, 1, 8191] {
            let crew = Crew::new(len, 4096);
            assert_eq!((crew.threads, crew.part), (1, len.max(1)));
        }
        let crew = Crew::new(1 << 30, 4096);
        assert!((1..=MOST).contains(&crew.threads) && crew.part.is_multiple_of(4096));
    }
}
