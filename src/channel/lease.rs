//! Items that were received: kept until they are acknowledged, forwarded or given back.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::{ForwardError, SendError, Sender};
use crate::core::cell::Ring;
use crate::core::geometry::meta;
use crate::core::ring::Taken;
use crate::core::seat::Core;
use crate::core::segment::Posix;
use crate::core::sys::Sys;
use crate::core::wait::Until;
use crate::error::{Error, Result};
use crate::port::{Ended, Port, Waited};
use crate::reader::{Batch, Object};
use crate::value::view::Pin;

/// An item that was received from a channel; it derefs to the item's [`Object`].
///
/// The item belongs to this process until the lease ends, and ends in one of three ways:
///
/// * [`Lease::ack`]: the item is done, and nobody receives it again.
/// * [`Lease::send`]: the item goes on to another channel.
/// * Dropping the lease, or the death of this process: the item goes back to its channel, and the next receiver gets it.
///
/// ```
/// # use faretra::{Arena, MIB};
/// # let name = format!("doc-lease-{}", std::process::id());
/// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// # let writer = arena.writer()?;
/// # let (jobs, done) = (writer.sender("jobs", 2)?, writer.sender("done", 2)?);
/// # jobs.send("job")?;
/// let receiver = arena.receiver("jobs")?;
/// drop(receiver.recv()?);                     // back in the channel
/// let lease = receiver.recv()?;
/// assert_eq!(lease.attempts(), 1);
/// assert_eq!(lease.bytes()?, b"job");
/// lease.send(&done)?;                         // from one channel to the other in one step
/// assert_eq!(done.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the lease gives the item back: call `ack`"]
pub struct Lease {
    object: Object,
    port: Arc<Port>,
    taken: Taken,
    ended: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end(Core::refuse);
    }
}

impl Deref for Lease {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.object
    }
}

impl Lease {
    pub(super) fn new(port: &Arc<Port>, taken: Taken) -> Result<Lease> {
        let object = Pin::leased(port.at(), taken.id).and_then(|pin| Object::pinned(pin, port.name.clone()));
        match object {
            Ok(object) => Ok(Lease { object, port: port.clone(), taken, ended: false }),
            Err(e) => {
                // Nobody has the lease that ends here.
                if let Ok(core) = port.core() {
                    core.refuse(port.ring, taken);
                }
                Err(e)
            }
        }
    }

    /// Ends the lease by `how`, unless it was ended before.
    fn end(&mut self, how: impl FnOnce(&Core<Posix>, Ring, Taken)) {
        if !std::mem::replace(&mut self.ended, true)
            && let Ok(core) = self.port.core()
        {
            self.object.pin().before_lease_ends();
            how(core, self.port.ring, self.taken);
        }
    }

    /// Acknowledges the item: nobody receives it again. Values that were read from the item stay readable for as long as
    /// they are kept.
    pub fn ack(mut self) {
        self.end(Core::acknowledge);
    }

    /// Returns how often the item was received before. The number is above 0 if somebody gave the item back or died with it.
    pub fn attempts(&self) -> u64 {
        self.taken.attempts
    }

    /// Returns the item as a batch, or [`Error::Mismatch`] if the item is of another kind.
    pub fn batch(&self) -> Result<Batch> {
        self.object.clone().try_into()
    }

    /// Sends the item on to another channel and acknowledges it, in one step: if a process dies meanwhile, the item is in
    /// one of the two channels. Waits for room in the other channel. Nothing is copied if both channels are in one arena.
    ///
    /// # Errors
    ///
    /// A [`ForwardError`], which gives the lease back.
    pub fn send(self, to: &Sender) -> Result<(), ForwardError> {
        self.send_by(to, Until::Forever)
    }

    /// Sends the item on to another channel and acknowledges it in one step, as [`Lease::send`] does. Fails with
    /// [`ForwardError::TimedOut`], which gives the lease back, if the other channel has no room now.
    pub fn try_send(self, to: &Sender) -> Result<(), ForwardError> {
        self.send_by(to, Until::Now)
    }

    /// Sends the item on to another channel and acknowledges it in one step, as [`Lease::send`] does. Fails with
    /// [`ForwardError::TimedOut`], which gives the lease back, if the other channel has no room after `timeout`.
    pub fn send_timeout(self, to: &Sender, timeout: Duration) -> Result<(), ForwardError> {
        self.send_by(to, Until::Within(timeout))
    }

    /// Sends the item on to another channel and acknowledges it in one step, as [`Lease::send`] does. Fails with
    /// [`ForwardError::TimedOut`], which gives the lease back, if the other channel has no room at `deadline`.
    pub fn send_deadline(self, to: &Sender, deadline: Instant) -> Result<(), ForwardError> {
        self.send_by(to, Until::deadline(deadline))
    }

    fn send_by(mut self, to: &Sender, until: Until) -> Result<(), ForwardError> {
        let sent = if self.port.at().is_same_arena(to.port.at()) {
            self.hand_over(to, until.started())
        } else {
            self.copy_over(to, until)
        };
        let lease = Some(self).filter(|lease| !lease.ended);
        Err(match (sent, lease) {
            (Ok(Waited::Came(())), None) => return Ok(()),
            (Ok(Waited::Came(())), Some(lease)) => {
                lease.ack();
                return Ok(());
            }
            (Ok(Waited::Ended(ended)), Some(lease)) => ForwardError::Closed { lease, clean: ended.is_clean() },
            (Ok(Waited::NotYet), Some(lease)) => ForwardError::TimedOut(lease),
            (Ok(Waited::Interrupted) | Err(Error::Interrupted), Some(lease)) => ForwardError::Interrupted(lease),
            (Ok(_), None) => ForwardError::Failed { lease: None, error: taken_away().into() },
            (Err(error), lease) => ForwardError::Failed { lease, error: error.into() },
        })
    }

    /// Sends a copy to another arena; the lease is as it was.
    fn copy_over(&self, to: &Sender, until: Until) -> Result<Waited<()>> {
        match to.send_by((&self.object).into(), until) {
            Ok(()) => Ok(Waited::Came(())),
            Err(SendError::Closed { clean: true, .. }) => Ok(Waited::Ended(Ended::Closed)),
            Err(SendError::Closed { clean: false, .. }) => Ok(Waited::Ended(Ended::Deserted)),
            Err(SendError::TimedOut(_) | SendError::Full(_)) => Ok(Waited::NotYet),
            Err(SendError::Interrupted(_)) => Ok(Waited::Interrupted),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes a draft of the item, and sends that. Unless it is sent it is leased again, if it still is ours.
    fn hand_over(&mut self, to: &Sender, until: Until) -> Result<Waited<()>> {
        if let Some(schema) = self.object.value_schema()? {
            to.port.check_schema(&to.writer, &schema, until, to.deserted)?;
        }
        let Lease { object, port, taken, ended } = self;
        let core = port.core()?;
        // Not ours from here on, whatever comes of it.
        object.pin().before_lease_ends();
        let draft = core.lease_to_draft(port.ring, *taken).ok_or_else(taken_away)?;
        core.set_meta(draft.id, meta::TIME, Sys::now(&core.env));
        let sent = to.port.wait_to_put(until, to.deserted, || core.try_send(to.port.ring, draft));
        if matches!(sent, Ok(Waited::Came(()))) {
            core.tell_of_end(port.ring);
            *ended = true;
        } else if let Some(again) = core.draft_to_lease(draft, taken.attempts) {
            *taken = again;
        } else {
            *ended = true;
        }
        sent
    }
}

#[cold]
fn taken_away() -> Error {
    Error::damaged("an item that is leased to this process is not any more")
}
