//! An arena as a schema of the engine, and arenas as a catalog.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemTable, SchemaProvider, TableProvider};
use datafusion::common::{Result, exec_err, plan_datafusion_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use faretra::channel::WhenDeserted;
use faretra::feed::Start;
use faretra::{Arena, Bundled, Entry, Error, Kind, Object, Table, Value};

use crate::error::failed;
use crate::name::{is_pattern, matches, split_suffix, splits};
use crate::sink::{ArenaSink, How, PATIENCE, Target};
use crate::statistics::{self, Known, Memory};
use crate::stream::StreamTable;
use crate::table::ArenaTable;

/// An arena as a schema: each name is a table.
///
/// | a name in SQL | is |
/// |---|---|
/// | `flights` | the current batch or table of that name, pinned when the statement is planned |
/// | `"flights@7"` | its version 7: the current one, or one that [`ArenaSchema::pin`] keeps |
/// | `"day/delays"` | the member `delays` of the bundle `day`, or the table that has this very name |
/// | `"days/*"`, `"202?"` | all batches and tables whose names match, of one schema, as one table; members of `days`, if that is a bundle |
/// | `ticks` | a feed, without an end, from the oldest item that it keeps |
/// | `"ticks@new"` | the same feed, from the next item on |
/// | `"ticks@snapshot"` | what the feed holds when the statement is planned: a table with an end |
/// | `jobs` | a channel, without an end; the query is one of its receivers |
///
/// A name that exists is taken as it is, whatever characters it has. SQL folds names without quotes to lower case.
///
/// `INSERT INTO` appends to a table, sends to a channel and appends to a feed; `INSERT OVERWRITE` replaces a table;
/// `CREATE TABLE .. AS SELECT` publishes a table, and `DROP TABLE` removes the name. For `COPY .. TO`, see
/// [`register`](crate::register). A statement that publishes holds one of the arena's permits to write while it runs. It does its work as a whole or, with an error, not at all, but for channels and
/// feeds, which keep what was put in before an error.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use faretra::{Arena, MIB};
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra_datafusion::ArenaSchema;
///
/// # let name = format!("doc-fusion-schema-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("the ids", RecordBatch::try_from_iter([("id", ids)])?)?;
///
/// let context = SessionContext::new();
/// let catalog = context.catalog("datafusion").unwrap();
/// catalog.register_schema("air", Arc::new(ArenaSchema::new(&arena)))?;
/// context.sql(r#"INSERT INTO air."the ids" VALUES (4), (5)"#).await?.collect().await?;
/// assert_eq!(context.sql(r#"SELECT id FROM air."the ids@2""#).await?.count().await?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArenaSchema {
    arena: Arena,
    deserted: WhenDeserted,
    shared: Arc<Shared>,
}

/// What clones have in common.
#[derive(Debug, Default)]
struct Shared {
    memory: Memory,
    pinned: Mutex<HashMap<(String, u64), Object>>,
}

impl Shared {
    fn pinned(&self) -> MutexGuard<'_, HashMap<(String, u64), Object>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArenaSchema {
    /// Returns a schema of all that the arena has and will have.
    pub fn new(arena: &Arena) -> ArenaSchema {
        ArenaSchema { arena: arena.clone(), deserted: WhenDeserted::Fail, shared: Arc::default() }
    }

    /// Sets what queries of feeds and channels do when the last producer went without closing; see
    /// [`StreamTable::when_deserted`].
    #[must_use]
    pub fn when_deserted(self, deserted: WhenDeserted) -> ArenaSchema {
        ArenaSchema { deserted, ..self }
    }

