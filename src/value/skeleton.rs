//! The descriptor of a batch that is on its way in: everything but the values.
//!
//! A batch that is copied (`plan.rs`) and one that is drafted in place (`draft.rs`) have the same.

use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};

use crate::error::{Error, Result};
use crate::value::copying::hash_of;
use crate::value::layout::{ALIGN, Header, LEN_BITS, PART_BYTES, Sections, StoredBuffer, StoredColumn, StoredNode};
use crate::value::message::{DataBuffers, Message, PlannedBuffer, PlannedNode, Tables, Within, Words};
use crate::value::schema::{EncodedSchema, encode_schema};
use crate::value::shape::Fixed;

/// The values of a dictionary, which are a message of their own.
pub(crate) struct Dictionary {
    pub id: i64,
    pub group: u32,
    pub len: u64,
}

/// The object that a column lies in, and its buffers there.
pub(crate) struct ColumnPlace<'a> {
    /// The own part, by its index; `None`: the root.
    pub part: Option<usize>,
    pub buffers: &'a [PlannedBuffer],
}

/// A batch's descriptor: everything but the values.
pub(crate) struct Skeleton {
    rows: u64,
    schema: Arc<EncodedSchema>,
    pub columns: Vec<StoredColumn>,
    pub nodes: Vec<PlannedNode>,
    pub buffers: Vec<PlannedBuffer>,
    pub dictionaries: Vec<Dictionary>,
    /// One for each array of views, for the messages.
    pub variadic: Vec<DataBuffers>,
    /// Bytes of each own part.
    pub parts: Vec<u64>,
    /// The column that each own part is.
    pub part_columns: Vec<usize>,
    /// How many parts are held, and where the last byte used of any of them ends in the data region.
    held: u32,
    held_end: u64,
    pub inline_bytes: u64,
    header: Header,
    pub sections: Sections,
}

impl Skeleton {
    pub(crate) fn new(schema: &SchemaRef, rows: u64) -> Result<Skeleton> {
        Ok(Skeleton {
            rows,
            schema: encode_schema(schema)?,
            columns: Vec::with_capacity(schema.fields().len()),
            nodes: Vec::with_capacity(schema.fields().len()),
            buffers: Vec::with_capacity(2 * schema.fields().len()),
            dictionaries: Vec::new(),
            variadic: Vec::new(),
            parts: Vec::new(),
            part_columns: Vec::new(),
            held: 0,
            held_end: 0,
            inline_bytes: 0,
            header: Header::default(),
            sections: Sections::of(&Header::default()),
        })
    }

    /// The skeleton of a batch whose columns have no children: `buffers` says how many bytes to
    /// reserve for each buffer of a column.
    pub(crate) fn flat(
        schema: &SchemaRef,
        rows: u64,
        buffers: impl Fn(usize, &DataType) -> Result<Vec<u64>>,
    ) -> Result<Skeleton> {
        let mut skeleton = Skeleton::new(schema, rows)?;
        for (i, field) in schema.fields().iter().enumerate() {
            skeleton.begin_column(field.data_type())?;
            let sizes = buffers(i, field.data_type())?;
            skeleton.node(StoredNode { len: rows, nulls: 0, buffers: sizes.len() as u32, children: 0 }, 0);
            for len in sizes {
                skeleton.buffer(len, 0);
            }
            skeleton.end_column()?;
        }
        skeleton.seal()?;
        Ok(skeleton)
    }

    #[inline]
    pub(crate) fn begin_column(&mut self, t: &DataType) -> Result<()> {
        self.columns.push(StoredColumn {
            node: table_len(self.nodes.len())?,
            buffer: table_len(self.buffers.len())?,
            element: Fixed::of(t).and_then(|fixed| fixed.element).map_or(0, |element| element as u32),
        });
        Ok(())
    }

    /// Adds an array, and returns its index among the nodes.
    #[inline]
    pub(crate) fn node(&mut self, node: StoredNode, group: u32) -> usize {
        self.nodes.push(PlannedNode { node, group });
        self.nodes.len() - 1
    }

