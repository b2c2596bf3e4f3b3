//! What is kept for a while for whom it was promised to: pins, plans, statements.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Values that go after a time in which nobody asked for them, or when there are too many.
#[derive(Debug)]
pub(crate) struct Kept<K, V> {
    time: Duration,
    most: usize,
    all: Mutex<HashMap<K, (V, Instant)>>,
}

impl<K: Eq + Hash + Clone, V: Clone> Kept<K, V> {
    /// Keeps up to `most` values for `time`.
    pub(crate) fn new(time: Duration, most: usize) -> Kept<K, V> {
        Kept { time, most, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a value stays.
    pub(crate) fn time(&self) -> Duration {
        self.time
    }

    /// Keeps a value, instead of the oldest one if there are too many.
    pub(crate) fn insert(&self, key: K, value: V) {
        let mut all = self.all();
        if all.len() >= self.most && !all.contains_key(&key) {
            let oldest = all.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            oldest.and_then(|key| all.remove(&key));
        }
        all.insert(key, (value, Instant::now() + self.time));
    }

    /// A value that is still kept; its time begins anew.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let now = Instant::now();
        let mut all = self.all();
        let (value, until) = all.get_mut(key).filter(|(_, until)| *until > now)?;
        *until = now + self.time;
        Some(value.clone())
    }

    /// Lets go of a value.
    pub(crate) fn remove(&self, key: &K) -> Option<V> {
        self.all().remove(key).map(|(value, _)| value)
    }

    /// Lets go of what nobody asked for in time.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.all().retain(|_, (_, until)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that what was kept too long, and the oldest of too many, goes.
    #[test]
    fn what_is_kept_ends() {
        let kept = Kept::new(Duration::from_secs(3600), 2);
        for key in ["a", "b", "c"] {
            kept.insert(key, key);
            // Of two that were kept at the same moment, either is the oldest.
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!((kept.get(&"a"), kept.get(&"b"), kept.get(&"c")), (None, Some("b"), Some("c")));
        assert_eq!((kept.remove(&"b"), kept.get(&"b")), (Some("b"), None));
        let brief = Kept::new(Duration::ZERO, 2);
        brief.insert("a", "a");
        assert_eq!(brief.get(&"a"), None);
        brief.sweep();
        assert!(brief.all().is_empty());
    }
}
