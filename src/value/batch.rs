//! How a record batch is read: the descriptor checked, then arrays built over the bytes.
//!
//! What is checked: **A1** the sections lie inside the root's body, and their sizes follow from the
//! header; **A2** a column reads only its own nodes and buffers; **A3** every buffer lies in the
//! extent that it names, at an address that arrow takes for its values, and is as long as its node's
//! length asks; **A4** children have the lengths that their parents ask, offsets end inside them.
//! What cannot be checked in constant time per buffer (each offset, each UTF-8 sequence, each key) is checked
//! when [`Trust`] says so: once per object and process, as a rule (`check.rs`).

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, downcast_primitive, make_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{DataType, Field, SchemaRef, UnionMode};

use crate::error::{Error, Result};
use crate::value::check::{Trust, bad_view, falls, not_utf8};
use crate::value::copying::hash_of;
use crate::value::element::ElementType;
use crate::value::extent::Extent;
use crate::value::layout::{
    BUFFER_BYTES, COLUMN_BYTES, Header, NODE_BYTES, Sections, StoredBuffer, StoredColumn, StoredNode, damaged, u32_at,
    u64_at,
};
use crate::value::schema::decoded_schema;
use crate::value::shape::{Fixed, Offsets, Shape};
use crate::value::unchecked::{self, Ground};

/// What the inner steps of reading return. Boxed, because moving an [`Error`] by value through
/// every step costs as much as the step.
type Checked<T> = Result<T, Box<Error>>;

impl From<Box<Error>> for Error {
    fn from(error: Box<Error>) -> Error {
        *error
    }
}

/// Where the bytes of a batch may lie, and who keeps them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region<'a> {
    /// The whole data region, which the pin keeps. 64-aligned.
    pub ground: &'a Ground,
    /// The root's body, then each part in order.
    pub extents: &'a [Extent],
    pub cut: Cut<'a>,
}

/// What arrow's buffers are cut from. arrow counts the memory of a buffer as that of all that it was cut from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut<'a> {
    /// Each has its own bytes alone, and is counted as these: for engines that count memory.
    Apart,
    /// Those in the root are slices of its body, which is here when the first was made: one allocation for all of these.
    Root(&'a OnceCell<Buffer>),
}

/// A descriptor whose sections lie inside its bytes (A1). Cheap: the tables are read when asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'a> {
    root: &'a [u8],
    header: Header,
    sections: Sections,
    columns: &'a [[u8; COLUMN_BYTES as usize]],
    nodes: &'a [[u8; NODE_BYTES as usize]],
    buffers: &'a [[u8; BUFFER_BYTES as usize]],
}

impl<'a> Layout<'a> {
    /// Checks header and sections. Any bytes may be given: they are a batch or an error.
    #[inline]
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
        let s = &sections;
        Ok(Layout {
            root,
            columns: root[s.columns as usize..s.nodes as usize].as_chunks().0,
            nodes: root[s.nodes as usize..s.buffers as usize].as_chunks().0,
            buffers: root[s.buffers as usize..s.lengths as usize].as_chunks().0,
            header,
            sections,
        })
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> u64 {
        self.header.rows
    }

    pub(crate) fn num_columns(&self) -> usize {
        self.header.columns as usize
    }

    /// How many parts the root has.
    #[cfg(test)]
    pub(crate) fn num_parts(&self) -> usize {
        self.header.parts as usize
    }

    /// Bytes of all buffers, without padding and descriptor.
    #[cfg(test)]
    pub(crate) fn nbytes(&self) -> u64 {
        (0..self.header.buffers).fold(0, |sum, i| self.stored_buffer(i).len.saturating_add(sum))
    }

    #[inline]
    fn stored_column(&self, i: usize) -> Checked<StoredColumn> {
        let Some(row) = self.columns.get(i) else {
            let have = self.num_columns();
            return Err(Box::new(Error::invalid(format!("there is no column {i}: the batch has {have}"))));
        };
        Ok(StoredColumn { node: u32_at(row, 0), buffer: u32_at(row, 4), element: u32_at(row, 8) })
    }

