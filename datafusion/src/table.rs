//! Tables of an arena as tables of the engine: what was pinned when the plan was made, and nothing else.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, Statistics, plan_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::DataFusionError;
use datafusion::execution::context::{ExecutionProps, SessionState};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use faretra::{Arena, Object, Table};

use crate::error::failed;
use crate::filter::Filter;
use crate::pinned::{BatchRef, Pinned};
use crate::scan::ArenaScan;
use crate::sink::{ArenaSink, How, Target, columns};
use crate::statistics::{Known, Seen, Several};

/// A table of an arena, read where it lies: a batch or table, or several of one schema as one.
///
/// The table is pinned when it is made. Each query over it reads that version, whatever is published under the name
/// meanwhile, and also after the arena was removed. A catalog ([`ArenaSchema`](crate::ArenaSchema)) makes a table anew for
/// each statement, so that a statement reads what is current when it is planned.
///
/// * No row is copied by the scan: the batches that it gives lie in the arena's memory.
/// * A query touches the columns that it names, and no others.
/// * The scan has as many partitions as the session asks for, cut between batches, and within large ones.
/// * Numbers of rows, bytes and nulls are exact, from the batches' descriptors.
/// * Batches that a filter rules out are not read, nor those that a join or a sort with a limit rules out while it runs; see
///   [`ArenaSchema::analyze`](crate::ArenaSchema::analyze).
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use faretra::{Arena, MIB};
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra_datafusion::ArenaTable;
///
/// # let name = format!("doc-fusion-table-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
///
/// let context = SessionContext::new();
/// context.register_table("numbers", Arc::new(ArenaTable::open(&arena, "ids")?))?;
/// assert_eq!(context.sql("SELECT id FROM numbers WHERE id > 1").await?.count().await?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ArenaTable {
    pinned: Arc<Pinned>,
    target: Option<Target>,
}

impl ArenaTable {
    /// Returns the current batch or table of a name. Rows that are inserted go to the name.
    ///
    /// # Errors
    ///
    /// [`faretra::Error::NotFound`] if there is no object of that name; [`faretra::Error::Mismatch`] for one of another kind.
    pub fn open(arena: &Arena, name: &str) -> faretra::Result<ArenaTable> {
        let table = ArenaTable::new(arena.table(name)?)?;
        Ok(ArenaTable { target: Some(Target { arena: arena.clone(), name: name.to_owned() }), ..table })
    }

    /// Returns a table that was read already, a feed's snapshot or a bundle's member for example. Nothing can be inserted.
    ///
    /// # Errors
    ///
    /// [`faretra::Error::Damaged`] if the arena is.
    pub fn new(table: Table) -> faretra::Result<ArenaTable> {
        let known = Arc::new(Known::new(table.schema().fields().len(), table.num_batches() as usize));
        ArenaTable::of_parts(table.schema(), &[(table, known)], None)
    }

    /// Returns a part of the table: the `index`-th of `of` that have each batch once between them, in order. Of a table with
    /// fewer batches than parts, some parts are empty. Processes that read one table together take a part each. Nothing can be
    /// inserted into a part.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use faretra::{Arena, MIB};
    /// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use datafusion::catalog::TableProvider;
    /// # use faretra_datafusion::ArenaTable;
    /// # let name = format!("doc-fusion-part-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// # let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;     // one batch
    /// let table = ArenaTable::open(&arena, "ids")?;
    /// let rows = |part: ArenaTable| part.statistics().and_then(|known| known.num_rows.get_value().copied());
    /// assert_eq!((rows(table.part(0, 2)), rows(table.part(1, 2))), (Some(3), Some(0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn part(&self, index: usize, of: usize) -> ArenaTable {
        let all = &self.pinned.batches;
        let is_mine = |at: usize| at * of / all.len() == index;
        let batches = all.iter().enumerate().filter(|(at, _)| is_mine(*at)).map(|(_, batch)| batch.clone()).collect();
        let title = format!("{}, part {} of {of}", self.pinned.title, index + 1);
        let pinned = Pinned { schema: self.schema(), batches, untrusted: self.pinned.untrusted, title };
        ArenaTable { pinned: Arc::new(pinned), target: None }
    }

    /// Several tables of one schema, which the caller has compared.
    pub(crate) fn of_parts(
        schema: SchemaRef,
        parts: &[(Table, Arc<Known>)],
        target: Option<Target>,
    ) -> faretra::Result<ArenaTable> {
        let mut batches = vec![];
        let mut titles = vec![];
        for (table, known) in parts {
            titles.push(match table.object() {
                Some(object) => format!("{}@{}", object.name(), object.version()),
                None => "snapshot".to_owned(),
            });
            for index in 0..table.num_batches() {
                let object = table.batch_object(index)?;
                let rows = object.rows() as usize;
                batches.push(BatchRef { object, rows, index: index as usize, known: known.clone() });
            }
        }
        let untrusted = batches.iter().any(|batch| batch.object.is_untrusted());
        if titles.len() > 3 {
            let others = titles.len() - 2;
            titles.truncate(2);
            titles.push(format!("and {others} others"));
        }
        let title = titles.join(", ");
        Ok(ArenaTable { pinned: Arc::new(Pinned { schema, batches, untrusted, title }), target })
    }

    /// Returns the schema that tables of one glob have in common, or an error that says which differ.
    pub(crate) fn common_schema(pattern: &str, parts: &[(Table, Arc<Known>)]) -> Result<SchemaRef> {
        let named = |table: &Table| table.object().map_or_else(String::new, |object| object.name().to_owned());
        let Some((first, _)) = parts.first() else {
            return Ok(Arc::new(Schema::empty()));
        };
        for (table, _) in parts {
            if table.schema().fields() != first.schema().fields() {
                return plan_err!(
                    "the tables of `{pattern}` have different schemas: `{}` has {}, `{}` has {}; \
                     use a pattern that names tables of one schema only",
                    named(first),
                    columns(&first.schema()),
                    named(table),
                    columns(&table.schema())
                );
            }
        }
        Ok(first.schema())
    }
}

