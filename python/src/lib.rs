//! The half of the Python package that is written in Rust: `faretra._native`.
//!
//! | file | what it is |
//! |---|---|
//! | `error` | exceptions; the two ways into the library; Ctrl-C |
//! | `memory`, `arrow` | memory that goes in and out: the buffer protocol, Arrow's capsules. All of `unsafe` is here |
//! | `pages` | whether anybody wrote to a private map |
//! | `packed`, `collection` | lists and dicts that are read item by item |
//! | `value`, `table` | what a Python value becomes, and what comes back |
//! | `lock`, `shared`, `grid` | locks, shared numbers and bytes, mutable arrays |
//! | `semlock`, `waiters` | the locks, semaphores and conditions of `faretra.multiprocessing` |
//! | `grown`, `reference` | tables that grow batch by batch; the newest value of a name |
//! | `draft` | values that are written in place |
//! | `process` | what a forked child inherits, and the end of the interpreter |
//! | `arena` | names, and what an arena tells of itself |
//! | `command` | the command `faretra` |
//! | `ready` | descriptors for event loops, and what ends have in common |
//! | `leased` | what items of channels and requests have in common |
//! | `channel`, `feed`, `service` | the ends of channels, feeds and services |
//! | `select` | waits for several things |
//! | `parcel` | what the queues and pipes of `faretra.multiprocessing` carry |
//!
//! What costs no speed is written in Python, in `faretra/`. A file here needs those above it in the table only.

#![allow(missing_docs, reason = "the module's items are documented where they are")]
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "what is documented for Python has Python's brackets, which are no links"
)]

mod arena;
mod arrow;
mod channel;
mod collection;
#[cfg(feature = "command")]
mod command;
mod draft;
mod error;
mod feed;
mod grid;
mod grown;
mod leased;
mod lock;
mod memory;
mod packed;
mod pages;
mod parcel;
mod process;
mod ready;
mod reference;
mod select;
mod semlock;
mod service;
mod shared;
mod table;
mod value;
mod waiters;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

#[pymodule(gil_used = true)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::arena::{_list_arenas, _remove_arena, Arena};
    #[pymodule_export]
    use crate::channel::{Lease, Receiver, Sender};
    #[pymodule_export]
    use crate::collection::{Dict, Items, List, StoredDict, StoredList};
    #[cfg(feature = "command")]
    #[pymodule_export]
    use crate::command::_command;
    #[pymodule_export]
    use crate::draft::Draft;
    #[pymodule_export]
    use crate::feed::{_latest, _snapshot, Feed, Subscriber};
    #[pymodule_export]
    use crate::grid::{MutableArray, Rows};
    #[pymodule_export]
    use crate::grown::TableDraft;
    #[pymodule_export]
    use crate::lock::{Event, Mutex, MutexGuard, Permit, Semaphore};
    #[pymodule_export]
    use crate::memory::{Pinned, SharedBytes, Writable};
    #[pymodule_export]
    use crate::parcel::{
        _attach_ends, _collect, _is_ready, _open_parcel, _peers, _post, _recv_parcel, _send_parcel, _sent,
    };
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
    use crate::shared::{_shared_bytes, SharedValue};
    #[pymodule_export]
    use crate::table::{_fields, _plain_type, Batch, Bundled, Selection, Table};
    #[pymodule_export]
    use crate::waiters::{Waiter, Waiters};

    #[pymodule_export]
    use crate::error::_provoke_panic;
    #[pymodule_export]
    use crate::process::{_after_fork_in_child, _after_fork_in_parent, _at_exit, _before_fork};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::only_interpreter(module.py())?;
        crate::error::install_interrupts();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Refuses every interpreter but the first of this process: classes and modules are kept once for all of them. From 3.12 on
/// CPython refuses by itself where an interpreter has a lock of its own.
fn only_interpreter(py: Python<'_>) -> PyResult<()> {
    static FIRST: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let sys = py.import("sys")?;
    if FIRST.get_or_init(py, || sys.clone().unbind()).is(&sys) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "faretra cannot be imported in a subinterpreter, because another interpreter of this process has imported it: use a \
         process (`multiprocessing`, `subprocess`) or a thread instead",
    ))
}
