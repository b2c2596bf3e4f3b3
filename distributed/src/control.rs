//! What coordinators ask workers beside plans: who they are, and what tables their arenas have. A small service beside the engine's.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::common::Result;
use http::uri::PathAndQuery;
use http::{Request, Response};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;
use url::Url;

use crate::link::{Links, said};
use crate::message::{Find, Found, Hello, List, Listed, VERSION, Welcome};
use crate::shelf::Shelf;

const HELLO: &str = "/faretra.distributed.Tables/Hello";
const LIST: &str = "/faretra.distributed.Tables/List";
const FIND: &str = "/faretra.distributed.Tables/Find";

/// The service of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    shelf: Arc<Shelf>,
    threads: u32,
}

impl Tables {
    pub(crate) fn new(shelf: Arc<Shelf>, threads: usize) -> Tables {
        Tables { shelf, threads: u32::try_from(threads).unwrap_or(u32::MAX) }
    }

    fn hello(&self, _: Hello) -> Result<Welcome> {
        Ok(Welcome { version: VERSION.to_owned(), arenas: self.shelf.names(), threads: self.threads })
    }

    fn list(&self, list: List) -> Result<Listed> {
        Ok(Listed { tables: self.shelf.list(&list.arena)? })
    }

    fn find(&self, find: Find) -> Result<Found> {
        self.shelf.find(&find.arena, &find.table)
    }
}

impl NamedService for Tables {
    const NAME: &'static str = "faretra.distributed.Tables";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Answers a request by a function, which may look at an arena and so does not run where connections are served.
fn answer<Q, A>(request: Request<Body>, tables: Tables, by: fn(&Tables, Q) -> Result<A>) -> Answer
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    Box::pin(async move {
        let method = service_fn(move |asked: tonic::Request<Q>| {
            let tables = tables.clone();
            async move {
                let answered = tokio::task::spawn_blocking(move || by(&tables, asked.into_inner())).await;
                match answered {
                    Ok(Ok(answer)) => Ok(tonic::Response::new(answer)),
                    Ok(Err(e)) => Err(Status::new(Code::FailedPrecondition, e.strip_backtrace())),
                    Err(e) => Err(Status::new(Code::FailedPrecondition, format!("the worker failed: {e}"))),
                }
            }
        });
        Ok(tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(method, request).await)
    })
}

impl Service<Request<Body>> for Tables {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let tables = self.clone();
        match request.uri().path() {
            HELLO => answer(request, tables, Tables::hello),
            LIST => answer(request, tables, Tables::list),
            FIND => answer(request, tables, Tables::find),
            _ => Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) }),
        }
    }
}

async fn ask<Q, A>(links: &Links, url: &Url, path: &'static str, question: Q) -> Result<A>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(links.to(url)?);
    let unreached = |e: tonic::transport::Error| said(url, &Status::from_error(Box::new(e)));
    client.ready().await.map_err(unreached)?;
    let codec = ProstCodec::<Q, A>::default();
    let answered = client.unary(tonic::Request::new(question), PathAndQuery::from_static(path), codec).await;
    Ok(answered.map_err(|status| said(url, &status))?.into_inner())
}

/// Asks a worker what it is.
pub(crate) async fn hello(links: &Links, url: &Url) -> Result<Welcome> {
    ask(links, url, HELLO, Hello { version: VERSION.to_owned() }).await
}

/// Asks a worker for the names of the tables of an arena.
pub(crate) async fn list(links: &Links, url: &Url, arena: &str) -> Result<Listed> {
    ask(links, url, LIST, List { arena: arena.to_owned() }).await
}

/// Asks a worker for a table.
pub(crate) async fn find(links: &Links, url: &Url, arena: &str, table: &str) -> Result<Found> {
    ask(links, url, FIND, Find { arena: arena.to_owned(), table: table.to_owned() }).await
}
