//! The server as a process, and clients of it, checked by theme.

mod calls;
mod faults;
mod in_place;
mod plain;
mod python;
mod refused;
mod slow;
mod sql;
mod support;
