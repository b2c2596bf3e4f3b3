//! Wrong input of every verb ends with the promised exit code and a line that says why.

use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, RecordBatch, StructArray};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{DataType, Field, Fields};

use crate::support::{Lab, finish};

#[test]
fn wrong_usage_is_exit_code_2() {
    let lab = Lab::with_arena();
    for args in [
        &[][..],
        &["frobnicate"],
        &["create"],
        &["create", "b", "--limit", "many"],
        &["create", "b", "--limit", "0"],
        &["limit", "a", "0"],
        &["limit", "a", "much"],
        &["create", "b", "--writers", "0"],
        &["create", "b", "--mode", "0777"],
        &["create", "b", "--limit", "2GiB", "--capacity", "1GiB"],
        &["put", "a", "x"],
        &["put", "a", "x", "file.unknown"],
        &["put", "a", "x", "-"],
        &["put", "a", "x", "f.csv", "--batch-rows", "0"],
        &["put", "a", "x", "f.csv", "--delimiter", "ab"],
        &["cat", "a"],
        &["cat", "a", "x", "--format", "xml"],
        &["cat", "a", "x", "--head", "-1"],
        &["export", "a", "x"],
        &["export", "a", "x", "file.unknown"],
        &["send", "a", "c"],
        &["send", "a", "c", "file.unknown"],
        &["send", "a", "c", "file.npy"],
        &["send", "a", "c", "-"],
        &["send", "a", "c", "-", "-", "--format", "csv"],
        &["send", "a", "c", "f.csv", "--batch-rows", "0"],
        &["send", "a", "c", "f.csv", "--capacity", "0"],
        &["send", "a", "c", "f.csv", "--capacity", "65537"],
        &["recv", "a"],
        &["recv", "a", "c", "--format", "xml"],
        &["recv", "a", "c", "--head", "0"],
        &["recv", "a", "c", "--force"],
        &["recv", "a", "c", "--export", "file.unknown"],
        &["recv", "a", "c", "--export", "f.csv", "--format", "json"],
        &["recv", "a", "c", "--format", "parquet"],
        &["rm"],
        &["rm", "a", "--older", "soon"],
        &["who"],
        &["recover"],
        &["verify"],
        &["stat"],
        &["demo", "--size", "1"],
    ] {
        let outcome = lab.run(args);
        assert_eq!(outcome.status.code(), Some(2), "{args:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
        assert!(outcome.stdout.is_empty(), "{args:?}: {outcome:?}");
    }
    assert_eq!(lab.files(), ["faretra.a"]);
}

#[test]
fn an_arena_that_is_not_there_is_told_by_every_verb() {
    let lab = Lab::new();
    let csv = lab.write("f.csv", "a\n1\n");
    let out = lab.file("out.csv");
    for args in [
        &["ls", "none"][..],
        &["stat", "none"],
        &["put", "none", "x", &csv],
        &["cat", "none", "x"],
        &["export", "none", "x", &out],
        &["send", "none", "c", &csv],
        &["recv", "none", "c"],
        &["recv", "none", "c", "--export", &out],
        &["rm", "none"],
        &["rm", "none", "x"],
        &["rm", "none", "--older", "1h"],
        &["who", "none"],
        &["recover", "none"],
        &["verify", "none"],
    ] {
        let line = lab.fails(1, args);
        assert!(line.contains("none"), "{args:?}: {line}");
    }
    assert_eq!(lab.files(), ["f.csv"]);
}

#[test]
fn a_name_that_is_not_there_is_told() {
    let lab = Lab::with_arena();
    assert!(lab.fails(1, ["cat", "a", "x"]).contains("`x`"));
    assert!(lab.fails(1, ["export", "a", "x", &lab.file("o.csv")]).contains("`x`"));
    assert!(lab.fails(1, ["rm", "a", "x"]).contains("`x`"));
    assert_eq!(lab.files(), ["faretra.a"]);
}

#[test]
fn names_and_directories_are_checked() {
    let lab = Lab::with_arena();
    for name in ["", "a/b", "..", "a\nb"] {
        lab.fails(1, ["create", name]);
    }
    lab.fails(1, ["create", "a"]);
    let file = lab.write("f.csv", "a\n1\n");
    lab.fails(1, ["put", "a", "", &file]);
    lab.fails(1, ["create", "b", "--dir", "/nonexistent/directory"]);
    lab.fails(1, ["ls", "--dir", "/nonexistent/directory"]);
    lab.fails(1, ["put", "a", "x", "/nonexistent/file.csv"]);
    lab.fails(1, ["put", "a", "x", "/dev/shm", "--format", "csv"]);
}

#[test]
fn files_that_are_not_what_their_name_says_are_told() {
    let lab = Lab::with_arena();
    let nonsense: Vec<u8> = (0..5000u32).map(|i| (i * 7919 % 256) as u8).collect();
    for extension in ["parquet", "arrow", "arrows", "npy", "csv"] {
        for (what, bytes) in [("empty", &[][..]), ("short", &b"PA"[..]), ("nonsense", &nonsense[..])] {
            let file = lab.write(&format!("{what}.{extension}"), bytes);
            if extension == "csv" && what == "short" {
                // That is a column's name.
                continue;
            }
            let line = lab.fails(1, ["put", "a", "x", &file]);
            assert!(line.contains(&file), "{line}");
            assert!(!line.contains("panicked"), "{line}");
        }
    }
    let feather = lab.write("old.feather", b"FEA1....");
    assert!(lab.fails(1, ["put", "a", "x", &feather]).contains("Feather version 1"));
    assert_eq!(lab.json(["ls", "a"]), serde_json::json!([]));
}

#[test]
fn damaged_files_are_errors_and_nothing_of_them_is_published() {
    // Some decoders panic on damaged files; the command must not.
    let lab = Lab::with_arena();
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..1000));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let mut arrow = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    arrow.write(&batch).unwrap();
    let arrow = arrow.into_inner().unwrap();
    let mut parquet = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    parquet.write(&batch).unwrap();
    let parquet = parquet.into_inner().unwrap();
    for (extension, whole) in [("arrow", &arrow), ("parquet", &parquet)] {
        // Cut anywhere.
        for eighth in 1..8 {
            let file = lab.write(&format!("cut.{extension}"), &whole[..whole.len() * eighth / 8]);
            lab.fails(1, ["put", "a", "cut", &file]);
        }
        // A flipped bit in the metadata may also leave a file that can be read.
        for step in 0..24 {
            let mut bytes = whole.clone();
            let at = match extension {
                "arrow" if step % 2 == 0 => step * 8,
                _ => bytes.len() - 1 - step * 7,
            };
            bytes[at] ^= 1 << (step % 8);
            let file = lab.write(&format!("flipped.{extension}"), &bytes);
            let outcome = lab.run(["put", "a", "flipped", &file]);
            let code = outcome.status.code();
            assert!(code == Some(0) || code == Some(1), "{step}: {outcome:?}");
            assert!(!outcome.stderr.contains("RUST_BACKTRACE"), "{outcome:?}");
        }
    }
    lab.fails(1, ["cat", "a", "cut"]);
}

