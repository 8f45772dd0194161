//! Receivers: `otlp` and `file`.

mod grpc;
mod http;

use std::path::PathBuf;

use spandrel_otlp::receiver::{HttpConfig, ReceiverConfig};
use spandrel_wire::InvalidUtf8;

use super::authenticators::Authenticators;
use crate::id::Id;
use crate::text::section::Section;

/// One configured receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Its key in the configuration.
    pub id: Id,
    /// The type of the receiver, with its settings.
    pub kind: ReceiverKind,
    /// The treatment of texts that are not UTF-8.
    pub invalid_utf8: InvalidUtf8,
}

/// The types of receivers.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverKind {
    /// OTLP over gRPC, HTTP, or both.
    Otlp(Box<ReceiverConfig>),
    /// OTLP/JSON lines, replayed once.
    File(FileReceiver),
}

/// OTLP/JSON lines, replayed once.
#[derive(Clone, Debug, PartialEq)]
pub struct FileReceiver {
    /// The files, in order.
    pub paths: Vec<PathBuf>,
}

/// The types of receivers that can be configured.
pub(crate) const KINDS: &[&str] = &["otlp", "file"];

pub(crate) fn read(
    id: Id,
    section: &Section<'_>,
    authenticators: &Authenticators<'_>,
) -> Option<Receiver> {
    let mut invalid_utf8 = InvalidUtf8::default();
    let kind = match id.kind() {
        "otlp" => {
            invalid_utf8 = section.choice(
                "invalid_utf8",
                invalid_utf8,
                &[
                    ("replace", InvalidUtf8::Replace),
                    ("reject", InvalidUtf8::Reject),
                ],
            );
            ReceiverKind::Otlp(Box::new(read_otlp(section, authenticators, invalid_utf8)?))
        }
        "file" => ReceiverKind::File(read_file(section)),
        _ => return None,
    };
    Some(Receiver {
        id,
        kind,
        invalid_utf8,
    })
}

fn read_otlp(
    section: &Section<'_>,
    authenticators: &Authenticators<'_>,
    invalid_utf8: InvalidUtf8,
) -> Option<ReceiverConfig> {
    let protocols = section.section("protocols");
    let (has_grpc, has_http) = (protocols.has("grpc"), protocols.has("http"));
    if !has_grpc && !has_http {
        let instead = "write `protocols: { grpc: {}, http: {} }`, or one of them";
        section.wrong("no protocol is chosen", instead);
        return None;
    }
    let grpc = || grpc::read(&protocols.section("grpc"), authenticators);
    let http = || HttpConfig {
        invalid_utf8,
        ..http::read(&protocols.section("http"), authenticators)
    };
    let config = ReceiverConfig {
        grpc: has_grpc.then(grpc),
        http: has_http.then(http),
        ..ReceiverConfig::default()
    };
    if let (Some(grpc), Some(http)) = (&config.grpc, &config.http)
        && grpc.endpoint == http.endpoint
        && !grpc.endpoint.ends_with(":0")
    {
        let what = format!("both protocols have the endpoint {}", grpc.endpoint);
        protocols.wrong(what, "give each an `endpoint` of its own");
    }
    Some(config)
}

fn read_file(section: &Section<'_>) -> FileReceiver {
    let mut paths = section.texts("path", "path");
    paths.extend(section.texts("include", "path"));
    if paths.is_empty() {
        section.wrong(
            "the key `path` is missing",
            "add `path: /path/to/traces.jsonl`",
        );
    }
    FileReceiver {
        paths: paths
            .into_iter()
            .map(|(path, _)| PathBuf::from(path))
            .collect(),
    }
}
