//! Parquet. Arrow has types for which Parquet has no name: they are converted to types that every
//! reader knows, if that loses nothing, and refused in words if it does.

use std::io::Write;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Date64Type, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalYearMonthType,
    Time32MillisecondType, Time32SecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, GenericListArray, GenericListViewArray, MapArray,
    OffsetSizeTrait, PrimitiveArray, RecordBatch, StructArray,
};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_cast::CastOptions;
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ArrowSchemaConverter, ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

use super::sink::{Guarded, Sink, gave_up};
use crate::failure::{Failure, Result};
use crate::panics;
use crate::several::all;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Digits of the widest decimal.
const DIGITS: i16 = 76;

/// Why a value cannot be written.
type Refusal = String;

/// A sink in the Parquet format.
pub fn parquet<'a, W: Write + Send + 'a>(to: W, schema: &SchemaRef) -> Result<Box<dyn Sink + 'a>> {
    // The writer knows no intervals of three parts: it gets their bytes, and the file has their name.
    let held = schema_of(schema, &DataType::FixedSizeBinary(12))?;
    let told = schema_of(schema, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let cannot =
        |error: ParquetError| Failure::new(format!("Parquet cannot hold these columns ({error}): export to .arrow"));
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_key_value_metadata(Some(key_values(schema)))
        .build();
    add_encoded_arrow_schema_to_metadata(&told, &mut properties);
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true)
        .with_parquet_schema(ArrowSchemaConverter::new().convert(&told).map_err(cannot)?);
    let writer = ArrowWriter::try_new_with_options(to, Arc::clone(&held), options).map_err(cannot)?;
    let (writer, groups) = writer.into_serialized_writer()?;
    let most = writer.properties().max_row_group_row_count().unwrap_or(usize::MAX);
    Ok(Guarded::boxed("Parquet", ParquetSink { writer, groups, schema: held, group: None, most, rows: 0 }))
}

/// The schema's metadata as the file's own, for readers that do not know the Arrow schema in it.
/// Readers that do know it take each key once.
fn key_values(schema: &Schema) -> Vec<KeyValue> {
    let mut own: Vec<_> = schema.metadata().iter().filter(|(key, _)| *key != ARROW_SCHEMA_META_KEY).collect();
    own.sort();
    own.into_iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect()
}

/// What `ArrowWriter` does, with the columns of each batch encoded on several threads: the file is the same.
struct ParquetSink<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    groups: ArrowRowGroupWriterFactory,
    schema: SchemaRef,
    /// The row group that grows.
    group: Option<Group>,
    /// Rows of a row group at most.
    most: usize,
    /// Rows that were written.
    rows: u64,
}

/// A row group that grows.
struct Group {
    /// For each column of the schema, what encodes its leaves.
    columns: Vec<Vec<ArrowColumnWriter>>,
    rows: usize,
}

/// Why a column cannot be written.
enum Stop {
    Refused(Refusal),
    Failed(ParquetError),
}

impl From<ParquetError> for Stop {
    fn from(error: ParquetError) -> Stop {
        Stop::Failed(error)
    }
}

impl<W: Write + Send> Sink for ParquetSink<W> {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_columns() == 0 {
            return match batch.num_rows() {
                0 => Ok(()),
                _ => Err(Failure::new("Parquet cannot hold rows without columns: export to .arrow")),
            };
        }
        let mut at = 0;
        while at < batch.num_rows() {
            let mut group = match self.group.take() {
                Some(group) => group,
                None => self.begin()?,
            };
            let rows = (batch.num_rows() - at).min(self.most - group.rows);
            self.encode(&mut group, &batch.slice(at, rows))?;
            at += rows;
            match group.rows < self.most {
                true => self.group = Some(group),
                false => self.end(group)?,
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(group) = self.group.take() {
            self.end(group)?;
        }
        self.writer.finish()?;
        Ok(())
    }
}

impl<W: Write + Send> ParquetSink<W> {
    /// Begins a row group.
    fn begin(&self) -> Result<Group> {
        let writers = self.groups.create_column_writers(self.writer.flushed_row_groups().len())?;
        let mut columns: Vec<Vec<ArrowColumnWriter>> = self.schema.fields().iter().map(|_| Vec::new()).collect();
        for (leaf, writer) in writers.into_iter().enumerate() {
            columns[self.writer.schema_descr().get_column_root_idx(leaf)].push(writer);
        }
        Ok(Group { columns, rows: 0 })
    }

