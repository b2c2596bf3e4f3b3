//! A record batch as it lies in the segment, and how it is read: descriptor, schema, columns.
//!
//! A batch is a *root* object and *parts*. The root holds the descriptor and every small column; a
//! top-level column of [`PART_BYTES`] and more is a part, an object of its own, so that it can be
//! shared alone. All offsets count from the start of the data region, so they mean the same in
//! every process.
//!
//! ```text
//!  root:  | header 64 | columns 16 each | nodes 24 each | buffers 16 each | message lengths 8 each |
//!         | schema message | batch message | dictionary messages | pad to 64 | small columns ... |
//!  part:  | buffer | pad to 64 | buffer | pad to 64 | ...
//! ```
//!
//! * A **column** says where its nodes and buffers start and which extent (0: the root, k: part
//!   k-1) holds all of them, children included.
//! * A **node** is an array: length, nulls, number of buffers and of children; children follow
//!   their parent, and the values of a dictionary are a child.
//! * A **buffer** is an offset and a length. Validity comes first where the type can have one
//!   (length 0: no nulls); then as in the Arrow format. Every buffer starts at a multiple of 64.
//! * The **messages** are Arrow IPC metadata (flatbuffers, no length prefix). They say the same as
//!   the tables for anybody else's Arrow: buffer offsets are offsets in the data region, which is
//!   the body. Nothing here reads them but the schema.
//!
//! Stored arrays have offset 0 everywhere: slices were normalised when they were written
//! (`layout.rs`).
//!
//! The invariants, checked on every read: **A1** the sections lie in the root in this order and
//! their sizes follow from the header; **A2** a column reads only its own nodes and buffers; **A3**
//! every buffer lies in its column's extent, at a multiple of 64, and is as long as its node's
//! length asks; **A4** children have the lengths that their parents ask, offsets end inside them.
//! What cannot be checked in constant time per buffer (each offset, each UTF-8 sequence, each key)
//! is the writer's word, unless [`Trust::Nobody`] asks for all of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{
    ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, RecordBatchOptions, downcast_primitive, make_array,
};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{DataType, IntervalUnit, Schema, SchemaRef, UnionMode};

use crate::array::ElementType;
use crate::error::{Error, Result};
use crate::unchecked;

/// How bytes are copied into the arena: plain, or past the caches for large pieces.
pub(crate) type CopyBytes<'a> = &'a dyn Fn(&mut [u8], &[u8]);

/// Columns from this size are objects of their own.
pub(crate) const PART_BYTES: u64 = 64 * 1024;
/// Every buffer starts at a multiple of this.
pub(crate) const ALIGN: u64 = 64;

pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: u32 = u32::from_le_bytes(*b"FaRb");
const FORMAT: u32 = 1;
const COLUMN_BYTES: u64 = 16;
const NODE_BYTES: u64 = 24;
const BUFFER_BYTES: u64 = 16;

/// Whose values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The participants': bounds are checked, values are not read.
    Writers,
    /// Nobody's: everything is validated, as arrow does for a file.
    Nobody,
}

/// What the inner steps of reading return. Boxed, because moving an [`Error`] by value through
/// every step costs as much as the step.
type Checked<T> = Result<T, Box<Error>>;

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Error {
        *error
    }
}

/// What the first 64 bytes of a root say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub rows: u64,
    pub columns: u32,
    pub nodes: u32,
    pub buffers: u32,
    pub dictionaries: u32,
    /// [`fingerprint`] of the schema message.
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

    fn read(bytes: &[u8]) -> Result<Header> {
        if bytes.len() < HEADER_BYTES {
            return Err(damaged(format!("has {} bytes, less than its header", bytes.len())));
        }
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
pub(crate) struct ColumnEntry {
    pub node: u32,
    pub buffer: u32,
    /// 0: the root; k: part k-1.
    pub extent: u32,
    /// Code of the [`ElementType`] whose values the column is made of, or 0.
    pub element: u32,
}

/// A row of the node table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub len: u64,
    pub nulls: u64,
    pub buffers: u32,
    pub children: u32,
}

/// Where the bytes of a batch may lie, and who keeps them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    /// The whole data region; its owner is the pin. 64-aligned.
    pub bytes: &'a Buffer,
    /// Offset and length of the root, then of each part in order.
    pub extents: &'a [(u64, u64)],
}

#[cold]
fn damaged(what: impl std::fmt::Display) -> Error {
    Error::damaged(format!("the descriptor of a batch {what}"))
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(word) => u32::from_le_bytes(*word),
        None => 0,
    }
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|b| b.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    }
}

