//! A server of an arena, and two clients in a process of their own: one that knows Faretra, and maps the arena; one that knows
//! Arrow Flight only, as those of other languages and hosts do. `flight_client.py`, beside this file, is the second one in Python.
//!
//! ```text
//! cargo run -p faretra-flight --example flight_client                           # server and clients
//! cargo run -p faretra-flight --example flight_client -- http://127.0.0.1:50051  # clients of another server of such a table
//! ```
//!
//! ```prints
//! the server has: flights (3000000 rows, .. MB)
//! a client that knows Faretra: in place, .. batches; 45.0 % are late
//! the same client, told to stream: 45.0 % are late
//! a client that does not: .. batches; 45.0 % are late
//! late flights, put back through the server: 1350000 rows
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::error::Error;
use std::process::Command;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use faretra::{Arena, MIB, Value};
use faretra_flight::arrow_flight::{FlightClient, FlightDescriptor};
use faretra_flight::{Client, Server};
use futures_util::TryStreamExt;
use tonic::transport::Endpoint;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A flight that leaves this many minutes late is late.
const LATE: i64 = 15;
const BATCHES: i64 = 30;
const ROWS: i64 = 100_000;

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1) {
        Some(address) => ask(&address).await,
        None => serve().await,
    }
}

/// The server, which starts the clients and ends with them.
async fn serve() -> Result<()> {
    let name = format!("flight-client-{}", std::process::id());
    let arena = Arena::options().limit(512 * MIB).keep(false).create(&name)?;
    let batches: Vec<RecordBatch> = (0..BATCHES).map(flights).collect::<Result<_>>()?;
    arena.writer()?.publish("flights", Value::batches(batches[0].schema(), batches))?;

    // What `faretra serve` does, as a library.
    let listening = Server::new([arena.clone()]).listen("127.0.0.1:0".parse()?).await?;
    let address = format!("http://{}", listening.address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listening.run(async move {
        // Told, or nobody can tell any more.
        let _ = stopped.await;
    }));
    let clients = tokio::task::spawn_blocking(move || Command::new(std::env::current_exe()?).arg(address).status());
    let ended = clients.await??;
    drop(stop);
    serving.await??;
    if !ended.success() {
        return Err(format!("the clients ended with {ended}").into());
    }
    println!("late flights, put back through the server: {} rows", arena.table("late")?.num_rows());
    Ok(())
}

/// Flights that leave up to 40 minutes early, and up to an hour late.
fn flights(batch: i64) -> Result<RecordBatch> {
    let rows = batch * ROWS..(batch + 1) * ROWS;
    let delay: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row * 7 % 100 - 40)));
    let to: ArrayRef =
        Arc::new(StringArray::from_iter_values(rows.map(|row| ["LIS", "OPO", "FAO", "FNC"][row as usize % 4])));
    Ok(RecordBatch::try_from_iter([("to", to), ("delay", delay)])?)
}

/// The clients.
async fn ask(address: &str) -> Result<()> {
    // This one is told where the arena is. It is on this host: it is mapped, and none of the table goes through the socket.
    let mut client = Client::connect(address).await?;
    for info in client.list("flights").await? {
        let name = info.flight_descriptor.map(|descriptor| descriptor.path.join("/")).unwrap_or_default();
        println!("the server has: {name} ({} rows, {} MB)", info.total_records, info.total_bytes / 1_000_000);
    }
    let found = client.get(&["flights"]).await?;
    let (how, schema) = (if found.is_in_place() { "in place" } else { "streamed" }, found.schema());
    let batches = found.collect().await?;
    println!("a client that knows Faretra: {how}, {} batches; {:.1} % are late", batches.len(), share(&batches));

    // From another host, or if it is told to, it streams.
    let mut far = Client::connect(address).await?.in_place(false);
    println!(
        "the same client, told to stream: {:.1} % are late",
        share(&far.get(&["flights"]).await?.collect().await?)
    );

    // Every other client of Arrow Flight asks for an info, and sends the ticket that is in it.
    let mut other = FlightClient::new(Endpoint::from_shared(address.to_owned())?.connect().await?);
    let info = other.get_flight_info(FlightDescriptor::new_path(vec!["flights".to_owned()])).await?;
    let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket).ok_or("no ticket")?;
    let streamed: Vec<RecordBatch> = other.do_get(ticket).await?.try_collect().await?;
    println!("a client that does not: {} batches; {:.1} % are late", streamed.len(), share(&streamed));

    let late = batches.iter().map(late).collect::<Result<Vec<_>>>()?;
    client.put(&["late"], schema, late).await?;
    Ok(())
}

fn delays(batch: &RecordBatch) -> &[i64] {
    batch["delay"].as_primitive::<Int64Type>().values()
}

/// The share of late flights, in per cent.
fn share(batches: &[RecordBatch]) -> f64 {
    let (rows, late) = batches.iter().fold((0, 0), |(rows, late), batch| {
        (rows + batch.num_rows(), late + delays(batch).iter().filter(|delay| **delay >= LATE).count())
    });
    100.0 * late as f64 / rows as f64
}

fn late(batch: &RecordBatch) -> Result<RecordBatch> {
    let late: BooleanArray = delays(batch).iter().map(|delay| Some(*delay >= LATE)).collect();
    Ok(filter_record_batch(batch, &late)?)
}
