//! The half of the Python package that is written in Rust: `faretra._native`.
//!
//! | file | what it is |
//! |---|---|
//! | `error` | exceptions; the two ways into the library; Ctrl-C |
//! | `memory`, `arrow` | memory that goes in and out: the buffer protocol, Arrow's capsules. All of `unsafe` is here |
//! | `pages` | whether anybody wrote to a private map |
//! | `packed`, `collection` | lists and dicts that are read item by item |
//! | `value`, `table` | what a Python value becomes, and what comes back |
//! | `lock`, `shared`, `grid` | locks, shared numbers, mutable arrays |
//! | `semlock`, `waiters` | the locks, semaphores and conditions of `faretra.multiprocessing` |
//! | `grown`, `reference` | tables that grow batch by batch; the newest value of a name |
//! | `arena` | names, drafts, what an arena tells of itself |
//! | `ready` | descriptors for event loops, and what ends have in common |
//! | `channel`, `feed`, `service` | the ends of channels, feeds and services |
//! | `select` | waits for several things |
//! | `parcel` | what the queues and pipes of `faretra.multiprocessing` carry |
//!
//! What costs no speed is written in Python, in `faretra/`. A file here needs those above it in the table only.

#![allow(missing_docs, reason = "the module's items are documented where they are")]

mod arena;
mod arrow;
mod channel;
mod collection;
mod error;
mod feed;
mod grid;
mod grown;
mod lock;
mod memory;
mod packed;
mod pages;
mod parcel;
mod ready;
mod reference;
mod select;
mod semlock;
mod service;
mod shared;
mod table;
mod value;
mod waiters;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::arena::{_list_arenas, _remove_arena, Arena, Draft};
    #[pymodule_export]
    use crate::channel::{Lease, Receiver, Sender};
    #[pymodule_export]
    use crate::collection::{Dict, Items, List, StoredDict, StoredList};
    #[pymodule_export]
    use crate::feed::{_latest, _snapshot, Feed, Subscriber};
    #[pymodule_export]
    use crate::grid::{MutableArray, Rows};
    #[pymodule_export]
    use crate::grown::TableDraft;
    #[pymodule_export]
    use crate::lock::{Event, Mutex, MutexGuard, Permit, Semaphore};
    #[pymodule_export]
    use crate::memory::{_hold_received, Held, Pinned, SharedBytes, Writable};
    #[pymodule_export]
    use crate::parcel::{_attach_ends, _collect, _is_ready, _open_parcel, _peers, _post, _recv_parcel, _send_parcel, _sent};
    #[pymodule_export]
    use crate::ready::{Pollable, Prepared};
    #[pymodule_export]
    use crate::reference::Ref;
    #[pymodule_export]
    use crate::select::_select;
    #[pymodule_export]
    use crate::semlock::SemLock;
    #[pymodule_export]
    use crate::service::{Call, Client, Request, Server};
    #[pymodule_export]
    use crate::shared::SharedValue;
    #[pymodule_export]
    use crate::table::{Batch, Bundled, Selection, Table};
    #[pymodule_export]
    use crate::waiters::{Waiter, Waiters};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::error::install_interrupts();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
