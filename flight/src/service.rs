//! The methods of Flight, and who does what they ask for.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket, flight_descriptor::DescriptorType,
};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::SchemaRef;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use prost::Message as _;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::actions;
use crate::error::{of_arrow, told};
use crate::exchange;
use crate::outgoing::{Messages, messages};
use crate::put::{Mode, Publisher, Put, Sent};
use crate::served::{Found, Named, Shelf, Ticket as Name};
use crate::sql::{Sql, Wanted};

/// What says that a ticket is for the server that gave it.
const SAME_CONNECTION: &str = "arrow-flight-reuse-connection://?";

/// How a server behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// Bytes of a message.
    pub(crate) message: usize,
    pub(crate) actions: bool,
    pub(crate) read_only: bool,
}

/// The service.
pub(crate) struct Flights {
    shelf: Arc<Shelf>,
    sql: Arc<Sql>,
    publisher: Publisher,
    manners: Manners,
}

type Streamed<T> = BoxStream<'static, Result<T, Status>>;

impl Flights {
    /// Serves what is on the shelf.
    pub(crate) fn new(shelf: Arc<Shelf>, sql: Arc<Sql>, manners: Manners) -> Flights {
        Flights { shelf, sql, publisher: Publisher::default(), manners }
    }

    /// What a ticket stands for.
    pub(crate) async fn get(&self, ticket: Ticket) -> Result<Messages, Status> {
        if let Some(command) = command(&ticket.ticket) {
            let (schema, batches) = self.sql.get(command).await?;
            return messages(&schema, batches, self.manners.message);
        }
        let name: Name = serde_json::from_slice(&ticket.ticket).map_err(|e| {
            told(
                Code::InvalidArgument,
                format_args!("the ticket is none of this server's, and no JSON with a name: {e}"),
            )
        })?;
        let (arena, found) = self.shelf.redeem(&name)?;
        messages(&found.schema(), found.batches(&arena)?, self.manners.message)
    }

    fn info(&self, named: Named<'_>, found: &Found, keep: bool) -> Result<FlightInfo, Status> {
        let ticket = self.shelf.ticket(named, found, keep);
        let text = serde_json::to_vec(&ticket).map_err(|e| told(Code::Internal, e))?;
        let mut endpoint = FlightEndpoint::new().with_ticket(Ticket::new(text));
        // Who understands the first one needs no socket; the others ask here.
        for location in self.shelf.location(named, found).into_iter().chain([SAME_CONNECTION.to_owned()]) {
            endpoint = endpoint.with_location(location);
        }
        if keep && !matches!(found, Found::Feed(..)) {
            expires(&mut endpoint, SystemTime::now() + self.shelf.time());
        }
        let (rows, bytes) = found.size();
        let facts = serde_json::to_vec(&found.facts()).map_err(|e| told(Code::Internal, e))?;
        let info = FlightInfo::new().try_with_schema(&found.schema()).map_err(|e| of_arrow(&e))?;
        Ok(info
            .with_descriptor(self.shelf.descriptor_of(named))
            .with_endpoint(endpoint)
            .with_total_records(rows)
            .with_total_bytes(bytes)
            .with_app_metadata(facts)
            .with_ordered(true))
    }

    fn may_write(&self) -> Result<(), Status> {
        match self.manners.read_only {
            true => Err(Status::permission_denied("this server was started with --read-only")),
            false => Ok(()),
        }
    }
}

/// A command of Flight SQL, if it is one.
fn command(bytes: &[u8]) -> Option<Command> {
    let any = Any::decode(bytes).ok().filter(|any| any.type_url.starts_with("type.googleapis.com/"))?;
    Command::try_from(any).ok()
}

