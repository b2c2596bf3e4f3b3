//! Serving: where, to whom, for how long.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use faretra::Arena;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server as Transport, ServerTlsConfig};

use crate::served::Shelf;
use crate::service::{Flights, Manners};
use crate::sql::Sql;
use crate::wire::Wire;

/// Bytes of a message that is streamed, unless told otherwise: less than the 4 MiB that clients take unless told otherwise.
const MESSAGE: usize = 2 << 20;
/// Bytes of a message that is taken, unless told otherwise.
const MOST_MESSAGE: usize = 64 << 20;
/// How long what an info speaks of is kept, unless told otherwise.
const KEEP: Duration = Duration::from_secs(60);
/// How often a connection on which nothing happens is asked whether anybody is there, and how long it has to answer.
const ALIVE: Duration = Duration::from_secs(20);
/// What is answered when the server is told to stop has so long to be answered.
const GRACE: Duration = Duration::from_secs(3);

/// Why a server does not start, or ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// What was asked for cannot be served: says why, and what to do.
    Refused(String),
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

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Refused(why) => f.write_str(why),
            ServeError::Listen { address, source } => write!(f, "cannot listen at {address}: {source}"),
            ServeError::Transport(source) => {
                write!(f, "the server gave up: {source}")?;
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

impl std::error::Error for ServeError {}

/// A server of arenas, to be told how it behaves and then started.
///
/// ```
/// use std::sync::Arc;
/// use arrow_flight::FlightClient;
/// use faretra::arrow::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use faretra::{Arena, MIB};
/// use faretra_flight::arrow_flight::{self, FlightDescriptor};
/// use faretra_flight::{Client, Server};
///
/// # let name = format!("doc-flight-{}", std::process::id());
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let arena = Arena::options().limit(16 * MIB).keep(false).create(&name)?;
/// let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
/// arena.writer()?.publish("ids", RecordBatch::try_from_iter([("id", ids)])?)?;
///
/// let listening = Server::new([arena.clone()]).listen("127.0.0.1:0".parse()?).await?;
/// let address = format!("http://{}", listening.address());
/// let serving = tokio::spawn(listening.run(std::future::pending()));
///
/// let mut client = Client::connect(&address).await?;
/// let ids = client.get(&["ids"]).await?;                      // this process is of the same host:
/// assert!(ids.is_in_place());                                 // it reads the arena, and no byte comes through the socket
/// assert_eq!(ids.collect().await?[0].num_rows(), 3);
/// # serving.abort();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Server {
    arenas: Vec<Arena>,
    token: Option<String>,
    tls: Option<(Vec<u8>, Vec<u8>)>,
    in_place: bool,
    keep: Duration,
    most_message: usize,
    manners: Manners,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor the key.
        f.debug_struct("Server").field("arenas", &self.arenas).field("manners", &self.manners).finish_non_exhaustive()
    }
}

impl Server {
    /// Returns a server of these arenas, of which no two may have one name.
    pub fn new(arenas: impl IntoIterator<Item = Arena>) -> Server {
        Server {
            arenas: arenas.into_iter().collect(),
            token: None,
            tls: None,
            in_place: true,
            keep: KEEP,
            most_message: MOST_MESSAGE,
            manners: Manners { message: MESSAGE, actions: false, read_only: false },
        }
    }

