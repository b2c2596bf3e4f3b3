//! SQL over [Faretra](faretra) arenas of several hosts, on [datafusion-distributed](datafusion_distributed).
//!
//! Every host runs a [`Worker`], which scans the arenas of its own host where they lie. A [`Coordinator`] plans a statement over the
//! tables of all of them: a table that several hosts have in arenas of one name is one table, whose rows are those of all hosts.
//! What is scanned stays where it is; rows travel only between the stages of a plan, by the engine's own transport (Arrow Flight).
//!
//! ```sh
//! faretra cluster worker air --listen 10.0.0.2:50061 --token-file token      # on each host
//! faretra cluster sql 10.0.0.2:50061,10.0.0.3:50061 --token-file token "SELECT dest, avg(delay) FROM flights GROUP BY dest"
//! ```
//!
//! # What is promised
//!
//! * **In place.** A plan has a description of each scan (worker, arena, table, version, columns, filters); the worker that gets it
//!   pins the object in its own mapping. No row that a filter, an aggregate or a limit of the same stage drops leaves its host.
//! * **Pinned when planned.** A statement looks each table up on all hosts when it is planned, and each worker keeps the version that
//!   it spoke of for a while ([`Worker::keep`]). What is published meanwhile is not seen. A version that is gone, another arena of
//!   the same name, other columns: errors that say so, and never rows of both.
//! * **All or an error.** A host that is not reached, or has lost an arena that its worker was started with, is an error, and not
//!   a part of the answer. So is a worker that dies or falls silent in the middle, at once or after 10 s; nothing is retried
//!   by itself. Its arena is as it was after any other death of a reader.
//! * **Workers of one host** may serve one arena: it is recognised (boot id, device and inode of the file), and each scans a share of
//!   its batches.
//!
//! # What is not
//!
//! * Statements read. Feeds, channels, members of bundles, versions by number and patterns of names are not seen; nothing is written.
//! * Whoever knows the token is trusted: plans say which workers to ask for rows. Workers read their arenas and nothing else
//!   (no files), whatever a plan says.
//! * One version: coordinator and workers are of the same, because plans are encoded by the engine of one version.
//!
//! # Why this engine
//!
//! datafusion-distributed lets a plan say which worker each task is for (`RouteTasksHandler`) and gives each task a scan of its own
//! (`DistributedLeafExec`): that is what scanning in place needs. It is a library in the worker's process and in the
//! coordinator's, and stages stream to each other.
//!
//! Ballista 55.0.0, the other candidate, was tried with one scheduler, two executors and TPC-H over a table whose halves may be
//! scanned on one executor each:
//!
//! * Tasks are bound to an executor by a policy in a scheduler of one's own (`DistributionPolicy`, 150 lines for this trial). The
//!   plan cannot say it, and without it the scans ran where their rows are not.
//! * A leaf of one's own that several tasks share is executed whole by each of them, unless the policy cuts it: `count(*)` gave
//!   twice the rows, without an error.
//! * A task bound to a host that died waited for ever (given up after 113 s). Of unbound ones, queries that lost an executor
//!   after a join had ended got no answer with the adaptive planner, and sums that were twice as large with the static one.
//!   Otherwise the answer was right, 190 s later with the times that it has by default.
//! * What goes between stages is written to files, the result too.
//!
//! # Why workers of one host do not exchange by a channel of the arena
//!
//! The engine would allow it: `ChannelResolver` may give a `WorkerChannel` of ours, whose `execute_task` returns streams of
//! batches. But those batches are kept by who asked for them, a `HashJoinExec` or `SortExec` for as long as it builds, and an arena has
//! a limit: a build side that is larger would fill the channel's arena with leased batches, and sender and receiver would wait for each
//! other. To copy each batch out on receipt spares only what the loopback interface costs. Run one worker per host: it computes on
//! all processors, and its tasks give batches to each other as they are, without a copy (`LocalWorkerContext`).
//!
//! # Versions
//!
//! The crate is for DataFusion 55 and needs the Rust that DataFusion needs, 1.94, while `faretra` itself is content with an
//! older one.
#![warn(missing_debug_implementations, unreachable_pub)]

mod admit;
mod codec;
mod control;
mod coordinator;
mod link;
mod message;
mod route;
mod scan;
mod shelf;
mod table;
mod worker;

pub use coordinator::{Compression, Coordinator};
pub use worker::{Listening, WorkError, Worker};

/// The engine, in the version that this crate is for.
pub use datafusion;
/// What divides plans among workers, in the version that this crate is for.
pub use datafusion_distributed;
/// The arenas.
pub use faretra;
