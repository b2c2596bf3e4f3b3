//! The second storey: how values lie in objects. Batches, arrays, tables and bundles, written and read.
//!
//! **What it promises upward.** A value that was written is read again equal, where it lies, without a copy, as arrow and
//! ndarray values whose memory is the arena's and stays for as long as they do. Any bytes can be read: they are a
//! value or an error, never a panic. Bytes that lie in the arena already are not written again: [`plan`] finds them
//! and holds their object. A value says how much memory it needs before any is taken, and is copied once.
//!
//! **What it needs from below.** Objects that are pinned, and drafts of its own; where they lie and how long they are;
//! their parts; names that can be names.
//!
//! **What never passes.** No words, places or turns go up, and no schema, array or buffer goes down. All files but
//! [`view`] and [`check`] are pure: they read and write slices that somebody lends them, and know of the arena only
//! offsets and ids. Slices of shared memory are made in [`view`] only, where the pin that keeps them is; arrays without
//! validation in [`unchecked`] only, after the checks of [`batch`] and [`check`].
//!
//! | files, lowest first | what they are |
//! |---|---|
//! | [`extent`], [`element`], [`timestep`], [`dtype`], [`descr`], [`shape`] | stretches of memory; the types of elements, of Rust and of numpy, and their text; the buffers and children of each Arrow type |
//! | [`layout`], [`schema`], [`message`], [`skeleton`] | a batch as it is stored: its tables, its schema, its Arrow IPC messages, all of it but the values |
//! | [`plan`], [`piece`], [`draft`], [`lent`] | how a batch is written: what is copied and what is held; how bytes change on the way; in place, in columns that are lent |
//! | [`batch`], [`check`], [`unchecked`], [`found`] | how a batch is read; what is checked before; what is then taken without a check; columns that were found before |
//! | [`info`], [`mod@array`], [`dynamic`] | what an array is and its header; how it is written, read, and drafted in place; one whose type is known at run time only |
//! | [`private`], [`shared_map`] | bytes and arrays mapped once more: copy-on-write; or to be written, until others may read them |
//! | [`parts`] | the bodies of bundles and tables |
//! | [`copying`] | the one copy in, and the checksum that is taken on its way |
//! | [`view`] | an attachment; pins, and drafts with their memory |
//!
//! One word, one thing: a *draft* is a value on its way that nobody can read yet, a [`view::Sheet`] is a draft's object
//! with its memory, a *skeleton* is a batch's descriptor without its values, a *piece* says how one stored buffer comes
//! from the source; *own* parts are made for a batch, *held* parts were there before; an *extent* is a stretch of the
//! data region, a *window* the entries of an array that are stored.

pub mod array;
pub mod batch;
pub mod check;
pub mod copying;
pub mod descr;
pub mod draft;
pub mod dtype;
pub mod dynamic;
pub mod element;
pub mod extent;
pub mod found;
pub mod info;
pub mod layout;
pub mod lent;
pub mod message;
pub mod parts;
pub mod piece;
pub mod plan;
pub mod private;
pub mod schema;
pub mod shape;
pub mod shared_map;
pub mod skeleton;
pub mod timestep;
pub mod unchecked;
pub mod view;
