//! How a record batch gets into the segment: sizes first, then exactly one copy of every buffer.
//!
//! [`Plan::new`] walks the arrays and writes down, for every buffer, how long it will be and how its
//! bytes come from the source ([`Piece`]); nothing of the payload is touched but a few offsets.
//! The caller allocates, then [`Plan::write_part`] and [`Plan::write_root`] copy. What is sliced,
//! offset or shifted by bits in the source becomes an array with offset 0 on the way:
//!
//! | source | becomes |
//! |---|---|
//! | bits that start inside a byte | shifted while copied, bits behind the last zeroed |
//! | offsets of a slice | less the first; only the values between first and last are copied |
//! | views of a slice | buffers are cut to the range that is looked at, views moved by as much |
//! | list views of a slice | the child is cut to the range that is looked at |
//! | dense union of a slice | each child is cut to the range that is looked at |
//! | run ends of a slice | less the offset, at most the length; only the runs in it are copied |
//! | dictionary | the values whole: keys stay as they are |
//!
//! [`Skeleton`] is the part without a source: a batch that is drafted in place (`draft.rs`) has
//! nothing else.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::{DataType, Schema, SchemaRef, UnionMode};

use crate::batch::{
    ALIGN, ColumnEntry, CopyBytes, Header, Node, PART_BYTES, Recent, Sections, check_type, decode_schema, element_of,
    fingerprint, fixed_width, has_validity,
};
use crate::error::{Error, Result};

/// A buffer of the batch, before its extent has an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Offset from the start of the part, or from the end of the root's descriptor.
    pub at: u64,
    pub len: u64,
    /// What `len` was when places were given; a draft may use less ([`Skeleton::settle`]).
    pub reserved: u64,
    /// 0: the column is in the root; k: in part k-1.
    extent: u32,
    /// 0: belongs to the batch message; k: to dictionary k-1.
    group: u32,
}

struct NodeIn {
    node: Node,
    group: u32,
}

struct Dictionary {
    id: i64,
    group: u32,
    len: u64,
}

/// A batch's descriptor: everything but the values.
pub(crate) struct Skeleton {
    rows: u64,
    schema: Arc<EncodedSchema>,
    columns: Vec<ColumnEntry>,
    nodes: Vec<NodeIn>,
    slots: Vec<Slot>,
    dictionaries: Vec<Dictionary>,
    /// Numbers of data buffers of the view arrays, for the messages.
    variadic: Vec<(u32, u64)>,
    parts: Vec<u64>,
    /// The column that each part is.
    part_columns: Vec<usize>,
    inline_bytes: u64,
    header: Header,
    sections: Sections,
}

