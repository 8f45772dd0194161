//! Accepts connections until told to stop, then lets them end and cuts those that do not.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use spandrel_pipeline::ingress::Ingress;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answer::{Answerer, Lines};
use super::budget::Budget;
use super::connection::{Connections, Streams};
use super::crowd::Crowd;
use super::health::Health;
use super::place::Places;
use super::stranger::Strangers;
use super::{Closed, Doors, Receiver, ReceiverStats};

/// The first and the longest wait after an error of the listener itself (no more files, for
/// example): long enough not to spin, short enough to go unnoticed.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// The time in which errors that repeat are logged once.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    receiver: Receiver,
    ingress: Arc<dyn Ingress>,
    stop: impl Future<Output = ()>,
) -> Closed {
    let Receiver {
        config,
        listener,
        local_addr,
        doors: Doors { tls, auth },
        stats,
    } = receiver;
    let draining = CancellationToken::new();
    let streams = Streams::default();
    let answerer = Arc::new(Answerer {
        health: Health::new(),
        budget: Budget::new(config.max_in_flight_bytes, config.max_recv_msg_size),
        places: Places::new(),
        max_recv_msg_size: config.max_recv_msg_size,
        ingress,
        auth,
        leaving: draining.child_token(),
        draining: draining.clone(),
        stats: Arc::clone(&stats),
        strangers: Strangers::default(),
        lines: Lines::default(),
        endpoint: local_addr,
    });
    let shared = Arc::new(Connections {
        answerer: Arc::clone(&answerer),
        max_concurrent_streams: config.max_concurrent_streams,
        keepalive: config.keepalive,
        tls,
        streams: streams.clone(),
    });

    let mut connections = JoinSet::new();
    let handed_over = accept(listener, &shared, &mut connections, stop).await;
    let begun = Instant::now();
    if handed_over {
        answerer.leaving.cancel();
    } else {
        answerer.health.stop().await;
        draining.cancel();
    }
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let in_time = timeout(config.drain_grace, all_ended).await.is_ok();
    let connections_cut = if in_time { 0 } else { connections.len() };
    connections.shutdown().await;
    streams.cut.cancel();
    streams.tasks.close();
    streams.tasks.wait().await;
    info!(
        endpoint = %local_addr,
        connections_cut,
        handed_over,
        elapsed_ms = begun.elapsed().as_millis(),
        "receiver closed"
    );
    Closed { connections_cut }
}

/// Accepts connections until `stop` resolves. It owns the listener, so that the port is free when
/// it returns, unless another receiver has it, too. Returns true if another one has it.
async fn accept(
    listener: Arc<TcpListener>,
    shared: &Arc<Connections>,
    connections: &mut JoinSet<()>,
    stop: impl Future<Output = ()>,
) -> bool {
    let mut stop = pin!(stop);
    let mut errors = Errors::default();
    let crowd = Arc::new(Crowd::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return Arc::strong_count(&listener) > 1,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                errors.backoff = None;
                if let Some(place) = crowd.enter(peer) {
                    let shared = Arc::clone(shared);
                    connections.spawn(async move { shared.run(stream, peer, place).await });
                } else {
                    refuse(stream, &shared.answerer.stats, &mut errors);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                errors.log(&error);
                if is_out_of_files(&error) {
                    crowd.make_room();
                }
                let wait = errors.next_backoff();
                tokio::select! {
                    () = &mut stop => return Arc::strong_count(&listener) > 1,
                    () = sleep(wait) => {}
                }
            }
        }
    }
}

/// Closes a connection that is one too many at once, so that its client goes elsewhere.
fn refuse(stream: TcpStream, stats: &ReceiverStats, errors: &mut Errors) {
    drop(stream);
    stats.connection_failed();
    errors.log(&io::Error::other(
        "more connections than the receiver serves, at all or for one address",
    ));
}

/// Returns true if the client was gone before we took its connection: nothing is wrong with the
/// listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Returns true if the process, or the machine, has no file left for one more connection.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// The errors of accepting: the wait before the next attempt, and the number that were not logged.
#[derive(Debug, Default)]
struct Errors {
    backoff: Option<Duration>,
    last_log: Option<Instant>,
    unlogged: u64,
}

impl Errors {
    fn next_backoff(&mut self) -> Duration {
        let [first, longest] = BACKOFF;
        let wait = self.backoff.map_or(first, |last| (last * 2).min(longest));
        self.backoff = Some(wait);
        wait
    }

    fn log(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.last_log.is_some_and(|last| now - last < LOG_INTERVAL) {
            self.unlogged += 1;
            return;
        }
        let repeated = std::mem::take(&mut self.unlogged);
        self.last_log = Some(now);
        warn!(
            error = error as &dyn std::error::Error,
            repeated, "connection not accepted"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that is out of files is asked again and again, less often but never rarely.
    #[test]
    fn the_backoff_grows_and_ends() {
        let mut errors = Errors::default();
        let waits: Vec<_> = (0..7).map(|_| errors.next_backoff().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
