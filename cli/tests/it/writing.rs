//! What a format can say is said; what it cannot is converted without loss, or refused in words.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{
    Int8Builder, Int32Builder, ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray, DurationSecondArray,
    FixedSizeBinaryArray, Float16Array, Float32Array, Float64Array, Int8Array, Int32Array, IntervalDayTimeArray,
    IntervalMonthDayNanoArray, IntervalYearMonthArray, ListArray, NullArray, RecordBatch, RecordBatchOptions, RunArray,
    StringArray, StructArray, Time32SecondArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampSecondArray, UInt64Array, UnionArray,
};
use arrow_buffer::{IntervalDayTime, IntervalMonthDayNano, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::extension::{Json, Uuid};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit, UnionFields};
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{ConvertedType, LogicalType};
use parquet::column::reader::ColumnReader;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};

use crate::support::Lab;

/// Puts batches under the name `t`.
fn put(lab: &Lab, batches: &[RecordBatch]) {
    let file = File::create(lab.path("in.arrows")).unwrap();
    let mut writer = StreamWriter::try_new(file, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    lab.ok(["put", "a", "t", &lab.file("in.arrows")]);
}

fn one(column: impl Array + 'static) -> RecordBatch {
    of(vec![("x", Arc::new(column))])
}

fn of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Schema::new(fields.collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

fn list_of(values: ArrayRef, lengths: &[usize]) -> ListArray {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    ListArray::new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, None)
}

fn struct_of(values: ArrayRef, nulls: Option<NullBuffer>) -> StructArray {
    let fields = Fields::from(vec![Field::new("i", values.data_type().clone(), true)]);
    StructArray::new(fields, vec![values], nulls)
}

fn union() -> UnionArray {
    let fields: UnionFields = [(0, Arc::new(Field::new("number", DataType::Int32, true)))].into_iter().collect();
    let values: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    UnionArray::try_new(fields, ScalarBuffer::from(vec![0i8, 0]), None, vec![values]).unwrap()
}

fn no_bytes() -> FixedSizeBinaryArray {
    FixedSizeBinaryArray::try_new_with_len(0, Vec::<u8>::new().into(), None, 2).unwrap()
}

fn no_columns() -> RecordBatch {
    let rows = RecordBatchOptions::new().with_row_count(Some(3));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &rows).unwrap()
}

/// Exports `t` as Parquet and reads it with what the file itself says, without Arrow's hints.
fn parquet(lab: &Lab) -> RecordBatch {
    lab.ok(["export", "a", "t", &lab.file("out.parquet"), "--force"]);
    let options = parquet::arrow::arrow_reader::ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let file = File::open(lab.path("out.parquet")).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).unwrap();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn logical_types(lab: &Lab) -> Vec<Option<LogicalType>> {
    let file = SerializedFileReader::new(File::open(lab.path("out.parquet")).unwrap()).unwrap();
    let columns = file.metadata().file_metadata().schema_descr().columns();
    columns.iter().map(|column| column.logical_type_ref().cloned()).collect()
}

