//! How a record batch gets into the segment: sizes first, then at most one copy of every buffer.
//!
//! [`Plan::new`] walks the arrays and writes down, for every buffer, how long it will be and how its
//! bytes come from the source ([`Piece`]); nothing of the payload is touched but a few offsets.
//! The caller allocates, then [`Plan::write_part`] and [`Plan::write_root`] copy. What is sliced,
//! offset or shifted by bits in the source becomes an array with offset 0 on the way. A buffer whose
//! stored bytes would be those that lie in the arena already ([`Locate`]) is not copied but held:
//!
//! | source | becomes | held if it lies in the arena |
//! |---|---|---|
//! | numbers, keys, type ids, whole or of a slice | the bytes of its rows | yes |
//! | bits that start with a byte | those bytes | yes |
//! | bits that start inside a byte | shifted while copied, bits behind the last zeroed | no: an eighth of a byte a row |
//! | offsets of a slice | less the first; only the values between first and last are copied | the values, and all children |
//! | the same, of a column of text | as they are, and the values from 0 to the last | yes, if both do |
//! | views of a slice | buffers are cut to the range that is looked at, views moved by as much | the buffers |
//! | the same, views and buffers in one object | as they are, and the buffers up to the last that is looked at | yes |
//! | list views of a slice | the child is cut to the range that is looked at | sizes and child |
//! | dense union of a slice | each child is cut to the range that is looked at | ids and children |
//! | run ends of a slice | less the offset, at most the length; only the runs in it are copied | the values |
//! | dictionary | the values whole: keys stay as they are | yes |
//!
//! "Of a slice" means that something changes by it: what was read from the arena whole is held whole.
//!
//! What is held lives as long as the new batch does, so it is only worth it for much: an object is held for a
//! column that shows [`PART_BYTES`] and more of it. Less is copied, like anything else that is small. An
//! object that several columns share is held once.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{Array, GenericByteArray, RecordBatch, downcast_primitive};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, UnionMode};

use crate::core::word::Id;
use crate::error::{Error, Result};
use crate::value::array::CopyBytes;
use crate::value::layout::{ALIGN, Node, PART_BYTES, alignment, fixed_width, has_validity};
use crate::value::message::Extent;
use crate::value::skeleton::{Dictionary, Skeleton, table_len};

/// An object that may be held for bytes that lie in it, and their offset in the data region.
type Lies = (Id, u64);

/// Finds bytes that lie in the arena.
#[derive(Clone, Copy)]
pub(crate) struct Locate<'a> {
    /// Where the data region is mapped, so that most bytes cost one comparison: address and length.
    pub region: (usize, usize),
    /// Where bytes lie, if all of them are inside one object.
    pub find: &'a dyn Fn(&[u8]) -> Option<Lies>,
}

impl Locate<'static> {
    /// For what is copied wherever it lies.
    pub(crate) const NOWHERE: Locate<'static> = Locate { region: (0, 0), find: &|_| None };
}

impl Locate<'_> {
    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<Lies> {
        let (from, len) = self.region;
        if bytes.as_ptr().addr().wrapping_sub(from) < len { (self.find)(bytes) } else { None }
    }
}

/// Bytes that are copied: those of a plain column are lent by the batch; what was taken apart as
/// `ArrayData` has only its buffers left to live from.
enum Source<'a> {
    Lent(&'a [u8]),
    Kept(Buffer),
}

impl Deref for Source<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Source::Lent(bytes) => bytes,
            Source::Kept(buffer) => buffer,
        }
    }
}

