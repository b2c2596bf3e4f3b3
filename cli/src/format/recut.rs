//! Batches put together and cut, so that a table has few of them and none of them is huge.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::tables::{BATCH_BYTES, BATCH_ROWS, guarded};

/// Bytes of rows that are put together at most, whatever number of rows was asked for: the offsets of text end at
/// 2 GiB.
const MOST_BYTES: u64 = 1 << 30;

/// Batches that stay as they are before the next ones are put together: half of those that a table can have.
const AS_THEY_ARE: usize = 32_768;

/// How batches are put together and cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Rows of a batch at most.
    rows: usize,
    /// Bytes of a batch that is put together of several, at most.
    join: u64,
    /// Bytes of a batch from which on it is cut.
    cut: u64,
    /// Batches have exactly `rows` rows, but for the last one and where they would have too many bytes.
    exact: bool,
    /// So many batches come as they are.
    whole: usize,
}

impl Cut {
    /// For what has no batches of its own: so many rows that were asked for, or else a good size.
    pub fn new(rows: Option<u64>) -> Cut {
        match rows {
            Some(rows) => {
                let rows = usize::try_from(rows).unwrap_or(usize::MAX).max(1);
                Cut { rows, join: MOST_BYTES, cut: 2 * MOST_BYTES, exact: true, whole: 0 }
            }
            None => Cut { rows: BATCH_ROWS as usize, join: BATCH_BYTES, cut: 2 * BATCH_BYTES, exact: false, whole: 0 },
        }
    }

    /// For a file that has batches, which stay as they are if nothing was asked for, nothing is huge, and a table
    /// has room for all of them.
    pub fn of_batches(rows: Option<u64>) -> Cut {
        match rows {
            Some(_) => Cut::new(rows),
            None => Cut { rows: usize::MAX, cut: MOST_BYTES, whole: AS_THEY_ARE, ..Cut::new(None) },
        }
    }
}

/// The rows of a reader in other batches.
pub struct Recut<R> {
    inner: R,
    schema: SchemaRef,
    cut: Cut,
    /// What was cut off, or could not be put together, comes next.
    next: VecDeque<RecordBatch>,
    /// Batches that become one, their rows and bytes.
    pending: Vec<RecordBatch>,
    rows: usize,
    bytes: u64,
    /// What is given out next without another look.
    ready: VecDeque<RecordBatch>,
    given: usize,
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Recut<R> {
    /// The batches of `inner`, all of this schema.
    pub fn new(inner: R, schema: SchemaRef, cut: Cut) -> Recut<R> {
        let (next, ready) = (VecDeque::new(), VecDeque::new());
        Recut { inner, schema, cut, next, pending: Vec::new(), rows: 0, bytes: 0, ready, given: 0 }
    }

    /// Puts the pending batches together. Those that cannot be (dictionaries of small keys that have too many
    /// values together) stay what they are.
    fn join(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        (self.rows, self.bytes) = (0, 0);
        match pending.len() {
            0 | 1 => self.ready.extend(pending),
            _ => match guarded(|| arrow_select::concat::concat_batches(&self.schema, &pending)) {
                Ok(batch) => self.ready.push_back(batch),
                Err(_) => self.ready.extend(pending),
            },
        }
    }

    /// Takes a batch to the pending ones, or what fits of it.
    fn take(&mut self, batch: RecordBatch) {
        let (rows, bytes) = (batch.num_rows(), weight(&batch));
        let Cut { rows: most, join, cut, exact, whole } = self.cut;
        if bytes > cut && rows > 1 {
            // By rows, as if all were equally heavy. The pieces are not looked at again: what is heavy may be shared
            // by all of them.
            let pieces = usize::try_from(bytes.div_ceil(join)).unwrap_or(rows).min(rows);
            let each = rows.div_ceil(pieces).min(most);
            self.join();
            self.ready.extend((0..rows).step_by(each).map(|at| batch.slice(at, each.min(rows - at))));
            return;
        }
        if rows > most {
            let first = most - if exact { self.rows } else { 0 };
            self.next.push_front(batch.slice(first, rows - first));
            self.next.push_front(batch.slice(0, first));
            return;
        }
        if self.given < whole && self.pending.is_empty() {
            self.ready.push_back(batch);
            return;
        }
        let most = if most == usize::MAX { BATCH_ROWS as usize } else { most };
        if !self.pending.is_empty() && (self.bytes.saturating_add(bytes) > join || self.rows + rows > most) {
            if exact && self.bytes.saturating_add(bytes) <= join {
                let first = most - self.rows;
                self.next.push_front(batch.slice(first, rows - first));
                self.pending.push(batch.slice(0, first));
                self.join();
                return;
            }
            self.join();
        }
        self.pending.push(batch);
        self.rows += rows;
        self.bytes += bytes;
        let full = match exact {
            true => self.rows >= most || self.bytes >= join,
            false => self.rows >= most / 2 || self.bytes >= join / 2,
        };
        if full {
            self.join();
        }
    }
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Recut<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.given += 1;
                return Some(Ok(batch));
            }
            let next = self.next.pop_front().map(Ok).or_else(|| self.inner.next());
            match next {
                Some(Ok(batch)) => self.take(batch),
                Some(Err(error)) => return Some(Err(error)),
                None if self.pending.is_empty() => return None,
                None => self.join(),
            }
        }
    }
}

