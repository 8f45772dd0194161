//! Receivers: `otlp` and `file`.

use std::path::PathBuf;

use super::id::Id;
use super::net::{Listen, ServerKeepalive, ServerTls};
use super::section::Section;

/// One configured receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Its key in the configuration.
    pub id: Id,
    /// What it does.
    pub kind: ReceiverKind,
}

/// The receivers there are.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverKind {
    /// OTLP over gRPC.
    Otlp(Box<OtlpReceiver>),
    /// OTLP/JSON lines, replayed once.
    File(FileReceiver),
}

/// OTLP over gRPC.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpReceiver {
    /// Where to listen.
    pub endpoint: Listen,
    /// The most bytes of one request, also after decompression.
    pub max_request_bytes: usize,
    /// The most bytes of all requests being worked on.
    pub max_in_flight_bytes: usize,
    /// The most concurrent calls on one connection.
    pub max_concurrent_streams: u32,
    /// TLS; none for plain text.
    pub tls: Option<ServerTls>,
    /// Life of connections.
    pub keepalive: ServerKeepalive,
}

/// OTLP/JSON lines, replayed once.
#[derive(Clone, Debug, PartialEq)]
pub struct FileReceiver {
    /// The files, in order.
    pub paths: Vec<PathBuf>,
}

/// What can be written as a receiver's type.
pub(crate) const KINDS: &[&str] = &["otlp", "file"];

pub(crate) fn read(id: Id, section: &Section<'_>) -> Option<Receiver> {
    let kind = match id.kind() {
        "otlp" => ReceiverKind::Otlp(Box::new(read_otlp(section)?)),
        "file" => ReceiverKind::File(read_file(section)),
        _ => return None,
    };
    Some(Receiver { id, kind })
}

/// The size of requests that OTLP recommends servers to take.
const DEFAULT_MAX_REQUEST_MIB: usize = 64;
/// Four of the largest requests, or thousands of usual ones.
const DEFAULT_MAX_IN_FLIGHT_MIB: usize = 256;

fn read_otlp(section: &Section<'_>) -> Option<OtlpReceiver> {
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
    let max_request_mib = grpc.integer("max_recv_msg_size_mib", DEFAULT_MAX_REQUEST_MIB, 1..=1024);
    let default_in_flight = DEFAULT_MAX_IN_FLIGHT_MIB.max(max_request_mib);
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
    grpc.not_offered(
        "auth",
        "put an authenticating proxy in front, or use `tls::client_ca_file`",
    );
    grpc.not_offered("include_metadata", "remove it");
    grpc.choice("transport", (), &[("tcp", ())]);
    grpc.ignored(&["read_buffer_size", "write_buffer_size"]);
    Some(OtlpReceiver {
        endpoint: Listen::read(&grpc, 4317),
        max_request_bytes: max_request_mib << 20,
        max_in_flight_bytes: max_in_flight_mib << 20,
        max_concurrent_streams: grpc.integer("max_concurrent_streams", 100, 1..=100_000),
        tls: ServerTls::read(&grpc),
        keepalive: ServerKeepalive::read(&grpc),
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
