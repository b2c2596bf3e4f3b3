//! CSV files as people have them: each value comes back as what its text says, or the file is refused in words.

use std::io::Write;
use std::process::{Command, Stdio};

use faretra::Arena;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Lab, finish};

/// Puts a CSV, and gives the types of its columns and what is printed of it.
fn put(lab: &Lab, text: &str, more: &[&str]) -> (Vec<String>, String) {
    let file = lab.write("in.csv", text);
    lab.ok([&["put", "a", "t", &file], more].concat());
    (types(lab, "t"), lab.ok(["cat", "a", "t", "--format", "csv"]))
}

fn types(lab: &Lab, name: &str) -> Vec<String> {
    let table = Arena::options().dir(lab.dir()).open("a").unwrap().table(name).unwrap();
    table.schema().fields().iter().map(|field| field.data_type().to_string()).collect()
}

/// What putting a CSV fails with.
fn refused(lab: &Lab, text: impl AsRef<[u8]>, more: &[&str]) -> String {
    let file = lab.write("in.csv", text);
    let line = lab.fails(1, [&["put", "a", "refused", &file], more].concat());
    assert!(line.contains(&file), "{line}");
    line
}

#[test]
fn wide_files_take_memory_of_their_size() {
    // Memory was once taken for as many rows as a batch may have, in each column.
    let lab = Lab::with_arena();
    for columns in [1000, 20_000] {
        let names: Vec<String> = (0..columns).map(|i| format!("c{i}")).collect();
        let row = vec!["1"; columns].join(",") + "\n";
        let file = lab.write("wide.csv", names.join(",") + "\n" + &row.repeat(10));
        for verb in ["put", "send"] {
            let name = format!("{verb}{columns}");
            let limited = |limit: u32| {
                let mut command = Command::new("sh");
                command
                    .args(["-c", &format!("ulimit -d {limit} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_faretra")])
                    .args([verb, "a", &name, &file])
                    .env("FARETRA_DIR", lab.dir())
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                finish(command.spawn().unwrap())
            };
            let outcome = limited(400 * 1024);
            assert_eq!(outcome.status.code(), Some(0), "{columns} {verb}: {outcome:?}");
            assert!(outcome.stdout.contains("10 rows"), "{outcome:?}");
        }
    }
}

#[test]
fn batches_are_cut_by_bytes() {
    // More bytes in a column than a batch may have, and more than its 32-bit offsets in all would be met by size.
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "1GiB"]);
    let mut text = b"id,doc\n".to_vec();
    for i in 0..50_u8 {
        text.extend(format!("{i},").bytes());
        text.resize(text.len() + 4_000_000, b'a' + i % 26);
        text.push(b'\n');
    }
    let file = lab.write("large.csv", &text);
    lab.ok(["put", "a", "t", &file]);
    lab.ok(["put", "a", "rows", &file, "--batch-rows", "20"]);
    let sent = lab.json(["send", "a", "c", &file]);
    assert!((3..=5).contains(&sent["batches"].as_u64().unwrap()), "{sent}");
    let arena = Arena::options().dir(lab.dir()).open("a").unwrap();
    assert_eq!(arena.table("t").unwrap().num_batches(), 2);
    assert_eq!(arena.table("rows").unwrap().num_batches(), 3);
    drop(arena);
    lab.ok(["export", "a", "t", &lab.file("out.csv")]);
    assert!(std::fs::read(lab.path("out.csv")).unwrap() == text);
}