/// 64 bits of a message, to find it in a cache and to notice that it was damaged (not forged).
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    // FNV-1a over words, with a rotation so that high bits reach low ones.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ bytes.len() as u64;
    let mut step = |word: u64| hash = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        step(u64_at(word, 0));
    }
    for &byte in words.remainder() {
        step(u64::from(byte));
    }
    hash
}

/// The element type that a column of this type shows as an `ndarray` view: dates, times and
/// decimals are shown as the integers they are stored as.
pub(crate) fn element_of(t: &DataType) -> Option<ElementType> {
    Some(match t {
        DataType::Int8 => ElementType::I8,
        DataType::Int16 => ElementType::I16,
        DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => ElementType::I32,
        DataType::Interval(IntervalUnit::YearMonth) => ElementType::I32,
        DataType::Int64 | DataType::Date64 | DataType::Time64(_) | DataType::Decimal64(..) => ElementType::I64,
        DataType::Timestamp(..) | DataType::Duration(_) => ElementType::I64,
        DataType::UInt8 => ElementType::U8,
        DataType::UInt16 => ElementType::U16,
        DataType::UInt32 => ElementType::U32,
        DataType::UInt64 => ElementType::U64,
        DataType::Float16 => ElementType::F16,
        DataType::Float32 => ElementType::F32,
        DataType::Float64 => ElementType::F64,
        DataType::Decimal128(..) => ElementType::I128,
        _ => return None,
    })
}

/// Bytes of one value, for the types that have one size.
pub(crate) fn fixed_width(t: &DataType) -> Option<u64> {
    match t {
        DataType::FixedSizeBinary(n) => u64::try_from(*n).ok(),
        t => t.primitive_width().map(|n| n as u64),
    }
}

/// Whether arrays of this type have a validity buffer (possibly empty) in the table.
pub(crate) fn has_validity(t: &DataType) -> bool {
    !matches!(t, DataType::Null | DataType::Union(..) | DataType::RunEndEncoded(..))
}

/// Refuses types that Arrow's format has no place for, or whose parameters make no sense. `Err` is
/// the reason. Schemas are checked on their way in and again on their way out.
pub(crate) fn check_type(t: &DataType) -> Result<(), String> {
    match t {
        DataType::FixedSizeBinary(n) if *n < 0 => Err(format!("{t} has a negative size")),
        DataType::FixedSizeList(_, n) if *n < 0 => Err(format!("{t} has a negative size")),
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _) => check_type(f.data_type()),
        DataType::Struct(fields) => fields.iter().try_for_each(|f| check_type(f.data_type())),
        DataType::Union(fields, _) => fields.iter().try_for_each(|(_, f)| check_type(f.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => check_type(entries.data_type()),
            other => Err(format!("the entries of a map are a struct of two fields, not {other}")),
        },
        DataType::Dictionary(_, values) if matches!(**values, DataType::Dictionary(..)) => {
            Err("the values of a dictionary are a dictionary themselves; cast the values to their plain type first"
                .into())
        }
        DataType::Dictionary(keys, _) if !keys.is_dictionary_key_type() => {
            Err(format!("{keys} cannot be the keys of a dictionary"))
        }
        DataType::Dictionary(_, values) => check_type(values),
        DataType::RunEndEncoded(ends, values) => match ends.data_type() {
            DataType::Int16 | DataType::Int32 | DataType::Int64 => check_type(values.data_type()),
            other => Err(format!("run ends are int16, int32 or int64, not {other}")),
        },
        _ => Ok(()),
    }
}

/// A descriptor whose sections lie inside its bytes (A1). Cheap: the tables are read when asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    root: &'a [u8],
    header: Header,
    sections: Sections,
}

