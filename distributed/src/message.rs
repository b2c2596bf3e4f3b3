//! What coordinators and workers say to each other beside the engine's own messages: protocol buffers.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use datafusion::common::{Result, Statistics, internal_datafusion_err};
use datafusion_proto_common::protobuf_common as protobuf;
use prost::Message;

/// A plan is understood by workers of this version alone: the engine's encoding of plans is that of one version.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " on DataFusion 55");

/// Asks a worker what it is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Hello {
    /// The version of who asks.
    #[prost(string, tag = "1")]
    pub version: String,
}

/// What a worker is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Welcome {
    #[prost(string, tag = "1")]
    pub version: String,
    /// The names of the arenas that it scans.
    #[prost(string, repeated, tag = "2")]
    pub arenas: Vec<String>,
    /// How many threads it computes with.
    #[prost(uint32, tag = "3")]
    pub threads: u32,
}

/// Asks for the names of the tables of an arena.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct List {
    #[prost(string, tag = "1")]
    pub arena: String,
}

/// The names of the tables of an arena.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Listed {
    #[prost(string, repeated, tag = "1")]
    pub tables: Vec<String>,
}

/// Asks for a table, and that its current version be kept for a while.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Find {
    #[prost(string, tag = "1")]
    pub arena: String,
    #[prost(string, tag = "2")]
    pub table: String,
}

/// What a worker found.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Found {
    /// Which arena it is: no other of any host has this identity.
    #[prost(string, tag = "1")]
    pub identity: String,
    /// The table, if there is one of that name.
    #[prost(message, optional, tag = "2")]
    pub table: Option<Described>,
}

/// A table of an arena.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Described {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// A `protobuf::Schema` of the engine's.
    #[prost(bytes = "vec", tag = "2")]
    pub schema: Vec<u8>,
    /// `protobuf::Statistics` of the engine's.
    #[prost(bytes = "vec", tag = "3")]
    pub statistics: Vec<u8>,
}

/// What a task scans on the host of its worker: what a plan has in the place of rows.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ask {
    /// The worker that the task is for, as the coordinator names it.
    #[prost(string, tag = "1")]
    pub worker: String,
    #[prost(string, tag = "2")]
    pub arena: String,
    #[prost(string, tag = "3")]
    pub table: String,
    /// The schema of the whole table: a `protobuf::Schema`.
    #[prost(bytes = "vec", tag = "4")]
    pub schema: Vec<u8>,
    /// Columns of the table, in order.
    #[prost(uint32, repeated, tag = "5")]
    pub projection: Vec<u32>,
    /// Expressions that rule batches out, encoded by the engine; the rows of other batches are the plan's matter.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub filters: Vec<Vec<u8>>,
    /// No more rows than these are asked for.
    #[prost(uint64, optional, tag = "7")]
    pub limit: Option<u64>,
    /// How many partitions the scan has, some of them empty perhaps.
    #[prost(uint32, tag = "8")]
    pub partitions: u32,
    /// What the host has of the table; without it, the scan is empty.
    #[prost(message, optional, tag = "9")]
    pub part: Option<Part>,
}

/// What one worker scans of a table.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Part {
    /// Which arena was meant when the plan was made.
    #[prost(string, tag = "1")]
    pub identity: String,
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// Of workers that have one arena, each scans another share of its batches.
    #[prost(uint32, tag = "3")]
    pub index: u32,
    #[prost(uint32, tag = "4")]
    pub of: u32,
}

pub(crate) fn encode_schema(schema: &Schema) -> Result<Vec<u8>> {
    Ok(protobuf::Schema::try_from(schema)?.encode_to_vec())
}

pub(crate) fn decode_schema(bytes: &[u8]) -> Result<SchemaRef> {
    let schema = protobuf::Schema::decode(bytes).map_err(|e| internal_datafusion_err!("no schema: {e}"))?;
    Ok(Arc::new(Schema::try_from(&schema)?))
}

pub(crate) fn encode_statistics(statistics: &Statistics) -> Vec<u8> {
    protobuf::Statistics::from(statistics).encode_to_vec()
}

pub(crate) fn decode_statistics(bytes: &[u8]) -> Result<Statistics> {
    let known = protobuf::Statistics::decode(bytes).map_err(|e| internal_datafusion_err!("no statistics: {e}"))?;
    Statistics::try_from(&known)
}
