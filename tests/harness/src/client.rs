//! A client that works like an SDK: it sends over gRPC, retries when told to, and remembers the
//! spans that it believes delivered.

mod connector;

use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::shop::span_ids;
use connector::Connector;

pub use connector::SERVER_NAME;

/// The timeout of one call, as in an SDK's exporter.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The first wait before another attempt; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A client of the collector. Clones share a connection, but each has its own counts.
#[derive(Clone, Debug)]
pub struct Client {
    traces: TraceServiceClient<Channel>,
    connector: Connector,
    patience: Duration,
    metadata: MetadataMap,
    /// Ids of the spans whose export was answered with OK, in that order.
    pub delivered: Vec<u64>,
    /// The number of refused items, counted again for each refusal.
    pub refused: u64,
    /// The number of items in calls that ended without an answer of the collector: their fate is
    /// unknown.
    pub unanswered: u64,
}

impl Client {
    /// Connects to an OTLP/gRPC endpoint (`host:port`).
    ///
    /// # Errors
    /// Returns an error if nothing listens there.
    pub async fn connect(address: &str) -> Result<Self> {
        Self::connect_by(Connector::default(), address).await
    }

    /// Connects over TLS, and trusts only certificates that this authority has signed.
    ///
    /// # Errors
    /// Returns an error if nothing listens there, or not with such a certificate.
    pub async fn connect_trusting(
        authority: &impl AsRef<CertificateDer<'static>>,
        address: &str,
    ) -> Result<Self> {
        Self::connect_by(Connector::trusting(authority.as_ref())?, address).await
    }

    async fn connect_by(connector: Connector, address: &str) -> Result<Self> {
        let channel = endpoint(address)?
            .connect_with_connector(connector.clone())
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        Ok(Self {
            traces: TraceServiceClient::new(channel).max_decoding_message_size(usize::MAX),
            connector,
            patience: Duration::from_secs(30),
            metadata: MetadataMap::new(),
            delivered: Vec::new(),
            refused: 0,
            unanswered: 0,
        })
    }

    /// Returns the number of connections that it and its clones made: one, until a connection is
    /// closed.
    pub fn connections(&self) -> u64 {
        self.connector.made()
    }

    /// Compresses its requests.
    #[must_use]
    pub fn compressed(mut self, encoding: CompressionEncoding) -> Self {
        self.traces = self.traces.send_compressed(encoding);
        self
    }

    /// Sends this header with every request.
    ///
    /// # Errors
    /// Returns an error if the value is not a valid header.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Result<Self> {
        self.metadata.insert(name, value.parse()?);
        Ok(self)
    }

    /// Gives up a request after this time; the default is half a minute.
    #[must_use]
    pub fn patient_for(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes one attempt to send.
    ///
    /// # Errors
    /// Returns the collector's answer.
    pub async fn try_send(&mut self, request: ExportTraceServiceRequest) -> Result<(), Status> {
        let ids: Vec<u64> = span_ids(&request).collect();
        let mut call = tonic::Request::new(request);
        call.metadata_mut().clone_from(&self.metadata);
        let answer = timeout(CALL_TIMEOUT, self.traces.export(call))
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        match answer {
            Ok(_) => {
                self.delivered.extend(ids);
                Ok(())
            }
            Err(status) => {
                let items = u64::try_from(ids.len()).unwrap_or(u64::MAX);
                if never_read(&status) {
                    return Err(status);
                }
                if said_by_the_collector(&status) {
                    self.refused += items;
                } else {
                    self.unanswered += items;
                }
                Err(status)
            }
        }
    }

    /// Sends, and retries as long as OTLP allows it.
    ///
    /// # Errors
    /// Returns the last answer, if it was final or if the time is over.
    pub async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<(), Status> {
        let started = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let Err(status) = self.try_send(request.clone()).await else {
                return Ok(());
            };
            if !is_retryable(&status) || started.elapsed() > self.patience {
                return Err(status);
            }
            let asked = retry_after(&status).unwrap_or_default();
            sleep(wait.max(asked).min(LONGEST_WAIT)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

/// Connects to an OTLP/gRPC endpoint (`host:port`), for the other signals' generated clients.
///
/// # Errors
/// Returns an error if nothing listens there.
pub async fn channel(address: &str) -> Result<Channel> {
    endpoint(address)?
        .connect()
        .await
        .with_context(|| format!("cannot connect to {address}"))
}

fn endpoint(address: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.connect_timeout(CALL_TIMEOUT))
}

/// Returns true if a client may send the same request again after this answer, by OTLP's table.
pub fn is_retryable(status: &Status) -> bool {
    if never_read(status) {
        return true;
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => retry_after(status).is_some(),
        _ => false,
    }
}

/// Returns true if the connection ended in good order (GOAWAY) before the call was read. HTTP/2
/// allows such calls to be sent again on another connection. gRPC's own clients do that by
/// themselves; this one reports it as an internal error.
fn never_read(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away()
                && error.is_remote()
                && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        cause = error.source();
    }
    false
}

/// Returns the wait that the collector asked for (RetryInfo).
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Returns true if the status came from the collector, and not from the transport.
pub fn said_by_the_collector(status: &Status) -> bool {
    std::error::Error::source(status).is_none() && status.code() != Code::DeadlineExceeded
}
