//! The command `faretra-distributed`, which `faretra cluster` runs.

#![deny(unsafe_code)]

mod args;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::Schema;
use datafusion::error::DataFusionError;
use faretra_cli::serve::{self, Failure, Out, Result};
use faretra_distributed::{Compression, Coordinator, Worker};
use futures_util::StreamExt;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use args::{Args, Packing, RowFormat, Trust, Verb};

/// The stack of a thread that plans and runs statements, of which pages in use alone cost memory: deep expressions recurse.
const STACK: usize = 512 << 20;
/// How long threads have to come back when the command has ended.
const GRACE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    serve::run(obey)
}

fn obey(args: &Args) -> Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
    let runtime: Runtime = runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    // In a task, because the thread of `main` has not that stack.
    let done = match &args.verb {
        Verb::Worker(verb) => runtime.block_on(work(args, verb)),
        Verb::Sql(verb) => runtime.block_on(query(args, verb)),
    };
    // What still runs, runs for nobody.
    runtime.shutdown_timeout(GRACE);
    done
}

fn token(trust: &Trust) -> Result<Option<String>> {
    trust.token_file.as_deref().map(serve::token).transpose()
}

async fn work(args: &Args, verb: &args::Worker) -> Result<()> {
    let failed = |error| Failure::new(format!("cannot handle signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminates = signal(SignalKind::terminate()).map_err(failed)?;
    let options = serve::options(args.dir.as_deref(), args.trust_others, verb.untrusted);
    let mut worker = Worker::new(options, verb.arenas.iter().cloned()).keep(Duration::from_secs(verb.keep));
    if let Some(token) = token(&verb.trust)? {
        worker = worker.token(token);
    }
    if let Some(file) = &verb.trust.tls_ca {
        worker = worker.authority(serve::read(file)?);
    }
    if let (Some(certificate), Some(key)) = (&verb.tls_cert, &verb.tls_key) {
        worker = worker.tls(serve::read(certificate)?, serve::read(key)?);
    }
    if let Some(bytes) = verb.memory {
        worker = worker.memory(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    let listening = worker.listen(verb.listen).await.map_err(|error| match error {
        faretra_distributed::WorkError::Arena(error) => error.into(),
        error => Failure::new(error),
    })?;
    if !verb.listen.ip().is_loopback() {
        match (&verb.trust.token_file, &verb.tls_cert) {
            (Some(_), None) => {
                serve::note("the token and all rows go through the network as they are: --tls-cert encrypts them")
            }
            (None, Some(_)) => {
                serve::note("everybody who reaches this address can read the arenas: --token-file keeps others out")
            }
            _ => {}
        }
    }
    let scheme = if verb.tls_cert.is_some() { "https" } else { "http" };
    let address = format!("{scheme}://{}", listening.address());
    let mut out = Out::new();
    match args.json {
        true => out.json(&json!({"arenas": verb.arenas, "address": address}))?,
        false => out.line(format!("scanning {} at {address}", verb.arenas.join(", ")))?,
    }
    out.finish()?;
    let stop = async move {
        tokio::select! {
            _ = interrupts.recv() => {}
            _ = terminates.recv() => {}
        }
        // A second signal ends the process at once.
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupts.recv() => std::process::exit(130),
                _ = terminates.recv() => std::process::exit(143),
            }
        });
    };
    listening.run(stop).await.map_err(Failure::new)
}

async fn query(args: &Args, verb: &args::Sql) -> Result<()> {
    let mut coordinator = Coordinator::new(verb.workers.iter().cloned()).compression(match verb.compression {
        Packing::None => Compression::None,
        Packing::Lz4 => Compression::Lz4,
        Packing::Zstd => Compression::Zstd,
    });
    if let Some(token) = token(&verb.trust)? {
        coordinator = coordinator.token(token);
    }
    if let Some(file) = &verb.trust.tls_ca {
        coordinator = coordinator.authority(serve::read(file)?);
    }
    let statement = verb.statement.clone();
    let format = verb.format.unwrap_or(if args.json { RowFormat::Json } else { RowFormat::Table });
    // On a thread of the runtime, which has the stack for it.
    let ran = tokio::spawn(async move { run(coordinator, &statement, format).await });
    ran.await.map_err(|error| Failure::new(format!("the statement failed: {error}")))?
}

async fn run(coordinator: Coordinator, statement: &str, format: RowFormat) -> Result<()> {
    let session = coordinator.connect().await.map_err(in_words)?;
    let frame = session.sql(statement).await.map_err(in_words)?;
    let mut rows = frame.execute_stream().await.map_err(in_words)?;
    let mut writer = RowWriter::new(format, &rows.schema())?;
    while let Some(batch) = rows.next().await {
        writer.write(batch.map_err(in_words)?)?;
    }
    writer.finish()
}

/// Rows on their way to standard output.
enum RowWriter {
    /// Aligned columns need all rows.
    Table(Out, Vec<RecordBatch>),
    Csv(Box<arrow_csv::Writer<Out>>),
    Json(arrow_json::ArrayWriter<Out>),
    Jsonl(arrow_json::LineDelimitedWriter<Out>),
    Arrow(StreamWriter<Out>),
}

impl RowWriter {
    fn new(format: RowFormat, schema: &Schema) -> Result<RowWriter> {
        let out = Out::new();
        Ok(match format {
            RowFormat::Table => RowWriter::Table(out, vec![RecordBatch::new_empty(schema.clone().into())]),
            RowFormat::Csv => RowWriter::Csv(Box::new(arrow_csv::Writer::new(out))),
            RowFormat::Json => RowWriter::Json(arrow_json::ArrayWriter::new(out)),
            RowFormat::Jsonl => RowWriter::Jsonl(arrow_json::LineDelimitedWriter::new(out)),
            RowFormat::ArrowStream => RowWriter::Arrow(StreamWriter::try_new(out, schema).map_err(Failure::new)?),
        })
    }

    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            RowWriter::Table(_, batches) => {
                batches.push(batch);
                Ok(())
            }
            RowWriter::Csv(csv) => csv.write(&batch).map_err(Failure::new),
            RowWriter::Json(json) => json.write(&batch).map_err(Failure::new),
            RowWriter::Jsonl(json) => json.write(&batch).map_err(Failure::new),
            RowWriter::Arrow(arrow) => arrow.write(&batch).map_err(Failure::new),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            RowWriter::Table(mut out, batches) => {
                out.line(pretty_format_batches(&batches).map_err(Failure::new)?.to_string())?;
                out.finish()
            }
            RowWriter::Csv(csv) => csv.into_inner().finish(),
            RowWriter::Json(mut json) => {
                json.finish().map_err(Failure::new)?;
                let mut out = json.into_inner();
                out.write_all(b"\n")?;
                out.finish()
            }
            RowWriter::Jsonl(mut json) => {
                json.finish().map_err(Failure::new)?;
                json.into_inner().finish()
            }
            RowWriter::Arrow(arrow) => arrow.into_inner().map_err(Failure::new)?.finish(),
        }
    }
}

/// An error of the engine, as the command says it: the cause, and the worker that told it.
fn in_words(error: DataFusionError) -> Failure {
    let (mut workers, mut at) = (vec![], &error);
    let root = loop {
        at = match at {
            DataFusionError::Context(context, inner) => {
                if context.starts_with("worker ") {
                    workers.push(context.clone());
                }
                inner
            }
            DataFusionError::Shared(inner) => inner,
            DataFusionError::Diagnostic(_, inner) => inner,
            root => break root,
        };
    };
    let text = root.strip_backtrace();
    let said = ["Error during planning: ", "Execution error: ", "External error: "];
    let text = said.iter().fold(text.as_str(), |text, kind| text.strip_prefix(kind).unwrap_or(text));
    match workers.last() {
        Some(worker) if !text.contains(worker.as_str()) => Failure::new(format!("{worker}: {text}")),
        _ => Failure::new(text),
    }
}
