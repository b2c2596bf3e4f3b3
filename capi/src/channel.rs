//! Channels.
//!
//! A channel is a queue in the arena: each item goes to one receiver. A receiver gets a lease of an item, and ends it in one of three
//! ways: acknowledged, given back, or forwarded to another channel. The item of a receiver that dies goes to another one, so that
//! items are delivered at least once, and acknowledged at most once.
//!
//! Freeing a sender or receiver leaves the channel; `faretra_sender_close` closes it for everybody.

use std::sync::Mutex;

use faretra::channel::{Contents, WhenDeserted};
use faretra::{ForwardError, Lease, Receiver, SendError, Sender};

use crate::arena::{faretra_arena, faretra_writer};
use crate::border::{Done, Handle, New, Text, alone, free, give_up, handles, make, of, owned, run, timeout};
use crate::error::{Failure, faretra_code, keep};
use crate::object::{Read, faretra_object};
use crate::value::{Refused, faretra_value, with};

/// A flag of ends: items may be of different kinds and schemas. Used by who makes the channel or feed. Without it, a channel whose
/// first item is a batch takes batches of that schema only.
pub const FARETRA_MIXED: u32 = 1;
/// A flag of ends: waits go on when nobody is at the other end. Without it they fail with `FARETRA_DESERTED`.
pub const FARETRA_STAY: u32 = 2;

/// The sending end of a channel. Many threads can use it.
pub struct faretra_sender(Handle);

/// The receiving end of a channel. Many threads can use it.
pub struct faretra_receiver(Handle);

/// An item that was received, and belongs to this process until the lease ends.
pub struct faretra_lease(Handle);

handles! {
    faretra_sender holds Sender, "faretra_sender";
    faretra_receiver holds Receiver, "faretra_receiver";
    faretra_lease holds Leased, "faretra_lease";
}

/// An item, and its object as C sees it.
pub struct Leased {
    object: faretra_object,
    /// `None` when it was forwarded, or is not ours any more.
    lease: Mutex<Option<Lease>>,
    attempts: u64,
}

/// What the flags of an end say.
pub fn flags(flags: u32) -> Done<(Contents, WhenDeserted)> {
    if flags & !(FARETRA_MIXED | FARETRA_STAY) != 0 {
        return Err(Failure::invalid(format!("the flags {flags:#x} are not all known: FARETRA_MIXED, FARETRA_STAY")));
    }
    let contents = if flags & FARETRA_MIXED != 0 { Contents::Mixed } else { Contents::OneSchema };
    let deserted = if flags & FARETRA_STAY != 0 { WhenDeserted::Block } else { WhenDeserted::Fail };
    Ok((contents, deserted))
}

/// Opens the sending end of a channel, and makes the channel if there is none of this name. It holds `capacity` items; 0: as many
/// as the arena has memory for.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_sender_new(
    writer: Option<&faretra_writer>,
    name: Text,
    capacity: usize,
    flags: u32,
    sender: New<'_, faretra_sender>,
) -> faretra_code {
    make(sender, || {
        let (writer, name) = (of(writer)?, name.read("name")?);
        let (contents, deserted) = self::flags(flags)?;
        let mut sender = match capacity {
            0 => writer.unbounded_with(name, contents)?,
            capacity => writer.sender_with(name, capacity, contents)?,
        };
        sender.set_when_deserted(deserted);
        Ok(sender)
    })
}

/// Sends a value. Waits while the channel, or the arena, is full. Fails with `FARETRA_TIMED_OUT` if it stays full,
/// `FARETRA_CLOSED` if it is closed, `FARETRA_DESERTED` if it is full and its last receiver left or died.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_send(sender: Option<&faretra_sender>, value: faretra_value, timeout_ms: i64) -> faretra_code {
    run(|| {
        let (sender, timeout) = (of(sender)?, timeout(timeout_ms)?);
        with(value, |value| {
            let sent = match timeout {
                None => sender.send(value),
                Some(timeout) => sender.send_timeout(value, timeout),
            };
            sent.map_err(|error| match error {
                SendError::Failed(error) => Refused::new(error, None),
                SendError::NoSpace { value, error } => Refused::new(*error, Some(value)),
                error => Refused::new(Failure::from(&error), error.into_value()),
            })
        })
    })
}

/// Closes the channel for every sender. Receivers get what is in it, and then `FARETRA_CLOSED`.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_sender_close(sender: Option<&faretra_sender>) -> faretra_code {
    run(|| Ok(of(sender)?.close()?))
}

/// Leaves the channel. Receivers are told, with `FARETRA_DESERTED`, when the last sender has left a channel that is not closed.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_sender_free(sender: Option<Box<faretra_sender>>) {
    free(sender);
}

