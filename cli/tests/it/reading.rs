//! Parquet, Arrow IPC and .npy as they are really written: every value as it was, or a refusal in words.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow_array::builder::{FixedSizeBinaryBuilder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, IntervalMonthDayNano, IntervalMonthDayNanoType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, Decimal64Array, Decimal128Array, DictionaryArray,
    FixedSizeBinaryArray, Int32Array, RecordBatch, StringArray, StringViewArray, StructArray,
    TimestampMillisecondArray, new_null_array,
};
use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use crate::support::Lab;

fn numbers(values: std::ops::Range<i32>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int32Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn ipc_file(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// The batches of a name, by way of an Arrow file.
fn batches(lab: &Lab, name: &str) -> Vec<RecordBatch> {
    let file = lab.file("exported.arrow");
    lab.ok(["export", "a", name, &file, "--force"]);
    FileReader::try_new(std::fs::File::open(file).unwrap(), None).unwrap().map(Result::unwrap).collect()
}

fn rows(batches: &[RecordBatch]) -> Vec<usize> {
    batches.iter().map(RecordBatch::num_rows).collect()
}

#[test]
fn of_two_streams_in_one_file_both_are_read_or_it_is_refused() {
    let lab = Lab::with_arena();
    let (one, two) = (stream(&[numbers(0..3)]), stream(&[numbers(3..5)]));
    let file = lab.write("two.arrows", [one.as_slice(), &two, &[0; 24]].concat());
    assert_eq!(lab.json(["put", "a", "x", &file])["rows"], 5);
    assert_eq!(lab.ok(["cat", "a", "x", "--format", "csv"]), "n\n0\n1\n2\n3\n4\n");
    let other: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let other = stream(&[RecordBatch::try_from_iter([("other", other)]).unwrap()]);
    let file = lab.write("others.arrows", [one.as_slice(), &other].concat());
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("of other columns"));
    let file = lab.write("garbage.arrows", [one.as_slice(), b"something else"].concat());
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("something else"));
    // The footer of the second file tells offsets of which those in the first file are right.
    let (one, two) = (ipc_file(&[numbers(0..3)]), ipc_file(&[numbers(3..6)]));
    let file = lab.write("two.arrow", [one, two].concat());
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("more than one file"));
}

#[test]
fn many_small_batches_are_put_together_where_a_table_could_not_hold_them() {
    let lab = Lab::with_arena();
    let mut writer = StreamWriter::try_new(Vec::new(), &numbers(0..1).schema()).unwrap();
    for i in 0..70_000 {
        writer.write(&numbers(i..i + 1)).unwrap();
    }
    let file = lab.write("many.arrows", writer.into_inner().unwrap());
    assert_eq!(lab.json(["put", "a", "x", &file])["rows"], 70_000);
    let sum = |batches: &[RecordBatch]| -> i64 {
        let column =
            |batch: &RecordBatch| -> Vec<i32> { batch.column(0).as_primitive::<Int32Type>().values().to_vec() };
        let all: Vec<i32> = batches.iter().flat_map(column).collect();
        assert!(all.is_sorted());
        all.into_iter().map(i64::from).sum()
    };
    let found = batches(&lab, "x");
    assert!(found.len() < 65_535, "{}", found.len());
    assert_eq!(sum(&found), 70_000 * 69_999 / 2);
    lab.ok(["put", "a", "x", &file, "--batch-rows", "30000"]);
    let found = batches(&lab, "x");
    assert_eq!(rows(&found), [30_000, 30_000, 10_000]);
    assert_eq!(sum(&found), 70_000 * 69_999 / 2);
}

#[test]
fn batch_rows_cuts_and_joins_arrow_batches() {
    let lab = Lab::with_arena();
    let file = lab.write("f.arrow", ipc_file(&[numbers(0..7), numbers(7..8), numbers(8..20)]));
    lab.ok(["put", "a", "x", &file]);
    assert_eq!(rows(&batches(&lab, "x")), [7, 1, 12], "a file's batches stay as they are");
    lab.ok(["put", "a", "x", &file, "--batch-rows", "6"]);
    assert_eq!(rows(&batches(&lab, "x")), [6, 6, 6, 2]);
}