impl<'a> Layout<'a> {
    /// Checks header and sections. Any bytes may be given: they are a batch or an error.
    pub(crate) fn parse(root: &'a [u8]) -> Result<Layout<'a>> {
        let header = Header::read(root)?;
        let sections = Sections::of(&header);
        let end = sections.inline;
        if end > root.len() as u64 {
            return Err(damaged(format!("ends at {end}, its object at {}", root.len())));
        }
        if header.rows > isize::MAX as u64 {
            return Err(damaged(format!("says {} rows", header.rows)));
        }
        Ok(Layout { root, header, sections })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.header.rows
    }

    pub(crate) fn num_columns(&self) -> usize {
        self.header.columns as usize
    }

    /// How many parts belong to the root.
    pub(crate) fn num_parts(&self) -> usize {
        self.header.parts as usize
    }

    /// Bytes of all buffers, without padding and descriptor.
    pub(crate) fn nbytes(&self) -> u64 {
        (0..self.header.buffers).fold(0, |sum, i| self.buffer_entry(i).1.saturating_add(sum))
    }

    #[inline]
    fn column_entry(&self, i: usize) -> Checked<ColumnEntry> {
        if i >= self.num_columns() {
            return Err(Box::new(Error::invalid(format!(
                "there is no column {i}: the batch has {}",
                self.num_columns()
            ))));
        }
        let at = self.sections.columns as usize + i * COLUMN_BYTES as usize;
        Ok(ColumnEntry {
            node: u32_at(self.root, at),
            buffer: u32_at(self.root, at + 4),
            extent: u32_at(self.root, at + 8),
            element: u32_at(self.root, at + 12),
        })
    }

    #[inline]
    fn node_entry(&self, i: u32) -> Node {
        let at = self.sections.nodes as usize + i as usize * NODE_BYTES as usize;
        Node {
            len: u64_at(self.root, at),
            nulls: u64_at(self.root, at + 8),
            buffers: u32_at(self.root, at + 16),
            children: u32_at(self.root, at + 20),
        }
    }

    #[inline]
    fn buffer_entry(&self, i: u32) -> (u64, u64) {
        let at = self.sections.buffers as usize + i as usize * BUFFER_BYTES as usize;
        (u64_at(self.root, at), u64_at(self.root, at + 8))
    }

    /// Nulls among the rows of a column (what a `Null` column has instead of values included).
    pub(crate) fn null_count(&self, column: usize) -> Result<u64> {
        let entry = self.column_entry(column)?;
        if entry.node >= self.header.nodes {
            return Err(damaged(format!("says column {column} is node {} of {}", entry.node, self.header.nodes)));
        }
        Ok(self.node_entry(entry.node).nulls)
    }

    /// A reader of one column's nodes and buffers and of no others (A2).
    #[inline]
    fn cursor<'r>(&self, i: usize, region: &Region<'r>, trust: Trust) -> Checked<Cursor<'_, 'a, 'r>> {
        let entry = self.column_entry(i)?;
        let (node_end, buffer_end) = if i + 1 < self.num_columns() {
            let next = self.column_entry(i + 1)?;
            (next.node, next.buffer)
        } else {
            (self.header.nodes, self.header.buffers)
        };
        if node_end > self.header.nodes || buffer_end > self.header.buffers {
            return Err(Box::new(damaged(format!(
                "says column {i} ends at node {node_end} of {}, buffer {buffer_end} of {}",
                self.header.nodes, self.header.buffers
            ))));
        }
        let Some(&(start, len)) = region.extents.get(entry.extent as usize) else {
            return Err(Box::new(damaged(format!(
                "says column {i} is in extent {}; there are {}",
                entry.extent,
                region.extents.len()
            ))));
        };
        match start.checked_add(len) {
            Some(end) if end <= region.bytes.len() as u64 => Ok(Cursor {
                layout: self,
                column: i,
                bytes: region.bytes,
                extent: start..end,
                nodes: entry.node..node_end,
                buffers: entry.buffer..buffer_end,
                trust,
            }),
            _ => Err(Box::new(damaged(format!(
                "has column {i} at {start}, {len} bytes long; the region has {}",
                region.bytes.len()
            )))),
        }
    }

    /// One column.
    pub(crate) fn column(&self, i: usize, region: &Region<'_>, trust: Trust) -> Result<ArrayRef> {
        let schema = self.schema()?;
        self.column_as(i, schema_type(&schema, i)?, region, trust)
    }

    fn column_as(&self, i: usize, t: &DataType, region: &Region<'_>, trust: Trust) -> Result<ArrayRef> {
        Ok(self.cursor(i, region, trust)?.array(t)?)
    }

    /// All columns.
    pub(crate) fn batch(&self, region: &Region<'_>, trust: Trust) -> Result<RecordBatch> {
        let schema = self.schema()?;
        let mut columns = Vec::with_capacity(self.num_columns());
        for (i, field) in schema.fields().iter().enumerate() {
            columns.push(self.column_as(i, field.data_type(), region, trust)?);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(self.header.rows as usize));
        Ok(RecordBatch::try_new_with_options(schema, columns, &rows)?)
    }

    /// The fast way to one column of plain numbers: offset in the data region of the first value,
    /// and the number of values. Nulls do not matter here: the values under them are there too.
    /// The range is inside the column's extent and aligned to 64.
    pub(crate) fn values(&self, i: usize, element: ElementType, region: &Region<'_>) -> Result<(u64, u64)> {
        let entry = self.column_entry(i)?;
        if entry.element != element as u32 {
            let schema = self.schema()?;
            return Err(Error::Mismatch {
                name: schema.fields().get(i).map_or_else(|| i.to_string(), |f| f.name().clone()),
                expected: format!("a column of {element}"),
                found: format!("a column of {}", schema_type(&schema, i)?),
            });
        }
        let mut cursor = self.cursor(i, region, Trust::Writers)?;
        let node = cursor.node()?;
        cursor.row_count(&node)?;
        cursor.buffer()?;
        let (at, len) = cursor.buffer()?;
        let bytes = node.len.checked_mul(element.size() as u64);
        if bytes.is_none_or(|bytes| bytes > len) {
            return Err(*cursor.short("values", len, node.len));
        }
        Ok((at, node.len))
    }

    /// The bytes of the schema message.
    fn schema_bytes(&self) -> &'a [u8] {
        let s = &self.sections;
        &self.root[s.schema as usize..s.batch as usize]
    }

    /// The schema. Decoded once per process and kept, because that costs about 0.3 us per column.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let schema = DECODED.find_or(
            |known: &Decoded| known.print == self.header.schema_print && *known.bytes == *self.schema_bytes(),
            || {
                let bytes: Box<[u8]> = self.schema_bytes().into();
                if fingerprint(&bytes) != self.header.schema_print {
                    return Err(damaged("has a schema that is not the one written"));
                }
                let schema = Arc::new(
                    decode_schema(&bytes).map_err(|e| damaged(format!("has a schema that cannot be used: {e}")))?,
                );
                Ok(Decoded { print: self.header.schema_print, bytes, schema })
            },
            |known| known.schema.clone(),
        )?;
        if schema.fields().len() != self.num_columns() {
            return Err(damaged(format!("has {} columns, its schema {}", self.num_columns(), schema.fields().len())));
        }
        Ok(schema)
    }

    /// The same batch for any Arrow implementation: the schema message, the dictionary messages in
    /// the order in which they must be read, and the record batch message. Offsets in them count
    /// from the start of the data region.
    pub(crate) fn ipc(&self) -> Result<Messages<'a>> {
        let s = &self.sections;
        let mut dictionaries = Vec::new();
        let mut rest = &self.root[s.dictionaries as usize..][..self.header.dictionary_len as usize];
        for i in 0..self.header.dictionaries as usize {
            let len = u64_at(self.root, s.lengths as usize + 8 * i);
            let Some((message, tail)) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)) else {
                return Err(damaged(format!("says dictionary message {i} has {len} bytes; {} are left", rest.len())));
            };
            dictionaries.push(message);
            rest = tail;
        }
        Ok((self.schema_bytes(), dictionaries, &self.root[s.batch as usize..s.dictionaries as usize]))
    }
}

