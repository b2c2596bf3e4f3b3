//! Shows that damaged values are errors in words when they are read: safe code that reads every cell of a batch never
//! dies of what a stray write has left in the arena, and the check is made once per object and process.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use faretra::arrow::arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use faretra::{Arena, Error, MIB};
use nix::sys::wait::WaitStatus;

use crate::arrow_types::samples::{batch_of, every_type};
use crate::damage::{end_of, extents};
use crate::obey::forked;
use crate::support::{Dir, TestArena};
use crate::values::Random;

/// How many changes are tried.
const CHANGES: u64 = 2500;

/// Looks at every cell, as a program that prints or converts the batch does.
pub fn read_every_cell(batch: &RecordBatch) {
    let options = FormatOptions::default();
    for column in batch.columns() {
        // Named zones need a feature of arrow's that the library does without.
        let Ok(formatter) = ArrayFormatter::try_new(column.as_ref(), &options) else { continue };
        for row in 0..column.len() {
            // What chrono cannot show is an error in words, too.
            let _ = formatter.value(row).try_to_string().map(|text| text.chars().count());
        }
    }
}

pub fn file_of(arena: &Arena) -> std::fs::File {
    std::fs::File::options().read(true).write(true).open(arena.path()).expect("the arena's file")
}

/// Where these bytes stand in the arena's file.
pub fn find(file: &std::fs::File, bytes: &[u8]) -> u64 {
    let found = extents(file).into_iter().find_map(|(from, to)| {
        let mut all = vec![0; (to - from) as usize];
        file.read_exact_at(&mut all, from).expect("read");
        all.windows(bytes.len()).position(|at| at == bytes).map(|at| from + at as u64)
    });
    found.expect("the bytes are in the arena")
}

fn offsets(lengths: &[i32]) -> Vec<u8> {
    let ends = lengths.iter().scan(0, |end, len| {
        *end += len;
        Some(*end)
    });
    std::iter::once(0).chain(ends).flat_map(i32::to_le_bytes).collect()
}

/// Any word of any buffer of any type may change: the read fails in words, or finds some values.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn no_changed_word_kills_the_reader() {
    let dir = Dir::new();
    let options = || Arena::options().dir(&dir.0);
    let arena = options().limit(16 * MIB).create("a").expect("an arena");
    let writer = arena.writer().expect("a permit");
    writer.publish("all", batch_of(every_type(60))).expect("room");
    // Columns that are objects of their own.
    let large =
        |name: &str| (name.to_owned(), every_type(3000).into_iter().find(|(t, _)| *t == name).expect("a type").1);
    let large: Vec<(String, ArrayRef)> = ["utf8", "utf8 view"].into_iter().map(large).collect();
    writer.publish("large", batch_of(large.iter().map(|(n, a)| (n.as_str(), a.clone())).collect())).expect("room");
    drop((writer, arena));
    // Opened by its name: what a creator has mapped has none in its list of mappings.
    let arena = options().open("a").expect("opened");
    let (file, data) = (file_of(&arena), data_region(arena.path()));
    drop(arena);
    let mut words: Vec<u64> = vec![];
    for (from, to) in extents(&file) {
        words.extend((from.max(data)..to).step_by(8));
    }
    let mut random = Random(20);
    let (mut refused, mut read) = (0, 0);
    for _ in 0..CHANGES {
        let at = words[random.below(words.len() as u64) as usize];
        let mut before = [0; 8];
        file.read_exact_at(&mut before, at).expect("read");
        let word = u64::from_le_bytes(before);
        let changed = match random.below(6) {
            0 => word ^ 1 << random.below(64),
            1 => word ^ (1 << 31 | 1 << 63),
            2 => word.wrapping_add(1 + random.below(1 << 20)),
            3 => word.wrapping_sub(1 + random.below(1 << 40)),
            4 => u64::MAX >> random.below(60),
            _ => word.rotate_left(32),
        };
        file.write_all_at(&changed.to_le_bytes(), at).expect("written");
        let child = forked(|| {
            let arena = options().open("a").expect("its rules hold");
            let mut whole = true;
            for name in ["all", "large"] {
                match arena.batch(name) {
                    Ok(batch) => read_every_cell(&batch),
                    Err(Error::Damaged(_) | Error::Arrow(_)) => whole = false,
                    Err(_) => return 2,
                }
            }
            // A deep look says as much, and says it of nothing that can be read; descriptors may be read around.
            match arena.verify_deep() {
                Ok(found) if !whole && found.is_empty() => 3,
                Ok(_) => i32::from(!whole),
                Err(_) => 4,
            }
        });
        match end_of(child, Duration::from_secs(20)) {
            Some(WaitStatus::Exited(_, 0)) => read += 1,
            Some(WaitStatus::Exited(_, 1)) => refused += 1,
            end => panic!("the word {word:#x} at {at:#x} became {changed:#x}: {end:?}"),
        }
        file.write_all_at(&before, at).expect("written");
    }
    eprintln!("{CHANGES} words changed: {refused} refused, {read} read");
    assert!(refused > CHANGES / 20 && read > CHANGES / 20);
}

/// The offset of the data region in the file: the only read-only mapping of it.
pub fn data_region(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let path = path.to_str().expect("a path");
    let data = maps.lines().find(|l| l.ends_with(path) && l.contains(" r--s ")).expect("mapped read-only");
    u64::from_str_radix(data.split_ascii_whitespace().nth(2).expect("an offset"), 16).expect("hexadecimal")
}