    /// `i` is in the table: a cursor's range was checked, so nobody sees what else comes back.
    #[inline]
    fn stored_node(&self, i: u32) -> StoredNode {
        let row = self.nodes.get(i as usize).unwrap_or(&[0; NODE_BYTES as usize]);
        StoredNode { len: u64_at(row, 0), nulls: u64_at(row, 8), buffers: u32_at(row, 16), children: u32_at(row, 20) }
    }

    /// A row of the buffer table; as with nodes, `i` is in it.
    #[inline]
    fn stored_buffer(&self, i: u32) -> StoredBuffer {
        self.buffers.get(i as usize).map(|row| StoredBuffer::parse(row)).unwrap_or_default()
    }

    /// Nulls among the rows of a column (what a `Null` column has instead of values included), as the descriptor says.
    pub(crate) fn null_count(&self, column: usize) -> Result<u64> {
        let entry = self.stored_column(column)?;
        if entry.node >= self.header.nodes {
            return Err(damaged(format!("says column {column} is node {} of {}", entry.node, self.header.nodes)));
        }
        Ok(self.stored_node(entry.node).nulls)
    }

    /// Bytes of the buffers of a column, without padding, as the descriptor says.
    pub(crate) fn column_nbytes(&self, column: usize) -> Result<u64> {
        let (_, buffers) = self.ranges(column)?;
        Ok(buffers.fold(0, |sum, i| self.stored_buffer(i).len.saturating_add(sum)))
    }

