//! A scan as it travels: a description goes out, and the worker that gets it opens the arena of its own host.

use std::fmt;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Result, exec_err, internal_datafusion_err, internal_err, project_schema};
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::Serializeable;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use futures_util::FutureExt;
use prost::Message;

use crate::message::{Ask, decode_schema};
use crate::scan::HostScan;
use crate::shelf::Shelf;

/// Encodes scans, and decodes them where there are arenas.
pub(crate) struct ScanCodec {
    /// The arenas of a worker, and what plans scans of them.
    worker: Option<(Arc<Shelf>, SessionState)>,
}

impl fmt::Debug for ScanCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanCodec").field("of_worker", &self.worker.is_some()).finish()
    }
}

impl ScanCodec {
    /// A codec for who makes plans.
    pub(crate) fn of_coordinator() -> ScanCodec {
        ScanCodec { worker: None }
    }

    /// A codec for who has arenas.
    pub(crate) fn of_worker(shelf: Arc<Shelf>) -> ScanCodec {
        ScanCodec { worker: Some((shelf, SessionStateBuilder::new().with_default_features().build())) }
    }
}

/// Filters as a description has them. What cannot be encoded is left out: it would have spared work, no more.
pub(crate) fn encode_filters(filters: &[Expr]) -> Vec<Vec<u8>> {
    filters.iter().filter_map(|filter| filter.to_bytes().ok()).map(|bytes| bytes.to_vec()).collect()
}

impl PhysicalExtensionCodec for ScanCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let ask = Ask::decode(bytes).map_err(|e| internal_datafusion_err!("no scan of an arena: {e}"))?;
        let Some((shelf, state)) = &self.worker else {
            return internal_err!("a scan of an arena came to somebody who has none");
        };
        let whole = decode_schema(&ask.schema)?;
        let projection: Vec<usize> = ask.projection.iter().map(|column| *column as usize).collect();
        if projection.iter().any(|column| *column >= whole.fields().len()) {
            return internal_err!("a scan asks for columns {projection:?} of {}", whole.fields().len());
        }
        let schema = project_schema(&whole, Some(&projection))?;
        let Some(part) = &ask.part else {
            return Ok(Arc::new(HostScan::opened(ask, &schema, None)?));
        };
        if part.of == 0 || part.index >= part.of {
            return internal_err!("a scan asks for share {} of {}", part.index, part.of);
        }
        let table = shelf.table(&ask, part)?;
        if table.schema().fields() != whole.fields() {
            return exec_err!(
                "table `{}` of arena `{}` has other columns than when the statement was planned: run the statement again",
                ask.table,
                ask.arena
            );
        }
        let filters: Vec<Expr> =
            ask.filters.iter().filter_map(|bytes| Expr::from_bytes_with_ctx(bytes, context).ok()).collect();
        let mut state = state.clone();
        state.config_mut().options_mut().execution.target_partitions = (ask.partitions as usize).max(1);
        let limit = ask.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let scan = table.scan(&state, Some(&projection), &filters, limit).now_or_never();
        let scan = scan.ok_or_else(|| internal_datafusion_err!("a scan of an arena is planned at once"))??;
        Ok(Arc::new(HostScan::opened(ask, &schema, Some(scan))?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(scan) = node.downcast_ref::<HostScan>() else {
            return internal_err!("{} is no scan of an arena", node.name());
        };
        scan.ask.encode(bytes).map_err(|e| internal_datafusion_err!("a scan cannot be encoded: {e}"))
    }
}