#[test]
fn times_numbers_and_texts_stay_what_they_are() {
    let lab = Lab::with_arena();
    let text = "t,n\n2016-12-31 23:59:60,9007199254740993\n9999-12-31 23:59:59.9999999,NaN\n";
    assert_eq!(put(&lab, text, &[]), (vec!["Utf8".to_owned(), "Utf8".to_owned()], text.to_owned()));
    let text = "t,n\n9999-12-31 23:59:59.9999990,0.1\n0001-01-01 00:00:00.0000000,1.10\n";
    let (types, printed) = put(&lab, text, &[]);
    assert_eq!(types, ["Timestamp(µs)", "Float64"]);
    assert_eq!(printed, "t,n\n9999-12-31T23:59:59.999999,0.1\n0001-01-01T00:00:00,1.1\n");
    // Rows that are seen only after the types were said are held to the same rule.
    for (first, late) in [
        ("0.5", "9007199254740993"),
        ("2024-01-01 00:00:00", "2024-01-01 00:00:00.5"),
        ("2024-01-01 00:00:00.000000000", "1000-01-01"),
        ("2024-01-01", "2023-02-29"),
        ("1", "007"),
        ("true", "yes"),
    ] {
        let line = refused(&lab, format!("a,b\nx,{first}\nx,{late}\n"), &["--infer-rows", "1"]);
        assert!(line.contains("line 3, column `b`") && line.contains(late) && line.contains("--text b"), "{line}");
    }
    let (types, _) = put(&lab, "a,b\n,1\n2,9007199254740993\n", &["--infer-rows", "1"]);
    assert_eq!(types, ["Utf8", "Int64"], "what was seen without a value may yet be anything");
}

#[test]
fn people_say_what_is_null_and_of_which_type() {
    let lab = Lab::with_arena();
    let text = "year,speed,note\n2004,NA,x\nNA,102,NULL\n,\"\",NA \n";
    let (types, printed) = put(&lab, text, &["--null", "NA", "--null", "NULL"]);
    assert_eq!(types, ["Int64", "Int64", "Utf8"]);
    assert_eq!(printed, "year,speed,note\n2004,,x\n,102,\n,,NA \n");
    let text = "a,b=c,d\n1,2.50,2024-01-01\n";
    let given = ["--type", "a=smallint", "--type", "b=c=decimal(5,2)", "--type", "d=timestamp[ms]"];
    let (types, printed) = put(&lab, text, &given);
    assert_eq!(types, ["Int16", "Decimal128(5, 2)", "Timestamp(ms)"]);
    assert_eq!(printed, "a,b=c,d\n1,2.50,2024-01-01T00:00:00\n");
    let line = refused(&lab, "a,b\n1,2\n\"x\ny\",300\n", &["--type", "b=uint8"]);
    assert!(line.contains("line 3, column `b`: `300` is no uint8") && line.contains("--null"), "{line}");
    let line = refused(&lab, "a\n1\n", &["--type", "b=int"]);
    assert!(line.contains("no column `b`") && line.contains("columns are a"), "{line}");
    let file = lab.write("in.csv", "a\n1\n");
    for wrong in [&["--type", "a"][..], &["--type", "a=nothing"], &["--type", "a=int", "--text", "a"]] {
        let line = lab.run([&["put", "a", "t", &file], wrong].concat());
        assert_eq!(line.status.code(), Some(2), "{line:?}");
    }
    let outcome = lab.run(["put", "a", "t", &file, "--type", "a=number"]);
    assert!(outcome.stderr.contains("no type is called `number`: give int8"), "{outcome:?}");
}

#[test]
fn the_files_of_a_send_have_types_that_hold_all_their_values() {
    let lab = Lab::with_arena();
    let parts = ["id,v,t\n1,2,2024-01-01\n", "id,v,t\n3,2.5,\n", "id,v,t\n,,2024-01-01 10:00:00\n"];
    let files: Vec<String> = parts.iter().enumerate().map(|(i, text)| lab.write(&format!("{i}.csv"), text)).collect();
    lab.ok(["send", "a", "c", &files[0], &files[1], &files[2]]);
    let rows = lab.ok(["recv", "a", "c", "--format", "csv"]);
    assert_eq!(rows, "id,v,t\n1,2.0,2024-01-01T00:00:00\n3,2.5,\n,,2024-01-01T10:00:00\n");
}

