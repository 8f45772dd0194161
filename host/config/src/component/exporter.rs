//! Exporters: `otlp_grpc` (also under its old name `otlp`), `debug`, `file`.

pub mod file;
pub mod queue;
pub mod retry;

use std::time::Duration;

use spandrel_otlp::compression::Compression;
use spandrel_otlp::exporter::{Balancer, ExporterConfig};
use spandrel_pipeline::backoff::RetryConfig;
use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::queue::QueueConfig;

use self::file::FileExporter;
use super::authenticators::Authenticators;
use super::headers;
use super::net::{read_client_keepalive, read_client_tls};
use crate::id::Id;
use crate::text::section::Section;
use crate::text::tree::Value;

/// One configured exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Exporter {
    /// Its key in the configuration.
    pub id: Id,
    /// The type of the exporter, with its settings.
    pub kind: ExporterKind,
    /// The bounds of its queue.
    pub queue: QueueConfig,
    /// True if the configuration sets `on_full: drop` explicitly.
    pub says_drop: bool,
    /// The batching in front of it, if its own queue asks for it.
    pub batch: Option<BatcherConfig>,
    /// The settings for retries of failed attempts.
    pub retry: RetryConfig,
    /// True if the operator has set when retries end.
    pub retry_ends: bool,
}

/// The types of exporters.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterKind {
    /// OTLP over gRPC.
    OtlpGrpc(Box<OtlpExporter>),
    /// Prints what it receives.
    Debug(Verbosity),
    /// Writes OTLP/JSON lines.
    File(FileExporter),
}

/// OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpExporter(pub ExporterConfig);

/// The detail that the debug exporter prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// One line for each batch.
    #[default]
    Basic,
    /// One line for each item.
    Normal,
    /// Every field.
    Detailed,
}

/// The types of exporters that can be configured.
pub(crate) const KINDS: &[&str] = &["otlp_grpc", "otlp", "debug", "file"];

pub(crate) fn read(
    id: Id,
    section: &Section<'_>,
    authenticators: &Authenticators<'_>,
) -> Option<Exporter> {
    let (queue, says_drop, batch) = match id.kind() {
        "otlp_grpc" | "otlp" => queue::read(&section.section("sending_queue")),
        _ => (QueueConfig::default(), false, None),
    };
    let mut retry_ends = false;
    let (kind, retry) = match id.kind() {
        "otlp_grpc" | "otlp" => {
            let retrying = section.section("retry_on_failure");
            retry_ends = retrying.node("max_elapsed_time").is_some();
            let retry = retry::read(&retrying);
            retry_ends &= !retry.max_elapsed_time.is_zero();
            let settings = read_otlp(section, authenticators)?;
            (ExporterKind::OtlpGrpc(Box::new(settings)), retry)
        }
        "debug" => (
            ExporterKind::Debug(read_debug(section)),
            RetryConfig::default(),
        ),
        "file" => (
            ExporterKind::File(file::read(section)?),
            RetryConfig::default(),
        ),
        _ => return None,
    };
    Some(Exporter {
        id,
        kind,
        queue,
        says_drop,
        batch,
        retry,
        retry_ends,
    })
}

fn read_otlp(section: &Section<'_>, authenticators: &Authenticators<'_>) -> Option<OtlpExporter> {
    let compression = section.choice(
        "compression",
        Compression::Gzip,
        &[
            ("gzip", Compression::Gzip),
            ("zstd", Compression::Zstd),
            ("none", Compression::None),
        ],
    );
    let timeout = section.duration_positive("timeout", Duration::from_secs(5));
    let headers = headers::read(section.section("headers"), |name| {
        !name.starts_with("grpc-") && !name.ends_with("-bin")
    });
    let tls = read_client_tls(section);
    let keepalive = read_client_keepalive(section);
    let auth = authenticators.client(section);
    let authority = section.parsed("authority", "host or host:port", read_authority);
    let balancers = [
        ("round_robin", Balancer::RoundRobin),
        ("pick_first", Balancer::PickFirst),
    ];
    let balancer = section.choice("balancer_name", Balancer::default(), &balancers);
    section.without_meaning(
        &["read_buffer_size", "write_buffer_size"],
        "buffers of a connection have their own sizes here",
    );
    section.without_meaning(
        &["wait_for_ready"],
        "an attempt always waits for its connection, for as long as `timeout` says",
    );
    section.required("endpoint", "http://backend:4317");
    let endpoint = section.parsed("endpoint", "URL or host:port", |text| {
        read_endpoint(text, tls.insecure)
    })?;
    warn_of_tls(section, &endpoint, tls.insecure);
    Some(OtlpExporter(ExporterConfig {
        compression,
        timeout,
        headers,
        auth,
        authority,
        tls,
        keepalive,
        balancer,
        ..ExporterConfig::new(endpoint)
    }))
}

