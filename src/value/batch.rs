//! How a record batch is read: the descriptor checked, then arrays built over the bytes.
//!
//! What is checked: **A1** the sections lie inside the root's body, and their sizes follow from the
//! header; **A2** a column reads only its own nodes and buffers; **A3** every buffer lies in the
//! extent that it names, at an address that arrow takes for its values, and is as long as its node's
//! length asks; **A4** children have the lengths that their parents ask, offsets end inside them.
//! What cannot be checked in constant time per buffer (each offset, each UTF-8 sequence, each key) is checked
//! when [`Trust`] says so: once per object and process, as a rule (`check.rs`).

use std::ops::Range;
use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, downcast_primitive, make_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::{ArrayData, ArrayDataBuilder};
use arrow_schema::{DataType, SchemaRef, UnionMode};

use crate::error::{Error, Result};
use crate::value::array::ElementType;
use crate::value::check::{Trust, falls, is_variable, not_utf8};
use crate::value::layout::{
    BUFFER_BYTES, BufferEntry, COLUMN_BYTES, ColumnEntry, Header, NODE_BYTES, Node, Sections, alignment, damaged,
    fixed_width, has_validity, u32_at, u64_at,
};
use crate::value::schema::decoded_schema;
use crate::value::unchecked;

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
    /// The whole data region; its owner is the pin. 64-aligned.
    pub bytes: &'a Buffer,
    /// Offset and length of the root's body, then of each entry in order.
    pub extents: &'a [(u64, u64)],
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

    /// How many entries the root has.
    #[cfg(test)]
    pub(crate) fn num_parts(&self) -> usize {
        self.header.parts as usize
    }

    /// Bytes of all buffers, without padding and descriptor.
    #[cfg(test)]
    pub(crate) fn nbytes(&self) -> u64 {
        (0..self.header.buffers).fold(0, |sum, i| self.buffer_entry(i).len.saturating_add(sum))
    }

    #[inline]
    fn column_entry(&self, i: usize) -> Checked<ColumnEntry> {
        let Some(row) = self.columns.get(i) else {
            let have = self.num_columns();
            return Err(Box::new(Error::invalid(format!("there is no column {i}: the batch has {have}"))));
        };
        Ok(ColumnEntry { node: u32_at(row, 0), buffer: u32_at(row, 4), element: u32_at(row, 8) })
    }

    /// `i` is in the table: a cursor's range was checked, so nobody sees what else comes back.
    #[inline]
    fn node_entry(&self, i: u32) -> Node {
        let row = self.nodes.get(i as usize).unwrap_or(&[0; NODE_BYTES as usize]);
        Node { len: u64_at(row, 0), nulls: u64_at(row, 8), buffers: u32_at(row, 16), children: u32_at(row, 20) }
    }

    /// A row of the buffer table; as with nodes, `i` is in it.
    #[inline]
    fn buffer_entry(&self, i: u32) -> BufferEntry {
        self.buffers.get(i as usize).map(|row| BufferEntry::parse(row)).unwrap_or_default()
    }

    /// Nulls among the rows of a column (what a `Null` column has instead of values included).
    #[cfg(test)]
    pub(crate) fn null_count(&self, column: usize) -> Result<u64> {
        let entry = self.column_entry(column)?;
        if entry.node >= self.header.nodes {
            return Err(damaged(format!("says column {column} is node {} of {}", entry.node, self.header.nodes)));
        }
        Ok(self.node_entry(entry.node).nulls)
    }

    /// A reader of one column's nodes and buffers and of no others (A2).
    #[inline]
    fn cursor<'r>(&self, i: usize, region: &Region<'r>, trust: Trust<'r>) -> Checked<Cursor<'_, 'a, 'r>> {
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
        // Offsets are checked for their values' alignment, so no address is askew where the region is not.
        if region.bytes.as_ptr().align_offset(16) != 0 {
            return Err(Box::new(damaged("lies in memory that is not aligned to 16 bytes")));
        }
        Ok(Cursor {
            layout: self,
            column: i,
            bytes: region.bytes,
            extents: region.extents,
            nodes: entry.node..node_end,
            buffers: entry.buffer..buffer_end,
            trust,
        })
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
            let column = self.column_as(i, field.data_type(), region, trust)?;
            if !field.is_nullable() && column.null_count() != 0 {
                return Err(damaged(format!(
                    "has {} nulls in column {i} (`{}`), which cannot have any",
                    column.null_count(),
                    field.name()
                )));
            }
            columns.push(column);
        }
        Ok(unchecked::record_batch(schema, columns, self.header.rows as usize))
    }

    /// The fast way to one column of plain numbers: offset in the data region (`bytes`) of the
    /// first value, and the number of values. Nulls do not matter here: the values under them are
    /// there too. `extent` is asked for the one extent that the values are in; the range is inside
    /// it and aligned for the values.
    pub(crate) fn values(
        &self,
        i: usize,
        element: ElementType,
        bytes: &Buffer,
        extent: impl FnOnce(u32) -> Result<(u64, u64)>,
    ) -> Result<(u64, u64)> {
        if self.column_entry(i)?.element != element as u32 {
            return Err(self.no_values(i, element));
        }
        let mut cursor = self.cursor(i, &Region { bytes, extents: &[] }, Trust::Writers)?;
        let node = cursor.node()?;
        cursor.row_count(&node)?;
        cursor.next_buffer()?; // The validity, wherever it is.
        let values = cursor.next_buffer()?;
        if values.len == 0 {
            return if node.len == 0 { Ok((0, 0)) } else { Err(*cursor.short("values", 0, node.len)) };
        }
        cursor.place(&values, Some(extent(values.extent)?), element.size().min(16) as u64)?;
        let need = node.len.checked_mul(element.size() as u64);
        if need.is_none_or(|need| need > values.len) {
            return Err(*cursor.short("values", values.len, node.len));
        }
        Ok((values.at, node.len))
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
        Ok((self.schema_bytes(), dictionaries, &self.root[s.batch as usize..s.dictionaries as usize]))
    }
}

