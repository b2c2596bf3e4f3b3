//! A worker: the arenas of one host, scanned for plans that come from coordinators.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion_distributed::{DistributedExt, WorkerQueryContext};
use faretra::Options;
use http::HeaderValue;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::service::InterceptorLayer;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::admit::admit;
use crate::codec::ScanCodec;
use crate::control::Tables;
use crate::link::{Links, bearer};
use crate::message::VERSION;
use crate::shelf::Shelf;

/// How long a version that a plan may rely on is kept, unless told otherwise.
const KEEP: Duration = Duration::from_secs(60);
/// How often a connection on which nothing happens is asked whether anybody is there, and how long it has to answer.
const ALIVE: Duration = Duration::from_secs(20);
/// What runs when the worker is told to stop has so long to end.
const GRACE: Duration = Duration::from_secs(3);

/// Why a worker does not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkError {
    /// What was asked for cannot be done: says why, and what to do.
    Refused(String),
    /// An arena cannot be opened.
    Arena(faretra::Error),
    /// The address cannot be listened at.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The transport gave up.
    Transport(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkError::Refused(why) => f.write_str(why),
            WorkError::Arena(error) => write!(f, "{error}"),
            WorkError::Listen { address, source } => write!(f, "cannot listen at {address}: {source}"),
            WorkError::Transport(source) => {
                write!(f, "the worker gave up: {source}")?;
                let mut cause = source.source();
                while let Some(source) = cause {
                    write!(f, ": {source}")?;
                    cause = source.source();
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for WorkError {}

/// A worker, to be told how it behaves and then started: one for each host is enough, because it computes on all processors. See
/// [`Coordinator`](crate::Coordinator) for an example.
#[derive(Clone)]
pub struct Worker {
    options: Options,
    arenas: Vec<String>,
    token: Option<String>,
    tls: Option<(Vec<u8>, Vec<u8>)>,
    authority: Option<Vec<u8>>,
    keep: Duration,
    memory: Option<usize>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor the key.
        f.debug_struct("Worker").field("arenas", &self.arenas).finish_non_exhaustive()
    }
}

impl Worker {
    /// Returns a worker that scans the arenas of these names, which it opens by these options.
    pub fn new(options: Options, arenas: impl IntoIterator<Item = impl Into<String>>) -> Worker {
        Worker {
            options,
            arenas: arenas.into_iter().map(Into::into).collect(),
            token: None,
            tls: None,
            authority: None,
            keep: KEEP,
            memory: None,
        }
    }

    /// Sets a token that coordinators and other workers have to know, and by which this worker makes itself known to those: it is
    /// the same one everywhere.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Worker {
        Worker { token: Some(token.into()), ..self }
    }

    /// Encrypts what comes to this worker, with a certificate and its key, both in PEM.
    #[must_use]
    pub fn tls(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Worker {
        Worker { tls: Some((certificate.into(), key.into())), ..self }
    }

    /// Sets the certificate, in PEM, of the authority that the other workers have theirs from, if they have TLS.
    #[must_use]
    pub fn authority(self, certificate: impl Into<Vec<u8>>) -> Worker {
        Worker { authority: Some(certificate.into()), ..self }
    }

    /// Sets how long a version is kept after a statement over it was planned, or a plan last asked for it. Default: 60 s. What a
    /// plan that runs reads is kept by the plan.
    #[must_use]
    pub fn keep(self, time: Duration) -> Worker {
        Worker { keep: time, ..self }
    }

    /// Sets how many bytes joins, sorts and aggregates of all plans may have in memory; then they write to a temporary directory or
    /// fail. The arenas count for nothing. Default: no limit.
    #[must_use]
    pub fn memory(self, bytes: usize) -> Worker {
        Worker { memory: Some(bytes), ..self }
    }

    fn check(&self, address: SocketAddr) -> Result<Option<HeaderValue>, WorkError> {
        let refused = |why: String| Err(WorkError::Refused(why));
        if self.arenas.is_empty() {
            return refused("name an arena to scan".to_owned());
        }
        for (at, name) in self.arenas.iter().enumerate() {
            if self.arenas[..at].contains(name) {
                return refused(format!("arena `{name}` is named twice"));
            }
        }
        if !address.ip().is_loopback() && self.token.is_none() && self.tls.is_none() {
            return refused(format!(
                "{address} can be reached from other machines, and everybody there could read the arenas: give --token-file or \
                 --tls-cert and --tls-key, or listen at 127.0.0.1"
            ));
        }
        let token = self.token.as_deref().map(bearer).transpose();
        token.map_err(|e| WorkError::Refused(e.strip_backtrace().replace("Error during planning: ", "")))
    }

    /// Opens the arenas, and listens at an address; with port 0, at a free one. Runs in a Tokio runtime of several threads.
    ///
    /// # Errors
    ///
    /// [`WorkError::Refused`] if the address is not a loopback one and there is neither a token nor TLS, if the certificate, key or
    /// token is none, and if an arena is named twice; [`WorkError::Arena`]; [`WorkError::Listen`].
    pub async fn listen(self, address: SocketAddr) -> Result<Listening, WorkError> {
        let token = self.check(address)?;
        let server = Server::builder()
            .http2_keepalive_interval(Some(ALIVE))
            .http2_keepalive_timeout(Some(ALIVE))
            .tcp_nodelay(true);
        let server = match &self.tls {
            Some((certificate, key)) => {
                let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
                server.tls_config(tls).map_err(|e| {
                    let why = std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string);
                    WorkError::Refused(format!("the certificate and key cannot be used: {why}; both are PEM files"))
                })?
            }
            None => server,
        };
        let runtime = match self.memory {
            Some(bytes) => RuntimeEnvBuilder::new().with_memory_limit(bytes, 1.0).build_arc(),
            None => RuntimeEnvBuilder::new().build_arc(),
        };
        let runtime = runtime.map_err(|e| WorkError::Refused(e.strip_backtrace()))?;
        let shelf = Shelf::new(self.options, self.arenas, self.keep).map_err(WorkError::Arena)?;
        let links = Links::new(token.clone(), self.authority);
        let failed = |source| WorkError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listening { server, shelf: Arc::new(shelf), links, token, runtime, listener, address })
    }
}

