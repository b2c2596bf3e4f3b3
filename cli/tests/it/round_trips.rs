//! What is put and exported again is equal by value, in every format and type.

use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{
    BinaryViewBuilder, FixedSizeBinaryBuilder, Int32Builder, ListBuilder, MapBuilder, StringBuilder,
    StringDictionaryBuilder, StringRunBuilder, StringViewBuilder,
};
use arrow_array::types::{ArrowPrimitiveType, Int32Type};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date64Array, Decimal128Array, Decimal256Array,
    DurationMicrosecondArray, Float16Array, Float32Array, Int8Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeStringArray, NullArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
    Time32MillisecondArray, Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, UnionArray,
};
use arrow_buffer::{ScalarBuffer, i256};
use arrow_ipc::CompressionType;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit, UnionFields};
use half::f16;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::Lab;

/// Every third value is null.
fn numbers<T: ArrowPrimitiveType>(rows: usize, value: impl Fn(usize) -> T::Native) -> ArrayRef
where
    PrimitiveArray<T>: From<Vec<Option<T::Native>>>,
{
    let values = (0..rows).map(|row| (row % 3 != 1).then(|| value(row)));
    Arc::new(PrimitiveArray::<T>::from(values.collect::<Vec<_>>()))
}

fn texts(rows: usize) -> Vec<Option<String>> {
    let text = |row: usize| match row % 5 {
        0 => Some(format!("row {row}")),
        1 => None,
        2 => Some("ä, \"quoted\"\nand long enough to be out of line".to_owned()),
        _ => Some(String::from_utf8(vec![b'x'; row % 7 + 1]).unwrap()),
    };
    (0..rows).map(text).collect()
}

/// The types that Parquet files hold.
fn parquet_columns(rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let texts = texts(rows);
    let strings = || texts.iter().map(Option::as_deref);
    let mut list = ListBuilder::new(Int32Builder::new());
    let mut fixed = FixedSizeBinaryBuilder::new(5);
    for row in 0..rows {
        for item in 0..row % 4 {
            list.values().append_option((item != 2).then_some(item as i32));
        }
        list.append(row % 6 != 5);
        match row % 3 {
            0 => fixed.append_null(),
            _ => fixed.append_value([row as u8; 5]).unwrap(),
        }
    }
    let dictionary = |low: usize| {
        let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
        for row in 0..rows {
            match row % 4 {
                0 => dictionary.append_null(),
                _ => dictionary.append_value(format!("word {}", (low + row) % 9)),
            }
        }
        dictionary.finish()
    };
    let inner: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let fields = Fields::from(vec![Field::new("inner", DataType::Int64, false)]);
    let decimal = |row: usize| (row as i128 - 7) * 1_000_000_007_000_000_009;
    let decimals = Decimal128Array::from_iter((0..rows).map(|row| (row != 3).then(|| decimal(row))));
    let wide = Decimal256Array::from_iter((0..rows).map(|row| Some(i256::from_i128(decimal(row)))));
    let time = 1_700_000_000_i64;
    vec![
        ("bool", Arc::new((0..rows).map(|r| (r % 4 != 3).then_some(r % 2 == 0)).collect::<BooleanArray>())),
        ("i8", Arc::new(Int8Array::from_iter_values((0..rows).map(|r| r as i8)))),
        ("i16", Arc::new(Int16Array::from_iter_values((0..rows).map(|r| r as i16 - 50)))),
        ("i32", Arc::new(Int32Array::from_iter((0..rows).map(|r| (r != 0).then_some(r as i32))))),
        ("i64", numbers::<arrow_array::types::Int64Type>(rows, |r| i64::MIN + r as i64)),
        ("u8", Arc::new(UInt8Array::from_iter_values((0..rows).map(|r| r as u8)))),
        ("u16", Arc::new(UInt16Array::from_iter_values((0..rows).map(|r| u16::MAX - r as u16)))),
        ("u32", Arc::new(UInt32Array::from_iter_values((0..rows).map(|r| u32::MAX - r as u32)))),
        ("u64", Arc::new(UInt64Array::from_iter_values((0..rows).map(|r| u64::MAX - r as u64)))),
        ("f16", Arc::new(Float16Array::from_iter_values((0..rows).map(|r| f16::from_f32(r as f32))))),
        ("f32", Arc::new(Float32Array::from_iter_values((0..rows).map(|r| r as f32 / 3.0)))),
        ("f64", numbers::<arrow_array::types::Float64Type>(rows, |r| 1.0 / (r as f64 + 0.1))),
        ("text", Arc::new(strings().collect::<StringArray>())),
        ("large text", Arc::new(strings().collect::<LargeStringArray>())),
        ("binary", Arc::new(strings().map(|s| s.map(str::as_bytes)).collect::<BinaryArray>())),
        ("fixed", Arc::new(fixed.finish())),
        ("date32", numbers::<arrow_array::types::Date32Type>(rows, |r| r as i32 * 100)),
        ("date64", Arc::new(Date64Array::from_iter_values((0..rows).map(|r| r as i64 * 86_400_000)))),
        ("time32", Arc::new(Time32MillisecondArray::from_iter_values((0..rows).map(|r| r as i32)))),
        ("time64", Arc::new(Time64NanosecondArray::from_iter_values((0..rows).map(|r| r as i64)))),
        ("s", Arc::new(TimestampSecondArray::from_iter_values((0..rows).map(|r| time + r as i64)))),
        (
            "ms",
            Arc::new(
                TimestampMillisecondArray::from_iter_values((0..rows).map(|r| time + r as i64))
                    .with_timezone("Europe/Paris"),
            ),
        ),
        (
            "us",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values((0..rows).map(|r| time + r as i64)).with_timezone("UTC"),
            ),
        ),
        ("ns", numbers::<arrow_array::types::TimestampNanosecondType>(rows, |r| time + r as i64)),
        ("duration", Arc::new(DurationMicrosecondArray::from_iter_values((0..rows).map(|r| r as i64)))),
        ("decimal", Arc::new(decimals.with_precision_and_scale(38, 9).unwrap())),
        ("wide decimal", Arc::new(wide.with_precision_and_scale(60, 2).unwrap())),
        ("dictionary", Arc::new(dictionary(0))),
        ("list", Arc::new(list.finish())),
        ("struct", Arc::new(StructArray::new(fields, vec![inner], None))),
    ]
}