/// Warns about settings under `tls` that have no effect: the scheme decides about TLS, whatever
/// `tls` says.
fn warn_of_tls(section: &Section<'_>, endpoint: &str, insecure: bool) {
    let Some(Value::Map(keys)) = section.node("tls").map(|node| &node.value) else {
        return;
    };
    if endpoint.starts_with("http://") && keys.iter().any(|entry| entry.key != "insecure") {
        let what = "the endpoint is http://, so nothing of it is used";
        section.warn_key("tls", what, "write https://host:port, or remove it");
    }
    if endpoint.starts_with("https://") && insecure {
        let what = "`insecure` does nothing: the endpoint says https://";
        section.warn_key("tls", what, "write http://host:port, or remove `insecure`");
    }
}

/// Parses an endpoint. A scheme decides about TLS, as in OpenTelemetry's specification of exporters;
/// the Collector lets `tls::insecure` decide for http:// as well. Without a scheme, or with gRPC's
/// `dns`, `tls::insecure` decides here, too. Every name is looked up again and again, as with `dns`.
fn read_endpoint(text: &str, insecure: bool) -> Result<String, String> {
    let text = match text.strip_prefix("dns:") {
        Some(name) => {
            let name = name.strip_prefix("///").unwrap_or(name);
            if name.starts_with('/') {
                let why = "write dns:///host:port: the system's name servers are asked";
                return Err(why.to_owned());
            }
            name
        }
        None => text,
    };
    let wrong = || "write http://host:port or https://host:port".to_owned();
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        let scheme = if insecure { "http" } else { "https" };
        format!("{scheme}://{text}")
    };
    let authority = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let authority = authority.ok_or_else(wrong)?.trim_end_matches('/');
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let plain = uri.host().is_some_and(|host| !host.is_empty())
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        && !authority.contains('@');
    // A port of 0 means "any" to a listener. Nobody can be reached there.
    let port_fits = match uri.port() {
        Some(port) => port.as_u16() != 0,
        None => {
            !authority.ends_with(':')
                && uri
                    .authority()
                    .is_some_and(|whole| whole.as_str() == uri.host().unwrap_or_default())
        }
    };
    if plain && port_fits {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

fn read_authority(text: &str) -> Result<String, String> {
    let authority: Option<http::uri::Authority> = text.parse().ok();
    authority
        .filter(|authority| !authority.as_str().contains('@'))
        .map(|authority| authority.to_string())
        .ok_or_else(|| "write a host, or host:port".to_owned())
}

fn read_debug(section: &Section<'_>) -> Verbosity {
    section.not_offered("sampling_initial", "remove it: every batch is printed");
    section.not_offered("sampling_thereafter", "remove it: every batch is printed");
    section.without_meaning(
        &["use_internal_logger"],
        "it prints on standard output, beside the log",
    );
    section.choice(
        "verbosity",
        Verbosity::Basic,
        &[
            ("basic", Verbosity::Basic),
            ("normal", Verbosity::Normal),
            ("detailed", Verbosity::Detailed),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheme decides about TLS; without one, `insecure` does.
    #[test]
    fn endpoints_become_urls() {
        for (text, insecure, url) in [
            ("http://backend:4317", false, "http://backend:4317"),
            ("https://backend:4317/", false, "https://backend:4317"),
            ("backend:4317", true, "http://backend:4317"),
            ("backend:4317", false, "https://backend:4317"),
            ("[::1]:4317", true, "http://[::1]:4317"),
            ("dns:///backend:4317", true, "http://backend:4317"),
            ("dns:///backend:4317", false, "https://backend:4317"),
            ("dns:backend:4317", true, "http://backend:4317"),
            (
                "https://ingest.example.com",
                false,
                "https://ingest.example.com",
            ),
        ] {
            assert_eq!(read_endpoint(text, insecure).as_deref(), Ok(url), "{text}");
        }
        for text in [
            "",
            "http://",
            "ftp://a:1",
            "http://a:1/path",
            "http://u@a:1",
            "a b:1",
            "http://a:0",
            "a:",
            ":4317",
            "dns://8.8.8.8/backend:4317",
            "dns:///",
            "passthrough:///backend:4317",
        ] {
            assert!(read_endpoint(text, true).is_err(), "{text}");
        }
    }

    /// Header values are secrets: no debug print shows one.
    #[test]
    fn debug_hides_header_values() {
        let mut config = ExporterConfig::new("http://a:1");
        config.headers = vec![("authorization".to_owned(), "Bearer hunter2".into())];
        let exporter = OtlpExporter(config);
        let text = format!("{exporter:?}");
        assert!(
            text.contains("authorization") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