#[test]
fn compressed_files_and_other_encodings_are_read_or_told() {
    let lab = Lab::with_arena();
    let mut packed = Vec::new();
    // Two members, as `cat a.gz b.gz` makes them.
    for part in ["a,b\n1,x\n", "2,\"y\nz\"\n"] {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(part.as_bytes()).unwrap();
        packed.extend(encoder.finish().unwrap());
    }
    let file = lab.write("in.csv.gz", &packed);
    lab.ok(["put", "a", "t", &file]);
    assert_eq!(lab.ok(["cat", "a", "t", "--format", "csv"]), "a,b\n1,x\n2,\"y\nz\"\n");
    let outcome = lab.run_with(["put", "a", "t", "-", "--format", "csv"], &packed);
    assert_eq!(outcome.status.code(), Some(0), "{outcome:?}");
    let file = lab.write("cut.csv.gz", &packed[..packed.len() - 12]);
    lab.fails(1, ["put", "a", "cut", &file]);
    let (types, printed) = put(&lab, "\u{feff}a,b\n1,2\n", &[]);
    assert_eq!((types, printed), (vec!["Int64".to_owned(), "Int64".to_owned()], "a,b\n1,2\n".to_owned()));
    let wide = |mark: &[u8], swap: bool| {
        let units = "a,b\n1,2\n".encode_utf16().flat_map(|unit| match swap {
            true => unit.to_be_bytes(),
            false => unit.to_le_bytes(),
        });
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    for (bytes, why) in [
        (wide(b"\xff\xfe", false), "iconv -f UTF-16"),
        (wide(b"\xfe\xff", true), "iconv -f UTF-16"),
        (wide(b"", false), "UTF-16"),
        (b"\x28\xb5\x2f\xfd rest".to_vec(), "zstd -dc"),
        (b"\xfd7zXZ\0 rest".to_vec(), "xz -dc"),
        (b"BZh91AY&SY rest".to_vec(), "bzip2 -dc"),
        (b"PK\x03\x04 rest".to_vec(), "unzip -p"),
        (b"a\n\xe9t\xe9\n".to_vec(), "line 2 is not UTF-8"),
    ] {
        let line = refused(&lab, bytes, &[]);
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn odd_layouts_are_read_as_they_are_written_or_refused_with_their_line() {
    let lab = Lab::with_arena();
    let long = "x".repeat(100_000);
    for (text, expected) in [
        // Quotes inside fields without quotes are text; so are zero bytes and blanks.
        ("a,b\n5\" pipe, \"x\"\n", "a,b\n\"5\"\" pipe\",\" \"\"x\"\"\"\n"),
        ("a,b\nx\0y,  z \n", "a,b\nx\0y,  z \n"),
        // Line ends of all kinds, and empty lines.
        ("a,b\r1,2\r3,4\r", "a,b\n1,2\n3,4\n"),
        ("a,b\r\n1,\"x\r\ny\"\r\n\r\n3,z", "a,b\n1,\"x\r\ny\"\n3,z\n"),
        // Names: none, twice, quoted, behind a last delimiter.
        ("a,b,\n1,2,\n", "a,b,\n1,2,\n"),
        ("a,a\n1,x\n", "a,a\n1,x\n"),
        ("\"a,b\",\"c\n\"\"d\"\"\"\n1,2\n", "\"a,b\",\"c\n\"\"d\"\"\"\n1,2\n"),
        // A column of one with a null in it.
        ("a\n1\n\"\"\n2\n", "a\n1\n\"\"\n2\n"),
        (&format!("a,b\n1,{long}\n"), &format!("a,b\n1,{long}\n")),
    ] {
        assert_eq!(put(&lab, text, &[]).1, expected, "{:.80}", text);
    }
    let file = lab.write("in.csv", "a,a\n1,2\n\n");
    assert!(lab.run(["put", "a", "t", &file]).stderr.contains("more than one is called `a`"));
    let file = lab.write("in.csv", "a\n1\n\n2\n");
    assert!(lab.run(["put", "a", "t", &file]).stderr.contains("1 empty line left out"));
    for (text, why) in [
        ("a,b\n1,\"x\n\ny\"\n3\n", "line 5 has 1 field where the rows before have 2"),
        ("a,b\r\n1,2,\r\n", "line 2 has 3 fields where"),
        ("a,b\n1,2\n3", "line 3 has 1 field where the rows before have 2: and the input ends in it"),
        ("a,b\n1,\"x\" \n", "in line 2, text follows the closing quote of field 2"),
        ("a,b\n1,\"he said \"no\"\"\n", "in line 2, text follows the closing quote of field 2"),
        ("a,b\n1,2\n3,\"x\n4,5\n", "row of line 3 is never closed"),
        ("", "the file is empty"),
        ("\n\r\n", "the file is empty"),
    ] {
        let line = refused(&lab, text, &[]);
        assert!(line.contains(why), "{line}");
    }
}

#[test]
fn a_temporary_directory_that_is_none_is_named() {
    let lab = Lab::with_arena();
    let mut command = lab.command(["put", "a", "t", "-", "--format", "csv"]);
    let mut child = command.env("TMPDIR", "/no/such/directory").stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take());
    let outcome = finish(child);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("/no/such/directory") && outcome.stderr.contains("TMPDIR"), "{outcome:?}");
}

/// A generator of which each seed gives the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn digits(&mut self, count: u64) -> String {
        (0..count).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    fn value(&mut self, kind: u64) -> String {
        let sign = self.one_of(&["", "", "-"]);
        match kind {
            0 => {
                let count = 1 + self.below(21);
                format!("{sign}{}", self.digits(count))
            }
            1 => {
                let (whole, fraction) = (self.below(12), self.below(21));
                format!("{sign}{}.{}", self.digits(whole), self.digits(fraction))
            }
            // As programs write the floats that they have.
            2 => {
                let float = f64::from_bits(self.below(u64::MAX));
                match self.below(4) {
                    0 => format!("{float:?}"),
                    1 => format!("{float:.16e}"),
                    2 => format!("{float:.18e}"),
                    _ => format!("{:.17}", float % 1000.0),
                }
            }
            3 => {
                let (whole, exponent) = (1 + self.below(3), self.below(330));
                let digits = self.digits(17);
                format!("{sign}{}.{digits}e{}{exponent}", self.digits(whole), self.one_of(&["", "-", "+"]))
            }
            4..=6 => {
                let year = match self.below(3) {
                    0 => self.below(10_000),
                    1 => 1670 + self.below(600),
                    _ => 2000 + self.below(30),
                };
                let date = format!("{year:04}-{:02}-{:02}", 1 + self.below(12), 1 + self.below(31 - kind % 2 * 3));
                if kind == 4 || self.below(4) == 0 {
                    return date;
                }
                let (hour, minute, second) = (self.below(24), self.below(60), self.below(60 + kind % 5 / 4));
                let separator = self.one_of(&["T", " "]);
                let mut time = format!("{date}{separator}{hour:02}:{minute:02}:{second:02}");
                let count = self.one_of(&[0, 0, 1, 3, 6, 7, 9, 10]);
                if kind == 6 && count > 0 {
                    time += &format!(".{}", self.digits(count));
                }
                time
            }
            7 => self.one_of(&["true", "false", "TRUE", "False"]).to_owned(),
            8 => self.one_of(&["NaN", "inf", "-inf", "1", "2.5", "0", "-0", "9007199254740993"]).to_owned(),
            _ => {
                let parts = ["a", "\"", ",", ";", "\t", "\n", "\r\n", "\r", " ", "ä", "é1", "0", "NA", "|", "\"\""];
                let count = self.below(6);
                (0..count).map(|_| self.one_of(&parts)).collect()
            }
        }
    }
}