/// Opens the receiving end of a channel. Waits until there is a channel of this name; with a timeout of 0, fails with
/// `FARETRA_NOT_FOUND` if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_receiver_new(
    arena: Option<&faretra_arena>,
    name: Text,
    timeout_ms: i64,
    flags: u32,
    receiver: New<'_, faretra_receiver>,
) -> faretra_code {
    make(receiver, || {
        let (arena, name) = (of(arena)?, name.read("name")?);
        let (_, deserted) = self::flags(flags)?;
        let mut receiver = match timeout(timeout_ms)? {
            None => arena.receiver_wait(name)?,
            Some(timeout) if timeout.is_zero() => arena.receiver(name)?,
            Some(timeout) => arena.receiver_timeout(name, timeout)?,
        };
        receiver.set_when_deserted(deserted);
        Ok(receiver)
    })
}

/// Receives the next item: a lease, to be ended. Waits for one. Fails with `FARETRA_TIMED_OUT` if none comes in time,
/// `FARETRA_CLOSED` if the channel is closed and everything in it was acknowledged, `FARETRA_DESERTED` if it is empty and its last
/// sender left or died.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_recv(
    receiver: Option<&faretra_receiver>,
    timeout_ms: i64,
    lease: New<'_, faretra_lease>,
) -> faretra_code {
    make(lease, || {
        let receiver = of(receiver)?;
        let lease = match timeout(timeout_ms)? {
            None => receiver.recv()?,
            Some(timeout) => receiver.recv_timeout(timeout)?,
        };
        let (object, attempts) = (Read::lent((*lease).clone()), lease.attempts());
        Ok(Leased { object, lease: Mutex::new(Some(lease)), attempts })
    })
}

/// Leaves the channel. Senders are told when the last receiver left.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_receiver_free(receiver: Option<Box<faretra_receiver>>) {
    free(receiver);
}

/// Returns the item of a lease, to be read as any object. It is the lease's: do not free it, and do not use it after the lease. What
/// has a pin of its own (Arrow's structures) may be kept. Null for what is no lease.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_lease_object(lease: Option<&faretra_lease>) -> *const faretra_object {
    match of(lease) {
        Ok(lease) => &raw const lease.object,
        Err(failure) => {
            keep(&failure);
            std::ptr::null()
        }
    }
}

/// Returns how often the item was received before: above 0 if somebody gave it back, or died with it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_lease_attempts(lease: Option<&faretra_lease>) -> u64 {
    of(lease).map_or(0, |lease| lease.attempts)
}

/// Acknowledges the item, and ends the lease: nobody receives it again.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_lease_ack(lease: Option<Box<faretra_lease>>) {
    let Some(lease) = owned(lease) else { return };
    run(|| {
        let taken = alone(&of(Some(&*lease))?.lease, "lease")?.take();
        // Its pins first, so that the memory is free when a sender is told.
        drop(lease);
        if let Some(lease) = taken {
            lease.ack();
        }
        Ok(())
    });
}

/// Gives the item back, and ends the lease: the next receiver gets it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_lease_nack(lease: Option<Box<faretra_lease>>) {
    give_up(owned(lease));
}

/// Sends the item on to another channel and ends the lease, in one step: it is in one of the two channels, whoever dies meanwhile.
/// Nothing is copied within an arena. If it fails, the lease is as it was, and still to be ended.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_lease_forward(
    lease: Option<Box<faretra_lease>>,
    to: Option<&faretra_sender>,
    timeout_ms: i64,
) -> faretra_code {
    // Owned by C again, unless all goes well.
    let lease = lease.map(|lease| &*Box::leak(lease));
    let code = run(|| {
        let (leased, to, timeout) = (of(lease)?, of(to)?, timeout(timeout_ms)?);
        let mut place = alone(&leased.lease, "lease")?;
        let gone = || Failure::invalid("this process does not have the item any more");
        let sent = match (place.take().ok_or_else(gone)?, timeout) {
            (lease, None) => lease.send(to),
            (lease, Some(timeout)) => lease.send_timeout(to, timeout),
        };
        sent.map_err(|error| match error {
            ForwardError::Failed { lease, error } => {
                *place = lease;
                (*error).into()
            }
            error => {
                let failure = Failure::from(&error);
                *place = error.into_lease();
                failure
            }
        })
    });
    if let (faretra_code::FARETRA_OK, Some(lease)) = (code, lease) {
        // SAFETY: leaked above, and used by nobody since: C gave it to this call.
        give_up(unsafe { Box::from_raw(std::ptr::from_ref(lease).cast_mut()) });
    }
    code
}