/// Readers that know Parquet and not Arrow see timestamps, dates and times, at any depth.
#[test]
fn seconds_and_date64_are_timestamps_times_and_dates_in_parquet() {
    let lab = Lab::with_arena();
    let seconds = || TimestampSecondArray::from(vec![Some(1_700_000_000), None, Some(-1)]);
    let dictionary = DictionaryArray::<Int8Type>::new(
        Int8Array::from(vec![Some(1), None, Some(0)]),
        Arc::new(TimestampSecondArray::from(vec![-1, 1_700_000_000])),
    );
    let whole = of(vec![
        ("s", Arc::new(seconds())),
        ("zone", Arc::new(seconds().with_timezone("Europe/Paris"))),
        ("time", Arc::new(Time32SecondArray::from(vec![Some(0), None, Some(86_399)]))),
        ("date", Arc::new(Date64Array::from(vec![Some(0), None, Some(-86_400_000)]))),
        ("list", Arc::new(list_of(Arc::new(seconds()), &[1, 0, 2]))),
        ("struct", Arc::new(struct_of(Arc::new(seconds()), None))),
        ("dictionary", Arc::new(dictionary)),
    ]);
    put(&lab, &[whole.slice(0, 1), whole.slice(1, 2)]);
    let found = parquet(&lab);
    let types = logical_types(&lab);
    let expected = ["Timestamp", "Timestamp", "Time", "Date", "Timestamp", "Timestamp", "Timestamp"].map(str::to_owned);
    let names = types.iter().map(|t| format!("{:?}", t.as_ref().unwrap()));
    for (name, expected) in names.zip(&expected) {
        assert!(name.starts_with(expected.as_str()), "{name} {expected}");
    }
    let millis = |column: &ArrayRef| {
        let millis = arrow_cast::cast(column, &DataType::Timestamp(TimeUnit::Millisecond, None)).unwrap();
        let millis = arrow_cast::cast(&millis, &DataType::Int64).unwrap();
        millis.as_primitive::<arrow_array::types::Int64Type>().iter().collect::<Vec<_>>()
    };
    let expected = [Some(1_700_000_000_000), None, Some(-1000)];
    assert_eq!(millis(found.column(0)), expected);
    assert_eq!(millis(found.column(1)), expected);
    assert_eq!(found.schema().field(1).data_type(), &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    let times = arrow_cast::cast(found.column(2), &DataType::Time32(TimeUnit::Second)).unwrap();
    assert_eq!(times.as_ref(), whole.column(2).as_ref());
    assert_eq!(found.column(3).as_ref(), &Date32Array::from(vec![Some(0), None, Some(-1)]) as &dyn Array);
    assert_eq!(millis(found.column(4).as_list::<i32>().values()), expected);
    assert_eq!(millis(found.column(5).as_struct().column(0)), expected);
    assert_eq!(millis(found.column(6)), expected);
}

/// A value that Parquet cannot say is named with its row, and no file is written.
#[test]
fn what_parquet_cannot_hold_is_refused_with_its_place() {
    let lab = Lab::with_arena();
    let interval = |months, days, nanos| IntervalMonthDayNano::new(months, days, nanos);
    let intervals = |last| one(IntervalMonthDayNanoArray::from(vec![interval(1, 2, 3_000_000), last]));
    let days = |day: i64| one(Date64Array::from(vec![0, day]));
    let decimal = |digits, scale| {
        let values = arrow_array::Decimal256Array::from(vec![arrow_buffer::i256::ONE]);
        one(values.with_precision_and_scale(digits, scale).unwrap())
    };
    let list = list_of(Arc::new(TimestampSecondArray::from(vec![1, 2, i64::MAX])), &[2, 1]);
    for (batch, row, why) in [
        (one(TimestampSecondArray::from(vec![0, i64::MAX])), 2, "9223372036854775807 seconds"),
        (one(TimestampSecondArray::from(vec![i64::MIN, 0])), 1, "-9223372036854775808 seconds"),
        (one(Time32SecondArray::from(vec![0, i32::MAX])), 2, "2147483647 seconds"),
        (one(list), 2, "9223372036854775807 seconds"),
        (days(43_200_000), 2, "43200000 milliseconds"),
        (days(i64::MAX / 86_400_000 * 86_400_000), 2, "too many"),
        (intervals(interval(0, 0, 1)), 2, "1 nanoseconds"),
        (intervals(interval(-1, 0, 0)), 2, "-1 months"),
        (intervals(interval(0, -1, 0)), 2, "-1 days"),
        (intervals(interval(0, 0, i64::MAX / 1_000_000 * 1_000_000)), 2, "nanoseconds"),
        (one(IntervalYearMonthArray::from(vec![5, -5])), 2, "-5 months"),
        (one(IntervalDayTimeArray::from(vec![IntervalDayTime::new(0, -1)])), 1, "-1000000 nanoseconds"),
        (one(union()), 0, "union"),
        (one(list_of(Arc::new(union()), &[1, 1])), 0, "union"),
        (one(no_bytes()), 0, "no bytes"),
        (one(StructArray::new_empty_fields(2, None)), 0, "without fields"),
        (decimal(70, -20), 0, "90 digits"),
        (no_columns(), 0, "without columns"),
    ] {
        // Rows count from the first of the table, not of the batch.
        let (batches, row) = match row {
            0 => (vec![batch.clone()], 0),
            _ => (vec![batch.slice(0, 0), batch.slice(0, 1), batch.slice(1, batch.num_rows() - 1)], row),
        };
        put(&lab, &batches);
        let outcome = lab.run(["export", "a", "t", &lab.file("out.parquet")]);
        assert_eq!(outcome.status.code(), Some(1), "{why}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{why}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{why}: {outcome:?}");
        assert!(row == 0 || outcome.stderr.contains(&format!("column `x`, row {row}:")), "{row}: {outcome:?}");
        assert_eq!(lab.files(), ["faretra.a", "in.arrows"], "{why}");
    }
}

/// What no reader can see may be anything: it stands behind a null, or in no list.
#[test]
fn values_that_are_not_there_are_not_refused() {
    let lab = Lab::with_arena();
    let values = || -> ArrayRef { Arc::new(TimestampSecondArray::from(vec![i64::MAX, 7, i64::MAX])) };
    let hidden = NullBuffer::from(vec![false, true, false]);
    let whole = of(vec![
        ("null", Arc::new(TimestampSecondArray::new(vec![i64::MAX, 7, i64::MAX].into(), Some(hidden.clone())))),
        ("struct", Arc::new(struct_of(values(), Some(hidden)))),
        ("list", {
            let field = Arc::new(Field::new_list_field(DataType::Timestamp(TimeUnit::Second, None), true));
            let offsets = OffsetBuffer::new(vec![1, 1, 2, 2].into());
            Arc::new(ListArray::new(field, offsets, values(), None))
        }),
    ]);
    put(&lab, &[whole]);
    let found = parquet(&lab);
    let expected = arrow_array::TimestampMillisecondArray::from(vec![None, Some(7000), None]);
    assert_eq!(found.column(0).as_ref(), &expected as &dyn Array);
    assert_eq!(found.column(1).as_struct().slice(1, 1).column(0).as_ref(), &expected.slice(1, 1) as &dyn Array);
    assert_eq!(found.column(2).as_list::<i32>().value(1).as_ref(), &expected.slice(1, 1) as &dyn Array);
}

/// Parquet's own intervals have all their three parts.
#[test]
fn intervals_are_written_to_parquet_with_all_their_parts() {
    let lab = Lab::with_arena();
    let whole = of(vec![
        ("all", Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3_000_000)]))),
        ("months", Arc::new(IntervalYearMonthArray::from(vec![14]))),
        ("days", Arc::new(IntervalDayTimeArray::from(vec![IntervalDayTime::new(5, i32::MAX)]))),
    ]);
    put(&lab, &[whole]);
    lab.ok(["export", "a", "t", &lab.file("out.parquet")]);
    let file = SerializedFileReader::new(File::open(lab.path("out.parquet")).unwrap()).unwrap();
    let group = file.get_row_group(0).unwrap();
    for (i, expected) in [[1, 2, 3], [14, 0, 0], [0, 5, i32::MAX as u32]].into_iter().enumerate() {
        assert_eq!(group.metadata().column(i).column_descr().converted_type(), ConvertedType::INTERVAL);
        let ColumnReader::FixedLenByteArrayColumnReader(mut reader) = group.get_column_reader(i).unwrap() else {
            panic!("column {i} has another type");
        };
        let (mut levels, mut values) = (vec![], vec![]);
        reader.read_records(1, Some(&mut levels), None, &mut values).unwrap();
        let expected: Vec<u8> = expected.into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(values[0].data(), expected, "column {i}");
    }
}

