//! Waiting for several things.
//!
//! A `faretra_pollable` has a file descriptor for `poll`, `epoll` and every event loop. It is a hint: once it is readable, make calls
//! with a timeout of 0 until one finds nothing, then `faretra_pollable_rearm`, which says whether something came in between. One
//! thread of the library serves all descriptors of a process, and only once there is one.
//!
//! A `faretra_select` waits for several things by one call, without a descriptor.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use faretra::{Pollable, Select};

use crate::arena::faretra_arena;
use crate::border::{Done, Handle, New, Out, Text, alone, free, handles, make, of, out, run, timeout};
use crate::channel::{faretra_receiver, faretra_sender};
use crate::error::faretra_code;
use crate::feed::faretra_subscriber;
use crate::sync::faretra_event;

/// A descriptor that tells when something is ready.
pub struct faretra_pollable(Handle);

/// Several things to be waited for at once. One thread at a time can use it.
pub struct faretra_select(Handle);

handles! {
    faretra_pollable holds Pollable, "faretra_pollable";
    faretra_select holds Mutex<Select>, "faretra_select";
}

/// Makes a descriptor that is readable when there is an item to receive, or when none comes any more.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_receiver_pollable(
    receiver: Option<&faretra_receiver>,
    pollable: New<'_, faretra_pollable>,
) -> faretra_code {
    make(pollable, || Ok(of(receiver)?.pollable()?))
}

/// Makes a descriptor that is readable when the channel has room, is closed, or has lost its last receiver.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_sender_pollable(
    sender: Option<&faretra_sender>,
    pollable: New<'_, faretra_pollable>,
) -> faretra_code {
    make(pollable, || Ok(of(sender)?.pollable()?))
}

/// Makes a descriptor that is readable when there is an item for the subscriber, or when none comes any more.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_subscriber_pollable(
    subscriber: Option<&faretra_subscriber>,
    pollable: New<'_, faretra_pollable>,
) -> faretra_code {
    make(pollable, || Ok(alone(of(subscriber)?, "subscriber")?.pollable()?))
}

/// Makes a descriptor that is readable when a name stands for a version above `newer_than`.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_name_pollable(
    arena: Option<&faretra_arena>,
    name: Text,
    newer_than: u64,
    pollable: New<'_, faretra_pollable>,
) -> faretra_code {
    make(pollable, || Ok(of(arena)?.pollable(name.read("name")?, newer_than)?))
}

/// Makes a descriptor that is readable when an event is set.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_event_pollable(
    event: Option<&faretra_event>,
    pollable: New<'_, faretra_pollable>,
) -> faretra_code {
    make(pollable, || Ok(of(event)?.pollable()?))
}

/// Returns the number of the descriptor: wait until it is readable, and neither read nor close it. -1 for what is none.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_pollable_fd(pollable: Option<&faretra_pollable>) -> c_int {
    of(pollable).map_or(-1, |pollable| pollable.as_raw_fd())
}

/// Makes the descriptor unreadable until something comes. `ready` tells whether something came already: then it stays readable.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_pollable_rearm(pollable: Option<&faretra_pollable>, ready: Out<'_, c_int>) -> faretra_code {
    run(|| {
        let (pollable, ready) = (of(pollable)?, out(ready, "an int")?);
        ready.write(pollable.rearm()?.into());
        Ok(())
    })
}

/// Closes the descriptor.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_pollable_free(pollable: Option<Box<faretra_pollable>>) {
    free(pollable);
}

/// Makes a wait for several things, of which there are none yet.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_new(select: New<'_, faretra_select>) -> faretra_code {
    make(select, || Ok(Mutex::new(Select::new())))
}

/// Adds to a select, and tells under which number: the first one's is 0.
fn add(
    select: Option<&faretra_select>,
    index: Out<'_, usize>,
    add: impl FnOnce(&mut Select) -> Done<usize>,
) -> faretra_code {
    run(|| {
        let index = add(&mut *alone(of(select)?, "select")?).map(|added| (added, index))?;
        crate::border::fill(index.1, index.0);
        Ok(())
    })
}

/// Adds a receiver. `index` may be null; otherwise it tells the number of what was added, from 0 on, here and below. What was added
/// may be freed.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_recv(
    select: Option<&faretra_select>,
    receiver: Option<&faretra_receiver>,
    index: Out<'_, usize>,
) -> faretra_code {
    add(select, index, |select| Ok(select.recv(of(receiver)?)))
}

/// Adds a sender: it is ready when its channel has room.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_send(
    select: Option<&faretra_select>,
    sender: Option<&faretra_sender>,
    index: Out<'_, usize>,
) -> faretra_code {
    add(select, index, |select| Ok(select.send(of(sender)?)))
}

/// Adds a subscriber. It is ready when there is an item at the position that it has when it is added: add it anew once it has read.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_next(
    select: Option<&faretra_select>,
    subscriber: Option<&faretra_subscriber>,
    index: Out<'_, usize>,
) -> faretra_code {
    add(select, index, |select| Ok(select.read(&*alone(of(subscriber)?, "subscriber")?)))
}

/// Adds an event.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_event(
    select: Option<&faretra_select>,
    event: Option<&faretra_event>,
    index: Out<'_, usize>,
) -> faretra_code {
    add(select, index, |select| Ok(select.wait(of(event)?)))
}

/// Adds a name: it is ready when it stands for a version above `newer_than`.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_name(
    select: Option<&faretra_select>,
    arena: Option<&faretra_arena>,
    name: Text,
    newer_than: u64,
    index: Out<'_, usize>,
) -> faretra_code {
    add(select, index, |select| Ok(select.wait_for(of(arena)?, name.read("name")?, newer_than)?))
}

/// Takes out what was added under this number. The numbers of the others stay.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_remove(select: Option<&faretra_select>, index: usize) -> faretra_code {
    run(|| {
        alone(of(select)?, "select")?.remove(index);
        Ok(())
    })
}

/// Waits until one of the things is ready, and tells which. It is a hint, as nothing is taken: another process may be faster. So make
/// the call with a timeout of 0, and wait again if that finds nothing.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_wait(
    select: Option<&faretra_select>,
    timeout_ms: i64,
    index: Out<'_, usize>,
) -> faretra_code {
    run(|| {
        let index = out(index, "a number")?;
        let mut select = alone(of(select)?, "select")?;
        index.write(match timeout(timeout_ms)? {
            None => select.ready()?,
            Some(timeout) => select.ready_timeout(timeout)?,
        });
        Ok(())
    })
}

/// Frees a select.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_select_free(select: Option<Box<faretra_select>>) {
    free(select);
}
