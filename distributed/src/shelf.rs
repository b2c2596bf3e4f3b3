//! The arenas of a worker: opened by name, opened again when another one has the name, and the versions that plans rely on.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::catalog::TableProvider;
use datafusion::common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::DataFusionError;
use faretra::{Error, Kind, Options};
use faretra_datafusion::{ArenaSchema, ArenaTable};

use crate::message::{Ask, Described, Found, Part, encode_schema, encode_statistics};

/// What is kept beside a table under its name and this ending is no table of anybody's.
const STATISTICS: &str = "#statistics";
/// How often an arena is opened again because another one has got its name meanwhile.
const TRIES: usize = 5;

/// The arenas that a worker scans.
#[derive(Debug)]
pub(crate) struct Shelf {
    options: Options,
    arenas: Vec<Served>,
    keep: Duration,
}

/// One of them.
#[derive(Debug)]
struct Served {
    name: String,
    open: Mutex<Option<Open>>,
}

/// An arena that is open.
#[derive(Clone)]
struct Open {
    identity: String,
    schema: ArenaSchema,
    /// Tables, their versions that plans may rely on, and since when.
    kept: Arc<Mutex<HashMap<(String, u64), Instant>>>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("identity", &self.identity).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What tells the file of an arena from all others, of this host and of others: which start of which machine, which file system,
/// which file.
fn identity(path: &Path) -> Option<String> {
    let file = std::fs::metadata(path).ok()?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    // A host that does not say what it is has nothing in common with others, nor with other processes of its own.
    let host = boot.map_or_else(|_| format!("process {}", std::process::id()), |id| id.trim().to_owned());
    Some(format!("{host} {} {}", file.dev(), file.ino()))
}

impl Shelf {
    /// Opens the arenas. Versions that a plan speaks of are kept for this time.
    pub(crate) fn new(options: Options, names: Vec<String>, keep: Duration) -> faretra::Result<Shelf> {
        let arenas = names.into_iter().map(|name| Served { name, open: Mutex::new(None) }).collect();
        let shelf = Shelf { options, arenas, keep };
        for served in &shelf.arenas {
            *lock(&served.open) = Some(shelf.open(&served.name)?);
        }
        Ok(shelf)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.arenas.iter().map(|served| served.name.clone()).collect()
    }

    /// Opens an arena, and says for certain which it is.
    fn open(&self, name: &str) -> faretra::Result<Open> {
        let mut before = self.options.open(name)?;
        for _ in 0..TRIES {
            let found = identity(before.path());
            // Opened while the name stood for that file, before and after: so it is that file.
            let arena = self.options.open(name)?;
            if let (Some(identity), true) = (found.clone(), found == identity(arena.path())) {
                return Ok(Open { identity, schema: ArenaSchema::new(&arena), kept: Arc::default() });
            }
            before = arena;
        }
        Err(Error::Invalid(format!("arena `{name}` is made anew all the time: another one had the name at each look")))
    }

    fn served(&self, arena: &str) -> Result<&Served> {
        match self.arenas.iter().find(|served| served.name == arena) {
            Some(served) => Ok(served),
            None => exec_err!("arena `{arena}` is none that this worker was started with: {}", self.names().join(", ")),
        }
    }

    /// The arena that has the name now.
    fn current(&self, served: &Served) -> Result<Open> {
        let mut open = lock(&served.open);
        if let Some(now) = open.as_ref()
            && identity(now.schema.arena().path()).as_ref() == Some(&now.identity)
        {
            return Ok(now.clone());
        }
        // What the old one had is let go of, but for what plans that run have pinned.
        *open = None;
        match self.open(&served.name) {
            Ok(now) => Ok(open.insert(now).clone()),
            Err(e) => exec_err!("arena `{}` is not to be had on this host any more: {e}", served.name),
        }
    }

    /// The names of the tables of an arena.
    pub(crate) fn list(&self, arena: &str) -> Result<Vec<String>> {
        let open = self.current(self.served(arena)?)?;
        let entries = open.schema.arena().names().map_err(external)?;
        let is_table = |kind| matches!(kind, Kind::Batch | Kind::Table);
        let tables = entries.into_iter().filter(|entry| is_table(entry.kind) && !entry.name.ends_with(STATISTICS));
        Ok(tables.map(|entry| entry.name).collect())
    }

    /// Finds a table, and keeps its current version.
    pub(crate) fn find(&self, arena: &str, table: &str) -> Result<Found> {
        let open = self.current(self.served(arena)?)?;
        let version = match open.schema.pin(table) {
            Ok(version) => version,
            Err(Error::NotFound { .. } | Error::Invalid(_) | Error::TooLarge { .. }) => {
                return Ok(Found { identity: open.identity, table: None });
            }
            Err(Error::Mismatch { .. }) => {
                return plan_err!(
                    "`{table}` of arena `{arena}` is no batch or table: nothing else is scanned for other hosts"
                );
            }
            Err(e) => return Err(external(e)),
        };
        lock(&open.kept).insert((table.to_owned(), version), Instant::now());
        let found = open.schema.table_at(table, version)?;
        let statistics = found.statistics().unwrap_or_default();
        let described =
            Described { version, schema: encode_schema(&found.schema())?, statistics: encode_statistics(&statistics) };
        Ok(Found { identity: open.identity, table: Some(described) })
    }