/// And those that only Arrow holds.
fn arrow_columns(rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let mut view = StringViewBuilder::new();
    let mut binary_view = BinaryViewBuilder::new();
    let mut runs = StringRunBuilder::<Int32Type>::new();
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for (row, text) in texts(rows).into_iter().enumerate() {
        view.append_option(text.as_deref());
        binary_view.append_option(text.as_deref());
        runs.append_option((row % 8 < 5).then_some("run"));
        map.keys().append_value(format!("key {row}"));
        map.values().append_option((row % 2 == 0).then_some(row as i32));
        map.append(true).unwrap();
    }
    let members: UnionFields = [
        (0, Arc::new(Field::new("number", DataType::Int32, true))),
        (1, Arc::new(Field::new("text", DataType::Utf8, true))),
    ]
    .into_iter()
    .collect();
    let union = UnionArray::try_new(
        members,
        (0..rows).map(|row| (row % 2) as i8).collect::<ScalarBuffer<i8>>(),
        None,
        vec![
            Arc::new(Int32Array::from_iter_values(0..rows as i32)),
            Arc::new(texts(rows).into_iter().collect::<StringArray>()),
        ],
    );
    let interval = |row: usize| arrow_buffer::IntervalMonthDayNano::new(row as i32, -1, 5);
    let mut columns = parquet_columns(rows);
    columns.extend([
        ("view", Arc::new(view.finish()) as ArrayRef),
        ("binary view", Arc::new(binary_view.finish())),
        ("runs", Arc::new(runs.finish())),
        ("map", Arc::new(map.finish())),
        ("union", Arc::new(union.unwrap())),
        ("interval", Arc::new(IntervalMonthDayNanoArray::from_iter_values((0..rows).map(interval)))),
        ("null", Arc::new(NullArray::new(rows))),
    ]);
    columns
}

fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    let fields = columns.iter().map(|(name, column)| {
        Field::new(*name, column.data_type().clone(), true)
            .with_metadata([("unit".to_owned(), format!("of {name}"))].into())
    });
    let schema =
        Schema::new(fields.collect::<Vec<_>>()).with_metadata([("made by".to_owned(), "a test".to_owned())].into());
    let columns = columns.into_iter().map(|(_, column)| column);
    RecordBatch::try_new(Arc::new(schema), columns.collect()).unwrap()
}

fn write(lab: &Lab, name: &str, batches: &[RecordBatch]) -> String {
    let schema = batches[0].schema();
    let file = File::create(lab.path(name)).unwrap();
    match name.rsplit_once('.').unwrap().1 {
        "parquet" => {
            let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
            for batch in batches {
                writer.write(batch).unwrap();
                // Row groups of their own.
                writer.flush().unwrap();
            }
            writer.close().unwrap();
        }
        "arrow" => {
            let mut writer = FileWriter::try_new(file, &schema).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
        _ => {
            let mut writer = StreamWriter::try_new(file, &schema).unwrap();
            batches.iter().for_each(|batch| writer.write(batch).unwrap());
            writer.finish().unwrap();
        }
    }
    lab.file(name)
}

fn read(lab: &Lab, name: &str) -> RecordBatch {
    let file = File::open(lab.path(name)).unwrap();
    let (schema, batches): (_, Vec<RecordBatch>) = match name.rsplit_once('.').unwrap().1 {
        "parquet" => {
            let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
            let schema = builder.schema().clone();
            let batches = builder.build().unwrap().map(Result::unwrap);
            let batches = batches.map(|batch| batch.with_schema(schema.clone()).unwrap());
            (schema.clone(), batches.collect())
        }
        "arrow" => {
            let reader = FileReader::try_new(file, None).unwrap();
            (reader.schema(), reader.map(Result::unwrap).collect())
        }
        _ => {
            let reader = StreamReader::try_new(file, None).unwrap();
            (reader.schema(), reader.map(Result::unwrap).collect())
        }
    };
    arrow_select::concat::concat_batches(&schema, &batches).unwrap()
}

/// Equal by value: a dictionary may list its words in another order.
fn assert_same(found: &RecordBatch, expected: &RecordBatch) {
    let (found_schema, expected_schema) = (found.schema(), expected.schema());
    assert_eq!(found_schema.metadata(), expected_schema.metadata());
    assert_eq!(found.num_rows(), expected.num_rows());
    for (i, field) in expected_schema.fields().iter().enumerate() {
        assert_eq!(found_schema.field(i), field.as_ref());
        let (found, expected) = (found.column(i), expected.column(i));
        assert!(plain(found) == plain(expected), "{}: {found:?} {expected:?}", field.name());
    }
}

fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => arrow_cast::cast(column, values).unwrap(),
        DataType::RunEndEncoded(_, values) => arrow_cast::cast(column, values.data_type()).unwrap(),
        _ => Arc::clone(column),
    }
}

/// The columns as a Parquet file has them: it counts no seconds, and its dates are days.
fn in_parquet(whole: &RecordBatch) -> RecordBatch {
    let schema = whole.schema();
    let columns = schema.fields().iter().zip(whole.columns()).map(|(field, column)| {
        let held = match field.data_type() {
            DataType::Date64 => DataType::Date32,
            DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
            other => other.clone(),
        };
        let column = arrow_cast::cast(column, &held).unwrap();
        (Arc::new(field.as_ref().clone().with_data_type(held)), column)
    });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.unzip();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn pieces(whole: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let starts = (0..whole.num_rows()).step_by(rows);
    starts.map(|at| whole.slice(at, rows.min(whole.num_rows() - at))).collect()
}

#[test]
fn parquet_comes_back_equal() {
    let lab = Lab::with_arena();
    let whole = batch(parquet_columns(100));
    let file = write(&lab, "in.parquet", &pieces(&whole, 40));
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["put", "a", "t7", &file, "--batch-rows", "7"]);
    for name in ["t", "t7"] {
        for out in ["out.parquet", "out.arrow", "out.arrows"] {
            lab.ok(["export", "a", name, &lab.file(out), "--force"]);
            let expected = if out == "out.parquet" { in_parquet(&whole) } else { whole.clone() };
            assert_same(&read(&lab, out), &expected);
        }
    }
}

