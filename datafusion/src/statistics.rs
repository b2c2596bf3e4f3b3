//! What is known of the values of each batch: least, greatest, nulls. Found when a filter first asks, and kept.
//!
//! Rows, bytes and nulls of a batch are in its descriptor. The least and the greatest value of a column are not: a publish
//! does not look at values. They are found by the first query that filters the column, batch by batch and on all cores, and
//! kept by this process for as long as the name has that version. [`ArenaSchema::analyze`](crate::ArenaSchema::analyze)
//! finds them for all columns at once and publishes them beside the object, for every process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{MaxAccumulator, MinAccumulator};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use faretra::{Arena, Object, Table};

use crate::error::failed;

/// What the name of published statistics ends in.
const SUFFIX: &str = "#statistics";
/// The key of the schema's metadata that says which version they are of.
const VERSION: &str = "faretra.statistics.version";

/// The name under which the statistics of `name` are published.
pub(crate) fn name_of(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

/// Whether a name is one of published statistics.
pub(crate) fn is_statistics(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// The least and the greatest value of a column of a batch; nulls of its type if it has no values.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) min: ScalarValue,
    pub(crate) max: ScalarValue,
}

/// `None`: values of this type have no bounds.
type Found = OnceLock<Option<Bounds>>;

/// The bounds of the batches of one object, as far as they were asked for.
#[derive(Debug)]
pub(crate) struct Known {
    batches: usize,
    columns: Box<[OnceLock<Box<[Found]>>]>,
}

impl Known {
    pub(crate) fn new(columns: usize, batches: usize) -> Known {
        Known { batches, columns: (0..columns).map(|_| OnceLock::new()).collect() }
    }

    fn slot(&self, column: usize, batch: usize) -> &Found {
        let batches = || (0..self.batches).map(|_| OnceLock::new()).collect();
        &self.columns[column].get_or_init(batches)[batch]
    }

    /// The bounds, if somebody asked before; and what they turned out to be.
    pub(crate) fn get(&self, column: usize, batch: usize) -> Option<&Option<Bounds>> {
        self.columns[column].get()?[batch].get()
    }

    /// The bounds, found now unless they are known.
    pub(crate) fn find(&self, column: usize, batch: usize, object: &Object) -> faretra::Result<&Option<Bounds>> {
        let slot = self.slot(column, batch);
        if slot.get().is_none() {
            let array = object.project(&[column])?.column(0).clone();
            let _ = slot.set(bounds(&array));
        }
        Ok(slot.get_or_init(|| None))
    }

    /// Takes over what [`Known::to_batch`] wrote for so many batches of this schema.
    fn read(&self, schema: &Schema, stored: &RecordBatch) {
        for (column, field) in schema.fields().iter().enumerate() {
            let bound = |which: &str| stored.column_by_name(&format!("{which} {column}"));
            let (Some(min), Some(max)) = (bound("min"), bound("max")) else { continue };
            if min.data_type() != field.data_type() || max.data_type() != field.data_type() {
                continue;
            }
            for batch in 0..self.batches {
                let of = |array: &ArrayRef| ScalarValue::try_from_array(array, batch);
                if let (Ok(min), Ok(max)) = (of(min), of(max)) {
                    let _ = self.slot(column, batch).set(Some(Bounds { min, max }));
                }
            }
        }
    }

    /// The bounds of all batches, one in a row; all of them are known.
    fn to_batch(&self, schema: &Schema, version: u64) -> Result<RecordBatch> {
        let (mut fields, mut arrays) = (vec![], vec![]);
        let rows: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..self.batches as u64));
        fields.push(Field::new("batch", DataType::UInt64, false));
        arrays.push(rows);
        for (column, field) in schema.fields().iter().enumerate() {
            let all: Option<Vec<&Bounds>> = (0..self.batches).map(|batch| self.get(column, batch)?.as_ref()).collect();
            let Some(all) = all.filter(|all| !all.is_empty()) else { continue };
            for (which, values) in [
                ("min", all.iter().map(|bounds| bounds.min.clone()).collect::<Vec<_>>()),
                ("max", all.iter().map(|bounds| bounds.max.clone()).collect()),
            ] {
                arrays.push(ScalarValue::iter_to_array(values)?);
                fields.push(Field::new(format!("{which} {column}"), field.data_type().clone(), true));
            }
        }
        let metadata = HashMap::from([(VERSION.to_owned(), version.to_string())]);
        let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
        Ok(RecordBatch::try_new(schema, arrays)?)
    }
}