    /// Sets a token that every request has to have, in the header `authorization: Bearer TOKEN`, or as the password of any user.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Server {
        Server { token: Some(token.into()), ..self }
    }

    /// Encrypts what goes through the socket, with a certificate and its key, both in PEM.
    #[must_use]
    pub fn tls(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Server {
        Server { tls: Some((certificate.into(), key.into())), ..self }
    }

    /// Sets whether clients of the same host are told where the arenas are, so that they map them. Default: `true`.
    #[must_use]
    pub fn in_place(self, in_place: bool) -> Server {
        Server { in_place, ..self }
    }

    /// Sets how long a version that an info speaks of, or a statement's plan, is kept after it was last asked for. Default: 60 s.
    #[must_use]
    pub fn keep(self, time: Duration) -> Server {
        Server { keep: time, ..self }
    }

    /// Sets how many bytes a message that is streamed has, about. Default: 2 MiB.
    #[must_use]
    pub fn message(mut self, bytes: usize) -> Server {
        self.manners.message = bytes;
        self
    }

    /// Sets how many bytes a message of a client may have. Default: 64 MiB.
    #[must_use]
    pub fn max_message(self, bytes: usize) -> Server {
        Server { most_message: bytes, ..self }
    }

    /// Sets whether clients can ask for `stat` and `who`, and remove names with `rm`. Default: `false`.
    #[must_use]
    pub fn actions(mut self, actions: bool) -> Server {
        self.manners.actions = actions;
        self
    }

    /// Sets whether clients can change nothing. Default: `false`.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Server {
        self.manners.read_only = read_only;
        self
    }

    /// Listens at an address; with port 0, at a free one.
    ///
    /// # Errors
    ///
    /// [`ServeError::Refused`] if the address is not a loopback one and there is neither a token nor TLS, if the certificate or key is none, and if
    /// two arenas have one name; [`ServeError::Listen`].
    pub async fn listen(self, address: SocketAddr) -> Result<Listening, ServeError> {
        if self.arenas.is_empty() {
            return Err(ServeError::Refused("name an arena to serve".to_owned()));
        }
        for (at, arena) in self.arenas.iter().enumerate() {
            if self.arenas[..at].iter().any(|other| other.name() == arena.name()) {
                return Err(ServeError::Refused(format!("arena `{}` is named twice", arena.name())));
            }
        }
        if self
            .token
            .as_deref()
            .is_some_and(|token| token.is_empty() || token.contains(|c: char| !c.is_ascii_graphic()))
        {
            return Err(ServeError::Refused(
                "the token is empty or has signs that no header has: use letters, digits and signs of ASCII".to_owned(),
            ));
        }
        if !address.ip().is_loopback() && self.token.is_none() && self.tls.is_none() {
            return Err(ServeError::Refused(format!(
                "{address} can be reached from other machines, and everybody there could read the arenas: give --token-file or \
                 --tls-cert and --tls-key, or listen at 127.0.0.1"
            )));
        }
        let transport = || {
            Transport::builder()
                .http2_keepalive_interval(Some(ALIVE))
                .http2_keepalive_timeout(Some(ALIVE))
                .tcp_nodelay(true)
        };
        let transport = match &self.tls {
            Some((certificate, key)) => {
                let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
                transport().tls_config(tls).map_err(|e| {
                    let why = std::error::Error::source(&e).map_or(e.to_string(), ToString::to_string);
                    ServeError::Refused(format!("the certificate and key cannot be used: {why}; both are PEM files"))
                })?
            }
            None => transport(),
        };
        let shelf = Arc::new(Shelf::new(self.arenas.clone(), self.keep, self.in_place));
        let sql = Sql::new(&self.arenas, self.manners.read_only, self.keep);
        let sql = Arc::new(sql.map_err(|e| ServeError::Refused(e.message().to_owned()))?);
        let wire =
            Wire::new(Flights::new(Arc::clone(&shelf), Arc::clone(&sql), self.manners), self.token, self.most_message);
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listening { transport, wire, shelf, sql, listener, address, keep: self.keep })
    }
}

/// A server that listens, and answers once it runs.
pub struct Listening {
    transport: Transport,
    wire: Wire,
    shelf: Arc<Shelf>,
    sql: Arc<Sql>,
    listener: TcpListener,
    address: SocketAddr,
    keep: Duration,
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listening {
    /// Returns the address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done. Then no more requests are taken; what is being answered has 3 s to be answered.
    ///
    /// # Errors
    ///
    /// [`ServeError::Transport`].
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        let (shelf, sql) = (self.shelf, self.sql);
        let pause = (self.keep / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        let sweep = async move {
            loop {
                tokio::time::sleep(pause).await;
                shelf.sweep();
                sql.sweep();
            }
        };
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let serving = self.transport.add_service(self.wire).serve_with_incoming_shutdown(incoming, async {
            // Also if nobody can tell any more.
            let _ = told.await;
        });
        tokio::pin!(serving);
        let failed = |e| ServeError::Transport(Box::new(e));
        tokio::select! {
            ended = &mut serving => return ended.map_err(failed),
            () = sweep => {}
            () = stop => {}
        }
        // Nobody waits for it if the server has ended.
        let _ = tell.send(());
        match tokio::time::timeout(GRACE, serving).await {
            Ok(ended) => ended.map_err(failed),
            // Streams without an end are cut off.
            Err(_) => Ok(()),
        }
    }
}