#[test]
fn dictionaries_that_one_key_type_cannot_number_together_stay_apart() {
    let lab = Lab::with_arena();
    let batch = |from: u32| {
        let values: DictionaryArray<Int8Type> =
            (from..from + 100).map(|i| format!("value {i}")).collect::<Vec<_>>().iter().map(String::as_str).collect();
        RecordBatch::try_from_iter([("d", Arc::new(values) as ArrayRef)]).unwrap()
    };
    let file = lab.write("d.arrows", stream(&[batch(0), batch(100)]));
    lab.ok(["put", "a", "x", &file, "--batch-rows", "1000"]);
    let text = lab.ok(["cat", "a", "x", "--format", "csv"]);
    let expected: Vec<String> = (0..200).map(|i| format!("value {i}")).collect();
    assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), expected);
}

fn interval_bytes(months: u32, days: u32, millis: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (to, word) in bytes.chunks_exact_mut(4).zip([months, days, millis]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[test]
fn parquet_intervals_keep_their_months_at_any_depth() {
    let lab = Lab::with_arena();
    let mut flat = FixedSizeBinaryBuilder::new(12);
    let mut lists = ListBuilder::new(FixedSizeBinaryBuilder::new(12));
    for (months, days, millis) in [(1, 2, 3000), (14, 0, u32::MAX)] {
        flat.append_value(interval_bytes(months, days, millis)).unwrap();
        lists.values().append_value(interval_bytes(months + 1, days, millis)).unwrap();
        lists.values().append_null();
        lists.append(true);
    }
    flat.append_null();
    lists.append(false);
    let (flat, lists): (ArrayRef, ArrayRef) = (Arc::new(flat.finish()), Arc::new(lists.finish()));
    let inner = Arc::new(Field::new("i", flat.data_type().clone(), true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(inner, Arc::clone(&flat))]));
    let batch = RecordBatch::try_from_iter_with_nullable([("f", flat, true), ("l", lists, true), ("s", nested, true)]);
    let batch = batch.unwrap();
    let schema = "message m {
        optional fixed_len_byte_array(12) f (INTERVAL);
        optional group l (LIST) { repeated group list { optional fixed_len_byte_array(12) item (INTERVAL); } }
        required group s { optional fixed_len_byte_array(12) i (INTERVAL); }
    }";
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
    let schema_fits = Schema::new(vec![
        batch.schema().field(0).clone(),
        batch.schema().field(1).clone(),
        batch.schema().field(2).clone().with_nullable(false),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema_fits), batch.columns().to_vec()).unwrap();
    let options = ArrowWriterOptions::new().with_parquet_schema(schema).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    let file = lab.write("i.parquet", writer.into_inner().unwrap());
    lab.ok(["put", "a", "x", &file]);
    let found = batches(&lab, "x").remove(0);
    let value = |months, days, millis: i64| Some(IntervalMonthDayNano::new(months, days, millis * 1_000_000));
    let of = |column: &ArrayRef| column.as_primitive::<IntervalMonthDayNanoType>().iter().collect::<Vec<_>>();
    let whole = [value(1, 2, 3000), value(14, 0, i64::from(u32::MAX)), None];
    assert_eq!(of(found.column(0)), whole);
    assert_eq!(of(found.column(2).as_struct().column(0)), whole);
    let items = [value(2, 2, 3000), None, value(15, 0, i64::from(u32::MAX)), None];
    assert_eq!(of(found.column(1).as_list::<i32>().values()), items);
    assert!(found.column(1).is_null(2));
}

#[test]
fn parquet_intervals_that_arrow_cannot_hold_are_refused() {
    let lab = Lab::with_arena();
    let mut values = FixedSizeBinaryBuilder::new(12);
    values.append_value(interval_bytes(1 << 31, 0, 0)).unwrap();
    let column: ArrayRef = Arc::new(values.finish());
    let batch = RecordBatch::try_from_iter_with_nullable([("i", column, true)]).unwrap();
    let schema = "message m { optional fixed_len_byte_array(12) i (INTERVAL); }";
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
    let options = ArrowWriterOptions::new().with_parquet_schema(schema).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    let file = lab.write("i.parquet", writer.into_inner().unwrap());
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("2147483648 months"));
}

