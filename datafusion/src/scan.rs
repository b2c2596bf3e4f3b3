//! The scan: which rows of which batches each partition reads, and the stream that reads them.
//!
//! A partition is a run of units; a unit is a batch, or a piece of a large one. What the plan did not rule out may be ruled
//! out when its turn comes: a batch whose bounds nobody asked for before is looked at then, by the thread that would read it
//! anyway, and what is found serves every later query. Filters that only become known meanwhile are asked then, too.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, project_schema};
use datafusion::config::ConfigOptions;
use datafusion::datasource::source::DataSource;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, conjunction};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder};
use datafusion::physical_plan::projection::{all_alias_free_columns, new_projections_for_columns};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures_util::stream;

use crate::error::failed;
use crate::filter::{Filter, Followed, changing};
use crate::pinned::Pinned;
use crate::statistics::Several;

/// Rows of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    batch: usize,
    start: usize,
    rows: usize,
}

/// A partition has at least as many rows, so that a small table is not cut to crumbs.
const LEAST_ROWS: usize = 8192;
/// A batch is cut at multiples of so many rows: then no bitmap begins inside a byte, nor a buffer inside 8 bytes.
const CUT: usize = 64;

/// Divides the rows of batches evenly among partitions, in order. A batch that is larger than a partition is cut.
fn divide(rows: &[(usize, usize)], most: usize) -> Vec<Vec<Unit>> {
    let total: usize = rows.iter().map(|(_, rows)| rows).sum();
    let partitions = total.div_ceil(LEAST_ROWS).clamp(1, most.max(1));
    let goal = total.div_ceil(partitions).next_multiple_of(CUT).max(CUT);
    let mut all = vec![vec![]; partitions];
    let mut before = 0;
    for &(batch, rows) in rows {
        for start in (0..rows).step_by(goal) {
            let unit = Unit { batch, start, rows: goal.min(rows - start) };
            // Where its middle falls.
            let at = (before + unit.rows / 2) * partitions / total;
            all[at.min(partitions - 1)].push(unit);
            before += unit.rows;
        }
    }
    all.retain(|units| !units.is_empty());
    if all.is_empty() { vec![vec![]] } else { all }
}

/// What a plan reads of a table of an arena; the leaf of the plan, in a `DataSourceExec`.
#[derive(Clone, Debug)]
pub(crate) struct ArenaScan {
    pinned: Arc<Pinned>,
    /// Columns of the table, in order, and the schema that they make.
    columns: Arc<[usize]>,
    schema: SchemaRef,
    /// The batches that are left, and their rows by partition.
    kept: Arc<[usize]>,
    partitions: Arc<[Vec<Unit>]>,
    filter: Option<Filter>,
    /// What operators above find out while the statement runs.
    dynamic: Option<Arc<dyn PhysicalExpr>>,
    fetch: Option<usize>,
    metrics: ExecutionPlanMetricsSet,
}