/// Types that Parquet has no name for come back with the same values.
#[test]
fn every_other_type_is_held_by_parquet_without_loss() {
    let lab = Lab::with_arena();
    let bytes = |value: u8| FixedSizeBinaryArray::try_from_iter([[value; 16], [value + 1; 16]].into_iter()).unwrap();
    let runs = RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), &StringArray::from(vec![Some("a"), None]));
    let bools: ArrayRef = Arc::new(arrow_array::BooleanArray::from(vec![false, true]));
    let decimals = Decimal128Array::from(vec![5, -3]).with_precision_and_scale(5, -2).unwrap();
    let narrow = arrow_array::Decimal32Array::from(vec![5, -3]).with_precision_and_scale(1, 0).unwrap();
    let batch = of(vec![
        ("duration", Arc::new(DurationSecondArray::from(vec![1, -1]))),
        ("half", Arc::new(Float16Array::from(vec![f16::ONE, f16::NAN]))),
        ("runs", Arc::new(runs.unwrap())),
        ("bools", Arc::new(DictionaryArray::<Int8Type>::new(Int8Array::from(vec![1, 0]), bools))),
        ("scaled", Arc::new(decimals)),
        ("narrow", Arc::new(narrow)),
        ("fixed", Arc::new(bytes(1))),
        ("null", Arc::new(NullArray::new(2))),
    ]);
    let uuid = Field::new("uuid", DataType::FixedSizeBinary(16), true)
        .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(uuid.clone());
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(bytes(7)));
    put(&lab, &[RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()]);
    parquet(&lab);
    assert_eq!(logical_types(&lab)[8], Some(LogicalType::Uuid));
    // And back again, by the hints that are in the file.
    lab.ok(["put", "a", "again", &lab.file("out.parquet")]);
    lab.ok(["export", "a", "again", &lab.file("out.arrow")]);
    let found = FileReader::try_new(File::open(lab.path("out.arrow")).unwrap(), None).unwrap().next().unwrap().unwrap();
    assert_eq!(found.schema().field(8), &uuid);
    for name in ["duration", "half", "fixed", "null"] {
        assert_eq!(found.column_by_name(name), batch.column_by_name(name), "{name}");
    }
    let column = |name| found.column_by_name(name).unwrap().as_ref();
    assert_eq!(column("runs"), &StringArray::from(vec![Some("a"), None]) as &dyn Array);
    assert_eq!(column("bools"), &arrow_array::BooleanArray::from(vec![true, false]) as &dyn Array);
    let hundreds = Decimal128Array::from(vec![500, -300]).with_precision_and_scale(7, 0).unwrap();
    assert_eq!(column("scaled"), &hundreds as &dyn Array);
    assert_eq!(
        arrow_cast::cast(column("narrow"), &DataType::Int64).unwrap().as_ref(),
        &arrow_array::Int64Array::from(vec![5, -3]) as &dyn Array
    );
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A named zone is that of the user: its wall clock, and the offset that makes it one instant.
#[test]
fn times_are_printed_in_their_zone() {
    let lab = Lab::with_arena();
    let winter = 1_700_000_000_000_000;
    for (zone, expected) in [
        ("UTC", "2023-11-14T22:13:20Z"),
        ("Europe/Paris", "2023-11-14T23:13:20+01:00"),
        ("America/New_York", "2023-11-14T17:13:20-05:00"),
        ("+05:30", "2023-11-15T03:43:20+05:30"),
        // Nobody knows it: the instant is right, and what was done is said once.
        ("Mars/Olympus", "2023-11-14T22:13:20Z"),
    ] {
        let column = || TimestampMicrosecondArray::from(vec![winter, winter]).with_timezone(zone);
        let dictionary = DictionaryArray::<Int8Type>::new(Int8Array::from(vec![0, 1]), Arc::new(column()));
        put(&lab, &[of(vec![("x", Arc::new(column())), ("y", Arc::new(dictionary))])]);
        let csv = lab.run(["cat", "a", "t", "--format", "csv"]);
        assert_eq!(csv.stdout, format!("x,y\n{expected},{expected}\n{expected},{expected}\n"), "{csv:?}");
        let told = csv.stderr.lines().filter(|line| line.contains(zone)).count();
        assert_eq!(told, usize::from(zone.starts_with("Mars")), "{csv:?}");
        lab.ok(["export", "a", "t", &lab.file("out.csv"), "--force"]);
        assert_eq!(std::fs::read_to_string(lab.path("out.csv")).unwrap(), csv.stdout);
        let json = lines(&lab.ok(["cat", "a", "t", "--format", "jsonl"]));
        assert_eq!(json[1], json!({"x": expected, "y": expected}));
        assert!(lab.ok(["cat", "a", "t"]).contains(expected));
        // In a list, too.
        put(&lab, &[one(list_of(Arc::new(column()), &[2]))]);
        assert_eq!(lines(&lab.ok(["cat", "a", "t", "--format", "jsonl"]))[0], json!({"x": [expected, expected]}));
        assert!(lab.ok(["cat", "a", "t"]).contains(expected));
    }
    // The offset of a local mean time has seconds, which the text could not say.
    put(&lab, &[one(TimestampSecondArray::from(vec![-3_000_000_000]).with_timezone("Europe/Paris"))]);
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), "x\n1874-12-07T18:40:00Z\n");
}

