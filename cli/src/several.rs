//! Work on several threads, whose results come in the order of the work.
//!
//! - [`all`]: some pieces of work that are there, each done by whichever thread is free.
//! - [`InOrder`]: pieces of work that come one after the other, as those of a file do; so many of them are under way that
//!   memory stays bounded.
//!
//! What is decoded or encoded on such a thread is as quiet in its panics as on the first one ([`panics`]).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism, scope};

use nix::sys::signal::SigSet;

use crate::panics;

/// Threads that work at once, at most.
const MOST: usize = 16;

/// How many threads work at once: as many as there are processors.
pub fn threads() -> usize {
    available_parallelism().map_or(1, usize::from).min(MOST)
}

/// A signal is for the thread that the verb runs on, whose waits it ends.
fn leave_signals() {
    let _ = SigSet::all().thread_block();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does each piece of work, here and on other threads, and returns what came of them, in their order. A panic in `work` is
/// one here.
pub fn all<T: Send, R: Send>(pieces: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let others = threads().min(pieces.len()).saturating_sub(1);
    if others == 0 {
        return pieces.into_iter().map(work).collect();
    }
    let results: Vec<Mutex<Option<R>>> = pieces.iter().map(|_| Mutex::new(None)).collect();
    let pieces = Mutex::new(pieces.into_iter().zip(&results));
    let next = || lock(&pieces).next();
    let run = || {
        while let Some((piece, result)) = next() {
            *lock(result) = Some(work(piece));
        }
    };
    let said = scope(|scope| {
        let other = || {
            leave_signals();
            panics::caught(run)
        };
        let others: Vec<_> = (0..others).map_while(|_| Builder::new().spawn_scoped(scope, other).ok()).collect();
        run();
        others.into_iter().find_map(|thread| thread.join().ok()?.err())
    });
    if let Some(text) = said {
        std::panic::resume_unwind(Box::new(text));
    }
    results.into_iter().filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner)).collect()
}

/// What threads have made of pieces of work, in the order of the pieces.
pub struct InOrder<R> {
    shared: Arc<dyn Shared<R>>,
    threads: Vec<JoinHandle<()>>,
}

/// How far the work is.
struct State<R> {
    /// What is done, by its number, and was not taken yet.
    done: BTreeMap<u64, R>,
    /// The number of the next piece of work.
    next: u64,
    /// The number of what is taken next.
    taken: u64,
    /// There is no more work.
    ended: bool,
    /// What a panic said.
    gave_up: Option<String>,
}

struct Work<J, F, R> {
    pieces: Mutex<J>,
    work: F,
    state: Mutex<State<R>>,
    changed: Condvar,
    /// Pieces that are under way or done and not taken, at most.
    ahead: u64,
}

trait Shared<R>: Send + Sync {
    /// Works on pieces until there are none, or on one.
    fn run(&self, only_one: bool);
    /// What comes next, which is waited for if somebody works on it.
    fn take(&self, worked_on: bool) -> Option<R>;
    /// Lets the threads end.
    fn end(&self);
}