/// A worker that listens, and works once it runs.
pub struct Listening {
    server: Server,
    shelf: Arc<Shelf>,
    links: Links,
    token: Option<HeaderValue>,
    runtime: Arc<RuntimeEnv>,
    listener: TcpListener,
    address: SocketAddr,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether a request has the token, compared in a time that tells nothing but the length.
fn knows(token: Option<&HeaderValue>, request: &tonic::Request<()>) -> Result<(), Status> {
    let Some(token) = token else { return Ok(()) };
    match request.metadata().get("authorization") {
        Some(given) if given.as_encoded_bytes().ct_eq(token.as_bytes()).into() => Ok(()),
        Some(_) => {
            Err(Status::unauthenticated("the token is not this worker's: see --token-file of `faretra cluster worker`"))
        }
        None => {
            Err(Status::unauthenticated("this worker asks for a token: give --token-file with the token that it has"))
        }
    }
}

impl Listening {
    /// Returns the address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Works until `stop` is done. Then no more plans are taken; those that run have 3 s to end.
    ///
    /// # Errors
    ///
    /// [`WorkError::Transport`].
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), WorkError> {
        let Listening { server, shelf, links, token, runtime, listener, .. } = self;
        let of_plans = Arc::clone(&shelf);
        let engine = datafusion_distributed::Worker::from_session_builder(move |query: WorkerQueryContext| {
            let (shelf, links) = (Arc::clone(&of_plans), links.clone());
            async move {
                let builder = query.builder;
                let builder = builder.with_distributed_user_codec(ScanCodec::of_worker(shelf));
                let builder = builder.with_distributed_channel_resolver(links);
                Ok(builder.with_distributed_worker_plan_rewrite_handler(admit).build())
            }
        });
        let engine = engine.with_runtime_env(runtime).with_version(VERSION);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let tables = Tables::new(Arc::clone(&shelf), threads);
        let ask = move |request: tonic::Request<()>| knows(token.as_ref(), &request).map(|()| request);
        let sweep = async move {
            loop {
                tokio::time::sleep(shelf.pause()).await;
                shelf.sweep();
            }
        };
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let mut server = server.layer(InterceptorLayer::new(ask));
        let server = server.add_service(engine.into_worker_server()).add_service(tables);
        let working = server.serve_with_incoming_shutdown(incoming, async {
            // Also if nobody can tell any more.
            let _ = told.await;
        });
        tokio::pin!(working);
        let failed = |e| WorkError::Transport(Box::new(e));
        tokio::select! {
            ended = &mut working => return ended.map_err(failed),
            () = sweep => {}
            () = stop => {}
        }
        // Nobody waits for it if the server has ended.
        let _ = tell.send(());
        match tokio::time::timeout(GRACE, working).await {
            Ok(ended) => ended.map_err(failed),
            // Plans that go on are cut off: their coordinators are told.
            Err(_) => Ok(()),
        }
    }
}