fn of_descriptor(descriptor: &FlightDescriptor) -> Option<Command> {
    command(&descriptor.cmd).filter(|_| descriptor.r#type() == DescriptorType::Cmd)
}

fn info_of(wanted: Wanted, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let mut endpoint = FlightEndpoint::new().with_ticket(Ticket::new(wanted.ticket.encode_to_vec()));
    if let Some(until) = wanted.until {
        expires(&mut endpoint, until);
    }
    let info = FlightInfo::new().try_with_schema(&wanted.schema).map_err(|e| of_arrow(&e))?;
    Ok(info.with_descriptor(descriptor).with_endpoint(endpoint))
}

/// Says until when a ticket is good.
fn expires(endpoint: &mut FlightEndpoint, until: SystemTime) {
    let since = until.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = endpoint.expiration_time.get_or_insert_default();
    time.seconds = since.as_secs().cast_signed();
    time.nanos = since.subsec_nanos().cast_signed();
}

fn schema_of(schema: &SchemaRef) -> Result<SchemaResult, Status> {
    SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(|e| of_arrow(&e))
}

fn one<T: Send + 'static>(value: T) -> Response<Streamed<T>> {
    Response::new(stream::iter([Ok(value)]).boxed())
}

/// The calls of the service.
impl Flights {
    /// Whoever comes here knows the token, if there is one. Clients that said it as a password are told how to say it from now on.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Streamed<HandshakeResponse>>, Status> {
        let said = request.metadata().get("authorization").cloned();
        let mut response = one(HandshakeResponse::default());
        if let Some(said) = said {
            response.metadata_mut().insert("authorization", said);
        }
        Ok(response)
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Result<Response<Streamed<FlightInfo>>, Status> {
        let begins = String::from_utf8(request.into_inner().expression.into())
            .map_err(|_| Status::invalid_argument("the criteria is what names begin with, as text"))?;
        let mut infos = vec![];
        for served in self.shelf.arenas() {
            for name in served.names()? {
                let named = Named { served, name: &name };
                // What went meanwhile, or has no columns, is no flight.
                if let (true, Ok(found)) = (name.starts_with(&begins), named.find()) {
                    infos.push(self.info(named, &found, false));
                }
            }
        }
        Ok(Response::new(stream::iter(infos).boxed()))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        if let Some(command) = of_descriptor(&descriptor) {
            let wanted = self.sql.info(command).await?;
            return info_of(wanted, descriptor).map(Response::new);
        }
        let named = self.shelf.descriptor(&descriptor)?;
        let found = named.find()?;
        self.info(named, &found, true).map(Response::new)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let descriptor = request.get_ref().clone();
        let info = self.get_flight_info(request).await?.into_inner();
        // Nothing has to be waited for.
        let done = PollInfo::new().with_info(info).with_descriptor(descriptor);
        Ok(Response::new(PollInfo { flight_descriptor: None, progress: Some(1.0), ..done }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let descriptor = request.into_inner();
        let schema = match of_descriptor(&descriptor) {
            Some(command) => self.sql.schema(command).await?,
            None => self.shelf.descriptor(&descriptor)?.find()?.schema(),
        };
        schema_of(&schema).map(Response::new)
    }

    /// For who has the service without [`Wire`](crate::wire::Wire), which streams without this copy.
    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Streamed<FlightData>>, Status> {
        let messages = self.get(request.into_inner()).await?;
        Ok(Response::new(messages.map(|message| message.map(crate::encode::Message::into_flight_data)).boxed()))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Streamed<PutResult>>, Status> {
        let (descriptor, data) = begin(request).await?;
        if let Some(command) = of_descriptor(&descriptor) {
            let done = self.sql.put(command, Sent::new(data), &self.publisher, &self.shelf).await?;
            return Ok(one(PutResult { app_metadata: done.into() }));
        }
        self.may_write()?;
        let put = match descriptor.r#type() {
            DescriptorType::Cmd => serde_json::from_slice(&descriptor.cmd).map_err(|e| {
                told(
                    Code::InvalidArgument,
                    format_args!("the command is neither one of Flight SQL nor one of Faretra's, which is JSON: {e}"),
                )
            })?,
            _ => {
                let named = self.shelf.path(&descriptor.path)?;
                let arena = Some(named.served.arena.name().to_owned());
                Put { arena, name: named.name.to_owned(), mode: Mode::default(), if_version: None, capacity: None }
            }
        };
        let served = self.shelf.arena(put.arena.as_deref())?;
        let done = self.publisher.put(Named { served, name: &put.name }, &put, Sent::new(data)).await?;
        let done = serde_json::to_vec(&done).map_err(|e| told(Code::Internal, e))?;
        Ok(one(PutResult { app_metadata: done.into() }))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Streamed<FlightData>>, Status> {
        self.may_write()?;
        let (descriptor, data) = begin(request).await?;
        let named = self.shelf.descriptor(&descriptor)?;
        let replies = exchange::exchange(named, Sent::new(data), self.manners.message).await?;
        Ok(Response::new(replies))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Streamed<arrow_flight::Result>>, Status> {
        let action = request.into_inner();
        if let Some(result) = self.sql.act(&action).await? {
            let results = result.into_iter().map(|body| Ok(arrow_flight::Result { body: body.into() }));
            return Ok(Response::new(stream::iter(results).boxed()));
        }
        if !self.manners.actions {
            return Err(told(
                Code::PermissionDenied,
                format_args!("action `{}` is not served: start the server with --actions", action.r#type),
            ));
        }
        let told_json = actions::act(&self.shelf, &action, self.manners.read_only).await?;
        Ok(one(arrow_flight::Result { body: told_json.to_string().into() }))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Streamed<ActionType>>, Status> {
        let own = actions::types().filter(|_| self.manners.actions);
        Ok(Response::new(stream::iter(Sql::actions().chain(own).map(Ok).collect::<Vec<_>>()).boxed()))
    }
}

/// What a call comes to.
type Answer<'a, T> = BoxFuture<'a, Result<Response<T>, Status>>;

/// The service, by the calls above: written out as `#[async_trait]` would, but for where the futures are boxed. That they may go to
/// another thread is shown for what they keep of the engine, and all of it again wherever a bound on lifetimes is in sight.
macro_rules! service {
    ($($call:ident: $asked:ty => $told:ty;)*) => {
        impl FlightService for Flights {
            type HandshakeStream = Streamed<HandshakeResponse>;
            type ListFlightsStream = Streamed<FlightInfo>;
            type DoGetStream = Streamed<FlightData>;
            type DoPutStream = Streamed<PutResult>;
            type DoActionStream = Streamed<arrow_flight::Result>;
            type ListActionsStream = Streamed<ActionType>;
            type DoExchangeStream = Streamed<FlightData>;

            $(fn $call<'a, 'f>(&'a self, request: Request<$asked>) -> Answer<'f, $told>
            where
                'a: 'f,
                Self: 'f,
            {
                fn boxed(flights: &Flights, request: Request<$asked>) -> Answer<'_, $told> {
                    Box::pin(flights.$call(request))
                }
                boxed(self, request)
            })*
        }
    };
}

service! {
    handshake: Streaming<HandshakeRequest> => Streamed<HandshakeResponse>;
    list_flights: Criteria => Streamed<FlightInfo>;
    get_flight_info: FlightDescriptor => FlightInfo;
    poll_flight_info: FlightDescriptor => PollInfo;
    get_schema: FlightDescriptor => SchemaResult;
    do_get: Ticket => Streamed<FlightData>;
    do_put: Streaming<FlightData> => Streamed<PutResult>;
    do_exchange: Streaming<FlightData> => Streamed<FlightData>;
    do_action: Action => Streamed<arrow_flight::Result>;
    list_actions: Empty => Streamed<ActionType>;
}

/// The descriptor that the first message has, and all messages.
async fn begin(request: Request<Streaming<FlightData>>) -> Result<(FlightDescriptor, Streamed<FlightData>), Status> {
    let mut data = request.into_inner();
    let first = tokio::time::timeout(Duration::from_secs(60), data.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("nothing was sent"))??;
    let mut first =
        first.ok_or_else(|| Status::invalid_argument("nothing was sent: a descriptor is in the first message"))?;
    let descriptor = first.flight_descriptor.take().ok_or_else(|| {
        Status::invalid_argument("the first message has no descriptor, which says what becomes of the batches")
    })?;
    Ok((descriptor, stream::iter([Ok(first)]).chain(data).boxed()))
}
