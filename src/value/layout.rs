//! A record batch as it lies in the segment: what the writer (`plan.rs`, `skeleton.rs`) and the
//! reader (`batch.rs`) agree on.
//!
//! A batch is a *root* object and its *parts*, other objects. The root has the descriptor and every small column.
//! What a top-level column of [`PART_BYTES`] and more has to store is an *own* part, made for this batch; what lies
//! in the arena already, in an own part of an older batch, is not stored again: that object is *held* as one more
//! part. All offsets count from the start of the data region, so they mean the same in every process.
//!
//! ```text
//!  root:    | own parts, then held parts: 8 each | pad to 64 | body |
//!  body:    | header 64 | columns 16 each | nodes 24 each | buffers 16 each | message lengths 8 each |
//!           | schema message | batch message | dictionary messages | pad to 64 | small buffers ... |
//!  part:    | buffer | pad to 64 | buffer | pad to 64 | ...
//!
//!  a column:  node 32 | buffer 32 | element 32 | 0
//!  a buffer:  offset 64 | length 48, extent 16
//! ```
//!
//! * A **column** says where its nodes and buffers start.
//! * A **node** is an array: length, nulls, number of buffers and of children; children follow
//!   their parent, and the values of a dictionary are a child.
//! * A **buffer** is an offset, a length, and the extent that both lie in (0: the root's body, k:
//!   part k-1), so that the buffers of one column may lie in several objects. Validity comes first
//!   where the type can have one (length 0: no nulls); then as in the Arrow format. A buffer that was
//!   copied starts at a multiple of 64; one that is held at a multiple of what its values need
//!   ([`Fixed::align`]), because it may be a slice.
//! * The **messages** are Arrow IPC metadata (flatbuffers, no length prefix). They say the same as
//!   the tables for anybody else's Arrow: buffer offsets are offsets in the data region, which is
//!   the body. Nothing here reads them but the schema.
//!
//! [`Fixed::align`]: crate::value::shape::Fixed::align
//!
//! Stored arrays have offset 0 everywhere: slices are normalised when they are written (`plan.rs`).
//! Text and views that are held may look at less than their buffers hold: offsets may begin above 0.

use crate::error::{Error, Result};

/// Columns from this size are objects of their own.
pub(crate) const PART_BYTES: u64 = 64 * 1024;
/// Every buffer that is copied starts at a multiple of this.
pub(crate) const ALIGN: u64 = 64;

pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const MAGIC: u32 = u32::from_le_bytes(*b"FaRb");
pub(crate) const FORMAT: u32 = 2;
pub(crate) const COLUMN_BYTES: u64 = 16;
pub(crate) const NODE_BYTES: u64 = 24;
pub(crate) const BUFFER_BYTES: u64 = 16;
/// Bits of a buffer's length; the extent stands above them.
pub(crate) const LEN_BITS: u32 = 48;

/// What the first 64 bytes of a root say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub rows: u64,
    pub columns: u32,
    pub nodes: u32,
    pub buffers: u32,
    pub dictionaries: u32,
    /// [`crate::value::schema::fingerprint`] of the schema message.
    pub schema_print: u64,
    /// Lengths of the messages, each a multiple of 8; the dictionaries' is their sum.
    pub schema_len: u32,
    pub batch_len: u32,
    pub dictionary_len: u32,
    pub parts: u32,
}

impl Header {
    pub(crate) fn write(&self, out: &mut [u8]) {
        out[..HEADER_BYTES].fill(0);
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC.to_le_bytes());
        put(&FORMAT.to_le_bytes());
        put(&self.rows.to_le_bytes());
        put(&self.columns.to_le_bytes());
        put(&self.nodes.to_le_bytes());
        put(&self.buffers.to_le_bytes());
        put(&self.dictionaries.to_le_bytes());
        put(&self.schema_print.to_le_bytes());
        put(&self.schema_len.to_le_bytes());
        put(&self.batch_len.to_le_bytes());
        put(&self.dictionary_len.to_le_bytes());
        put(&self.parts.to_le_bytes());
    }

    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Result<Header> {
        // Of known length from here on, so that the reads below need no checks.
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(damaged(format!("has {} bytes, less than its header", bytes.len())));
        };
        if (u32_at(bytes, 0), u32_at(bytes, 4)) != (MAGIC, FORMAT) {
            return Err(damaged(format!(
                "starts with {:#x} and format {}, not {MAGIC:#x} and {FORMAT}",
                u32_at(bytes, 0),
                u32_at(bytes, 4)
            )));
        }
        Ok(Header {
            rows: u64_at(bytes, 8),
            columns: u32_at(bytes, 16),
            nodes: u32_at(bytes, 20),
            buffers: u32_at(bytes, 24),
            dictionaries: u32_at(bytes, 28),
            schema_print: u64_at(bytes, 32),
            schema_len: u32_at(bytes, 40),
            batch_len: u32_at(bytes, 44),
            dictionary_len: u32_at(bytes, 48),
            parts: u32_at(bytes, 52),
        })
    }
}

/// Where everything in a root is (A1). Follows from the header alone, for writer and reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sections {
    pub columns: u64,
    pub nodes: u64,
    pub buffers: u64,
    pub lengths: u64,
    pub schema: u64,
    pub batch: u64,
    pub dictionaries: u64,
    /// Where the small columns start: a multiple of 64.
    pub inline: u64,
}

impl Sections {
    /// Cannot overflow: every count and length is 32 bits.
    #[inline]
    pub(crate) fn of(h: &Header) -> Sections {
        let columns = HEADER_BYTES as u64;
        let nodes = columns + COLUMN_BYTES * u64::from(h.columns);
        let buffers = nodes + NODE_BYTES * u64::from(h.nodes);
        let lengths = buffers + BUFFER_BYTES * u64::from(h.buffers);
        let schema = lengths + 8 * u64::from(h.dictionaries);
        let batch = schema + u64::from(h.schema_len);
        let dictionaries = batch + u64::from(h.batch_len);
        let inline = (dictionaries + u64::from(h.dictionary_len)).next_multiple_of(ALIGN);
        Sections { columns, nodes, buffers, lengths, schema, batch, dictionaries, inline }
    }
}

/// A row of the column table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredColumn {
    pub node: u32,
    pub buffer: u32,
    /// Code of the [`ElementType`](crate::value::element::ElementType) whose values the column is made of, or 0.
    pub element: u32,
}

/// A row of the node table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredNode {
    pub len: u64,
    pub nulls: u64,
    pub buffers: u32,
    pub children: u32,
}

/// A row of the buffer table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredBuffer {
    /// Offset in the data region.
    pub at: u64,
    pub len: u64,
    /// 0: the root's body; k: part k-1.
    pub extent: u32,
}

impl StoredBuffer {
    /// `len` is below 2^48 and `extent` below 2^16: the writer has checked it.
    #[inline]
    pub(crate) fn words(self) -> [u64; 2] {
        [self.at, self.len | u64::from(self.extent) << LEN_BITS]
    }

    #[inline]
    pub(crate) fn parse(row: &[u8]) -> StoredBuffer {
        let word = u64_at(row, 8);
        StoredBuffer { at: u64_at(row, 0), len: word & ((1 << LEN_BITS) - 1), extent: (word >> LEN_BITS) as u32 }
    }
}

#[cold]
pub(crate) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::damaged(format!("the descriptor of a batch {what}"))
}

#[inline]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(word) => u32::from_le_bytes(*word),
        None => 0,
    }
}

#[inline]
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    }
}
