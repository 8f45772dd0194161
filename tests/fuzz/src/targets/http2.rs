//! Any bytes on a connection to the receiver: the receiver answers or ends the connection, and
//! never waits for a client that is gone.

mod frames;

use spandrel_otlp::receiver::GrpcConfig;

use super::server::Server;

thread_local! {
    static SERVER: Server = Server::start(GrpcConfig {
        max_recv_msg_size: 1 << 20,
        max_in_flight_bytes: 4 << 20,
        ..GrpcConfig::new("127.0.0.1:0")
    });
}

/// Runs one input. Its first byte decides whether the rest are raw bytes, raw frames, or choices
/// for frames of calls.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let bytes = match first % 4 {
        0 => rest.to_vec(),
        1 => [frames::PREFACE, rest].concat(),
        _ => frames::of(rest),
    };
    SERVER.with(|server| server.answer(&bytes));
}