    /// Returns the arena.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Keeps the current version of a name, and returns its number: `"NAME@VERSION"` is a table until
    /// [`ArenaSchema::unpin`], whatever is published under the name meanwhile.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use faretra_datafusion::ArenaSchema;
    /// # use std::sync::Arc;
    /// # let name = format!("doc-fusion-pin-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// # let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
    /// let schema = ArenaSchema::new(&arena);
    /// let version = schema.pin("ids")?;
    /// arena.writer()?.remove("ids")?;
    /// assert!(schema.table_now(&format!("ids@{version}")).is_ok());
    /// assert!(schema.unpin("ids", version));
    /// assert!(schema.table_now(&format!("ids@{version}")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is no object of that name; [`Error::Mismatch`] if it is no batch or table.
    pub fn pin(&self, name: &str) -> faretra::Result<u64> {
        let object = self.arena.get(name)?;
        object.table()?;
        let version = object.version();
        self.shared.pinned().insert((name.to_owned(), version), object);
        Ok(version)
    }

    /// Lets go of a version that [`ArenaSchema::pin`] keeps, and returns whether it was kept. Plans that were made of it keep
    /// it for themselves.
    pub fn unpin(&self, name: &str, version: u64) -> bool {
        self.shared.pinned().remove(&(name.to_owned(), version)).is_some()
    }

    /// Finds the least and greatest values of every column of every batch of a table, and publishes them beside it, under
    /// `NAME#statistics`: from then on no process that queries this version has to find them, and its plans leave out what
    /// filters rule out. It takes about as long as reading the table once. A publish does none of this by itself; without it, the
    /// first query that filters a column finds the bounds of that column, for its own process.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use faretra_datafusion::ArenaSchema;
    /// # use std::sync::Arc;
    /// # let name = format!("doc-fusion-analyze-{}", std::process::id());
    /// # let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// # let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
    /// ArenaSchema::new(&arena).analyze("ids")?;
    /// assert_eq!(arena.batch("ids#statistics")?.num_rows(), 1);     // one for each batch
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Arena::table`] and [`Writer::publish`](faretra::Writer::publish).
    pub fn analyze(&self, name: &str) -> Result<()> {
        let object = self.arena.get(name).map_err(failed)?;
        let table = object.table().map_err(failed)?;
        let known = self.shared.memory.of(&self.arena, &object, &table);
        let batch = statistics::analyze(&table, &known, object.version())?;
        let writer = self.arena.writer_timeout(PATIENCE).map_err(failed)?;
        writer.publish(&statistics::name_of(name), batch).map_err(failed)?;
        Ok(())
    }

    /// Returns a plan that publishes the rows of `input` under a name when it is executed, as
    /// `COPY .. TO` does: a table replaces what batch or table is there, a channel or feed gets the rows. The plan gives one row
    /// with their number.
    ///
    /// ```
    /// # use faretra::{Arena, MIB};
    /// # use faretra_datafusion::ArenaSchema;
    /// use datafusion::physical_plan::collect;
    /// use datafusion::prelude::SessionContext;
    ///
    /// # let name = format!("doc-fusion-publish-{}", std::process::id());
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
    /// let context = SessionContext::new();
    /// let rows = context.sql("SELECT 1 AS one").await?.create_physical_plan().await?;
    /// collect(ArenaSchema::new(&arena).publish("any name", rows)?, context.task_ctx()).await?;
    /// assert_eq!(arena.table("any name")?.num_rows(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The plan's, when it is executed: the name is of another kind, or the arena has no room.
    pub fn publish(&self, name: &str, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let (target, schema) = (Target { arena: self.arena.clone(), name: name.to_owned() }, input.schema());
        ArenaSink::plan(input, target, schema, How::Replace)
    }

    /// Returns the table that a name stands for now, as a statement would get it.
    ///
    /// # Errors
    ///
    /// A plan error that says what the name stands for instead.
    pub fn table_now(&self, name: &str) -> Result<Arc<dyn TableProvider>> {
        match self.find(name)? {
            Some(table) => Ok(table),
            None => plan_err!("there is no table `{name}` in arena `{}`", self.arena.name()),
        }
    }

