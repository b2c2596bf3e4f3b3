//! What the demo's processes agree on: the names, and the table, which is made from row numbers and checked by a
//! checksum of its bytes.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{
    Array, Float32Array, Float64Array, Int32Array, Int64Array, PrimitiveArray, RecordBatch, cast::AsArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::failure::{Failure, Result};

/// The name of the table in the demo's arena.
pub const TABLE: &str = "table";

/// The name of the batches that are handed over.
pub const BATCH: &str = "batch";

/// No step of the demo takes that long, on any machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes of a row.
pub const ROW: u64 = 24;

/// The columns.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("time", DataType::Int64, false),
        Field::new("sensor", DataType::Int32, false),
        Field::new("value", DataType::Float64, false),
        Field::new("level", DataType::Float32, false),
    ]))
}

/// A number that looks random and depends on the row alone (the finalizer of splitmix64).
fn mixed(row: u64) -> u64 {
    let mut x = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn fill<T>(column: &mut [T], first: u64, value: impl Fn(u64) -> T) {
    for (row, cell) in (first..).zip(column) {
        *cell = value(row);
    }
}

/// Fills the column `time` of the rows from `first` on.
pub fn fill_time(column: &mut [i64], first: u64) {
    fill(column, first, |row| 1_700_000_000_000_000 + row.cast_signed() * 1_000);
}

/// Fills the column `sensor`.
pub fn fill_sensor(column: &mut [i32], first: u64) {
    fill(column, first, |row| (mixed(row) % 4096) as i32);
}

/// Fills the column `value`.
pub fn fill_value(column: &mut [f64], first: u64) {
    fill(column, first, |row| mixed(row) as f64 / u64::MAX as f64);
}

/// Fills the column `level`.
pub fn fill_level(column: &mut [f32], first: u64) {
    fill(column, first, |row| (mixed(row) >> 48) as f32);
}

/// A batch on the heap.
pub fn batch(first: u64, rows: usize) -> Result<RecordBatch> {
    let (mut time, mut sensor) = (vec![0; rows], vec![0; rows]);
    let (mut value, mut level) = (vec![0.0; rows], vec![0.0; rows]);
    fill_time(&mut time, first);
    fill_sensor(&mut sensor, first);
    fill_value(&mut value, first);
    fill_level(&mut level, first);
    let columns: Vec<Arc<dyn Array>> = vec![
        Arc::new(Int64Array::from(time)),
        Arc::new(Int32Array::from(sensor)),
        Arc::new(Float64Array::from(value)),
        Arc::new(Float32Array::from(level)),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// A checksum of bytes in order. Four lanes, so that it runs at the speed of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum([u64; 4]);

impl Checksum {
    /// The checksum of no bytes.
    pub fn new() -> Checksum {
        Checksum([1, 2, 3, 4])
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(32);
        for chunk in &mut chunks {
            for (lane, word) in self.0.iter_mut().zip(chunk.chunks_exact(8)) {
                mix(lane, word);
            }
        }
        for (i, word) in chunks.remainder().chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            mix(&mut self.0[i], &padded);
        }
        // The length counts: a missing zero at the end is a difference.
        mix(&mut self.0[3], &(bytes.len() as u64).to_le_bytes());
    }

    /// Adds the four columns of a batch.
    pub fn add_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let same = batch.schema().fields() == schema().fields();
        if !same {
            return Err(Failure::new("the batch has other columns than were published"));
        }
        self.add(bytes(batch.column(0).as_primitive::<Int64Type>()));
        self.add(bytes(batch.column(1).as_primitive::<Int32Type>()));
        self.add(bytes(batch.column(2).as_primitive::<Float64Type>()));
        self.add(bytes(batch.column(3).as_primitive::<Float32Type>()));
        Ok(())
    }

    /// As text, to compare between processes.
    pub fn text(self) -> String {
        let sum =
            self.0.iter().fold(0u64, |sum, lane| (sum ^ lane).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
        format!("{sum:016x}")
    }
}

fn mix(lane: &mut u64, word: &[u8]) {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(word);
    *lane = (*lane ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
}

fn bytes<T: arrow_array::ArrowPrimitiveType<Native: bytemuck::NoUninit>>(column: &PrimitiveArray<T>) -> &[u8] {
    bytemuck::cast_slice(column.values())
}

/// Address and length of every column's values.
pub fn extents(batch: &RecordBatch) -> Vec<(usize, usize)> {
    let columns = batch.columns().iter().map(Array::to_data);
    columns
        .flat_map(|data| {
            let buffers = data.buffers().iter();
            let extents: Vec<_> = buffers.map(|b| (b.as_ptr().addr(), b.len())).collect();
            extents
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Checksum, batch};

    #[test]
    fn a_changed_byte_changes_the_checksum() {
        let sum = |bytes: &[u8]| {
            let mut sum = Checksum::new();
            sum.add(bytes);
            sum.text()
        };
        let bytes: Vec<u8> = (0..100).collect();
        for i in 0..bytes.len() {
            let mut other = bytes.clone();
            other[i] ^= 1;
            assert_ne!(sum(&other), sum(&bytes), "byte {i}");
            assert_ne!(sum(&bytes[..i]), sum(&bytes), "length {i}");
        }
        let mut a = Checksum::new();
        a.add_batch(&batch(0, 1000).unwrap()).unwrap();
        let mut b = Checksum::new();
        b.add_batch(&batch(1, 1000).unwrap()).unwrap();
        assert_ne!(a.text(), b.text());
    }
}
