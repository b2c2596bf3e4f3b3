//! Filters that rule batches out by their bounds: those of the statement's text, and those that an operator finds out while
//! the statement runs. A join that has read one side knows the least and the greatest key that the other side can match, and a
//! sort with a limit the worst row that can still be among the best.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{DynamicFilterTracking, PhysicalExpr};
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};

use crate::error::failed;
use crate::pinned::Pinned;
use crate::statistics::{Seen, Several};

/// What rules batches out.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    predicate: Arc<PruningPredicate>,
    /// The columns whose bounds it asks for.
    columns: Arc<[usize]>,
    /// How many batches it has ruled out when the plan was made.
    at_plan: usize,
}

impl Filter {
    pub(crate) fn new(predicate: Arc<PruningPredicate>, schema: &SchemaRef, at_plan: usize) -> Filter {
        // The predicate speaks of `c_min` and `c_max` of a column `c`.
        let asked: Vec<String> =
            collect_columns(predicate.predicate_expr()).iter().map(|column| column.name().to_owned()).collect();
        let of_column = |column: &Column| asked.iter().any(|name| is_bound_of(name, column.name()));
        let columns = collect_columns(predicate.orig_expr());
        let columns = columns.iter().filter(|column| of_column(column));
        let columns = columns.filter_map(|column| schema.index_of(column.name()).ok()).collect();
        Filter { predicate, columns, at_plan }
    }

    pub(crate) fn predicate(&self) -> &PruningPredicate {
        &self.predicate
    }

    pub(crate) fn at_plan(&self) -> usize {
        self.at_plan
    }

    /// Finds the bounds of a batch that nobody asked for yet, of columns that are worth it. Returns whether there were such.
    pub(crate) fn find_bounds(&self, seen: &Seen<'_>, is_worth: impl Fn(usize) -> bool) -> Result<bool> {
        let mut found = false;
        for &column in self.columns.iter() {
            if seen.known.get(column, seen.index).is_none() && is_worth(column) {
                seen.known.find(column, seen.index, seen.object).map_err(failed)?;
                found = true;
            }
        }
        Ok(found)
    }
}

fn is_bound_of(name: &str, column: &str) -> bool {
    name.strip_prefix(column).is_some_and(|rest| rest == "_min" || rest == "_max")
}

/// The filters among these that change while the statement runs, in terms of the table's columns. The others rule out what
/// they can when the plan is made.
pub(crate) fn changing(filters: &[Arc<dyn PhysicalExpr>], pinned: &Pinned) -> Vec<Arc<dyn PhysicalExpr>> {
    let changing = filters.iter().filter(|filter| DynamicFilterTracking::classify(filter).contains_dynamic_filter());
    changing.filter_map(|filter| reassign_expr_columns(filter.clone(), &pinned.schema).ok()).collect()
}

/// A filter as one partition of a scan follows it.
#[derive(Debug)]
pub(crate) struct Followed {
    filter: Arc<dyn PhysicalExpr>,
    tracking: DynamicFilterTracking,
    /// Whether `now` is what the filter was when it changed last.
    is_current: bool,
    /// What rules batches out; `None`: nothing does.
    now: Option<Filter>,
}

impl Followed {
    pub(crate) fn new(filter: Arc<dyn PhysicalExpr>) -> Followed {
        Followed { tracking: DynamicFilterTracking::classify(&filter), filter, is_current: false, now: None }
    }

    /// Whether a batch has no row that the filter holds for, as the filter is now. It will not hold for more later.
    pub(crate) fn rules_out(&mut self, batch: usize, pinned: &Pinned) -> Result<bool> {
        let changed = self.tracking.watcher().is_some_and(|watcher| watcher.changed());
        if changed || !self.is_current {
            let predicate = PruningPredicateBuilder::new().with_file_schema(pinned.schema.clone());
            let predicate = predicate.build(self.filter.clone());
            self.now = predicate.map(|predicate| Filter::new(predicate, &pinned.schema, 0));
            self.is_current = true;
        }
        let Some(filter) = &self.now else { return Ok(false) };
        let seen = pinned.batch(batch);
        // Bounds of numbers take less time than what is done with a batch that is read. Those of texts do not, and nobody says
        // that they help.
        filter.find_bounds(&seen, |column| pinned.schema.field(column).data_type().is_primitive())?;
        Ok(!Several { schema: &pinned.schema, batches: &[seen] }.keep(filter.predicate())?[0])
    }
}
