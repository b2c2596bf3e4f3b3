//! The half of the Python package that is written in Rust: `faretra._native`.
//!
//! | file | what it is |
//! |---|---|
//! | `error` | exceptions; the two ways into the library; Ctrl-C |
//! | `memory`, `arrow` | memory that goes in and out: the buffer protocol, Arrow's capsules. All of `unsafe` is here |
//! | `packed`, `collection` | lists and dicts that are read item by item |
//! | `value`, `table` | what a Python value becomes, and what comes back |
//! | `ready` | descriptors for event loops |
//! | `lock`, `shared`, `grid` | locks, shared numbers, mutable arrays |
//! | `grown`, `reference` | tables that grow batch by batch; the newest value of a name |
//! | `arena` | names, drafts, what an arena tells of itself |
//!
//! What costs no speed is written in Python, in `faretra/`. A file here needs those above it in the table only.

#![allow(missing_docs, reason = "the module's items are documented where they are")]

mod arena;
mod arrow;
mod collection;
mod error;
mod grid;
mod grown;
mod lock;
mod memory;
mod packed;
mod ready;
mod reference;
mod shared;
mod table;
mod value;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::arena::{_list_arenas, _remove_arena, Arena, Draft};
    #[pymodule_export]
    use crate::collection::{Dict, Items, List, StoredDict, StoredList};
    #[pymodule_export]
    use crate::grid::{MutableArray, Rows};
    #[pymodule_export]
    use crate::grown::TableDraft;
    #[pymodule_export]
    use crate::lock::{Event, Mutex, MutexGuard, Permit, Semaphore};
    #[pymodule_export]
    use crate::memory::{Pinned, Writable};
    #[pymodule_export]
    use crate::ready::Pollable;
    #[pymodule_export]
    use crate::reference::Ref;
    #[pymodule_export]
    use crate::shared::SharedValue;
    #[pymodule_export]
    use crate::table::{Batch, Bundled, Selection, Table};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::error::install_interrupts();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