/// An error text is never a value: what the calendar cannot say is its number, and that is told.
#[test]
fn what_cannot_be_printed_is_a_number() {
    let lab = Lab::with_arena();
    let columns: Vec<(i64, &str, ArrayRef)> = vec![
        (i64::MAX, "microseconds", Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX, 0]))),
        (i64::MIN, "microseconds", Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN, 0]).with_timezone("UTC"))),
        // The last instants have no wall clock east of Greenwich.
        (
            8_210_266_876_799,
            "seconds",
            Arc::new(TimestampSecondArray::from(vec![8_210_266_876_799, 0]).with_timezone("Asia/Tokyo")),
        ),
        (i32::MAX.into(), "days", Arc::new(Date32Array::from(vec![i32::MAX, 0]))),
        (i64::MAX, "milliseconds", Arc::new(Date64Array::from(vec![i64::MAX, 0]))),
        (90_000, "seconds", Arc::new(Time32SecondArray::from(vec![90_000, 0]))),
        (-1, "microseconds", Arc::new(Time64MicrosecondArray::from(vec![-1, 0]))),
        (i64::MAX, "seconds", Arc::new(DurationSecondArray::from(vec![i64::MAX, 0]))),
    ];
    for (number, unit, column) in columns {
        let what = column.data_type().to_string();
        put(&lab, &[of(vec![("x", Arc::clone(&column)), ("l", Arc::new(list_of(Arc::clone(&column), &[1, 1])))])]);
        let json = lab.run(["cat", "a", "t", "--format", "jsonl"]);
        let rows = lines(&json.stdout);
        assert_eq!(rows[0], json!({"x": number, "l": [number]}), "{what}");
        assert!(rows[1]["x"].is_string() && rows[1]["l"][0].is_string(), "{what}: {rows:?}");
        assert!(json.stderr.contains(unit) && json.stderr.lines().count() == 1, "{what}: {json:?}");
        let table = lab.ok(["cat", "a", "t"]);
        assert_eq!(table.matches(&number.to_string()).count(), 2, "{what}: {table}");
        put(&lab, &[one(column)]);
        let csv = lab.ok(["cat", "a", "t", "--format", "csv"]);
        assert_eq!(csv.lines().nth(1), Some(number.to_string().as_str()), "{what}: {csv}");
        for text in [json.stdout, table, csv] {
            assert!(!text.contains("ERROR") && !text.contains("nvalid"), "{what}: {text}");
        }
    }
}

