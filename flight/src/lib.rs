//! [Faretra](faretra) arenas over [Arrow Flight](arrow_flight) and Flight SQL.
//!
//! A [`Server`] shows the batches, tables and feeds of arenas to every client of Flight, in any language, on any host, and takes
//! what clients send; statements go to [`faretra_datafusion`]. What is streamed goes from shared memory to the socket, copied by
//! nobody on the way. A client of the **same host** that knows Faretra, as [`Client`] does, is told where the object lies; it maps
//! the arena, pins the object through a seat of its own, and reads no byte through the socket.
//!
//! The program `faretra-flight`, which `faretra serve` runs, is this crate with a command line.
//!
//! | method of Flight | is |
//! |---|---|
//! | `ListFlights` | names of batches, tables, feeds and members of bundles; the criteria is what they begin with |
//! | `GetFlightInfo` | a path is a name, or an arena and a name if there are several; the version that the info tells of is kept for a minute |
//! | `DoGet` | a table's batches, or a feed's items as they come; messages of 2 MiB |
//! | `DoPut` | a table published, rows appended to one, items for a feed or channel |
//! | `DoExchange` | calls of a service: each batch is a request, and a reply comes back |
//! | `DoAction` | `stat`, `who` and `rm`, if allowed; prepared statements |
//! | Flight SQL | statements, prepared statements, updates, bulk ingestion, metadata |
//!
//! # Paths, tickets, commands
//!
//! A path's name may be `NAME`, `NAME@VERSION`, `BUNDLE/MEMBER`, `FEED@new` (from the next item on) or `FEED@snapshot`. A ticket
//! is JSON: `{"arena": .., "name": .., "version": ..}`, all but the name optional; with a version, that version or an error comes.
//!
//! `DoPut` with a path replaces a table, or feeds the feed or channel that has the name. Its other forms are commands in JSON:
//! `{"arena": .., "name": .., "mode": "replace" | "create" | "append" | "feed" | "channel", "if_version": .., "capacity": ..}`.
//! The result's metadata is JSON, with the rows and the version.
//!
//! # What is promised
//!
//! * A table that is put is published whole, or not at all if the client dies or fails on the way. A feed keeps the items that came.
//! * What a client had pinned goes with its connection; what an info promised goes a minute after it was last asked for.
//! * A client that does not read is not read for: the server keeps no copy of what it waits to send.
//! * A version that a ticket names is that version or an error, never another one.
#![warn(missing_debug_implementations, unreachable_pub)]
#![deny(unsafe_code)]

mod actions;
mod client;
mod encode;
mod error;
mod exchange;
mod kept;
mod outgoing;
mod place;
mod put;
mod served;
mod server;
mod service;
mod sql;
mod wire;

pub use client::{Client, Fetched};
pub use server::{Listening, ServeError, Server};

/// Arrow Flight, in the version that this crate is for.
pub use arrow_flight;
/// The arenas.
pub use faretra;