    /// Encodes rows that fit in the group.
    fn encode(&mut self, group: &mut Group, batch: &RecordBatch) -> Result<()> {
        let columns = group.columns.iter_mut().zip(batch.columns()).zip(self.schema.fields());
        let encode = |((writers, column), field): ((&mut Vec<ArrowColumnWriter>, &ArrayRef), &FieldRef)| {
            let column = convert(column, field.data_type(), None).map_err(Stop::Refused)?;
            let leaves = compute_leaves(field, &column)?;
            writers.iter_mut().zip(&leaves).try_for_each(|(writer, leaf)| writer.write(leaf))?;
            Ok::<(), Stop>(())
        };
        let encoded = all(columns.collect(), |column| panics::caught(|| encode(column)));
        for (i, encoded) in encoded.into_iter().enumerate() {
            match encoded {
                Ok(Ok(())) => {}
                Ok(Err(Stop::Failed(error))) => return Err(error.into()),
                Ok(Err(Stop::Refused(why))) => return Err(self.refusal(batch.column(i), self.schema.field(i), &why)),
                Err(text) => return Err(gave_up("Parquet", &text)),
            }
        }
        group.rows += batch.num_rows();
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Writes the row group, which is whole.
    fn end(&mut self, group: Group) -> Result<()> {
        let writers: Vec<ArrowColumnWriter> = group.columns.into_iter().flatten().collect();
        let close = |writer: ArrowColumnWriter| panics::caught(|| writer.close());
        let mut to = self.writer.next_row_group()?;
        for chunk in all(writers, close) {
            chunk.map_err(|text| gave_up("Parquet", &text))??.append_to_row_group(&mut to)?;
        }
        to.close()?;
        Ok(())
    }

    /// Says which value it is that cannot be written.
    fn refusal(&self, column: &ArrayRef, field: &Field, why: &str) -> Failure {
        // Rows without, and rows with one that is refused.
        let (mut good, mut bad) = (0, column.len());
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match convert(&column.slice(0, middle), field.data_type(), None) {
                Ok(_) => good = middle,
                Err(_) => bad = middle,
            }
        }
        let at = column.slice(good, (column.len() - good).min(1));
        let why = convert(&at, field.data_type(), None).err().unwrap_or_else(|| why.to_owned());
        Failure::new(format!("column `{}`, row {}: {why}: export to .arrow", field.name(), self.rows + good as u64 + 1))
    }
}

fn schema_of(schema: &Schema, interval: &DataType) -> Result<SchemaRef> {
    let field = |field: &FieldRef| {
        held_field(field, interval).map_err(|why| {
            Failure::new(format!("Parquet cannot hold column `{}`: {why}: export to .arrow", field.name()))
        })
    };
    let fields = schema.fields().iter().map(field).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

fn held_field(field: &FieldRef, interval: &DataType) -> Result<FieldRef, Refusal> {
    let nullable = match field.data_type() {
        DataType::RunEndEncoded(_, values) => field.is_nullable() || values.is_nullable(),
        _ => field.is_nullable(),
    };
    let held = held(field.data_type(), interval)?;
    Ok(Arc::new(field.as_ref().clone().with_data_type(held).with_nullable(nullable)))
}

/// The type that values of this type are written as. Intervals become `interval`.
fn held(data_type: &DataType, interval: &DataType) -> Result<DataType, Refusal> {
    let item = |field: &FieldRef| held_field(field, interval);
    Ok(match data_type {
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Date32,
        DataType::Interval(_) => interval.clone(),
        DataType::FixedSizeBinary(0) => return Err("it has values of no bytes".to_owned()),
        DataType::Union(..) => return Err("it has a union".to_owned()),
        DataType::Struct(fields) if fields.is_empty() => return Err("it has a struct without fields".to_owned()),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            // As wide as what Parquet's own readers make of it, where the writer has no name for it.
            match (1..=i16::from(*precision)).contains(&i16::from(*scale)) || *scale == 0 {
                true if *precision > 1 => data_type.clone(),
                true => DataType::Decimal128(*precision, *scale),
                false => decimal(*precision, *scale)?,
            }
        }
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            match i16::from(*scale) < 0 || i16::from(*scale) > i16::from(*precision) {
                true => decimal(*precision, *scale)?,
                false => data_type.clone(),
            }
        }
        DataType::RunEndEncoded(_, values) => held(values.data_type(), interval)?,
        DataType::Dictionary(_, values) => match values.as_ref() {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => data_type.clone(),
            other => held(other, interval)?,
        },
        DataType::List(field) => DataType::List(item(field)?),
        DataType::LargeList(field) => DataType::LargeList(item(field)?),
        DataType::ListView(field) => DataType::ListView(item(field)?),
        DataType::LargeListView(field) => DataType::LargeListView(item(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field)?, *size),
        DataType::Map(field, sorted) => DataType::Map(item(field)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect::<Result<Fields, _>>()?),
        other => other.clone(),
    })
}