/// Each value can be read back from its JSON.
#[test]
fn json_has_every_value() {
    let lab = Lab::with_arena();
    let mut numbered = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
    let mut named = MapBuilder::new(None, StringBuilder::new(), Int8Builder::new());
    for row in 0..3 {
        for entry in 0..row {
            numbered.keys().append_value(entry);
            numbered.values().append_option((entry == 0).then_some("zero"));
            named.keys().append_value(format!("k{entry}"));
            named.values().append_value(entry as i8);
        }
        numbered.append(row != 0).unwrap();
        named.append(row != 0).unwrap();
    }
    let scaled = Decimal128Array::from(vec![0, 5, -3]).with_precision_and_scale(5, -2).unwrap();
    let decimal = Decimal128Array::from(vec![1, 5, i128::from(i64::MAX) * 1000]).with_precision_and_scale(38, 2);
    let batch = of(vec![
        ("half", Arc::new(Float16Array::from(vec![f16::NAN, f16::INFINITY, f16::from_f32(0.5)]))),
        ("single", Arc::new(Float32Array::from(vec![f32::NAN, f32::NEG_INFINITY, 0.1]))),
        ("double", Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, -0.1]))),
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0, (1 << 53) + 1]))),
        ("scaled", Arc::new(scaled)),
        ("decimal", Arc::new(decimal.unwrap())),
        ("binary", Arc::new(BinaryArray::from_vec(vec![b"\xff\x00", b"", b"a"]))),
        ("numbered", Arc::new(numbered.finish())),
        ("named", Arc::new(named.finish())),
    ]);
    put(&lab, &[batch]);
    let text = lab.ok(["cat", "a", "t", "--format", "jsonl"]);
    let rows = lines(&text);
    assert_eq!(rows[0]["half"], "NaN");
    assert_eq!(rows[1]["half"], "Infinity");
    assert_eq!(rows[2]["half"], 0.5);
    assert_eq!((&rows[0]["single"], &rows[1]["single"]), (&json!("NaN"), &json!("-Infinity")));
    assert!(text.contains("\"single\":0.1,") && text.contains("\"double\":-0.1,"), "{text}");
    assert_eq!((&rows[0]["double"], &rows[1]["double"]), (&json!("Infinity"), &json!("NaN")));
    assert!(text.contains("\"big\":18446744073709551615,") && text.contains("\"big\":9007199254740993,"), "{text}");
    assert_eq!(rows.iter().map(|row| &row["scaled"]).collect::<Vec<_>>(), [&json!(0), &json!(500), &json!(-300)]);
    assert!(text.contains("\"decimal\":0.01,") && text.contains("\"decimal\":92233720368547758070.00,"), "{text}");
    assert_eq!(rows.iter().map(|row| &row["binary"]).collect::<Vec<_>>(), ["ff00", "", "61"]);
    assert_eq!(rows[0]["numbered"], Value::Null);
    assert_eq!(rows[2]["numbered"], json!([{"key": 0, "value": "zero"}, {"key": 1, "value": null}]));
    assert_eq!(rows[2]["named"], json!({"k0": 0, "k1": 1}));

    // An object has a key once: a map that has it twice is refused, and columns are numbered.
    let mut twice = MapBuilder::new(None, StringBuilder::new(), Int8Builder::new());
    for _ in 0..2 {
        twice.keys().append_value("same");
        twice.values().append_value(1);
    }
    twice.append(true).unwrap();
    put(&lab, &[one(twice.finish())]);
    assert!(lab.fails(1, ["cat", "a", "t", "--format", "json"]).contains("`same` twice"));
    put(&lab, &[one(union())]);
    assert!(lab.fails(1, ["cat", "a", "t", "--format", "json"]).contains("union"));
    let number = |n: i8| -> ArrayRef { Arc::new(Int8Array::from(vec![n])) };
    put(&lab, &[of(vec![("a", number(1)), ("a", number(2)), ("a_2", number(3)), ("a", number(4))])]);
    let outcome = lab.run(["cat", "a", "t", "--format", "jsonl"]);
    assert_eq!(outcome.stdout, "{\"a\":1,\"a_3\":2,\"a_2\":3,\"a_4\":4}\n");
    assert!(outcome.stderr.contains("`a_3`") && outcome.stderr.contains("`a_4`"), "{outcome:?}");
    let fields = Fields::from(vec![Field::new("i", DataType::Int8, true), Field::new("i", DataType::Int8, true)]);
    put(&lab, &[one(StructArray::new(fields, vec![number(1), number(2)], None))]);
    assert!(lab.fails(1, ["cat", "a", "t", "--format", "json"]).contains("two fields of one name"));
}

