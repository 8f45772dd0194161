//! The settings of the port for OTLP/HTTP.

use std::time::Duration;

use spandrel_wire::{InvalidUtf8, Signal};

use super::{READ_LIMIT, ServerTls};
use crate::auth::ServerAuth;
use crate::compression::Compression;
use crate::secret::Secret;

/// The settings of the port for OTLP/HTTP. The defaults are the Collector's where it has one and no
/// reason is given for another.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// The host and port; port 0 takes a free one. No host means every interface.
    pub endpoint: String,
    /// The paths to which requests are posted.
    pub paths: SignalPaths,
    /// The longest request in bytes, on the wire and inflated.
    pub max_request_body_size: usize,
    /// The bytes that all requests that are being read or offered may take together, inflated: as
    /// for [`GrpcConfig`](super::GrpcConfig), with which it is shared.
    pub max_in_flight_bytes: usize,
    /// The encodings that requests may have; uncompressed requests are always taken.
    pub compressions: Vec<Compression>,
    /// The pages of browsers that may send requests; `None` for none.
    pub cors: Option<Cors>,
    /// The headers that every response has.
    pub response_headers: Vec<(String, Secret)>,
    /// The time that the head of a request may take to arrive.
    pub read_header_timeout: Duration,
    /// The time that the body of a request may take to arrive.
    pub read_timeout: Duration,
    /// The time for which a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// The time without requests after which a connection is asked to end.
    pub idle_timeout: Duration,
    /// True if a connection of HTTP/1.1 may carry more than one request.
    pub keep_alives_enabled: bool,
    /// The handling of texts in JSON that are not UTF-8. The pipeline has that of other texts.
    pub invalid_utf8: InvalidUtf8,
    /// TLS; `None` for plain text.
    pub tls: Option<ServerTls>,
    /// The credentials that requests must carry; `None` for no authentication.
    pub auth: Option<ServerAuth>,
}

impl HttpConfig {
    /// Returns the default settings for this endpoint.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            paths: SignalPaths::default(),
            // The Collector's. A sender that is sized for it gets the same answer here.
            max_request_body_size: 20 << 20,
            max_in_flight_bytes: super::MAX_IN_FLIGHT_BYTES,
            compressions: vec![Compression::Gzip, Compression::Zstd, Compression::Deflate],
            cors: None,
            response_headers: Vec::new(),
            read_header_timeout: Duration::from_secs(60),
            // The Collector has none.
            read_timeout: READ_LIMIT,
            write_timeout: Duration::from_secs(30),
            // The Collector's minute is the interval at which SDKs export metrics: each request
            // would meet the end of its connection, and some would be lost with it.
            idle_timeout: Duration::from_secs(120),
            keep_alives_enabled: true,
            invalid_utf8: InvalidUtf8::default(),
            tls: None,
            auth: None,
        }
    }
}

/// The paths to which the requests of each signal are posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalPaths {
    /// The path for spans.
    pub traces: String,
    /// The path for metrics.
    pub metrics: String,
    /// The path for log records.
    pub logs: String,
}

impl Default for SignalPaths {
    fn default() -> Self {
        Self {
            traces: "/v1/traces".to_owned(),
            metrics: "/v1/metrics".to_owned(),
            logs: "/v1/logs".to_owned(),
        }
    }
}

impl SignalPaths {
    /// Returns the signal of the requests to this path.
    pub(crate) fn signal(&self, path: &str) -> Option<Signal> {
        self.all()
            .into_iter()
            .find_map(|(signal, known)| (known == path).then_some(signal))
    }

    /// Returns every signal with its path.
    pub fn all(&self) -> [(Signal, &str); 3] {
        [
            (Signal::Traces, &self.traces),
            (Signal::Metrics, &self.metrics),
            (Signal::Logs, &self.logs),
        ]
    }
}

/// Cross-origin resource sharing: the pages of browsers that may send requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    /// The origins; one `*` in an origin stands for any characters.
    pub allowed_origins: Vec<String>,
    /// The headers that requests may have besides those that every request of OTLP/HTTP has; `*` for
    /// any.
    pub allowed_headers: Vec<String>,
    /// The headers of responses that pages may read.
    pub exposed_headers: Vec<String>,
    /// The seconds for which a browser may remember the answer; 0 for the browser's own time.
    pub max_age: u32,
}
