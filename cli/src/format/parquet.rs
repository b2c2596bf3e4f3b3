//! Parquet files.
//!
//! arrow's reader decodes so many rows at once as it is told, and nothing in a file tells how many bytes those
//! become: a page of 260 KB may hold 800,000 cells of 4 KB each. So it is told few at first, and more when it is known
//! how heavy they are ([`Steps`]). What its defaults would change is read otherwise:
//!
//! | in the file | read as |
//! |---|---|
//! | INTERVAL: months, days, milliseconds | the three of them (`MonthDayNano`), not days and milliseconds alone |
//! | INT96: days and nanoseconds | nanoseconds if all values fit, else the next unit that holds all of them exactly |
//! | times in a zone, in another unit than the writer's Arrow type has | in that zone, not UTC |
//! | values that the writer had in a dictionary which arrow's reader cannot fill | the values without one |

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use arrow_array::builder::{IntervalMonthDayNanoBuilder, IntervalYearMonthBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNano;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_schema::{ArrowError, DataType, FieldRef, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::arrow::{ARROW_SCHEMA_META_KEY, ProjectionMask};
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::column::reader::ColumnReader;
use parquet::data_type::Int96;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::tables::{BATCH_BYTES, BATCH_ROWS, guarded};
use super::thrift;
use crate::failure::{Failure, Result};
use crate::several::all;
use crate::{panics, signal};

/// Levels of a schema at most. A list is three of them, so that this is more than a column of Arrow may nest.
const LEVELS: usize = 3 * faretra::MAX_DEPTH;

/// Rows that are decoded first, where nothing tells how many bytes they become.
const PROBE: usize = 1024;

/// Julian day of 1970-01-01.
const EPOCH: i128 = 2_440_588;

/// A file, opened.
pub struct Parquet {
    /// What its batches have.
    pub schema: SchemaRef,
    /// How many rows there are.
    pub rows: u64,
    /// The batches.
    pub steps: Steps,
}

/// Opens a file. The batches have `batch_rows` rows at most.
pub fn open(mut file: File, batch_rows: Option<u64>) -> Result<Parquet> {
    check_depth(&mut file)?;
    let options = ArrowReaderOptions::new();
    let mut metadata = guarded(|| Ok(ArrowReaderMetadata::load(&file, options.clone())?))?;
    let told = Arc::clone(metadata.schema());
    let leaves = metadata.parquet_schema();
    let intervals: Vec<bool> = leaves.columns().iter().map(|leaf| is_interval(leaf.self_type())).collect();
    let old_times: Vec<bool> = leaves.columns().iter().map(|leaf| leaf.physical_type() == Physical::INT96).collect();
    if intervals.contains(&true) {
        let root = without_intervals(leaves.root_schema())?;
        let options = options.with_parquet_schema(Arc::new(SchemaDescriptor::new(root)));
        metadata = guarded(|| Ok(ArrowReaderMetadata::load(&file, options)?))?;
    }
    let mut wanted = as_written(&metadata);
    if old_times.contains(&true) {
        let units = units(&file, &told, metadata.parquet_schema(), &old_times)?;
        wanted.iter_mut().zip(units).for_each(|(wanted, unit)| *wanted = unit.or_else(|| wanted.take()));
    }
    if wanted.iter().any(Option::is_some) {
        let schema = map_leaves(metadata.schema(), &mut |leaf, _| wanted.get(leaf).cloned().flatten());
        let options = ArrowReaderOptions::new().with_schema(schema);
        metadata = guarded(|| Ok(ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)?))?;
    }
    let mut hints = Vec::new();
    map_leaves(&told, &mut |_, hint| {
        hints.push(hint.clone());
        None
    });
    let schema = map_leaves(metadata.schema(), &mut |leaf, _| {
        intervals.get(leaf).filter(|is| **is)?;
        Some(match hints.get(leaf) {
            Some(hint @ DataType::Interval(IntervalUnit::YearMonth)) => hint.clone(),
            _ => DataType::Interval(IntervalUnit::MonthDayNano),
        })
    });
    let steps = Steps::new(file, metadata, Arc::clone(&schema), batch_rows);
    Ok(Parquet { schema, rows: steps.rows, steps })
}

/// For each leaf, the type to read it as where arrow's reader cannot follow what the writer's Arrow schema says, or does
/// not.
fn as_written(metadata: &ArrowReaderMetadata) -> Vec<Option<DataType>> {
    let types = |schema: &Schema| {
        let mut types = Vec::new();
        map_leaves(schema, &mut |_, kind| {
            types.push(kind.clone());
            None
        });
        types
    };
    let read = types(metadata.schema());
    let leaves = metadata.parquet_schema();
    if read.len() != leaves.num_columns() {
        return vec![None; leaves.num_columns()];
    }
    let written = writers_schema(metadata).map(|schema| types(&schema)).filter(|types| types.len() == read.len());
    let written = written.unwrap_or_else(|| read.clone());
    let wanted = |((read, written), physical): ((&DataType, &DataType), Physical)| {
        let written = match written {
            DataType::Dictionary(_, values) => values,
            other => other,
        };
        match (read, written) {
            (DataType::Timestamp(unit, Some(zone)), DataType::Timestamp(_, Some(own))) if zone != own => {
                Some(DataType::Timestamp(*unit, Some(Arc::clone(own))))
            }
            (DataType::Dictionary(_, values), _) if !fills(physical, values) => Some(values.as_ref().clone()),
            _ => None,
        }
    };
    let physical = leaves.columns().iter().map(|leaf| leaf.physical_type());
    read.iter().zip(&written).zip(physical).map(wanted).collect()
}

/// Whether arrow's reader makes dictionaries of such values.
fn fills(physical: Physical, values: &DataType) -> bool {
    let text = matches!(values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary);
    match physical {
        Physical::BYTE_ARRAY => text,
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(values, DataType::FixedSizeBinary(_)),
        _ => true,
    }
}

/// The Arrow schema that the writer had, if the file tells it.
fn writers_schema(metadata: &ArrowReaderMetadata) -> Option<Schema> {
    let pairs = metadata.metadata().file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == ARROW_SCHEMA_META_KEY)?.value.as_ref()?;
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    // A message of a stream: behind a mark and its length.
    let bytes = match bytes.as_slice() {
        [0xff, 0xff, 0xff, 0xff, _, _, _, _, message @ ..] => message,
        message => message,
    };
    let schema = arrow_ipc::root_as_message(bytes).ok()?.header_as_schema()?;
    panics::caught(|| arrow_ipc::convert::fb_to_schema(schema)).ok()
}

