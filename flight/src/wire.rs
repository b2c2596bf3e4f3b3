//! The service on HTTP: tokens are asked for before anything else, and what is streamed to a client goes from the arena's memory
//! to the socket. Everything but `DoGet` is arrow-flight's.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow_flight::Ticket;
use arrow_flight::flight_service_server::FlightServiceServer;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use prost::Message as _;
use subtle::ConstantTimeEq;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::{Code, Status};

use crate::error::told;
use crate::outgoing::Messages;
use crate::service::Flights;

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";
/// A ticket has no more bytes.
const MOST_TICKET: usize = 1 << 20;

/// Some clients leave out the signs at the end that fill it up: ADBC's driver does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The service, with a token if clients have to know one.
#[derive(Clone)]
pub(crate) struct Wire {
    flights: Arc<Flights>,
    rest: FlightServiceServer<Flights>,
    token: Option<Arc<str>>,
}

impl Wire {
    /// Serves with or without a token. Messages of clients have `most` bytes.
    pub(crate) fn new(flights: Flights, token: Option<String>, most: usize) -> Wire {
        let flights = Arc::new(flights);
        let rest = FlightServiceServer::from_arc(Arc::clone(&flights)).max_decoding_message_size(most);
        Wire { flights, rest, token: token.map(Arc::from) }
    }

    fn admit(&self, headers: &http::HeaderMap) -> Result<(), Status> {
        let Some(token) = &self.token else { return Ok(()) };
        let Some(given) = headers.get(http::header::AUTHORIZATION) else {
            return Err(Status::unauthenticated(
                "this server asks for a token: send the header `authorization: Bearer TOKEN`, or TOKEN as the password of any user",
            ));
        };
        let given = given.as_bytes();
        let knows = match split(given) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer") => same(token, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"basic") => match BASE64.decode(rest) {
                Ok(pair) => pair.iter().position(|byte| *byte == b':').is_some_and(|at| same(token, &pair[at + 1..])),
                Err(_) => false,
            },
            _ => false,
        };
        match knows {
            true => Ok(()),
            false => {
                Err(Status::unauthenticated("the token is not this server's: see --token-file of `faretra serve`"))
            }
        }
    }
}

fn split(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = header.iter().position(|byte| *byte == b' ')?;
    Some((&header[..at], header[at + 1..].trim_ascii()))
}

/// Compares in a time that tells nothing but the length.
fn same(token: &str, given: &[u8]) -> bool {
    token.as_bytes().ct_eq(given).into()
}

impl NamedService for Wire {
    const NAME: &'static str = "arrow.flight.protocol.FlightService";
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Wire {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        if let Err(refused) = self.admit(request.headers()) {
            return Box::pin(async move { Ok(refused.into_http()) });
        }
        if request.uri().path() != DO_GET {
            return self.rest.call(request);
        }
        let flights = Arc::clone(&self.flights);
        Box::pin(async move {
            let messages = match ticket(request).await {
                Ok(ticket) => flights.get(ticket).await,
                Err(e) => Err(e),
            };
            Ok(match messages {
                Ok(messages) => {
                    let mut response = http::Response::new(Body::new(Stream::of(messages)));
                    let grpc = http::HeaderValue::from_static("application/grpc");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
                    response
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

/// The one message of a request.
async fn ticket(request: http::Request<Body>) -> Result<Ticket, Status> {
    let body = Limited::new(request.into_body(), MOST_TICKET).collect().await;
    let body = body.map_err(|e| told(Code::InvalidArgument, format_args!("no ticket came: {e}")))?.to_bytes();
    let (compressed, len) = match body.get(..5) {
        Some(&[compressed, a, b, c, d]) => (compressed, u32::from_be_bytes([a, b, c, d]) as usize),
        _ => return Err(Status::invalid_argument("no ticket came")),
    };
    if compressed != 0 {
        return Err(Status::unimplemented(
            "messages are compressed, which this server does not do: send them as they are",
        ));
    }
    if body.len() - 5 != len {
        let text = format!("the ticket should have {len} bytes and has {}", body.len() - 5);
        return Err(Status::invalid_argument(text));
    }
    Ticket::decode(body.slice(5..)).map_err(|e| told(Code::InvalidArgument, format_args!("no ticket: {e}")))
}

/// The body of an answer: messages, and how it ended.
struct Stream {
    messages: Messages,
    frames: VecDeque<Bytes>,
    ended: bool,
}

impl Stream {
    fn of(messages: Messages) -> Stream {
        Stream { messages, frames: VecDeque::new(), ended: false }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let status = match ready!(self.messages.poll_next_unpin(cx)) {
                Some(Ok(message)) => match message.into_frames() {
                    Ok(frames) => {
                        self.frames = frames;
                        continue;
                    }
                    Err(status) => status,
                },
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.ended = true;
            // What was read is let go of, also while the client has not heard that this is the end.
            self.messages = stream::empty().boxed();
            let mut trailers = http::HeaderMap::new();
            return Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))));
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    /// Shows that a body is one message, whole, not compressed, of a length that a ticket may have.
    #[tokio::test]
    async fn a_body_is_one_message() {
        let message = Ticket::new("t").encode_to_vec();
        let framed = |compressed: u8, len: usize, rest: &[u8]| {
            [&[compressed][..], &u32::try_from(len).unwrap().to_be_bytes(), rest].concat()
        };
        let len = message.len();
        let twice = [&framed(0, len, &message)[..], &framed(0, len, &message)].concat();
        let long = Ticket::new(vec![b'x'; MOST_TICKET]).encode_to_vec();
        for (body, answer) in [
            (framed(0, len, &message), None),
            (vec![], Some("no ticket came")),
            (framed(0, len, &message)[..4].to_vec(), Some("no ticket came")),
            (framed(1, len, &message), Some("messages are compressed")),
            (framed(0, len + 1, &message), Some("the ticket should have 4 bytes and has 3")),
            (framed(0, len - 1, &message), Some("the ticket should have 2 bytes and has 3")),
            (twice, Some("the ticket should have 3 bytes and has 11")),
            (framed(0, long.len(), &long), Some("no ticket came")),
            (framed(0, 3, b"\x0a\x09x"), Some("no ticket: ")),
        ] {
            let shown = format!("{:?}", &body[..body.len().min(20)]);
            let found = ticket(http::Request::new(Body::new(Full::new(Bytes::from(body))))).await;
            match (found, answer) {
                (Ok(found), None) => assert_eq!(found, Ticket::new("t")),
                (Err(status), Some(why)) => assert!(status.message().contains(why), "{shown}: {status}"),
                (found, _) => panic!("{shown}: {found:?}"),
            }
        }
    }
}
