//! Tables of the cluster: what all hosts have under one name, as one table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::{Result, Statistics, exec_err, plan_err, project_schema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures_util::future::try_join_all;
use url::Url;

use crate::codec::encode_filters;
use crate::control;
use crate::link::{Links, show};
use crate::message::{Ask, Described, Found, Part, decode_schema, decode_statistics, encode_schema};
use crate::scan::ClusterScan;

/// A scan has at least as many rows for each of its partitions.
const LEAST_ROWS: usize = 8192;
/// How often workers of one arena are asked again because something was published between their answers.
const TRIES: usize = 10;

/// The workers, and how they are reached.
#[derive(Clone, Debug)]
pub(crate) struct Workers {
    pub(crate) links: Links,
    /// Whom the tasks of a stage that scans are for: every worker once, and one that is alone twice, so that there are stages.
    pub(crate) slots: Arc<[Url]>,
    /// How many threads the largest worker computes with.
    pub(crate) threads: usize,
}

/// An arena of that name, of all workers that have one.
#[derive(Clone)]
pub(crate) struct ClusterSchema {
    arena: String,
    workers: Workers,
    /// Which of the slots have it.
    serving: Arc<[bool]>,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for ClusterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSchema").field("arena", &self.arena).finish_non_exhaustive()
    }
}

/// What a slot has of a table.
struct Share {
    found: Described,
    identity: String,
}

impl ClusterSchema {
    pub(crate) fn new(arena: &str, workers: Workers, serving: Vec<bool>) -> ClusterSchema {
        ClusterSchema { arena: arena.to_owned(), workers, serving: serving.into(), known: Arc::default() }
    }

    /// Learns what tables there are.
    pub(crate) async fn look(&self) -> Result<()> {
        let asked = self.workers.slots.iter().zip(self.serving.iter()).filter(|(_, serves)| **serves);
        let asked = asked.map(|(url, _)| control::list(&self.workers.links, url, &self.arena));
        let tables = try_join_all(asked).await?.into_iter().flat_map(|listed| listed.tables).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = tables;
        Ok(())
    }

    fn known(&self) -> Vec<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// What each slot has of a table, if any has something.
    async fn shares(&self, name: &str) -> Result<Option<Vec<Option<Share>>>> {
        for _ in 0..TRIES {
            let asked = self.workers.slots.iter().zip(self.serving.iter()).map(async |(url, serves)| match serves {
                true => control::find(&self.workers.links, url, &self.arena, name).await.map(Some),
                false => Ok(None),
            });
            let share = |found: Option<Found>| {
                let Found { identity, table } = found?;
                Some(Share { found: table?, identity })
            };
            let shares: Vec<Option<Share>> = try_join_all(asked).await?.into_iter().map(share).collect();
            // Workers of one arena have to speak of one version of it.
            let mut versions = BTreeMap::new();
            let agree = shares.iter().flatten().all(|share| {
                let version = share.found.version;
                *versions.entry(share.identity.as_str()).or_insert(version) == version
            });
            if agree {
                return Ok((!versions.is_empty()).then_some(shares));
            }
        }
        exec_err!("`{name}` is published so often that workers of one arena never speak of the same version of it")
    }