impl<R: Iterator<Item = Result<RecordBatch, ArrowError>>> RecordBatchReader for Recut<R> {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// Bytes of the rows that the batch shows, without what all rows share.
fn weight(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|column| weight_of(column.as_ref())).fold(0, u64::saturating_add)
}

fn weight_of(column: &dyn Array) -> u64 {
    let rows = column.len() as u64;
    let lengths = |views: &[u128]| views.iter().map(|view| 16 + u64::from(*view as u32)).sum();
    match column.data_type() {
        DataType::Dictionary(keys, _) => rows * keys.primitive_width().unwrap_or(8) as u64,
        DataType::RunEndEncoded(..) => 0,
        DataType::Utf8View => lengths(column.as_string_view().views()),
        DataType::BinaryView => lengths(column.as_binary_view().views()),
        _ => {
            let data = column.to_data();
            data.get_slice_memory_size().unwrap_or_else(|_| data.get_buffer_memory_size()) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array, RecordBatch};

    use super::{Cut, Recut};

    fn numbers(sizes: &[usize]) -> Vec<RecordBatch> {
        let mut next = 0;
        let batch = |&size: &usize| {
            let column: ArrayRef = Arc::new(Int32Array::from_iter_values(next..next + size as i32));
            next += size as i32;
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        sizes.iter().map(batch).collect()
    }

    /// Rows of the batches that come of batches of these sizes. All values come, in their order.
    fn recut(sizes: &[usize], cut: Cut) -> Vec<usize> {
        let batches = numbers(sizes);
        let schema = numbers(&[0])[0].schema();
        let out: Vec<RecordBatch> = Recut::new(batches.into_iter().map(Ok), schema, cut).map(Result::unwrap).collect();
        let values: Vec<i32> =
            out.iter().flat_map(|batch| batch.column(0).as_primitive::<Int32Type>().values().to_vec()).collect();
        let all: usize = sizes.iter().sum();
        assert!(values.into_iter().eq(0..all as i32), "{sizes:?} {cut:?}");
        out.iter().map(RecordBatch::num_rows).collect()
    }

    #[test]
    fn rows_that_were_asked_for_are_kept_exactly() {
        let mut seed = 7_u64;
        for _ in 0..500 {
            let mut random = |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) % below
            };
            let sizes: Vec<usize> = (0..random(12)).map(|_| random(40) as usize).collect();
            let rows = 1 + random(30);
            let out = recut(&sizes, Cut::new(Some(rows)));
            let all: usize = sizes.iter().sum();
            let whole = all / rows as usize;
            assert!(out.iter().take(whole).all(|&count| count as u64 == rows), "{sizes:?} by {rows}: {out:?}");
            assert_eq!(out.iter().sum::<usize>(), all);
        }
    }

    #[test]
    fn batches_stay_as_they_are_until_there_are_too_many() {
        let as_they_are = Cut { whole: 3, ..Cut::of_batches(None) };
        assert_eq!(recut(&[1, 5, 2], as_they_are), [1, 5, 2]);
        assert_eq!(recut(&[1, 5, 2, 1, 1, 1, 4], as_they_are), [1, 5, 2, 7]);
    }

    #[test]
    fn what_has_too_many_bytes_is_cut() {
        let small = Cut { join: 40, cut: 80, ..Cut::of_batches(None) };
        assert_eq!(recut(&[100], small), [10; 10]);
        assert_eq!(recut(&[20, 3], small), [20, 3], "a batch of 80 bytes is none too many");
        let small = Cut { join: 40, ..Cut::new(Some(1000)) };
        assert_eq!(recut(&[6, 6, 6, 6], small), [6, 6, 6, 6], "rows that were asked for are no reason to fill memory");
    }
}