/// Refuses a schema that nests deeper than readers can follow, before one tries.
fn check_depth(file: &mut File) -> Result<()> {
    let length = file.metadata()?.len();
    let mut tail = [0; 8];
    let damaged = || Failure::new("the file is cut or damaged: its footer cannot be read");
    file.seek(SeekFrom::Start(length.checked_sub(8).ok_or_else(damaged)?))?;
    file.read_exact(&mut tail)?;
    file.seek(SeekFrom::Start(0))?;
    let Some((size, b"PAR1")) = tail.split_first_chunk::<4>() else {
        // The reader has the words for it: encrypted, or cut.
        return Ok(());
    };
    let size = u64::from(u32::from_le_bytes(*size));
    let Some(begin) = (length - 8).checked_sub(size) else {
        return Ok(());
    };
    let mut footer = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.by_ref().take(size).read_to_end(&mut footer)?;
    file.seek(SeekFrom::Start(0))?;
    match thrift::depth(&footer).ok_or_else(damaged)? {
        depth if depth > LEVELS => Err(Failure::new(format!(
            "its schema nests {depth} levels deep, more than the {LEVELS} that are read: flatten its columns first"
        ))),
        _ => Ok(()),
    }
}

fn is_interval(leaf: &Type) -> bool {
    leaf.get_basic_info().converted_type() == ConvertedType::INTERVAL
        && leaf.get_basic_info().logical_type_ref().is_none()
}

/// The schema with the bytes of intervals in place of them: arrow's reader drops the months otherwise.
fn without_intervals(node: &Type) -> Result<TypePtr> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let built = match node {
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| without_intervals(field)).collect::<Result<Vec<_>>>()?;
            let group = Type::group_type_builder(node.name())
                .with_fields(fields)
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_id(id);
            match info.has_repetition() {
                true => group.with_repetition(info.repetition()).build()?,
                false => group.build()?,
            }
        }
        Type::PrimitiveType { physical_type, type_length, .. } if is_interval(node) => {
            Type::primitive_type_builder(node.name(), *physical_type)
                .with_repetition(info.repetition())
                .with_length(*type_length)
                .with_id(id)
                .build()?
        }
        leaf => leaf.clone(),
    };
    Ok(Arc::new(built))
}

