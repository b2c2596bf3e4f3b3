//! `COPY .. TO 'faretra://SCHEMA/NAME' STORED AS FARETRA`: the engine's file formats are asked for a writer, and this one
//! writes to names.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{GetExt, Result, Statistics, not_impl_err, plan_err};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::object_store::{ObjectMeta, ObjectStore};
use datafusion::physical_expr::LexRequirement;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use faretra::Arena;

use crate::schema::ArenaSchema;
use crate::sink::{ArenaSink, How, Target};

/// The name of the format, and the scheme of its addresses.
const FORMAT: &str = "faretra";

/// Makes an arena the schema `name` of a session's default catalog, and a place that `COPY` writes to. Returns the schema.
///
/// `COPY (SELECT ..) TO 'faretra://NAME/OBJECT' STORED AS FARETRA` publishes a table as `OBJECT`, and replaces what table was
/// there; or sends its rows, if `OBJECT` is a channel, or appends them, if it is a feed.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use faretra::{Arena, MIB};
///
/// # let name = format!("doc-fusion-register-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let context = SessionContext::new();
/// faretra_datafusion::register(&context, "air", &arena)?;
/// context.sql("COPY (SELECT 1 AS one) TO 'faretra://air/numbers' STORED AS FARETRA").await?.collect().await?;
/// assert_eq!(arena.table("numbers")?.num_rows(), 1);
/// assert_eq!(context.sql("SELECT one FROM air.numbers").await?.count().await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// A plan error if the default catalog takes no schemas, or if another crate has registered a format `faretra`.
pub fn register(context: &SessionContext, name: &str, arena: &Arena) -> Result<ArenaSchema> {
    let schema = ArenaSchema::new(arena);
    let state = context.state_ref();
    let (catalog, format) = {
        let state = state.read();
        let catalog = state.config_options().catalog.default_catalog.clone();
        (catalog, state.get_file_format_factory(FORMAT))
    };
    let format = match format {
        None => {
            let made = Arc::new(ArenaFormats { arenas: Arenas::default() });
            state.write().register_file_format(made.clone(), false)?;
            made as Arc<dyn FileFormatFactory>
        }
        Some(format) => format,
    };
    let Some(format) = format.downcast_ref::<ArenaFormats>() else {
        return plan_err!("the session has another file format `{FORMAT}`: nothing was registered");
    };
    let Some(catalog) = context.catalog(&catalog) else {
        return plan_err!("the session has no catalog `{catalog}`, its default: nothing was registered");
    };
    catalog.register_schema(name, Arc::new(schema.clone()))?;
    format.lock().insert(name.to_owned(), arena.clone());
    Ok(schema)
}

type Arenas = Arc<Mutex<BTreeMap<String, Arena>>>;

/// The format of a session: it knows the session's arenas.
#[derive(Debug, Default)]
struct ArenaFormats {
    arenas: Arenas,
}

impl ArenaFormats {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arena>> {
        self.arenas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GetExt for ArenaFormats {
    fn get_ext(&self) -> String {
        FORMAT.to_owned()
    }
}

impl FileFormatFactory for ArenaFormats {
    fn create(&self, _: &dyn Session, options: &HashMap<String, String>) -> Result<Arc<dyn FileFormat>> {
        match options.keys().next() {
            Some(option) => plan_err!("COPY to an arena has no option `{option}`"),
            None => Ok(FileFormatFactory::default(self)),
        }
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(ArenaFormat { arenas: self.arenas.clone() })
    }
}

/// A format that is written only: names are read as tables of a schema.
#[derive(Debug)]
struct ArenaFormat {
    arenas: Arenas,
}

impl ArenaFormat {
    fn target(&self, address: &str) -> Result<Target> {
        let place = address.strip_prefix(FORMAT).and_then(|rest| rest.strip_prefix("://"));
        let Some((schema, name)) = place.and_then(|place| place.split_once('/')).filter(|(_, name)| !name.is_empty())
        else {
            return plan_err!("`{address}` is no name in an arena: write '{FORMAT}://SCHEMA/NAME'");
        };
        let arenas = self.arenas.lock().unwrap_or_else(PoisonError::into_inner);
        match arenas.get(schema) {
            Some(arena) => Ok(Target { arena: arena.clone(), name: name.to_owned() }),
            None => {
                let known: Vec<&str> = arenas.keys().map(String::as_str).collect();
                plan_err!("no arena is registered as `{schema}`: there is {}", known.join(", "))
            }
        }
    }
}

#[async_trait]
impl FileFormat for ArenaFormat {
    fn get_ext(&self) -> String {
        FORMAT.to_owned()
    }

    fn get_ext_with_compression(&self, _: &FileCompressionType) -> Result<String> {
        Ok(FORMAT.to_owned())
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    async fn infer_schema(&self, _: &dyn Session, _: &Arc<dyn ObjectStore>, _: &[ObjectMeta]) -> Result<SchemaRef> {
        not_impl_err!("files of the format {FORMAT}: query the name as a table of its schema")
    }

    async fn infer_stats(
        &self,
        _: &dyn Session,
        _: &Arc<dyn ObjectStore>,
        schema: SchemaRef,
        _: &ObjectMeta,
    ) -> Result<Statistics> {
        Ok(Statistics::new_unknown(&schema))
    }

    async fn create_physical_plan(&self, _: &dyn Session, _: FileScanConfig) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("files of the format {FORMAT}: query the name as a table of its schema")
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        _: &dyn Session,
        config: FileSinkConfig,
        _: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !config.table_partition_cols.is_empty() {
            return not_impl_err!("PARTITIONED BY: a name is one table");
        }
        let target = self.target(&config.original_url)?;
        ArenaSink::plan(input, target, config.output_schema, How::Replace)
    }

    /// Nobody reads through it: the plans that would are refused above.
    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        JsonFormat::default().file_source(schema)
    }
}