    /// Returns a version of a name: one that [`ArenaSchema::pin`] keeps, or the current one. The name is taken as it is, whatever
    /// signs it has. Nothing can be inserted into the table.
    ///
    /// # Errors
    ///
    /// A plan error if that version is neither kept nor current, or if it is no batch or table.
    pub fn table_at(&self, name: &str, version: u64) -> Result<ArenaTable> {
        let kept = self.shared.pinned().get(&(name.to_owned(), version)).cloned();
        let object = match kept {
            Some(object) => object,
            None => match self.arena.get(name) {
                Ok(object) if object.version() == version => object,
                Ok(object) => return Err(replaced(name, version, object.version())),
                Err(Error::NotFound { .. }) => {
                    return plan_err!(
                        "`{name}` is gone from arena `{}`, and version {version} is not kept",
                        self.arena.name()
                    );
                }
                Err(e) => return Err(failed(e)),
            },
        };
        self.parts(name, vec![object])
    }

    fn find(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.arena.get(name) {
            Ok(object) => return self.of_object(name, object).map(Some),
            Err(Error::NotFound { .. }) => {}
            // What cannot be a name may be a pattern.
            Err(Error::Invalid(_) | Error::TooLarge { .. }) => {}
            Err(e) => return Err(failed(e)),
        }
        if let Some(found) = self.of_suffix(name)? {
            return Ok(Some(found));
        }
        if let Some(object) = self.member(name)? {
            return self.tables(name, vec![object]).map(Some);
        }
        if is_pattern(name) {
            return self.of_pattern(name).map(Some);
        }
        Ok(None)
    }

    fn of_object(&self, name: &str, object: Object) -> Result<Arc<dyn TableProvider>> {
        match object.kind() {
            Kind::Batch | Kind::Table => {
                let table = object.table().map_err(failed)?;
                let known = self.shared.memory.of(&self.arena, &object, &table);
                let target = Target { arena: self.arena.clone(), name: name.to_owned() };
                let schema = table.schema();
                Ok(Arc::new(ArenaTable::of_parts(schema, &[(table, known)], Some(target)).map_err(failed)?))
            }
            Kind::Feed => self.stream(StreamTable::feed(&self.arena, name, Start::Oldest)?),
            Kind::Channel => self.stream(StreamTable::channel(&self.arena, name)?),
            Kind::Bundle => {
                let bundle = object.bundle().map_err(failed)?;
                let members: Vec<String> = bundle.names().map(|member| format!("\"{name}/{member}\"")).collect();
                plan_err!("`{name}` is a bundle: name one of its members, {}", members.join(", "))
            }
            kind => plan_err!(
                "`{name}` is of kind {kind}: tables are batches, tables, members of bundles, feeds and channels"
            ),
        }
    }