/// A Parquet file whose writer says that it had another Arrow schema.
fn parquet_of(batch: &RecordBatch, schema: &Schema) -> Vec<u8> {
    let mut properties = WriterProperties::builder().build();
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn what_pyarrow_says_of_its_parquet_files_is_followed_or_left() {
    // Dictionaries of values that the reader makes none of, and a zone of seconds, which Parquet does not have.
    let lab = Lab::with_arena();
    let dictionary = |values: DataType| DataType::Dictionary(Box::new(DataType::Int8), Box::new(values));
    let decimals = Decimal128Array::from(vec![15, -7]).with_precision_and_scale(30, 1).unwrap();
    let small = Decimal64Array::from(vec![15, -7]).with_precision_and_scale(12, 1).unwrap();
    let text = StringArray::from(vec!["short", "longer than twelve bytes"]);
    let bytes = BinaryArray::from_vec(vec![b"\xff", b"longer than twelve bytes"]);
    let times = TimestampMillisecondArray::from(vec![1000, 2000]).with_timezone("UTC");
    let zone = |unit| DataType::Timestamp(unit, Some("Europe/Paris".into()));
    let views: ArrayRef = Arc::new(StringViewArray::from(vec!["short", "longer than twelve bytes"]));
    let binaries: ArrayRef = Arc::new(BinaryViewArray::from(vec![&b"\xff"[..], b"longer than twelve bytes"]));
    let paris: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1000, 2000]).with_timezone("Europe/Paris"));
    let (decimals, small): (ArrayRef, ArrayRef) = (Arc::new(decimals), Arc::new(small));
    let text: ArrayRef = Arc::new(text);
    let columns: [(&str, ArrayRef, DataType, ArrayRef); 6] = [
        ("d", Arc::clone(&decimals), dictionary(decimals.data_type().clone()), decimals),
        ("s", Arc::clone(&small), small.data_type().clone(), small),
        ("v", Arc::clone(&text), dictionary(DataType::Utf8View), views),
        ("b", Arc::new(bytes), dictionary(DataType::BinaryView), binaries),
        ("t", Arc::new(times), zone(TimeUnit::Second), paris),
        ("plain", Arc::clone(&text), DataType::Utf8, text),
    ];
    let written =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, own, ..)| (*name, Arc::clone(own), true)));
    let told = columns.iter().map(|(name, _, kind, _)| Field::new(*name, kind.clone(), true)).collect::<Vec<_>>();
    let file = lab.write("p.parquet", parquet_of(&written.unwrap(), &Schema::new(told)));
    lab.ok(["put", "a", "x", &file]);
    let found = batches(&lab, "x").remove(0);
    for (i, (name, .., expected)) in columns.iter().enumerate() {
        assert_eq!(found.column(i), expected, "{name}");
    }
    // A dictionary that the reader does fill stays one.
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "a"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("k", text, true)]).unwrap();
    let schema = Schema::new(vec![Field::new("k", dictionary(DataType::Utf8), true)]);
    lab.ok(["put", "a", "x", &lab.write("k.parquet", parquet_of(&batch, &schema))]);
    assert_eq!(batches(&lab, "x")[0].schema().field(0).data_type(), &dictionary(DataType::Utf8));
}

#[test]
fn json_and_uuids_of_parquet_are_extension_types() {
    let lab = Lab::with_arena();
    let json: ArrayRef = Arc::new(StringArray::from(vec!["{}"]));
    let uuid: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([[7_u8; 16]].iter()).unwrap());
    let batch = RecordBatch::try_from_iter_with_nullable([("j", json, true), ("u", uuid, true)]).unwrap();
    let schema = "message m { optional binary j (JSON); optional fixed_len_byte_array(16) u (UUID); }";
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
    let options = ArrowWriterOptions::new().with_parquet_schema(schema).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    lab.ok(["put", "a", "x", &lab.write("e.parquet", writer.into_inner().unwrap())]);
    let schema = batches(&lab, "x")[0].schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.extension_type_name()).collect();
    assert_eq!(names, [Some("arrow.json"), Some("arrow.uuid")]);
}

#[test]
fn what_a_file_says_is_no_command_to_the_terminal() {
    let lab = Lab::with_arena();
    let header = "{'descr': '\x1b[2J\x1cf4', 'fortran_order': False, 'shape': (3,), }\n";
    let line = lab.fails(1, ["put", "a", "x", &lab.write("c.npy", npy(header))]);
    assert!(line.contains(r"\u{1b}[2J\u{1c}f4") && !line.contains(char::is_control), "{line}");
    // Nor in what is told beside a success.
    let outcome = lab.run(["put", "a", "x", &lab.write("c.csv", "\x1b[2J,\x1b[2J\n1,2\n")]);
    assert!(outcome.status.success() && outcome.stderr.contains(r"`\u{1b}[2J`"), "{outcome:?}");
}

