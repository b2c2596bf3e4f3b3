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
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, BinaryType, ByteArrayType, LargeBinaryType, LargeUtf8Type, Utf8Type};
use arrow_array::{Array, GenericByteArray, RecordBatch, downcast_primitive};
use arrow_buffer::{ArrowNativeType, Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, UnionMode};

use crate::core::word::Id;
use crate::error::{Error, Result};
use crate::value::extent::{Addresses, Located};
use crate::value::layout::{ALIGN, PART_BYTES, StoredNode};
use crate::value::message::{DataBuffers, Within};
use crate::value::piece::{CopyBytes, Piece, Source, ViewOf, word_at};
use crate::value::shape::{Fixed, Offsets, Shape};
use crate::value::skeleton::{Dictionary, Skeleton, table_len};

/// Finds bytes that lie in the arena, in objects that may be held for them.
#[derive(Clone, Copy)]
pub(crate) struct Locate<'a> {
    /// So that bytes that lie elsewhere cost one comparison.
    pub addresses: Addresses,
    /// Where bytes lie, if all of them are inside one object.
    pub find: &'a (dyn Fn(&[u8]) -> Option<Located> + Sync),
}

impl Locate<'static> {
    /// For what is copied wherever it lies.
    pub(crate) const NOWHERE: Locate<'static> = Locate { addresses: Addresses::NOWHERE, find: &|_| None };
}

impl Locate<'_> {
    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<Located> {
        self.addresses.offset_of(bytes).and_then(|_| (self.find)(bytes))
    }
}

/// A record batch on its way in: sizes, and where the bytes come from.
pub(crate) struct Plan<'a> {
    skeleton: Skeleton,
    /// One for each buffer of the skeleton.
    pieces: Vec<Piece<'a>>,
    locate: Locate<'a>,
    /// Which buffers of the column that is being planned could be held.
    found: Vec<Found>,
    /// The objects to hold, and the number of each among them.
    held: Vec<Id>,
    numbers: BTreeMap<Id, u32>,
}

