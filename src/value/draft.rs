//! A batch that is written where it will be read: its columns are slices of the arena from the
//! start, and publishing copies nothing.
//!
//! [`DraftLayout`] is the same descriptor as a copied batch has ([`Skeleton`]), made before there
//! are values: every buffer gets as much room as it can need. The memory is the caller's
//! ([`DraftMemory`]): it allocates the root and the parts, calls [`DraftLayout::prepare`] once, lends
//! columns, and [`DraftLayout::finish`] writes what only the end knows: how many nulls there are
//! and how long the text is.
//!
//! What is lent of a column cannot break what readers rely on without looking (`lent.rs`).

use arrow_schema::{DataType, SchemaRef};

use crate::error::{Error, Missing, Result};
use crate::value::element::Element;
use crate::value::layout::ALIGN;
use crate::value::lent::{Bits, Text, Written, not_nullable};
use crate::value::shape::{Fixed, Offsets, Shape};
use crate::value::skeleton::{ColumnPlace, Skeleton};

/// The objects of a draft, writable for its author alone.
pub(crate) trait DraftMemory {
    /// The whole root object, at least [`DraftLayout::root_bytes`] long.
    fn root(&mut self) -> &mut [u8];
    /// The whole object of part `i`, at least `part_bytes()[i]` long.
    fn part(&mut self, i: usize) -> &mut [u8];
}

/// A drafted batch, without its memory.
pub(crate) struct DraftLayout {
    schema: SchemaRef,
    skeleton: Skeleton,
    rows: usize,
    /// How far each text column is written; unused for the others.
    text: Vec<Written>,
}

/// A buffer of a draft, as long as was reserved for it, and the padding behind it.
struct Reserved<'m> {
    bytes: &'m mut [u8],
    padding: &'m mut [u8],
}

/// The offsets of a column of strings or binary values.
fn offsets_of(t: &DataType) -> Option<Offsets> {
    match Shape::of(t) {
        Some(Shape::Text { offsets, .. }) => Some(offsets),
        _ => None,
    }
}

impl DraftLayout {
    /// `text_bytes` says for each column how many bytes of text there may be in all rows together;
    /// it is asked for string and binary columns only.
    pub(crate) fn new(schema: &SchemaRef, rows: usize, text_bytes: &dyn Fn(usize) -> usize) -> Result<DraftLayout> {
        let skeleton = Skeleton::flat(schema, rows as u64, |i, t| {
            let field = schema.field(i);
            let rows = rows as u64;
            let too_large = || {
                Error::invalid(format!("column `{}` of {rows} rows of {t} is larger than memory can be", field.name()))
            };
            let validity = if field.is_nullable() { rows.div_ceil(8) } else { 0 };
            match Shape::of(t) {
                Some(Shape::Fixed(fixed)) => {
                    let bytes = rows.checked_mul(fixed.width).filter(|&b| b <= isize::MAX as u64);
                    Ok(vec![validity, bytes.ok_or_else(too_large)?])
                }
                Some(Shape::Bits) => Ok(vec![validity, rows.div_ceil(8)]),
                Some(Shape::Text { offsets, .. }) => {
                    let text = text_bytes(i) as u64;
                    if offsets == Offsets::I32 && text > i32::MAX as u64 {
                        return Err(Error::invalid(format!(
                            "column `{}` of type {t} cannot have {text} bytes of text, {} are the most: make it Large{t}",
                            field.name(),
                            i32::MAX
                        )));
                    }
                    let offsets = rows.checked_add(1).and_then(|n| n.checked_mul(offsets.width() as u64));
                    Ok(vec![validity, offsets.filter(|&b| b <= isize::MAX as u64).ok_or_else(too_large)?, text])
                }
                _ => Err(Error::invalid(format!(
                    "column `{}` of type {t} cannot be drafted in place: build it with arrow and publish the batch, or draft it as a fixed-width, string or binary type",
                    field.name()
                ))),
            }
        })?;
        let text = vec![Written::default(); schema.fields().len()];
        Ok(DraftLayout { schema: schema.clone(), skeleton, rows, text })
    }