impl Skeleton {
    fn new(schema: &SchemaRef, rows: u64) -> Result<Skeleton> {
        Ok(Skeleton {
            rows,
            schema: encode_schema(schema)?,
            columns: Vec::with_capacity(schema.fields().len()),
            nodes: Vec::with_capacity(schema.fields().len()),
            slots: Vec::with_capacity(2 * schema.fields().len()),
            dictionaries: Vec::new(),
            variadic: Vec::new(),
            parts: Vec::new(),
            part_columns: Vec::new(),
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
            skeleton.node(Node { len: rows, nulls: 0, buffers: sizes.len() as u32, children: 0 }, 0);
            for len in sizes {
                skeleton.slot(len, 0);
            }
            skeleton.end_column()?;
        }
        skeleton.seal()?;
        Ok(skeleton)
    }

    fn begin_column(&mut self, t: &DataType) -> Result<()> {
        self.columns.push(ColumnEntry {
            node: table_len(self.nodes.len())?,
            buffer: table_len(self.slots.len())?,
            extent: 0,
            element: element_of(t).map_or(0, |e| e as u32),
        });
        Ok(())
    }

    fn node(&mut self, node: Node, group: u32) -> usize {
        self.nodes.push(NodeIn { node, group });
        self.nodes.len() - 1
    }

    fn slot(&mut self, len: u64, group: u32) {
        self.slots.push(Slot { at: 0, len, reserved: len, extent: 0, group });
    }

    /// Gives the last column its place: in the root, or a part of its own.
    fn end_column(&mut self) -> Result<()> {
        let index = self.columns.len().saturating_sub(1);
        let Some(column) = self.columns.last_mut() else {
            return Ok(());
        };
        let slots = &mut self.slots[column.buffer as usize..];
        let mut size = 0_u64;
        for slot in slots.iter() {
            size = padded(slot.len).and_then(|len| size.checked_add(len)).ok_or_else(too_large)?;
        }
        let mut at = 0;
        if size >= PART_BYTES {
            self.parts.push(size);
            self.part_columns.push(index);
            column.extent = table_len(self.parts.len())?;
        } else {
            at = self.inline_bytes;
            self.inline_bytes += size;
        }
        for slot in slots {
            slot.at = at;
            slot.extent = column.extent;
            at += slot.len.next_multiple_of(ALIGN);
        }
        Ok(())
    }

    /// Fixes the sizes. Nothing is added afterwards.
    fn seal(&mut self) -> Result<()> {
        // arrow numbers dictionaries when it leaves them, so a lower id never needs a higher one.
        self.dictionaries.sort_unstable_by_key(|d| d.id);
        let dictionary_len = self.dictionaries.iter().map(|d| self.message(d.group).size()).sum::<u64>();
        let length = |n: u64| u32::try_from(n).map_err(|_| too_large());
        self.header = Header {
            rows: self.rows,
            columns: table_len(self.columns.len())?,
            nodes: table_len(self.nodes.len())?,
            buffers: table_len(self.slots.len())?,
            dictionaries: table_len(self.dictionaries.len())?,
            schema_print: self.schema.print,
            schema_len: length(self.schema.bytes.len() as u64)?,
            batch_len: length(self.message(0).size())?,
            dictionary_len: length(dictionary_len)?,
            parts: table_len(self.parts.len())?,
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

    /// A column's extent: `None` is the root, and where its buffers are in that object.
    pub(crate) fn column_place(&self, column: usize) -> Option<(Option<usize>, &[Slot])> {
        let range = self.column_slots(column)?;
        let extent = self.columns[column].extent;
        Some((extent.checked_sub(1).map(|part| part as usize), &self.slots[range]))
    }

    /// Where in the root the small columns start.
    pub(crate) fn inline_at(&self) -> u64 {
        self.sections.inline
    }

    fn column_slots(&self, column: usize) -> Option<std::ops::Range<usize>> {
        let start = self.columns.get(column)?.buffer as usize;
        let end = self.columns.get(column + 1).map_or(self.slots.len(), |next| next.buffer as usize);
        Some(start..end)
    }

    /// What a draft knows only at the end: how many nulls a flat column has and how much of its
    /// last buffer is used. Places and sizes of the objects stay as they were reserved.
    pub(crate) fn settle(&mut self, column: usize, nulls: u64, last: Option<u64>) {
        let Some(range) = self.column_slots(column) else {
            return;
        };
        let node = self.columns[column].node as usize;
        self.nodes[node].node.nulls = nulls;
        let slots = &mut self.slots[range];
        // Without nulls there is no bitmap for the reader, though its place is there.
        slots[0].len = if nulls == 0 { 0 } else { slots[0].reserved };
        if let (Some(slot), Some(last)) = (slots.last_mut(), last) {
            slot.len = last.min(slot.reserved);
        }
    }

    /// Writes the descriptor into `out`, the root object; `at` is its offset in the data region and
    /// `parts` those of the parts. The small columns behind it are left alone.
    pub(crate) fn write(&self, at: u64, parts: &[u64], out: &mut [u8]) {
        let s = &self.sections;
        // All extents end before this, and the body of the messages is the region up to here.
        let body = parts.iter().zip(&self.parts).map(|(at, len)| at + len).fold(at + self.root_bytes(), u64::max);
        let address = |slot: &Slot| match slot.extent.checked_sub(1) {
            None => at + s.inline + slot.at,
            Some(part) => parts[part as usize] + slot.at,
        };
        self.header.write(out);
        let mut w = Words::new(out, s.columns);
        for c in &self.columns {
            w.u32(c.node).u32(c.buffer).u32(c.extent).u32(c.element);
        }
        for NodeIn { node, .. } in &self.nodes {
            w.u64(node.len).u64(node.nulls).u32(node.buffers).u32(node.children);
        }
        for slot in &self.slots {
            w.u64(address(slot)).u64(slot.len);
        }
        for d in &self.dictionaries {
            w.u64(self.message(d.group).size());
        }
        w.bytes(&self.schema.bytes);
        self.message(0).write(&mut w, self.rows, body, None, &address);
        for d in &self.dictionaries {
            self.message(d.group).write(&mut w, d.len, body, Some(d.id), &address);
        }
        let end = w.at;
        out[end..s.inline as usize].fill(0);
    }

    fn message(&self, group: u32) -> Message<'_> {
        let all = self.dictionaries.is_empty();
        let count = |n: usize| n as u64;
        Message {
            skeleton: self,
            group,
            nodes: if all {
                count(self.nodes.len())
            } else {
                count(self.nodes.iter().filter(|n| n.group == group).count())
            },
            buffers: if all {
                count(self.slots.len())
            } else {
                count(self.slots.iter().filter(|s| s.group == group).count())
            },
            variadic: count(self.variadic.iter().filter(|v| v.0 == group).count()),
        }
    }
}

fn padded(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(ALIGN)
}

fn too_large() -> Error {
    Error::invalid(
        "a batch of more than 2^32 arrays or buffers, or of more bytes than memory can be, cannot be stored: publish it in pieces",
    )
}

fn table_len(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| too_large())
}

/// Writes words one after the other.
struct Words<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn new(out: &'a mut [u8], at: u64) -> Words<'a> {
        Words { out, at: at as usize }
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        self
    }

    fn u16(&mut self, v: u16) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    fn u32(&mut self, v: u32) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }

    fn u64(&mut self, v: u64) -> &mut Self {
        self.bytes(&v.to_le_bytes())
    }
}

/// The IPC metadata of the batch or of one dictionary, as a flatbuffer.
///
/// arrow-ipc can encode a batch only together with its body, so the bytes are laid down here. The
/// tables and their fields are those of Arrow's Message.fbs; each vtable comes right before its
/// table, and everything is placed so that 64-bit fields fall on multiples of 8. The tests read
/// them back through arrow-ipc's verifier and decoder.
struct Message<'a> {
    skeleton: &'a Skeleton,
    group: u32,
    nodes: u64,
    buffers: u64,
    variadic: u64,
}

/// `Message` table with its vtable, up to the header table.
const MESSAGE_HEAD: u64 = 40;
/// `DictionaryBatch` table with its vtable.
const DICTIONARY_HEAD: u64 = 24;
/// `RecordBatch` table with its vtable.
const BATCH_HEAD: u64 = 40;
/// `MetadataVersion::V5`, `MessageHeader::DictionaryBatch`, `MessageHeader::RecordBatch`.
const V5: u16 = 4;
const DICTIONARY_BATCH: u16 = 2;
const RECORD_BATCH: u16 = 3;

impl Message<'_> {
    fn size(&self) -> u64 {
        let head = if self.group == 0 { MESSAGE_HEAD } else { MESSAGE_HEAD + DICTIONARY_HEAD };
        let variadic = if self.variadic == 0 { 0 } else { 8 + 8 * self.variadic };
        head + BATCH_HEAD + (8 + 16 * self.nodes) + (8 + 16 * self.buffers) + variadic
    }

    fn write(&self, w: &mut Words<'_>, rows: u64, body: u64, id: Option<i64>, address: &dyn Fn(&Slot) -> u64) {
        let group = self.group;
        let kind = if id.is_some() { DICTIONARY_BATCH } else { RECORD_BATCH };
        // @0 root -> 16. @4 vtable: its size, the table's size, version, header_type, header,
        // bodyLength. @16 the table.
        w.u32(16).u16(12).u16(24).u16(16).u16(18).u16(4).u16(8);
        // @16 back to the vtable. @20 header: the next table starts behind its vtable, which is 8
        // bytes long for a dictionary (-> 48) and 16 for a batch (-> 56).
        w.u32(12).u32(if id.is_some() { 28 } else { 36 }).u64(body).u16(V5).u16(kind).u32(0);
        if let Some(id) = id {
            // @40 vtable: id, data (isDelta is false by its absence). @48 the table: data -> 80.
            w.u16(8).u16(16).u16(8).u16(4);
            w.u32(8).u32(28).u64(id as u64);
        }
        // vtable: length, nodes, buffers, compression (none), variadicBufferCounts; padded to 16.
        let variadic_field = if self.variadic == 0 { 0 } else { 20 };
        w.u16(14).u16(24).u16(8).u16(4).u16(16).u16(0).u16(variadic_field).u16(0);
        // The table, t: @t+4 nodes, @t+16 buffers, @t+20 variadic: distances from the field to the
        // vector's count, which stands 4 bytes before its first entry.
        let nodes_at = 24 + 4;
        let buffers_at = nodes_at + 8 + 16 * self.nodes;
        let variadic_at = buffers_at + 8 + 16 * self.buffers;
        w.u32(16).u32(nodes_at as u32 - 4).u64(rows).u32(buffers_at as u32 - 16);
        w.u32(if self.variadic == 0 { 0 } else { variadic_at as u32 - 20 });
        w.u32(0).u32(self.nodes as u32);
        for n in self.skeleton.nodes.iter().filter(|n| n.group == group) {
            w.u64(n.node.len).u64(n.node.nulls);
        }
        w.u32(0).u32(self.buffers as u32);
        for slot in self.skeleton.slots.iter().filter(|s| s.group == group) {
            w.u64(address(slot)).u64(slot.len);
        }
        if self.variadic != 0 {
            w.u32(0).u32(self.variadic as u32);
            for (_, count) in self.skeleton.variadic.iter().filter(|v| v.0 == group) {
                w.u64(*count);
            }
        }
    }
}

