//! What serving an arena costs: a table streamed to pyarrow's client, beside pyarrow's own server; the same table to a client of the
//! same host that maps the arena; and what clients that do not read cost the server.
//!
//! ```text
//! PYTHON=python-with-pyarrow cargo bench -p faretra-flight               # a table of 1 GiB; --quick: of 64 MiB
//! ```
#![allow(clippy::print_stdout, reason = "a bench tells what it measured")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use faretra::{Arena, MIB, Value};
use faretra_flight::Client;
use faretra_flight::arrow_flight::{FlightClient, FlightDescriptor};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Endpoint;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const NAME: &str = "table";
/// Rows of 32 bytes, and so 16 MiB, are a batch.
const ROWS: i64 = 1 << 19;
const ROUNDS: usize = 7;
const SLOW: usize = 200;

fn main() -> Result<()> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let batches = if quick { 4 } else { 64 };
    let dir = tempfile::Builder::new().prefix("faretra-flight-bench-").tempdir_in("/dev/shm")?;
    let arena = Arena::options().dir(dir.path()).limit((batches as u64 + 8) * 16 * MIB).create("air")?;
    let all: Vec<RecordBatch> = (0..batches).map(rows).collect::<Result<_>>()?;
    arena.writer()?.publish(NAME, Value::batches(all[0].schema(), all))?;
    let bytes = arena.table(NAME)?.nbytes();
    println!("a table of {batches} batches, {:.2} GB; medians of {ROUNDS}\n", bytes as f64 / 1e9);
    let server = Server::start(dir.path())?;
    beside_pyarrow(&server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        same_host(&server, bytes).await?;
        slow_clients(&server).await
    })
}

fn rows(batch: i64) -> Result<RecordBatch> {
    let rows = batch * ROWS..(batch + 1) * ROWS;
    let ids = |times: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row * times))) };
    let numbers =
        |by: f64| -> ArrayRef { Arc::new(Float64Array::from_iter_values(rows.clone().map(|row| row as f64 / by))) };
    let columns = [("a", ids(1)), ("b", ids(7)), ("c", numbers(3.0)), ("d", numbers(7.0))];
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Streams to pyarrow's client, from here and from pyarrow's server, in turn.
fn beside_pyarrow(server: &Server) -> Result<()> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/beside_pyarrow.py");
    let address = format!("grpc://{}", server.host);
    let mut command = Command::new(&python);
    let output = command.arg(script).args([&address, NAME, &ROUNDS.to_string()]).output();
    let output = match output {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let why = text.lines().last().unwrap_or_default();
            println!("do_get by pyarrow: not measured, because {python} says: {why} (PYTHON names another one)");
            return Ok(());
        }
        Err(error) => {
            println!("do_get by pyarrow: not measured, because {python} does not start: {error}");
            return Ok(());
        }
    };
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let bytes = told["bytes"].as_f64().unwrap_or_default();
    let speeds = |who: &str| -> Vec<f64> {
        let times = told[who].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64);
        times.map(|seconds| bytes / 1e6 / seconds).collect()
    };
    let (ours, theirs) = (speeds("faretra"), speeds("pyarrow"));
    println!("do_get by pyarrow {}, MB/s", told["version"].as_str().unwrap_or_default());
    for (who, speeds) in [("faretra serve", &ours), ("pyarrow's server, from memory", &theirs)] {
        println!("  {who:32} {:6.0}   {}", median(speeds), ends(speeds));
    }
    println!("  {:32} {:6.2} x\n", "ratio", median(&ours) / median(&theirs));
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ends(values: &[f64]) -> String {
    let (low, high) = values.iter().fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(*v), high.max(*v)));
    format!("({low:.0} to {high:.0})")
}