    /// Bytes of the root object.
    pub(crate) fn root_bytes(&self) -> u64 {
        self.skeleton.root_bytes()
    }

    /// See [`Skeleton::sums_bytes`] and [`Skeleton::write_sums`].
    pub(crate) fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// Bytes of each part.
    pub(crate) fn part_bytes(&self) -> &[u64] {
        self.skeleton.part_bytes()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The index of a column.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        self.schema.index_of(name).map_err(|_| Error::NotFound {
            what: Missing::Column,
            name: name.to_owned(),
            within: String::new(),
            detail: format!("it has {}", names(&self.schema)),
        })
    }

    /// Makes fresh memory a batch without nulls, without text, and false in every bit. Call it
    /// once, first. Numbers start as whatever the memory held: write them all.
    pub(crate) fn prepare(&self, memory: &mut impl DraftMemory) -> Result<()> {
        for i in 0..self.schema.fields().len() {
            let t = self.schema.field(i).data_type();
            let plain = Fixed::of(t).is_some();
            for (k, Reserved { bytes, padding }) in self.buffers(i, memory)?.into_iter().enumerate() {
                padding.fill(0);
                match k {
                    0 => fill_ones(bytes, self.rows),
                    1 if !plain => bytes.fill(0),
                    // Numbers are the author's; text is zeroed behind its end when that is known.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn buffers<'m>(&self, column: usize, memory: &'m mut impl DraftMemory) -> Result<Vec<Reserved<'m>>> {
        let Some(ColumnPlace { part, buffers }) = self.skeleton.column_place(column) else {
            return Err(Error::invalid(format!("there is no column {column}: the draft has {}", names(&self.schema))));
        };
        let (object, inline) = match part {
            None => (memory.root(), self.skeleton.inline_at() as usize),
            Some(part) => (memory.part(part), 0),
        };
        let have = object.len();
        let first = inline + buffers.first().map_or(0, |b| b.at as usize);
        let mut rest = object.get_mut(first..).unwrap_or_default();
        let mut all = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let len = buffer.reserved as usize;
            let padded = len.next_multiple_of(ALIGN as usize);
            let Some((buffer, tail)) = rest.split_at_mut_checked(padded) else {
                return Err(Error::damaged(format!(
                    "a draft of column {column} does not fit its object of {have} bytes"
                )));
            };
            let (bytes, padding) = buffer.split_at_mut(len);
            all.push(Reserved { bytes, padding });
            rest = tail;
        }
        Ok(all)
    }

    fn mismatch(&self, column: usize, expected: impl Into<String>) -> Error {
        let field = self.schema.field(column);
        Error::Mismatch {
            name: field.name().clone(),
            expected: expected.into(),
            found: format!("a column of {}", field.data_type()),
        }
    }

    fn type_of(&self, column: usize) -> Result<&DataType> {
        self.schema.fields().get(column).map(|f| f.data_type()).ok_or_else(|| {
            Error::invalid(format!("there is no column {column}: the draft has {}", names(&self.schema)))
        })
    }

    /// The values of a column of plain numbers. Dates, times and decimals are the integers that
    /// Arrow stores them as.
    pub(crate) fn values_mut<'m, T: Element>(
        &self,
        column: usize,
        memory: &'m mut impl DraftMemory,
    ) -> Result<&'m mut [T]> {
        if Fixed::of(self.type_of(column)?).and_then(|fixed| fixed.element) != Some(T::TYPE) {
            return Err(self.mismatch(column, format!("a column of {}", T::TYPE)));
        }
        let bytes = self.bytes_mut(column, memory)?;
        bytemuck::checked::try_cast_slice_mut(bytes)
            .map_err(|e| Error::damaged(format!("the memory of drafted column {column} is no {}: {e}", T::TYPE)))
    }