/// How the bytes of one stored buffer come from the source.
enum Piece {
    /// Nothing, or `len` zeros.
    Zeros,
    /// As they are.
    Bytes(Buffer),
    /// `len` bits from bit `from` on.
    Bits { bits: Buffer, from: usize, len: usize },
    /// Offsets less the first one.
    Offsets { offsets: Buffer, width: usize, first: u64 },
    /// Offsets of list views, less `base`; 0 where the list is empty.
    ListViews { offsets: Buffer, sizes: Buffer, width: usize, base: u64 },
    /// Views into buffers that were cut by `bases` at the front.
    Views { views: Buffer, bases: Vec<u32> },
    /// Offsets of a dense union, less the base of the row's child.
    Dense { ids: Buffer, offsets: Buffer, bases: Box<[u32; 128]> },
    /// Run ends less `skip`, at most `len`.
    Runs { ends: Buffer, width: usize, skip: u64, len: u64 },
}

fn read(bytes: &[u8], width: usize, i: usize) -> u64 {
    let mut word = [0; 8];
    if let Some(b) = bytes.get(i * width..(i + 1) * width) {
        word[..width].copy_from_slice(b);
    }
    u64::from_le_bytes(word)
}

/// Maps the words of `from` into `out`. The compiler turns the two widths into vector loops.
fn map_words(out: &mut [u8], from: &[u8], width: usize, f32: impl Fn(u32) -> u32, f64: impl Fn(u64) -> u64) {
    if width == 4 {
        for (out, b) in out.as_chunks_mut::<4>().0.iter_mut().zip(from.as_chunks::<4>().0) {
            *out = f32(u32::from_le_bytes(*b)).to_le_bytes();
        }
    } else {
        for (out, b) in out.as_chunks_mut::<8>().0.iter_mut().zip(from.as_chunks::<8>().0) {
            *out = f64(u64::from_le_bytes(*b)).to_le_bytes();
        }
    }
}

impl Piece {
    fn write(&self, out: &mut [u8], copy: CopyBytes<'_>) {
        match self {
            Piece::Zeros => out.fill(0),
            Piece::Bytes(bytes) => copy(out, bytes),
            Piece::Bits { bits, from, len } => write_bits(out, bits, *from, *len, copy),
            Piece::Offsets { offsets, first: 0, .. } => copy(out, offsets),
            Piece::Offsets { offsets, width, first } => {
                let first = *first;
                map_words(out, offsets, *width, |o| o.wrapping_sub(first as u32), |o| o.wrapping_sub(first));
            }
            Piece::ListViews { offsets, sizes, width, base } => {
                for (i, out) in out.chunks_exact_mut(*width).enumerate() {
                    let empty = read(sizes, *width, i) == 0;
                    let at = if empty { 0 } else { read(offsets, *width, i).wrapping_sub(*base) };
                    out.copy_from_slice(&at.to_le_bytes()[..*width]);
                }
            }
            Piece::Views { views, bases } if bases.iter().all(|&base| base == 0) => copy(out, views),
            Piece::Views { views, bases } => {
                for (out, view) in out.as_chunks_mut::<16>().0.iter_mut().zip(views.as_chunks::<16>().0) {
                    let view = u128::from_le_bytes(*view);
                    let (len, buffer, at) = split_view(view);
                    let base = if len > 12 { bases.get(buffer).copied().unwrap_or(0) } else { 0 };
                    let moved = view & !(u128::from(u32::MAX) << 96) | u128::from(at.wrapping_sub(base)) << 96;
                    *out = (if len > 12 { moved } else { view }).to_le_bytes();
                }
            }
            Piece::Dense { ids, offsets, bases } => {
                let offsets = offsets.as_chunks::<4>().0;
                for ((out, at), &id) in out.as_chunks_mut::<4>().0.iter_mut().zip(offsets).zip(ids.as_slice()) {
                    let base = bases.get(usize::from(id)).copied().unwrap_or(0);
                    *out = u32::from_le_bytes(*at).wrapping_sub(base).to_le_bytes();
                }
            }
            Piece::Runs { ends, width, skip, len } => {
                for (i, out) in out.chunks_exact_mut(*width).enumerate() {
                    let end = read(ends, *width, i).saturating_sub(*skip).min(*len);
                    out.copy_from_slice(&end.to_le_bytes()[..*width]);
                }
            }
        }
    }
}

