//! Serves to the end: accepts connections until told to stop, then lets them end and cuts those
//! that do not.

use std::sync::Arc;

use spandrel_pipeline::ingress::Ingress;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::info;

use super::front::{Connections, ProtocolLog, Shutdown, accept};
use super::grpc::GrpcHandler;
use super::{Closed, Receiver, Security};

pub(crate) async fn run(
    receiver: Receiver,
    ingress: Arc<dyn Ingress>,
    stop: impl Future<Output = ()>,
) -> Closed {
    let Receiver {
        config,
        listener,
        local_addr,
        security: Security { tls, auth },
        stats,
    } = receiver;
    let shutdown = Shutdown::new();
    let connection_stats = stats.of_connections();
    let log = Arc::new(ProtocolLog::new(Arc::clone(&connection_stats), local_addr));
    let handler = Arc::new(GrpcHandler::new(
        &config,
        ingress,
        auth,
        shutdown.clone(),
        stats,
        Arc::clone(&log),
        local_addr,
    ));
    let connections = Arc::new(Connections::new(
        &config,
        tls,
        Arc::clone(&handler),
        shutdown.clone(),
        connection_stats,
        log,
    ));

    let mut tasks = JoinSet::new();
    let handed_over = accept(listener, &connections, &mut tasks, stop).await;
    let begun = Instant::now();
    if handed_over {
        shutdown.leave();
    } else {
        handler.stop_health().await;
        shutdown.drain();
    }
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    let in_time = timeout(config.drain_grace, all_ended).await.is_ok();
    let connections_cut = if in_time { 0 } else { tasks.len() };
    tasks.shutdown().await;
    connections.cut_requests().await;
    info!(
        endpoint = %local_addr,
        connections_cut,
        handed_over,
        elapsed_ms = begun.elapsed().as_millis(),
        "receiver closed"
    );
    Closed { connections_cut }
}
