//! The OTLP/gRPC exporter: sends batches as the bytes they are, and tells how that ended.
//!
//! One HTTP/2 connection, made when it is first needed and again when it is lost; attempts run on
//! it side by side. A batch is not copied on its way out unless it is compressed.

mod endpoint;
mod reply;
mod request;
mod tls;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response, StatusCode};
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_wire::Signal;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::auth::{ClientAuth, Credentials, Sent};
use crate::compression::Compression;
use crate::reread::FileError;
use crate::secret::Secret;
use crate::status;
use crate::tls::{REREAD_INTERVAL, TlsVersions};

/// Where to send, and how. The defaults are the Collector's where it has one. Header values are
/// secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ExporterConfig {
    /// `http://host:port` for plain text, `https://host:port` for TLS; `host:port` means TLS unless
    /// [`ClientTls::insecure`] says otherwise.
    pub endpoint: String,
    /// Sent with every request; names that end in `-bin` carry bytes.
    pub headers: Vec<(String, Secret)>,
    /// What proves who we are; added to every request.
    pub auth: Option<ClientAuth>,
    /// The host, and port if any, that requests say they want to reach, and that the certificate
    /// must have; none for that of the endpoint.
    pub authority: Option<String>,
    /// How requests are compressed.
    pub compression: Compression,
    /// How long one attempt may take, with connecting.
    pub timeout: Duration,
    /// How the backend is known, and we to it.
    pub tls: ClientTls,
    /// When the connection is probed; none for never.
    pub keepalive: Option<ClientKeepalive>,
    /// How we name ourselves.
    pub user_agent: String,
    /// The longest request, before compression: more is never sent. OTLP recommends 64 MiB.
    pub max_request: usize,
    /// The longest response. OTLP recommends 4 MiB.
    pub max_response: usize,
}

impl ExporterConfig {
    /// The defaults, for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: Vec::new(),
            auth: None,
            authority: None,
            compression: Compression::default(),
            timeout: Duration::from_secs(5),
            tls: ClientTls::default(),
            keepalive: None,
            user_agent: concat!("Spandrel/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_request: 64 << 20,
            max_response: 4 << 20,
        }
    }
}

/// TLS of an exporter, with the Collector's names. Files are in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Plain text for an endpoint without a scheme.
    pub insecure: bool,
    /// TLS, but whoever answers is believed to be the backend.
    pub insecure_skip_verify: bool,
    /// The authorities to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// Those of the system beside those of `ca_file`.
    pub include_system_ca_certs_pool: bool,
    /// Our certificate, for backends that ask for one; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// The name that the backend's certificate must have, where it is not the endpoint's host.
    pub server_name_override: Option<String>,
    /// The versions that are spoken.
    pub versions: TlsVersions,
    /// How often the files are looked at. Connections made after a change use what is new.
    pub reload_interval: Duration,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            insecure: false,
            insecure_skip_verify: false,
            ca_file: None,
            include_system_ca_certs_pool: false,
            cert_file: None,
            key_file: None,
            server_name_override: None,
            versions: TlsVersions::default(),
            reload_interval: REREAD_INTERVAL,
        }
    }
}

/// The client side of keepalive, with the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKeepalive {
    /// A connection this long without traffic is probed.
    pub time: Duration,
    /// A probe unanswered for this long means that the backend is gone.
    pub timeout: Duration,
    /// Probes also when nothing is being sent.
    pub permit_without_stream: bool,
}