    /// The share of a table that a plan asks for: of the version that the plan speaks of, or an error.
    pub(crate) fn table(&self, ask: &Ask, part: &Part) -> Result<ArenaTable> {
        let served = self.served(&ask.arena)?;
        let meant = |open: &Open| open.identity == part.identity;
        // Also one that has lost its name since, as long as it is open.
        let known = lock(&served.open).clone().filter(meant);
        let open = match known {
            Some(open) => open,
            None => self.current(served)?,
        };
        if !meant(&open) {
            return exec_err!(
                "arena `{}` is another one than when the statement was planned: it was removed and made anew; run the statement \
                 again",
                ask.arena
            );
        }
        let key = (ask.table.clone(), part.version);
        if let Some(since) = lock(&open.kept).get_mut(&key) {
            *since = Instant::now();
        }
        let table = open.schema.table_at(&ask.table, part.version).map_err(|e| {
            exec_datafusion_err!(
                "table `{}` of arena `{}` was planned at version {}: {}; run the statement again",
                ask.table,
                ask.arena,
                part.version,
                e.strip_backtrace()
            )
        })?;
        Ok(table.part(part.index as usize, part.of as usize))
    }

    /// Lets go of versions that no plan has asked for in time.
    pub(crate) fn sweep(&self) {
        for served in &self.arenas {
            let Some(open) = lock(&served.open).clone() else { continue };
            let mut kept = lock(&open.kept);
            kept.retain(|(table, version), since| {
                let stays = since.elapsed() < self.keep;
                if !stays {
                    open.schema.unpin(table, *version);
                }
                stays
            });
        }
    }

    /// How often to sweep.
    pub(crate) fn pause(&self) -> Duration {
        (self.keep / 4).clamp(Duration::from_millis(50), Duration::from_secs(5))
    }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    use faretra::{Arena, MIB};

    fn ids(n: i64) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
        RecordBatch::try_from_iter([("id", ids)]).expect("valid")
    }

    fn ask(arena: &str, found: &Found) -> (Ask, Part) {
        let version = found.table.as_ref().expect("a table").version;
        let part = Part { identity: found.identity.clone(), version, index: 0, of: 1 };
        (Ask { arena: arena.to_owned(), table: "ids".to_owned(), ..Ask::default() }, part)
    }

    fn rows(table: &ArenaTable) -> Option<usize> {
        table.statistics().and_then(|known| known.num_rows.get_value().copied())
    }

    /// Shows that a plan gets the version that it speaks of, for as long as it is kept, and an error afterwards; and that another
    /// arena of the same name is not taken for the one that was meant.
    #[test]
    fn plans_get_what_they_speak_of() {
        let dir = tempfile::Builder::new().prefix("faretra-shelf-").tempdir_in("/dev/shm").expect("a tmpfs");
        let options = Arena::options().dir(dir.path()).limit(16 * MIB);
        let arena = options.create("air").expect("an arena");
        arena.writer().and_then(|writer| writer.publish("ids", ids(3))).expect("published");
        let shelf = Shelf::new(options.clone(), vec!["air".to_owned()], Duration::ZERO).expect("open");
        assert_eq!(shelf.list("air").expect("listed"), ["ids"]);
        assert!(shelf.find("air", "none").expect("an answer").table.is_none());

        let found = shelf.find("air", "ids").expect("found");
        let (ask, part) = ask("air", &found);
        arena.writer().and_then(|writer| writer.publish("ids", ids(5))).expect("published");
        assert_eq!(shelf.table(&ask, &part).ok().as_ref().and_then(rows), Some(3));
        shelf.sweep();
        let late = shelf.table(&ask, &part).expect_err("it is not kept").to_string();
        assert!(late.contains("planned at version 1") && late.contains("is at version 2"), "{late}");

        // The arena is removed and made anew: plans over the old one go on as long as it is open, and end with it.
        let found = shelf.find("air", "ids").expect("found");
        let part = Part { version: 2, ..part };
        options.remove("air").expect("removed");
        assert_eq!(shelf.table(&ask, &part).ok().as_ref().and_then(rows), Some(5));
        let gone = shelf.find("air", "ids").expect_err("no arena").to_string();
        assert!(gone.contains("arena `air` is not to be had"), "{gone}");
        let again = options.create("air").expect("another arena");
        again.writer().and_then(|writer| writer.publish("ids", ids(7))).expect("published");
        let other = shelf.find("air", "ids").expect("found");
        assert_ne!(other.identity, found.identity);
        let refused = shelf.table(&ask, &part).expect_err("another arena").to_string();
        assert!(refused.contains("another one than when the statement was planned"), "{refused}");
    }
}