/// Schema message, dictionary messages, batch message.
pub(crate) type Messages<'a> = (&'a [u8], Vec<&'a [u8]>, &'a [u8]);

/// Reads one column, front to back.
struct Cursor<'l, 'a, 'r> {
    layout: &'l Layout<'a>,
    column: usize,
    bytes: &'r Buffer,
    extents: &'r [(u64, u64)],
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

    #[inline]
    fn next_buffer(&mut self) -> Checked<BufferEntry> {
        let i = self.buffers.next().ok_or_else(|| self.damaged("has too few buffers for its type"))?;
        Ok(self.layout.buffer_entry(i))
    }

    /// Checks that a buffer lies inside its extent, at a multiple of `align` (A3).
    #[inline]
    fn place(&self, buffer: &BufferEntry, extent: Option<(u64, u64)>, align: u64) -> Checked<()> {
        let &BufferEntry { at, len, .. } = buffer;
        if let Some((start, size)) = extent
            && let (Some(end), Some(limit)) = (at.checked_add(len), start.checked_add(size))
            && at >= start
            && end <= limit
            && limit <= self.bytes.len() as u64
            && at & (align - 1) == 0
        {
            return Ok(());
        }
        Err(self.misplaced(buffer, extent, align))
    }

    #[cold]
    fn misplaced(&self, buffer: &BufferEntry, extent: Option<(u64, u64)>, align: u64) -> Box<Error> {
        let &BufferEntry { at, len, extent: k } = buffer;
        match extent {
            None => self.damaged(format!("has a buffer in extent {k}; there are {}", self.extents.len())),
            Some((start, size)) => self.damaged(format!(
                "has a buffer of {len} bytes at {at}, not at a multiple of {align} in extent {k}: {start} and {size} on, of {}",
                self.bytes.len()
            )),
        }
    }

    /// The next buffer's offset and length: inside its extent and aligned (A3), or empty.
    #[inline]
    fn buffer(&mut self, align: u64) -> Checked<(u64, u64)> {
        let buffer = self.next_buffer()?;
        if buffer.len == 0 {
            return Ok((0, 0));
        }
        self.place(&buffer, self.extents.get(buffer.extent as usize).copied(), align)?;
        Ok((buffer.at, buffer.len))
    }

    /// The next buffer, cut to the `count` entries of `width` bytes that it must at least have.
    #[inline]
    fn entries(&mut self, what: &str, count: u64, width: u64, align: u64) -> Checked<Buffer> {
        let (at, len) = self.buffer(align)?;
        match count.checked_mul(width) {
            Some(need) if need <= len => Ok(self.slice(at, need)),
            _ => Err(self.short(what, len, count)),
        }
    }

    fn whole(&mut self) -> Checked<Buffer> {
        let (at, len) = self.buffer(1)?;
        Ok(self.slice(at, len))
    }

    #[inline]
    fn slice(&self, at: u64, len: u64) -> Buffer {
        self.bytes.slice_with_length(at as usize, len as usize)
    }

    /// Validity, for types that have one.
    #[inline]
    fn validity(&mut self, node: &Node) -> Checked<Option<NullBuffer>> {
        if node.nulls == 0 {
            self.buffer(1)?;
            return Ok(None);
        }
        let bits = self.entries("a validity bitmap", node.len.div_ceil(8), 1, 1)?;
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
        let all = ScalarBuffer::<O>::from(buffer);
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
                if matches!(self.trust, Trust::Nobody) || is_variable(t) && self.trust.look() {
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
        let values = self.entries("text", end, 1, 1)?;
        if matches!(T::DATA_TYPE, DataType::Utf8 | DataType::LargeUtf8)
            && self.trust.look()
            && let Some(row) = not_utf8(&offsets, &values)
        {
            return Err(self.damaged(format!("has text that is not UTF-8 in row {row}")));
        }
        Ok(Arc::new(unchecked::byte_array::<T>(offsets, values, nulls)))
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
            let values = self.entries("values", len, width, alignment(t))?;
            return Ok(unchecked::array_data(parts.add_buffer(values)));
        }
        parts = match t {
            DataType::Null => parts,
            DataType::Boolean => parts.add_buffer(self.entries("bits", len.div_ceil(8), 1, 1)?),
            DataType::Utf8 | DataType::Binary => {
                let (offsets, end) = self.offsets::<i32>(len)?;
                parts.add_buffer(offsets.into_inner()).add_buffer(self.entries("text", end, 1, 1)?)
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let (offsets, end) = self.offsets::<i64>(len)?;
                parts.add_buffer(offsets.into_inner()).add_buffer(self.entries("text", end, 1, 1)?)
            }
            DataType::Utf8View | DataType::BinaryView => {
                parts = parts.add_buffer(self.entries("views", len, 16, 16)?);
                for _ in 2..node.buffers {
                    parts = parts.add_buffer(self.whole()?);
                }
                parts
            }
            DataType::List(field) | DataType::Map(field, _) => {
                let (offsets, end) = self.offsets::<i32>(len)?;
                parts.add_buffer(offsets.into_inner()).add_child_data(self.child(field.data_type(), end, false)?)
            }
            DataType::LargeList(field) => {
                let (offsets, end) = self.offsets::<i64>(len)?;
                parts.add_buffer(offsets.into_inner()).add_child_data(self.child(field.data_type(), end, false)?)
            }
            DataType::ListView(field) => {
                parts = parts.add_buffer(self.entries("offsets", len, 4, 4)?);
                parts = parts.add_buffer(self.entries("sizes", len, 4, 4)?);
                parts.add_child_data(self.child(field.data_type(), 0, false)?)
            }
            DataType::LargeListView(field) => {
                parts = parts.add_buffer(self.entries("offsets", len, 8, 8)?);
                parts = parts.add_buffer(self.entries("sizes", len, 8, 8)?);
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
                let ids = self.entries("type ids", len, 1, 1)?;
                let offsets = match mode {
                    UnionMode::Sparse => None,
                    UnionMode::Dense => Some(self.entries("offsets", len, 4, 4)?),
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
                if self.trust.look() {
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
                let keys = self.entries("keys", len, width, alignment(keys))?;
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