/// The schema with some of the types at its leaves changed. Leaves are counted as Parquet counts its columns.
fn map_leaves(schema: &Schema, change: &mut dyn FnMut(usize, &DataType) -> Option<DataType>) -> SchemaRef {
    fn inner(
        field: &FieldRef,
        next: &mut usize,
        change: &mut dyn FnMut(usize, &DataType) -> Option<DataType>,
    ) -> FieldRef {
        let mut one = |field: &FieldRef, next: &mut usize| inner(field, next, change);
        let kind = match field.data_type() {
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| one(field, next)).collect()),
            DataType::List(item) => DataType::List(one(item, next)),
            DataType::LargeList(item) => DataType::LargeList(one(item, next)),
            DataType::ListView(item) => DataType::ListView(one(item, next)),
            DataType::LargeListView(item) => DataType::LargeListView(one(item, next)),
            DataType::FixedSizeList(item, size) => DataType::FixedSizeList(one(item, next), *size),
            DataType::Map(entries, sorted) => DataType::Map(one(entries, next), *sorted),
            leaf => {
                let changed = change(*next, leaf);
                *next += 1;
                match changed {
                    Some(changed) => changed,
                    None => return Arc::clone(field),
                }
            }
        };
        Arc::new(field.as_ref().clone().with_data_type(kind))
    }
    let mut next = 0;
    let fields: Fields = schema.fields().iter().map(|field| inner(field, &mut next, change)).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// What the values of an INT96 column need.
#[derive(Clone, Copy)]
struct Span {
    first: i128,
    last: i128,
    /// The coarsest unit that holds all of them, in nanoseconds.
    exact: i128,
}

impl Span {
    fn add(&mut self, value: &Int96) {
        let [low, high, day] = *value.data() else { return };
        let within = i64::from(low) | i64::from(high) << 32;
        let nanos = (i128::from(day.cast_signed()) - EPOCH) * 86_400_000_000_000 + i128::from(within);
        (self.first, self.last) = (self.first.min(nanos), self.last.max(nanos));
        while nanos % self.exact != 0 {
            self.exact /= 1000;
        }
    }

    fn fits(&self, unit: TimeUnit) -> bool {
        let nanos = nanos(unit);
        let fits = |value: i128| i64::try_from(value / nanos).is_ok();
        nanos <= self.exact && fits(self.first) && fits(self.last)
    }
}

