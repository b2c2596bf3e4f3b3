//! Which plans a worker runs: those that scan its arenas, and no others. Whoever can send a plan would have the worker read any
//! file otherwise, and write some.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion_distributed::{NetworkBoundaryExt, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse};

use crate::scan::HostScan;

fn may_be_a_leaf(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let values = |source: &DataSourceExec| source.data_source().downcast_ref::<MemorySourceConfig>().is_some();
    plan.downcast_ref::<HostScan>().is_some()
        || plan.is_network_boundary()
        || plan.downcast_ref::<EmptyExec>().is_some()
        || plan.downcast_ref::<PlaceholderRowExec>().is_some()
        || plan.downcast_ref::<DataSourceExec>().is_some_and(values)
}

/// Gives a plan back, or says why it is not run.
pub(crate) fn admit(event: WorkerPlanRewriteEvent<'_>) -> Result<WorkerPlanRewriteEventResponse> {
    event.plan.apply(|plan| {
        if plan.children().is_empty() && !may_be_a_leaf(plan) {
            return plan_err!(
                "workers scan arenas, and this plan reads something else ({}): read it where the statement is planned",
                plan.name()
            );
        }
        if plan.downcast_ref::<DataSinkExec>().is_some() {
            return plan_err!(
                "workers write nothing, and this plan does: write what a statement gives where it is planned"
            );
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(WorkerPlanRewriteEventResponse::new(event.plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{CsvReadOptions, SessionContext};

    /// Shows that a plan over a file of the worker's is refused, wherever the scan is in it, and one that writes a file too; and that
    /// values which a statement has in itself are none of that.
    #[tokio::test]
    async fn files_are_neither_read_nor_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("secret.csv"), dir.path().join("out.csv"));
        std::fs::write(&from, "a\n1\n").expect("written");
        let context = SessionContext::new();
        let path = from.to_str().expect("text");
        context.register_csv("f", path, CsvReadOptions::new()).await.expect("registered");
        let copy = format!("COPY (VALUES (1)) TO '{}' STORED AS CSV", to.display());
        for (sql, refused) in [
            ("SELECT a FROM f", Some("workers scan arenas")),
            ("SELECT count(*) FROM (VALUES (1), (2)) AS v(x) LEFT JOIN f ON v.x = f.a", Some("workers scan arenas")),
            (copy.as_str(), Some("workers write nothing")),
            ("SELECT x + 1 FROM (VALUES (1), (2)) AS v(x) WHERE x > random()", None),
            ("SELECT 1", None),
        ] {
            let plan = context.sql(sql).await.expect(sql).create_physical_plan().await.expect(sql);
            let state = context.state();
            let event = WorkerPlanRewriteEvent { plan, session_config: state.config() };
            let told = admit(event).err().map(|e| e.to_string());
            match refused {
                Some(why) => assert!(told.as_ref().is_some_and(|told| told.contains(why)), "{sql}: {told:?}"),
                None => assert_eq!(told, None, "{sql}"),
            }
        }
        assert!(!to.exists());
    }
}
