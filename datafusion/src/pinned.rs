//! The batches that a plan reads, and the engine's statistics of them.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use faretra::Object;

use crate::statistics::{Bounds, Known, Seen};

/// A batch of a table, pinned and not read yet.
#[derive(Clone, Debug)]
pub(crate) struct BatchRef {
    pub(crate) object: Object,
    pub(crate) rows: usize,
    /// Which batch of its object it is, and what is known of those.
    pub(crate) index: usize,
    pub(crate) known: Arc<Known>,
}

/// The batches that a plan reads: pinned, so that they are as they were when the plan was made.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<BatchRef>,
    pub(crate) untrusted: bool,
    /// What a plan shows: the names, with their versions.
    pub(crate) title: String,
}

impl Pinned {
    pub(crate) fn batch(&self, batch: usize) -> Seen<'_> {
        let BatchRef { object, rows, index, known } = &self.batches[batch];
        Seen { rows: *rows as u64, index: *index, known, object }
    }

    /// A number that the arena says: it is exact where it is trusted.
    pub(crate) fn precisely<T>(&self, number: T) -> Precision<T>
    where
        T: std::fmt::Debug + Clone + PartialEq + Eq + PartialOrd,
    {
        if self.untrusted { Precision::Inexact(number) } else { Precision::Exact(number) }
    }

    /// What is known of some columns of some batches.
    pub(crate) fn statistics(&self, columns: &[usize], batches: &[usize]) -> Statistics {
        let rows: usize = batches.iter().map(|batch| self.batches[*batch].rows).sum();
        let of_columns: Vec<ColumnStatistics> =
            columns.iter().map(|column| self.column_statistics(*column, batches)).collect();
        let bytes = of_columns.iter().try_fold(0, |sum, column| Some(sum + column.byte_size.get_value()?));
        Statistics {
            num_rows: self.precisely(rows),
            total_byte_size: bytes.map_or(Precision::Absent, |bytes| self.precisely(bytes)),
            column_statistics: of_columns,
        }
    }

    fn column_statistics(&self, column: usize, batches: &[usize]) -> ColumnStatistics {
        let sum = |of: &dyn Fn(&Object) -> faretra::Result<u64>| {
            let of = |batch: &usize| of(&self.batches[*batch].object).ok();
            let sum = batches.iter().map(of).try_fold(0_usize, |sum, n| sum.checked_add(usize::try_from(n?).ok()?));
            sum.map_or(Precision::Absent, |sum| self.precisely(sum))
        };
        let floating = self.schema.field(column).data_type().is_floating();
        let bound = |which: &dyn Fn(&Bounds) -> ScalarValue, better: Ordering| {
            let mut best = None;
            for batch in batches {
                let BatchRef { index, known, rows, .. } = &self.batches[*batch];
                if *rows == 0 {
                    continue;
                }
                let Some(Some(bounds)) = known.get(column, *index) else { return Precision::Absent };
                let value = which(bounds);
                if value.is_null() {
                    continue;
                }
                best = match best {
                    None => Some(value),
                    Some(best) if value.partial_cmp(&best) == Some(better) => Some(value),
                    Some(best) => Some(best),
                };
            }
            // NaN and signed zero have an order of their own.
            match best {
                Some(value) if floating => Precision::Inexact(value),
                Some(value) => self.precisely(value),
                None => Precision::Absent,
            }
        };
        ColumnStatistics {
            null_count: sum(&|object| object.null_count(column)),
            byte_size: sum(&|object| object.column_nbytes(column)),
            min_value: bound(&|bounds| bounds.min.clone(), Ordering::Less),
            max_value: bound(&|bounds| bounds.max.clone(), Ordering::Greater),
            ..ColumnStatistics::new_unknown()
        }
    }
}
