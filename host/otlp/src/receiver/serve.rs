//! Serves to the end: accepts connections until told to stop, then lets them end and cuts those
//! that do not.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spandrel_pipeline::ingress::Ingress;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::export::{ExportSettings, Exports, Room};
use super::front::{Connections, Front, PortGuide, ProtocolLog, RequestHandler, Shutdown, accept};
use super::grpc::GrpcHandler;
use super::http::HttpHandler;
use super::port::{Port, PortParts, Security};
use super::settings::PortConfig;
use super::transport::Transport;
use super::{Closed, Receiver};

pub(crate) async fn run(
    receiver: Receiver,
    ingress: impl Fn(Transport) -> Arc<dyn Ingress>,
    stop: impl Future<Output = ()>,
) -> Closed {
    let Receiver { config, ports } = receiver;
    let configs = || ports.iter().map(Port::config);
    let in_flight = configs().map(PortConfig::in_flight).max();
    let longest = configs().map(PortConfig::most_of_one).max();
    let room = Room::new(in_flight.unwrap_or_default(), longest.unwrap_or_default());
    let room = Arc::new(room);
    let numbers: Vec<_> = ports
        .iter()
        .map(|port| (port.transport(), port.local_addr().port()))
        .collect();
    let stopped = CancellationToken::new();
    let serving = ports.into_iter().map(|port| {
        let transport = port.transport();
        let mut others = numbers.iter().filter(|(other, _)| *other != transport);
        let site = Site {
            ingress: ingress(transport),
            room: Arc::clone(&room),
            guide: PortGuide::new(transport, others.next().map(|(_, number)| *number)),
            stop: stopped.clone(),
            drain_grace: config.drain_grace,
        };
        site.serve(port.into_parts())
    });
    let serving = join_all(serving);
    let (cut, ()) = tokio::join!(serving, async {
        stop.await;
        stopped.cancel();
    });
    Closed {
        connections_cut: cut.into_iter().sum(),
    }
}

/// The surroundings in which one port is served.
struct Site {
    ingress: Arc<dyn Ingress>,
    room: Arc<Room>,
    guide: PortGuide,
    stop: CancellationToken,
    drain_grace: Duration,
}

impl Site {
    /// Serves a port to its end. Returns the number of connections that were cut.
    async fn serve(self, port: PortParts) -> usize {
        let PortParts {
            config,
            listener,
            local_addr,
            security: Security { tls, auth },
            stats,
        } = port;
        let settings = ExportSettings {
            longest: config.longest(),
            read_limit: config.read_limit(),
            auth,
            endpoint: local_addr,
        };
        let shutdown = Shutdown::new();
        let connection_stats = stats.of_connections();
        let log = ProtocolLog::new(Arc::clone(&connection_stats), local_addr, self.guide);
        let log = Arc::new(log);
        let (ingress, room) = (Arc::clone(&self.ingress), Arc::clone(&self.room));
        let exports = Exports::new(settings, ingress, room, shutdown.clone(), stats);
        let front = Front {
            settings: config.connections(),
            tls,
            shutdown,
            stats: connection_stats,
            protocol_log: Arc::clone(&log),
        };
        match config {
            PortConfig::Grpc(_) => {
                let handler = GrpcHandler::new(exports, log);
                self.run(listener, front, handler).await
            }
            PortConfig::Http(http) => {
                let handler = HttpHandler::new(&http, exports, log);
                self.run(listener, front, handler).await
            }
        }
    }

    /// Accepts connections until told to stop, and then lets them end.
    async fn run<H: RequestHandler>(
        self,
        listener: Arc<TcpListener>,
        front: Front,
        handler: H,
    ) -> usize {
        let (shutdown, endpoint) = (front.shutdown.clone(), front.protocol_log.endpoint());
        let handler = Arc::new(handler);
        let connections = Arc::new(Connections::new(front, Arc::clone(&handler)));
        let mut tasks = JoinSet::new();
        let stop = self.stop.cancelled();
        let handed_over = accept(listener, &connections, &mut tasks, stop).await;
        let begun = Instant::now();
        if handed_over {
            shutdown.leave();
        } else {
            handler.stop().await;
            shutdown.drain();
        }
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        let in_time = timeout(self.drain_grace, all_ended).await.is_ok();
        let connections_cut = if in_time { 0 } else { tasks.len() };
        tasks.shutdown().await;
        connections.cut_requests().await;
        info!(
            %endpoint,
            transport = self.guide.transport().name(),
            connections_cut,
            handed_over,
            elapsed_ms = begun.elapsed().as_millis(),
            "receiver closed"
        );
        connections_cut
    }
}