/// Three rows are three rows, or an error.
#[test]
fn rows_without_columns_are_kept_or_refused() {
    let lab = Lab::with_arena();
    put(&lab, &[no_columns()]);
    assert!(lab.ok(["cat", "a", "t"]).contains("3 rows"));
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "jsonl"]), "{}\n{}\n{}\n");
    lab.ok(["export", "a", "t", &lab.file("out.arrow")]);
    let mut file = FileReader::try_new(File::open(lab.path("out.arrow")).unwrap(), None).unwrap();
    assert_eq!(file.next().unwrap().unwrap().num_rows(), 3);
    lab.ok(["export", "a", "t", &lab.file("out.arrows")]);
    let mut file = StreamReader::try_new(File::open(lab.path("out.arrows")).unwrap(), None).unwrap();
    assert_eq!(file.next().unwrap().unwrap().num_rows(), 3);
    assert!(lab.fails(1, ["export", "a", "t", &lab.file("out.csv")]).contains("rows without columns"));
    assert!(lab.fails(1, ["cat", "a", "t", "--format", "csv"]).contains("rows without columns"));
    assert!(!lab.path("out.csv").exists());
}

/// Keys of a byte number 128 values; batches that have more of them together are written all the same.
#[test]
fn dictionaries_with_more_values_than_keys_are_written_with_wider_keys() {
    let lab = Lab::with_arena();
    let words = |from: usize| {
        let mut builder = StringDictionaryBuilder::<Int8Type>::new();
        (from..from + 100).for_each(|word| builder.append_value(format!("word {word}")));
        builder.finish()
    };
    let batch = |from: usize| {
        let mut nested = ListBuilder::new(StringDictionaryBuilder::<Int8Type>::new());
        for word in from..from + 100 {
            nested.values().append_value(format!("item {word}"));
            nested.append(true);
        }
        of(vec![("x", Arc::new(words(from))), ("l", Arc::new(nested.finish()))])
    };
    put(&lab, &[batch(0), batch(100), batch(200)]);
    let check = || {
        let reader = FileReader::try_new(File::open(lab.path("out.arrow")).unwrap(), None).unwrap();
        let mut words = vec![];
        for batch in reader {
            let batch = batch.unwrap();
            let texts = arrow_cast::cast(batch.column(0), &DataType::Utf8).unwrap();
            let items = arrow_cast::cast(batch.column(1).as_list::<i32>().values(), &DataType::Utf8).unwrap();
            let both = texts.as_string::<i32>().iter().zip(items.as_string::<i32>());
            words.extend(both.map(|(text, item)| format!("{} {}", text.unwrap(), item.unwrap())));
        }
        let expected: Vec<String> = (0..300).map(|word| format!("word {word} item {word}")).collect();
        assert_eq!(words, expected);
    };
    let outcome = lab.run(["export", "a", "t", &lab.file("out.arrow")]);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    assert!(outcome.stderr.contains("column `x`"), "{outcome:?}");
    check();
    // Received, too, where the batches come one by one.
    lab.ok(["send", "a", "c", &lab.file("in.arrows"), "--batch-rows", "60"]);
    lab.ok(["recv", "a", "c", "--export", &lab.file("out.arrow"), "--force"]);
    check();
}