/// Schema message, dictionary messages, batch message.
pub(crate) type Messages<'a> = (&'a [u8], Vec<&'a [u8]>, &'a [u8]);

fn schema_type(schema: &Schema, i: usize) -> Result<&DataType> {
    schema
        .fields()
        .get(i)
        .map(|f| f.data_type())
        .ok_or_else(|| Error::invalid(format!("there is no column {i}: the batch has {}", schema.fields().len())))
}

struct Decoded {
    print: u64,
    bytes: Box<[u8]>,
    schema: SchemaRef,
}

static DECODED: Recent<Decoded> = Recent::new();

/// The last few things that were made, most recently used first. Small on purpose: a process that
/// reads more than this many schemas at once pays for decoding, not with memory.
pub(crate) struct Recent<T>(Mutex<VecDeque<T>>);

/// How many schemas a process remembers.
const REMEMBERED: usize = 16;

impl<T> Recent<T> {
    pub(crate) const fn new() -> Recent<T> {
        Recent(Mutex::new(VecDeque::new()))
    }

    /// `take` of the entry that `is` it, made by `make` where there is none.
    pub(crate) fn find_or<R>(
        &self,
        is: impl Fn(&T) -> bool,
        make: impl FnOnce() -> Result<T>,
        take: impl FnOnce(&T) -> R,
    ) -> Result<R> {
        // The entries are whole at every moment, so a panic elsewhere spoils nothing.
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(i) = entries.iter().position(&is) {
            if i != 0 {
                entries.swap(0, i);
            }
            return Ok(take(&entries[0]));
        }
        drop(entries);
        // Made without the lock: two threads may make the same one, and the later entry wins.
        let made = make()?;
        let taken = take(&made);
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.truncate(REMEMBERED - 1);
        entries.push_front(made);
        Ok(taken)
    }
}

