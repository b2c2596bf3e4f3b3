//! Hosts of one test, each a directory of arenas and a worker as a process; rows dealt out to them; and what a statement gives.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use faretra::{Arena, MIB, Options, Value};
use faretra_distributed::Coordinator;
use tempfile::TempDir;

/// Nothing takes that long, on any machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Waits for something that takes less than [`DEADLINE`].
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it hangs")
}

/// A host: what its /dev/shm is to another one, a directory is here.
pub(crate) struct Host {
    dir: TempDir,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { dir: tempfile::Builder::new().prefix("faretra-distributed-test-").tempdir_in("/dev/shm").unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn options(&self) -> Options {
        Arena::options().dir(self.path()).limit(256 * MIB)
    }

    pub(crate) fn arena(&self, name: &str) -> Arena {
        self.options().create(name).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faretra-distributed"));
        command.args(args).current_dir(self.path()).env("FARETRA_DIR", self.path()).stdin(Stdio::null());
        command
    }

    /// A worker that scans these arenas, at a free port.
    pub(crate) fn work(&self, args: &[&str]) -> Running {
        self.work_at("127.0.0.1:0", args)
    }

    pub(crate) fn work_at(&self, address: &str, args: &[&str]) -> Running {
        let mut command = self.command(&["worker", "--listen", address]);
        let mut child = command.args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once(" at ").unwrap_or_else(|| panic!("{line:?}")).1.to_owned();
        Running { child, address }
    }

    /// How the command ends that is expected to fail, and what it says.
    pub(crate) fn fails(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + DEADLINE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
                panic!("it runs");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code(), text)
    }

    /// Fails unless every rule of an arena of this host holds.
    pub(crate) fn assert_sound(&self, arena: &str) {
        let arena = self.options().open(arena).unwrap();
        arena.recover().unwrap();
        let violations = arena.verify().unwrap();
        assert!(violations.is_empty(), "{violations:?}");
    }
}

/// A worker; it is killed with the value.
pub(crate) struct Running {
    child: Child,
    /// `http://HOST:PORT`
    pub(crate) address: String,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// So many hosts with an arena `air` each, among which the tables are dealt out, and their workers.
pub(crate) struct Cluster {
    pub(crate) hosts: Vec<Host>,
    pub(crate) workers: Vec<Running>,
}

impl Cluster {
    pub(crate) fn new(hosts: usize, tables: &[(&str, Vec<RecordBatch>)], options: &[&str]) -> Cluster {
        let hosts: Vec<Host> = (0..hosts).map(|_| Host::new()).collect();
        for (at, host) in hosts.iter().enumerate() {
            let arena = host.arena("air");
            for (name, batches) in tables {
                publish(&arena, name, &dealt(batches, at, hosts.len()));
            }
        }
        let args: Vec<&str> = ["air"].iter().chain(options).copied().collect();
        let workers = hosts.iter().map(|host| host.work(&args)).collect();
        Cluster { hosts, workers }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.workers.iter().map(|worker| worker.address.clone()).collect()
    }

    pub(crate) async fn session(&self) -> SessionContext {
        within(Coordinator::new(self.addresses()).connect()).await.unwrap()
    }
}

/// What a host has of a table: every so-maniest batch. A table of fewer batches than hosts is on the first of them only.
pub(crate) fn dealt(batches: &[RecordBatch], host: usize, hosts: usize) -> Vec<RecordBatch> {
    batches.iter().skip(host).step_by(hosts).cloned().collect()
}

/// Publishes a table, if there is something of it.
pub(crate) fn publish(arena: &Arena, name: &str, batches: &[RecordBatch]) {
    if let Some(first) = batches.first() {
        let value = Value::batches(first.schema(), batches.to_vec());
        arena.writer().unwrap().publish(name, value).unwrap();
    }
}

/// Numbers `from..to` as `id`, some of them as `k`, and a text.
pub(crate) fn rows(from: i64, to: i64) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let k: ArrayRef = Arc::new(Int64Array::from_iter((from..to).map(|i| (i % 7 != 0).then_some(i % 100))));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|i| format!("text {}", i % 10))));
    RecordBatch::try_from_iter_with_nullable([("id", id, false), ("k", k, true), ("text", text, false)]).unwrap()
}

/// A table of so many batches of so many rows.
pub(crate) fn batches(batches: i64, each: i64) -> Vec<RecordBatch> {
    (0..batches).map(|i| rows(i * each, (i + 1) * each)).collect()
}

/// A session that has all rows of all hosts in its own memory.
pub(crate) fn alone(tables: &[(&str, Vec<RecordBatch>)]) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    for (name, batches) in tables {
        let table = MemTable::try_new(batches[0].schema(), vec![batches.clone()]).unwrap();
        context.register_table(*name, Arc::new(table)).unwrap();
    }
    context
}

/// The rows of a statement, or why it fails.
pub(crate) async fn run(context: &SessionContext, sql: &str) -> Result<Vec<RecordBatch>> {
    within(async { context.sql(sql).await?.collect().await }).await
}

/// What a statement gives, line by line.
pub(crate) async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let rows = within(async { context.sql(sql).await.expect(sql).collect().await.expect(sql) }).await;
    let printed = pretty_format_batches(&rows).unwrap().to_string();
    printed.lines().map(str::to_owned).collect()
}

/// Why a statement fails, when it is planned or when it is run.
pub(crate) async fn refusal(context: &SessionContext, sql: &str) -> String {
    let failed = async {
        match context.sql(sql).await {
            Ok(frame) => frame.collect().await.expect_err(sql),
            Err(e) => e,
        }
    };
    within(failed).await.to_string()
}

/// A file of the tests of Flight.
pub(crate) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../flight/tests/tls").join(name)
}
