//! The second storey: how values lie in objects. A batch, an array, the bytes of either, read and written.
//!
//! **What it promises upward.** What was written is read again equal, where it lies, without a copy, by arrow and ndarray
//! values whose memory is the arena's and stays for as long as they do. Any bytes can be read: they are a value or an
//! error. What lies in the arena already is not written again.
//!
//! **What it needs from below.** Objects that are pinned, and drafts of its own; their extents; their parts.
//!
//! **What never passes.** No words, places or turns go up, and no schema, array or buffer goes down. Slices of shared
//! memory are made in [`view`] only, where the pin that keeps them is; arrays without validation in [`unchecked`] only,
//! after the checks of [`batch`] and [`check`].
//!
//! | files | what they are |
//! |---|---|
//! | [`view`] | an attachment, pins, drafts with their memory; the one copy in |
//! | [`layout`], [`schema`], [`message`] | the stored form of a batch; its schema; its Arrow IPC messages |
//! | [`plan`], [`skeleton`], [`draft`] | how a batch is written: what is copied, what is held; in place |
//! | [`batch`], [`check`], [`unchecked`] | how a batch is read, and what is checked before |
//! | [`mod@array`] | the same for arrays |

pub mod array;
pub mod batch;
pub mod check;
pub mod draft;
pub mod element;
pub mod extent;
pub mod layout;
pub mod message;
pub mod parts;
pub mod piece;
pub mod plan;
pub mod schema;
pub mod shape;
pub mod skeleton;
pub mod unchecked;
pub mod view;
