//! Steady traffic of one client, which remembers every span as it sent it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::Span;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::shop::{Shop, span_id, spans};
use spandrel_tests::until::until;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// The time between two requests.
const PACE: Duration = Duration::from_millis(4);
/// The spans of a request.
const SPANS: usize = 12;

/// Traffic that flows until it is stopped.
pub(crate) struct Traffic {
    requests: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    client: JoinSet<Result<Sent>>,
}

/// All spans whose export was answered with OK.
pub(crate) struct Sent(HashMap<u64, Span>);

impl Traffic {
    pub(crate) async fn start(address: &str, seed: u64) -> Result<Self> {
        let client = Client::connect(address).await?;
        let (requests, stopped) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let sending = send(client, Shop::new(seed), requests.clone(), stopped.clone());
        let mut client = JoinSet::new();
        client.spawn(sending);
        Ok(Self {
            requests,
            stopped,
            client,
        })
    }

    /// Waits until some more requests were answered.
    pub(crate) async fn flows(&self) -> Result<()> {
        const SOME: u64 = 30;
        let now = self.requests.load(Ordering::Acquire);
        until("traffic", || async {
            let requests = self.requests.load(Ordering::Acquire);
            (requests >= now + SOME).then_some(())
        })
        .await
    }

    pub(crate) async fn stop(mut self) -> Result<Sent> {
        self.stopped.store(true, Ordering::Release);
        let sent = self.client.join_next().await;
        sent.context("nobody sends")??
    }
}

async fn send(
    mut client: Client,
    mut shop: Shop,
    requests: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
) -> Result<Sent> {
    let mut sent = HashMap::new();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stopped.load(Ordering::Acquire) {
        pace.tick().await;
        let request = shop.request(SPANS);
        for (_, span) in spans(&request.resource_spans) {
            sent.insert(span_id(span), span.clone());
        }
        client.send(request).await?;
        requests.fetch_add(1, Ordering::AcqRel);
    }
    ensure!(client.refused == 0, "{} spans were refused", client.refused);
    Ok(Sent(sent))
}

impl Sent {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn span(&self, id: u64) -> Option<&Span> {
        self.0.get(&id)
    }

    /// Returns the number of spans that did not arrive. The others must have arrived once, and
    /// unchanged.
    pub(crate) fn missing_at(&self, backend: &Backend) -> Result<u64> {
        let taken = backend.taken();
        ensure!(taken.duplicates() == 0, "{} came twice", taken.duplicates());
        let mut missing = self.0.len() as u64;
        for (_, span) in spans(&taken.traces) {
            let same = self.span(span_id(span)) == Some(span);
            ensure!(same, "a span is not what it was: {span:?}");
            missing -= 1;
        }
        Ok(missing)
    }
}