#[test]
fn arrow_files_and_streams_come_back_equal() {
    let lab = Lab::with_arena();
    let whole = batch(arrow_columns(100));
    for input in ["in.arrow", "in.arrows"] {
        let file = write(&lab, input, std::slice::from_ref(&whole));
        lab.ok(["put", "a", "t", &file]);
        for out in ["out.arrow", "out.arrows"] {
            lab.ok(["export", "a", "t", &lab.file(out), "--force"]);
            assert_same(&read(&lab, out), &whole);
        }
    }
}

#[test]
fn compressed_arrow_files_are_read() {
    let lab = Lab::with_arena();
    let whole = batch(arrow_columns(100));
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default().try_with_compression(Some(compression)).unwrap();
        let file = File::create(lab.path("in.arrow")).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &whole.schema(), options.clone()).unwrap();
        writer.write(&whole).unwrap();
        writer.finish().unwrap();
        let file = File::create(lab.path("in.arrows")).unwrap();
        let mut writer = StreamWriter::try_new_with_options(file, &whole.schema(), options).unwrap();
        writer.write(&whole).unwrap();
        writer.finish().unwrap();
        for name in ["in.arrow", "in.arrows"] {
            lab.ok(["put", "a", "t", &lab.file(name)]);
            lab.ok(["export", "a", "t", &lab.file("out.arrow"), "--force"]);
            assert_same(&read(&lab, "out.arrow"), &whole);
        }
    }
}

#[test]
fn many_batches_stay_in_order() {
    let lab = Lab::with_arena();
    let whole = batch(vec![("n", Arc::new(Int64Array::from_iter_values(0..1000)) as ArrayRef)]);
    let file = write(&lab, "in.arrow", &pieces(&whole, 9));
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["export", "a", "t", &lab.file("out.arrow")]);
    assert_same(&read(&lab, "out.arrow"), &whole);
    assert_eq!(lab.json(["ls", "a"])[0]["rows"], 1000);
}

#[test]
fn no_rows_and_no_columns_are_fine() {
    let lab = Lab::with_arena();
    let empty = batch(parquet_columns(3)).slice(0, 0);
    for name in ["in.parquet", "in.arrow", "in.arrows"] {
        let file = write(&lab, name, std::slice::from_ref(&empty));
        lab.ok(["put", "a", "t", &file]);
        let out = name.replace("in", "out");
        lab.ok(["export", "a", "t", &lab.file(&out)]);
        let expected = if out == "out.parquet" { in_parquet(&empty) } else { empty.clone() };
        assert_same(&read(&lab, &out), &expected);
        // Nothing but a schema was taken for several files, one behind the other.
        lab.ok(["export", "a", "t", &lab.file("again.arrow"), "--force"]);
        lab.ok(["put", "a", "again", &lab.file("again.arrow")]);
        lab.ok(["cat", "a", "t"]);
        lab.ok(["cat", "a", "t", "--format", "json"]);
    }
    let none = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let file = write(&lab, "none.arrow", &[none]);
    lab.ok(["put", "a", "none", &file]);
    lab.ok(["cat", "a", "none"]);
    lab.ok(["export", "a", "none", &lab.file("none2.arrow")]);
}

#[test]
fn dictionaries_that_differ_between_batches_become_one_in_an_arrow_file() {
    // An Arrow IPC file has one dictionary per column; streams and Parquet files have not.
    let lab = Lab::with_arena();
    let dictionary = |words: [&str; 3]| -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        words.iter().for_each(|word| builder.append_value(word));
        Arc::new(builder.finish())
    };
    let batches =
        [["a", "b", "a"], ["c", "d", "b"], ["e", "e", "a"]].map(|words| batch(vec![("word", dictionary(words))]));
    let whole = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let file = write(&lab, "in.arrows", &batches);
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["export", "a", "t", &lab.file("out.arrow")]);
    assert_same(&read(&lab, "out.arrow"), &whole);
}

