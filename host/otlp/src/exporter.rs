//! The OTLP/gRPC exporter: sends batches as raw bytes, and returns the outcome of each.
//!
//! It makes HTTP/2 connections to the addresses of the backend when they are first needed, and
//! again when they are lost. Attempts run on them side by side. A batch is not copied on its way
//! out unless it is compressed.

mod connection;
mod endpoint;
mod pool;
mod reply;
mod request;
pub mod resolve;
mod settings;
mod tls;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_wire::Signal;
use tokio::time::timeout;
use tonic::Code;

use self::connection::Connection;
use self::pool::Pool;
use self::request::Paths;
use self::resolve::{Resolve, SystemResolver};
pub use self::settings::{Balancer, ClientKeepalive, ClientTls, ExporterConfig, ExporterError};
use crate::auth::{Credentials, SentHeader};
use crate::compression::Compression;
use crate::status;

/// The most times that one attempt sends its request. A backend may end a connection, by its age
/// for example, at the moment when a request is about to go out on it. That is nobody's failure, so
/// the same attempt takes the next connection, as gRPC does. On a busy machine that can happen a few
/// times in a row; each time costs a new connection, so there is a limit.
const MAX_SENDS: u32 = 8;

/// Sends batches to one backend.
#[derive(Debug)]
pub struct GrpcExporter {
    endpoint: String,
    pool: Pool,
    paths: Paths,
    headers: HeaderMap,
    auth: Option<Credentials>,
    compression: Compression,
    timeout: Duration,
    max_request: usize,
    max_response: usize,
}

impl GrpcExporter {
    /// Creates an exporter. Checks everything that can be checked without the backend; the exporter
    /// connects when there is something to send.
    ///
    /// # Errors
    /// Returns what the operator must fix.
    pub fn new(config: &ExporterConfig) -> Result<Self, ExporterError> {
        Self::with_resolver(config, Arc::new(SystemResolver))
    }

