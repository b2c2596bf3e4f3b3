//! What can be waited for: where its bell is, whether it is ready, and what is tried then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::arena::Arena;
use crate::channel::{Lease, Looks, Receiver, RecvError};
use crate::core::bells::Awaited;
use crate::core::cell::End;
use crate::core::geometry::{header, lock, meta};
use crate::core::lease::{Lease as Word, Leases};
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::wait::SLICE;
use crate::core::word::State;
use crate::error::Result;
use crate::feed::{Feed, Subscriber, WhenFull};
use crate::held::{Held, Keeper};
use crate::port::{Port, WhenDeserted};
use crate::reader::Object;
use crate::sync::{Event, Handle, Lent, held};
use crate::value::view::{Attachment, Pin};

/// Something that is waited for. It keeps what it waits at.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) what: What,
    looks: Arc<Mutex<Dead>>,
}

/// How often somebody has looked for deaths, and for items that others have.
#[derive(Debug, Default)]
struct Dead {
    looks: usize,
    outstanding: Looks,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// An item of a channel, or its end.
    Receive(Receiver),
    /// Room in a channel.
    Send(Arc<Port>, WhenDeserted),
    /// Room in a feed, for producers who wait.
    Append(Arc<Port>, WhenFull),
    /// The next item of a feed.
    Read(Arc<Port>, Word, WhenDeserted),
    Event(Event),
    /// A free mutex.
    Lock(Handle, Leases),
    /// A free permit.
    Acquire(Handle, Leases),
    Name(Arc<Next>),
    /// Memory, of which nothing tells but items that go: it is tried for when the bell was rung, and after each slice.
    #[cfg_attr(not(feature = "async"), expect(dead_code, reason = "futures of sends wait for it"))]
    Memory {
        port: Arc<Port>,
        rung: u64,
        since: Instant,
    },
}

/// A version of a name that is not there yet.
#[derive(Debug)]
pub(crate) struct Next {
    at: Arc<Attachment>,
    name: String,
    newer_than: u64,
    /// The name's record, whose bell is waited for.
    record: Mutex<Option<Pin>>,
}

/// What a try came to.
#[derive(Debug)]
pub(crate) enum Got {
    Item(Result<Lease, RecvError>),
    Held(Held<Lent<'static>>),
    Passed(Event),
    Object(Object),
    /// Whoever asked has to try by itself.
    Go,
}

impl Source {
    pub(crate) fn new(what: What) -> Source {
        Source { what, looks: Arc::default() }
    }

    pub(crate) fn receive(receiver: &Receiver) -> Source {
        Source::new(What::Receive(receiver.clone()))
    }

    pub(crate) fn read(subscriber: &Subscriber) -> Source {
        Source::new(What::Read(subscriber.port.clone(), subscriber.lease, subscriber.deserted))
    }

    pub(crate) fn append(feed: &Feed) -> Source {
        Source::new(What::Append(feed.port.clone(), feed.when_full))
    }

    pub(crate) fn name(arena: &Arena, name: &str, newer_than: u64) -> Result<Source> {
        crate::core::name::check(name)?;
        let (at, name) = (arena.attachment().clone(), name.to_owned());
        Ok(Source::new(What::Name(Arc::new(Next { at, name, newer_than, record: Mutex::default() }))))
    }

    /// The core of its arena; [`Error::Forked`](crate::Error::Forked) in a forked child.
    pub(crate) fn core(&self) -> Result<&Core<Posix>> {
        match &self.what {
            What::Receive(receiver) => receiver.port.core(),
            What::Send(port, _) | What::Append(port, _) | What::Read(port, ..) | What::Memory { port, .. } => {
                port.core()
            }
            What::Event(event) => event.handle.core(),
            What::Lock(handle, _) | What::Acquire(handle, _) => handle.core(),
            What::Name(next) => next.at.core(),
        }
    }

    /// Looks whether it is ready; an error is for who tries.
    fn look(&self) -> Result<bool> {
        let core = self.core()?;
        Ok(match &self.what {
            What::Receive(receiver) => {
                let ring = receiver.port.ring;
                let deserted = || receiver.fails_when_deserted() && core.is_deserted(ring, End::Send);
                let ended = || core.is_closed(ring) || deserted();
                // What others have leased may come back.
                let none_out = || {
                    let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
                    looks.outstanding.look(|| core.outstanding(ring).is_empty())
                };
                core.has_item(ring) || ended() && (none_out() || core.has_item(ring))
            }
            What::Send(port, deserted) => !core.is_full(port.ring) || port.ended(*deserted)?.is_some(),
            What::Append(port, when_full) => {
                *when_full != WhenFull::Block || !core.would_hide_an_item(port.ring) || core.has_ended(port.ring)
            }
            What::Read(port, lease, deserted) => {
                let ring = port.ring;
                let deserted = || *deserted == WhenDeserted::Fail && core.is_deserted(ring, End::Send);
                core.has_come(ring, core.shown_position(ring, *lease)) || deserted()
            }
            What::Event(event) => core.is_event_set(event.handle.id()),
            What::Lock(_, leases) => is_free(core, *leases),
            What::Acquire(handle, leases) => is_free(core, *leases) || core.added_permits(handle.id()).0 != 0,
            What::Name(next) => next.current()?.is_some(),
            What::Memory { port, rung, since } => {
                // Who is told of a deserted end looks again after a slice; who waits for somebody there does not spin.
                core.times_rung(port.ring.bell(End::Send)) != *rung
                    || since.elapsed() >= SLICE
                    || port.ended(WhenDeserted::Block)?.is_some()
            }
        })
    }

