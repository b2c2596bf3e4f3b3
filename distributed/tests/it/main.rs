//! Workers as processes, and statements over them, checked by theme.

mod faults;
mod hosts;
mod refused;
mod statements;
mod support;
mod tpch;
