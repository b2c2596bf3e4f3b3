//! Feeds.
//!
//! A feed is a ring in the arena that every subscriber sees whole: each item goes to all of them, in order. A subscriber that is too
//! slow for a feed that drops its oldest items is told how many it missed.

use std::sync::Mutex;

use faretra::feed::{Start, WhenFull};
use faretra::{AppendError, Feed, Subscriber};

use crate::arena::{faretra_arena, faretra_writer};
use crate::border::{Handle, New, Text, alone, free, handles, make, of, run, timeout};
use crate::channel::flags;
use crate::error::{Failure, faretra_code};
use crate::object::{Read, faretra_object};
use crate::value::{Refused, faretra_value, with};

/// When a feed is full: an append waits for the slowest subscriber.
pub const FARETRA_BLOCK: u32 = 0;
/// When a feed is full: the oldest item goes.
pub const FARETRA_DROP_OLDEST: u32 = 1;
/// When a feed is full: an append fails with `FARETRA_TIMED_OUT`.
pub const FARETRA_FAIL: u32 = 2;

/// Where a subscriber begins: at the oldest item that is there.
pub const FARETRA_OLDEST: i64 = -1;
/// Where a subscriber begins: behind the newest item that is there.
pub const FARETRA_NEWEST: i64 = -2;

/// The producing end of a feed. Many threads can use it.
pub struct faretra_feed(Handle);

/// A reader of a feed. One thread at a time can use it.
pub struct faretra_subscriber(Handle);

handles! {
    faretra_feed holds Feed, "faretra_feed";
    faretra_subscriber holds Mutex<Subscriber>, "faretra_subscriber";
}

/// Opens the producing end of a feed, and makes the feed if there is none of this name. It keeps `capacity` items. `when_full` is
/// `FARETRA_BLOCK`, `FARETRA_DROP_OLDEST` or `FARETRA_FAIL`; of the flags, `FARETRA_MIXED` counts.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_feed_new(
    writer: Option<&faretra_writer>,
    name: Text,
    capacity: usize,
    when_full: u32,
    flags: u32,
    feed: New<'_, faretra_feed>,
) -> faretra_code {
    make(feed, || {
        let (writer, name) = (of(writer)?, name.read("name")?);
        let when_full = match when_full {
            FARETRA_BLOCK => WhenFull::Block,
            FARETRA_DROP_OLDEST => WhenFull::DropOldest,
            FARETRA_FAIL => WhenFull::Fail,
            other => return Err(Failure::invalid(format!("{other} is not what a full feed can do"))),
        };
        Ok(writer.feed_with(name, capacity, when_full, self::flags(flags)?.0)?)
    })
}

/// Appends a value. Waits while the feed is full, if that is what it does then, or the arena is.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_append(feed: Option<&faretra_feed>, value: faretra_value, timeout_ms: i64) -> faretra_code {
    run(|| {
        let (feed, timeout) = (of(feed)?, timeout(timeout_ms)?);
        with(value, |value| {
            let appended = match timeout {
                None => feed.append(value),
                Some(timeout) => feed.append_timeout(value, timeout),
            };
            appended.map_err(|error| match error {
                AppendError::Failed(error) => Refused::new(error, None),
                AppendError::NoSpace { value, error } => Refused::new(*error, Some(value)),
                error => Refused::new(Failure::from(&error), error.into_value()),
            })
        })
    })
}

/// Ends the feed for every producer. Subscribers get what is in it, and then `FARETRA_CLOSED`.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_feed_close(feed: Option<&faretra_feed>) -> faretra_code {
    run(|| Ok(of(feed)?.close()?))
}

/// Leaves the feed, and does not end it.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_feed_free(feed: Option<Box<faretra_feed>>) {
    free(feed);
}

/// Subscribes to a feed from `start` on: `FARETRA_OLDEST`, `FARETRA_NEWEST`, or the number of an item, the first one's being 0. Waits
/// until there is a feed of this name; with a timeout of 0, fails with `FARETRA_NOT_FOUND` if there is none. Of the flags,
/// `FARETRA_STAY` counts.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_subscribe(
    arena: Option<&faretra_arena>,
    name: Text,
    start: i64,
    timeout_ms: i64,
    flags: u32,
    subscriber: New<'_, faretra_subscriber>,
) -> faretra_code {
    make(subscriber, || {
        let (arena, name) = (of(arena)?, name.read("name")?);
        let start = match (u64::try_from(start), start) {
            (Ok(position), _) => Start::Position(position),
            (_, FARETRA_OLDEST) => Start::Oldest,
            (_, FARETRA_NEWEST) => Start::Newest,
            (_, other) => return Err(Failure::invalid(format!("a feed has no item {other} to begin with"))),
        };
        let mut subscriber = match timeout(timeout_ms)? {
            None => arena.subscribe_wait(name, start)?,
            Some(timeout) if timeout.is_zero() => arena.subscribe(name, start)?,
            Some(timeout) => arena.subscribe_timeout(name, start, timeout)?,
        };
        subscriber.set_when_deserted(self::flags(flags)?.1);
        Ok(Mutex::new(subscriber))
    })
}

/// Reads the next item of a feed. Waits for one. Fails with `FARETRA_LAGGED` if items were dropped before they were read: the next
/// call goes on behind them; with `FARETRA_TIMED_OUT`, `FARETRA_CLOSED`, `FARETRA_DESERTED` as `faretra_recv` does.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_next(
    subscriber: Option<&faretra_subscriber>,
    timeout_ms: i64,
    object: New<'_, faretra_object>,
) -> faretra_code {
    make(object, || {
        let mut subscriber = alone(of(subscriber)?, "subscriber")?;
        Ok(Read::new(match timeout(timeout_ms)? {
            None => subscriber.recv()?,
            Some(timeout) => subscriber.recv_timeout(timeout)?,
        }))
    })
}

/// Leaves the feed.
#[unsafe(no_mangle)]
pub extern "C" fn faretra_subscriber_free(subscriber: Option<Box<faretra_subscriber>>) {
    free(subscriber);
}