    /// The bytes that were looked at, to be copied and looked at again.
    pub(crate) fn descriptor(&self) -> &'a [u8] {
        &self.root[..self.sections.inline as usize]
    }

    /// Whether a column has buffers in an extent.
    pub(crate) fn lies_in(&self, column: usize, extent: u32) -> bool {
        let buffers = self.ranges(column).map(|(_, buffers)| buffers).unwrap_or_default();
        buffers.map(|i| self.stored_buffer(i)).any(|buffer| buffer.len != 0 && buffer.extent == extent)
    }

    /// Whether what a column has in the root, which lies at `at` in the data region, is what its checksum says. `None`: it
    /// cannot be told.
    pub(crate) fn sum_fits(&self, column: usize, at: u64) -> Option<bool> {
        let sums = self.root.len().checked_sub(8 * self.num_columns())?;
        let (_, buffers) = self.ranges(column).ok()?;
        let inside = buffers.map(|i| self.stored_buffer(i)).filter(|buffer| buffer.extent == 0);
        let bytes = |buffer: StoredBuffer| {
            let from = usize::try_from(buffer.at.checked_sub(at)?).ok()?;
            self.root.get(from..)?.get(..usize::try_from(buffer.len).ok()?)
        };
        let pieces = inside.map(bytes).collect::<Option<Vec<_>>>()?;
        Some(hash_of(pieces.into_iter()) == u64_at(self.root, sums + 8 * column))
    }

    /// The nodes and the buffers of one column, all of them in their tables (A2).
    #[inline]
    fn ranges(&self, i: usize) -> Checked<(Range<u32>, Range<u32>)> {
        let entry = self.stored_column(i)?;
        let (node_end, buffer_end) = if i + 1 < self.num_columns() {
            let next = self.stored_column(i + 1)?;
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
        Ok((entry.node..node_end, entry.buffer..buffer_end))
    }

    /// A reader of one column's nodes and buffers and of no others (A2).
    #[inline]
    fn cursor<'r>(&self, i: usize, region: &Region<'r>, trust: Trust<'r>) -> Checked<Cursor<'_, 'a, 'r>> {
        let (nodes, buffers) = self.ranges(i)?;
        // Offsets are checked for their values' alignment, so no address is askew where the region is not.
        if !region.ground.is_aligned(16) {
            return Err(Box::new(damaged("lies in memory that is not aligned to 16 bytes")));
        }
        let &Region { ground, extents, cut } = region;
        Ok(Cursor { layout: self, column: i, ground, extents, cut, nodes, buffers, trust })
    }

    /// One column.
    #[cfg(test)]
    pub(crate) fn column(&self, i: usize, region: &Region<'_>, trust: Trust<'_>) -> Result<ArrayRef> {
        let schema = self.schema()?;
        match schema.fields().get(i) {
            Some(field) => Ok(self.column_as(i, field.data_type(), region, trust)?),
            None => Err(Error::invalid(format!("there is no column {i}"))),
        }
    }

    #[inline]
    fn column_as(&self, i: usize, t: &DataType, region: &Region<'_>, trust: Trust<'_>) -> Checked<ArrayRef> {
        self.cursor(i, region, trust)?.array(t)
    }

    /// All columns.
    pub(crate) fn batch(&self, region: &Region<'_>, trust: Trust<'_>) -> Result<RecordBatch> {
        let schema = self.schema()?;
        let mut columns = Vec::with_capacity(self.num_columns());
        for (i, field) in schema.fields().iter().enumerate() {
            columns.push(self.field_column(i, field, region, trust)?);
        }
        Ok(unchecked::record_batch(schema, columns, self.header.rows as usize))
    }

    /// Some columns, in the order asked for; the others are not looked at. `trust` says what is known of each.
    pub(crate) fn project(
        &self,
        indices: &[usize],
        region: &Region<'_>,
        mut column: impl FnMut(usize, &dyn Fn(Trust<'_>) -> Result<ArrayRef>) -> Result<ArrayRef>,
    ) -> Result<RecordBatch> {
        let schema = self.schema()?;
        let mut columns = Vec::with_capacity(indices.len());
        for &i in indices {
            let have = schema.fields().len();
            let field = schema.fields().get(i);
            let field = field.ok_or_else(|| Error::invalid(format!("there is no column {i}: the batch has {have}")))?;
            columns.push(column(i, &|trust| Ok(self.field_column(i, field, region, trust)?))?);
        }
        let schema = Arc::new(schema.project(indices)?);
        Ok(unchecked::record_batch(schema, columns, self.header.rows as usize))
    }

    /// One column, which has nulls only where its field allows them.
    #[inline]
    fn field_column(&self, i: usize, field: &Field, region: &Region<'_>, trust: Trust<'_>) -> Checked<ArrayRef> {
        let column = self.column_as(i, field.data_type(), region, trust)?;
        if !field.is_nullable() && column.null_count() != 0 {
            let (nulls, name) = (column.null_count(), field.name());
            let what = format!("has {nulls} nulls in column {i} (`{name}`), which cannot have any");
            return Err(Box::new(damaged(what)));
        }
        Ok(column)
    }

    /// The fast way to one column of plain numbers: where its values lie in the data region (`ground`). Nulls do not
    /// matter here: the values under them are there too. `extent` is asked for the one extent that the values are
    /// in; what is returned is inside it, aligned for the values, and as long as the column.
    pub(crate) fn values(
        &self,
        i: usize,
        element: ElementType,
        ground: &Ground,
        extent: impl FnOnce(u32) -> Result<Extent>,
    ) -> Result<Extent> {
        if self.stored_column(i)?.element != element as u32 {
            return Err(self.no_values(i, element));
        }
        let mut cursor = self.cursor(i, &Region { ground, extents: &[], cut: Cut::Apart }, Trust::Writers)?;
        let node = cursor.node()?;
        cursor.row_count(&node)?;
        cursor.next_buffer()?; // The validity, wherever it is.
        let values = cursor.next_buffer()?;
        if values.len == 0 {
            return if node.len == 0 { Ok(Extent::default()) } else { Err(*cursor.short("values", 0, node.len)) };
        }
        cursor.place(&values, Some(extent(values.extent)?), element.size().min(16) as u64)?;
        match node.len.checked_mul(element.size() as u64) {
            Some(len) if len <= values.len => Ok(Extent { offset: values.at, len }),
            _ => Err(*cursor.short("values", values.len, node.len)),
        }
    }

    #[cold]
    fn no_values(&self, i: usize, element: ElementType) -> Error {
        let schema = match self.schema() {
            Ok(schema) => schema,
            Err(error) => return error,
        };
        match schema.fields().get(i) {
            Some(field) => Error::Mismatch {
                name: field.name().clone(),
                expected: format!("a column of {element}"),
                found: format!("a column of {}", field.data_type()),
            },
            None => damaged(format!("has no field for column {i}")),
        }
    }

    /// The bytes of the schema message.
    fn schema_bytes(&self) -> &'a [u8] {
        let s = &self.sections;
        &self.root[s.schema as usize..s.batch as usize]
    }

    /// The schema. Decoded once per thread and kept.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        self.with_schema(Arc::clone)
    }

    /// The index of a column.
    pub(crate) fn index_of(&self, name: &str) -> Result<Option<usize>> {
        self.with_schema(|schema| schema.fields().iter().position(|field| field.name() == name))
    }

    fn with_schema<R>(&self, take: impl Fn(&SchemaRef) -> R) -> Result<R> {
        let (columns, taken) = decoded_schema(self.header.schema_print, self.schema_bytes(), |schema| {
            (schema.fields().len(), take(schema))
        })?;
        if columns != self.num_columns() {
            return Err(damaged(format!("has {} columns, its schema {columns}", self.num_columns())));
        }
        Ok(taken)
    }

    /// The batch for any Arrow implementation: the schema message, the dictionary messages in
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
        Ok(Messages {
            schema: self.schema_bytes(),
            dictionaries,
            batch: &self.root[s.batch as usize..s.dictionaries as usize],
        })
    }
}

