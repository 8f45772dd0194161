//! The minute, sent: a client for each service, rounds compressed in time.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use spandrel_tests::client::Client;
use spandrel_tests::shop::attribute::find;
use spandrel_tests::shop::{Export, Minute, SERVICES, Shop, now, request, span_id, spans};
use tokio::task::JoinSet;
use tokio::time::interval;

/// Visitors in the minute.
const VISITS: u64 = 600;
/// Visitors that come in the moment in which the collector is stopped.
const LAST_VISITS: usize = 25;
/// A round of exports, five seconds of the shop, takes this long here.
const ROUND: Duration = Duration::from_millis(150);
const SEED: u64 = 20_261_122;

/// What was sent to the collector.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Spans, each as often as it was sent.
    pub(crate) spans: u64,
    /// Spans by service, each as often as it was sent.
    pub(crate) by_service: BTreeMap<String, u64>,
    /// Health checks, each as often as it was sent.
    pub(crate) probes: u64,
    /// Spans that are no health checks and were sent a second time.
    pub(crate) repeated: u64,
    /// Spans whose export was answered with OK.
    pub(crate) delivered: u64,
    /// All ids.
    pub(crate) ids: HashSet<u64>,
}

impl Sent {
    fn count(&mut self, export: &Export) {
        let times = if export.twice { 2 } else { 1 };
        self.spans += export.spans * times;
        let name = SERVICES.get(export.service).copied().unwrap_or_default();
        *self.by_service.entry(name.to_owned()).or_default() += export.spans * times;
        for (_, span) in spans(&export.request.resource_spans) {
            self.ids.insert(span_id(span));
            let agent = find(&span.attributes, "user_agent.original").unwrap_or_default();
            if agent.starts_with("kube-probe/") {
                self.probes += times;
            } else {
                self.repeated += times - 1;
            }
        }
    }
}

/// The traffic of the demo.
#[derive(Debug)]
pub(crate) struct Traffic {
    shop: Shop,
    pub(crate) minute: Minute,
    pub(crate) sent: Sent,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        let mut shop = Shop::new(SEED);
        let minute = shop.minute(now().saturating_sub(60_000_000_000), VISITS);
        Self {
            shop,
            minute,
            sent: Sent::default(),
        }
    }

    /// Sends the minute: a round for every five seconds of it, the services at the same time.
    pub(crate) async fn send_minute(&mut self, address: &str) -> Result<()> {
        let mut clients = Vec::new();
        for _ in SERVICES {
            clients.push(Client::connect(address).await?);
        }
        let mut rounds = interval(ROUND);
        let mut exports = self.minute.exports.iter().peekable();
        while let Some(first) = exports.next() {
            rounds.tick().await;
            let mut round = vec![first];
            // A round ends where the services begin again from the first.
            while let Some(next) = exports.next_if(|next| {
                round
                    .last()
                    .is_some_and(|last| next.service >= last.service)
            }) {
                round.push(next);
            }
            let mut sending = JoinSet::new();
            for export in round {
                self.sent.count(export);
                let export = export.clone();
                let mut client = clients
                    .get(export.service)
                    .context("a service without a client")?
                    .clone();
                sending.spawn(async move {
                    if export.twice {
                        client.send(export.request.clone()).await?;
                    }
                    client.send(export.request).await?;
                    anyhow::Ok(client.delivered.len())
                });
            }
            while let Some(done) = sending.join_next().await {
                self.sent.delivered += u64::try_from(done??)?;
            }
        }
        Ok(())
    }

    /// Sends the visitors who come in the last moment.
    pub(crate) async fn send_last(&mut self, address: &str) -> Result<()> {
        let mut client = Client::connect(address).await?;
        for _ in 0..LAST_VISITS {
            let visit = self.shop.visit(now());
            for (service, span) in visit {
                let export = Export {
                    service,
                    request: request(vec![(service, span)]),
                    spans: 1,
                    twice: false,
                };
                self.sent.count(&export);
                client.send(export.request).await?;
            }
        }
        self.sent.delivered += u64::try_from(client.delivered.len())?;
        Ok(())
    }
}