    fn stream(&self, table: StreamTable) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(table.when_deserted(self.deserted)))
    }

    /// What a name with an `@` stands for.
    fn of_suffix(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((base, suffix)) = split_suffix(name) else { return Ok(None) };
        match suffix {
            "new" => return self.stream(StreamTable::feed(&self.arena, base, Start::Newest)?).map(Some),
            "snapshot" => {
                let table = self.arena.snapshot(base).map_err(failed)?;
                return Ok(Some(Arc::new(ArenaTable::new(table).map_err(failed)?)));
            }
            _ => {}
        }
        let Ok(version) = suffix.parse::<u64>() else { return Ok(None) };
        let kept = self.shared.pinned().get(&(base.to_owned(), version)).cloned();
        let object = match kept {
            Some(object) => object,
            None => match self.named_or_member(base)? {
                Some(object) if object.version() == version => object,
                Some(object) => return Err(replaced(base, version, object.version())),
                None => return Ok(None),
            },
        };
        self.tables(name, vec![object]).map(Some)
    }

    fn named_or_member(&self, name: &str) -> Result<Option<Object>> {
        match self.arena.get(name) {
            Ok(object) => Ok(Some(object)),
            Err(Error::NotFound { .. } | Error::Invalid(_) | Error::TooLarge { .. }) => self.member(name),
            Err(e) => Err(failed(e)),
        }
    }

    /// The member of a bundle that a name with a `/` stands for.
    fn member(&self, name: &str) -> Result<Option<Object>> {
        for (bundle, member) in splits(name) {
            let Some(bundle) = self.bundle(bundle)? else { continue };
            if bundle.names().any(|known| known == member) {
                return bundle.get(member).map(Some).map_err(failed);
            }
        }
        Ok(None)
    }

    fn bundle(&self, name: &str) -> Result<Option<Bundled>> {
        match self.arena.get(name) {
            Ok(object) if object.kind() == Kind::Bundle => object.bundle().map(Some).map_err(failed),
            Ok(_) | Err(Error::NotFound { .. } | Error::Invalid(_) | Error::TooLarge { .. }) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// All batches and tables that a pattern names, in the order of their names.
    fn of_pattern(&self, pattern: &str) -> Result<Arc<dyn TableProvider>> {
        let mut found = BTreeMap::new();
        for entry in self.entries()? {
            match entry.kind {
                Kind::Batch | Kind::Table if matches(pattern, &entry.name) => {
                    // It may have been removed since.
                    match self.arena.get(&entry.name) {
                        Ok(object) => drop(found.insert(entry.name, object)),
                        Err(Error::NotFound { .. }) => {}
                        Err(e) => return Err(failed(e)),
                    }
                }
                Kind::Bundle if splits(pattern).any(|(bundle, _)| bundle == entry.name) => {
                    let Some(bundle) = self.bundle(&entry.name)? else { continue };
                    for member in bundle.names() {
                        let name = format!("{}/{member}", entry.name);
                        let object = bundle.get(member).map_err(failed)?;
                        if matches(pattern, &name) && is_table(object.kind()) {
                            found.insert(name, object);
                        }
                    }
                }
                _ => {}
            }
        }
        if found.is_empty() {
            return plan_err!("no batch or table of arena `{}` has a name like `{pattern}`", self.arena.name());
        }
        self.tables(pattern, found.into_values().collect())
    }

    /// Objects as one table, into which nothing is inserted.
    fn tables(&self, name: &str, objects: Vec<Object>) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(self.parts(name, objects)?))
    }

    fn parts(&self, name: &str, objects: Vec<Object>) -> Result<ArenaTable> {
        let mut parts: Vec<(Table, Arc<Known>)> = vec![];
        for object in objects {
            let kind = object.kind();
            let table = object
                .table()
                .map_err(|_| plan_datafusion_err!("`{}` is of kind {kind}, no batch or table", object.name()))?;
            let known = self.shared.memory.of(&self.arena, &object, &table);
            parts.push((table, known));
        }
        let schema = ArenaTable::common_schema(name, &parts)?;
        ArenaTable::of_parts(schema, &parts, None).map_err(failed)
    }

    /// What is published, without the statistics of it.
    fn entries(&self) -> Result<Vec<Entry>> {
        let entries = self.arena.names().map_err(failed)?;
        Ok(entries.into_iter().filter(|entry| !statistics::is_statistics(&entry.name)).collect())
    }

    /// Publishes the rows of a table in memory.
    fn create(&self, name: &str, table: &MemTable) -> Result<()> {
        let mut batches = vec![];
        for partition in &table.batches {
            let Ok(partition) = partition.try_read() else {
                return exec_err!("the rows for `{name}` are being changed: nothing was published");
            };
            batches.extend(partition.iter().cloned());
        }
        let writer = self.arena.writer_timeout(PATIENCE).map_err(failed)?;
        match writer.publish_if(name, 0, Value::batches(table.schema(), batches)) {
            Ok(_) => Ok(()),
            Err(Error::Conflict { found, .. }) => {
                exec_err!("`{name}` exists already, at version {found}: use INSERT OVERWRITE to replace it")
            }
            Err(e) => Err(failed(e)),
        }
    }
}

fn replaced(name: &str, version: u64, now: u64) -> DataFusionError {
    plan_datafusion_err!(
        "`{name}` is at version {now}, and version {version} is not kept: a version that was replaced can be read only where it \
         was pinned before (`ArenaSchema::pin`)"
    )
}