/// Length, buffer and offset of a view.
fn split_view(view: u128) -> (u32, usize, u32) {
    (view as u32, (view >> 64) as u32 as usize, (view >> 96) as u32)
}

fn write_bits(out: &mut [u8], bits: &[u8], from: usize, len: usize, copy: CopyBytes<'_>) {
    let shift = from % 8;
    let source = bits.get(from / 8..).unwrap_or_default();
    if shift == 0 {
        copy(out, source.get(..out.len()).unwrap_or_default());
    } else {
        // Eight output bytes need nine input bytes; the end goes byte by byte.
        let mut i = 0;
        while let (Some(to), Some(b)) = (out.get_mut(i..i + 8), source.get(i..i + 9)) {
            let low = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            let word = low >> shift | u64::from(b[8]) << (64 - shift);
            to.copy_from_slice(&word.to_le_bytes());
            i += 8;
        }
        for (i, to) in out.iter_mut().enumerate().skip(i) {
            let low = source.get(i).copied().unwrap_or(0) >> shift;
            *to = low | source.get(i + 1).copied().unwrap_or(0) << (8 - shift);
        }
    }
    if let (Some(last), 1..) = (out.last_mut(), len % 8) {
        *last &= (1 << (len % 8)) - 1;
    }
}

/// A record batch on its way in: sizes, and where the bytes come from.
pub(crate) struct Plan {
    skeleton: Skeleton,
    /// One for each slot.
    pieces: Vec<Piece>,
}

impl Plan {
    pub(crate) fn new(batch: &RecordBatch) -> Result<Plan> {
        let skeleton = Skeleton::new(&batch.schema(), batch.num_rows() as u64)?;
        let pieces = Vec::with_capacity(2 * batch.num_columns());
        let mut plan = Plan { skeleton, pieces };
        for column in batch.columns() {
            plan.skeleton.begin_column(column.data_type())?;
            let data = column.to_data();
            plan.array(&data, data.offset(), data.len(), 0)?;
            plan.skeleton.end_column()?;
        }
        plan.skeleton.seal()?;
        Ok(plan)
    }

    /// Bytes of the root object.
    pub(crate) fn root_bytes(&self) -> u64 {
        self.skeleton.root_bytes()
    }

    /// Bytes of each part.
    pub(crate) fn part_bytes(&self) -> &[u64] {
        self.skeleton.part_bytes()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.skeleton.rows()
    }

    /// Writes the root. `out` is the whole object, at least [`Plan::root_bytes`] long; what is
    /// longer stays as it is. `at` and `parts` are offsets in the data region, multiples of 64.
    pub(crate) fn write_root(&self, at: u64, parts: &[u64], out: &mut [u8], copy: CopyBytes<'_>) {
        self.skeleton.write(at, parts, out);
        let inline = &mut out[self.skeleton.sections.inline as usize..][..self.skeleton.inline_bytes as usize];
        self.write_extent(0, inline, copy);
    }

    /// Writes part `i`; `out` is the whole object, at least `part_bytes()[i]` long.
    pub(crate) fn write_part(&self, i: usize, out: &mut [u8], copy: CopyBytes<'_>) {
        let out = &mut out[..self.skeleton.parts[i] as usize];
        self.write_extent(i as u32 + 1, out, copy);
    }

    fn write_extent(&self, extent: u32, out: &mut [u8], copy: CopyBytes<'_>) {
        let columns = match extent.checked_sub(1) {
            None => 0..self.skeleton.columns.len(),
            Some(part) => {
                let column = self.skeleton.part_columns[part as usize];
                column..column + 1
            }
        };
        for c in columns.filter(|&c| self.skeleton.columns[c].extent == extent) {
            for i in self.skeleton.column_slots(c).unwrap_or_default() {
                let slot = &self.skeleton.slots[i];
                let (from, len) = (slot.at as usize, slot.len as usize);
                let (to, rest) = out[from..].split_at_mut(len);
                self.pieces[i].write(to, copy);
                rest[..len.next_multiple_of(ALIGN as usize) - len].fill(0);
            }
        }
    }

    fn piece(&mut self, len: usize, piece: Piece, group: u32) {
        self.skeleton.slot(len as u64, group);
        self.pieces.push(piece);
    }

    fn bytes(&mut self, bytes: Buffer, group: u32) {
        self.piece(bytes.len(), Piece::Bytes(bytes), group);
    }