/// Why an exporter cannot be made: all of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint is not one.
    #[error(
        "`{endpoint}` is not an endpoint: write http://host:port, https://host:port or host:port"
    )]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// A header cannot be sent.
    #[error("header `{name}` cannot be sent: {reason}")]
    Header {
        /// Which.
        name: String,
        /// Why not; the value stays out of it, because it may be a secret.
        reason: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The name cannot be asked for.
    #[error("`{authority}` is not a host, or host:port, that can be asked for")]
    Authority {
        /// What was given.
        authority: String,
    },
    /// The settings of TLS do not go together.
    #[error("tls: {0}")]
    TlsSettings(&'static str),
    /// The connection cannot be set up as configured.
    #[error("cannot set up the connection to {endpoint}")]
    Connection {
        /// Where to.
        endpoint: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A backend ends a connection, by its age for example, at the moment when a request is about to go
/// out on it: that is nobody's failure, so the same attempt takes the next connection, as gRPC does.
const MOST_SENDS: u32 = 3;

/// Sends to one backend.
#[derive(Debug)]
pub struct GrpcExporter {
    endpoint: String,
    channel: Channel,
    headers: HeaderMap,
    auth: Option<Credentials>,
    compression: Compression,
    timeout: Duration,
    max_request: usize,
    max_response: usize,
}

impl GrpcExporter {
    /// Checks everything that can be checked without the backend: it connects when there is
    /// something to send. To be called inside the runtime, which will run the connection.
    pub fn new(config: &ExporterConfig) -> Result<Self, ExporterError> {
        let headers = request::headers(config)?;
        let (endpoint, channel) = endpoint::connect_lazily(config)?;
        let auth = config.auth.as_ref();
        let auth = auth.map(|auth| Credentials::read(auth, &endpoint));
        Ok(Self {
            endpoint,
            channel,
            headers,
            auth: auth.transpose()?,
            compression: config.compression,
            timeout: config.timeout,
            max_request: config.max_request,
            max_response: config.max_response,
        })
    }

    async fn attempt(&self, signal: Signal, batch: Bytes) -> Outcome {
        let message = match self.compression.compress(batch).await {
            Ok(message) => message,
            Err(error) => return self.retry(&error),
        };
        let mut sends = 0;
        let mut renewed = false;
        loop {
            let (headers, sent) = self.headers();
            let request = request::export(headers, signal, self.compression, message.clone());
            let Some(request) = request else {
                let error = format!("request to {} is longer than gRPC can say", self.endpoint);
                let refuses = Refuses::Batch;
                return Outcome::Permanent { refuses, error };
            };
            sends += 1;
            match self.channel.clone().oneshot(request).await {
                Ok(response) => {
                    // Perhaps the backend knows of other credentials before we have looked.
                    let denied = !renewed && is_unauthenticated(&response);
                    if denied && self.renewed(sent).await {
                        renewed = true;
                        continue;
                    }
                    return reply::read(response, &self.endpoint, self.max_response).await;
                }
                Err(error) if sends < MOST_SENDS && was_never_sent(&error) => {}
                Err(error) => return self.retry(&error),
            }
        }
    }

    /// What every request has, with the credentials that are in force.
    fn headers(&self) -> (HeaderMap, Option<Sent>) {
        let mut headers = self.headers.clone();
        let sent = self.auth.as_ref().map(|auth| auth.add_to(&mut headers));
        (headers, sent)
    }

    /// Whether there are other credentials than were sent.
    async fn renewed(&self, sent: Option<Sent>) -> bool {
        match (&self.auth, sent) {
            (Some(auth), Some(sent)) => auth.renewed(&sent).await,
            _ => false,
        }
    }

    /// The backend was not reached, or lost on the way.
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
                let refuses = Refuses::Batch;
                return Outcome::Permanent { refuses, error };
            }
            match timeout(self.timeout, self.attempt(signal, batch)).await {
                Ok(outcome) => outcome,
                Err(_) => Outcome::Retry {
                    after: None,
                    error: format!("no answer from {} in {:?}", self.endpoint, self.timeout),
                },
            }
        })
    }
}

/// Such an answer is its headers alone; that of a proxy in front of the backend is HTTP's.
fn is_unauthenticated<B>(response: &Response<B>) -> bool {
    let code = response.headers().get("grpc-status");
    response.status() == StatusCode::UNAUTHORIZED
        || code.is_some_and(|code| Code::from_bytes(code.as_bytes()) == Code::Unauthenticated)
}

/// Whether the connection ended, in good order, before any of the request went out or was looked at.
fn was_never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        // The request and the news that the backend ends the connection crossed on the way.
        if error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
        }) {
            return true;
        }
        layer = error.source();
    }
    false
}

/// An error and its causes, as an [`Outcome`] wants them: in one line.
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