    fn table_of(&self, name: &str, shares: Vec<Option<Share>>) -> Result<ClusterTable> {
        let mut schema: Option<(SchemaRef, &Url)> = None;
        let mut of_arenas: BTreeMap<&str, Statistics> = BTreeMap::new();
        for (share, url) in shares.iter().zip(self.workers.slots.iter()) {
            let Some(share) = share else { continue };
            let own = decode_schema(&share.found.schema)?;
            match &schema {
                None => schema = Some((own, url)),
                Some((first, _)) if first.fields() == own.fields() => {}
                Some((first, whose)) => {
                    return plan_err!(
                        "table `{name}` of arena `{}` has different schemas: {} at {}, {} at {}; give the tables different names, \
                         or one schema",
                        self.arena,
                        columns(first),
                        show(whose),
                        columns(&own),
                        show(url)
                    );
                }
            }
            if !of_arenas.contains_key(share.identity.as_str()) {
                of_arenas.insert(&share.identity, decode_statistics(&share.found.statistics)?);
            }
        }
        let schema = schema.map_or_else(|| Arc::new(Schema::empty()), |(schema, _)| schema);
        let largest = of_arenas.values().filter_map(|known| known.num_rows.get_value()).max().copied().unwrap_or(0);
        let statistics = Statistics::try_merge_iter(of_arenas.values(), &schema)?;
        // Each of those that have one arena gets a share of it.
        let mut sharing: BTreeMap<&str, u32> = BTreeMap::new();
        for share in shares.iter().flatten() {
            *sharing.entry(&share.identity).or_default() += 1;
        }
        let mut next: BTreeMap<&str, u32> = BTreeMap::new();
        let mut parts = Vec::with_capacity(shares.len());
        for share in &shares {
            let Some(share) = share else {
                parts.push(None);
                continue;
            };
            let next = next.entry(&share.identity).or_default();
            let (index, of) = (*next, sharing[share.identity.as_str()]);
            *next += 1;
            parts.push(Some(Part { identity: share.identity.clone(), version: share.found.version, index, of }));
        }
        let partitions = largest.div_ceil(LEAST_ROWS).clamp(1, self.workers.threads.max(1));
        let encoded = encode_schema(&schema)?;
        Ok(ClusterTable {
            arena: self.arena.clone(),
            name: name.to_owned(),
            slots: Arc::clone(&self.workers.slots),
            parts,
            schema,
            encoded,
            statistics,
            partitions,
        })
    }
}

fn columns(schema: &Schema) -> String {
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    format!("({})", columns.join(", "))
}

#[async_trait]
impl SchemaProvider for ClusterSchema {
    /// Names of batches and tables, as they were when the session was last asked for something that was not there.
    fn table_names(&self) -> Vec<String> {
        self.known()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        match self.shares(name).await? {
            Some(shares) => Ok(Some(Arc::new(self.table_of(name, shares)?))),
            None => {
                self.look().await?;
                Ok(None)
            }
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.known().iter().any(|known| known == name)
    }

    fn register_table(&self, name: String, _: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        plan_err!("`{name}` cannot be made in arena `{}`: tables of a cluster are read and not written", self.arena)
    }
}

/// A table of the cluster, at the versions that its hosts had when it was asked for.
#[derive(Debug)]
pub(crate) struct ClusterTable {
    arena: String,
    name: String,
    slots: Arc<[Url]>,
    parts: Vec<Option<Part>>,
    schema: SchemaRef,
    encoded: Vec<u8>,
    statistics: Statistics,
    /// Of each host.
    partitions: usize,
}

impl ClusterTable {
    /// The plan of a scan.
    fn plan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = project_schema(&self.schema, projection)?;
        let columns: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let mut statistics = self.statistics.clone().project(Some(&columns));
        if !filters.is_empty() {
            // Batches may be ruled out.
            statistics = statistics.to_inexact();
        }
        if let Some(limit) = limit {
            statistics = statistics.to_inexact();
            statistics.num_rows = statistics.num_rows.map(|rows| rows.min(limit));
        }
        let (filters, limit) = (encode_filters(filters), limit.map(|limit| limit as u64));
        let asks = self.slots.iter().zip(&self.parts).map(|(url, part)| Ask {
            worker: show(url).to_owned(),
            arena: self.arena.clone(),
            table: self.name.clone(),
            schema: self.encoded.clone(),
            projection: columns.iter().map(|column| *column as u32).collect(),
            filters: filters.clone(),
            limit,
            partitions: self.partitions as u32,
            part: part.clone(),
        });
        let (asks, title) = (asks.collect(), format!("{}.{}", self.arena, self.name));
        let scan = ClusterScan::new(Arc::clone(&self.slots), asks, &schema, self.partitions, title, statistics);
        Ok(Arc::new(scan))
    }
}

#[async_trait]
impl TableProvider for ClusterTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    faretra_datafusion::scan_by_plan!();

    /// A batch that a filter rules out is not read; the rows of the others are left to the engine.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics.clone())
    }
}