    fn bits(&mut self, bits: &Buffer, from: usize, len: usize, group: u32) -> Result<()> {
        let end = (from + len).div_ceil(8);
        if end > bits.len() {
            return Err(short(end, bits.len()));
        }
        self.piece(len.div_ceil(8), Piece::Bits { bits: bits.clone(), from, len }, group);
        Ok(())
    }

    /// Entries `from..from + len` of an array (counted from the start of its buffers, so
    /// `data.offset()` is in `from` already), and its children.
    fn array(&mut self, data: &ArrayData, from: usize, len: usize, group: u32) -> Result<()> {
        let t = data.data_type();
        let index = self.skeleton.node(Node { len: len as u64, nulls: 0, buffers: 0, children: 0 }, group);
        let first_slot = self.pieces.len();
        let mut children = data.child_data().len();
        if has_validity(t) {
            let nulls = window(data, from, len)?.filter(|n| n.null_count() != 0);
            match nulls {
                None => self.piece(0, Piece::Zeros, group),
                Some(nulls) => {
                    self.skeleton.nodes[index].node.nulls = nulls.null_count() as u64;
                    self.bits(nulls.buffer(), nulls.offset(), len, group)?;
                }
            }
        }
        // The node's own buffers come before anything of its children, so count them as we go.
        let own = |plan: &mut Plan| {
            let count = (plan.pieces.len() - first_slot) as u32;
            plan.skeleton.nodes[index].node.buffers = count;
        };
        if let Some(width) = fixed_width(t) {
            self.bytes(cut(buffer(data, 0)?, from, len, width as usize)?, group);
            own(self);
            return Ok(());
        }
        match t {
            DataType::Null => self.skeleton.nodes[index].node.nulls = len as u64,
            DataType::Boolean => self.bits(buffer(data, 0)?, from, len, group)?,
            DataType::Utf8 | DataType::Binary => {
                let (first, last) = self.offsets(data, from, len, 4, group)?;
                self.bytes(cut(buffer(data, 1)?, first, last - first, 1)?, group);
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let (first, last) = self.offsets(data, from, len, 8, group)?;
                self.bytes(cut(buffer(data, 1)?, first, last - first, 1)?, group);
            }
            DataType::Utf8View | DataType::BinaryView => self.views(data, from, len, group)?,
            DataType::List(_) | DataType::Map(..) | DataType::LargeList(_) => {
                let width = if matches!(t, DataType::LargeList(_)) { 8 } else { 4 };
                let (first, last) = self.offsets(data, from, len, width, group)?;
                own(self);
                let child = child(data, 0)?;
                self.array(child, child.offset() + first, last - first, group)?;
            }
            DataType::ListView(_) | DataType::LargeListView(_) => {
                let width = if matches!(t, DataType::ListView(_)) { 4 } else { 8 };
                let offsets = cut(buffer(data, 0)?, from, len, width)?;
                let sizes = cut(buffer(data, 1)?, from, len, width)?;
                let mut used = Used::default();
                for i in 0..len {
                    used.add(read(&offsets, width, i), read(&sizes, width, i));
                }
                let piece = Piece::ListViews { offsets, sizes: sizes.clone(), width, base: used.start() };
                self.piece(len * width, piece, group);
                self.bytes(sizes, group);
                own(self);
                let child = child(data, 0)?;
                self.array(child, child.offset() + used.start() as usize, used.len() as usize, group)?;
            }
            DataType::FixedSizeList(_, size) => {
                let size = *size as usize;
                own(self);
                let child = child(data, 0)?;
                self.array(child, child.offset() + from * size, len * size, group)?;
            }
            DataType::Struct(_) => {
                own(self);
                for child in data.child_data() {
                    self.array(child, child.offset() + from, len, group)?;
                }
            }
            DataType::Union(fields, UnionMode::Sparse) => {
                self.bytes(cut(buffer(data, 0)?, from, len, 1)?, group);
                own(self);
                for i in 0..fields.len() {
                    let child = child(data, i)?;
                    self.array(child, child.offset() + from, len, group)?;
                }
            }
            DataType::Union(fields, UnionMode::Dense) => {
                let ids = cut(buffer(data, 0)?, from, len, 1)?;
                let offsets = cut(buffer(data, 1)?, from, len, 4)?;
                let mut used = vec![Used::default(); 128];
                for (&id, at) in ids.as_slice().iter().zip(offsets.as_chunks::<4>().0) {
                    if let Some(used) = used.get_mut(usize::from(id)) {
                        used.add(u64::from(u32::from_le_bytes(*at)), 1);
                    }
                }
                let mut bases = Box::new([0; 128]);
                for (base, used) in bases.iter_mut().zip(&used) {
                    *base = used.start() as u32;
                }
                self.bytes(ids.clone(), group);
                self.piece(len * 4, Piece::Dense { ids, offsets, bases }, group);
                own(self);
                for (i, (id, _)) in fields.iter().enumerate() {
                    let (child, used) = (child(data, i)?, &used[usize::from(id as u8 & 127)]);
                    self.array(child, child.offset() + used.start() as usize, used.len() as usize, group)?;
                }
            }
            DataType::RunEndEncoded(..) => {
                own(self);
                self.runs(data, from, len, group)?;
            }
            DataType::Dictionary(keys, _) => {
                let width = fixed_width(keys).ok_or_else(|| unknown(t))?;
                self.bytes(cut(buffer(data, 0)?, from, len, width as usize)?, group);
                own(self);
                self.dictionary(child(data, 0)?)?;
            }
            other => return Err(unknown(other)),
        }
        if children == 0 {
            own(self);
        }
        children = children.min(u32::MAX as usize);
        self.skeleton.nodes[index].node.children = children as u32;
        Ok(())
    }

