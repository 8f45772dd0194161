//! Clients that send as fast as they are answered, until they are told to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use spandrel_tests::client::Client;
use spandrel_tests::shop::{Shop, Trace, now, request, span_id, span_ids};
use tokio::task::JoinSet;

const CLIENTS: u64 = 4;
/// The spans of a request.
const SPANS: usize = 60;
/// One request in this many is sent again later.
const REPEATED: u64 = 5;
/// The most requests that wait to be sent again. So the number of spans between a span and its
/// duplicate stays far below what the plugin remembers.
const WAITING: usize = 8;

/// The traffic besides new spans.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// A fixed share is sent again, if possible after the next swap.
    Repeating,
    /// Traces come in two parts, the second in the next request.
    InParts,
}

/// Tells the clients how far the swaps are, and when to stop.
#[derive(Debug, Default)]
pub(super) struct Load {
    begun: AtomicU64,
    ended: AtomicU64,
    stopped: AtomicBool,
}

/// The results of one client.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) client: Client,
    /// Spans that were sent again.
    pub(super) repeated: u64,
    /// Repeated spans with a whole swap between the original and the repeat.
    pub(super) across: u64,
    /// The ids of the spans of each trace that was delivered whole.
    pub(super) traces: Vec<Vec<u64>>,
}

impl Load {
    pub(super) fn swap_begins(&self) {
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn swap_ended(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) async fn start(
        self: &Arc<Self>,
        address: &str,
        style: Style,
    ) -> Result<JoinSet<Sent>> {
        let mut clients = JoinSet::new();
        for seed in 0..CLIENTS {
            let sent = Sent {
                client: Client::connect(address).await?,
                repeated: 0,
                across: 0,
                traces: Vec::new(),
            };
            let (load, shop) = (Arc::clone(self), Shop::new(seed));
            match style {
                Style::Repeating => clients.spawn(load.repeat(sent, shop)),
                Style::InParts => clients.spawn(load.send_in_parts(sent, shop)),
            };
        }
        Ok(clients)
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    async fn repeat(self: Arc<Self>, mut sent: Sent, mut shop: Shop) -> Sent {
        let mut waiting: VecDeque<(ExportTraceServiceRequest, u64)> = VecDeque::new();
        let mut count = 0_u64;
        while self.goes_on() {
            let first = shop.request(SPANS);
            count += 1;
            let again = count.is_multiple_of(REPEATED).then(|| first.clone());
            if sent.client.send(first).await.is_err() {
                continue;
            }
            if let Some(again) = again {
                waiting.push_back((again, self.begun.load(Ordering::Acquire)));
            }
            let ended = self.ended.load(Ordering::Acquire);
            // True if a swap that began after the first was answered has ended.
            let is_across = |begun: u64| ended > begun;
            let due = |(_, begun): &(_, u64)| is_across(*begun);
            if (waiting.len() > WAITING || waiting.front().is_some_and(due))
                && let Some((again, begun)) = waiting.pop_front()
            {
                let items = span_ids(&again).count() as u64;
                if sent.client.send(again).await.is_ok() {
                    sent.repeated += items;
                    sent.across += if is_across(begun) { items } else { 0 };
                }
            }
        }
        sent
    }

    async fn send_in_parts(self: Arc<Self>, mut sent: Sent, mut shop: Shop) -> Sent {
        let mut rest = Trace::new();
        let mut traces: Vec<Vec<u64>> = Vec::new();
        while self.goes_on() {
            let before = std::mem::take(&mut traces);
            let mut part = std::mem::take(&mut rest);
            while part.len() < SPANS {
                let mut trace = shop.visit(now());
                traces.push(trace.iter().map(|(_, span)| span_id(span)).collect());
                rest.append(&mut trace.split_off(trace.len() / 2));
                part.append(&mut trace);
            }
            if sent.client.send(request(part)).await.is_err() {
                // Neither the traces that end here nor those that begin here are delivered whole.
                rest.clear();
                traces.clear();
                continue;
            }
            sent.traces.extend(before);
        }
        sent
    }
}