/// How the bytes of one stored buffer come from the source.
enum Piece<'a> {
    /// Nothing, or `len` zeros.
    Zeros,
    /// As they are.
    Bytes(Source<'a>),
    /// `len` bits from bit `from` on.
    Bits { bits: Source<'a>, from: usize, len: usize },
    /// Offsets less the first one.
    Offsets { offsets: Source<'a>, width: usize, first: u64 },
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

impl Piece<'_> {
    fn write(&self, out: &mut [u8], copy: CopyBytes<'_>) {
        match self {
            Piece::Zeros => out.fill(0),
            Piece::Bytes(bytes) => copy(out, bytes),
            Piece::Bits { bits, from, len } => write_bits(out, bits, *from, *len, copy),
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
pub(crate) struct Plan<'a> {
    skeleton: Skeleton,
    /// One for each slot.
    pieces: Vec<Piece<'a>>,
    locate: Locate<'a>,
    /// Which slots of the column that is being planned could be held.
    found: Vec<Found>,
    /// The objects to hold, and the number of each among them.
    held: Vec<Id>,
    numbers: BTreeMap<Id, u32>,
}

/// A buffer that lies in the arena already.
#[derive(Clone, Copy, Debug)]
struct Found {
    id: Id,
    slot: usize,
    at: u64,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(batch: &'a RecordBatch, locate: Locate<'a>) -> Result<Plan<'a>> {
        let skeleton = Skeleton::new(batch.schema_ref(), batch.num_rows() as u64)?;
        let pieces = Vec::with_capacity(2 * batch.num_columns());
        let (found, held, numbers) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut plan = Plan { skeleton, pieces, locate, found, held, numbers };
        for column in batch.columns() {
            plan.skeleton.begin_column(column.data_type())?;
            if !plan.plain(column.as_ref())? {
                let data = column.to_data();
                plan.array(&data, data.offset(), data.len(), 0)?;
            }
            plan.end_column()?;
        }
        plan.skeleton.seal()?;
        Ok(plan)
    }

    /// Decides what of the column is held, and gives the rest its place.
    fn end_column(&mut self) -> Result<()> {
        if !self.found.is_empty() {
            let mut found = std::mem::take(&mut self.found);
            found.sort_unstable_by_key(|f| (f.id, f.slot));
            for same in found.chunk_by(|a, b| a.id == b.id) {
                let bytes: u64 = same.iter().map(|f| self.skeleton.slots[f.slot].len).sum();
                if bytes >= PART_BYTES {
                    let number = self.number(same[0].id)?;
                    same.iter().for_each(|f| self.skeleton.hold(f.slot, number, f.at));
                }
            }
        }
        self.skeleton.end_column()
    }

    fn number(&mut self, id: Id) -> Result<u32> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = table_len(self.held.len())?;
        self.held.push(id);
        self.numbers.insert(id, number);
        Ok(number)
    }

    /// The objects to hold, in the order of their entries, which follow those of the parts.
    pub(crate) fn held(&self) -> &[Id] {
        &self.held
    }

    /// Remembers that the next piece could be held, if it could.
    #[inline]
    fn look(&mut self, bytes: &[u8], align: u64) {
        if let Some((id, at)) = self.locate.find(bytes)
            && at.is_multiple_of(align)
        {
            self.found.push(Found { id, slot: self.pieces.len(), at });
        }
    }

    /// Whether all of these lie in one object; what is empty lies anywhere.
    fn lie_together<'b>(&self, first: &[u8], align: u64, mut rest: impl Iterator<Item = &'b [u8]>) -> bool {
        match self.locate.find(first) {
            Some((id, at)) if at.is_multiple_of(align) => {
                rest.all(|bytes| bytes.is_empty() || self.locate.find(bytes).is_some_and(|found| found.0 == id))
            }
            _ => false,
        }
    }

    /// A column of numbers, booleans, strings or binary values, without the detour over `ArrayData`,
    /// whose allocations cost more than all the rest. `false`: it is none, nothing was done.
    fn plain(&mut self, column: &'a dyn Array) -> Result<bool> {
        macro_rules! primitive {
            ($t:ty, $self:ident, $column:ident) => {
                match $column.as_primitive_opt::<$t>() {
                    Some(array) => {
                        $self.numbers(array, array.values().inner(), size_of::<<$t as ArrowPrimitiveType>::Native>())
                    }
                    None => Ok(false),
                }
            };
        }
        macro_rules! text {
            ($t:ty) => {
                match column.as_bytes_opt::<$t>() {
                    Some(array) => self.text(array),
                    None => Ok(false),
                }
            };
        }
        let t = column.data_type();
        downcast_primitive! {
            t => (primitive, self, column),
            DataType::Boolean => {
                let Some(array) = column.as_boolean_opt() else {
                    return Ok(false);
                };
                self.plain_node(array, 2)?;
                let bits = array.values();
                self.bits(Source::Lent(bits.inner()), bits.offset(), array.len(), 0)?;
                Ok(true)
            },
            DataType::Utf8 => text!(Utf8Type),
            DataType::LargeUtf8 => text!(LargeUtf8Type),
            DataType::Binary => text!(BinaryType),
            DataType::LargeBinary => text!(LargeBinaryType),
            _ => Ok(false)
        }
    }

    /// The node and the validity of a plain column.
    fn plain_node(&mut self, array: &'a dyn Array, buffers: u32) -> Result<()> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() != 0);
        let count = nulls.map_or(0, NullBuffer::null_count) as u64;
        self.skeleton.node(Node { len: array.len() as u64, nulls: count, buffers, children: 0 }, 0);
        match nulls {
            None => self.piece(0, Piece::Zeros, 0),
            Some(nulls) => self.bits(Source::Lent(nulls.buffer()), nulls.offset(), array.len(), 0)?,
        }
        Ok(())
    }

    fn numbers(&mut self, array: &'a dyn Array, values: &'a Buffer, width: usize) -> Result<bool> {
        self.plain_node(array, 2)?;
        self.lend(values, 0, array.len().saturating_mul(width), alignment(array.data_type()))?;
        Ok(true)
    }

    fn text<T: ByteArrayType>(&mut self, array: &'a GenericByteArray<T>) -> Result<bool> {
        self.plain_node(array, 3)?;
        let width = size_of::<T::Offset>();
        let offsets = array.value_offsets();
        let (Some(first), Some(last)) = (offsets.first(), offsets.get(array.len())) else {
            return Err(short(array.len() + 1, offsets.len()));
        };
        let (first, last) = (first.as_usize(), last.as_usize());
        let bytes = array.offsets().inner().inner();
        let need = (array.len() + 1) * width;
        let source = bytes.get(..need).ok_or_else(|| short(need, bytes.len()))?;
        let offsets = Source::Lent(source);
        // A slice of what is in the arena stays as it is there, if it shows enough of it.
        let enough = (need + last.saturating_sub(first)) as u64 >= PART_BYTES;
        let values = array.values().get(..last).ok_or_else(|| short(last, array.values().len()))?;
        if first == 0 || enough && self.lie_together(source, width as u64, [values].into_iter()) {
            self.unaltered(offsets, width as u64, 0);
            self.lend(array.values(), 0, last, 1)?;
        } else {
            self.piece(need, Piece::Offsets { offsets, width, first: first as u64 }, 0);
            self.lend(array.values(), first, last, 1)?;
        }
        Ok(true)
    }

    /// Bytes `from..to` of a buffer of the batch.
    fn lend(&mut self, buffer: &'a Buffer, from: usize, to: usize, align: u64) -> Result<()> {
        let bytes = buffer.get(from..to).ok_or_else(|| short(to, buffer.len()))?;
        self.unaltered(Source::Lent(bytes), align, 0);
        Ok(())
    }

    /// Bytes of the root object.
    pub(crate) fn root_bytes(&self) -> u64 {
        self.skeleton.root_bytes()
    }

    /// Bytes of each part.
    pub(crate) fn part_bytes(&self) -> &[u64] {
        self.skeleton.part_bytes()
    }

    /// Bytes of the root and all parts.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.root_bytes() + self.part_bytes().iter().sum::<u64>()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.skeleton.rows()
    }

    /// Writes the root. `out` is the whole object, at least [`Plan::root_bytes`] long; what is
    /// longer stays as it is. `at` and `parts` are offsets in the data region, multiples of 64.
    pub(crate) fn write_root(&self, at: u64, parts: &[u64], out: &mut [u8], copy: CopyBytes<'_>) {
        self.skeleton.write(at, parts, out);
        let inline = &mut out[self.skeleton.sections.inline as usize..][..self.skeleton.inline_bytes as usize];
        self.write_slots(0..self.pieces.len(), Extent::Root, inline, copy);
    }

    /// Writes part `i`; `out` is the whole object, at least `part_bytes()[i]` long.
    pub(crate) fn write_part(&self, i: usize, out: &mut [u8], copy: CopyBytes<'_>) {
        let out = &mut out[..self.skeleton.parts[i] as usize];
        let slots = self.skeleton.column_slots(self.skeleton.part_columns[i]).unwrap_or_default();
        self.write_slots(slots, Extent::Part(i as u32), out, copy);
    }

    /// Writes those of the slots that lie in one extent.
    fn write_slots(&self, slots: Range<usize>, extent: Extent, out: &mut [u8], copy: CopyBytes<'_>) {
        for (slot, piece) in self.skeleton.slots[slots.clone()].iter().zip(&self.pieces[slots]) {
            if slot.extent != extent {
                continue;
            }
            let (from, len) = (slot.at as usize, slot.len as usize);
            let (to, rest) = out[from..].split_at_mut(len);
            piece.write(to, copy);
            rest[..len.next_multiple_of(ALIGN as usize) - len].fill(0);
        }
    }

    fn piece(&mut self, len: usize, piece: Piece<'a>, group: u32) {
        self.skeleton.slot(len as u64, group);
        self.pieces.push(piece);
    }

    /// A buffer that is stored as it is.
    fn unaltered(&mut self, bytes: Source<'a>, align: u64, group: u32) {
        self.look(&bytes, align);
        self.piece(bytes.len(), Piece::Bytes(bytes), group);
    }

    fn bytes(&mut self, bytes: Buffer, align: u64, group: u32) {
        self.unaltered(Source::Kept(bytes), align, group);
    }

    fn bits(&mut self, bits: Source<'a>, from: usize, len: usize, group: u32) -> Result<()> {
        let end = (from + len).div_ceil(8);
        let Some(bytes) = bits.get(from / 8..end) else {
            return Err(short(end, bits.len()));
        };
        if from.is_multiple_of(8) {
            self.look(bytes, 1);
        }
        self.piece(len.div_ceil(8), Piece::Bits { bits, from, len }, group);
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
                    self.bits(Source::Kept(nulls.buffer().clone()), nulls.offset(), len, group)?;
                }
            }
        }
        // The node's own buffers come before anything of its children, so count them as we go.
        let own = |plan: &mut Plan<'_>| {
            let count = (plan.pieces.len() - first_slot) as u32;
            plan.skeleton.nodes[index].node.buffers = count;
        };
        if let Some(width) = fixed_width(t) {
            self.bytes(cut(buffer(data, 0)?, from, len, width as usize)?, alignment(t), group);
            own(self);
            return Ok(());
        }
        match t {
            DataType::Null => self.skeleton.nodes[index].node.nulls = len as u64,
            DataType::Boolean => self.bits(Source::Kept(buffer(data, 0)?.clone()), from, len, group)?,
            DataType::Utf8 | DataType::Binary => {
                let (first, last) = self.offsets(data, from, len, 4, group)?;
                self.bytes(cut(buffer(data, 1)?, first, last - first, 1)?, 1, group);
            }
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let (first, last) = self.offsets(data, from, len, 8, group)?;
                self.bytes(cut(buffer(data, 1)?, first, last - first, 1)?, 1, group);
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
                let (mut used, mut settled) = (Used::default(), true);
                for i in 0..len {
                    let (at, size) = (read(&offsets, width, i), read(&sizes, width, i));
                    used.add(at, size);
                    settled &= size != 0 || at == 0;
                }
                if settled && used.start() == 0 {
                    self.bytes(offsets, width as u64, group);
                } else {
                    let piece = Piece::ListViews { offsets, sizes: sizes.clone(), width, base: used.start() };
                    self.piece(len * width, piece, group);
                }
                self.bytes(sizes, width as u64, group);
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
                self.bytes(cut(buffer(data, 0)?, from, len, 1)?, 1, group);
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
                self.bytes(ids.clone(), 1, group);
                if bases.iter().all(|&base| base == 0) {
                    self.bytes(offsets, 4, group);
                } else {
                    self.piece(len * 4, Piece::Dense { ids, offsets, bases }, group);
                }
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
                self.bytes(cut(buffer(data, 0)?, from, len, width as usize)?, alignment(keys), group);
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
        if first == 0 {
            self.bytes(offsets, width as u64, group);
        } else {
            let offsets = Source::Kept(offsets);
            self.piece((len + 1) * width, Piece::Offsets { offsets, width, first }, group);
        }
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
        let mut altered = used.iter().any(|u| u.start() != 0);
        let shown = (len * 16) as u64 + used.iter().map(Used::len).sum::<u64>();
        if altered && shown >= PART_BYTES {
            // As in `text`.
            let whole = buffers.iter().zip(&used).map(|(b, used)| b.get(..used.end() as usize).unwrap_or_default());
            if self.lie_together(&views, 16, whole) {
                used.iter_mut().for_each(Used::widen);
                altered = false;
            }
        }
        if altered {
            let bases = used.iter().map(|u| u.start() as u32).collect();
            self.piece(len * 16, Piece::Views { views, bases }, group);
        } else {
            self.bytes(views, 16, group);
        }
        self.skeleton.variadic.push((group, buffers.len() as u64));
        for (buffer, used) in buffers.iter().zip(&used) {
            self.bytes(cut(buffer, used.start() as usize, used.len() as usize, 1)?, 1, group);
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
        let ends = cut(&all, start, runs, width)?;
        if from == 0 && runs.checked_sub(1).is_none_or(|last| end_of(last) <= len) {
            self.bytes(ends, width as u64, group);
        } else {
            let piece = Piece::Runs { ends, width, skip: from as u64, len: len as u64 };
            self.piece(runs * width, piece, group);
        }
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

    fn end(&self) -> u64 {
        self.0.map_or(0, |(_, b)| b)
    }

    fn len(&self) -> u64 {
        self.end() - self.start()
    }

    /// Begins at 0, if it is not empty.
    fn widen(&mut self) {
        self.0 = self.0.map(|(_, b)| (0, b));
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