    /// Creates an exporter that looks names up with this resolver.
    ///
    /// # Errors
    /// The same as [`Self::new`].
    pub fn with_resolver(
        config: &ExporterConfig,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, ExporterError> {
        let headers = request::headers(config)?;
        let (target, connector, origin) = endpoint::read(config)?;
        let endpoint = target.shown.clone();
        let auth = config.auth.as_ref();
        let auth = auth.map(|auth| Credentials::read(auth, &endpoint));
        Ok(Self {
            endpoint,
            pool: Pool::new(target, config.balancer, resolver, connector),
            paths: Paths::new(&origin),
            headers,
            auth: auth.transpose()?,
            compression: config.compression,
            timeout: config.timeout,
            max_request: config.max_request,
            max_response: config.max_response,
        })
    }

    /// Makes one attempt. `pending` receives the connection on which the attempt waits for its
    /// answer.
    async fn attempt(
        &self,
        signal: Signal,
        batch: Bytes,
        pending: &Mutex<Option<PendingAnswer>>,
    ) -> Outcome {
        let plain = batch.len();
        let message = match self.compression.compress(batch).await {
            Ok(message) => message,
            Err(error) => return self.retry(&error),
        };
        let sent = message.len();
        let length = status::RequestLength { plain, sent };
        let mut sends = 0;
        let mut renewed = false;
        loop {
            let (headers, sent) = self.headers();
            let request = request::export(
                &self.paths,
                headers,
                signal,
                self.compression,
                message.clone(),
            );
            let Some(request) = request else {
                let error = format!("request to {} is longer than gRPC can say", self.endpoint);
                let refuses = Refuses::Batch;
                return Outcome::Permanent { refuses, error };
            };
            let mut connection = match self.pool.connection().await {
                Ok(connection) => connection,
                Err(error) => return self.retry(&error),
            };
            let waiting = PendingAnswer::on(&connection);
            *pending.lock() = Some(waiting);
            sends += 1;
            match connection.send(request).await {
                Ok(response) => {
                    // The backend may know other credentials before we have looked at the files.
                    let denied = !renewed && is_unauthenticated(&response);
                    if denied && self.renewed(sent).await {
                        renewed = true;
                        continue;
                    }
                    return reply::read(response, &self.endpoint, self.max_response, length).await;
                }
                Err(error) if sends < MAX_SENDS && was_never_sent(&error) => {
                    self.pool.forget(&connection);
                }
                Err(error) => {
                    if is_calming(&error) {
                        self.pool.calm_down();
                    }
                    return self.retry(&error);
                }
            }
        }
    }

    /// Returns the headers of a request, with the credentials that are in force.
    fn headers(&self) -> (HeaderMap, Option<SentHeader>) {
        let mut headers = self.headers.clone();
        let sent = self.auth.as_ref().map(|auth| auth.add_to(&mut headers));
        (headers, sent)
    }

    /// Returns true if the credentials in force differ from those that were sent.
    async fn renewed(&self, sent: Option<SentHeader>) -> bool {
        match (&self.auth, sent) {
            (Some(auth), Some(sent)) => auth.renewed(&sent).await,
            _ => false,
        }
    }

    /// Returns the outcome of an attempt that did not reach the backend, or lost it on the way.
    fn retry(&self, error: &dyn Error) -> Outcome {
        Outcome::Retry {
            after: None,
            error: status::one_line(&format!(
                "cannot send to {}: {}",
                self.endpoint,
                chain(error)
            )),
        }
    }
}

impl Exporter for GrpcExporter {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            if batch.len() > self.max_request {
                let limit = self.max_request;
                let error = format!("batch is longer than the {limit} bytes of one request");
                let refuses = Refuses::Size { limit: Some(limit) };
                return Outcome::Permanent { refuses, error };
            }
            let pending = Mutex::default();
            let attempt = self.attempt(signal, batch, &pending);
            if let Ok(outcome) = timeout(self.timeout, attempt).await {
                return outcome;
            }
            let waited = pending.into_inner();
            if let Some(waiting) = waited.filter(PendingAnswer::nothing_came) {
                self.pool.retire(&waiting.connection);
            }
            Outcome::Retry {
                after: None,
                error: format!("no answer from {} in {:?}", self.endpoint, self.timeout),
            }
        })
    }
}

/// An attempt that waits for its answer.
#[derive(Debug)]
struct PendingAnswer {
    connection: Connection,
    /// The number of bytes that had been read from the connection by then.
    read: u64,
}

impl PendingAnswer {
    fn on(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            read: connection.read(),
        }
    }

    /// Returns true if nothing at all came meanwhile: then the connection may be dead unnoticed.
    fn nothing_came(&self) -> bool {
        self.connection.read() == self.read
    }
}

/// Returns true if the backend rejects the credentials. Its answer then consists of headers only; a
/// proxy in front of the backend answers with HTTP's status.
fn is_unauthenticated<B>(response: &Response<B>) -> bool {
    let code = response.headers().get("grpc-status");
    response.status() == StatusCode::UNAUTHORIZED
        || code.is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unauthenticated)
}

/// Returns true if the connection ended without an error before any of the request was sent or
/// looked at.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        // The request and the backend's GOAWAY crossed on the way.
        if error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        }) {
            return true;
        }
        layer = error.source();
    }
    false
}

/// Returns true if the backend ended the connection because of too many pings.
fn is_calming(error: &(dyn Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_go_away()
                && error.is_remote()
                && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
        }) {
            return true;
        }
        layer = error.source();
    }
    false
}

/// Returns an error and its causes in one line, as an [`Outcome`] needs them.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let layer = error.to_string();
        // Some layers repeat the next one.
        if !line.ends_with(&layer) {
            line.push_str(": ");
            line.push_str(&layer);
        }
        cause = error.source();
    }
    line
}
