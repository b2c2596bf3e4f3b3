//! Faretra.
#![allow(dead_code)]
#![cfg_attr(feature = "proof", allow(missing_docs))]

mod error;
mod geometry;
mod mem;
mod name;
mod object;
mod recover;
mod seat;
mod segment;
mod sync;
mod sys;
mod tables;
mod view;
mod word;
mod zone;

pub use error::{Error, HolderBytes, Result};
pub use recover::{Recovered, Violation};
pub use tables::Kind;

/// The protocols, generic over memory and kernel, for the workspace member `proof`.
#[cfg(feature = "proof")]
#[doc(hidden)]
pub mod proof {
    pub use crate::geometry::{DIRTY, Geometry, PAGE, Params, Set, Zone, header, meta};
    pub use crate::mem::{Load, Mem};
    pub use crate::name::Named;
    pub use crate::seat::{Core, Env};
    pub use crate::segment::{closer, closing, life};
    pub use crate::sync::Permit;
    pub use crate::sys::{Full, Process, Sys};
    pub use crate::tables::{Entry, Tables};
    pub use crate::word::{Bell, Id, Life, Owner, Place, Seat, SeatState, State, Ticket, Turn};
    pub use crate::zone::Draft;
}
