//! Shows that damage among the values of a batch ends in an error or in values, in every process that reads them: one word
//! of a buffer that says where something lies (offsets, views, sizes, keys, run ends, type ids) or of anything else.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_ipc::root_as_message;
use arrow_schema::{DataType, Field, UnionFields, UnionMode};
use faretra::{Arena, IpcMessages, MIB};

use crate::nested::random_arrays::{Arrays, seed, shown};
use crate::support::{Child, TestArena};

/// How often each batch is damaged.
const DAMAGES: usize = 60;
/// How many batches of nested arrays there are, beside those of one type each.
const NESTED: usize = 30;

/// Every type that has its values elsewhere than in one buffer of one width.
fn variable_types() -> Vec<DataType> {
    let field = |name: &str, t: DataType, nullable| Field::new(name, t, nullable);
    let item = |t: DataType| std::sync::Arc::new(Field::new("item", t, true));
    let entries = [field("keys", DataType::Utf8, false), field("values", DataType::Int32, true)];
    let entries = field("entries", DataType::Struct(entries.to_vec().into()), false);
    let of_union = [field("a", DataType::Int64, true), field("b", DataType::Utf8, true)];
    let of_union = UnionFields::try_new([3, 1], of_union).expect("valid");
    let runs = |ends, values| {
        DataType::RunEndEncoded(field("run_ends", ends, false).into(), field("values", values, true).into())
    };
    vec![
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Binary,
        DataType::LargeBinary,
        DataType::Utf8View,
        DataType::BinaryView,
        DataType::List(item(DataType::Int64)),
        DataType::LargeList(item(DataType::Utf8)),
        DataType::ListView(item(DataType::Int16)),
        DataType::LargeListView(item(DataType::Utf8View)),
        DataType::Map(entries.into(), false),
        DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into()),
        DataType::Dictionary(DataType::UInt16.into(), DataType::Int64.into()),
        DataType::Dictionary(DataType::Int64.into(), DataType::Utf8View.into()),
        runs(DataType::Int16, DataType::Int64),
        runs(DataType::Int32, DataType::Utf8),
        runs(DataType::Int64, DataType::Utf8View),
        DataType::Union(of_union.clone(), UnionMode::Sparse),
        DataType::Union(of_union, UnionMode::Dense),
        DataType::FixedSizeList(item(DataType::LargeUtf8), 2),
    ]
}

/// Where the buffers lie in the arena's file: offset and length of all that are not empty.
fn buffers(messages: &IpcMessages) -> Vec<(u64, u64)> {
    let of_dictionaries = messages.dictionaries.iter().map(|bytes| {
        let message = root_as_message(bytes).expect("a message");
        message.header_as_dictionary_batch().and_then(|d| d.data()).and_then(|b| b.buffers()).expect("buffers")
    });
    let message = root_as_message(&messages.batch).expect("a message");
    let own = message.header_as_record_batch().and_then(|b| b.buffers()).expect("buffers");
    let all = of_dictionaries.chain([own]).flat_map(|buffers| buffers.iter());
    let extent = |b: &arrow_ipc::Buffer| (messages.body_offset + b.offset() as u64, b.length() as u64);
    all.map(extent).filter(|(_, len)| *len >= 4).collect()
}

/// Another value for one word.
fn damaged(arrays: &mut Arrays, word: u32) -> u32 {
    match arrays.below(8) {
        0 => word.wrapping_add(1),
        1 => word.wrapping_sub(1),
        2 => [0, 1, 2, 12, 13][arrays.below(5)],
        3 => [i32::MAX as u32, i32::MIN as u32, u32::MAX][arrays.below(3)],
        4 => arrays.next() as u32,
        5 => word.wrapping_add(arrays.below(64) as u32),
        _ => word ^ 1 << arrays.below(32),
    }
}