    /// Asks whether those died who could make it ready.
    pub(crate) fn look_for_deaths(&self) {
        let Ok(core) = self.core() else { return };
        match &self.what {
            What::Receive(Receiver { port, .. }) => port.look_for_deaths(core),
            What::Send(port, _) | What::Append(port, _) | What::Read(port, ..) | What::Memory { port, .. } => {
                port.look_for_deaths(core);
            }
            What::Lock(_, leases) | What::Acquire(_, leases) => {
                let looks = {
                    let mut dead = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
                    dead.looks += 1;
                    dead.looks
                };
                core.look_for_dead_lessees(*leases, looks);
            }
            What::Event(_) | What::Name(_) => {}
        }
    }

    /// Whether it is time for one who polls to look for the dead.
    pub(crate) fn is_time_to_look(&self) -> bool {
        self.core().is_ok_and(Core::is_time_to_look)
    }

    /// Does what was waited for. `None`: others were faster.
    pub(crate) fn attempt(&self) -> Result<Option<Got>> {
        let core = self.core()?;
        Ok(match &self.what {
            What::Receive(receiver) => match receiver.try_recv() {
                Err(RecvError::Empty) => None,
                item => Some(Got::Item(item)),
            },
            What::Lock(handle, leases) => {
                core.try_lease(*leases)?.map(|lease| Got::Held(Held::guard(Lent::Kept(handle.clone()), lease)))
            }
            What::Acquire(handle, leases) => {
                let lease = core.try_permit(handle.id(), *leases)?;
                lease.map(|lease| Got::Held(held(Lent::Kept(handle.clone()), lease, *leases)))
            }
            What::Event(event) => event.try_wait()?.then(|| Got::Passed(event.clone())),
            What::Name(next) => {
                let pin = next.current()?;
                pin.map(|pin| Object::pinned(pin, next.name.as_str())).transpose()?.map(Got::Object)
            }
            What::Send(..) | What::Append(..) | What::Read(..) | What::Memory { .. } => Some(Got::Go),
        })
    }
}

impl Next {
    /// What the name stands for, if that is newer.
    fn current(&self) -> Result<Option<Pin>> {
        let core = self.at.core()?;
        let pin = Pin::named(&self.at, &self.name)?;
        Ok(pin.filter(|pin| core.meta(pin.id(), meta::VERSION) > self.newer_than))
    }

    /// The bell of the name, or of all new names while it is not there.
    fn bell(&self) -> Result<u64> {
        let core = self.at.core()?;
        let record = core.lookup(&self.name)?;
        let bell = record.map_or(header::NAME_BELL, |id| core.name_bell(id));
        // It stays the name's while it is slept on.
        let pin = record.map(|id| Pin::taken(&self.at, id));
        *self.record.lock().unwrap_or_else(PoisonError::into_inner) = pin;
        Ok(bell)
    }
}

impl Awaited<Posix> for Source {
    fn bell(&self) -> Option<(&Core<Posix>, u64)> {
        let core = self.core().ok()?;
        let bell = match &self.what {
            What::Receive(Receiver { port, .. }) | What::Read(port, ..) => port.ring.bell(End::Receive),
            What::Send(port, _) | What::Append(port, _) | What::Memory { port, .. } => port.ring.bell(End::Send),
            What::Event(event) => core.lock_word(event.handle.id(), lock::BELL),
            What::Lock(_, leases) | What::Acquire(_, leases) => leases.bell,
            What::Name(next) => next.bell().ok()?,
        };
        Some((core, bell))
    }

    fn is_ready(&self) -> bool {
        self.look().unwrap_or(true)
    }
}

fn is_free(core: &Core<Posix>, leases: Leases) -> bool {
    core.count_leases(leases, |state| matches!(state, State::Free | State::Back(_))) != 0
}

/// When a wait of this length ends. `None`: beyond the clock's end, where nothing comes.
pub(crate) fn end_of(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