/// A value of a dictionary may be null as a key may be, and so may the value of a run: every format says so.
#[test]
fn nulls_among_the_values_of_dictionaries_and_runs_are_null() {
    let lab = Lab::with_arena();
    let key = || Int8Array::from(vec![Some(0), Some(1), None, Some(1)]);
    let of_values = |values: ArrayRef| -> ArrayRef { Arc::new(DictionaryArray::<Int8Type>::new(key(), values)) };
    let runs = |values: ArrayRef| -> ArrayRef {
        let ends = Int32Array::from(vec![1, 2, 3, 4]);
        Arc::new(RunArray::<Int32Type>::try_new(&ends, values.as_ref()).unwrap())
    };
    let text = || of_values(Arc::new(StringArray::from(vec![Some("a"), None])));
    let decimal = Decimal128Array::from(vec![Some(15), None]).with_precision_and_scale(3, 1).unwrap();
    let flat = of(vec![
        ("text", text()),
        ("float", of_values(Arc::new(Float64Array::from(vec![Some(1.5), None])))),
        ("decimal", of_values(Arc::new(decimal))),
        ("time", of_values(Arc::new(TimestampSecondArray::from(vec![Some(0), None])))),
        ("whole", of_values(Arc::new(Int32Array::from(vec![Some(7), None])))),
        ("runs", runs(Arc::new(StringArray::from(vec![Some("a"), None, None, None])))),
        ("both", runs(text())),
    ]);
    put(&lab, &[flat]);
    let null =
        json!({"text": null, "float": null, "decimal": null, "time": null, "whole": null, "runs": null, "both": null});
    let first = json!({
        "text": "a", "float": 1.5, "decimal": 1.5, "time": "1970-01-01T00:00:00", "whole": 7, "runs": "a", "both": "a",
    });
    let expected = [first, null.clone(), null.clone(), null];
    assert_eq!(lines(&lab.ok(["cat", "a", "t", "--format", "jsonl"])), expected);
    let csv = lab.ok(["cat", "a", "t", "--format", "csv"]);
    assert_eq!(
        csv.lines().skip(1).collect::<Vec<_>>(),
        ["a,1.5,1.5,1970-01-01T00:00:00,7,a,a", ",,,,,,", ",,,,,,", ",,,,,,"]
    );
    let table = lab.ok(["cat", "a", "t"]);
    assert_eq!(table.split_whitespace().filter(|word| *word == "-").count(), 21, "{table}");
    let found = parquet(&lab);
    for column in found.columns() {
        assert_eq!(column.logical_nulls().map(|nulls| nulls.null_count()), Some(3), "{column:?}");
    }

    let nested = of(vec![
        ("list", Arc::new(list_of(text(), &[1, 1, 2]))),
        ("struct", Arc::new(struct_of(text().slice(0, 3), None))),
    ]);
    put(&lab, &[nested]);
    let expected = [
        json!({"list": ["a"], "struct": {"i": "a"}}),
        json!({"list": [null], "struct": {"i": null}}),
        json!({"list": [null, null], "struct": {"i": null}}),
    ];
    assert_eq!(lines(&lab.ok(["cat", "a", "t", "--format", "jsonl"])), expected);
}