/// A buffer that lies in the arena already.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Its index in the skeleton.
    buffer: usize,
    at: Located,
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
                plan.array(&data, Window { from: data.offset(), len: data.len(), group: 0 })?;
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
            found.sort_unstable_by_key(|f| (f.at.object, f.buffer));
            for same in found.chunk_by(|a, b| a.at.object == b.at.object) {
                let bytes: u64 = same.iter().map(|f| self.skeleton.buffers[f.buffer].len).sum();
                if bytes >= PART_BYTES {
                    let number = self.number(same[0].at.object)?;
                    same.iter().for_each(|f| self.skeleton.hold(f.buffer, number, f.at.offset));
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

    /// The objects to hold, in the order in which they are listed behind the own parts.
    pub(crate) fn held(&self) -> &[Id] {
        &self.held
    }

    /// Remembers that the next piece could be held, if it could.
    #[inline]
    fn look(&mut self, bytes: &[u8], align: u64) {
        if let Some(at) = self.locate.find(bytes)
            && at.offset.is_multiple_of(align)
        {
            self.found.push(Found { buffer: self.pieces.len(), at });
        }
    }

    /// Whether all of these lie in one object; what is empty lies anywhere.
    fn lie_together<'b>(&self, first: &[u8], align: u64, mut rest: impl Iterator<Item = &'b [u8]>) -> bool {
        match self.locate.find(first) {
            Some(Located { object, offset }) if offset.is_multiple_of(align) => {
                rest.all(|bytes| bytes.is_empty() || self.locate.find(bytes).is_some_and(|at| at.object == object))
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
                    Some(array) => $self.numbers::<<$t as ArrowPrimitiveType>::Native>(array, array.values().inner()),
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
    #[inline]
    fn plain_node(&mut self, array: &'a dyn Array, buffers: u32) -> Result<()> {
        let nulls = array.nulls().filter(|nulls| nulls.null_count() != 0);
        let count = nulls.map_or(0, NullBuffer::null_count) as u64;
        self.skeleton.node(StoredNode { len: array.len() as u64, nulls: count, buffers, children: 0 }, 0);
        match nulls {
            None => self.piece(0, Piece::Zeros, 0),
            Some(nulls) => self.bits(Source::Lent(nulls.buffer()), nulls.offset(), array.len(), 0)?,
        }
        Ok(())
    }

    fn numbers<T>(&mut self, array: &'a dyn Array, values: &'a Buffer) -> Result<bool> {
        self.plain_node(array, 2)?;
        self.lend(values, 0..array.len().saturating_mul(size_of::<T>()), align_of::<T>() as u64)?;
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
            self.lend(array.values(), 0..last, 1)?;
        } else {
            self.piece(need, Piece::Offsets { offsets, width, first: first as u64 }, 0);
            self.lend(array.values(), first..last, 1)?;
        }
        Ok(true)
    }

    /// Some bytes of a buffer of the batch.
    #[inline]
    fn lend(&mut self, buffer: &'a Buffer, bytes: Range<usize>, align: u64) -> Result<()> {
        let bytes = buffer.get(bytes.clone()).ok_or_else(|| short(bytes.end, buffer.len()))?;
        self.unaltered(Source::Lent(bytes), align, 0);
        Ok(())
    }

    /// Bytes of the root object.
    pub(crate) fn root_bytes(&self) -> u64 {
        self.skeleton.root_bytes()
    }

    /// See [`Skeleton::sums_bytes`] and [`Skeleton::write_sums`].
    pub(crate) fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// Bytes of each own part.
    pub(crate) fn part_bytes(&self) -> &[u64] {
        self.skeleton.part_bytes()
    }

    /// Bytes of the root and all own parts.
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
        self.write_buffers(0..self.pieces.len(), Within::Root, inline, copy);
    }

    /// Writes own part `i`; `out` is the whole object, at least `part_bytes()[i]` long.
    pub(crate) fn write_part(&self, i: usize, out: &mut [u8], copy: CopyBytes<'_>) {
        let out = &mut out[..self.skeleton.parts[i] as usize];
        let buffers = self.skeleton.column_buffers(self.skeleton.part_columns[i]).unwrap_or_default();
        self.write_buffers(buffers, Within::Own(i as u32), out, copy);
    }

    /// Writes those of the buffers that lie in one object.
    fn write_buffers(&self, buffers: Range<usize>, within: Within, out: &mut [u8], copy: CopyBytes<'_>) {
        for (buffer, piece) in self.skeleton.buffers[buffers.clone()].iter().zip(&self.pieces[buffers]) {
            if buffer.within != within || buffer.len == 0 {
                continue;
            }
            let (from, len) = (buffer.at as usize, buffer.len as usize);
            let (to, padding) = out[from..][..len.next_multiple_of(ALIGN as usize)].split_at_mut(len);
            piece.write(to, copy);
            padding.fill(0);
        }
    }

    #[inline]
    fn piece(&mut self, len: usize, piece: Piece<'a>, group: u32) {
        self.skeleton.buffer(len as u64, group);
        self.pieces.push(piece);
    }

    /// A buffer that is stored as it is.
    #[inline]
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

    /// Plans the entries of an array that a window shows, and its children.
    fn array(&mut self, data: &ArrayData, window: Window) -> Result<()> {
        let t = data.data_type();
        let shape = Shape::of(t).ok_or_else(|| unknown(t))?;
        let Window { from, len, group } = window;
        let index = self.skeleton.node(StoredNode { len: len as u64, nulls: 0, buffers: 0, children: 0 }, group);
        let first_buffer = self.pieces.len();
        if shape.has_validity() {
            match validity(data, window)?.filter(|nulls| nulls.null_count() != 0) {
                None => self.piece(0, Piece::Zeros, group),
                Some(nulls) => {
                    self.skeleton.nodes[index].node.nulls = nulls.null_count() as u64;
                    self.bits(Source::Kept(nulls.buffer().clone()), nulls.offset(), len, group)?;
                }
            }
        }
        // The node's own buffers come before anything of its children, so they are counted when all are there.
        let own = |plan: &mut Plan<'_>| {
            let count = (plan.pieces.len() - first_buffer) as u32;
            plan.skeleton.nodes[index].node.buffers = count;
        };
        match shape {
            Shape::Null => {
                self.skeleton.nodes[index].node.nulls = len as u64;
                own(self);
            }
            Shape::Bits => {
                self.bits(Source::Kept(buffer(data, 0)?.clone()), from, len, group)?;
                own(self);
            }
            Shape::Fixed(fixed) => {
                self.values(data, window, fixed)?;
                own(self);
            }
            Shape::Text { offsets, .. } => {
                let used = self.offsets(data, window, offsets)?;
                self.bytes(cut(buffer(data, 1)?, used.start, used.len(), 1)?, 1, group);
                own(self);
            }
            Shape::Views => {
                self.views(data, window)?;
                own(self);
            }
            Shape::List { offsets, .. } => {
                let used = self.offsets(data, window, offsets)?;
                own(self);
                let child = child(data, 0)?;
                self.array(child, window.of(child, used))?;
            }
            Shape::ListView { offsets, .. } => {
                let used = self.list_views(data, window, offsets)?;
                own(self);
                let child = child(data, 0)?;
                self.array(child, window.of(child, used.range()))?;
            }
            Shape::FixedList { size, .. } => {
                let size = size as usize;
                own(self);
                let child = child(data, 0)?;
                self.array(child, window.of(child, from * size..(from + len) * size))?;
            }
            Shape::Struct(_) => {
                own(self);
                for child in data.child_data() {
                    self.array(child, window.of(child, from..from + len))?;
                }
            }
            Shape::Union { fields, mode: UnionMode::Sparse } => {
                self.bytes(cut(buffer(data, 0)?, from, len, 1)?, 1, group);
                own(self);
                for i in 0..fields.len() {
                    let child = child(data, i)?;
                    self.array(child, window.of(child, from..from + len))?;
                }
            }
            Shape::Union { fields, mode: UnionMode::Dense } => {
                let used = self.dense(data, window)?;
                own(self);
                for (i, (id, _)) in fields.iter().enumerate() {
                    let (child, used) = (child(data, i)?, &used[usize::from(id as u8 & 127)]);
                    self.array(child, window.of(child, used.range()))?;
                }
            }
            Shape::Runs { width, .. } => {
                own(self);
                self.runs(data, window, width as usize)?;
            }
            Shape::Dictionary { keys, .. } => {
                self.values(data, window, keys)?;
                own(self);
                self.dictionary(child(data, 0)?)?;
            }
        }
        self.skeleton.nodes[index].node.children = data.child_data().len().min(u32::MAX as usize) as u32;
        Ok(())
    }

    /// Plans the first buffer of an array, of values of one size.
    fn values(&mut self, data: &ArrayData, Window { from, len, group }: Window, fixed: Fixed) -> Result<()> {
        self.bytes(cut(buffer(data, 0)?, from, len, fixed.width as usize)?, fixed.align, group);
        Ok(())
    }

    /// Plans the offsets of a slice; returns which range of the values they use.
    fn offsets(&mut self, data: &ArrayData, window: Window, offsets: Offsets) -> Result<Range<usize>> {
        let Window { from, len, group } = window;
        let (all, width) = (buffer(data, 0)?, offsets.width());
        if len == 0 {
            // Arrow allows an empty array to have no offsets at all; one zero is always right.
            self.piece(width, Piece::Zeros, group);
            return Ok(0..0);
        }
        let offsets = cut(all, from, len + 1, width)?;
        let (first, last) = (word_at(&offsets, width, 0), word_at(&offsets, width, len));
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
        Ok(first as usize..last as usize)
    }

    /// Plans the offsets and sizes of list views; returns which range of the child they use.
    fn list_views(&mut self, data: &ArrayData, window: Window, offsets: Offsets) -> Result<Used> {
        let Window { from, len, group } = window;
        let width = offsets.width();
        let offsets = cut(buffer(data, 0)?, from, len, width)?;
        let sizes = cut(buffer(data, 1)?, from, len, width)?;
        // Stored, an empty list is at 0.
        let (mut used, mut as_stored) = (Used::default(), true);
        for i in 0..len {
            let (at, size) = (word_at(&offsets, width, i), word_at(&sizes, width, i));
            used.add(at, size);
            as_stored &= size != 0 || at == 0;
        }
        if as_stored && used.start() == 0 {
            self.bytes(offsets, width as u64, group);
        } else {
            let piece = Piece::ListViews { offsets, sizes: sizes.clone(), width, base: used.start() };
            self.piece(len * width, piece, group);
        }
        self.bytes(sizes, width as u64, group);
        Ok(used)
    }

    /// Plans the type ids and offsets of a dense union; returns which range each id uses of its child.
    fn dense(&mut self, data: &ArrayData, Window { from, len, group }: Window) -> Result<Vec<Used>> {
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
        Ok(used)
    }

    /// Plans views and the buffers that they look into.
    fn views(&mut self, data: &ArrayData, Window { from, len, group }: Window) -> Result<()> {
        let views = cut(buffer(data, 0)?, from, len, 16)?;
        let buffers = &data.buffers()[1..];
        let mut used = vec![Used::default(); buffers.len()];
        if !buffers.is_empty() {
            for view in views.as_chunks::<16>().0 {
                if let Some(view) = ViewOf::word(u128::from_le_bytes(*view))
                    && let Some(used) = used.get_mut(view.buffer)
                {
                    used.add(u64::from(view.at), u64::from(view.len));
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
        self.skeleton.variadic.push(DataBuffers { count: buffers.len() as u64, group });
        for (buffer, used) in buffers.iter().zip(&used) {
            self.bytes(cut(buffer, used.start() as usize, used.len() as usize, 1)?, 1, group);
        }
        Ok(())
    }

    /// Plans the children of a run-end encoded array, whose run ends have `width` bytes.
    fn runs(&mut self, data: &ArrayData, window: Window, width: usize) -> Result<()> {
        let Window { from, len, group } = window;
        let (ends, values) = (child(data, 0)?, child(data, 1)?);
        let all = cut(buffer(ends, 0)?, ends.offset(), ends.len(), width)?;
        let end_of = |i: usize| word_at(&all, width, i) as usize;
        let (mut start, mut stop) = (0, 0);
        if len != 0 {
            start = partition(ends.len(), |i| end_of(i) <= from);
            stop = partition(ends.len(), |i| end_of(i) < from + len) + 1;
            if stop > ends.len() {
                return Err(short(from + len, ends.len().checked_sub(1).map_or(0, end_of)));
            }
        }
        let runs = stop - start;
        self.skeleton.node(StoredNode { len: runs as u64, nulls: 0, buffers: 2, children: 0 }, group);
        self.piece(0, Piece::Zeros, group);
        let ends = cut(&all, start, runs, width)?;
        if from == 0 && runs.checked_sub(1).is_none_or(|last| end_of(last) <= len) {
            self.bytes(ends, width as u64, group);
        } else {
            let piece = Piece::Runs { ends, width, skip: from as u64, len: len as u64 };
            self.piece(runs * width, piece, group);
        }
        self.array(values, window.of(values, start..stop))
    }

    /// The values of a dictionary are a child in the table and a message of their own in IPC.
    fn dictionary(&mut self, values: &ArrayData) -> Result<()> {
        let position = self.skeleton.dictionaries.len();
        let group = table_len(position + 1)?;
        self.skeleton.dictionaries.push(Dictionary { id: i64::MAX, group, len: values.len() as u64 });
        self.array(values, Window { from: values.offset(), len: values.len(), group })?;
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

/// The entries of an array that are stored.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Counts from the start of the array's buffers, so that the array's own offset is in it already.
    from: usize,
    len: usize,
    /// The message that the array belongs to.
    group: u32,
}

impl Window {
    /// The window of a child, of whose entries the parent uses some.
    fn of(self, child: &ArrayData, used: Range<usize>) -> Window {
        Window { from: child.offset() + used.start, len: used.len(), group: self.group }
    }
}

/// The range of a child or buffer that somebody looks at; at first, nobody does.
#[derive(Clone, Debug, Default)]
struct Used(Option<Range<u64>>);

impl Used {
    fn add(&mut self, at: u64, len: u64) {
        if len != 0 {
            let end = at.saturating_add(len);
            self.0 = Some(match self.0.take() {
                None => at..end,
                Some(used) => used.start.min(at)..used.end.max(end),
            });
        }
    }

    fn start(&self) -> u64 {
        self.0.as_ref().map_or(0, |used| used.start)
    }

    fn end(&self) -> u64 {
        self.0.as_ref().map_or(0, |used| used.end)
    }

    fn range(&self) -> Range<usize> {
        self.start() as usize..self.end() as usize
    }

    fn len(&self) -> u64 {
        self.end() - self.start()
    }

    /// Begins at 0, if it is not empty.
    fn widen(&mut self) {
        self.0 = self.0.take().map(|used| 0..used.end);
    }
}

/// The validity of the entries that a window shows.
fn validity(data: &ArrayData, Window { from, len, .. }: Window) -> Result<Option<NullBuffer>> {
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
