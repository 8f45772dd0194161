//! The good client beside the attackers: it works like an SDK and sends a request every few
//! milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::client::Client;
use spandrel_tests::shop::Shop;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::http::client::HttpClient;

/// A client of one of the transports.
pub(super) enum GoodClient {
    Grpc(Box<Client>),
    Http(HttpClient),
}

impl GoodClient {
    async fn send(&mut self, request: ExportTraceServiceRequest) -> Result<()> {
        match self {
            Self::Grpc(client) => client.try_send(request).await?,
            // Only an answer counts; a refusal is counted by the client.
            Self::Http(client) => drop(client.export(&request).await?),
        }
        Ok(())
    }

    /// Returns the spans that were delivered, and those that were not.
    fn counts(&self) -> (usize, u64) {
        match self {
            Self::Grpc(client) => (client.delivered.len(), client.refused + client.unanswered),
            Self::Http(client) => (client.delivered.len(), client.refused + client.unanswered),
        }
    }
}

/// A good client at work.
pub(super) struct Good {
    stopped: Arc<AtomicBool>,
    client: JoinSet<Result<Served>>,
}

/// The results that the good client saw.
pub(super) struct Served {
    pub(super) spans: u64,
    pub(super) refused: u64,
    pub(super) latencies: Vec<Duration>,
}

impl Served {
    pub(super) fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted
            .get(sorted.len() * 99 / 100)
            .copied()
            .unwrap_or_default()
    }
}

impl Good {
    pub(super) fn start(mut client: GoodClient) -> Self {
        let stopped = Arc::<AtomicBool>::default();
        let until = Arc::clone(&stopped);
        let serve = async move {
            let (mut shop, mut latencies) = (Shop::new(5), Vec::new());
            let mut pace = interval(Duration::from_millis(5));
            while !until.load(Ordering::Acquire) {
                pace.tick().await;
                let request = shop.request(20);
                let begun = Instant::now();
                client.send(request).await?;
                latencies.push(begun.elapsed());
            }
            let (delivered, refused) = client.counts();
            Ok(Served {
                spans: u64::try_from(delivered)?,
                refused,
                latencies,
            })
        };
        let mut client = JoinSet::new();
        client.spawn(serve);
        Self { stopped, client }
    }

    pub(super) async fn stop(mut self) -> Result<Served> {
        self.stopped.store(true, Ordering::Release);
        self.client.join_next().await.context("nobody sends")??
    }
}