/// Readers that do not know Arrow's schema see a table's metadata too; those that do see each key once.
#[test]
fn metadata_of_tables_is_metadata_of_parquet_files() {
    let lab = Lab::with_arena();
    let own = [("geo", "{}"), ("ARROW:schema", "no schema"), ("made by", "me")];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let batch = one(Int32Array::from(vec![1]));
    let schema = Schema::new_with_metadata(batch.schema().fields().clone(), own.clone().into());
    put(&lab, &[RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()]);
    lab.ok(["export", "a", "t", &lab.file("out.parquet")]);
    // A second time, of what was read again.
    for file in ["out.parquet", "again.parquet"] {
        let reader = SerializedFileReader::new(File::open(lab.path(file)).unwrap()).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata().unwrap();
        let mut keys: Vec<&str> = pairs.iter().map(|pair| pair.key.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["ARROW:schema", "geo", "made by"]);
        let geo = pairs.iter().find(|pair| pair.key == "geo").unwrap();
        assert_eq!(geo.value.as_deref(), Some("{}"));
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(lab.path(file)).unwrap()).unwrap();
        assert_eq!(builder.schema().metadata().get("made by").map(String::as_str), Some("me"));
        if file == "out.parquet" {
            lab.ok(["put", "a", "t", &lab.file("out.parquet")]);
            lab.ok(["export", "a", "t", &lab.file("again.parquet")]);
        }
    }
}

/// JSON texts and UUIDs have names in Parquet and in Arrow, and keep them from one to the other and back.
#[test]
fn json_and_uuid_keep_their_names() {
    let lab = Lab::with_arena();
    let uuid = FixedSizeBinaryArray::try_new_with_len(16, vec![7u8; 16].into(), None, 1).unwrap();
    let batch = of(vec![("uuid", Arc::new(uuid)), ("json", Arc::new(StringArray::from(vec!["{}"])))]);
    let plain = batch.schema();
    let fields = plain.fields().iter().map(|field| match field.name().as_str() {
        "uuid" => field.as_ref().clone().with_extension_type(Uuid),
        _ => field.as_ref().clone().with_extension_type(Json::default()),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema, batch.columns().to_vec()).unwrap();
    put(&lab, &[batch]);
    for _ in 0..2 {
        let found = parquet(&lab);
        assert_eq!(logical_types(&lab), [Some(LogicalType::Uuid), Some(LogicalType::Json)]);
        // Without Arrow's schema, as other programs write such files.
        let file = File::create(lab.path("plain.parquet")).unwrap();
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(file, found.schema(), options).unwrap();
        writer.write(&found).unwrap();
        writer.close().unwrap();
        lab.ok(["put", "a", "t", &lab.file("plain.parquet")]);
        lab.ok(["export", "a", "t", &lab.file("out.arrow"), "--force"]);
        let reader = FileReader::try_new(File::open(lab.path("out.arrow")).unwrap(), None).unwrap();
        let names =
            reader.schema().fields().iter().map(|f| f.extension_type_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["arrow.uuid", "arrow.json"]);
    }
}