#[test]
fn a_csv_that_fails_in_its_data_says_one_line() {
    let lab = Lab::with_arena();
    let file = lab.write("f.csv", "n\n1\nx\n");
    let outcome = lab.run(["put", "a", "x", &file, "--infer-rows", "1"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    let outcome = lab.run(["put", "a", "x", &file]);
    assert!(outcome.status.success() && outcome.stderr.contains("all 2 rows"), "{outcome:?}");
}

#[test]
fn what_is_said_of_csv_files_is_wrong_usage_of_others() {
    let lab = Lab::with_arena();
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter_with_nullable([("n", column, true)]).unwrap();
    let table = lab.write("t.arrow", ipc_file(&[batch]));
    let csv = lab.write("n.csv", "n\n1\n");
    for said in [
        &["--type", "n=int64"][..],
        &["--null", "NA"],
        &["--text", "n"],
        &["--delimiter", ";"],
        &["--no-header"],
        &["--infer-rows", "5"],
    ] {
        for verb in [["put", "a", "x", &table], ["send", "a", "c", &table]] {
            let line = lab.fails(2, [&verb[..], said].concat());
            assert!(line.contains(said[0]) && line.contains("Arrow IPC file"), "{line}");
        }
    }
    assert_eq!(lab.json(["ls", "a"]), serde_json::json!([]));
    // Of several files, one is enough.
    lab.ok(["send", "a", "c", &csv, &table, "--type", "n=int32", "--keep-open"]);
}

/// A file with one INT96 column, of (days since 1970, nanoseconds).
fn int96(lab: &Lab, values: &[(i32, u64)]) -> String {
    let schema = Arc::new(parse_message_type("message m { required int96 t; }").unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let value = |(day, nanos): &(i32, u64)| {
        let mut value = Int96::new();
        value.set_data(*nanos as u32, (nanos >> 32) as u32, (day + 2_440_588).cast_unsigned());
        value
    };
    let values: Vec<Int96> = values.iter().map(value).collect();
    column.typed::<Int96Type>().write_batch(&values, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    lab.write("t.parquet", writer.into_inner().unwrap())
}

#[test]
fn int96_times_are_read_in_a_unit_that_holds_all_of_them() {
    let lab = Lab::with_arena();
    let printed = |values: &[(i32, u64)]| {
        lab.ok(["put", "a", "x", &int96(&lab, values)]);
        let unit = batches(&lab, "x").remove(0).schema().field(0).data_type().to_string();
        (unit, lab.ok(["cat", "a", "x", "--format", "csv"]))
    };
    let (unit, text) = printed(&[(0, 1), (1, 0)]);
    assert!(unit.contains("ns"), "{unit}");
    assert!(text.contains("1970-01-01T00:00:00.000000001"), "{text}");
    // The years 1000 and 9999.
    let (unit, text) = printed(&[(-354_285, 1000), (2_932_896, 0)]);
    assert!(unit.contains("µs"), "{unit}");
    assert!(text.contains("1000-01-01T00:00:00.000001") && text.contains("9999-12-31T00:00:00"), "{text}");
    let line = lab.fails(1, ["put", "a", "x", &int96(&lab, &[(-354_285, 0), (0, 1)])]);
    assert!(line.contains("`\"t\"`") && line.contains("nanoseconds"), "{line}");
}

/// A type of so many fields in each other.
fn nested(depth: usize) -> DataType {
    (1..depth).fold(DataType::Int32, |inner, _| DataType::new_list(inner, true))
}

#[test]
fn deep_columns_are_refused_with_the_limit() {
    let lab = Lab::with_arena();
    let make = |depth: usize| {
        let column = new_null_array(&nested(depth), 1);
        let batch = RecordBatch::try_from_iter_with_nullable([("deep", column, true)]).unwrap();
        let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        parquet.write(&batch).unwrap();
        [
            lab.write("d.arrow", ipc_file(std::slice::from_ref(&batch))),
            lab.write("d.arrows", stream(&[batch])),
            lab.write("d.parquet", parquet.into_inner().unwrap()),
        ]
    };
    // arrow needs a stack for that, and is not what is tested.
    let file = |depth| {
        std::thread::scope(|scope| {
            let large = std::thread::Builder::new().stack_size(64 << 20);
            large.spawn_scoped(scope, || make(depth)).expect("a thread").join().expect("files")
        })
    };
    for file in file(60) {
        assert_eq!(lab.json(["put", "a", "x", &file])["rows"], 1);
        lab.ok(["cat", "a", "x", "--format", "json"]);
    }
    for depth in [61, 100] {
        for file in &file(depth)[..2] {
            assert!(lab.fails(1, ["put", "a", "x", file]).contains("more than 60"), "{depth} {file}");
        }
    }
    assert!(lab.fails(1, ["put", "a", "x", &file(61)[2]]).contains("more than 60"));
    // A footer with a schema of 300,000 levels, in 1.8 MB: no stack is for that.
    let mut footer = vec![0x15, 2, 0x19, 0xfc, 0xe0, 0xa7, 0x12];
    (0..300_000).for_each(|_| footer.extend([0x48, 1, b'x', 0x15, 2, 0]));
    let length = (footer.len() as u32).to_le_bytes();
    let file = lab.write("f.parquet", [b"PAR1", footer.as_slice(), &length, b"PAR1"].concat());
    let line = lab.fails(1, ["put", "a", "x", &file]);
    assert!(line.contains("299999 levels deep, more than the 180"), "{line}");
}

fn npy(header: &str) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes()].concat()
}

#[test]
fn headers_of_arrays_are_bounded() {
    let lab = Lab::with_arena();
    let deep = format!("{}1{}\n", "[".repeat(60), "]".repeat(60));
    let file = lab.write("deep.npy", npy(&deep));
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("no Python dict"));
    let records = format!("{}'<f8'{}", "[('a', ".repeat(60), ")]".repeat(60));
    let deep = format!("{{'descr': {records}, 'fortran_order': False, 'shape': (), }}\n");
    let file = lab.write("deep.npy", npy(&deep));
    let line = lab.fails(1, ["put", "a", "x", &file]);
    assert!(line.contains("17") && line.contains("16"), "{line}");
    let long = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': (), }}{}\n", " ".repeat(80_000));
    let long = [b"\x93NUMPY\x02\0", &(long.len() as u32).to_le_bytes()[..], long.as_bytes()].concat();
    let file = lab.write("long.npy", long);
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("66560"));
    let file = lab.write("short.npy", &npy("{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n")[..40]);
    assert!(lab.fails(1, ["put", "a", "x", &file]).contains("ends within"));
    for (header, why) in [
        ("{'descr': '<f8', 'fortran_order': Maybe, 'shape': (), }\n", "Maybe"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (x), }\n", "(x)"),
        ("{'descr': '<f8', 'fortran_order': False, }\n", "no `shape`"),
        ("{'fortran_order': False, 'shape': (), }\n", "no `descr`"),
        ("{'descr': ('<f8', (2,)), 'fortran_order': False, 'shape': (), }\n0123456789abcdef", "last axes"),
    ] {
        let length = header.find('\n').unwrap() + 1;
        let (header, data) = header.split_at(length);
        let file = lab.write("wrong.npy", [npy(header), data.as_bytes().to_vec()].concat());
        let line = lab.fails(1, ["put", "a", "x", &file]);
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn files_are_known_by_how_they_begin() {
    let lab = Lab::with_arena();
    let batch = numbers(0..3);
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    let array = [npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }\n"), vec![0; 12]].concat();
    for (what, bytes) in [
        ("p", parquet.into_inner().unwrap()),
        ("f.dat", ipc_file(std::slice::from_ref(&batch))),
        ("s.bin", stream(&[batch])),
        ("n.data", array),
    ] {
        lab.ok(["put", "a", "x", &lab.write(what, bytes)]);
    }
    lab.fails(2, ["put", "a", "x", &lab.write("u.unknown", "what is it")]);
    for what in ["p", "f.dat", "s.bin"] {
        assert_eq!(lab.json(["send", "a", "c", &lab.file(what), "--keep-open"])["rows"], 3, "{what}");
    }
    let line = lab.fails(2, ["send", "a", "c", &lab.file("n.data")]);
    assert!(line.contains("no record batches"), "{line}");
    assert_eq!(lab.json(["put", "a", "x", &lab.file("f.dat"), "--format", "bytes"])["kind"], "bytes");
}

#[test]
fn put_tells_what_it_published() {
    let lab = Lab::with_arena();
    let array = lab
        .write("x.npy", [npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }\n"), vec![0; 24]].concat());
    assert!(lab.ok(["put", "a", "x", &array]).starts_with("x: version 1, array of 6 elements, "));
    let told = lab.json(["put", "a", "x", &array]);
    assert_eq!(told["elements"], 6);
    assert!(told.get("rows").is_none(), "{told}");
    let told = lab.json(["put", "a", "b", &array, "--format", "bytes"]);
    assert_eq!(told["bytes"], std::fs::metadata(&array).unwrap().len());
    assert!(told.get("rows").is_none(), "{told}");
    // As `ls` does.
    let listed = lab.json(["ls", "a"]);
    let of = |name: &str| listed.as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap().clone();
    assert_eq!((&of("x")["elements"], of("x").get("rows")), (&6.into(), None));
    assert_eq!((&of("b")["bytes"], of("b").get("rows")), (&told["bytes"], None));
    let listed = lab.ok(["ls", "a"]);
    assert!(listed.contains("6 elements"), "{listed}");
    let table = lab.write("t.arrow", ipc_file(&[numbers(0..5)]));
    let told = lab.json(["put", "a", "t", &table]);
    let listed = lab.json(["ls", "a"]);
    let listed = listed.as_array().unwrap().iter().find(|entry| entry["name"] == "t").unwrap();
    assert_eq!(told["bytes"], listed["bytes"]);
    assert_eq!(told["rows"], 5);
}

#[test]
fn put_does_not_ask_what_its_name_means_after_it_published() {
    // Somebody removes the name all the time, so that a second look fails sooner or later.
    let lab = Lab::with_arena();
    let file = lab.write("t.arrow", ipc_file(&[numbers(0..5)]));
    let arena = faretra::Arena::options().dir(lab.dir()).open("a").unwrap();
    let writer = arena.writer().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                writer.remove("x").unwrap();
            }
        });
        let told: Vec<_> = (0..40).map(|_| lab.run(["put", "a", "x", &file, "--json"])).collect();
        ended.store(true, Relaxed);
        for outcome in told {
            assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
            assert!(outcome.stdout.contains("\"rows\": 5") || outcome.stdout.contains("\"rows\":5"), "{outcome:?}");
        }
    });
}

