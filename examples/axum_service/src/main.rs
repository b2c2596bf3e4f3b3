//! A web service (axum) that answers from a table in shared memory, while another process publishes new versions of it.
//!
//! Each request pins the version that is current. It answers from that one, as a whole, whatever is published meanwhile, and copies
//! nothing: the service has none of the table in its own memory.
//!
//! ```text
//! cargo run -p axum_service                                   # all of it: writer, service, and clients that check the answers
//! cargo run -p axum_service -- write market                   # or by hand, in two terminals, and `curl` in a third one
//! cargo run -p axum_service -- serve market 127.0.0.1:8080
//! ```
//!
//! | path | answers |
//! |---|---|
//! | `/prices` | version, number of rows, mean, lowest and highest price |
//! | `/prices/7` | the price of item 7 |
//! | `/prices/newer-than/7` | as `/prices`, as soon as there is a version above 7; 204 if none comes within 10 s |
//!
//! It prints, among other things:
//!
//! ```prints
//! 4 clients: 400 answers of .. versions, each from one version as a whole
//! item 41 of version ..
//! version .. was asked for before it was there
//! the service's own memory: .. MB; the table's: 16 MB
//! the writer is killed; the service answers from version ..
//! the service has ended with exit status: 0
//! ```
#![allow(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use faretra::arrow::arrow_schema::{DataType, Field, Schema};
use faretra::{Arena, Batch, MIB};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const ITEMS: usize = 1_000_000;
/// How long `/prices/newer-than/N` waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first word of a process that ends with the one that started it.
const PART: &str = "part";

fn main() -> Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == PART) {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        words.remove(0);
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", arena] => write(arena),
        ["serve", arena, address] => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(serve(arena, address))
        }
        [] => demonstrate(),
        _ => Err("usage: axum_service [write ARENA | serve ARENA ADDRESS]".into()),
    }
}