/// A client that knows Faretra, told where the arena is, and told to stream.
async fn same_host(server: &Server, bytes: u64) -> Result<()> {
    println!("a client of the same host that knows Faretra");
    for in_place in [true, false] {
        let (mut firsts, mut lasts, mut alls, mut through) = (vec![], vec![], vec![], 0);
        for _ in 0..ROUNDS {
            let (address, counted) = counting(&server.host).await?;
            let mut client = Client::connect(&address).await?.in_place(in_place);
            let begun = Instant::now();
            let mut batches = client.get(&[NAME]).await?.batches();
            let mut got = vec![batches.try_next().await?.ok_or("no batch")?];
            firsts.push(begun.elapsed().as_secs_f64() * 1e3);
            while let Some(batch) = batches.try_next().await? {
                // As somebody does that reads a batch and goes on.
                if in_place { got.push(batch) } else { got[0] = batch }
            }
            lasts.push(begun.elapsed().as_secs_f64() * 1e3);
            let sum: f64 = got.iter().map(sum).sum();
            alls.push(begun.elapsed().as_secs_f64() * 1e3);
            assert!(sum > 0.0, "{sum}");
            through = counted.load(Ordering::Relaxed);
        }
        let how = if in_place { "in place" } else { "streamed" };
        println!(
            "  {how}: first batch {:.2} ms, last batch {:.2} ms, {} bytes through the socket ({} of the table's {bytes})",
            median(&firsts),
            median(&lasts),
            through,
            if in_place { 0 } else { bytes },
        );
        if in_place {
            println!("  {how}: every value read {:.2} ms", median(&alls));
        }
    }
    println!();
    Ok(())
}

fn sum(batch: &RecordBatch) -> f64 {
    let ids = [0, 1].map(|at| batch.column(at).as_primitive::<Int64Type>().values().iter().sum::<i64>() as f64);
    let numbers = [2, 3].map(|at| batch.column(at).as_primitive::<Float64Type>().values().iter().sum::<f64>());
    ids[0] + ids[1] + numbers[0] + numbers[1]
}

/// Passes connections on to a server, and counts what that sends.
async fn counting(server: &str) -> Result<(String, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let (server, counted) = (server.to_owned(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&counted);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&server).await else { return };
            // As both ends have it: else one waits 40 ms for the acknowledgement of what the other holds back.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 20];
                while let Ok(n @ 1..) = from_server.read(&mut bytes).await {
                    counter.fetch_add(n as u64, Ordering::Relaxed);
                    if to_client.write_all(&bytes[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok((address, counted))
}

/// Clients that read one message of the table and then stop.
async fn slow_clients(server: &Server) -> Result<()> {
    let before = server.own_memory()?;
    let mut slow = vec![];
    for _ in 0..SLOW {
        let channel = Endpoint::from_shared(format!("http://{}", server.host))?.connect().await?;
        let mut client = FlightClient::new(channel);
        let info = client.get_flight_info(FlightDescriptor::new_path(vec![NAME.to_owned()])).await?;
        let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket).ok_or("no ticket")?;
        let mut stream = client.do_get(ticket).await?;
        stream.next().await.ok_or("no batch")??;
        slow.push((client, stream));
    }
    // What the server does for them, it has done when its memory changes no more.
    let (mut last, mut same) = (0, 0);
    while same < 10 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = server.own_memory()?;
        same = if now.abs_diff(last) < 1 << 20 { same + 1 } else { 0 };
        last = now;
    }
    let more = last.saturating_sub(before);
    println!("{SLOW} clients that read one message and stop: the server's own memory");
    println!(
        "  from {:.1} to {:.1} MB, {:.2} MB for each",
        before as f64 / 1e6,
        last as f64 / 1e6,
        more as f64 / 1e6 / SLOW as f64
    );
    drop(slow);
    Ok(())
}

/// `faretra serve`, which ends with the value.
struct Server {
    child: Child,
    host: String,
}

impl Server {
    fn start(dir: &Path) -> Result<Server> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faretra-flight"));
        command.args(["air", "--listen", "127.0.0.1:0"]).env("FARETRA_DIR", dir).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("piped")?).read_line(&mut line)?;
        let host = line.trim().rsplit_once('/').ok_or("the server does not start")?.1.to_owned();
        Ok(Server { child, host })
    }

    /// Memory that is its own, and not the arena's.
    fn own_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves until it is killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
