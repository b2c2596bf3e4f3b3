//! The leaves of plans: a table of the cluster, as the coordinator plans it, and what one task scans of it on its own host.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, exec_err, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::{EmptyRecordBatchStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, ReplaceChildrenOptions,
    StatisticsArgs,
};
use futures_util::TryStreamExt;
use url::Url;

use crate::message::Ask;

fn properties(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(Arc::clone(schema)),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// A scan of a table of the cluster: the rows of all hosts. It is planned and never executed: tasks execute [`HostScan`]s.
#[derive(Debug)]
pub(crate) struct ClusterScan {
    /// Whom each task is for.
    slots: Arc<[Url]>,
    /// What each task scans.
    parts: Vec<Arc<HostScan>>,
    title: String,
    statistics: Arc<Statistics>,
    properties: Arc<PlanProperties>,
}

impl ClusterScan {
    /// `asks` are what each of the slots scans, of this schema and with as many partitions each.
    pub(crate) fn new(
        slots: Arc<[Url]>,
        asks: Vec<Ask>,
        schema: &SchemaRef,
        partitions: usize,
        title: String,
        statistics: Statistics,
    ) -> ClusterScan {
        let all = partitions * slots.len();
        let parts = asks.into_iter().map(|ask| Arc::new(HostScan::planned(ask, schema, partitions))).collect();
        ClusterScan { slots, parts, title, statistics: Arc::new(statistics), properties: properties(schema, all) }
    }

    pub(crate) fn slots(&self) -> &Arc<[Url]> {
        &self.slots
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = Arc<dyn ExecutionPlan>> {
        self.parts.iter().map(|part| Arc::clone(part) as Arc<dyn ExecutionPlan>)
    }
}

impl DisplayAs for ClusterScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let hosts = self.parts.iter().filter(|part| part.ask.part.is_some()).count();
        let of = self.parts.len();
        write!(f, "ClusterScan: {}, projection=[{}], parts={hosts} of {of}", self.title, names.join(", "))?;
        match self.parts.iter().find_map(|part| part.ask.limit) {
            Some(limit) => write!(f, ", fetch={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for ClusterScan {
    fn name(&self) -> &str {
        "ClusterScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        childless(self, &children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        childless(self, &children)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        exec_err!(
            "`{}` lies in arenas of other hosts, and the plan was made without workers: plan it in a session of \
             `Coordinator::connect`",
            self.title
        )
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        match args.partition() {
            None => Ok(Arc::clone(&self.statistics)),
            Some(_) => Ok(Arc::new(Statistics::new_unknown(&self.schema()))),
        }
    }
}

fn childless(plan: Arc<dyn ExecutionPlan>, children: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    match children.is_empty() {
        true => Ok(plan),
        false => internal_err!("{} is a leaf and was given {} children", plan.name(), children.len()),
    }
}

/// What one task scans of a table: a description, as it travels, and on its worker a scan of the arena there.
#[derive(Debug)]
pub(crate) struct HostScan {
    pub(crate) ask: Ask,
    /// The scan, on a worker that has something of the table.
    scan: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl HostScan {
    fn planned(ask: Ask, schema: &SchemaRef, partitions: usize) -> HostScan {
        HostScan { ask, scan: None, properties: properties(schema, partitions) }
    }

    /// The scan on its worker, which gives the rows of `scan` in this schema.
    pub(crate) fn opened(ask: Ask, schema: &SchemaRef, scan: Option<Arc<dyn ExecutionPlan>>) -> Result<HostScan> {
        let partitions = ask.partitions as usize;
        if let Some(scan) = &scan
            && scan.output_partitioning().partition_count() > partitions
        {
            return internal_err!("a scan has more than the {partitions} partitions that it was asked for");
        }
        Ok(HostScan { properties: properties(schema, partitions), ask, scan })
    }
}

impl DisplayAs for HostScan {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        let Ask { worker, arena, table, .. } = &self.ask;
        match &self.ask.part {
            Some(part) => write!(f, "HostScan: {arena}.{table}@{} at {worker}", part.version)?,
            None => write!(f, "HostScan: nothing at {worker}")?,
        }
        match &self.scan {
            Some(scan) => {
                f.write_str(", ")?;
                scan.fmt_as(t, f)
            }
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for HostScan {
    fn name(&self) -> &str {
        "HostScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        childless(self, &children)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        childless(self, &children)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let scan = match (&self.scan, &self.ask.part) {
            (Some(scan), _) if partition < scan.output_partitioning().partition_count() => scan,
            (None, Some(_)) => {
                return internal_err!("a scan of worker {} was to be executed somewhere else", self.ask.worker);
            }
            _ => return Ok(Box::pin(EmptyRecordBatchStream::new(schema))),
        };
        // The same columns, in the schema of the plan: what hosts say beside the fields may differ.
        let of_plan = Arc::clone(&schema);
        let rows = scan.execute(partition, context)?.and_then(move |batch| {
            let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&of_plan), batch.columns().to_vec(), &rows);
            std::future::ready(batch.map_err(Into::into))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.as_ref().and_then(|scan| scan.metrics())
    }
}
