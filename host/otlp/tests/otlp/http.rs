//! OTLP/HTTP over real sockets, HTTP/1.1 and HTTP/2.

mod both;
mod browsers;
mod ends;
mod requests;
mod secure;
mod shapes;
mod slow;
pub(crate) mod wire;

use std::sync::Arc;

use spandrel_otlp::receiver::{HttpConfig, ReceiverConfig, Transport};

use crate::collector::{Collector, Sink, config};

/// Returns the settings of the port.
pub(crate) fn http() -> HttpConfig {
    HttpConfig::new("127.0.0.1:0")
}

/// Starts a receiver with this port only.
async fn start(http: HttpConfig, sink: &Arc<Sink>) -> Collector {
    Collector::start_with(http, sink).await
}

/// Starts a receiver with both ports.
async fn start_both(sink: &Arc<Sink>) -> Collector {
    let both = ReceiverConfig {
        grpc: Some(config()),
        http: Some(http()),
        ..ReceiverConfig::default()
    };
    let collector = Collector::start_with(both, sink).await;
    assert_eq!(collector.addr, collector.port(Transport::Grpc).address);
    collector
}
