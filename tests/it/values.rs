//! Shows nothing by itself: values of every kind that tell whether they are whole, each made of a seed.

use std::sync::Arc;

use faretra::arrow::arrow_array::cast::AsArray;
use faretra::arrow::arrow_array::types::UInt64Type;
use faretra::arrow::arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchIterator, StringArray, UInt64Array};
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Batch, Bundle, Bundled, Kind, Object, Table, Value, Writer};
use ndarray::{ArrayView1, Ix1};

/// A generator with a seed, so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// `words` words that belong together: the seed, how many they are, and what follows from both.
pub fn payload(seed: u64, words: usize) -> Vec<u64> {
    let words = words.max(2);
    let rest = (2..words as u64).map(|i| word_at(seed, i));
    [seed, words as u64].into_iter().chain(rest).collect()
}

fn word_at(seed: u64, i: u64) -> u64 {
    (seed ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// The seed of a [`payload`] that is whole, or what is wrong with it.
pub fn seed_of(words: &[u64]) -> Result<u64, String> {
    let [seed, len, rest @ ..] = words else { return Err(format!("{} words are no payload", words.len())) };
    if *len != words.len() as u64 {
        return Err(format!("it says {len} words and has {}", words.len()));
    }
    match rest.iter().zip(2..).find(|(word, i)| **word != word_at(*seed, *i)) {
        Some((word, i)) => Err(format!("word {i} of the payload of seed {seed} is {word:#x}")),
        None => Ok(*seed),
    }
}

fn text_at(seed: u64, i: usize) -> Option<String> {
    (i % 7 != 3).then(|| format!("row {i} of {seed}"))
}

/// A batch of a column of words and one of text.
pub fn batch(seed: u64, words: usize) -> RecordBatch {
    let words = payload(seed, words);
    let text: StringArray = (0..words.len()).map(|i| text_at(seed, i)).collect();
    let words: ArrayRef = Arc::new(UInt64Array::from(words));
    RecordBatch::try_from_iter_with_nullable([("w", words, false), ("s", Arc::new(text) as _, true)]).expect("a batch")
}

fn check_batch(batch: &RecordBatch) -> Result<u64, String> {
    let words = batch.column_by_name("w").ok_or("no column w")?;
    let seed = seed_of(words.as_primitive::<UInt64Type>().values())?;
    if let Some(text) = batch.column_by_name("s") {
        let text = text.as_string::<i32>();
        let wrong = (0..text.len()).find(|i| text.is_valid(*i).then(|| text.value(*i).to_owned()) != text_at(seed, *i));
        if let Some(i) = wrong {
            return Err(format!("row {i} of the text of seed {seed} is {:?}", text.is_valid(i).then(|| text.value(i))));
        }
    }
    Ok(seed)
}

/// What [`publish`] can make.
pub const KINDS: [&str; 7] = ["bytes", "array", "batch", "table", "bundle", "drafted-array", "drafted-batch"];

/// Publishes a [`payload`], as bytes, as an array, or through a draft of either.
pub fn publish_words(w: &Writer, name: &str, kind: &str, from: &[u64]) -> faretra::Result<u64> {
    match kind {
        "bytes" => w.publish(name, bytemuck::cast_slice::<u64, u8>(from)),
        "array" => w.publish(name, ArrayView1::from(from)),
        "drafted-array" => {
            let mut draft = w.draft_array::<u64, Ix1>(from.len())?;
            draft.view_mut()?.assign(&ArrayView1::from(from));
            w.publish(name, draft)
        }
        _ => w.publish(name, drafted_batch(w, from)?),
    }
}

/// A batch of words that was written where it will be read.
pub fn drafted_batch(w: &Writer, from: &[u64]) -> faretra::Result<faretra::Draft> {
    let schema = Arc::new(Schema::new(vec![Field::new("w", DataType::UInt64, false)]));
    let mut draft = w.draft(&schema, from.len())?;
    draft.column_mut::<u64>("w")?.copy_from_slice(from);
    Ok(draft)
}

/// Publishes a value of some kind made of a seed; about `words` words long.
pub fn publish(w: &Writer, name: &str, kind: &str, seed: u64, words: usize) -> faretra::Result<u64> {
    match kind {
        "batch" => w.publish(name, batch(seed, words)),
        "table" => {
            let batches = [batch(seed, words / 3), batch(seed, words / 4), batch(seed, words / 5)];
            let schema = batches[0].schema();
            w.publish(name, Value::table(RecordBatchIterator::new(batches.map(Ok), schema)))
        }
        "bundle" => {
            let (a, b) = (payload(seed, words / 4), batch(seed, words / 4));
            let bytes: &[u8] = bytemuck::cast_slice(&a);
            w.publish(name, Bundle::new().with("a", ArrayView1::from(&a)).with("b", &b).with("c", bytes))
        }
        _ => publish_words(w, name, kind, &payload(seed, words)),
    }
}

/// The seed of a published value that is whole, or what is wrong with it.
pub fn check(object: &Object) -> Result<u64, String> {
    let e = |e: faretra::Error| format!("{} `{}`: {e}", object.kind(), object.name());
    match object.kind() {
        Kind::Bytes => seed_of(
            bytemuck::try_cast_slice(object.bytes().map_err(e)?).map_err(|e| format!("bytes are no words: {e}"))?,
        ),
        Kind::Array => {
            let array: faretra::Array<u64, Ix1> = object.clone().try_into().map_err(e)?;
            seed_of(array.as_slice().ok_or("not contiguous")?)
        }
        Kind::Batch => check_batch(Batch::try_from(object.clone()).map_err(e)?.record_batch()),
        Kind::Table => {
            let table = Table::try_from(object.clone()).map_err(e)?;
            let seeds: Result<Vec<u64>, String> =
                (0..table.num_batches()).map(|i| check_batch(table.batch(i).map_err(e)?.record_batch())).collect();
            one_of(&seeds?)
        }
        Kind::Bundle => {
            let bundle = Bundled::try_from(object.clone()).map_err(e)?;
            let seeds: Result<Vec<u64>, String> =
                bundle.names().map(|name| check(&bundle.get(name).map_err(e)?)).collect();
            one_of(&seeds?)
        }
        other => Err(format!("nobody publishes a {other}")),
    }
}

/// All parts of one value are of one seed.
fn one_of(seeds: &[u64]) -> Result<u64, String> {
    match seeds {
        [first, _, _] if seeds.iter().all(|s| s == first) => Ok(*first),
        _ => Err(format!("its three parts are of the seeds {seeds:?}")),
    }
}