    /// Plans the offsets of a slice; returns which range of the values they use.
    fn offsets(
        &mut self,
        data: &ArrayData,
        from: usize,
        len: usize,
        width: usize,
        group: u32,
    ) -> Result<(usize, usize)> {
        let all = buffer(data, 0)?;
        if len == 0 {
            // Arrow allows an empty array to have no offsets at all; one zero is always right.
            self.piece(width, Piece::Zeros, group);
            return Ok((0, 0));
        }
        let offsets = cut(all, from, len + 1, width)?;
        let (first, last) = (read(&offsets, width, 0), read(&offsets, width, len));
        if first > last || last > isize::MAX as u64 {
            return Err(Error::invalid(format!(
                "an array's offsets go from {first} to {last}: it is not valid, validate it where it was made"
            )));
        }
        self.piece((len + 1) * width, Piece::Offsets { offsets, width, first }, group);
        Ok((first as usize, last as usize))
    }

    fn views(&mut self, data: &ArrayData, from: usize, len: usize, group: u32) -> Result<()> {
        let views = cut(buffer(data, 0)?, from, len, 16)?;
        let buffers = &data.buffers()[1..];
        let mut used = vec![Used::default(); buffers.len()];
        if !buffers.is_empty() {
            for view in views.as_chunks::<16>().0 {
                let (len, buffer, at) = split_view(u128::from_le_bytes(*view));
                if len > 12
                    && let Some(used) = used.get_mut(buffer)
                {
                    used.add(u64::from(at), u64::from(len));
                }
            }
        }
        let bases = used.iter().map(|u| u.start() as u32).collect();
        self.piece(len * 16, Piece::Views { views, bases }, group);
        self.skeleton.variadic.push((group, buffers.len() as u64));
        for (buffer, used) in buffers.iter().zip(&used) {
            self.bytes(cut(buffer, used.start() as usize, used.len() as usize, 1)?, group);
        }
        Ok(())
    }

    fn runs(&mut self, data: &ArrayData, from: usize, len: usize, group: u32) -> Result<()> {
        let (ends, values) = (child(data, 0)?, child(data, 1)?);
        let width = fixed_width(ends.data_type()).ok_or_else(|| unknown(data.data_type()))? as usize;
        let all = cut(buffer(ends, 0)?, ends.offset(), ends.len(), width)?;
        let end_of = |i: usize| read(&all, width, i) as usize;
        let (mut start, mut stop) = (0, 0);
        if len != 0 {
            start = partition(ends.len(), |i| end_of(i) <= from);
            stop = partition(ends.len(), |i| end_of(i) < from + len) + 1;
            if stop > ends.len() {
                return Err(short(from + len, ends.len().checked_sub(1).map_or(0, end_of)));
            }
        }
        let runs = stop - start;
        self.skeleton.node(Node { len: runs as u64, nulls: 0, buffers: 2, children: 0 }, group);
        self.piece(0, Piece::Zeros, group);
        let piece = Piece::Runs { ends: cut(&all, start, runs, width)?, width, skip: from as u64, len: len as u64 };
        self.piece(runs * width, piece, group);
        self.array(values, values.offset() + start, runs, group)
    }

