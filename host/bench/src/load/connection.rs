//! One connection of the generator, opened again when it breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::LoadPlan;
use super::lane::{CallResults, Lane};
use crate::error::BenchError;

/// The window for answers. They are small, so a window of this size is never waited for.
const WINDOW: u32 = 1 << 20;
/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection with its lanes, each of which has one request under way at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    endpoint: SocketAddr,
    requests: SendRequest<Bytes>,
    /// The task that drives the connection; it ends with it.
    driver: JoinSet<()>,
    lanes: Vec<Lane>,
}

impl Connection {
    pub(crate) async fn open(
        plan: &LoadPlan,
        endpoint: SocketAddr,
        index: usize,
    ) -> Result<Self, BenchError> {
        let (requests, driver) = connect(endpoint).await?;
        let first = index * plan.load.in_flight;
        let lanes = (first..first + plan.load.in_flight)
            .map(|lane| Lane::new(plan, &plan.templates_of_lane(lane)))
            .collect();
        Ok(Self {
            endpoint,
            requests,
            driver,
            lanes,
        })
    }

    /// Sends until the phase is over.
    pub(crate) async fn phase(
        mut self,
        plan: Arc<LoadPlan>,
    ) -> Option<(Self, Result<CallResults, BenchError>)> {
        let mut answers = CallResults::default();
        loop {
            let mut tasks = JoinSet::new();
            for lane in self.lanes.drain(..) {
                tasks.spawn(lane.run(Arc::clone(&plan), self.requests.clone()));
            }
            let mut is_broken = false;
            while let Some(ended) = tasks.join_next().await {
                let Ok((lane, lane_answers, broke)) = ended else {
                    return Some((self, Err(BenchError::ThreadEnded("generator"))));
                };
                self.lanes.push(lane);
                answers.merge(lane_answers);
                is_broken |= broke;
            }
            if !is_broken {
                return Some((self, Ok(answers)));
            }
            answers.reconnects += 1;
            match reconnect(self.endpoint, plan.timeout).await {
                Ok((requests, driver)) => (self.requests, self.driver) = (requests, driver),
                Err(error) => return Some((self, Err(error))),
            }
        }
    }
}

/// Tries to connect until the collector is back, or was away for too long.
async fn reconnect(
    endpoint: SocketAddr,
    timeout: Duration,
) -> Result<(SendRequest<Bytes>, JoinSet<()>), BenchError> {
    let tries = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Ok(connected) = connect(endpoint).await {
                return connected;
            }
        }
    };
    tokio::time::timeout(timeout, tries)
        .await
        .map_err(|_| BenchError::WentAway { endpoint, timeout })
}

/// Opens a connection of HTTP/2. Returns it with the task that drives it.
pub(crate) async fn connect(
    endpoint: SocketAddr,
) -> Result<(SendRequest<Bytes>, JoinSet<()>), BenchError> {
    let cannot = |source| BenchError::Connect { endpoint, source };
    let stream = TcpStream::connect(endpoint).await.map_err(cannot)?;
    stream.set_nodelay(true).map_err(cannot)?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|source| BenchError::Handshake { endpoint, source })?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // A broken connection shows in each of its requests.
        connection.await.unwrap_or_default();
    });
    Ok((requests, driver))
}