/// A decimal number as its digits without zeros around them, and the power of ten of the first.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_start_matches('0');
    let power = whole.len() as i64 - 1 - (digits.len() - kept.len()) as i64 + exponent.parse::<i64>().ok()?;
    let kept = kept.trim_end_matches('0');
    match kept {
        "" => Some((false, String::new(), 0)),
        _ => Some((negative, kept.to_owned(), power)),
    }
}

/// Whether what was printed says what was written: in the same words, as the same number, as the
/// float which the number was written for, as the same instant, or as the same truth.
fn says_the_same(written: &str, printed: &str) -> bool {
    if written == printed || decimal(written).is_some_and(|number| Some(number) == decimal(printed)) {
        return true;
    }
    if matches!(printed, "true" | "false") {
        return written.eq_ignore_ascii_case(printed);
    }
    if written.len() >= 10 && written.as_bytes()[4] == b'-' {
        let whole = |text: &str| {
            let text = text.replace(' ', "T");
            let text = if text.len() == 10 { text + "T00:00:00" } else { text };
            let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
            (seconds.to_owned(), fraction.trim_end_matches('0').to_owned())
        };
        return whole(written) == whole(printed);
    }
    let digits = written.trim_start_matches('-').split(['e', 'E']).next().unwrap();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0').len();
    // Whole numbers are not approached.
    written.contains(['.', 'e'])
        && digits > 15
        && printed.parse::<f64>().is_ok_and(|float| decimal(&format!("{float:.*e}", digits - 1)) == decimal(written))
}

