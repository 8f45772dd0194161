//! The `debug` exporter: prints batches on stdout, for people.

mod logs;
mod metrics;
mod traces;
mod value;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spandrel_config::exporter::Verbosity;
use spandrel_pipeline::exporter::{Exporter, Outcome, Refuses};
use spandrel_wire::Signal;

/// Prints batches on stdout.
#[derive(Debug)]
pub(crate) struct Debug {
    verbosity: Verbosity,
}

impl Debug {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity }
    }
}

impl Exporter for Debug {
    fn export(&self, signal: Signal, batch: Bytes) -> BoxFuture<'_, Outcome> {
        let verbosity = self.verbosity;
        Box::pin(async move {
            // Decoding takes time, and stdout may be a pipe that nobody reads.
            let print = tokio::task::spawn_blocking(move || {
                let text = render(signal, &batch, verbosity).map_err(io::Error::other)?;
                io::stdout().lock().write_all(text.as_bytes())
            });
            match print.await {
                Ok(Ok(())) => Outcome::Sent,
                // Batches are valid, so stdout must be the cause.
                Ok(Err(error)) => Outcome::Permanent {
                    refuses: Refuses::Everything,
                    error: format!("cannot print: {error}"),
                },
                Err(error) => Outcome::Permanent {
                    refuses: Refuses::Batch,
                    error: format!("cannot print: {error}"),
                },
            }
        })
    }
}

/// Returns the text of one batch. The batch is valid: it was checked when it came in.
fn render(
    signal: Signal,
    batch: &[u8],
    verbosity: Verbosity,
) -> Result<String, prost::DecodeError> {
    let mut out = String::new();
    match signal {
        Signal::Traces => traces::render(
            &mut out,
            &ExportTraceServiceRequest::decode(batch)?,
            verbosity,
        ),
        Signal::Metrics => metrics::render(
            &mut out,
            &ExportMetricsServiceRequest::decode(batch)?,
            verbosity,
        ),
        Signal::Logs => logs::render(
            &mut out,
            &ExportLogsServiceRequest::decode(batch)?,
            verbosity,
        ),
    }
    Ok(out)
}

/// Writes one line of text. Writing to a `String` cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
    out.push('\n');
}

#[cfg(test)]
mod tests;