impl<J, T, F, R> Shared<R> for Work<J, F, R>
where
    J: Iterator<Item = T> + Send,
    F: Fn(T) -> R + Send + Sync,
    R: Send,
{
    fn run(&self, only_one: bool) {
        loop {
            // The pieces' own lock, so that results are taken while a piece is read.
            let mut pieces = lock(&self.pieces);
            let mut state = lock(&self.state);
            while !state.ended && state.next >= state.taken + self.ahead {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.ended {
                return;
            }
            let number = state.next;
            drop(state);
            let piece = panics::caught(|| pieces.next());
            let mut state = lock(&self.state);
            let made = match piece {
                Ok(Some(piece)) => {
                    state.next += 1;
                    drop(state);
                    drop(pieces);
                    panics::caught(|| (self.work)(piece))
                }
                Ok(None) => {
                    state.ended = true;
                    self.changed.notify_all();
                    return;
                }
                Err(text) => Err(text),
            };
            let mut state = lock(&self.state);
            match made {
                Ok(result) => drop(state.done.insert(number, result)),
                Err(text) => {
                    state.ended = true;
                    state.gave_up.get_or_insert(text);
                }
            }
            self.changed.notify_all();
            if only_one || state.ended && state.gave_up.is_some() {
                return;
            }
        }
    }

    fn take(&self, worked_on: bool) -> Option<R> {
        let mut state = lock(&self.state);
        loop {
            if let Some(text) = state.gave_up.take() {
                drop(state);
                std::panic::resume_unwind(Box::new(text));
            }
            let number = state.taken;
            if let Some(result) = state.done.remove(&number) {
                state.taken += 1;
                self.changed.notify_all();
                return Some(result);
            }
            if state.ended && state.taken >= state.next {
                return None;
            }
            if !worked_on {
                drop(state);
                self.run(true);
                state = lock(&self.state);
                continue;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }
}

impl<R: Send + 'static> InOrder<R> {
    /// Does `work` on each piece, on so many threads, so that at most `ahead` pieces are under way or wait to be taken.
    /// Where no thread can be started, a piece is worked on when its result is asked for.
    pub fn new<T>(
        pieces: impl Iterator<Item = T> + Send + 'static,
        threads: usize,
        ahead: u64,
        work: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> InOrder<R>
    where
        T: 'static,
    {
        let state = State { done: BTreeMap::new(), next: 0, taken: 0, ended: false, gave_up: None };
        let shared =
            Work { pieces: Mutex::new(pieces), work, state: Mutex::new(state), changed: Condvar::new(), ahead };
        let shared: Arc<dyn Shared<R>> = Arc::new(shared);
        let start = |_| {
            let shared = Arc::clone(&shared);
            let run = move || {
                leave_signals();
                shared.run(false);
            };
            Builder::new().spawn(run).ok()
        };
        let threads = (0..threads).map_while(start).collect();
        InOrder { shared, threads }
    }
}

impl<R> Iterator for InOrder<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        self.shared.take(!self.threads.is_empty())
    }
}

impl<R> Drop for InOrder<R> {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            // Its panics were caught.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{InOrder, all};
    use crate::panics;

    /// All pieces are worked on once, and what comes of them is in their order, whichever thread was the first.
    #[test]
    fn results_come_in_the_order_of_the_work() {
        let slow = |n: u64| {
            // The earlier ones of each ten are the slower ones.
            (0..(10 - n % 10) * 2000).fold(n, |a, b| std::hint::black_box(a ^ b ^ b));
            n
        };
        let expected: Vec<u64> = (0..500).collect();
        assert_eq!(all(expected.clone(), slow), expected);
        for threads in 0..4 {
            let made: Vec<u64> = InOrder::new(0..500, threads, 7, slow).collect();
            assert_eq!(made, expected, "{threads} threads");
        }
    }

    /// No more pieces are begun than may wait, however slowly they are taken; and none after it is dropped.
    #[test]
    fn no_more_is_under_way_than_was_allowed() {
        let begun = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&begun);
        let pieces = (0..1000_u64).inspect(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let mut made = InOrder::new(pieces, 3, 5, |n| n);
        for taken in 0..100 {
            assert_eq!(made.next(), Some(taken));
            assert!(begun.load(Ordering::SeqCst) <= taken + 1 + 5);
        }
        drop(made);
        assert!(begun.load(Ordering::SeqCst) <= 105);
    }

    /// A panic in the work is one of who asks for results, and no wait for ever.
    #[test]
    fn a_panic_reaches_who_asks() {
        for threads in [0, 2] {
            let made = InOrder::new(0..100, threads, 4, |n| assert!(n != 20, "twenty is too many"));
            assert!(panics::caught(|| made.count()).unwrap_err().contains("twenty"), "{threads} threads");
        }
        let panics = panics::caught(|| all((0..100).collect(), |n: u32| assert!(n != 20, "twenty is too many")));
        assert!(panics.unwrap_err().contains("twenty"));
    }
}
