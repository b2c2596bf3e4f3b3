//! Shows that rows come out in every format as they are, and go into an arena for others to read.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use faretra::Kind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{Lab, flights};

const QUERY: &str = "SELECT id, port, delay FROM flights ORDER BY id";

fn lab() -> Lab {
    let lab = Lab::new();
    lab.arena("air").writer().unwrap().publish("flights", flights()).unwrap();
    lab
}

/// Whether a batch has the rows of `flights`, whatever kind of text the engine made of its text.
fn same(batch: &RecordBatch) {
    let text = arrow_cast::cast(batch.column(1), &arrow_schema::DataType::Utf8).unwrap();
    let expected = flights();
    assert_eq!((batch.column(0), &text, batch.column(2)), (expected.column(0), expected.column(1), expected.column(2)));
}

/// Shows that each format of text has the rows, their captions and a value that is none.
#[test]
fn text() {
    let lab = lab();
    assert_eq!(lab.ok(["air", QUERY, "--format", "csv"]), "id,port,delay\n1,LIS,4.5\n2,OPO,\n3,LIS,8.0\n");
    let lines = "{\"id\":1,\"port\":\"LIS\",\"delay\":4.5}\n{\"id\":2,\"port\":\"OPO\",\"delay\":null}\n";
    assert!(lab.ok(["air", QUERY, "--format", "jsonl"]).starts_with(lines));
    assert!(lab.ok(["air", QUERY, "--json"]).starts_with("[\n{\"id\":1,"));
    let table = lab.ok(["air", QUERY]);
    assert!(table.starts_with("   id  port    delay\n") && table.ends_with("(3 rows)\n"), "{table}");
    assert_eq!(lab.ok(["air", "SELECT id FROM flights WHERE id > 9", "--format", "csv"]), "id\n");
    assert_eq!(lab.ok(["air", "SELECT id FROM flights WHERE id > 9", "--json"]), "[\n]\n");
    let plan = lab
        .ok(["air", "EXPLAIN SELECT max(delay) FROM flights WHERE port = 'a text that is longer than a cell can be'"]);
    assert!(plan.contains("physical_plan:\n") && plan.contains("a text that is longer than a cell can be"), "{plan}");
}

/// Shows that text with tabs and compressed text are read by their names, with the types that `faretra put` finds, also twice in a
/// statement; and that a damaged one is an error that names it.
#[test]
fn text_by_name() {
    let lab = lab();
    std::fs::write(lab.path("f.tsv"), "id\tname, long\n1\tone, two\n2\t\n").unwrap();
    gzip(&lab, "F.CSV.gz", "id,price\n1,1.50\n2,12345678901234567890.5\n");
    gzip(&lab, "g.tsv.gz", "id\tn\n1\t7\n3\t8\n");
    let both = "SELECT a.id, a.\"name, long\" AS name, price, n FROM 'f.tsv' a JOIN 'F.CSV.gz' p ON p.id = a.id \
                LEFT JOIN 'g.tsv.gz' g ON g.id = a.id JOIN 'f.tsv' b ON b.id = a.id ORDER BY a.id";
    let told = lab.ok(["air", both, "--format", "csv"]);
    // A number that no float holds makes the column text.
    assert_eq!(told, "id,name,price,n\n1,\"one, two\",1.50,7\n2,,12345678901234567890.5,\n");
    assert_eq!(lab.ok(["air", "SELECT count(*) AS n FROM 'f.tsv' LIMIT 1", "--format", "csv"]), "n\n2\n");
    std::fs::write(lab.path("cut.csv.gz"), &std::fs::read(lab.path("F.CSV.gz")).unwrap()[..30]).unwrap();
    let why = lab.fails(1, ["air", "SELECT * FROM 'cut.csv.gz'"]);
    assert!(why.contains("cut.csv.gz"), "{why}");
    let why = lab.fails(1, ["air", "SELECT * FROM 'nix.csv.gz'"]);
    assert!(why.contains("no file `nix.csv.gz`"), "{why}");
}

/// Compresses a text into a file.
fn gzip(lab: &Lab, name: &str, text: &str) {
    let mut gzip = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    std::fs::write(lab.path(name), gzip.wait_with_output().unwrap().stdout).unwrap();
}

