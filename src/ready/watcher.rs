//! The thread that sleeps on the bells of what descriptors and futures wait for, and tells them.
//!
//! One thread serves a group: what the kernel lets it sleep on at once. It does what [`crate::core::bells`] says: arms all, looks at all again, tells those that are
//! ready and forgets them, and sleeps on the rest and on its own door, which is rung when something is added or taken out.
//! While its group is empty it sleeps on the door alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use nix::sys::signal::SigSet;

use crate::core::bells::{Awaited, arm_all, sleep_on_all};
use crate::core::segment::{PerProcess, Posix};
use crate::core::sys::{Doorbell, MOST_WORDS, Sys};
use crate::core::wait::SLICE;
use crate::error::{Error, Result};
use crate::ready::source::Source;

/// How a waiter is told.
#[derive(Debug)]
pub(crate) enum Tell {
    /// By making a descriptor readable.
    Descriptor(Arc<EventFd>),
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
    fn drop(&mut self) {
        // What came through fork is the parent's, and may be locked for ever.
        if self.watched.source.core().is_ok() && self.group.take_out(&self.watched).is_some() {
            // Its thread lets go of it.
            self.group.door.ring();
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

    /// What is there is told, unless it was taken out meanwhile.
    fn tell(&self, watched: &Arc<Watched>) {
        if self.take_out(watched).is_none() {
            return;
        }
        match &watched.tell {
            // A descriptor whose count is full is readable.
            Tell::Descriptor(fd) => drop(fd.write(1)),
            // Others' code, whose panic is not to end this thread.
            Tell::Waker(waker) => {
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake_by_ref())));
            }
        }
    }

    fn run(&self) {
        // Signals are for the program's own threads.
        let _ = SigSet::all().thread_block();
        let mut looked = Instant::now();
        loop {
            let door = self.door.now();
            let all = self.list().clone();
            if all.is_empty() {
                Posix::sleep_any(&[], Some((&self.door, door)), Duration::from_secs(3600));
                looked = Instant::now();
                continue;
            }
            let armed = arm_all(&all);
            let ready: Vec<_> = all.iter().filter(|watched| watched.is_ready()).collect();
            if !ready.is_empty() {
                ready.into_iter().for_each(|watched| self.tell(watched));
                continue;
            }
            sleep_on_all(&armed, Some((&self.door, door)), SLICE.saturating_sub(looked.elapsed()));
            if looked.elapsed() >= SLICE {
                all.iter().for_each(|watched| watched.source.look_for_deaths());
                looked = Instant::now();
            }
        }
    }
}
