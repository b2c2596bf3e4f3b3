//! A client that reads the arena itself where that is on its host, and streams where it is not.

use std::collections::HashMap;
use std::fmt;

use arrow_array::RecordBatch;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{Criteria, FlightClient, FlightDescriptor, FlightInfo};
use arrow_schema::SchemaRef;
use faretra::{Arena, Object, Options, Table};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tonic::transport::{Channel, Endpoint};

use crate::error::of_arena;
use crate::place::Spot;

/// Bytes of a message that is taken: messages of the server are less, but for rows that are more by themselves.
const MOST_MESSAGE: usize = 1 << 30;

/// A client of a server of arenas. Other servers of Flight have no arenas, and are streamed from.
///
/// ```no_run
/// use faretra_flight::Client;
/// use futures_util::TryStreamExt;
///
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// let mut client = Client::connect("http://10.0.0.7:50051").await?.with_token("secret")?;
/// let flights = client.get(&["air", "flights"]).await?;        // the arena, and a name in it
/// let mut batches = flights.batches();
/// while let Some(batch) = batches.try_next().await? {
///     // ...
/// #   drop(batch);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }
/// ```
pub struct Client {
    flight: FlightClient,
    options: Options,
    in_place: bool,
    arenas: HashMap<String, Arena>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("in_place", &self.in_place).finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to `http://HOST:PORT`. For TLS, connect an [`Endpoint`] and use [`Client::new`].
    ///
    /// # Errors
    ///
    /// What the transport says.
    pub async fn connect(address: &str) -> Result<Client, FlightError> {
        let failed = |e: tonic::transport::Error| FlightError::from_external_error(Box::new(e));
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(failed)?;
        Ok(Client::new(endpoint.connect().await.map_err(failed)?))
    }

    /// Returns a client over a connection.
    pub fn new(channel: Channel) -> Client {
        let inner = FlightServiceClient::new(channel).max_decoding_message_size(MOST_MESSAGE);
        Client {
            flight: FlightClient::new_from_inner(inner),
            options: Options::default(),
            in_place: true,
            arenas: HashMap::new(),
        }
    }

    /// Sends a token with each request.
    ///
    /// # Errors
    ///
    /// [`FlightError::ExternalError`] for a token that no header can have.
    pub fn with_token(mut self, token: &str) -> Result<Client, FlightError> {
        self.flight.add_header("authorization", &format!("Bearer {token}"))?;
        Ok(self)
    }

    /// Sets how arenas of this host are opened: whether values are validated, for example. The directory is the server's to say.
    #[must_use]
    pub fn with_options(self, options: Options) -> Client {
        Client { options, ..self }
    }

    /// Sets whether arenas of this host are read in place. Default: `true`.
    #[must_use]
    pub fn in_place(self, in_place: bool) -> Client {
        Client { in_place, ..self }
    }

    /// Returns the client of arrow-flight that this one has, for everything else.
    pub fn flight(&mut self) -> &mut FlightClient {
        &mut self.flight
    }

    /// Returns what the server has whose names begin like this.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn list(&mut self, begins: &str) -> Result<Vec<FlightInfo>, FlightError> {
        let criteria = Criteria { expression: begins.to_owned().into() };
        self.flight.list_flights(criteria.expression).await?.try_collect().await
    }

    /// Returns what a path names: an arena and a name, or a name if the server has one arena. What the server tells of it and what
    /// is read is one version, whatever is published meanwhile.
    ///
    /// The object is read in place if it is on this host, in an arena that this process may open; else it is streamed.
    ///
    /// # Errors
    ///
    /// What the server says: [`FlightError::Tonic`].
    pub async fn get(&mut self, path: &[&str]) -> Result<Fetched, FlightError> {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let info = self.flight.get_flight_info(FlightDescriptor::new_path(path)).await?;
        self.fetch(info).await
    }

    /// Returns what an info tells of.
    ///
    /// # Errors
    ///
    /// [`FlightError::ProtocolError`] if the info does not have one endpoint; what the server says.
    pub async fn fetch(&mut self, info: FlightInfo) -> Result<Fetched, FlightError> {
        let [endpoint] = info.endpoint.as_slice() else {
            return Err(FlightError::protocol(format!(
                "an info with one endpoint is read, not {}",
                info.endpoint.len()
            )));
        };
        if self.in_place {
            for spot in endpoint.location.iter().filter_map(|location| Spot::parse(&location.uri)) {
                if let Some(object) = self.find(&spot) {
                    let table = object.table().map_err(|e| FlightError::from(of_arena(&e)))?;
                    return Ok(Fetched(From::Arena(table)));
                }
            }
        }
        let ticket = endpoint.ticket.clone().ok_or_else(|| FlightError::protocol("the info has no ticket"))?;
        let schema = info.clone().try_decode_schema()?;
        Ok(Fetched(From::Socket(schema.into(), Box::new(self.flight.do_get(ticket).await?))))
    }

    fn find(&mut self, spot: &Spot) -> Option<Object> {
        let key = spot.arena();
        let (arena, object) = spot.find(&self.options, self.arenas.get(&key))?;
        // One seat for all that is read: the client leaves the arena when it and what it read are gone.
        self.arenas.insert(key, arena);
        Some(object)
    }

    /// Sends batches, which are published as a table, or put into a feed or channel that has the name. Returns what the server
    /// says of it: JSON.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub async fn put(
        &mut self,
        path: &[&str],
        schema: SchemaRef,
        batches: impl IntoIterator<Item = RecordBatch, IntoIter: Send + 'static>,
    ) -> Result<String, FlightError> {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let data = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_flight_descriptor(Some(FlightDescriptor::new_path(path)))
            .build(stream::iter(batches.into_iter().map(Ok)));
        let results: Vec<_> = self.flight.do_put(data).await?.try_collect().await?;
        let said = results
            .into_iter()
            .next()
            .map_or_else(String::new, |result| String::from_utf8_lossy(&result.app_metadata).into_owned());
        Ok(said)
    }
}

/// What was fetched: read in place, or streamed.
pub struct Fetched(From);

enum From {
    Arena(Table),
    Socket(SchemaRef, Box<FlightRecordBatchStream>),
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("in_place", &self.is_in_place()).finish_non_exhaustive()
    }
}

impl Fetched {
    /// Returns whether the batches lie in an arena of this host, so that none of their bytes go through the socket.
    pub fn is_in_place(&self) -> bool {
        matches!(self.0, From::Arena(_))
    }

    /// Returns the table in the arena, pinned, if it is read in place.
    pub fn table(&self) -> Option<&Table> {
        match &self.0 {
            From::Arena(table) => Some(table),
            From::Socket(..) => None,
        }
    }

    /// Returns the columns.
    pub fn schema(&self) -> SchemaRef {
        match &self.0 {
            From::Arena(table) => table.schema(),
            From::Socket(schema, _) => schema.clone(),
        }
    }

    /// Returns the batches, as they come.
    pub fn batches(self) -> BoxStream<'static, Result<RecordBatch, FlightError>> {
        match self.0 {
            From::Arena(table) => stream::iter(0..table.num_batches())
                .map(move |at| {
                    let batch = table.batch(at).map_err(|e| FlightError::from(of_arena(&e)))?;
                    Ok(batch.record_batch().clone())
                })
                .boxed(),
            From::Socket(_, stream) => stream.boxed(),
        }
    }

    /// Returns all batches.
    ///
    /// # Errors
    ///
    /// What the server says, or the arena.
    pub async fn collect(self) -> Result<Vec<RecordBatch>, FlightError> {
        self.batches().try_collect().await
    }
}