    #[inline]
    pub(crate) fn buffer(&mut self, len: u64, group: u32) {
        self.buffers.push(PlannedBuffer { at: 0, len, reserved: len, within: Within::Root, group });
    }

    /// Says of a buffer of the last column that it lies at `at` in the data region, in the held part
    /// number `held`, so that it needs no place.
    pub(crate) fn hold(&mut self, buffer: usize, held: u32, at: u64) {
        let buffer = &mut self.buffers[buffer];
        (buffer.at, buffer.within) = (at, Within::Held(held));
        self.held = self.held.max(held + 1);
        self.held_end = self.held_end.max(at + buffer.len);
    }

    /// Gives what the last column has to store its place: in the root, or a part of its own.
    pub(crate) fn end_column(&mut self) -> Result<()> {
        let index = self.columns.len().saturating_sub(1);
        let Some(column) = self.columns.last() else {
            return Ok(());
        };
        let buffers = &mut self.buffers[column.buffer as usize..];
        let inline = self.inline_bytes;
        let mut end = inline;
        for buffer in buffers.iter_mut().filter(|b| b.within == Within::Root) {
            if buffer.len >> LEN_BITS != 0 {
                return Err(too_large());
            }
            buffer.at = end;
            end = end.checked_add(buffer.len.next_multiple_of(ALIGN)).ok_or_else(too_large)?;
        }
        if end - inline < PART_BYTES {
            self.inline_bytes = end;
            return Ok(());
        }
        let part = table_len(self.parts.len())?;
        self.parts.push(end - inline);
        self.part_columns.push(index);
        for buffer in buffers.iter_mut().filter(|b| b.within == Within::Root) {
            (buffer.at, buffer.within) = (buffer.at - inline, Within::Own(part));
        }
        Ok(())
    }

    /// Fixes the sizes. Nothing is added afterwards.
    pub(crate) fn seal(&mut self) -> Result<()> {
        // arrow numbers dictionaries when it leaves them, so a lower id never needs a higher one.
        self.dictionaries.sort_unstable_by_key(|d| d.id);
        let dictionary_len = self.dictionaries.iter().map(|d| self.message(d.group).size()).sum::<u64>();
        let length = |n: u64| u32::try_from(n).map_err(|_| too_large());
        self.header = Header {
            rows: self.rows,
            columns: table_len(self.columns.len())?,
            nodes: table_len(self.nodes.len())?,
            buffers: table_len(self.buffers.len())?,
            dictionaries: table_len(self.dictionaries.len())?,
            schema_print: self.schema.print,
            schema_len: length(self.schema.bytes.len() as u64)?,
            batch_len: length(self.message(0).size())?,
            dictionary_len: length(dictionary_len)?,
            parts: table_len(self.parts.len())?.saturating_add(self.held),
        };
        self.sections = Sections::of(&self.header);
        let total = self.parts.iter().try_fold(self.root_bytes(), |sum, &part| sum.checked_add(part));
        match total {
            Some(total) if total <= i64::MAX as u64 => Ok(()),
            _ => Err(too_large()),
        }
    }

    pub(crate) fn root_bytes(&self) -> u64 {
        self.sections.inline + self.inline_bytes
    }

    pub(crate) fn part_bytes(&self) -> &[u64] {
        &self.parts
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Where a column without held buffers lies.
    pub(crate) fn column_place(&self, column: usize) -> Option<ColumnPlace<'_>> {
        let buffers = &self.buffers[self.column_buffers(column)?];
        let part = match buffers.first().map(|b| b.within) {
            Some(Within::Own(part)) => Some(part as usize),
            _ => None,
        };
        Some(ColumnPlace { part, buffers })
    }

    /// Where in the root the small columns start.
    pub(crate) fn inline_at(&self) -> u64 {
        self.sections.inline
    }

    /// The indices of a column's buffers.
    pub(crate) fn column_buffers(&self, column: usize) -> Option<std::ops::Range<usize>> {
        let start = self.columns.get(column)?.buffer as usize;
        let end = self.columns.get(column + 1).map_or(self.buffers.len(), |next| next.buffer as usize);
        Some(start..end)
    }

