//! Sends the minute: a client for each service, and rounds compressed in time.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use anyhow::{Context as _, Result};
use spandrel_harness::client::Client;
use spandrel_harness::shop::attribute::find;
use spandrel_harness::shop::{Export, Minute, SERVICES, Shop, now, request, span_id, spans};
use tokio::task::JoinSet;
use tokio::time::{Interval, interval};

/// The number of visitors in the minute.
const VISITS: u64 = 600;
/// The number of visitors who come at the moment when the collector is stopped.
const LAST_VISITS: usize = 25;
/// The number of visitors in a round after the minute.
const MORE_VISITS: usize = 40;
/// The duration of a round of exports here. It stands for five seconds of the shop.
const ROUND: Duration = Duration::from_millis(150);
const SEED: u64 = 20_261_122;

/// The data that was sent to the collector.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// Spans, counted each time they were sent.
    pub(crate) spans: u64,
    /// Spans by service, counted each time they were sent.
    pub(crate) by_service: BTreeMap<String, u64>,
    /// Health checks, counted each time they were sent.
    pub(crate) probes: u64,
    /// Spans, without health checks, that had been sent before, counted each time they were sent
    /// again.
    pub(crate) repeated: u64,
    /// Spans whose export was answered with OK.
    pub(crate) delivered: u64,
    /// The ids of all spans.
    pub(crate) ids: HashSet<u64>,
}

impl Sent {
    fn count(&mut self, export: &Export) {
        let times = if export.twice { 2 } else { 1 };
        self.spans += export.spans * times;
        let name = SERVICES.get(export.service).copied().unwrap_or_default();
        *self.by_service.entry(name.to_owned()).or_default() += export.spans * times;
        for (_, span) in spans(&export.request.resource_spans) {
            let is_new = self.ids.insert(span_id(span));
            let agent = find(&span.attributes, "user_agent.original").unwrap_or_default();
            if agent.starts_with("kube-probe/") {
                self.probes += times;
            } else {
                self.repeated += times - u64::from(is_new);
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
    /// The clients, one for each service.
    clients: Vec<Client>,
    /// The rest of the minute that is still to be sent: a round for every five seconds of it.
    rounds: VecDeque<Vec<Export>>,
    pace: Interval,
}

impl Traffic {
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let mut shop = Shop::new(SEED);
        let minute = Minute::of(&mut shop, now().saturating_sub(60_000_000_000), VISITS);
        let mut clients = Vec::new();
        for _ in SERVICES {
            clients.push(Client::connect(address).await?);
        }
        Ok(Self {
            shop,
            rounds: rounds(&minute).into(),
            minute,
            sent: Sent::default(),
            clients,
            pace: interval(ROUND),
        })
    }

    /// Sends this many rounds of the minute.
    pub(crate) async fn send_rounds(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let Some(round) = self.rounds.pop_front() else {
                break;
            };
            self.send_round(round).await?;
        }
        Ok(())
    }

    /// Sends the rest of the minute.
    pub(crate) async fn send_rest(&mut self) -> Result<()> {
        self.send_rounds(self.rounds.len()).await
    }

    /// Sends round after round until `work` is done. When the minute is over, more visitors come.
    pub(crate) async fn send_during<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let is_done = Cell::new(false);
        let work = async {
            let done = work.await;
            is_done.set(true);
            done
        };
        let send = async {
            while !is_done.get() {
                let round = match self.rounds.pop_front() {
                    Some(round) => round,
                    None => self.more(),
                };
                self.send_round(round).await?;
            }
            anyhow::Ok(())
        };
        let (done, sent) = futures_util::future::join(work, send).await;
        sent?;
        done
    }

    /// Sends the first round of the minute again, like clients that did not get the answers.
    /// Returns the number of spans, without health checks, that the collector has seen before.
    pub(crate) async fn send_again(&mut self) -> Result<u64> {
        let before = self.sent.repeated;
        let first = rounds(&self.minute).into_iter().next();
        self.send_round(first.unwrap_or_default()).await?;
        Ok(self.sent.repeated - before)
    }

    fn more(&mut self) -> Vec<Export> {
        let visits = (0..MORE_VISITS).flat_map(|_| self.shop.visit(now()));
        let each = visits.map(|(service, span)| Export {
            service,
            request: request(vec![(service, span)]),
            spans: 1,
            twice: false,
        });
        each.collect()
    }

    /// Sends a round, with all services at the same time.
    async fn send_round(&mut self, round: Vec<Export>) -> Result<()> {
        self.pace.tick().await;
        let mut sending = JoinSet::new();
        for export in round {
            self.sent.count(&export);
            let client = self.clients.get(export.service);
            let mut client = client.context("a service without a client")?.clone();
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
        Ok(())
    }

    /// Sends the visitors who come at the last moment.
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

/// Splits the minute into rounds. A round ends where the services begin again from the first.
fn rounds(minute: &Minute) -> Vec<Vec<Export>> {
    let exports = minute
        .exports
        .chunk_by(|last, next| next.service >= last.service);
    exports.map(<[Export]>::to_vec).collect()
}
