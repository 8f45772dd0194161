//! The receiver and the exporter over real sockets, against real peers: generated clients and
//! servers of opentelemetry-proto, and a plain HTTP/2 client for what those never send.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lints let tests do so, but not what tests share"
)]

mod auth;
mod authority;
mod backend;
mod calm;
mod collector;
mod connections;
mod drain;
mod export;
mod hand_over;
mod http;
mod limits;
mod raw;
mod renewal;
mod round_trip;
mod statuses;
mod tls;