/// The Arrow IPC messages of a batch.
pub(crate) struct Messages<'a> {
    pub schema: &'a [u8],
    /// In the order in which they must be read.
    pub dictionaries: Vec<&'a [u8]>,
    pub batch: &'a [u8],
}

/// How many entries of a child its parent needs.
#[derive(Clone, Copy, Debug)]
enum Need {
    AtLeast(u64),
    Exactly(u64),
}

/// Reads one column, front to back.
struct Cursor<'l, 'a, 'r> {
    layout: &'l Layout<'a>,
    column: usize,
    ground: &'r Ground,
    extents: &'r [Extent],
    cut: Cut<'r>,
    nodes: Range<u32>,
    buffers: Range<u32>,
    trust: Trust<'r>,
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
    fn node(&mut self) -> Checked<StoredNode> {
        let i = self.nodes.next().ok_or_else(|| self.damaged("has too few nodes for its type"))?;
        let node = self.layout.stored_node(i);
        if node.nulls > node.len || node.len > isize::MAX as u64 {
            return Err(self.damaged(format!("has {} nulls among {} entries", node.nulls, node.len)));
        }
        Ok(node)
    }

    #[inline]
    fn row_count(&self, node: &StoredNode) -> Checked<()> {
        if node.len != self.layout.header.rows {
            return Err(self.damaged(format!("has {} entries, its batch {} rows", node.len, self.layout.header.rows)));
        }
        Ok(())
    }

    #[inline]
    fn next_buffer(&mut self) -> Checked<StoredBuffer> {
        let i = self.buffers.next().ok_or_else(|| self.damaged("has too few buffers for its type"))?;
        Ok(self.layout.stored_buffer(i))
    }

    /// Checks that a buffer lies inside its extent, at a multiple of `align` (A3).
    #[inline]
    fn place(&self, buffer: &StoredBuffer, extent: Option<Extent>, align: u64) -> Checked<()> {
        let &StoredBuffer { at, len, .. } = buffer;
        if let Some(extent) = extent
            && let (Some(end), Some(limit)) = (at.checked_add(len), extent.offset.checked_add(extent.len))
            && at >= extent.offset
            && end <= limit
            && limit <= self.ground.len() as u64
            && at & (align - 1) == 0
        {
            return Ok(());
        }
        Err(self.misplaced(buffer, extent, align))
    }

    #[cold]
    fn misplaced(&self, buffer: &StoredBuffer, extent: Option<Extent>, align: u64) -> Box<Error> {
        let &StoredBuffer { at, len, extent: k } = buffer;
        match extent {
            None => self.damaged(format!("has a buffer in extent {k}; there are {}", self.extents.len())),
            Some(Extent { offset, len: size }) => self.damaged(format!(
                "has a buffer of {len} bytes at {at}, not at a multiple of {align} in extent {k}: {offset} and {size} on, of {}",
                self.ground.len()
            )),
        }
    }

    /// Where the next buffer lies: inside the extent that it names and aligned (A3), or nowhere if it is empty.
    #[inline]
    fn buffer(&mut self, align: u64) -> Checked<StoredBuffer> {
        let buffer = self.next_buffer()?;
        if buffer.len == 0 {
            return Ok(StoredBuffer::default());
        }
        self.place(&buffer, self.extents.get(buffer.extent as usize).copied(), align)?;
        Ok(buffer)
    }

    /// The next buffer, cut to the `count` entries of `width` bytes that it must at least have.
    #[inline]
    fn entries(&mut self, what: &str, count: u64, width: u64, align: u64) -> Checked<Buffer> {
        let found = self.buffer(align)?;
        match count.checked_mul(width) {
            Some(len) if len <= found.len => Ok(self.slice(StoredBuffer { len, ..found })),
            _ => Err(self.short(what, found.len, count)),
        }
    }

    /// Entries that are checked, or that decide where arrow reads: a copy, if others may write them meanwhile.
    fn checked_entries(&mut self, what: &str, count: u64, width: u64, align: u64) -> Checked<Buffer> {
        let entries = self.entries(what, count, width, align)?;
        Ok(self.trust.checked(entries))
    }

    /// The next buffer, whatever it has, as [`Cursor::checked_entries`].
    fn checked_whole(&mut self) -> Checked<Buffer> {
        let found = self.buffer(1)?;
        let whole = self.slice(found);
        Ok(self.trust.checked(whole))
    }

    /// The bytes of a buffer that is in its place.
    #[inline]
    fn slice(&self, StoredBuffer { at, len, extent: k }: StoredBuffer) -> Buffer {
        match (self.cut, self.extents.first()) {
            (Cut::Root(root), Some(body)) if k == 0 && len != 0 => {
                let root = root.get_or_init(|| self.ground.buffer(body.range()));
                root.slice_with_length((at - body.offset) as usize, len as usize)
            }
            _ => self.ground.buffer(Extent { offset: at, len }.range()),
        }
    }

    /// Validity, for types that have one.
    #[inline]
    fn validity(&mut self, node: &StoredNode) -> Checked<Option<NullBuffer>> {
        if node.nulls == 0 {
            self.buffer(1)?;
            return Ok(None);
        }
        let bits = self.checked_entries("a validity bitmap", node.len.div_ceil(8), 1, 1)?;
        let bits = BooleanBuffer::new(bits, 0, node.len as usize);
        if !self.trust.look() {
            return Ok(Some(unchecked::nulls(bits, node.nulls as usize)));
        }
        let nulls = NullBuffer::new(bits);
        if nulls.null_count() as u64 != node.nulls {
            return Err(self.damaged(format!("says {} nulls and has {}", node.nulls, nulls.null_count())));
        }
        Ok(Some(nulls))
    }

    /// Offsets of `len` entries; also where they end. First and last are checked (A4), the others if asked.
    fn offsets<O: ArrowNativeType>(&mut self, len: u64) -> Checked<(ScalarBuffer<O>, u64)> {
        let buffer = self.entries("offsets", len + 1, size_of::<O>() as u64, align_of::<O>() as u64)?;
        let all = ScalarBuffer::<O>::from(self.trust.checked(buffer));
        let end = match (all.first().and_then(|o| o.to_usize()), all.last().and_then(|o| o.to_usize())) {
            (Some(first), Some(last)) if first <= last => last as u64,
            _ => return Err(self.damaged(format!("has offsets from {:?} to {:?}", all.first(), all.last()))),
        };
        if self.trust.look()
            && let Some(row) = falls(&all)
        {
            return Err(self.damaged(format!("has offset {:?} after {:?}, of entry {row}", all[row + 1], all[row])));
        }
        Ok((all, end))
    }

    /// The column. Plain types are built at once, the others through `ArrayData`.
    fn array(mut self, t: &DataType) -> Checked<ArrayRef> {
        macro_rules! primitive {
            ($t:ty, $self:ident, $type:ident) => {
                $self.primitive::<$t>($type)
            };
        }
        let array = downcast_primitive! {
            t => (primitive, self, t),
            DataType::Boolean => self.boolean(),
            DataType::Utf8 => self.strings::<Utf8Type>(),
            DataType::LargeUtf8 => self.strings::<LargeUtf8Type>(),
            DataType::Binary => self.strings::<BinaryType>(),
            DataType::LargeBinary => self.strings::<LargeBinaryType>(),
            _ => {
                let data = self.data(t)?;
                if data.len() as u64 != self.layout.header.rows {
                    return Err(self.damaged(format!("has {} entries, its batch {} rows", data.len(), self.layout.header.rows)));
                }
                if let (DataType::Utf8View | DataType::BinaryView, false) = (t, self.trust.validates()) {
                    self.check_views(&data, *t == DataType::Utf8View)?;
                } else if self.trust.validates() || has_variable_values(t) && self.trust.look() {
                    data.validate_full().map_err(|e| self.damaged(format!("is not valid: {e}")))?;
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
        let (width, align) = (size_of::<T::Native>() as u64, align_of::<T::Native>() as u64);
        let values = self.entries("values", node.len, width, align)?;
        // Aligned, and both cut to the node's length, so nothing here panics.
        let array = PrimitiveArray::<T>::new(ScalarBuffer::from(values), nulls);
        // Only these have types that say more than `T` does. (To compare the types costs more.)
        let says_more = matches!(
            t,
            DataType::Timestamp(_, Some(_))
                | DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        );
        if says_more { Ok(Arc::new(array.with_data_type(t.clone()))) } else { Ok(Arc::new(array)) }
    }

    fn boolean(&mut self) -> Checked<ArrayRef> {
        let node = self.node()?;
        self.row_count(&node)?;
        let nulls = self.validity(&node)?;
        let bits = self.entries("bits", node.len.div_ceil(8), 1, 1)?;
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::new(bits, 0, node.len as usize), nulls)))
    }

    fn strings<T: ByteArrayType>(&mut self) -> Checked<ArrayRef> {
        let node = self.node()?;
        self.row_count(&node)?;
        let nulls = self.validity(&node)?;
        let (offsets, end) = self.offsets::<T::Offset>(node.len)?;
        let mut values = self.entries("text", end, 1, 1)?;
        if matches!(T::DATA_TYPE, DataType::Utf8 | DataType::LargeUtf8) && self.trust.look() {
            values = self.trust.checked(values);
            if let Some(row) = not_utf8(&offsets, &values) {
                return Err(self.damaged(format!("has text that is not UTF-8 in row {row}")));
            }
        }
        Ok(Arc::new(unchecked::byte_array::<T>(offsets, values, nulls)))
    }

    /// Offsets as in [`Cursor::offsets`], of a type that is known at run time.
    fn offset_buffer(&mut self, offsets: Offsets, len: u64) -> Checked<(Buffer, u64)> {
        match offsets {
            Offsets::I32 => self.offsets::<i32>(len).map(|(offsets, end)| (offsets.into_inner(), end)),
            Offsets::I64 => self.offsets::<i64>(len).map(|(offsets, end)| (offsets.into_inner(), end)),
        }
    }

    /// Values of one size.
    fn fixed(&mut self, what: &str, len: u64, fixed: Fixed) -> Checked<Buffer> {
        self.entries(what, len, fixed.width, fixed.align)
    }

    /// A child that is as long as its parent needs.
    fn child(&mut self, t: &DataType, need: Need) -> Checked<ArrayData> {
        let child = self.data(t)?;
        let len = child.len() as u64;
        let (fits, need) = match need {
            Need::AtLeast(need) => (len >= need, need),
            Need::Exactly(need) => (len == need, need),
        };
        if !fits {
            return Err(self.damaged(format!("has a child of {len} entries where {need} are needed")));
        }
        Ok(child)
    }

    /// An array and its children as `ArrayData`, for every type. Recursion is as deep as the
    /// schema, whose depth flatbuffers' verifier limits to 64 tables.
    fn data(&mut self, t: &DataType) -> Checked<ArrayData> {
        let shape = Shape::of(t).ok_or_else(|| self.damaged(format!("is of type {t}, which is not known here")))?;
        let node = self.node()?;
        let len = node.len;
        let mut parts = ArrayDataBuilder::new(t.clone()).len(len as usize);
        if shape.has_validity() {
            parts = parts.nulls(self.validity(&node)?);
        }
        parts = match shape {
            Shape::Null => parts,
            Shape::Bits => parts.add_buffer(self.entries("bits", len.div_ceil(8), 1, 1)?),
            Shape::Fixed(fixed) => parts.add_buffer(self.fixed("values", len, fixed)?),
            Shape::Text { offsets, .. } => {
                let (offsets, end) = self.offset_buffer(offsets, len)?;
                parts.add_buffer(offsets).add_buffer(self.checked_entries("text", end, 1, 1)?)
            }
            Shape::Views => {
                parts = parts.add_buffer(self.checked_entries("views", len, 16, 16)?);
                for _ in 2..node.buffers {
                    parts = parts.add_buffer(self.checked_whole()?);
                }
                parts
            }
            Shape::List { offsets, child } => {
                let (offsets, end) = self.offset_buffer(offsets, len)?;
                parts.add_buffer(offsets).add_child_data(self.child(child, Need::AtLeast(end))?)
            }
            Shape::ListView { offsets, child } => {
                let width = offsets.width() as u64;
                for what in ["offsets", "sizes"] {
                    parts = parts.add_buffer(self.checked_entries(what, len, width, width)?);
                }
                parts.add_child_data(self.child(child, Need::AtLeast(0))?)
            }
            Shape::FixedList { size, child } => {
                let need = size.checked_mul(len);
                let need = need.ok_or_else(|| self.damaged(format!("has {len} lists of {size} entries")))?;
                parts.add_child_data(self.child(child, Need::Exactly(need))?)
            }
            Shape::Struct(fields) => {
                for field in fields {
                    parts = parts.add_child_data(self.child(field.data_type(), Need::Exactly(len))?);
                }
                parts
            }
            Shape::Union { fields, mode } => {
                let ids = self.checked_entries("type ids", len, 1, 1)?;
                let (offsets, need) = match mode {
                    UnionMode::Sparse => (None, Need::Exactly(len)),
                    UnionMode::Dense => (Some(self.checked_entries("offsets", len, 4, 4)?), Need::AtLeast(0)),
                };
                let mut lengths = [None; 128];
                parts = parts.add_buffer(ids.clone());
                if let Some(offsets) = &offsets {
                    parts = parts.add_buffer(offsets.clone());
                }
                for (id, field) in fields.iter() {
                    let child = self.child(field.data_type(), need)?;
                    lengths[usize::from(id as u8 & 127)] = Some(child.len());
                    parts = parts.add_child_data(child);
                }
                if self.trust.look() {
                    self.check_union(&ids, offsets.as_ref(), &lengths)?;
                }
                parts
            }
            Shape::Runs { ends, values, .. } => {
                let mut ends = self.data(ends)?;
                if self.trust.copies() {
                    let copies = ends.buffers().iter().map(|b| self.trust.checked(b.clone())).collect();
                    ends = unchecked::array_data(ends.into_builder().buffers(copies));
                }
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
                parts.add_child_data(ends).add_child_data(self.child(values, Need::Exactly(runs))?)
            }
            Shape::Dictionary { keys, values } => {
                let keys = self.fixed("keys", len, keys)?;
                let keys = self.trust.checked(keys);
                parts.add_buffer(keys).add_child_data(self.child(values, Need::AtLeast(0))?)
            }
        };
        Ok(unchecked::array_data(parts))
    }

    /// What `ArrayData::validate_full` finds in views, several times as fast.
    fn check_views(&self, data: &ArrayData, text: bool) -> Checked<()> {
        let (views, buffers) = data.buffers().split_first().ok_or_else(|| self.damaged("has no views".to_owned()))?;
        let bad = if self.trust.look() { bad_view(views.typed_data::<u128>(), buffers, text) } else { None };
        match bad {
            Some(row) => Err(self.damaged(format!("has a view that is not valid in row {row}"))),
            None => Ok(()),
        }
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

/// Whether values of this type have to be checked before arrow follows them.
fn has_variable_values(t: &DataType) -> bool {
    Shape::of(t).is_none_or(|shape| shape.is_variable())
}

#[cfg(test)]
mod tests;