#[test]
fn csv_comes_back_as_the_same_text() {
    let lab = Lab::with_arena();
    let text = "id,zip,share,day,at,flag,note\n\
        1,02134,0.5,2024-02-29,2024-02-29T10:20:30,true,plain\n\
        2,,1.25,,2024-03-01T00:00:00,false,\"with, comma\"\n\
        ,99999,,2023-01-01,,,\"two\nlines and \"\"quotes\"\"\"\n\
        -4,00001,3.0,2023-01-02,2024-03-01T00:00:01,true,ümläut\n";
    let file = lab.write("in.csv", text);
    let outcome = lab.run(["put", "a", "t", &file]);
    assert!(outcome.stderr.contains("all 4 rows"), "{outcome:?}");
    lab.ok(["export", "a", "t", &lab.file("out.csv")]);
    assert_eq!(std::fs::read_to_string(lab.path("out.csv")).unwrap(), text);
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), text);
    // The types are those that the values say.
    lab.ok(["export", "a", "t", &lab.file("out.arrow")]);
    let types = read(&lab, "out.arrow");
    let schema = types.schema();
    let types: Vec<String> = schema.fields().iter().map(|f| f.data_type().to_string()).collect();
    let expected = "Int64 Utf8 Float64 Date32 Timestamp(s) Boolean Utf8";
    assert_eq!(types.join(" "), expected);
    // With tabs, and without names.
    lab.ok(["export", "a", "t", &lab.file("out.tsv")]);
    lab.ok(["put", "a", "tabs", &lab.file("out.tsv")]);
    assert_eq!(lab.ok(["cat", "a", "tabs", "--format", "csv"]), text);
    let file = lab.write("bare.csv", "1;x\n2;y\n");
    lab.ok(["put", "a", "bare", &file, "--no-header", "--delimiter", ";"]);
    let bare = lab.ok(["cat", "a", "bare", "--format", "csv"]);
    assert_eq!(bare, "column_1,column_2\n1,x\n2,y\n");
    // Kept as text where asked.
    lab.ok(["put", "a", "text", &lab.file("in.csv"), "--text", "id", "--text", "share"]);
    assert_eq!(lab.ok(["cat", "a", "text", "--format", "csv"]), text);
}

#[test]
fn a_csv_of_names_alone_has_no_rows() {
    let lab = Lab::with_arena();
    let file = lab.write("in.csv", "a,b\n");
    lab.ok(["put", "a", "t", &file]);
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), "a,b\n");
    lab.ok(["export", "a", "t", &lab.file("out.csv")]);
    assert_eq!(std::fs::read_to_string(lab.path("out.csv")).unwrap(), "a,b\n");
}

#[test]
fn bytes_come_back_as_they_are() {
    let lab = Lab::with_arena();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let file = lab.write("in.bin", &bytes);
    lab.ok(["put", "a", "b", &file, "--format", "bytes"]);
    lab.ok(["export", "a", "b", &lab.file("out.bin"), "--format", "bytes"]);
    assert!(std::fs::read(lab.path("out.bin")).unwrap() == bytes);
}

#[test]
fn standard_input_and_output_are_files_too() {
    let lab = Lab::with_arena();
    let whole = batch(parquet_columns(50));
    let file = write(&lab, "in.parquet", std::slice::from_ref(&whole));
    let input = std::fs::read(file).unwrap();
    let outcome = lab.run_with(["put", "a", "t", "-", "--format", "parquet"], &input);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let outcome = lab.run_with(["put", "a", "c", "-", "--format", "csv"], b"x,y\n1,2\n");
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let text = lab.ok(["export", "a", "c", "-", "--format", "csv"]);
    assert_eq!(text, "x,y\n1,2\n");
    lab.ok(["export", "a", "t", &lab.file("out.parquet")]);
    assert_same(&read(&lab, "out.parquet"), &in_parquet(&whole));
    assert!(whole.column(0).len() == 50);
}