#[test]
fn arrays_that_cannot_be_are_told() {
    let lab = Lab::with_arena();
    let header = |text: &str| {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16 + 1).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(b'\n');
        bytes
    };
    for (text, data, why) in [
        ("{'descr': '<M8[xs]', 'fortran_order': False, 'shape': (1,)}", 8, "<M8[xs]"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (1,)}", 0, "0 bytes"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 8, "pointers"),
        ("{'descr': [('x', '<f4'), ('y', '|O')], 'fortran_order': False, 'shape': (1,)}", 12, "pointers"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", 8, "cut"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}", 16, "more than one"),
        (
            "{'descr': '<f8', 'fortran_order': False, \
             'shape': (4294967296, 4294967296, 4294967296)}",
            8,
            "more than can be",
        ),
        ("{'descr': '|b1', 'fortran_order': False, 'shape': (4,)}", 4, "bool"),
    ] {
        let mut bytes = header(text);
        bytes.extend(std::iter::repeat_n(7, data));
        let file = lab.write("in.npy", &bytes);
        let line = lab.fails(1, ["put", "a", "x", &file]);
        assert!(line.contains(why), "{line}");
    }
    lab.fails(1, ["cat", "a", "x"]);
}

#[test]
fn csv_errors_say_where_and_what_to_do() {
    let lab = Lab::with_arena();
    let ragged = lab.write("ragged.csv", "a,b\n1,2\n3\n");
    assert!(lab.fails(1, ["put", "a", "x", &ragged]).contains("line 3 has 1 field where"));
    let latin = lab.write("latin.csv", b"a,b\n1,\xe9t\xe9\n");
    assert!(lab.fails(1, ["put", "a", "x", &latin]).contains("UTF-8"));
    let late = lab.write("late.csv", "a\n1\n2\nthree\n");
    let line = lab.fails(1, ["put", "a", "x", &late, "--infer-rows", "2"]);
    assert!(line.contains("three") && line.contains("--text"), "{line}");
    let line = lab.fails(1, ["put", "a", "x", &late, "--text", "b"]);
    assert!(line.contains("no column `b`"), "{line}");
    lab.ok(["put", "a", "x", &late]);
}