/// A decimal whose scale Parquet knows: not below zero, and not above the precision.
fn decimal(precision: u8, scale: i8) -> Result<DataType, Refusal> {
    let (digits, scale) = match scale {
        ..0 => (i16::from(precision) - i16::from(scale), 0),
        _ => (i16::from(precision).max(i16::from(scale)), scale),
    };
    match digits {
        ..=38 => Ok(DataType::Decimal128(digits as u8, scale)),
        39..=DIGITS => Ok(DataType::Decimal256(digits as u8, scale)),
        _ => Err(format!("its decimals would have {digits} digits, and {DIGITS} are the most")),
    }
}

/// Which of the values are seen: what is behind a null, or in no list, may be anything.
type Seen<'a> = Option<&'a BooleanBuffer>;

/// The values in another type, all of them equal, or why one of them cannot be.
fn convert(array: &ArrayRef, to: &DataType, seen: Seen<'_>) -> Result<ArrayRef, Refusal> {
    let text = |error: arrow_schema::ArrowError| crate::failure::arrow_text(&error);
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    Ok(match (array.data_type(), to) {
        (DataType::Timestamp(..), DataType::Timestamp(_, zone)) => {
            let made = numbers::<TimestampSecondType, TimestampMillisecondType>(array, seen, |seconds| {
                seconds.checked_mul(1000).ok_or_else(|| {
                    format!("{seconds} seconds since 1970-01-01 are too many for Parquet, which counts milliseconds")
                })
            })?;
            Arc::new(made.with_timezone_opt(zone.clone()))
        }
        (DataType::Time32(_), DataType::Time32(_)) => {
            Arc::new(numbers::<Time32SecondType, Time32MillisecondType>(array, seen, |seconds| {
                seconds.checked_mul(1000).ok_or_else(|| {
                    format!("{seconds} seconds since midnight are too many for Parquet, which counts milliseconds")
                })
            })?)
        }
        (DataType::Date64, DataType::Date32) => {
            Arc::new(numbers::<Date64Type, Date32Type>(array, seen, |millis| {
                match (millis % DAY, i32::try_from(millis / DAY)) {
                    (0, Ok(days)) => Ok(days),
                    (0, Err(_)) => Err(format!("{} days since 1970-01-01 are too many for Parquet", millis / DAY)),
                    _ => Err(format!(
                        "a date64 of {millis} milliseconds since 1970-01-01 is no whole day, and Parquet's dates are"
                    )),
                }
            })?)
        }
        (DataType::Interval(unit), DataType::FixedSizeBinary(12)) => intervals(array, *unit, seen)?,
        (DataType::Dictionary(_, values), _) => convert(&arrow_cast::cast(array, values).map_err(text)?, to, seen)?,
        (DataType::RunEndEncoded(_, values), _) => {
            convert(&arrow_cast::cast(array, values.data_type()).map_err(text)?, to, seen)?
        }
        (from, _) if from.is_decimal() => {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            arrow_cast::cast_with_options(array, to, &options).map_err(text)?
        }
        (DataType::List(_), DataType::List(field)) => list::<i32>(array, field, seen)?,
        (DataType::LargeList(_), DataType::LargeList(field)) => list::<i64>(array, field, seen)?,
        (DataType::ListView(_), DataType::ListView(field)) => list_view::<i32>(array, field, seen)?,
        (DataType::LargeListView(_), DataType::LargeListView(field)) => list_view::<i64>(array, field, seen)?,
        (DataType::FixedSizeList(..), DataType::FixedSizeList(field, size)) => {
            let lists = array.as_fixed_size_list();
            let width = usize::try_from(*size).unwrap_or(0);
            let below = below(lists.values().len(), array, seen, |row| (row * width, width));
            let values = convert(lists.values(), field.data_type(), Some(&below))?;
            let made = FixedSizeListArray::try_new(Arc::clone(field), *size, values, lists.nulls().cloned());
            Arc::new(made.map_err(text)?)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let structs = array.as_struct();
            let below = below(array.len(), array, seen, |row| (row, 1));
            let columns = structs.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| convert(column, field.data_type(), Some(&below)));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, structs.nulls().cloned()).map_err(text)?)
        }
        (DataType::Map(..), DataType::Map(field, sorted)) => {
            let maps = array.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let below = below(entries.len(), array, seen, |row| span(maps.offsets(), row));
            let entries = convert(&entries, field.data_type(), Some(&below))?.as_struct().clone();
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, nulls, *sorted).map_err(text)?)
        }
        (from, to) => return Err(format!("{from} cannot become {to}")),
    })
}