    /// The bytes of a column of any fixed width, row after row: for fixed-size binary, intervals
    /// and 256-bit decimals, which no Rust number stands for.
    pub(crate) fn bytes_mut<'m>(&self, column: usize, memory: &'m mut impl DraftMemory) -> Result<&'m mut [u8]> {
        if Fixed::of(self.type_of(column)?).is_none() {
            return Err(self.mismatch(column, "a column of fixed width"));
        }
        let last = self.buffers(column, memory)?.pop();
        Ok(last.map(|last| last.bytes).unwrap_or_default())
    }

    /// The bits of a boolean column.
    pub(crate) fn bits_mut<'m>(&self, column: usize, memory: &'m mut impl DraftMemory) -> Result<Bits<'m>> {
        if *self.type_of(column)? != DataType::Boolean {
            return Err(self.mismatch(column, "a column of Boolean"));
        }
        let last = self.buffers(column, memory)?.pop();
        Ok(Bits { bits: last.map(|last| last.bytes).unwrap_or_default(), rows: self.rows })
    }

    /// Which rows of a column are null. Text says so itself, with [`Text::push_null`].
    pub(crate) fn validity_mut<'m>(&self, column: usize, memory: &'m mut impl DraftMemory) -> Result<Bits<'m>> {
        let t = self.type_of(column)?;
        let field = self.schema.field(column);
        if offsets_of(t).is_some() {
            return Err(self.mismatch(column, "a column of fixed width (for strings, push_null)"));
        }
        if !field.is_nullable() {
            return Err(not_nullable(field.name()));
        }
        let first = self.buffers(column, memory)?.into_iter().next();
        Ok(Bits { bits: first.map(|first| first.bytes).unwrap_or_default(), rows: self.rows })
    }

    /// The text of a string or binary column, from the first row on. Asked again, it goes on where
    /// it was.
    pub(crate) fn text_mut<'m>(&'m mut self, column: usize, memory: &'m mut impl DraftMemory) -> Result<Text<'m>> {
        let t = self.type_of(column)?;
        let Some(Shape::Text { offsets: integers, text: kind }) = Shape::of(t) else {
            return Err(self.mismatch(column, "a column of strings or binary values"));
        };
        let mut buffers = self.buffers(column, memory)?.into_iter().map(|buffer| buffer.bytes);
        let (validity, offsets, text) = (buffers.next(), buffers.next(), buffers.next());
        let field = self.schema.field(column);
        Ok(Text {
            name: field.name(),
            nullable: field.is_nullable(),
            kind,
            width: integers.width(),
            rows: self.rows,
            validity: validity.unwrap_or_default(),
            offsets: offsets.unwrap_or_default(),
            text: text.unwrap_or_default(),
            written: &mut self.text[column],
        })
    }

    /// Checks that every row of text was written, counts nulls, and writes the descriptor. `at` and
    /// `parts` are offsets of the root and the parts in the data region, multiples of 64.
    pub(crate) fn finish(&mut self, at: u64, parts: &[u64], memory: &mut impl DraftMemory) -> Result<()> {
        for i in 0..self.schema.fields().len() {
            let t = self.schema.field(i).data_type();
            let written = self.text[i];
            let mut buffers = self.buffers(i, memory)?;
            let mut last = None;
            if let Some(integers) = offsets_of(t) {
                if written.rows != self.rows {
                    return Err(Error::invalid(format!(
                        "column `{}` has {} of {} rows: push the others, or push_null",
                        self.schema.field(i).name(),
                        written.rows,
                        self.rows
                    )));
                }
                check_offsets(self.schema.field(i).name(), buffers[1].bytes, integers.width(), written.bytes)?;
                let text = &mut buffers[2].bytes;
                let end = written.bytes.next_multiple_of(ALIGN as usize).min(text.len());
                text[written.bytes..end].fill(0);
                last = Some(written.bytes as u64);
            }
            let valid: u64 = buffers[0].bytes.iter().map(|b| u64::from(b.count_ones())).sum();
            let nulls = if buffers[0].bytes.is_empty() { 0 } else { (self.rows as u64).saturating_sub(valid) };
            self.skeleton.complete(i, nulls, last);
        }
        self.skeleton.write(at, parts, memory.root());
        Ok(())
    }
}