impl ArenaScan {
    pub(crate) fn new(
        pinned: &Arc<Pinned>,
        projection: Option<&Vec<usize>>,
        mut kept: Vec<usize>,
        filter: Option<Filter>,
        fetch: Option<usize>,
        target_partitions: usize,
    ) -> Result<ArenaScan> {
        let schema = project_schema(&pinned.schema, projection)?;
        let columns = projection.cloned().unwrap_or_else(|| (0..pinned.schema.fields().len()).collect());
        if let (Some(limit), None) = (fetch, &filter) {
            // No more batches than have as many rows.
            let mut before = 0;
            kept.retain(|batch| {
                let needed = before < limit;
                before += pinned.batches[*batch].rows;
                needed
            });
        }
        let rows: Vec<(usize, usize)> = kept.iter().map(|batch| (*batch, pinned.batches[*batch].rows)).collect();
        Ok(ArenaScan {
            pinned: pinned.clone(),
            columns: columns.into(),
            schema,
            kept: kept.into(),
            partitions: divide(&rows, target_partitions).into(),
            filter,
            dynamic: None,
            fetch,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Whether bounds that nobody has asked for yet, or filters that are not known yet, may rule more batches out.
    fn may_prune(&self) -> bool {
        self.filter.is_some() || self.dynamic.is_some()
    }
}

impl DataSource for ArenaScan {
    fn open(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let pruned = MetricBuilder::new(&self.metrics).counter("batches_pruned", partition);
        if let (0, Some(filter)) = (partition, &self.filter) {
            pruned.add(filter.at_plan());
        }
        let reading = Reading {
            scan: self.clone(),
            partition,
            next: 0,
            followed: self.dynamic.clone().map(Followed::new),
            left: self.fetch.unwrap_or(usize::MAX),
            pruned,
            read: MetricBuilder::new(&self.metrics).counter("batches_read", partition),
            baseline: BaselineMetrics::new(&self.metrics, partition),
        };
        let batches = RecordBatchStreamAdapter::new(self.schema.clone(), stream::iter(reading));
        Ok(Box::pin(cooperative(batches)))
    }

    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let (title, batches, of) = (&self.pinned.title, self.kept.len(), self.pinned.batches.len());
        if t == DisplayFormatType::TreeRender {
            writeln!(f, "format=arena\ntable={title}")?;
            return writeln!(f, "batches={batches} of {of}");
        }
        let names: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "ArenaScan: {title}, projection=[{}], batches={batches} of {of}", names.join(", "))?;
        write!(f, ", partitions={}", self.partitions.len())?;
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        if let Some(filter) = &self.filter {
            write!(f, ", pruned by {}", filter.predicate().predicate_expr())?;
        }
        match &self.dynamic {
            Some(filter) => write!(f, ", pruned as it runs by {filter}"),
            None => Ok(()),
        }
    }

    fn output_partitioning(&self) -> Partitioning {
        Partitioning::UnknownPartitioning(self.partitions.len())
    }

    fn eq_properties(&self) -> EquivalenceProperties {
        EquivalenceProperties::new(self.schema.clone())
    }

    fn scheduling_type(&self) -> SchedulingType {
        SchedulingType::Cooperative
    }

    fn partition_statistics(&self, partition: Option<usize>) -> Result<Arc<Statistics>> {
        let units = match partition {
            None => return Ok(Arc::new(self.read_statistics(&self.kept, 1.0))),
            Some(partition) => &self.partitions[partition],
        };
        let batches: Vec<usize> = units.iter().map(|unit| unit.batch).collect();
        let whole: usize = batches.iter().map(|batch| self.pinned.batches[*batch].rows).sum();
        let rows: usize = units.iter().map(|unit| unit.rows).sum();
        Ok(Arc::new(self.read_statistics(&batches, if whole == 0 { 1.0 } else { rows as f64 / whole as f64 })))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn DataSource>> {
        // Any rows will do, but so many there must be.
        let dynamic = self.dynamic.clone().filter(|_| limit.is_none());
        Some(Arc::new(ArenaScan { fetch: limit, dynamic, ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> ExecutionPlanMetricsSet {
        self.metrics.clone()
    }

    fn try_swapping_with_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn DataSource>>> {
        let expressions: Vec<_> = projection.iter().cloned().collect();
        if !all_alias_free_columns(&expressions) {
            return Ok(None);
        }
        let columns = new_projections_for_columns(&expressions, &self.columns);
        let schema = project_schema(&self.pinned.schema, Some(&columns))?;
        Ok(Some(Arc::new(ArenaScan { columns: columns.into(), schema, ..self.clone() })))
    }

    /// Takes filters that become known while the statement runs. The rows of batches that they do not rule out are left to
    /// the engine.
    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn DataSource>>> {
        let result = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; filters.len()]);
        let changing = changing(&filters, &self.pinned);
        if changing.is_empty() || self.fetch.is_some() || self.pinned.batches.len() < 2 {
            return Ok(result);
        }
        let dynamic = conjunction(self.dynamic.iter().cloned().chain(changing));
        Ok(result.with_updated_node(Arc::new(ArenaScan { dynamic: Some(dynamic), ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        let own = self.filter.as_ref().map(|filter| filter.predicate().orig_expr());
        for expression in own.into_iter().chain(&self.dynamic) {
            if f(expression)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }
}

impl ArenaScan {
    /// What is known of these batches, of which so large a share is read.
    fn read_statistics(&self, batches: &[usize], share: f64) -> Statistics {
        let all = self.pinned.statistics(&self.columns, batches);
        if share == 1.0 && !self.may_prune() && self.fetch.is_none() {
            return all;
        }
        let rows = all.num_rows;
        let mut part = all.to_inexact();
        let scaled = |n: &usize| (*n as f64 * share).round() as usize;
        // How many rows a piece of a batch has is as exact as how many the batch has.
        part.num_rows = if self.may_prune() { rows.to_inexact() } else { rows };
        part.num_rows = part.num_rows.map(|n| scaled(&n));
        part.total_byte_size = part.total_byte_size.map(|n| scaled(&n));
        if let Some(fetch) = self.fetch {
            part.num_rows = part.num_rows.map(|n| n.min(fetch)).to_inexact();
        }
        part
    }

    /// Whether a batch is ruled out by bounds that nobody asked for before.
    fn is_ruled_out(&self, batch: usize) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(false) };
        let seen = self.pinned.batch(batch);
        // What was known was known when the plan was made.
        let found = filter.find_bounds(&seen, |_| true)?;
        Ok(found && !Several { schema: &self.pinned.schema, batches: &[seen] }.keep(filter.predicate())?[0])
    }

    fn read(&self, unit: Unit) -> Result<RecordBatch> {
        let pinned = &self.pinned.batches[unit.batch];
        let batch = pinned.object.project(&self.columns).map_err(failed)?;
        if batch.num_rows() != pinned.rows {
            return Err(failed(faretra::Error::Damaged(format!(
                "a batch of `{}` has {} rows, its record says {}",
                self.pinned.title,
                batch.num_rows(),
                pinned.rows
            ))));
        }
        let batch = if unit.rows == pinned.rows { batch } else { batch.slice(unit.start, unit.rows) };
        // The same fields; metadata may differ.
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &rows)?)
    }
}

/// The batches of one partition.
struct Reading {
    scan: ArenaScan,
    partition: usize,
    next: usize,
    followed: Option<Followed>,
    /// Rows that may still come.
    left: usize,
    pruned: Count,
    read: Count,
    baseline: BaselineMetrics,
}

impl Iterator for Reading {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let timer = self.baseline.elapsed_compute().timer();
        let batch = loop {
            if self.left == 0 {
                break None;
            }
            let Some(unit) = self.scan.partitions[self.partition].get(self.next).copied() else { break None };
            self.next += 1;
            let ruled_out = match self.scan.is_ruled_out(unit.batch) {
                Ok(false) => self.followed.as_mut().map_or(Ok(false), |f| f.rules_out(unit.batch, &self.scan.pinned)),
                other => other,
            };
            match ruled_out {
                Ok(true) => self.pruned.add(1),
                Ok(false) => break Some(self.scan.read(unit)),
                Err(e) => break Some(Err(e)),
            }
        };
        timer.done();
        match batch {
            Some(Ok(batch)) => {
                let batch = if batch.num_rows() > self.left { batch.slice(0, self.left) } else { batch };
                self.left -= batch.num_rows();
                self.read.add(1);
                self.baseline.record_output(batch.num_rows());
                Some(Ok(batch))
            }
            Some(Err(e)) => {
                // Nothing comes after an error.
                self.left = 0;
                Some(Err(e))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_divided_evenly_and_in_order() {
        for (rows, most) in [
            (vec![], 4),
            (vec![0], 4),
            (vec![1], 4),
            (vec![100_000], 4),
            (vec![100_000, 0, 3, 200_000], 3),
            (vec![10_000; 37], 8),
            (vec![8192; 5], 1),
        ] {
            let batches: Vec<(usize, usize)> = rows.iter().copied().enumerate().collect();
            let partitions = divide(&batches, most);
            assert!(!partitions.is_empty() && partitions.len() <= most);
            let flat: Vec<Unit> = partitions.iter().flatten().copied().collect();
            let mut expected = flat.clone();
            expected.sort_by_key(|unit| (unit.batch, unit.start));
            assert_eq!(flat, expected);
            for (batch, rows) in &batches {
                let of: Vec<&Unit> = flat.iter().filter(|unit| unit.batch == *batch).collect();
                assert_eq!(of.iter().map(|unit| unit.rows).sum::<usize>(), *rows);
                assert!(of.iter().all(|unit| unit.start % CUT == 0));
            }
            let total: usize = rows.iter().sum();
            let largest = partitions.iter().map(|units| units.iter().map(|unit| unit.rows).sum()).max().unwrap_or(0);
            assert!(largest <= 2 * (total / partitions.len() + CUT), "{largest} of {total} in {}", partitions.len());
        }
    }
}