/// A reader's half, in a process of its own: everything that a batch shows, in a word.
pub fn show_all(arena: &Arena, name: &str) -> faretra::Result<String> {
    let batch = arena.batch(name)?;
    let mut hash = DefaultHasher::new();
    shown(&batch).hash(&mut hash);
    Ok(format!("{:x}", hash.finish()))
}

/// What a reader answers: `None` if it died or hangs. There is another one then.
fn ask(t: &TestArena, reader: &mut Child, how: &str) -> Option<Result<String, String>> {
    reader.tell("show-values n");
    let answer = reader.try_answer(Duration::from_secs(10));
    if answer.is_none() {
        *reader = Child::puppet(t.dir());
        reader.ask(how);
    }
    answer
}

/// Damages batches word by word, and has each read by a process that opened the arena in each of these ways.
fn damage_everything(ways: &[&str], usual_seed: u64) {
    let t = TestArena::new(64 * MIB);
    let w = t.arena.writer().expect("a permit");
    let file = std::fs::File::options().read(true).write(true).open(t.arena.path()).expect("the arena's file");
    let mut arrays = Arrays(seed(usual_seed));
    let mut batches: Vec<RecordBatch> = vec![];
    for t in variable_types() {
        batches.push(arrays.batch_of(&[t.clone(), t], 20));
    }
    for _ in 0..NESTED {
        let rows = 1 + arrays.below(20);
        batches.push(arrays.batch(2, rows));
    }
    let mut readers: Vec<Child> = ways.iter().map(|_| Child::puppet(t.dir())).collect();
    readers.iter_mut().zip(ways).for_each(|(reader, how)| drop(reader.ask(how)));
    let mut failures = vec![];
    let (mut refused, mut read) = (0, 0);
    for batch in &batches {
        for _ in 0..DAMAGES {
            // Anew each time: nobody has read it before it is damaged.
            w.publish("n", batch).expect("room");
            let buffers = buffers(&t.arena.batch("n").expect("published").ipc().expect("messages"));
            if buffers.is_empty() {
                break;
            }
            let (at, len) = buffers[arrays.below(buffers.len())];
            let at = at + 4 * arrays.below((len / 4) as usize) as u64;
            let mut word = [0; 4];
            file.read_exact_at(&mut word, at).expect("read");
            let before = u32::from_le_bytes(word);
            let after = damaged(&mut arrays, before);
            file.write_all_at(&after.to_le_bytes(), at).expect("written");
            let answers: Vec<_> = readers.iter_mut().zip(ways).map(|(reader, how)| ask(&t, reader, how)).collect();
            let types: Vec<String> = batch.schema().fields().iter().map(|f| f.data_type().to_string()).collect();
            for (answer, how) in answers.iter().zip(ways) {
                match answer {
                    None => failures.push(format!("`{how}`: {before:#x} became {after:#x} at {at:#x} of {types:?}")),
                    Some(Ok(_)) => read += 1,
                    Some(Err(_)) => refused += 1,
                }
            }
            // Whoever shows something shows the same.
            let mut values = answers.iter().flatten().flatten();
            let first = values.next();
            if values.any(|other| Some(other) != first) {
                failures.push(format!("{answers:?}: {before:#x} became {after:#x} at {at:#x} of {types:?}"));
            }
        }
    }
    eprintln!("{refused} reads were refused, {read} showed values");
    assert!(failures.is_empty(), "{} times:\n{}", failures.len(), failures.join("\n"));
    assert!(refused > 100 && read > 100, "{refused} refused, {read} read: the damage is of one kind");
}

/// Who trusts nobody gets an error or values.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn the_wary_get_errors_or_values() {
    damage_everything(&["open t untrusted"], 0x00d4_3a6e);
}

/// Who trusts writers gets an error or values too, and the same values as who trusts nobody.
#[test]
#[cfg_attr(all(feature = "portable", not(feature = "proof")), ignore = "writes words into the arena's file")]
fn the_trusting_get_errors_or_values() {
    damage_everything(&["open t", "open t untrusted"], 0x00d4_3a6f);
}