/// Shows that Parquet and Arrow have the rows, in a file and in a pipe, and are read again where they are named.
#[test]
fn files() {
    let lab = lab();
    lab.ok(["air", QUERY, "-o", "f.parquet"]);
    let file = File::open(lab.path("f.parquet")).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.for_each(|batch| same(&batch.unwrap()));
    lab.ok(["air", QUERY, "-o", "f.arrow"]);
    let batches = arrow_ipc::reader::FileReader::try_new(File::open(lab.path("f.arrow")).unwrap(), None).unwrap();
    batches.for_each(|batch| same(&batch.unwrap()));
    let piped = lab.run(["air", QUERY, "--format", "arrow-stream"]).stdout;
    let batches = arrow_ipc::reader::StreamReader::try_new(piped.as_slice(), None).unwrap();
    assert_eq!(batches.map(|batch| same(&batch.unwrap())).count(), 1);
    lab.ok(["air", QUERY, "-o", "f.csv"]);
    for file in ["f.parquet", "f.arrow", "f.csv"] {
        let joined = format!("SELECT sum(id) AS s FROM flights JOIN '{file}' AS f USING (id)");
        assert_eq!(lab.ok(["air", &joined, "--format", "csv"]), "s\n6\n", "{file}");
    }
    let there = lab.fails(2, ["air", QUERY, "-o", "f.docx"]);
    assert!(there.contains(".parquet"), "{there}");
    let there = lab.fails(1, ["air", QUERY, "-o", "f.parquet"]);
    assert!(there.contains("--force"), "{there}");
}

/// Shows that several arenas are schemas of one statement, also with names that need quotes.
#[test]
fn arenas() {
    let lab = lab();
    lab.arena("Sea-2").writer().unwrap().publish("a \"b\" ü", flights()).unwrap();
    let query = "SELECT count(*) AS n FROM flights JOIN \"Sea-2\".\"a \"\"b\"\" ü\" USING (id)";
    assert_eq!(lab.ok(["air,Sea-2", query, "--format", "csv"]), "n\n3\n");
    let listed = lab.ok(["air,Sea-2", "SHOW TABLES", "--format", "csv"]);
    assert_eq!(listed, "arena,name,kind\nair,flights,batch\nSea-2,\"a \"\"b\"\" ü\",batch\n");
}

/// Shows that `--into` publishes what a query gives, replaces a table, feeds a channel, and leaves other things alone.
#[test]
fn into() {
    let lab = lab();
    let arena = lab.arena("other");
    let writer = arena.writer().unwrap();
    writer.publish("flights", flights()).unwrap();
    assert_eq!(lab.ok(["other", QUERY, "--into", "late ü"]), "late ü: 3 rows\n");
    let none = ["other", "SELECT id FROM flights WHERE id > 9", "--into", "late ü", "--json"];
    assert_eq!(lab.ok(none), "{\"arena\":\"other\",\"name\":\"late ü\",\"rows\":0}\n");
    let table = arena.table("late ü").unwrap();
    assert_eq!((table.num_rows(), table.schema().fields().len()), (0, 1));
    let _sender = writer.sender("jobs", 4).unwrap();
    let receiver = arena.receiver("jobs").unwrap();
    lab.ok(["other", "SELECT id FROM flights ORDER BY id", "--into", "jobs"]);
    let batch = receiver.recv().unwrap().batch().unwrap();
    assert_eq!(RecordBatch::column(&batch, 0).as_primitive::<arrow_array::types::Int64Type>().values(), &[1, 2, 3]);
    writer.publish("array", faretra::ndarray::Array1::<u8>::zeros(4)).unwrap();
    let why = lab.fails(1, ["other", QUERY, "--into", "array"]);
    assert!(why.contains("`array` is of kind array"), "{why}");
    assert_eq!(arena.get("array").unwrap().kind(), Kind::Array);
    let why = lab.fails(2, ["other", "SELECT 1; SELECT 2", "--into", "x"]);
    assert!(why.contains("2 statements"), "{why}");
}