    /// Says what a draft knows only at the end: how many nulls a flat column has and how much of its
    /// last buffer is used. Places and sizes of the objects stay as they were reserved.
    pub(crate) fn complete(&mut self, column: usize, nulls: u64, last: Option<u64>) {
        let Some(range) = self.column_buffers(column) else {
            return;
        };
        let node = self.columns[column].node as usize;
        self.nodes[node].node.nulls = nulls;
        let buffers = &mut self.buffers[range];
        // Without nulls there is no bitmap for the reader, though its place is there.
        buffers[0].len = if nulls == 0 { 0 } else { buffers[0].reserved };
        if let (Some(buffer), Some(last)) = (buffers.last_mut(), last) {
            buffer.len = last.min(buffer.reserved);
        }
    }

    /// Writes the descriptor into `out`, the root object; `at` is its offset in the data region and
    /// `parts` those of its own parts. The small columns behind it are left alone.
    pub(crate) fn write(&self, at: u64, parts: &[u64], out: &mut [u8]) {
        let s = &self.sections;
        // All objects end before this, and the body of the messages is the region up to here.
        let own = parts.iter().zip(&self.parts).map(|(at, len)| at + len).fold(at + self.root_bytes(), u64::max);
        let body = own.max(self.held_end);
        let address = |buffer: &PlannedBuffer| match buffer.within {
            Within::Root => at + s.inline + buffer.at,
            Within::Own(part) => parts[part as usize] + buffer.at,
            Within::Held(_) => buffer.at,
        };
        // The root lists its own parts, then the held ones.
        let extent = |buffer: &PlannedBuffer| match buffer.within {
            Within::Root => 0,
            Within::Own(part) => part + 1,
            Within::Held(held) => self.parts.len() as u32 + held + 1,
        };
        self.header.write(out);
        let mut w = Words::new(&mut out[s.columns as usize..s.inline as usize]);
        for c in &self.columns {
            w.u32s([c.node, c.buffer, c.element, 0]);
        }
        for PlannedNode { node, .. } in &self.nodes {
            w.u64s([node.len, node.nulls, u64::from(node.buffers) | u64::from(node.children) << 32]);
        }
        for buffer in &self.buffers {
            w.u64s(StoredBuffer { at: address(buffer), len: buffer.len, extent: extent(buffer) }.words());
        }
        for d in &self.dictionaries {
            w.u64s([self.message(d.group).size()]);
        }
        w.bytes(&self.schema.bytes);
        self.message(0).write(&mut w, self.rows, body, None, address);
        for d in &self.dictionaries {
            self.message(d.group).write(&mut w, d.len, body, Some(d.id), address);
        }
        w.finish();
    }

    /// Bytes behind the root's body for a checksum of each column, where objects have checksums: which of the small columns
    /// has changed, the root's own checksum does not tell.
    pub(crate) fn sums_bytes(&self) -> u64 {
        8 * self.columns.len() as u64
    }

    /// Writes the checksums of the columns that lie in the root, behind its body. `out` is the whole root, which is written.
    pub(crate) fn write_sums(&self, out: &mut [u8]) {
        let (body, sums) = out.split_at_mut(self.root_bytes() as usize);
        let inline = self.sections.inline;
        for (column, sum) in sums.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let buffers = &self.buffers[self.column_buffers(column).unwrap_or_default()];
            let inside = buffers.iter().filter(|buffer| buffer.within == Within::Root);
            let bytes = inside.map(|buffer| &body[(inline + buffer.at) as usize..][..buffer.len as usize]);
            *sum = hash_of(bytes).to_le_bytes();
        }
    }

    fn message(&self, group: u32) -> Message<'_> {
        let all = Tables { nodes: &self.nodes, buffers: &self.buffers, variadic: &self.variadic };
        match self.dictionaries.is_empty() {
            true => Message::of_all(all),
            false => Message::of(all, group),
        }
    }
}

fn too_large() -> Error {
    Error::invalid(
        "a batch of more than 2^32 arrays or buffers, or of more bytes than memory can be, cannot be stored: publish it in pieces",
    )
}

pub(crate) fn table_len(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| too_large())
}