#[test]
fn changed_files_are_read_or_refused_and_never_end_the_process() {
    let lab = Lab::with_arena();
    let batch = {
        let text: ArrayRef =
            Arc::new((0..50).map(|i| (i % 7 != 0).then(|| format!("t{}", i % 5))).collect::<StringArray>());
        let keys: ArrayRef = Arc::new(["x", "y"].repeat(25).into_iter().collect::<DictionaryArray<Int32Type>>());
        let mut lists = ListBuilder::new(arrow_array::builder::Int64Builder::new());
        (0..50).for_each(|i| lists.append_value((0..i % 4).map(Some)));
        let lists: ArrayRef = Arc::new(lists.finish());
        RecordBatch::try_from_iter_with_nullable([("t", text, true), ("d", keys, true), ("l", lists, true)]).unwrap()
    };
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    let array = [npy("{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }\n"), vec![0; 12]].concat();
    let files = HashMap::from([
        ("m.parquet", parquet.into_inner().unwrap()),
        ("m.arrow", ipc_file(std::slice::from_ref(&batch))),
        ("m.arrows", stream(&[batch])),
        ("m.npy", array),
    ]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for (name, bytes) in &files {
        for round in 0..60 {
            let mut bytes = bytes.clone();
            for _ in 0..=random(3) {
                let at = random(bytes.len());
                match random(4) {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => bytes[at] = [0, 1, 127, 128, 255][random(5)],
                    2 => bytes.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            let file = lab.write(name, &bytes);
            let outcome = lab.run(["put", "a", "x", &file]);
            assert!(matches!(outcome.status.code(), Some(0 | 1)), "{name} {round}: {outcome:?}");
            let panic = ["panicked", "unwrap()", "unreachable code"];
            assert!(!panic.iter().any(|word| outcome.stderr.contains(word)), "{name} {round}: {outcome:?}");
            assert!(outcome.stderr.lines().count() <= 1, "{name} {round}: {outcome:?}");
        }
    }
}