fn is_table(kind: Kind) -> bool {
    matches!(kind, Kind::Batch | Kind::Table)
}

#[async_trait]
impl SchemaProvider for ArenaSchema {
    /// Names of batches, tables, feeds and channels that have a schema, and `BUNDLE/MEMBER` of members that are tables.
    fn table_names(&self) -> Vec<String> {
        let mut names = vec![];
        for entry in self.entries().unwrap_or_default() {
            match entry.kind {
                Kind::Batch | Kind::Table => names.push(entry.name),
                Kind::Feed | Kind::Channel => {
                    let schema = self.arena.get(&entry.name).and_then(|object| object.schema());
                    names.extend(schema.is_ok_and(|schema| schema.is_some()).then_some(entry.name));
                }
                Kind::Bundle => {
                    let Ok(Some(bundle)) = self.bundle(&entry.name) else { continue };
                    let tables = bundle.names().filter(|member| bundle.get(member).is_ok_and(|o| is_table(o.kind())));
                    names.extend(tables.map(|member| format!("{}/{member}", entry.name)));
                }
                _ => {}
            }
        }
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        self.find(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.find(name).is_ok_and(|found| found.is_some())
    }

    /// Publishes what `CREATE TABLE .. AS SELECT` made. Other tables have no place in an arena.
    fn register_table(&self, name: String, table: Arc<dyn TableProvider>) -> Result<Option<Arc<dyn TableProvider>>> {
        match table.downcast_ref::<MemTable>() {
            Some(table) => self.create(&name, table).map(|()| None),
            None => plan_err!(
                "`{name}` cannot be made in arena `{}`: only rows can, by CREATE TABLE .. AS SELECT; make views and external \
                 tables in another schema",
                self.arena.name()
            ),
        }
    }

    /// Removes the name of a batch or table.
    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.arena.get(name) {
            Ok(object) if is_table(object.kind()) => {
                let table = self.of_object(name, object)?;
                let writer = self.arena.writer_timeout(PATIENCE).map_err(failed)?;
                let removed = writer.remove(name).map_err(failed)?;
                writer.remove(&statistics::name_of(name)).map_err(failed)?;
                Ok(removed.then_some(table))
            }
            Ok(object) => {
                plan_err!(
                    "`{name}` is of kind {}, which DROP TABLE does not remove: use `Writer::remove`",
                    object.kind()
                )
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }
}

/// Arenas as the schemas of a catalog.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use faretra::{Arena, MIB};
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra_datafusion::ArenaCatalog;
///
/// # let name = format!("doc-fusion-catalog-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
///
/// let context = SessionContext::new();
/// context.register_catalog("shm", Arc::new(ArenaCatalog::new().with("air", &arena)));
/// assert_eq!(context.sql("SELECT max(id) FROM shm.air.ids").await?.count().await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct ArenaCatalog {
    schemas: RwLock<BTreeMap<String, Arc<dyn SchemaProvider>>>,
}

impl ArenaCatalog {
    /// Returns a catalog without schemas.
    pub fn new() -> ArenaCatalog {
        ArenaCatalog::default()
    }

    /// Adds an arena as the schema `name`.
    #[must_use]
    pub fn with(self, name: &str, arena: &Arena) -> ArenaCatalog {
        self.write().insert(name.to_owned(), Arc::new(ArenaSchema::new(arena)));
        self
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<dyn SchemaProvider>>> {
        self.schemas.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<dyn SchemaProvider>>> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CatalogProvider for ArenaCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.read().get(name).cloned()
    }

    fn register_schema(&self, name: &str, schema: Arc<dyn SchemaProvider>) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(self.write().insert(name.to_owned(), schema))
    }

    fn deregister_schema(&self, name: &str, _: bool) -> Result<Option<Arc<dyn SchemaProvider>>> {
        Ok(self.write().remove(name))
    }
}
