//! A session that plans statements over the tables of all workers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_distributed::{CompressionType, DistributedExt, SessionStateBuilderExt, WorkerResolver};
use futures_util::future::try_join_all;
use url::Url;

use crate::codec::ScanCodec;
use crate::control;
use crate::link::{Links, address, bearer, show};
use crate::message::VERSION;
use crate::route::{desired_tasks, divide, route};
use crate::table::{ClusterSchema, Workers};

/// The catalog whose schemas are the arenas.
const CATALOG: &str = "arenas";
/// Workers have this time to say who they are.
const PATIENCE: Duration = Duration::from_secs(15);

/// How what goes between workers is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: for networks that are faster than a processor compresses.
    None,
    /// LZ4: little work.
    #[default]
    Lz4,
    /// Zstandard: more work, fewer bytes.
    Zstd,
}

/// What plans statements over the arenas of several hosts: the addresses of the workers, and how they are reached.
///
/// ```
/// use std::time::Duration;
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra::{Arena, MIB};
/// use faretra_distributed::{Coordinator, Worker};
///
/// # let name = format!("doc-distributed-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// // On every host:
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = std::sync::Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
/// # let arena = Arena::open(&name)?;
/// let listening = Worker::new(Arena::options(), [&name]).listen("127.0.0.1:0".parse()?).await?;
/// let address = listening.address().to_string();
/// let worker = tokio::spawn(listening.run(std::future::pending()));
///
/// // Somewhere:
/// let session = Coordinator::new([&address]).connect().await?;
/// let rows = session.sql("SELECT sum(id) FROM ids").await?.collect().await?;
/// assert_eq!(rows[0].column(0).as_ref(), &Int64Array::from(vec![6]) as &dyn faretra::arrow::arrow_array::Array);
/// # worker.abort();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Coordinator {
    workers: Vec<String>,
    token: Option<String>,
    authority: Option<Vec<u8>>,
    compression: Compression,
}

impl fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("Coordinator").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Coordinator {
    /// Returns a coordinator of these workers: `http://HOST:PORT`, `HOST:PORT`, or `https://HOST:PORT` with TLS.
    pub fn new(workers: impl IntoIterator<Item = impl Into<String>>) -> Coordinator {
        Coordinator {
            workers: workers.into_iter().map(Into::into).collect(),
            token: None,
            authority: None,
            compression: Compression::default(),
        }
    }

    /// Sets the token that the workers ask for.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Coordinator {
        Coordinator { token: Some(token.into()), ..self }
    }

    /// Sets the certificate, in PEM, of the authority that workers with TLS have theirs from.
    #[must_use]
    pub fn authority(self, certificate: impl Into<Vec<u8>>) -> Coordinator {
        Coordinator { authority: Some(certificate.into()), ..self }
    }

    /// Sets how what goes between workers, and to the coordinator, is compressed. Default: LZ4.
    #[must_use]
    pub fn compression(self, compression: Compression) -> Coordinator {
        Coordinator { compression, ..self }
    }

    /// Asks the workers what they have, and returns a session over it. Names of arenas are schemas, the first arena of the first
    /// worker being the one that names without a schema are in. A table is what all hosts have under its name, in arenas of one
    /// name; it is looked up again for each statement, and read at the versions that were current then.
    ///
    /// # Errors
    ///
    /// [`DataFusionError::Plan`] if an address is none, or none is given, or the token is none; [`DataFusionError::Execution`] if
    /// a worker is not reached within 15 s, refuses, or is of another version.
    pub async fn connect(self) -> Result<SessionContext> {
        let token = self.token.as_deref().map(bearer).transpose()?;
        let links = Links::new(token, self.authority.clone());
        let mut urls: Vec<Url> = vec![];
        for text in &self.workers {
            let url = address(text)?;
            if urls.contains(&url) {
                return plan_err!("worker {} is named twice", show(&url));
            }
            urls.push(url);
        }
        let Some(first) = urls.first().cloned() else {
            return plan_err!("name a worker: the address that `faretra cluster worker` prints");
        };
        let greeted = try_join_all(urls.iter().map(|url| control::hello(&links, url)));
        let welcomes = match tokio::time::timeout(PATIENCE, greeted).await {
            Ok(welcomes) => welcomes?,
            Err(_) => return exec_err!("not all workers have answered within {} s", PATIENCE.as_secs()),
        };
        for (welcome, url) in welcomes.iter().zip(&urls) {
            if welcome.version != VERSION {
                return exec_err!(
                    "worker {} is of version {}, this is {VERSION}: plans are understood by the same version alone",
                    show(url),
                    welcome.version
                );
            }
        }
        let mut arenas: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
        // One worker alone is two slots: a plan of one task in all would be executed here, where the arena is not.
        let slots: Vec<Url> = if urls.len() == 1 { vec![first; 2] } else { urls };
        for at in 0..slots.len() {
            for arena in &welcomes[at.min(welcomes.len() - 1)].arenas {
                arenas.entry(arena).or_insert_with(|| vec![false; slots.len()])[at] = true;
            }
        }
        let threads = welcomes.iter().map(|welcome| welcome.threads as usize).max().unwrap_or(1).clamp(2, 1024);
        let workers = Workers { links: links.clone(), slots: slots.into(), threads };
        let default = welcomes[0].arenas.first().cloned().unwrap_or_default();
        let context = session(&workers, &default, self.compression)?;
        let catalog = Arc::new(MemoryCatalogProvider::new());
        for (arena, serving) in arenas {
            let schema = ClusterSchema::new(arena, workers.clone(), serving);
            schema.look().await?;
            catalog.register_schema(arena, Arc::new(schema))?;
        }
        context.register_catalog(CATALOG, catalog);
        Ok(context)
    }
}

/// All workers, for every stage that needs no arena.
struct All(Arc<[Url]>);

impl WorkerResolver for All {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.to_vec())
    }
}

fn session(workers: &Workers, default: &str, compression: Compression) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, default)
        .with_information_schema(true)
        .with_target_partitions(workers.threads);
    let compression = match compression {
        Compression::None => None,
        Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
        Compression::Zstd => Some(CompressionType::ZSTD),
    };
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_distributed_worker_resolver(All(Arc::clone(&workers.slots)))
        .with_distributed_channel_resolver(workers.links.clone())
        .with_distributed_user_codec(ScanCodec::of_coordinator())
        .with_distributed_desired_task_count_handler(desired_tasks)
        .with_distributed_scale_up_leaf_node_handler(divide)
        .with_distributed_route_tasks_handler(route)
        // Each branch of a UNION in tasks of its own would be in tasks that have not its arena.
        .with_distributed_children_isolator_unions(false)?
        .with_distributed_compression(compression)?
        .with_distributed_planner()
        .build();
    Ok(SessionContext::new_with_state(state))
}
