//! Files by their names, also those that the engine reads by no name: `.tsv`, `.csv.gz` and `.tsv.gz` are read as `faretra put`
//! reads them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatchReader;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::{Result, exec_datafusion_err, exec_err};
use datafusion::datasource::dynamic_file::DynamicListTableFactory;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionContext;
use faretra_cli::sql;
use tokio::task::spawn_blocking;

/// Ends of names, in lower case.
const ENDS: [&str; 3] = [".tsv", ".csv.gz", ".tsv.gz"];
/// Batches that are read before they are asked for.
const AHEAD: usize = 2;

/// Makes files tables by their names.
pub fn named(context: SessionContext) -> SessionContext {
    let engine = Arc::new(DynamicListTableFactory::default());
    let catalogs = Arc::clone(context.state().catalog_list());
    let catalogs = DynamicFileCatalog::new(catalogs, Arc::new(Files(Arc::clone(&engine))));
    let context = context.into_state_builder().with_catalog_list(Arc::new(catalogs)).build();
    let context = SessionContext::from(context);
    engine.session_store().with_state(context.state_weak_ref());
    context
}

#[derive(Debug)]
struct Files(Arc<DynamicListTableFactory>);

#[async_trait]
impl UrlTableFactory for Files {
    async fn try_new(&self, url: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let name = url.to_ascii_lowercase();
        let path = PathBuf::from(url);
        if !ENDS.iter().any(|end| name.ends_with(end)) || !path.is_file() {
            return self.0.try_new(url).await;
        }
        // The types of all columns are found first, for which the file is read once.
        let opened = spawn_blocking(move || Text::open(path)).await;
        let text = opened.map_err(|e| exec_datafusion_err!("a file could not be read: {e}"))??;
        let table = StreamingTable::try_new(Arc::clone(&text.schema), vec![Arc::new(text)])?;
        Ok(Some(Arc::new(table)))
    }
}

type Reader = Box<dyn RecordBatchReader + Send>;

/// A file of text, whose columns are known.
struct Text {
    path: PathBuf,
    schema: SchemaRef,
    /// For the first who reads it.
    reader: Mutex<Option<Reader>>,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Text {
    fn open(path: PathBuf) -> Result<Text> {
        let reader = reader(&path)?;
        Ok(Text { path, schema: reader.schema(), reader: Mutex::new(Some(reader)) })
    }
}

fn reader(path: &Path) -> Result<Reader> {
    sql::read(path).map_err(|e| exec_datafusion_err!("{}", e.into_text()))
}

impl PartitionStream for Text {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), AHEAD);
        let (batches, path, schema) = (stream.tx(), self.path.clone(), Arc::clone(&self.schema));
        let first = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.spawn_blocking(move || {
            let reader = first.map_or_else(|| reader(&path), Ok)?;
            if reader.schema() != schema {
                return exec_err!("{} has other columns than when it was read first", path.display());
            }
            for batch in reader {
                let batch = batch.map_err(|e| {
                    let why = sql::Failure::from(e).into_text();
                    exec_datafusion_err!("cannot read {}: {why}", path.display())
                });
                // Nobody wants more.
                if batches.blocking_send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        });
        stream.build()
    }
}
