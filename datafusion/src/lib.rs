//! SQL over [Faretra](faretra) arenas: tables that [DataFusion](datafusion) reads where they lie in shared memory.
//!
//! A name in an arena is a table of any DataFusion session. A query pins the object, reads the columns that it names in the
//! arena's own memory, and copies no row to do so; what a statement gives is published in the arena by the same names.
//!
//! ```
//! use datafusion::prelude::SessionContext;
//! use faretra::{Arena, MIB};
//! use faretra::arrow::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
//! use std::sync::Arc;
//!
//! # let name = format!("doc-fusion-{}", std::process::id());
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let arena = Arena::options().limit(64 * MIB).keep(false).create(&name)?;   // or Arena::open
//! let to: ArrayRef = Arc::new(StringArray::from(vec!["LIS", "OPO", "LIS"]));
//! let delay: ArrayRef = Arc::new(Float64Array::from(vec![4.0, 1.5, 8.0]));
//! arena.writer()?.publish("flights", RecordBatch::try_from_iter([("to", to), ("delay", delay)])?)?;
//!
//! let context = SessionContext::new();
//! faretra_datafusion::register(&context, "air", &arena)?;
//! context
//!     .sql(r#"CREATE TABLE air.late AS SELECT "to", avg(delay) AS delay FROM air.flights GROUP BY "to""#)
//!     .await?;
//! assert_eq!(arena.table("late")?.num_rows(), 2);           // as any other process sees it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | to have | use |
//! |---|---|
//! | all names of an arena, and `COPY TO` | [`register`] |
//! | an arena as a schema of a catalog of yours | [`ArenaSchema`] |
//! | a catalog whose schemas are arenas | [`ArenaCatalog`] |
//! | one table, pinned | [`ArenaTable`] |
//! | one feed or channel | [`StreamTable`] |
//!
//! # What is promised
//!
//! * A plan reads what was current when it was made, also when the name is published again, removed, or the arena is. Plan
//!   again to read what is current then. Another schema under the old name never mixes with the old one.
//! * A statement that publishes does so as a whole or not at all; a process that is killed on the way leaves nothing.
//! * Values of an arena that was opened with [`Options::untrusted`](faretra::Options::untrusted) are validated before the
//!   engine sees them, and what others say of them (nulls, bounds) decides nothing.
//!
//! # Memory
//!
//! The batches of a scan lie in the arena and cost the process nothing. Of rows that an operator keeps (a sort, the smaller side
//! of a join) the engine counts the bytes as it does of its own, so that a session's limit
//! ([`RuntimeEnvBuilder::with_memory_limit`](datafusion::execution::runtime_env::RuntimeEnvBuilder::with_memory_limit)) means
//! what it means over other tables.
//!
//! # Versions
//!
//! The crate is for DataFusion 55 and needs the Rust that DataFusion needs, 1.94, while `faretra` itself is content with an
//! older one. It turns no feature of DataFusion on: the session decides what SQL it speaks.
#![warn(missing_debug_implementations, unreachable_pub)]

#[macro_use]
mod by_plan;

mod copy;
mod error;
mod filter;
mod name;
mod pinned;
mod scan;
mod schema;
mod sink;
mod statistics;
mod stream;
mod table;

pub use copy::register;
pub use schema::{ArenaCatalog, ArenaSchema};
pub use stream::StreamTable;
pub use table::ArenaTable;

/// The engine, in the version that this crate is for.
pub use datafusion;
/// The arenas.
pub use faretra;
