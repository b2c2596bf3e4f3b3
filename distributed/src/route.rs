//! How the engine divides a plan among hosts: as many tasks for each stage that scans as there are slots, and the n-th of them on
//! the worker of the n-th slot, which has what the n-th task scans.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err, plan_err};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedLeafExec, NetworkBoundaryExt, NetworkCoalesceExec,
    RouteTasksEvent, RouteTasksEventResponse, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};
use url::Url;

use crate::scan::ClusterScan;

/// A scan wants a task for each slot.
pub(crate) fn desired_tasks(event: DesiredTaskCountEvent<'_>) -> Option<Result<DesiredTaskCountEventResponse>> {
    let scan = event.plan.downcast_ref::<ClusterScan>()?;
    Some(Ok(DesiredTaskCountEventResponse::desired(scan.slots().len())))
}

/// A scan becomes one of a host in each task. Where the rest of the stage cannot be divided so (it has to be in one task, as a
/// side of some joins has), the scan becomes a stage below it, whose rows the stage gathers.
pub(crate) fn divide(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
    let scan = event.plan.downcast_ref::<ClusterScan>()?;
    let slots = scan.slots().len();
    let divided = || -> Result<_> {
        let leaf = Arc::new(DistributedLeafExec::try_new(Arc::clone(event.plan), scan.parts())?);
        match event.task_count {
            tasks if tasks == slots => Ok(ScaleUpLeafNodeEventResponse::new(leaf)),
            tasks => Ok(ScaleUpLeafNodeEventResponse::new(Arc::new(NetworkCoalesceExec::try_new(leaf, slots, tasks)?))),
        }
    };
    Some(divided())
}

/// Tasks that scan go where their rows are.
pub(crate) fn route(event: RouteTasksEvent<'_>) -> Option<Result<RouteTasksEventResponse>> {
    let mut slots: Option<Arc<[Url]>> = None;
    let walked = event.plan.apply(|plan| {
        if plan.is_network_boundary() {
            return Ok(TreeNodeRecursion::Jump);
        }
        let leaf = plan.downcast_ref::<DistributedLeafExec>();
        let Some(scan) = leaf.and_then(|leaf| leaf.original().downcast_ref::<ClusterScan>()) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        match &slots {
            Some(slots) if slots != scan.slots() => {
                plan_err!("a statement can join tables of one cluster; take all workers into one `Coordinator`")
            }
            _ => {
                slots = Some(Arc::clone(scan.slots()));
                Ok(TreeNodeRecursion::Continue)
            }
        }
    });
    if let Err(e) = walked {
        return Some(Err(e));
    }
    let slots = slots?;
    Some(match slots.len() == event.task_count {
        true => Ok(RouteTasksEventResponse::new(slots.to_vec())),
        false => internal_err!("a stage that scans {} slots has {} tasks", slots.len(), event.task_count),
    })
}
