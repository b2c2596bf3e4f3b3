//! How long waiters of a process spin: longer where that was worth it, hardly where it was not. (After the adaptive mutexes
//! of glibc.)

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

/// Where spinning begins, and what is left of it when it is never worth it.
const LEAST: u32 = 8;

/// How often a waiter looks again before it sleeps.
#[derive(Debug, Default)]
pub struct Spin {
    most: AtomicU32,
    now: AtomicU32,
}

impl Spin {
    /// Sets how often a waiter looks again at most. On one processor, spinning keeps the others from working.
    pub fn set(&self, most: u32) {
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        let most = if alone { 0 } else { most };
        self.most.store(most, Relaxed);
        self.now.store(most, Relaxed);
    }

    /// What [`Spin::set`] set.
    pub fn most(&self) -> u32 {
        self.most.load(Relaxed)
    }

    /// How often a waiter looks again now.
    pub fn looks(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Says how that went: after so many looks a waiter had what it waited for; `None`: it had not.
    pub fn spun(&self, looks: Option<u32>) {
        let (most, now) = (self.most.load(Relaxed), self.now.load(Relaxed));
        let next = match looks {
            Some(looks) => now.max(looks.saturating_mul(2)),
            None => now - now / 8,
        };
        self.now.store(next.clamp(LEAST.min(most), most), Relaxed);
    }
}