#[test]
fn values_that_a_format_cannot_hold_are_told() {
    let lab = Lab::with_arena();
    let csv = lab.write("t.csv", "a\n1\n");
    lab.ok(["put", "a", "table", &csv]);
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let text = "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 2)}\n";
    npy.extend((text.len() as u16).to_le_bytes());
    npy.extend(text.as_bytes());
    npy.extend([1, 2, 3, 4]);
    let npy = lab.write("x.npy", npy);
    lab.ok(["put", "a", "array", &npy]);
    lab.ok(["put", "a", "bytes", &csv, "--format", "bytes"]);
    let inner: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let fields = Fields::from(vec![Field::new("i", DataType::Int32, true)]);
    let nested: ArrayRef = Arc::new(StructArray::new(fields, vec![inner], None));
    let batch = RecordBatch::try_from_iter([("s", nested)]).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    let file = lab.write("nested.arrow", file.into_inner().unwrap());
    lab.ok(["put", "a", "nested", &file]);

    let out = |name: &str| lab.file(name);
    for (args, why) in [
        (&["export", "a", "table", &out("o.npy")][..], "export to"),
        (&["export", "a", "array", &out("o.csv")], ".npy"),
        (&["export", "a", "bytes", &out("o.csv")], "--format bytes"),
        (&["export", "a", "nested", &out("o.csv")], "column `s`"),
        (&["cat", "a", "nested", "--format", "csv"], "column `s`"),
        (&["cat", "a", "array", "--format", "csv"], "--format json"),
        (&["cat", "a", "bytes", "--format", "csv"], "--format"),
        (&["cat", "a", "array", "--columns", "x"], "no columns"),
        (&["cat", "a", "table", "--columns", "x"], "the columns are a"),
        (&["cat", "a", "table", "--item", "x"], "not a bundle"),
    ] {
        let line = lab.fails(1, args);
        assert!(line.contains(why), "{args:?}: {line}");
    }
    assert!(!lab.files().iter().any(|file| file.starts_with("o.") || file.starts_with('.')));
}

#[test]
fn export_replaces_nothing_unless_told_and_leaves_no_half_files() {
    let lab = Lab::with_arena();
    let csv = lab.write("t.csv", "a\n1\n");
    lab.ok(["put", "a", "t", &csv]);
    let out = lab.write("out.csv", "precious");
    assert!(lab.fails(1, ["export", "a", "t", &out]).contains("--force"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "precious");
    lab.ok(["export", "a", "t", &out, "--force"]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "a\n1\n");
    lab.fails(1, ["export", "a", "t", &lab.file("no/such/dir/out.csv")]);
    lab.fails(1, ["export", "a", "t", &lab.file("."), "--format", "csv", "--force"]);
    assert_eq!(lab.files(), ["faretra.a", "out.csv", "t.csv"]);
}

/// A script that runs `verify` goes on where the arena is whole, and stops where it is not.
#[test]
fn verify_exits_with_1_where_an_arena_is_damaged() {
    let lab = Lab::with_arena();
    let csv = lab.write("t.csv", "a\n1\n");
    lab.ok(["put", "a", "t", &csv]);
    lab.ok(["verify", "a"]);
    // The file is as long as its capacity; its words are at its beginning.
    let mut whole = Vec::new();
    let file = std::fs::File::open(lab.path("faretra.a")).unwrap();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 1 << 20), &mut whole).unwrap();
    let (mut broken, mut refused) = (0, 0);
    // A bit of each word in use, until both were seen: rules that are broken, and a file that is no arena.
    for at in (0..whole.len()).step_by(8).filter(|at| whole[*at..*at + 8] != [0; 8]) {
        let file = std::fs::File::options().write(true).open(lab.path("faretra.a")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[whole[at + 2] ^ 0x10], at as u64 + 2).unwrap();
        let outcome = lab.run(["verify", "a", "--json"]);
        match (outcome.status.code(), outcome.stdout.contains("\"clean\":false")) {
            (Some(0), false) => assert!(outcome.stdout.contains("\"clean\":true"), "{outcome:?}"),
            (Some(1), true) => {
                broken += 1;
                let plain = lab.run(["verify", "a"]);
                assert_eq!(plain.status.code(), Some(1), "{plain:?}");
                assert!(plain.stderr.starts_with("faretra: "), "{plain:?}");
            }
            (Some(1), false) => refused += 1,
            _ => panic!("word at {at}: {outcome:?}"),
        }
        std::os::unix::fs::FileExt::write_all_at(&file, &whole[at..at + 8], at as u64).unwrap();
        if broken > 0 && refused > 0 {
            return;
        }
    }
    panic!("{broken} times a rule was broken, {refused} times it was no arena");
}