/// Offsets start at 0, never fall, and end where the text ends.
fn check_offsets(name: &str, offsets: &[u8], width: usize, end: usize) -> Result<()> {
    let mut last = 0;
    let word = |b: &[u8]| b.iter().rev().fold(0_u64, |sum, &b| sum << 8 | u64::from(b));
    for offset in offsets.chunks_exact(width).map(word) {
        if offset < last {
            return Err(Error::damaged(format!("the offsets of drafted column `{name}` fall from {last} to {offset}")));
        }
        last = offset;
    }
    if last != end as u64 {
        return Err(Error::damaged(format!("the offsets of drafted column `{name}` end at {last}, its text at {end}")));
    }
    Ok(())
}

fn names(schema: &SchemaRef) -> String {
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    if names.is_empty() { "no columns".into() } else { names.join(", ") }
}

/// Sets the first `rows` bits and clears the others.
fn fill_ones(bits: &mut [u8], rows: usize) {
    bits.fill(0xff);
    if let (Some(last), 1..) = (bits.last_mut(), rows % 8) {
        *last = (1 << (rows % 8)) - 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int32Type};
    use arrow_array::{Array, RecordBatch};
    use arrow_buffer::{Buffer, MutableBuffer};
    use arrow_schema::{Field, Schema, TimeUnit};

    use super::*;
    use crate::value::batch::{Cut, Layout, Region};
    use crate::value::check::Trust;
    use crate::value::extent::Extent;

    struct Memory(Vec<MutableBuffer>);

    impl Memory {
        fn of(layout: &DraftLayout) -> Memory {
            let sizes = [layout.root_bytes()].into_iter().chain(layout.part_bytes().iter().copied());
            Memory(
                sizes
                    .map(|size| {
                        let mut memory = MutableBuffer::from_len_zeroed(size as usize);
                        memory.fill(0xaa);
                        memory
                    })
                    .collect(),
            )
        }

        /// What a reader sees: the root at 64, the parts after it.
        fn publish(&mut self, layout: &mut DraftLayout) -> Result<(Buffer, Vec<Extent>)> {
            let mut at = 64;
            let mut extents = Vec::new();
            for memory in &self.0 {
                extents.push(Extent { offset: at, len: memory.len() as u64 });
                at += memory.len().next_multiple_of(64) as u64 + 64;
            }
            let parts: Vec<u64> = extents[1..].iter().map(|e| e.offset).collect();
            layout.finish(64, &parts, self)?;
            let mut region = MutableBuffer::from_len_zeroed(at as usize);
            for (memory, extent) in self.0.iter().zip(&extents) {
                region[extent.range()].copy_from_slice(memory);
            }
            Ok((region.into(), extents))
        }

        fn read(&mut self, layout: &mut DraftLayout) -> Result<RecordBatch> {
            let (region, extents) = self.publish(layout)?;
            let root = &region[extents[0].range()];
            let region = Region { ground: &(&region).into(), extents: &extents, cut: Cut::Apart };
            let trusted = Layout::parse(root)?.batch(&region, Trust::Writers)?;
            let checked = Layout::parse(root)?.batch(&region, Trust::Nobody)?;
            assert_eq!(trusted, checked);
            Ok(checked)
        }
    }

    impl DraftMemory for Memory {
        fn root(&mut self) -> &mut [u8] {
            &mut self.0[0]
        }

        fn part(&mut self, i: usize) -> &mut [u8] {
            &mut self.0[1 + i]
        }
    }

    fn draft(fields: Vec<Field>, rows: usize, text: usize) -> Result<(DraftLayout, Memory)> {
        let layout = DraftLayout::new(&Arc::new(Schema::new(fields)), rows, &|_| text)?;
        let mut memory = Memory::of(&layout);
        layout.prepare(&mut memory)?;
        Ok((layout, memory))
    }

    fn mixed(rows: usize) -> (DraftLayout, Memory) {
        let fields = vec![
            Field::new("f", DataType::Float64, true),
            Field::new("when", DataType::Timestamp(TimeUnit::Second, Some("UTC".into())), false),
            Field::new("flag", DataType::Boolean, true),
            Field::new("text", DataType::Utf8, true),
            Field::new("large", DataType::LargeBinary, false),
            Field::new("fixed", DataType::FixedSizeBinary(3), true),
            Field::new("wide", DataType::Decimal256(40, 2), false),
        ];
        draft(fields, rows, 20 * rows).unwrap()
    }

    fn fill(layout: &mut DraftLayout, memory: &mut Memory, rows: usize) {
        for (i, v) in layout.values_mut::<f64>(0, memory).unwrap().iter_mut().enumerate() {
            *v = i as f64;
        }
        layout.values_mut::<i64>(1, memory).unwrap().fill(9);
        layout.bytes_mut(5, memory).unwrap().fill(b'z');
        layout.bytes_mut(6, memory).unwrap().fill(1);
        for row in 0..rows {
            layout.bits_mut(2, memory).unwrap().set(row, row % 3 == 0).unwrap();
            if row % 4 == 1 {
                layout.validity_mut(0, memory).unwrap().set_null(row).unwrap();
            }
            let mut text = layout.text_mut(3, memory).unwrap();
            if row % 5 == 2 {
                text.push_null().unwrap()
            } else {
                text.push(&format!("row {row}")).unwrap()
            }
            layout.text_mut(4, memory).unwrap().push_bytes(&[row as u8; 2]).unwrap();
        }
    }

    #[test]
    fn a_draft_is_what_was_written_into_it() {
        for rows in [0, 1, 8, 13, 30_000] {
            let (mut layout, mut memory) = mixed(rows);
            assert_eq!(layout.part_bytes().is_empty(), rows < 1000);
            fill(&mut layout, &mut memory, rows);
            let batch = memory.read(&mut layout).unwrap();
            assert_eq!(batch.num_rows(), rows);
            for (i, v) in batch.column(0).as_primitive::<Float64Type>().iter().enumerate() {
                assert_eq!(v, (i % 4 != 1).then_some(i as f64));
            }
            assert_eq!(batch.column(1).null_count(), 0);
            for (i, v) in batch.column(2).as_boolean().iter().enumerate() {
                assert_eq!(v, Some(i % 3 == 0));
            }
            for (i, v) in batch.column(3).as_string::<i32>().iter().enumerate() {
                assert_eq!(v.map(str::to_owned), (i % 5 != 2).then(|| format!("row {i}")));
            }
            for (i, v) in batch.column(4).as_binary::<i64>().iter().enumerate() {
                assert_eq!(v, Some(&[i as u8; 2][..]));
            }
            for column in batch.columns() {
                column.to_data().validate_full().unwrap();
            }
        }
    }

    #[test]
    fn a_draft_equals_the_copied_batch_in_every_table() {
        let (mut layout, mut memory) = mixed(100);
        fill(&mut layout, &mut memory, 100);
        let batch = memory.read(&mut layout).unwrap();
        let plan = crate::value::plan::Plan::new(&batch, crate::value::plan::Locate::NOWHERE).unwrap();
        let mut root = vec![0; plan.root_bytes() as usize];
        plan.write_root(64, &[], &mut root, &|to, from| to.copy_from_slice(from));
        let (copied, drafted) = (Layout::parse(&root).unwrap(), Layout::parse(&memory.0[0]).unwrap());
        assert_eq!(copied.ipc().unwrap().schema, drafted.ipc().unwrap().schema);
        assert_eq!(copied.nbytes(), drafted.nbytes());
        assert_eq!(copied.null_count(3).unwrap(), drafted.null_count(3).unwrap());
    }

    #[test]
    fn text_that_is_not_complete_is_refused_and_can_be_completed() {
        let (mut layout, mut memory) = draft(vec![Field::new("t", DataType::Utf8, false)], 2, 10).unwrap();
        layout.text_mut(0, &mut memory).unwrap().push("one").unwrap();
        let message = memory.read(&mut layout).unwrap_err().to_string();
        assert_eq!(message, "column `t` has 1 of 2 rows: push the others, or push_null");
        let mut text = layout.text_mut(0, &mut memory).unwrap();
        assert!(text.push_null().unwrap_err().to_string().contains("nullable"));
        let message = text.push("too much text").unwrap_err().to_string();
        assert!(message.contains("room for 10 bytes"), "{message}");
        assert!(text.push_bytes(b"\xff").is_err());
        text.push("two").unwrap();
        assert!(text.push("three").unwrap_err().to_string().contains("all its 2 rows"));
        let batch = memory.read(&mut layout).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn offsets_that_fall_are_refused() {
        let (mut layout, mut memory) = draft(vec![Field::new("t", DataType::Utf8, false)], 3, 10).unwrap();
        for text in ["a", "bb", "c"] {
            layout.text_mut(0, &mut memory).unwrap().push(text).unwrap();
        }
        layout.buffers(0, &mut memory).unwrap()[1].bytes[4] = 9;
        assert!(matches!(memory.read(&mut layout), Err(Error::Damaged(_))));
    }

    #[test]
    fn nothing_of_the_memory_before_shows() {
        let (mut layout, mut memory) = mixed(13);
        fill(&mut layout, &mut memory, 13);
        let (region, extents) = memory.publish(&mut layout).unwrap();
        let root = &region[extents[0].range()];
        let layout = Layout::parse(root).unwrap();
        // Whatever lies between the end of a buffer and the next multiple of 64 is zero.
        let ground = (&region).into();
        let batch =
            layout.batch(&Region { ground: &ground, extents: &extents, cut: Cut::Apart }, Trust::Writers).unwrap();
        for column in batch.columns() {
            for buffer in column.to_data().buffers() {
                let end = buffer.as_ptr() as usize + buffer.len() - region.as_ptr() as usize;
                assert!(region[end..end.next_multiple_of(64)].iter().all(|&b| b == 0));
            }
        }
    }

    #[test]
    fn a_wrong_use_says_so() {
        let (mut layout, mut memory) = mixed(3);
        let message = layout.values_mut::<f32>(0, &mut memory).unwrap_err().to_string();
        assert_eq!(message, "`f` is a column of Float64, not a column of f32");
        assert!(layout.values_mut::<f64>(9, &mut memory).is_err());
        assert!(layout.bits_mut(0, &mut memory).is_err());
        assert!(layout.text_mut(0, &mut memory).is_err());
        assert!(layout.bytes_mut(3, &mut memory).is_err());
        assert!(layout.validity_mut(1, &mut memory).is_err());
        assert!(layout.validity_mut(3, &mut memory).is_err());
        assert!(layout.bits_mut(2, &mut memory).unwrap().set(3, true).is_err());
        assert_eq!(layout.column("when").unwrap(), 1);
        assert!(layout.column("nowhere").unwrap_err().to_string().contains("f, when, flag"));
        let list = DataType::new_list(DataType::Int32, true);
        let message = draft(vec![Field::new("l", list, true)], 1, 0).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("column `l`") && message.contains("publish the batch"), "{message}");
        assert!(draft(vec![Field::new("x", DataType::Int64, true)], usize::MAX / 4, 0).is_err());
        assert!(draft(vec![Field::new("x", DataType::Utf8, true)], 1, 1 << 31).is_err());
    }

    #[test]
    fn no_nulls_leave_no_bitmap() {
        let (mut layout, mut memory) = draft(vec![Field::new("x", DataType::Int32, true)], 5, 0).unwrap();
        layout.values_mut::<i32>(0, &mut memory).unwrap().copy_from_slice(&[1, 2, 3, 4, 5]);
        let batch = memory.read(&mut layout).unwrap();
        assert!(batch.column(0).nulls().is_none());
        assert_eq!(batch.column(0).as_primitive::<Int32Type>().values()[..], [1, 2, 3, 4, 5]);
    }
}