/// Decodes a schema message. arrow's own conversion panics on what it does not know, so everything
/// it would panic on is refused first.
pub(crate) fn decode_schema(bytes: &[u8]) -> Result<Schema, String> {
    let message = arrow_ipc::root_as_message(bytes).map_err(|e| e.to_string())?;
    let schema = message.header_as_schema().ok_or("the message is no schema")?;
    if schema.endianness() != arrow_ipc::Endianness::Little {
        return Err("it is big-endian".into());
    }
    for field in schema.fields().ok_or("it has no list of fields")? {
        check_field(&field, true)?;
    }
    let schema = arrow_ipc::convert::fb_to_schema(schema);
    schema.fields().iter().try_for_each(|f| check_type(f.data_type()))?;
    Ok(schema)
}

/// `Err` for whatever `arrow_ipc::convert` would panic on (59.3: `get_data_type`).
fn check_field(field: &arrow_ipc::Field<'_>, may_be_dictionary: bool) -> Result<(), String> {
    use arrow_ipc::{DateUnit, IntervalUnit, Precision, TimeUnit, Type, UnionMode};

    let int = |int: Option<arrow_ipc::Int<'_>>| int.is_some_and(|i| matches!(i.bitWidth(), 8 | 16 | 32 | 64));
    let unit = |unit: TimeUnit| TimeUnit::ENUM_VALUES.contains(&unit);
    let children = field.children().map_or(0, |c| c.len());
    if may_be_dictionary && field.dictionary().is_some_and(|d| !int(d.indexType())) {
        return Err("a dictionary has keys of no integer type".into());
    }
    let fine = match field.type_type() {
        Type::Null | Type::Bool | Type::Struct_ => true,
        Type::Binary | Type::BinaryView | Type::LargeBinary => true,
        Type::Utf8 | Type::Utf8View | Type::LargeUtf8 => true,
        Type::Int => int(field.type_as_int()),
        Type::FixedSizeBinary => field.type_as_fixed_size_binary().is_some(),
        Type::FloatingPoint => {
            field.type_as_floating_point().is_some_and(|f| Precision::ENUM_VALUES.contains(&f.precision()))
        }
        Type::Date => field.type_as_date().is_some_and(|d| DateUnit::ENUM_VALUES.contains(&d.unit())),
        Type::Time => field.type_as_time().is_some_and(|t| match t.bitWidth() {
            32 => matches!(t.unit(), TimeUnit::SECOND | TimeUnit::MILLISECOND),
            64 => matches!(t.unit(), TimeUnit::MICROSECOND | TimeUnit::NANOSECOND),
            _ => false,
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|t| unit(t.unit())),
        Type::Duration => field.type_as_duration().is_some_and(|d| unit(d.unit())),
        Type::Interval => field.type_as_interval().is_some_and(|i| IntervalUnit::ENUM_VALUES.contains(&i.unit())),
        Type::List | Type::LargeList | Type::ListView | Type::LargeListView => children == 1,
        Type::FixedSizeList => children == 1 && field.type_as_fixed_size_list().is_some(),
        Type::RunEndEncoded => children == 2,
        Type::Map => children == 1 && field.type_as_map().is_some(),
        Type::Decimal => field.type_as_decimal().is_some_and(|d| {
            matches!(d.bitWidth(), 32 | 64 | 128 | 256)
                && u8::try_from(d.precision()).is_ok()
                && i8::try_from(d.scale()).is_ok()
        }),
        Type::Union => field.type_as_union().is_some_and(|u| {
            UnionMode::ENUM_VALUES.contains(&u.mode())
                && match u.typeIds() {
                    None => children <= 128,
                    Some(ids) => {
                        let mut ids: Vec<i8> = ids.iter().map(|id| id as i8).collect();
                        ids.sort_unstable();
                        ids.dedup();
                        ids.len() == children
                            && ids.first().is_none_or(|&id| id >= 0)
                            && u.typeIds().is_some_and(|all| all.len() == children)
                    }
                }
        }),
        _ => false,
    };
    if !fine {
        return Err(format!(
            "field `{}` of type {:?} makes no sense",
            field.name().unwrap_or_default(),
            field.type_type()
        ));
    }
    for child in field.children().into_iter().flatten() {
        check_field(&child, true)?;
    }
    Ok(())
}

/// Reads one column, front to back.
struct Cursor<'l, 'a, 'r> {
    layout: &'l Layout<'a>,
    column: usize,
    bytes: &'r Buffer,
    extent: Range<u64>,
    nodes: Range<u32>,
    buffers: Range<u32>,
    trust: Trust,
}

