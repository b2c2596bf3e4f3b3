//! Connections to workers: tokens, TLS, how soon a silent worker is given up, and errors that name the worker.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{Result, exec_datafusion_err, plan_datafusion_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures_util::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use url::Url;

/// A worker that does not take a connection within this time is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// How often a worker is asked whether it is there, and how long it has to answer.
const ALIVE: Duration = Duration::from_secs(5);

/// How workers are reached.
#[derive(Clone, Default)]
pub(crate) struct Links {
    token: Option<HeaderValue>,
    authority: Option<Certificate>,
    open: Arc<Mutex<HashMap<Url, BoxCloneSyncChannel>>>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token.
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// The header that has a token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue> {
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = fits.then(|| HeaderValue::from_str(&format!("Bearer {token}")).ok()).flatten();
    let mut header = header.ok_or_else(|| {
        plan_datafusion_err!(
            "the token is empty or has signs that no header has: use letters, digits and signs of ASCII"
        )
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// The address of a worker, as `http://HOST:PORT` or `https://HOST:PORT`; without a scheme, `http` is meant.
pub(crate) fn address(text: &str) -> Result<Url> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&whole).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let url = url.filter(|url| url.host().is_some() && url.path() == "/" && url.query().is_none());
    url.ok_or_else(|| {
        plan_datafusion_err!(
            "`{text}` is no address of a worker: write it as http://HOST:PORT, or https://HOST:PORT with TLS"
        )
    })
}

/// How a message names a worker.
pub(crate) fn show(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

impl Links {
    pub(crate) fn new(token: Option<HeaderValue>, authority: Option<Vec<u8>>) -> Links {
        Links { token, authority: authority.map(Certificate::from_pem), open: Arc::default() }
    }

    /// A connection to a worker, which is made when it is first used, and again after it broke.
    pub(crate) fn to(&self, url: &Url) -> Result<BoxCloneSyncChannel> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(url) {
            return Ok(channel.clone());
        }
        let unusable = |e: &dyn fmt::Display| plan_datafusion_err!("cannot connect to worker {}: {e}", show(url));
        let mut endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|e| unusable(&e))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(true);
        if url.scheme() == "https" {
            let Some(authority) = &self.authority else {
                return Err(unusable(&"it has TLS, and no certificate to trust was given (--tls-ca)"));
            };
            let tls = ClientTlsConfig::new().ca_certificate(authority.clone());
            endpoint = endpoint.tls_config(tls).map_err(|e| unusable(&e))?;
        }
        let bearing = Bearing { channel: endpoint.connect_lazy(), token: self.token.clone() };
        let channel = BoxCloneSyncChannel::new(bearing);
        open.insert(url.clone(), channel.clone());
        Ok(channel)
    }
}

/// A connection whose requests bear the token.
#[derive(Clone)]
struct Bearing {
    channel: Channel,
    token: Option<HeaderValue>,
}

impl Service<Request<Body>> for Bearing {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
        }
        Service::call(&mut self.channel, request)
    }
}

#[async_trait]
impl ChannelResolver for Links {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(Box::new(Link { url: url.clone(), channel: create_worker_client(self.to(url)?) }))
    }
}

/// What a status of a worker's, or of the way to it, says.
pub(crate) fn said(url: &Url, status: &Status) -> DataFusionError {
    let worker = show(url);
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = source.source();
    }
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled => {
            exec_datafusion_err!(
                "worker {worker} is not reached, or went away before the end ({text}): the statement gave nothing that counts; \
                 see whether the worker runs, and run the statement again"
            )
        }
        _ => exec_datafusion_err!("worker {worker}: {text}"),
    }
}

/// An error that came from a worker, with its name.
fn named(url: &Url, error: DataFusionError) -> DataFusionError {
    match &error {
        DataFusionError::External(cause) => match cause.downcast_ref::<Status>() {
            Some(status) => said(url, status),
            None => error.context(format!("worker {}", show(url))),
        },
        // A worker has told of another one.
        DataFusionError::Context(..) => error,
        _ => error.context(format!("worker {}", show(url))),
    }
}

/// The engine's connection to a worker, whose errors name the worker.
struct Link {
    url: Url,
    channel: Box<dyn WorkerChannel>,
}

#[async_trait]
impl WorkerChannel for Link {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        set_plan_request: SetPlanRequest,
        c2w_stream: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let url = self.url.clone();
        let answered = self.channel.coordinator_channel(headers, set_plan_request, c2w_stream, metrics, task_ctx).await;
        let stream = answered.map_err(|e| named(&url, e))?;
        Ok(stream.map(move |message| message.map_err(|e| named(&url, e))).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        task_ctx: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let answered = self.channel.execute_task(headers, request, metrics, task_ctx).await;
        let streams = answered.map_err(|e| named(&self.url, e))?;
        let named = |stream: BoxStream<'static, Result<RecordBatch>>| {
            let url = self.url.clone();
            stream.map(move |batch| batch.map_err(|e| named(&url, e))).boxed()
        };
        Ok(streams.into_iter().map(named).collect())
    }

    async fn get_worker_info(&mut self, request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        self.channel.get_worker_info(request).await.map_err(|e| named(&self.url, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (text, url) in [
            ("10.0.0.2:50061", Some("http://10.0.0.2:50061")),
            ("http://a:1", Some("http://a:1")),
            ("https://[::1]:7/", Some("https://[::1]:7")),
            ("ftp://a:1", None),
            ("http://a:1/path", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(address(text).ok().as_ref().map(show), url, "{text}");
        }
    }

    #[test]
    fn tokens_are_what_a_header_can_have() {
        assert!(bearer("s3cret").is_ok());
        for wrong in ["", "with space", "ü", "line\n"] {
            assert!(bearer(wrong).is_err(), "{wrong:?}");
        }
    }
}
