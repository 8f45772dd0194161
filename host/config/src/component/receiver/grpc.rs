//! `protocols::grpc` of the receiver `otlp`.

use spandrel_otlp::receiver::GrpcConfig;

use crate::component::authenticators::Authenticators;
use crate::component::net::{Listen, read_server_keepalive, read_server_tls};
use crate::text::section::Section;

pub(super) fn read(grpc: &Section<'_>, authenticators: &Authenticators<'_>) -> GrpcConfig {
    let default = GrpcConfig::new(Listen::read(grpc, 4317).to_string());
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
    GrpcConfig {
        max_recv_msg_size: max_request_mib << 20,
        max_in_flight_bytes: max_in_flight_mib << 20,
        max_concurrent_streams: grpc.integer(
            "max_concurrent_streams",
            default.max_concurrent_streams,
            1..=100_000,
        ),
        tls: read_server_tls(grpc),
        auth: authenticators.server(grpc),
        keepalive: read_server_keepalive(grpc),
        ..default
    }
}
