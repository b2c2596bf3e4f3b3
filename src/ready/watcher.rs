//! The thread that sleeps on the bells of what descriptors and futures wait for, and tells them.
//!
//! One thread serves a group: what the kernel lets it sleep on at once. It does what [`crate::core::bells`] says: arms all, looks at all again, tells those that are
//! ready and forgets them, and sleeps on the rest and on its own door, which is rung when something is added or taken out.
//! While its group is empty it sleeps on the door alone.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::core::bells::{Awaited, arm_all, sleep_on_all};
use crate::core::forked::PerProcess;
use crate::core::kernel::{Flag, MOST_WORDS, block_signals};
use crate::core::segment::Posix;
use crate::core::sys::{Doorbell, Sys};
use crate::core::wait::SLICE;
use crate::error::{Error, Result};
use crate::ready::source::Source;

/// How a waiter is told.
#[derive(Clone, Debug)]
pub(crate) enum Tell {
    /// By making a descriptor readable.
    Flag(Arc<Flag>),
    #[cfg_attr(not(feature = "async"), expect(dead_code, reason = "futures have wakers"))]
    Waker(Waker),
}

/// Something that is watched until it is ready once.
#[derive(Debug)]
struct Watched {
    source: Source,
    tell: Tell,
}

impl Awaited<Posix> for Arc<Watched> {
    fn bell(&self) -> Option<(&crate::core::seat::Core<Posix>, u64)> {
        self.source.bell()
    }

    fn is_ready(&self) -> bool {
        self.source.is_ready()
    }
}

/// What one thread watches.
#[derive(Debug, Default)]
struct Group {
    door: Doorbell,
    watched: Mutex<Vec<Arc<Watched>>>,
    thread: OnceLock<ThreadId>,
}

/// The threads of a process.
#[derive(Debug, Default)]
struct Watchers {
    groups: Mutex<Vec<Arc<Group>>>,
}

static WATCHERS: PerProcess<Watchers> = PerProcess::new();

/// A thread sleeps on its door, too.
const MOST_WATCHED: usize = MOST_WORDS - 1;

/// Keeps something watched, until it is ready or this is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    group: Arc<Group>,
    watched: Arc<Watched>,
}

/// Watches something until it is ready, and then tells that once.
pub(crate) fn watch(source: Source, tell: Tell) -> Result<Watch> {
    // In a forked child nothing below is ours.
    source.core()?;
    let watchers = WATCHERS.get(Watchers::default)?;
    let watched = Arc::new(Watched { source, tell });
    let mut groups = watchers.groups.lock().unwrap_or_else(PoisonError::into_inner);
    for group in groups.iter() {
        let mut list = group.list();
        if list.len() < MOST_WATCHED {
            list.push(watched.clone());
            drop(list);
            group.door.ring();
            return Ok(Watch { group: group.clone(), watched });
        }
    }
    let group = Arc::new(Group::default());
    group.list().push(watched.clone());
    let theirs = group.clone();
    let thread = std::thread::Builder::new().name("faretra-watch".into()).spawn(move || theirs.run());
    thread.map_err(|source| Error::Os { action: "start", path: "a thread that watches".into(), source })?;
    groups.push(group.clone());
    Ok(Watch { group, watched })
}

impl Drop for Watch {
    /// Afterwards its thread has let go of it: an end of a channel is left when its last handle is dropped, and not later.
    fn drop(&mut self) {
        // What came through fork is the parent's, and may be locked for ever.
        if self.watched.source.core().is_err() {
            return;
        }
        drop(self.group.take_out(&self.watched));
        if self.group.is_its_thread() || Arc::strong_count(&self.watched) == 1 {
            return;
        }
        // It neither runs others' code nor waits for anybody while it has this.
        self.group.door.ring();
        while Arc::strong_count(&self.watched) != 1 {
            std::thread::sleep(Duration::from_micros(5));
        }
    }
}

impl Group {
    fn list(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_out(&self, watched: &Arc<Watched>) -> Option<Arc<Watched>> {
        let mut list = self.list();
        let index = list.iter().position(|other| Arc::ptr_eq(other, watched))?;
        Some(list.swap_remove(index))
    }

    fn is_its_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }

    fn run(&self) {
        // Signals are for the program's own threads.
        block_signals();
        let _ = self.thread.set(std::thread::current().id());
        let mut looked = Instant::now();
        loop {
            let ready = self.sleep_and_look(&mut looked);
            for tell in ready {
                match tell {
                    Tell::Flag(flag) => flag.raise(),
                    // Others' code, whose panic is not to end this thread.
                    Tell::Waker(waker) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()))),
                }
            }
        }
    }

    /// Sleeps until something may be ready. Returns whom to tell of what is, and has let go of that.
    fn sleep_and_look(&self, looked: &mut Instant) -> Vec<Tell> {
        let door = self.door.now();
        let all = self.list().clone();
        if all.is_empty() {
            Posix::sleep_any(&[], Some((&self.door, door)), Duration::from_secs(3600));
            *looked = Instant::now();
            return vec![];
        }
        let armed = arm_all(&all);
        let ready: Vec<_> = all.iter().filter(|watched| watched.is_ready()).collect();
        if !ready.is_empty() {
            // Not those that were taken out meanwhile.
            let theirs = ready.into_iter().filter_map(|watched| self.take_out(watched));
            return theirs.map(|watched| watched.tell.clone()).collect();
        }
        sleep_on_all(&armed, Some((&self.door, door)), SLICE.saturating_sub(looked.elapsed()));
        if looked.elapsed() >= SLICE {
            all.iter().for_each(|watched| watched.source.look_for_deaths());
            *looked = Instant::now();
        }
        vec![]
    }
}