#[test]
fn random_files_come_back_as_they_were_or_are_refused() {
    let mut floats = 0;
    let lab = Lab::new();
    lab.ok(["create", "a", "--limit", "64MiB"]);
    for seed in 0..150 {
        let mut random = Random(seed);
        let (columns, rows) = (1 + random.below(8) as usize, random.below(30) as usize);
        let kinds: Vec<u64> = (0..columns).map(|_| random.below(11)).collect();
        let (delimiter, end) = (random.one_of(&[",", ";", "\t", "|"]), random.one_of(&["\n", "\r\n", "\r"]));
        let null = random.one_of(&["", "NA"]);
        let mut table: Vec<Vec<String>> = vec![(0..columns).map(|i| format!("c {i}")).collect()];
        for _ in 0..rows {
            // Some columns are of one kind nearly always, so that types are found.
            let row = kinds.iter().map(|kind| match random.below(40) {
                0..4 => null.to_owned(),
                4 if kind % 2 == 0 => {
                    let other = random.below(11);
                    random.value(other)
                }
                _ => random.value(*kind),
            });
            table.push(row.collect());
        }
        let mut text = String::new();
        for row in &table {
            for (i, field) in row.iter().enumerate() {
                let needed = field.contains([',', ';', '\t', '|', '\n', '\r', '"']) || columns == 1 && field.is_empty();
                let quoted = needed || random.below(5) == 0;
                text += if i > 0 { delimiter } else { "" };
                text += &if quoted { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() };
            }
            text += end;
        }
        let file = lab.write("random.csv", &text);
        let delimiter = if delimiter == "\t" { "\\t" } else { delimiter };
        let mut args = vec!["put", "a", "t", &file, "--delimiter", delimiter, "--batch-rows", "7"];
        if null == "NA" {
            args.extend(["--null", "NA"]);
        }
        lab.ok(args);
        let exported = lab.ok(["export", "a", "t", "-", "--format", "csv"]);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(exported.as_bytes());
        let mut count = 0;
        for (record, row) in reader.records().zip(&table) {
            let record = record.unwrap();
            assert_eq!(record.len(), columns, "seed {seed}");
            for (printed, written) in record.iter().zip(row) {
                let same = match count > 0 && written == null {
                    true => printed.is_empty(),
                    false => says_the_same(written, printed),
                };
                assert!(same, "seed {seed}: {written:?} became {printed:?}");
            }
            count += 1;
        }
        assert_eq!(count, rows + 1, "seed {seed}");
        floats += types(&lab, "t").iter().filter(|name| *name == "Float64").count();
    }
    assert!(floats > 20, "only {floats} columns of floats were tried");
}
