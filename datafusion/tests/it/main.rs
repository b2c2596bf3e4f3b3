//! SQL over arenas, checked by theme.

mod faults;
mod names;
mod pruning;
mod publish;
mod scan;
mod streams;
mod support;
mod tpch;