/// Types whose values are ordered, and whose order SQL and arrow agree on.
fn has_bounds(t: &DataType) -> bool {
    t.is_integer()
        || t.is_floating()
        || t.is_decimal()
        || (t.is_temporal() && !matches!(t, DataType::Interval(_)))
        || t.is_string()
        || matches!(
            t,
            DataType::Boolean
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
}

fn bounds(array: &ArrayRef) -> Option<Bounds> {
    let t = array.data_type();
    if !has_bounds(t) {
        return None;
    }
    let mut min = MinAccumulator::try_new(t).ok()?;
    let mut max = MaxAccumulator::try_new(t).ok()?;
    min.update_batch(std::slice::from_ref(array)).ok()?;
    max.update_batch(std::slice::from_ref(array)).ok()?;
    let (min, max) = (min.evaluate().ok()?, max.evaluate().ok()?);
    (min.data_type() == *t && max.data_type() == *t).then_some(Bounds { min, max })
}

/// The bounds that this process knows, by name: of one version of each.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    names: Mutex<HashMap<String, (u64, Arc<Known>)>>,
}

/// How many names a memory has before it forgets all of them.
const NAMES: usize = 4096;

impl Memory {
    /// What is known of a table that was read from an arena: by this process, or published beside it.
    pub(crate) fn of(&self, arena: &Arena, object: &Object, table: &Table) -> Arc<Known> {
        let (name, version) = (object.name(), object.version());
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = names.get(name).filter(|(of, _)| *of == version) {
            return known.clone();
        }
        let schema = table.schema();
        let known = Arc::new(Known::new(schema.fields().len(), table.num_batches() as usize));
        // What others say of values must not decide what is skipped where they are not trusted.
        if !object.is_untrusted()
            && let Ok(stored) = arena.batch(&name_of(name))
            && stored.schema().metadata().get(VERSION).is_some_and(|of| *of == version.to_string())
            && stored.num_rows() as u64 == table.num_batches()
        {
            known.read(&schema, &stored);
        }
        if names.len() >= NAMES {
            names.clear();
        }
        names.insert(name.to_owned(), (version, known.clone()));
        known
    }
}

/// Finds the bounds of all columns of a table, and returns them as a batch to be published beside it.
pub(crate) fn analyze(table: &Table, known: &Known, version: u64) -> Result<RecordBatch> {
    let schema = table.schema();
    for batch in 0..table.num_batches() {
        let object = table.batch_object(batch).map_err(failed)?;
        for (column, field) in schema.fields().iter().enumerate() {
            if has_bounds(field.data_type()) {
                known.find(column, batch as usize, &object).map_err(failed)?;
            }
        }
    }
    known.to_batch(&schema, version)
}

/// One batch as the predicate sees it.
pub(crate) struct Seen<'a> {
    pub(crate) rows: u64,
    /// The index in its object, and what is known of that.
    pub(crate) index: usize,
    pub(crate) known: &'a Known,
    pub(crate) object: &'a Object,
}

/// What is known of several batches of one schema.
pub(crate) struct Several<'a> {
    pub(crate) schema: &'a SchemaRef,
    pub(crate) batches: &'a [Seen<'a>],
}

impl Several<'_> {
    fn bounds(&self, column: &Column, which: impl Fn(&Bounds) -> &ScalarValue) -> Option<ArrayRef> {
        let (column, field) = self.schema.column_with_name(&column.name)?;
        let none = ScalarValue::try_from(field.data_type()).ok()?;
        let mut any = false;
        let values = self.batches.iter().map(|seen| match seen.known.get(column, seen.index) {
            Some(Some(bounds)) => {
                any = true;
                which(bounds).clone()
            }
            _ => none.clone(),
        });
        let values: Vec<ScalarValue> = values.collect();
        any.then(|| ScalarValue::iter_to_array(values).ok()).flatten()
    }

    /// Which of the batches may have rows that the predicate holds for.
    pub(crate) fn keep(&self, predicate: &PruningPredicate) -> Result<Vec<bool>> {
        predicate.prune(self)
    }
}

impl PruningStatistics for Several<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |bounds| &bounds.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |bounds| &bounds.max)
    }

    fn num_containers(&self) -> usize {
        self.batches.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (column, _) = self.schema.column_with_name(&column.name)?;
        let of = |seen: &Seen<'_>| match seen.object.is_untrusted() {
            true => None,
            false => seen.object.null_count(column).ok(),
        };
        Some(Arc::new(self.batches.iter().map(of).collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.batches.iter().map(|seen| seen.rows))))
    }

    fn contained(&self, _: &Column, _: &std::collections::HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
