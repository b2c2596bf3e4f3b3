//! A directory of arenas for one test, a server of them as a process, and clients.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use faretra::{Arena, MIB, Value};
use faretra_flight::arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use faretra_flight::arrow_flight::error::FlightError;
use faretra_flight::arrow_flight::{FlightClient, FlightDescriptor, FlightInfo};
use futures_util::{TryStreamExt, stream};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Nothing takes that long, on any machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A fresh directory on a tmpfs; everything in it goes with it.
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        Lab { dir: tempfile::Builder::new().prefix("faretra-flight-test-").tempdir_in("/dev/shm").unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new arena in the directory.
    pub(crate) fn arena(&self, name: &str) -> Arena {
        Arena::options().dir(self.path()).limit(512 * MIB).create(name).unwrap()
    }

    /// The command, as the tests run it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faretra-flight"));
        command.args(args).current_dir(self.path()).env("FARETRA_DIR", self.path()).stdin(Stdio::null());
        command
    }

    /// A server that listens at a free port.
    pub(crate) fn serve(&self, args: &[&str]) -> Running {
        self.serve_at("127.0.0.1:0", args)
    }

    pub(crate) fn serve_at(&self, address: &str, args: &[&str]) -> Running {
        let mut command = self.command(args);
        command.args(["--listen", address]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once(" at ").unwrap_or_else(|| panic!("{line:?}")).1.to_owned();
        Running { child, address }
    }

    /// Why the command does not start.
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
}

/// A server; it is killed with the value.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// `grpc://HOST:PORT`
    pub(crate) address: String,
}

impl Running {
    /// `HOST:PORT`
    pub(crate) fn host(&self) -> &str {
        self.address.rsplit_once('/').unwrap().1
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.host())
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.http()).unwrap().connect().await.unwrap()
    }

    /// A client that knows nothing of Faretra.
    pub(crate) async fn client(&self) -> FlightClient {
        FlightClient::new(self.channel().await)
    }

    /// What the server has pinned or drafted in an arena, as that tells it.
    pub(crate) fn keeps(&self, arena: &Arena) -> (u64, u64) {
        let who = arena.who().unwrap();
        who.iter()
            .find(|holder| holder.pid == self.child.id())
            .map_or((0, 0), |holder| (holder.pins, holder.draft_bytes))
    }

    /// How many locks, leases and ends the server has in an arena, as that tells it.
    pub(crate) fn holds(&self, arena: &Arena) -> usize {
        let who = arena.who().unwrap();
        who.iter().find(|holder| holder.pid == self.child.id()).map_or(0, |holder| holder.holds.len())
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

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Rows `from..to`: an id, a text, and a number that every third row lacks.
pub(crate) fn rows(from: i64, to: i64) -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|i| format!("text {i}"))));
    let number: ArrayRef =
        Arc::new(Float64Array::from_iter((from..to).map(|i| (i % 3 != 0).then_some(i as f64 / 2.0))));
    RecordBatch::try_from_iter_with_nullable([("id", id, false), ("text", text, true), ("number", number, true)])
        .unwrap()
}

/// A table of so many batches of so many rows.
pub(crate) fn table(batches: i64, each: i64) -> Value<'static> {
    let all = (0..batches).map(|i| rows(i * each, (i + 1) * each)).collect();
    Value::batches(rows(0, 0).schema(), all)
}

pub(crate) fn path(parts: &[&str]) -> FlightDescriptor {
    FlightDescriptor::new_path(parts.iter().map(|part| (*part).to_owned()).collect())
}

/// Batches as a client sends them, under what they are for.
pub(crate) fn encoded(descriptor: FlightDescriptor, batches: Vec<RecordBatch>) -> FlightDataEncoder {
    let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor));
    encoder.build(stream::iter(batches.into_iter().map(Ok)))
}

/// All rows that an info tells of, streamed.
pub(crate) async fn fetch(client: &mut FlightClient, info: &FlightInfo) -> Vec<RecordBatch> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    client.do_get(ticket).await.unwrap().try_collect().await.unwrap()
}

/// Rows as one batch.
pub(crate) fn whole(batches: &[RecordBatch]) -> RecordBatch {
    datafusion::arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap()
}

/// What makes an error of arrow-flight readable.
pub(crate) fn said(error: &FlightError) -> String {
    match error {
        FlightError::Tonic(status) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        other => other.to_string(),
    }
}

/// A file of the tests.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}
