//! SQL over arenas, checked by theme.

mod dynamic;
mod faults;
mod kills;
mod memory;
mod names;
mod pruning;
mod publish;
mod scale;
mod scan;
mod streams;
mod support;
mod tpch;
