//! Receivers: `otlp` and `file`.

use std::path::PathBuf;

use spandrel_otlp::receiver::ReceiverConfig;
use spandrel_wire::InvalidUtf8;

use super::authenticators::Authenticators;
use super::net::{Listen, read_server_keepalive, read_server_tls};
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
    /// OTLP over gRPC.
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
            ReceiverKind::Otlp(Box::new(read_otlp(section, authenticators)?))
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

fn read_otlp(section: &Section<'_>, authenticators: &Authenticators<'_>) -> Option<ReceiverConfig> {
    let protocols = section.section("protocols");
    protocols.not_offered_at_all(
        "http",
        "remove it and let clients send OTLP/gRPC to port 4317",
    );
    if !protocols.has("grpc") {
        section.wrong("no protocol is chosen", "write `protocols: { grpc: {} }`");
        return None;
    }
    let grpc = protocols.section("grpc");
    let default = ReceiverConfig::new(Listen::read(&grpc, 4317).to_string());
    let mib = default.max_recv_msg_size >> 20;
    let max_request_mib = grpc.integer("max_recv_msg_size_mib", mib, 1..=1024);
    let default_in_flight = (default.max_in_flight_bytes >> 20).max(max_request_mib);
    let max_in_flight_mib = grpc.integer("max_in_flight_mib", default_in_flight, 1..=1_048_576);
    if max_in_flight_mib < max_request_mib {
        let instead =
            format!("write at least {max_request_mib}, the value of max_recv_msg_size_mib");
        grpc.wrong_key(
            "max_in_flight_mib",
            "the largest request would never fit",
            instead,
        );
    }
    grpc.not_offered("include_metadata", "remove it");
    grpc.choice("transport", (), &[("tcp", ())]);
    grpc.without_meaning(
        &["read_buffer_size", "write_buffer_size"],
        "buffers of a connection have their own sizes here",
    );
    Some(ReceiverConfig {
        max_recv_msg_size: max_request_mib << 20,
        max_in_flight_bytes: max_in_flight_mib << 20,
        max_concurrent_streams: grpc.integer(
            "max_concurrent_streams",
            default.max_concurrent_streams,
            1..=100_000,
        ),
        tls: read_server_tls(&grpc),
        auth: authenticators.server(&grpc),
        keepalive: read_server_keepalive(&grpc),
        ..default
    })
}

fn read_file(section: &Section<'_>) -> FileReceiver {
    let mut paths = section.strings("path");
    paths.extend(section.strings("include"));
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