impl ArenaTable {
    /// The plan of a scan.
    fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let pinned = &self.pinned;
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = DFSchema::try_from(pinned.schema.clone())?;
                let filter = match state.as_any().downcast_ref::<SessionState>() {
                    Some(state) => Some(state.create_physical_expr(filter, &schema)?),
                    // An expression that another library makes cannot be looked into. What it planned has its types already;
                    // what cannot be an expression here rules nothing out.
                    None => create_physical_expr(&filter, &schema, &ExecutionProps::new(), &Default::default()).ok(),
                };
                filter.and_then(|filter| {
                    PruningPredicateBuilder::new().with_file_schema(pinned.schema.clone()).build(filter)
                })
            }
            None => None,
        };
        let all = 0..pinned.batches.len();
        let (kept, pruned) = match predicate.filter(|predicate| !predicate.always_true()) {
            Some(predicate) => {
                let seen: Vec<Seen<'_>> = all.clone().map(|batch| pinned.batch(batch)).collect();
                let keep = Several { schema: &pinned.schema, batches: &seen }.keep(&predicate)?;
                let kept: Vec<usize> = all.clone().filter(|batch| keep[*batch]).collect();
                let pruned = all.len() - kept.len();
                (kept, Some(Filter::new(predicate, &pinned.schema, pruned)))
            }
            None => (all.collect(), None),
        };
        let scan = ArenaScan::new(pinned, projection, kept, pruned, limit, state.config().target_partitions())?;
        Ok(DataSourceExec::from_data_source(scan))
    }
}

#[async_trait]
impl TableProvider for ArenaTable {
    fn schema(&self) -> SchemaRef {
        self.pinned.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_plan!();

    /// A batch that a filter rules out is not read; the rows of the others are left to the engine.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let what = match self.pinned.batches.len() {
            0 | 1 => TableProviderFilterPushDown::Unsupported,
            _ => TableProviderFilterPushDown::Inexact,
        };
        Ok(vec![what; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let columns: Vec<usize> = (0..self.pinned.schema.fields().len()).collect();
        let batches: Vec<usize> = (0..self.pinned.batches.len()).collect();
        Some(self.pinned.statistics(&columns, &batches))
    }

    async fn insert_into(
        &self,
        _: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        op: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(target) = &self.target else {
            return plan_err!(
                "nothing can be inserted into `{}`: it is a version, a bundle's member, a snapshot or several tables; \
                 insert into the name of one table",
                self.pinned.title
            );
        };
        let how = match op {
            InsertOp::Append => How::Append,
            InsertOp::Overwrite => How::Replace,
            InsertOp::Replace => {
                return Err(DataFusionError::NotImplemented(format!(
                    "REPLACE INTO `{}`: its rows have no key; use INSERT OVERWRITE to replace them all",
                    target.name
                )));
            }
        };
        ArenaSink::plan(input, target.clone(), self.schema(), how)
    }
}

impl TryFrom<Object> for ArenaTable {
    type Error = DataFusionError;

    fn try_from(object: Object) -> Result<ArenaTable> {
        ArenaTable::new(object.table().map_err(failed)?).map_err(failed)
    }
}
