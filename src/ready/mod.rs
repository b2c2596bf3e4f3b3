//! Waiting for several things at once, by one call, by descriptors or by futures.
//!
//! * [`Select`]: one call waits for receivers, senders, subscribers, feeds, events, semaphores, mutexes and the next
//!   versions of names, of any arenas of this process.
//! * [`Pollable`]: a file descriptor for `poll(2)`, `epoll(7)` and event loops of other languages, which becomes readable
//!   when one of those things is ready.
//! * With the feature `async`: [`Receiver::stream`](crate::Receiver::stream), [`Sender::send_async`](crate::Sender::send_async) and their like, which any executor
//!   runs.
//!
//! A look at a thing decides nothing: another process may be faster. So whoever is told that something is ready calls a
//! `try_` form, which may find nothing, and then waits again.
//!
//! Descriptors and futures are served by a thread of this process, which is started when the first of them waits, and
//! sleeps while none does. It notices within 100 ms that somebody died, as every waiter does. It serves 127 at a time; for more there are more threads.
//! A forked child has none of it: every call there is [`Error::Forked`](crate::Error::Forked).

#[cfg(feature = "async")]
mod future;
mod pollable;
mod select;
mod source;
mod watcher;

#[cfg(feature = "async")]
pub use future::{Items, Pending};
pub use pollable::Pollable;
pub use select::{Select, Selected};

const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Select>();
    shared::<Selected>();
    shared::<Pollable>();
};
