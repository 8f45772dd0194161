//! Accepts connections until told to stop.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::connection::Connections;
use super::connection_limit::ConnectionLimit;
use super::handler::RequestHandler;
use super::stats::ConnectionStats;

/// The first and the longest wait after an error of the listener itself (no more files, for
/// example): long enough not to spin, short enough to go unnoticed.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// The time in which errors that repeat are logged once.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts connections until `stop` resolves. It owns the listener, so that the port is free when
/// it returns, unless another receiver has it, too. Each connection is a task of `tasks`. Returns
/// true if another receiver has the listener.
pub(crate) async fn accept<H: RequestHandler>(
    listener: Arc<TcpListener>,
    connections: &Arc<Connections<H>>,
    tasks: &mut JoinSet<()>,
    stop: impl Future<Output = ()>,
) -> bool {
    let mut stop = pin!(stop);
    let mut errors = AcceptErrors::default();
    let limit = Arc::new(ConnectionLimit::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return Arc::strong_count(&listener) > 1,
            Some(_ended) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                errors.backoff = None;
                if let Some(slot) = limit.acquire(peer) {
                    let connections = Arc::clone(connections);
                    tasks.spawn(async move { connections.run(stream, peer, slot).await });
                } else {
                    refuse(stream, connections.stats(), &mut errors);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                errors.log(&error);
                if is_out_of_files(&error) {
                    limit.make_room();
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
fn refuse(stream: TcpStream, stats: &ConnectionStats, errors: &mut AcceptErrors) {
    drop(stream);
    stats.count_failure();
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
struct AcceptErrors {
    backoff: Option<Duration>,
    last_log: Option<Instant>,
    unlogged: u64,
}

impl AcceptErrors {
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
        let mut errors = AcceptErrors::default();
        let waits: Vec<_> = (0..7).map(|_| errors.next_backoff().as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