/// Publishes one version after the other. In version `v`, item `i` has the price `v + i / ITEMS`.
fn write(arena: &str) -> Result<()> {
    let arena = Arena::options().limit(512 * MIB).keep(false).open_or_create(arena)?;
    let writer = arena.writer()?;
    let field = |name, data_type| Field::new(name, data_type, false);
    let schema = Arc::new(Schema::new(vec![field("item", DataType::UInt64), field("price", DataType::Float64)]));
    for version in 1_u64.. {
        // Written where it will be read: this is no copy either.
        let mut draft = writer.draft(&schema, ITEMS)?;
        (0..).zip(draft.column_mut::<u64>("item")?).for_each(|(i, item)| *item = i);
        (0..).zip(draft.column_mut::<f64>("price")?).for_each(|(i, price)| *price = price_of(version, i));
        writer.publish("prices", draft)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn price_of(version: u64, item: usize) -> f64 {
    version as f64 + item as f64 / ITEMS as f64
}

/// Serves until SIGTERM or Ctrl-C.
async fn serve(arena: &str, address: &str) -> Result<()> {
    let arena = Arena::options().keep(false).open(arena)?;
    let service = Router::new()
        .route("/prices", get(summary))
        .route("/prices/{item}", get(item))
        .route("/prices/newer-than/{version}", get(newer))
        .with_state(arena);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    Ok(axum::serve(listener, service).with_graceful_shutdown(ended).await?)
}

/// A value as the body of an answer.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

async fn summary(State(arena): State<Arena>) -> Result<Json, Failed> {
    // Pinned: until it is dropped, this version stays, and stays as it is. No system call, no lock, no copy.
    let prices = arena.batch("prices")?;
    Ok(Json(summed_up(&prices)?))
}

async fn item(State(arena): State<Arena>, Path(item): Path<usize>) -> Result<Json, Failed> {
    let prices = arena.batch("prices")?;
    let column = prices.column::<f64>("price")?;
    let price = column.get(item).ok_or_else(|| {
        Failed(StatusCode::NOT_FOUND, format!("there is no item {item}: there are {}, from 0 on", column.len()))
    })?;
    Ok(Json(json!({"version": prices.object().version(), "item": item, "price": price})))
}

async fn newer(State(arena): State<Arena>, Path(version): Path<u64>) -> Result<Response, Failed> {
    // Any number of requests may wait: none of them keeps a thread.
    match tokio::time::timeout(PATIENCE, arena.wait_for_async("prices", version)).await {
        Ok(object) => Ok(Json(summed_up(&Batch::try_from(object?)?)?).into_response()),
        Err(_) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

fn summed_up(prices: &Batch) -> faretra::Result<Value> {
    let price = prices.column::<f64>("price")?;
    let (low, high) = price.iter().fold((f64::MAX, f64::MIN), |(low, high), p| (low.min(*p), high.max(*p)));
    let version = prices.object().version();
    Ok(json!({"version": version, "rows": price.len(), "mean": price.mean(), "lowest": low, "highest": high}))
}

/// An error as an answer.
struct Failed(StatusCode, String);

impl From<faretra::Error> for Failed {
    fn from(error: faretra::Error) -> Failed {
        let code = match error {
            faretra::Error::NotFound { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failed(code, error.to_string())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// Starts a writer and a service, and asks the service as its clients would.
fn demonstrate() -> Result<()> {
    let name = format!("axum-service-{}", std::process::id());
    let arena = Arena::options().limit(512 * MIB).keep(false).create(&name)?;
    let mut writer = Part::start(&["write", &name])?;
    let mut service = Part::start(&["serve", &name, "127.0.0.1:0"])?;
    let address = service.line()?.trim_start_matches("http://").to_owned();
    arena.wait_for_timeout("prices", 0, Duration::from_secs(60))?;

    let clients: Vec<_> = (0..4)
        .map(|_| {
            let address = address.clone();
            std::thread::spawn(move || client(&address, 100))
        })
        .collect();
    let mut versions = BTreeSet::new();
    for client in clients {
        versions.extend(client.join().map_err(|_| "a client gave up")??);
    }
    println!("4 clients: 400 answers of {} versions, each from one version as a whole", versions.len());

    let (_, one) = ask(&address, "/prices/41")?;
    let version = one["version"].as_u64().ok_or("no version")?;
    expect(is(&one["price"], price_of(version, 41)), &one)?;
    println!("item 41 of version {version} has the price {}", one["price"]);
    let (status, told) = ask(&address, &format!("/prices/{ITEMS}"))?;
    expect(status == 404, &told)?;
    let (_, newer) = ask(&address, &format!("/prices/newer-than/{version}"))?;
    expect(newer["version"].as_u64() > Some(version), &newer)?;
    println!("version {} was asked for before it was there", newer["version"]);

    let (own, table) = (service.own_memory()?, arena.batch("prices")?.nbytes());
    println!("the service's own memory: {:.1} MB; the table's: {} MB", own as f64 / 1e6, table / 1_000_000);
    expect(own < table / 2, &json!(own))?;

    writer.child.kill()?;
    writer.child.wait()?;
    let (status, last) = ask(&address, "/prices")?;
    expect(status == 200 && is_whole(&last), &last)?;
    println!("the writer is killed; the service answers from version {}", last["version"]);
    kill(Pid::from_raw(service.child.id().cast_signed()), Signal::SIGTERM)?;
    println!("the service has ended with {}", service.child.wait()?);
    arena.recover()?;
    match arena.verify()?.first() {
        Some(broken) => Err(broken.to_string().into()),
        None => Ok(()),
    }
}

/// Asks so many times, and returns the versions that were answered from.
fn client(address: &str, times: usize) -> Result<BTreeSet<u64>> {
    let (mut versions, mut newest) = (BTreeSet::new(), 0);
    for _ in 0..times {
        let (_, answer) = ask(address, "/prices")?;
        expect(is_whole(&answer), &answer)?;
        let version = answer["version"].as_u64().unwrap_or_default();
        expect(version >= newest, &answer)?;
        newest = version;
        versions.insert(version);
    }
    Ok(versions)
}

/// Whether an answer is one version's: had it been made of two, the numbers would not be the version's.
fn is_whole(answer: &Value) -> bool {
    let Some(version) = answer["version"].as_u64() else { return false };
    let (low, high) = (price_of(version, 0), price_of(version, ITEMS - 1));
    is(&answer["lowest"], low) && is(&answer["highest"], high) && is(&answer["mean"], (low + high) / 2.0)
}

/// Whether a number is this one, but for what is lost on its way through decimals and sums.
fn is(number: &Value, expected: f64) -> bool {
    number.as_f64().is_some_and(|number| (number - expected).abs() < 1e-7)
}

fn expect(so: bool, told: &Value) -> Result<()> {
    if so { Ok(()) } else { Err(format!("unexpected: {told}").into()) }
}

/// GET: the status, and what the answer says.
fn ask(address: &str, path: &str) -> Result<(u16, Value)> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?;
    Ok((status.parse()?, serde_json::from_str(body)?))
}

/// A process of this program, which ends with this one.
struct Part {
    child: Child,
}

impl Part {
    fn start(words: &[&str]) -> Result<Part> {
        let child = Command::new(std::env::current_exe()?).arg(PART).args(words).stdout(Stdio::piped()).spawn()?;
        Ok(Part { child })
    }

    /// What it prints first.
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().ok_or("read before")?).read_line(&mut line)?;
        match line.trim() {
            "" => Err("the service does not start".into()),
            line => Ok(line.to_owned()),
        }
    }

    /// Memory that is its own, and not the arena's.
    fn own_memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse::<u64>()? * 1024)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has ended, or is not wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