    /// The values of a dictionary are a child in the table and a message of their own in IPC.
    fn dictionary(&mut self, values: &ArrayData) -> Result<()> {
        let position = self.skeleton.dictionaries.len();
        let group = table_len(position + 1)?;
        self.skeleton.dictionaries.push(Dictionary { id: i64::MAX, group, len: values.len() as u64 });
        self.array(values, values.offset(), values.len(), group)?;
        // Numbered on the way out, as arrow's schema encoder does.
        let id = self.skeleton.dictionaries.iter().filter(|d| d.id != i64::MAX).count();
        self.skeleton.dictionaries[position].id = id as i64;
        Ok(())
    }
}

/// The smallest `i` of `0..n` that `before` is false for; `before` is true up to some point.
fn partition(n: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The range of a child that somebody looks at.
#[derive(Clone, Debug, Default)]
struct Used(Option<(u64, u64)>);

impl Used {
    fn add(&mut self, at: u64, len: u64) {
        if len != 0 {
            let end = at.saturating_add(len);
            self.0 = Some(self.0.map_or((at, end), |(a, b)| (a.min(at), b.max(end))));
        }
    }

    fn start(&self) -> u64 {
        self.0.map_or(0, |(a, _)| a)
    }

    fn len(&self) -> u64 {
        self.0.map_or(0, |(a, b)| b - a)
    }
}

/// Validity of the entries `from..from + len`.
fn window(data: &ArrayData, from: usize, len: usize) -> Result<Option<NullBuffer>> {
    let Some(nulls) = data.nulls() else {
        return Ok(None);
    };
    if from == data.offset() && len == nulls.len() {
        return Ok(Some(nulls.clone()));
    }
    match from.checked_sub(data.offset()) {
        Some(start) if start.checked_add(len).is_some_and(|end| end <= nulls.len()) => {
            Ok(Some(nulls.slice(start, len)))
        }
        _ => Err(short(from + len, nulls.len())),
    }
}

fn buffer(data: &ArrayData, i: usize) -> Result<&Buffer> {
    data.buffers().get(i).ok_or_else(|| short(i + 1, data.buffers().len()))
}

fn child(data: &ArrayData, i: usize) -> Result<&ArrayData> {
    data.child_data().get(i).ok_or_else(|| short(i + 1, data.child_data().len()))
}

fn cut(buffer: &Buffer, from: usize, len: usize, width: usize) -> Result<Buffer> {
    let bytes = from.checked_mul(width).zip(len.checked_mul(width));
    match bytes {
        Some((from, len)) if from.checked_add(len).is_some_and(|end| end <= buffer.len()) => {
            Ok(buffer.slice_with_length(from, len))
        }
        _ => Err(short((from + len).saturating_mul(width), buffer.len())),
    }
}

/// Arrays made by safe code never come here.
fn short(need: usize, have: usize) -> Error {
    Error::invalid(format!(
        "an array needs {need} bytes or entries where it has {have}: it is not valid, validate it where it was made"
    ))
}

fn unknown(t: &DataType) -> Error {
    Error::invalid(format!("a column of type {t} cannot be stored: cast it to a type of Arrow's columnar format first"))
}

struct EncodedSchema {
    schema: SchemaRef,
    bytes: Vec<u8>,
    print: u64,
}

static ENCODED: Recent<Arc<EncodedSchema>> = Recent::new();

/// The schema message, padded to 8. Encoded once per schema and process, because that costs about
/// 0.1 us per column; the same `Arc` is found without comparing.
fn encode_schema(schema: &SchemaRef) -> Result<Arc<EncodedSchema>> {
    ENCODED.find_or(
        |known| Arc::ptr_eq(&known.schema, schema) || known.schema == *schema,
        || {
            // Before arrow sees it: its encoder panics on a dictionary of dictionaries.
            schema_fine(schema).map_err(|e| Error::invalid(format!("the schema cannot be stored: {e}")))?;
            let mut ids = DictionaryTracker::new(false);
            let mut bytes = IpcDataGenerator::default()
                .schema_to_bytes_with_dictionary_tracker(schema, &mut ids, &IpcWriteOptions::default())
                .ipc_message;
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            // Read it as every reader will: what comes back differently must not be written.
            let back =
                decode_schema(&bytes).map_err(|e| Error::invalid(format!("the schema cannot be stored: {e}")))?;
            if back != **schema {
                return Err(Error::invalid("the schema cannot be stored: Arrow's format gives back another one"));
            }
            let print = fingerprint(&bytes);
            Ok(Arc::new(EncodedSchema { schema: schema.clone(), bytes, print }))
        },
        Arc::clone,
    )
}

fn schema_fine(schema: &Schema) -> Result<(), String> {
    schema
        .fields()
        .iter()
        .try_for_each(|field| check_type(field.data_type()).map_err(|e| format!("column `{}`: {e}", field.name())))
}