#[test]
fn a_foreign_file_is_no_arena_and_is_left_alone() {
    let lab = Lab::with_arena();
    lab.write("faretra.foreign", vec![0x5a; 100_000]);
    lab.write("faretra.empty", []);
    for name in ["foreign", "empty"] {
        for verb in ["stat", "who", "verify", "recover", "ls"] {
            lab.fails(1, [verb, name]);
        }
        lab.fails(1, ["cat", name, "x"]);
    }
    // The list says so, and shows the others.
    let listed = lab.json(["ls"]);
    let listed = listed.as_array().unwrap();
    assert!(listed.iter().any(|arena| arena["arena"] == "a" && arena["problem"].is_null()));
    for arena in listed.iter().filter(|arena| arena["arena"] != "a") {
        assert!(arena["problem"].is_string(), "{arena}");
    }
    lab.ok(["ls"]);
}

/// A limit of the process on its files or its address space is an error that names it, and no signal.
#[test]
fn limits_of_the_process_are_named() {
    let lab = Lab::with_arena();
    let rows: String = (0..200_000).map(|n| format!("{}\n", n * 7919)).collect();
    let file = lab.write("a.csv", format!("a\n{rows}"));
    lab.ok(["put", "a", "x", file.as_str()]);
    let limited = |limit: &str, args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_faretra");
        let script = format!("ulimit {limit}; exec {program} \"$@\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).args(args).env("FARETRA_DIR", lab.dir());
        let shell = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let outcome = finish(shell.spawn().unwrap());
        assert_eq!(outcome.status.code(), Some(1), "{args:?}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{args:?}: {outcome:?}");
        outcome.stderr
    };
    for name in ["out.csv", "out.parquet", "out.arrow"] {
        let error = limited("-f 100", &["export", "a", "x", &lab.file(name)]);
        assert!(error.contains("ulimit -f"), "{error}");
        assert!(!lab.path(name).exists(), "whole or not at all");
    }
    assert!(limited("-f 100", &["create", "b"]).contains("ulimit -f"));
    let error = limited("-v 20000000", &["ls", "a"]);
    assert!(error.contains("ulimit -v") && error.contains("GiB"), "{error}");
}

/// What looks after an arena is possible also when all its seats are taken; `trim` gives memory back.
#[test]
fn freed_memory_is_given_back() {
    let lab = Lab::with_arena();
    let file = lab.write("a.csv", format!("a\n{}", "123456789\n".repeat(300_000)));
    lab.ok(["put", "a", "x", file.as_str()]);
    lab.ok(["rm", "a", "x"]);
    let used = || lab.json(["stat", "a"])["used"].as_u64().unwrap();
    let before = used();
    let bytes = lab.json(["trim", "a"])["bytes"].as_u64().unwrap();
    assert!(bytes > 1 << 20 && used() + bytes <= before + 4096, "{bytes} of {before}, {} left", used());
    assert!(lab.ok(["trim", "a"]).contains("gave back"));
}

/// `limit` changes what an arena may use, up to its capacity.
#[test]
fn the_limit_of_an_arena_is_changed() {
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "1MiB", "--capacity", "1GiB"]);
    let file = lab.write("a.csv", format!("a\n{}", "123456789\n".repeat(300_000)));
    assert!(lab.fails(1, ["put", "a", "x", file.as_str()]).contains("no room"));
    assert!(lab.ok(["limit", "a", "64MiB"]).contains("64.0 MiB"));
    lab.ok(["put", "a", "x", file.as_str()]);
    assert_eq!(lab.json(["stat", "a"])["limit"], 64 << 20);
    assert!(lab.fails(1, ["limit", "a", "2GiB"]).contains("capacity"));
}

/// What would be written is what the name says: no compression under a name that promises it, and nothing of another
/// format is read as CSV.
#[test]
fn names_that_promise_something_else_are_refused() {
    let lab = Lab::with_arena();
    let file = lab.write("a.csv", "a,s\n1,x\n");
    lab.ok(["put", "a", "x", file.as_str()]);
    assert!(lab.fails(2, ["export", "a", "x", &lab.file("b.csv.gz")]).contains("not compressed"));
    let parquet = lab.file("b.parquet");
    lab.ok(["export", "a", "x", &parquet]);
    std::fs::rename(&parquet, lab.path("c.csv")).unwrap();
    let error = lab.fails(1, ["put", "a", "y", &lab.file("c.csv")]);
    assert!(error.contains("Parquet file") && error.contains("--format parquet"), "{error}");
}