fn list<O: OffsetSizeTrait>(array: &ArrayRef, field: &FieldRef, seen: Seen<'_>) -> Result<ArrayRef, Refusal> {
    let lists = array.as_list::<O>();
    let below = below(lists.values().len(), array, seen, |row| span(lists.offsets(), row));
    let values = convert(lists.values(), field.data_type(), Some(&below))?;
    let made = GenericListArray::try_new(Arc::clone(field), lists.offsets().clone(), values, lists.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

fn list_view<O: OffsetSizeTrait>(array: &ArrayRef, field: &FieldRef, seen: Seen<'_>) -> Result<ArrayRef, Refusal> {
    let lists = array.as_list_view::<O>();
    let (offsets, sizes) = (lists.offsets(), lists.sizes());
    let below = below(lists.values().len(), array, seen, |row| (offsets[row].as_usize(), sizes[row].as_usize()));
    let values = convert(lists.values(), field.data_type(), Some(&below))?;
    let made = GenericListViewArray::try_new(
        Arc::clone(field),
        offsets.clone(),
        sizes.clone(),
        values,
        lists.nulls().cloned(),
    );
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

/// Where the values of a row begin, and how many they are.
fn span<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> (usize, usize) {
    let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
    (start, end - start)
}

/// Whether a value of the array is seen.
fn is_seen(nulls: Option<&NullBuffer>, seen: Seen<'_>, index: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(index)) && seen.is_none_or(|seen| seen.value(index))
}

/// Which of `len` values below those of the array are seen, by where those of each row are.
fn below(len: usize, array: &ArrayRef, seen: Seen<'_>, span: impl Fn(usize) -> (usize, usize)) -> BooleanBuffer {
    let mut below = vec![false; len];
    for row in (0..array.len()).filter(|row| is_seen(array.nulls(), seen, *row)) {
        let (start, count) = span(row);
        below[start..start + count].fill(true);
    }
    below.into()
}

fn numbers<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    array: &ArrayRef,
    seen: Seen<'_>,
    number: impl Fn(A::Native) -> Result<B::Native, Refusal>,
) -> Result<PrimitiveArray<B>, Refusal> {
    let from = array.as_primitive::<A>();
    let values = from.values().iter().enumerate().map(|(i, value)| match is_seen(from.nulls(), seen, i) {
        true => number(*value),
        false => Ok(B::default_value()),
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(PrimitiveArray::new(values.into(), from.nulls().cloned()))
}

/// Intervals as Parquet has them: months, days and milliseconds, none of them below zero.
fn intervals(array: &ArrayRef, unit: IntervalUnit, seen: Seen<'_>) -> Result<ArrayRef, Refusal> {
    let mut bytes = Vec::with_capacity(array.len() * 12);
    for i in 0..array.len() {
        if !is_seen(array.nulls(), seen, i) {
            bytes.extend([0; 12]);
            continue;
        }
        let (months, days, nanos) = match unit {
            IntervalUnit::YearMonth => (array.as_primitive::<IntervalYearMonthType>().value(i), 0, 0),
            IntervalUnit::DayTime => {
                let value = array.as_primitive::<IntervalDayTimeType>().value(i);
                (0, value.days, i64::from(value.milliseconds) * 1_000_000)
            }
            IntervalUnit::MonthDayNano => {
                let value = array.as_primitive::<IntervalMonthDayNanoType>().value(i);
                (value.months, value.days, value.nanoseconds)
            }
        };
        let millis = u32::try_from(nanos / 1_000_000).ok().filter(|_| nanos % 1_000_000 == 0);
        let (Ok(months_up), Ok(days_up), Some(millis)) = (u32::try_from(months), u32::try_from(days), millis) else {
            return Err(format!(
                "an interval of {months} months, {days} days and {nanos} nanoseconds is not in Parquet, which has \
                 months, days and whole milliseconds from 0 to {}",
                u32::MAX
            ));
        };
        bytes.extend([months_up, days_up, millis].into_iter().flat_map(u32::to_le_bytes));
    }
    let made = FixedSizeBinaryArray::try_new(12, bytes.into(), array.nulls().cloned());
    Ok(Arc::new(made.map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
    use arrow_schema::{DataType, Field};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;

    use super::super::sink::Sink;
    use super::ParquetSink;

    fn batch(rows: usize, first: usize) -> RecordBatch {
        let numbers: ArrayRef =
            Arc::new(Int64Array::from_iter((first..first + rows).map(|i| (i % 7 != 0).then_some(i as i64))));
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter_values((first..first + rows).map(|i| format!("t{}", i % 100))));
        let mut lists = ListBuilder::new(StringBuilder::new());
        for i in first..first + rows {
            lists.append_value((0..i % 4).map(|j| (j != 2).then(|| format!("{i}-{j}"))));
        }
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let both: ArrayRef = Arc::new(StructArray::from(vec![
            (field("n", &numbers), Arc::clone(&numbers)),
            (field("t", &texts), Arc::clone(&texts)),
        ]));
        assert!(matches!(both.data_type(), DataType::Struct(_)));
        RecordBatch::try_from_iter([
            ("n", numbers),
            ("s", both),
            ("l", Arc::new(lists.finish()) as ArrayRef),
            ("t", texts),
        ])
        .unwrap()
    }

    /// Columns that are encoded on several threads make the file that one thread makes, byte for byte, wherever row groups end.
    #[test]
    fn the_file_is_the_one_that_arrows_writer_makes() {
        let batches: Vec<RecordBatch> =
            [(700, 0), (1, 700), (0, 701), (2000, 701), (300, 2701)].map(|(n, at)| batch(n, at)).into();
        let properties = || WriterProperties::builder().set_max_row_group_row_count(Some(500)).build();
        let schema = batches[0].schema();
        let writer = |to| ArrowWriter::try_new(to, Arc::clone(&schema), Some(properties())).unwrap();
        let mut expected = Vec::new();
        let mut plain = writer(&mut expected);
        batches.iter().for_each(|batch| plain.write(batch).unwrap());
        plain.close().unwrap();
        let mut made = Vec::new();
        let (file, groups): (SerializedFileWriter<&mut Vec<u8>>, _) =
            writer(&mut made).into_serialized_writer().unwrap();
        let mut sink = Box::new(ParquetSink {
            writer: file,
            groups,
            schema: Arc::clone(&schema),
            group: None,
            most: 500,
            rows: 0,
        });
        batches.iter().for_each(|batch| sink.write(batch).unwrap());
        sink.finish().unwrap();
        assert!(made == expected, "{} and {} bytes", made.len(), expected.len());
    }
}