/// A batch is checked when it is first read. It is not checked again by later reads, each new version is, and an arena
/// whose values the user vouches for checks nothing.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
#[allow(unsafe_code, reason = "vouches for values, of which none is looked at")]
fn values_are_checked_once_per_object_and_process() {
    let t = TestArena::new(16 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let texts = ["seven77", "four", "a longer one 16!", "b", "", "cc"];
    let batch = batch_of(vec![("t", Arc::new(StringArray::from(texts.to_vec())) as ArrayRef)]);
    let lengths: Vec<i32> = texts.iter().map(|text| text.len() as i32).collect();
    let file = file_of(&t.arena);
    let damage = |version: &str| {
        let at = find(&file, &offsets(&lengths));
        file.write_all_at(&0x7fff_0000_i32.to_le_bytes(), at + 8).expect("written");
        assert!(at != 0, "{version}");
    };
    writer.publish("x", &batch).expect("room");
    t.arena.batch("x").expect("sound");
    damage("first");
    t.arena.batch("x").expect("not looked at again");
    let found = t.arena.verify_deep().expect("looked at");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].rule == "value" && found[0].what.contains("`x`"), "{}", found[0]);
    let error = t.open().batch("x").expect_err("another attachment has not seen it");
    assert!(matches!(&error, Error::Damaged(what) if what.contains("offset")), "{error}");
    for _ in 0..3 {
        writer.publish("x", &batch).expect("room");
        damage("next");
        let error = t.arena.batch("x").expect_err("the memory may be the same, the object is not");
        assert!(matches!(&error, Error::Damaged(_)), "{error}");
        t.arena.get("x").and_then(|object| object.bytes().map(drop)).expect_err("it is a batch");
    }
    // SAFETY: nothing of the batch is used.
    let vouched = unsafe { t.options().vouch_for_values() }.open("t").expect("opened");
    vouched.batch("x").expect("nothing is looked at");
    assert!(t.options().untrusted(true).open("t").expect("opened").batch("x").is_err());
}

/// A projection checks the columns that it reads, each once, and looks at no other.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn columns_are_checked_one_by_one() {
    let t = TestArena::new(16 * MIB);
    let texts = ["seven77", "four", "a longer one 16!", "b", "", "cc"];
    let text = || Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let number = Arc::new(Int32Array::from_iter_values(0..6)) as ArrayRef;
    let other = Arc::new(StringArray::from(vec!["x"; 6])) as ArrayRef;
    let batch = batch_of(vec![("text", text()), ("number", number), ("other", other)]);
    t.arena.writer().expect("a permit").publish("x", &batch).expect("room");
    let seen = t.arena.get("x").expect("published");
    assert_eq!(seen.project(&[2, 0]).expect("sound").num_columns(), 2);
    let lengths: Vec<i32> = texts.iter().map(|text| text.len() as i32).collect();
    let file = file_of(&t.arena);
    let at = find(&file, &offsets(&lengths));
    file.write_all_at(&0x7fff_0000_i32.to_le_bytes(), at + 8).expect("written");

    assert_eq!(seen.project(&[0]).expect("not looked at again").column(0).len(), 6);
    let arena = t.open();
    let object = arena.get("x").expect("published");
    for _ in 0..2 {
        let projected = object.project(&[2, 1, 1]).expect("these are sound");
        let fields: Vec<String> = projected.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(fields, ["other", "number", "number"]);
        assert_eq!(projected.column(1), batch.column(1));
        for columns in [[0].as_slice(), &[1, 0]] {
            let error = object.project(columns).expect_err("damaged");
            assert!(matches!(&error, Error::Damaged(what) if what.contains("offset")), "{error}");
        }
        object.batch().expect_err("a batch is all of its columns");
    }
    assert_eq!(object.project(&[]).expect("no column").num_rows(), 6);
    assert!(matches!(object.project(&[3]), Err(Error::Invalid(what)) if what.contains("there is no column 3")));
    assert!(t.options().untrusted(true).open("t").expect("opened").get("x").expect("there").project(&[0]).is_err());
    // What the descriptor says is told without a look at the values.
    assert_eq!((object.null_count(0).expect("told"), object.column_nbytes(1).expect("told")), (0, 24));
    assert!(object.null_count(3).is_err() && object.column_nbytes(3).is_err());
}

/// What is wrong is named: text that is not UTF-8, keys and counts of nulls that do not fit.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn each_kind_of_damage_has_its_words() {
    let t = TestArena::new(16 * MIB);
    let writer = t.arena.writer().expect("a permit");
    let says = |what: &str, column: ArrayRef, bytes: &[u8], at: u64, new: &[u8]| {
        writer.publish("x", batch_of(vec![("c", column)])).expect("room");
        let file = file_of(&t.arena);
        file.write_all_at(new, find(&file, bytes) + at).expect("written");
        let error = t.arena.batch("x").expect_err("damaged").to_string();
        assert!(error.contains(what), "{error}");
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a text of its own", "zz"]));
    says("not UTF-8 in row 0", text, b"a text of its own", 3, b"\xff");
    let keys = Int32Array::from(vec![0, 1, 2, 1, 0x0101]);
    let values: ArrayRef = Arc::new(StringArray::from_iter_values((0..0x0102).map(|n| n.to_string())));
    let dictionary = DictionaryArray::new(keys, values);
    let stored: Vec<u8> = [0_i32, 1, 2, 1, 0x0101].into_iter().flat_map(i32::to_le_bytes).collect();
    says("is not valid", Arc::new(dictionary), &stored, 16, &0x0102_i32.to_le_bytes());
    let numbers = Int32Array::from_iter((0..64).map(|n| (n % 3 != 0).then_some(n)));
    let bitmap = numbers.nulls().expect("some").buffer().to_vec();
    says("nulls and has", Arc::new(numbers), &bitmap, 0, &[0xff]);
}