impl Cursor<'_, '_, '_> {
    #[cold]
    fn damaged(&self, what: impl std::fmt::Display) -> Box<Error> {
        Box::new(damaged(format!("has a column {} that {what}", self.column)))
    }

    #[cold]
    fn short(&self, what: &str, have: u64, len: u64) -> Box<Error> {
        self.damaged(format!("has {what} of {have} bytes, too few for {len} entries"))
    }

    #[inline]
    fn node(&mut self) -> Checked<Node> {
        let i = self.nodes.next().ok_or_else(|| self.damaged("has too few nodes for its type"))?;
        let node = self.layout.node_entry(i);
        if node.nulls > node.len || node.len > isize::MAX as u64 {
            return Err(self.damaged(format!("has {} nulls among {} entries", node.nulls, node.len)));
        }
        Ok(node)
    }

    #[inline]
    fn row_count(&self, node: &Node) -> Checked<()> {
        if node.len != self.layout.header.rows {
            return Err(self.damaged(format!("has {} entries, its batch {} rows", node.len, self.layout.header.rows)));
        }
        Ok(())
    }

    /// The next buffer's offset and length: inside the extent and aligned (A3), or empty.
    #[inline]
    fn buffer(&mut self) -> Checked<(u64, u64)> {
        let i = self.buffers.next().ok_or_else(|| self.damaged("has too few buffers for its type"))?;
        let (at, len) = self.layout.buffer_entry(i);
        if len == 0 {
            return Ok((self.extent.start, 0));
        }
        let inside = at >= self.extent.start && at.checked_add(len).is_some_and(|end| end <= self.extent.end);
        if !inside || !at.is_multiple_of(ALIGN) {
            return Err(self.damaged(format!(
                "has a buffer of {len} bytes at {at}, not at a multiple of {ALIGN} in {}..{}",
                self.extent.start, self.extent.end
            )));
        }
        Ok((at, len))
    }

    /// The next buffer, cut to the `count` entries of `width` bytes that it must at least have.
    #[inline]
    fn entries(&mut self, what: &str, count: u64, width: u64) -> Checked<Buffer> {
        let (at, len) = self.buffer()?;
        match count.checked_mul(width) {
            Some(need) if need <= len => self.slice(at, need),
            _ => Err(self.short(what, len, count)),
        }
    }

    fn whole(&mut self) -> Checked<Buffer> {
        let (at, len) = self.buffer()?;
        self.slice(at, len)
    }

    #[inline]
    fn slice(&self, at: u64, len: u64) -> Checked<Buffer> {
        let slice = self.bytes.slice_with_length(at as usize, len as usize);
        // Offsets are multiples of 64; this fails only where the region itself lies askew.
        if slice.as_ptr().align_offset(16) != 0 {
            return Err(self.damaged("lies in memory that is not aligned to 16 bytes"));
        }
        Ok(slice)
    }

    /// Validity, for types that have one.
    #[inline]
    fn validity(&mut self, node: &Node) -> Checked<Option<NullBuffer>> {
        if node.nulls == 0 {
            self.buffer()?;
            return Ok(None);
        }
        let bits = self.entries("a validity bitmap", node.len.div_ceil(8), 1)?;
        let bits = BooleanBuffer::new(bits, 0, node.len as usize);
        if self.trust == Trust::Writers {
            return Ok(Some(unchecked::nulls(bits, node.nulls as usize)));
        }
        let nulls = NullBuffer::new(bits);
        if nulls.null_count() as u64 != node.nulls {
            return Err(self.damaged(format!("says {} nulls and has {}", node.nulls, nulls.null_count())));
        }
        Ok(Some(nulls))
    }

    /// Offsets of `len` entries; also where they end. First and last are checked (A4).
    fn offsets<O: ArrowNativeType>(&mut self, len: u64) -> Checked<(Buffer, u64)> {
        let buffer = self.entries("offsets", len + 1, size_of::<O>() as u64)?;
        let all = ScalarBuffer::<O>::from(buffer.clone());
        match (all.first().and_then(|o| o.to_usize()), all.last().and_then(|o| o.to_usize())) {
            (Some(first), Some(last)) if first <= last => Ok((buffer, last as u64)),
            _ => Err(self.damaged(format!("has offsets from {:?} to {:?}", all.first(), all.last()))),
        }
    }

    /// The column. Plain types are built at once, the others through `ArrayData`.
    fn array(mut self, t: &DataType) -> Checked<ArrayRef> {
        macro_rules! primitive {
            ($t:ty, $self:ident, $type:ident) => {
                $self.primitive::<$t>($type)
            };
        }
        let trusted = self.trust == Trust::Writers;
        let array = downcast_primitive! {
            t => (primitive, self, t),
            DataType::Boolean => self.boolean(),
            DataType::Utf8 if trusted => self.strings::<Utf8Type>(),
            DataType::LargeUtf8 if trusted => self.strings::<LargeUtf8Type>(),
            DataType::Binary if trusted => self.strings::<BinaryType>(),
            DataType::LargeBinary if trusted => self.strings::<LargeBinaryType>(),
            _ => {
                let data = self.data(t)?;
                if data.len() as u64 != self.layout.header.rows {
                    return Err(self.damaged(format!("has {} entries, its batch {} rows", data.len(), self.layout.header.rows)));
                }
                if !trusted {
                    data.validate_full().map_err(|e| Box::new(e.into()))?;
                }
                Ok(make_array(data))
            }
        }?;
        if !self.nodes.is_empty() || !self.buffers.is_empty() {
            return Err(self.damaged(format!(
                "has {} nodes and {} buffers too many for {t}",
                self.nodes.len(),
                self.buffers.len()
            )));
        }
        Ok(array)
    }

    // Not inlined: there are 35 of them, and `array` would get their stack frames all together.
    #[inline(never)]
    fn primitive<T: ArrowPrimitiveType>(&mut self, t: &DataType) -> Checked<ArrayRef> {
        let node = self.node()?;
        self.row_count(&node)?;
        let nulls = self.validity(&node)?;
        let values = self.entries("values", node.len, size_of::<T::Native>() as u64)?;
        // Both were cut to the node's length, so `new` does not panic.
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls);
        // Only timestamps and decimals have types that say more than `T` does.
        if *t == T::DATA_TYPE {
            return Ok(Arc::new(array));
        }
        Ok(Arc::new(array.with_data_type(t.clone())))
    }

    fn boolean(&mut self) -> Checked<ArrayRef> {
        let node = self.node()?;
        self.row_count(&node)?;
        let nulls = self.validity(&node)?;
        let bits = self.entries("bits", node.len.div_ceil(8), 1)?;
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(bits, 0, node.len as usize), nulls)))
    }

    fn strings<T: ByteArrayType>(&mut self) -> Checked<ArrayRef> {
        let node = self.node()?;
        self.row_count(&node)?;
        let nulls = self.validity(&node)?;
        let (offsets, end) = self.offsets::<T::Offset>(node.len)?;
        let values = self.entries("text", end, 1)?;
        Ok(Arc::new(unchecked::byte_array::<T>(ScalarBuffer::from(offsets), values, nulls)))
    }

    /// A child of which the parent needs at least `need` entries (exactly, where `exact`).
    fn child(&mut self, t: &DataType, need: u64, exact: bool) -> Checked<ArrayData> {
        let child = self.data(t)?;
        let len = child.len() as u64;
        if len < need || exact && len != need {
            return Err(self.damaged(format!("has a child of {len} entries where {need} are needed")));
        }
        Ok(child)
    }

    /// An array and its children as `ArrayData`, for every type. Recursion is as deep as the
    /// schema, whose depth flatbuffers' verifier limits to 64 tables.
    fn data(&mut self, t: &DataType) -> Checked<ArrayData> {
        let node = self.node()?;
        let len = node.len;
        let mut parts = ArrayDataBuilder::new(t.clone()).len(len as usize);
        if has_validity(t) {
            parts = parts.nulls(self.validity(&node)?);
        }
        if let Some(width) = fixed_width(t) {
            let values = self.entries("values", len, width)?;
            return Ok(unchecked::array_data(parts.add_buffer(values)));
        }
        parts = match t {
            DataType::Null => parts,
            DataType::Boolean => parts.add_buffer(self.entries("bits", len.div_ceil(8), 1)?),
            DataType::Utf8 | DataType::Binary => {
                let (offsets, end) = self.offsets::<i32>(len)?;
                parts.add_buffer(offsets).add_buffer(self.entries("text", end, 1)?)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let (offsets, end) = self.offsets::<i64>(len)?;
                parts.add_buffer(offsets).add_buffer(self.entries("text", end, 1)?)
            }
            DataType::Utf8View | DataType::BinaryView => {
                parts = parts.add_buffer(self.entries("views", len, 16)?);
                for _ in 2..node.buffers {
                    parts = parts.add_buffer(self.whole()?);
                }
                parts
            }
            DataType::List(field) | DataType::Map(field, _) => {
                let (offsets, end) = self.offsets::<i32>(len)?;
                parts.add_buffer(offsets).add_child_data(self.child(field.data_type(), end, false)?)
            }
            DataType::LargeList(field) => {
                let (offsets, end) = self.offsets::<i64>(len)?;
                parts.add_buffer(offsets).add_child_data(self.child(field.data_type(), end, false)?)
            }
            DataType::ListView(field) => {
                parts = parts.add_buffer(self.entries("offsets", len, 4)?).add_buffer(self.entries("sizes", len, 4)?);
                parts.add_child_data(self.child(field.data_type(), 0, false)?)
            }
            DataType::LargeListView(field) => {
                parts = parts.add_buffer(self.entries("offsets", len, 8)?).add_buffer(self.entries("sizes", len, 8)?);
                parts.add_child_data(self.child(field.data_type(), 0, false)?)
            }
            DataType::FixedSizeList(field, size) => {
                let need = u64::try_from(*size).ok().and_then(|size| size.checked_mul(len));
                let need = need.ok_or_else(|| self.damaged(format!("has {len} lists of {size} entries")))?;
                parts.add_child_data(self.child(field.data_type(), need, true)?)
            }
            DataType::Struct(fields) => {
                for field in fields {
                    parts = parts.add_child_data(self.child(field.data_type(), len, true)?);
                }
                parts
            }
            DataType::Union(fields, mode) => {
                let ids = self.entries("type ids", len, 1)?;
                let offsets = match mode {
                    UnionMode::Sparse => None,
                    UnionMode::Dense => Some(self.entries("offsets", len, 4)?),
                };
                let mut lengths = [None; 128];
                parts = parts.add_buffer(ids.clone());
                if let Some(offsets) = &offsets {
                    parts = parts.add_buffer(offsets.clone());
                }
                for (id, field) in fields.iter() {
                    let child = match mode {
                        UnionMode::Sparse => self.child(field.data_type(), len, true)?,
                        UnionMode::Dense => self.child(field.data_type(), 0, false)?,
                    };
                    lengths[usize::from(id as u8 & 127)] = Some(child.len());
                    parts = parts.add_child_data(child);
                }
                if self.trust == Trust::Nobody {
                    self.check_union(&ids, offsets.as_ref(), &lengths)?;
                }
                parts
            }
            DataType::RunEndEncoded(ends, values) => {
                let ends = self.data(ends.data_type())?;
                let last = match (ends.data_type(), ends.buffers()) {
                    (DataType::Int16, [b]) => b.typed_data::<i16>().last().map(|&n| i64::from(n)),
                    (DataType::Int32, [b]) => b.typed_data::<i32>().last().map(|&n| i64::from(n)),
                    (DataType::Int64, [b]) => b.typed_data::<i64>().last().copied(),
                    _ => None,
                };
                if ends.nulls().is_some() || len != 0 && last.is_none_or(|last| last < 0 || (last as u64) < len) {
                    return Err(self.damaged(format!("has runs that end at {last:?} of {len}")));
                }
                let runs = ends.len() as u64;
                parts.add_child_data(ends).add_child_data(self.child(values.data_type(), runs, true)?)
            }
            DataType::Dictionary(keys, values) => {
                let width = fixed_width(keys).ok_or_else(|| self.damaged(format!("has keys of {keys}")))?;
                let keys = self.entries("keys", len, width)?;
                parts.add_buffer(keys).add_child_data(self.child(values, 0, false)?)
            }
            other => {
                return Err(self.damaged(format!("is of type {other}, which is not known here")));
            }
        };
        Ok(unchecked::array_data(parts))
    }

    /// `ArrayData::validate_full` leaves the values of unions alone, so they are looked at here.
    fn check_union(&self, ids: &[u8], offsets: Option<&Buffer>, lengths: &[Option<usize>; 128]) -> Checked<()> {
        for (row, &id) in ids.iter().enumerate() {
            let len = lengths.get(usize::from(id)).copied().flatten();
            let at = match offsets {
                None => Some(row),
                Some(offsets) => usize::try_from(u32_at(offsets, 4 * row) as i32).ok(),
            };
            match (len, at) {
                (Some(len), Some(at)) if at < len => {}
                _ => {
                    return Err(self.damaged(format!(
                        "has a union whose row {row} is entry {at:?} of child {id}, which has {len:?}"
                    )));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