fn nanos(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// For each leaf that is INT96, a type that holds all its values: the one that the writer had, nanoseconds, or
/// whatever else does.
fn units(file: &File, told: &Schema, leaves: &SchemaDescriptor, which: &[bool]) -> Result<Vec<Option<DataType>>> {
    let mut hints = Vec::new();
    map_leaves(told, &mut |_, hint| {
        hints.push(hint.clone());
        None
    });
    let mut spans = vec![Span { first: 0, last: 0, exact: nanos(TimeUnit::Second) }; which.len()];
    let reader = guarded(|| Ok(SerializedFileReader::new(file.try_clone()?)?))?;
    for group in 0..reader.num_row_groups() {
        let group = guarded(|| Ok(reader.get_row_group(group)?))?;
        for (leaf, span) in spans.iter_mut().enumerate().filter(|(leaf, _)| which[*leaf]) {
            let ColumnReader::Int96ColumnReader(mut column) = guarded(|| Ok(group.get_column_reader(leaf)?))? else {
                continue;
            };
            let (mut levels, mut repeats, mut values) = (Vec::new(), Vec::new(), Vec::new());
            loop {
                signal::check()?;
                levels.clear();
                repeats.clear();
                values.clear();
                let (records, _, read) = guarded(|| {
                    Ok(column.read_records(64 * 1024, Some(&mut levels), Some(&mut repeats), &mut values)?)
                })?;
                values.iter().for_each(|value| span.add(value));
                if records == 0 && read == 0 {
                    break;
                }
            }
        }
    }
    let unit = |(leaf, span): (usize, &Span)| {
        if !which[leaf] {
            return Ok(None);
        }
        let (hint, zone) = match hints.get(leaf) {
            Some(DataType::Timestamp(unit, zone)) => (*unit, zone.clone()),
            _ => (TimeUnit::Nanosecond, None),
        };
        let units = [hint, TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond, TimeUnit::Second];
        match units.into_iter().find(|unit| span.fits(*unit)) {
            Some(unit) => Ok(Some(DataType::Timestamp(unit, zone))),
            None => Err(Failure::new(format!(
                "column `{}` has INT96 times that need nanoseconds and some that nanoseconds cannot reach (before 1678 \
                 or after 2262): write it again with microseconds",
                leaves.column(leaf).path()
            ))),
        }
    };
    spans.iter().enumerate().map(unit).collect()
}

/// A file that several readers read at their own places: not as clones of a descriptor, which have one place together.
struct Shared(Arc<File>);

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Shared {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<BufReader<From>> {
        Ok(BufReader::new(From { file: Arc::clone(&self.0), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let there = usize::try_from(self.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(length.min(there));
        let read = From { file: Arc::clone(&self.0), at: start }.take(length as u64).read_to_end(&mut bytes)?;
        if read < length {
            return Err(ParquetError::EOF(format!("Expected to read {length} bytes, read only {read}")));
        }
        Ok(bytes.into())
    }
}

/// A file from some place on.
struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The rows of a file, decoded so many at once as memory is for.
pub struct Steps {
    file: Arc<File>,
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
    groups: Vec<u64>,
    rows: u64,
    at: u64,
    /// Rows of a batch that were asked for.
    asked: Option<usize>,
    /// Rows that are decoded at once, and at most.
    step: usize,
    most: usize,
    /// What decodes, and how many rows at once.
    reader: Option<(Vec<ParquetRecordBatchReader>, usize)>,
}

impl Steps {
    fn new(file: File, metadata: ArrowReaderMetadata, schema: SchemaRef, asked: Option<u64>) -> Steps {
        let row_groups = metadata.metadata().row_groups();
        let groups: Vec<u64> = row_groups.iter().map(|group| count(group.num_rows())).collect();
        let rows = groups.iter().fold(0, |sum: u64, rows| sum.saturating_add(*rows));
        let heaviest = row_groups.iter().map(row_bytes).max().unwrap_or(1);
        let asked = asked.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX).max(1));
        let most = asked.unwrap_or(BATCH_ROWS as usize);
        let known = row_groups.iter().flat_map(RowGroupMetaData::columns).all(|column| {
            column.column_type() != Physical::BYTE_ARRAY || column.unencoded_byte_array_data_bytes().is_some()
        });
        let step = rows_of(heaviest, if known { most } else { most.min(PROBE) });
        Steps { file: Arc::new(file), metadata, schema, groups, rows, at: 0, asked, step, most, reader: None }
    }

    /// Readers from the next row on: one for each column, so that several threads decode.
    fn readers(&self, step: usize) -> Result<Vec<ParquetRecordBatchReader>, ArrowError> {
        let mut offset = self.at;
        let mut first = 0;
        while let Some(&rows) = self.groups.get(first)
            && offset >= rows
        {
            offset -= rows;
            first += 1;
        }
        let leaves = self.metadata.parquet_schema();
        let columns = leaves.root_schema().get_fields().len();
        let masks = match columns == self.metadata.schema().fields().len() && columns > 1 {
            true => (0..columns).map(|column| ProjectionMask::roots(leaves, [column])).collect(),
            false => vec![ProjectionMask::all()],
        };
        let reader = |mask| {
            let file = Shared(Arc::clone(&self.file));
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
            let reader = builder.with_row_groups((first..self.groups.len()).collect()).with_batch_size(step);
            let reader = match usize::try_from(offset) {
                Ok(0) | Err(_) => reader,
                Ok(offset) => reader.with_offset(offset),
            };
            Ok(reader.with_projection(mask).build()?)
        };
        guarded(|| masks.into_iter().map(reader).collect())
    }

    /// The next rows of all readers, side by side.
    fn decode(&self, readers: &mut [ParquetRecordBatchReader]) -> Result<Option<RecordBatch>, ArrowError> {
        if let [reader] = readers {
            return guarded(|| reader.next().transpose());
        }
        let columns = readers.iter_mut().collect();
        let columns = all(columns, |reader: &mut ParquetRecordBatchReader| guarded(|| reader.next().transpose()));
        // The error of the first column, as if they had been decoded one after the other.
        let columns = columns.into_iter().collect::<Result<Vec<Option<RecordBatch>>, _>>()?;
        let rows = columns.iter().map(|column| column.as_ref().map_or(0, RecordBatch::num_rows));
        let (most, least) = (rows.clone().max().unwrap_or(0), rows.min().unwrap_or(0));
        if most != least {
            let text = format!("the file is damaged: a column has {least} rows where another has {most}");
            return Err(ArrowError::ParquetError(text));
        }
        let Some(columns) = columns.into_iter().collect::<Option<Vec<RecordBatch>>>() else { return Ok(None) };
        let columns = columns.into_iter().map(|column| Arc::clone(column.column(0))).collect();
        RecordBatch::try_new(Arc::clone(self.metadata.schema()), columns).map(Some)
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while self.at < self.rows {
            let step = match self.asked {
                // So that batches begin where they should, and need not be put together.
                Some(asked) if self.step >= asked => asked - (self.at % asked as u64) as usize,
                _ => self.step,
            };
            let decoded = match self.reader.take().filter(|(_, rows)| *rows == step) {
                Some((readers, _)) => Ok(readers),
                None => self.readers(step),
            };
            let decoded = decoded.and_then(|mut readers| {
                let batch = self.decode(&mut readers)?;
                self.reader = Some((readers, step));
                Ok(batch)
            });
            match decoded {
                Ok(Some(batch)) if batch.num_rows() > 0 => {
                    self.at += batch.num_rows() as u64;
                    self.adapt(&batch, step);
                    return self.converted(batch).map(Some);
                }
                Ok(_) => {
                    let missing = self.rows - self.at;
                    return Err(ArrowError::ParquetError(format!("the file is damaged: {missing} rows are missing")));
                }
                // It may be that so many rows at once are more than the offsets of text can count.
                Err(error) => {
                    signal::check().map_err(|_| ArrowError::ExternalError("interrupted".into()))?;
                    if step == 1 {
                        return Err(error);
                    }
                    self.most = (step / 16).max(1);
                    self.step = self.most;
                }
            }
        }
        Ok(None)
    }

    /// Decodes more rows at once, or fewer, now that it is known how heavy they are.
    fn adapt(&mut self, batch: &RecordBatch, step: usize) {
        let bytes = batch.get_array_memory_size() as u64;
        let wanted = rows_of(bytes / batch.num_rows() as u64, self.most);
        let grow = wanted >= self.step.saturating_mul(2) && batch.num_rows() == step;
        if grow || bytes > 2 * BATCH_BYTES {
            self.step = wanted.min(self.step.saturating_mul(16));
        }
    }

    fn converted(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| converted(column, field.data_type()));
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect::<Result<_, _>>()?, &rows)
    }
}

impl Iterator for Steps {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if matches!(next, Some(Err(_))) {
            self.at = self.rows;
        }
        next
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Rows of so many bytes that make a batch.
fn rows_of(row_bytes: u64, most: usize) -> usize {
    usize::try_from(BATCH_BYTES / row_bytes.max(1)).unwrap_or(most).clamp(1, most.max(1))
}

/// Bytes that a row becomes at least, as far as the footer tells.
fn row_bytes(group: &RowGroupMetaData) -> u64 {
    let bytes = |column: &ColumnChunkMetaData| {
        let values = count(column.num_values());
        let width = match column.column_type() {
            Physical::BOOLEAN => 1,
            Physical::INT32 | Physical::FLOAT => 4,
            Physical::FIXED_LEN_BYTE_ARRAY => count(column.column_descr().type_length().into()),
            _ => 8,
        };
        let text = column.unencoded_byte_array_data_bytes().map_or_else(|| count(column.uncompressed_size()), count);
        let text = if column.column_type() == Physical::BYTE_ARRAY { text } else { 0 };
        values.saturating_mul(width).saturating_add(text)
    };
    let all = group.columns().iter().map(bytes).fold(0, u64::saturating_add);
    all / count(group.num_rows()).max(1)
}

/// The array with intervals where their bytes are, at any depth.
fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    if let (DataType::FixedSizeBinary(_), DataType::Interval(unit)) = (array.data_type(), to) {
        return intervals(array, *unit);
    }
    let children: Vec<&DataType> = match to {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        _ => return Ok(Arc::clone(array)),
    };
    let data = array.to_data();
    let children = data.child_data().iter().zip(children);
    let children = children.map(|(child, to)| Ok(converted(&make_array(child.clone()), to)?.to_data()));
    let children = children.collect::<Result<_, ArrowError>>()?;
    Ok(make_array(data.into_builder().data_type(to.clone()).child_data(children).build()?))
}

/// Parquet's intervals: months, days and milliseconds, 32 bits each.
fn intervals(array: &ArrayRef, unit: IntervalUnit) -> Result<ArrayRef, ArrowError> {
    let parts = |bytes: &[u8]| -> Result<(i32, i32, u32), ArrowError> {
        let (words, _) = bytes.as_chunks::<4>();
        let [months, days, millis] = words.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>()[..] else {
            return Err(ArrowError::ParquetError(format!("an interval has {} bytes, not 12", bytes.len())));
        };
        match (i32::try_from(months), i32::try_from(days)) {
            (Ok(months), Ok(days)) => Ok((months, days, millis)),
            _ => Err(ArrowError::ParquetError(format!(
                "an interval of {months} months and {days} days is more than Arrow's can be ({} of each)",
                i32::MAX
            ))),
        }
    };
    let bytes = array.as_fixed_size_binary();
    if unit == IntervalUnit::YearMonth {
        let mut out = IntervalYearMonthBuilder::with_capacity(bytes.len());
        for value in bytes {
            out.append_option(match value.map(parts).transpose()? {
                None => None,
                Some((months, 0, 0)) => Some(months),
                Some((_, days, millis)) => {
                    return Err(ArrowError::ParquetError(format!(
                        "its Arrow schema says that intervals are months, but one has {days} days and {millis} \
                         milliseconds: write it again without that schema"
                    )));
                }
            });
        }
        return Ok(Arc::new(out.finish()));
    }
    let mut out = IntervalMonthDayNanoBuilder::with_capacity(bytes.len());
    for value in bytes {
        let value = value.map(parts).transpose()?;
        out.append_option(
            value.map(|(months, days, millis)| IntervalMonthDayNano::new(months, days, i64::from(millis) * 1_000_000)),
        );
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::file::metadata::ParquetStatisticsPolicy;

    use super::{BATCH_BYTES, Steps, open};

    /// A file of `rows` rows, of which those from `heavy` on have 4 KB each, in a dictionary of eight.
    fn dictionary(rows: usize, heavy: usize) -> File {
        let long: Vec<String> = (0..8).map(|i| char::from(b'a' + i).to_string().repeat(4096)).collect();
        let mut writer: Option<ArrowWriter<File>> = None;
        let file = tempfile::tempfile().unwrap();
        for at in (0..rows).step_by(4096) {
            let text = |row: usize| if row < heavy { "x" } else { long[row % 8].as_str() };
            let column: ArrayRef = Arc::new((at..rows.min(at + 4096)).map(text).map(Some).collect::<StringArray>());
            let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
            let writer = writer
                .get_or_insert_with(|| ArrowWriter::try_new(file.try_clone().unwrap(), batch.schema(), None).unwrap());
            writer.write(&batch).unwrap();
        }
        writer.unwrap().close().unwrap();
        file
    }

    #[test]
    fn batches_are_measured_by_what_they_become() {
        // 640 MB of cells in a file of some kilobytes.
        let file = dictionary(160_000, 0);
        assert!(file.metadata().unwrap().len() < 1 << 20);
        let told = open(file.try_clone().unwrap(), None).unwrap().steps;
        // As most programs write files: without the bytes that text becomes.
        let options = ArrowReaderOptions::new().with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
        let metadata = ArrowReaderMetadata::load(&file, options).unwrap();
        let schema = Arc::clone(metadata.schema());
        let untold = Steps::new(file, metadata, schema, None);
        assert!(untold.step < told.step, "{} {}", untold.step, told.step);
        for steps in [told, untold] {
            let (mut rows, mut batches) = (0, 0);
            for batch in steps {
                let batch = batch.unwrap();
                assert!(batch.get_array_memory_size() as u64 <= 2 * BATCH_BYTES, "{}", batch.num_rows());
                rows += batch.num_rows();
                batches += 1;
            }
            assert_eq!(rows, 160_000);
            assert!(batches < 16, "{batches}");
        }
    }

    #[test]
    fn rows_that_become_heavier_are_read_all_the_same() {
        let file = dictionary(60_000, 30_000);
        let mut rows = 0;
        for batch in open(file, Some(7_000)).unwrap().steps {
            let batch = batch.unwrap();
            let text = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
            for (i, text) in text.iter().enumerate() {
                let row = rows + i;
                let expected = if row < 30_000 { 1 } else { 4096 };
                assert_eq!(text.unwrap().len(), expected, "{row}");
                assert!(row < 30_000 || text.unwrap().as_bytes()[0] == b'a' + (row % 8) as u8);
            }
            rows += batch.num_rows();
        }
        assert_eq!(rows, 60_000);
    }
}
