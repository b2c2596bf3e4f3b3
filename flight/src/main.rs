//! The command `faretra-flight`, which `faretra serve` runs.

#![deny(unsafe_code)]

mod args;

use std::process::ExitCode;
use std::time::Duration;

use faretra_cli::serve::{self, Failure, Out, Result};
use faretra_flight::Server;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use args::Args;

/// The stack of a thread that plans and runs statements, of which pages in use alone cost memory: deep expressions recurse.
const STACK: usize = 512 << 20;
/// How long threads have to come back when the server has ended.
const GRACE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    serve::run(obey)
}

fn obey(args: &Args) -> Result<()> {
    let server = server(args)?;
    let runtime = Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build();
    let runtime: Runtime = runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    let served = runtime.block_on(run(args, server));
    // What still runs, runs for nobody.
    runtime.shutdown_timeout(GRACE);
    served
}

fn server(args: &Args) -> Result<Server> {
    let mut arenas = Vec::with_capacity(args.arenas.len());
    for name in &args.arenas {
        arenas.push(serve::open(args.dir.as_deref(), args.trust_others, args.untrusted, name)?);
    }
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    let mut server = Server::new(arenas)
        .actions(args.actions)
        .read_only(args.read_only)
        .in_place(!args.no_shm)
        .keep(Duration::from_secs(args.keep))
        .message(bytes(args.message))
        .max_message(bytes(args.max_message));
    if let Some(file) = &args.token_file {
        server = server.token(serve::token(file)?);
    }
    if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        server = server.tls(serve::read(certificate)?, serve::read(key)?);
    }
    Ok(server)
}

async fn run(args: &Args, server: Server) -> Result<()> {
    let failed = |error| Failure::new(format!("cannot handle signals: {error}"));
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminates = signal(SignalKind::terminate()).map_err(failed)?;
    let listening = server.listen(args.listen).await.map_err(Failure::new)?;
    if !args.listen.ip().is_loopback() {
        match (&args.token_file, &args.tls_cert) {
            (Some(_), None) => {
                serve::note("the token and all data go through the network as they are: --tls-cert encrypts them")
            }
            (None, Some(_)) => {
                serve::note("everybody who reaches this address can read the arenas: --token-file keeps others out")
            }
            _ => {}
        }
    }
    let scheme = if args.tls_cert.is_some() { "grpc+tls" } else { "grpc" };
    let address = format!("{scheme}://{}", listening.address());
    let mut out = Out::new();
    match args.json {
        true => out.json(&json!({"arenas": args.arenas, "address": address}))?,
        false => out.line(format!("serving {} at {address}", args.arenas.join(", ")))?,
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
