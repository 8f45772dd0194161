//! The counters of what one receiver's senders offered, in items, and of its outcome.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use spandrel_wire::Signal;

use super::Acceptance;

/// The counters of one receiver, by signal. They count requests whose items could be counted: a
/// request that is not valid has none (see [`Books::invalid_requests`](crate::ledger::Books)).
#[derive(Debug, Default)]
pub struct OfferCounters {
    traces: Counters,
    metrics: Counters,
    logs: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    replaced: AtomicU64,
}

impl OfferCounters {
    fn of(&self, signal: Signal) -> &Counters {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        }
    }

    /// Returns the number of items that were let in.
    pub fn accepted(&self, signal: Signal) -> u64 {
        self.of(signal).accepted.load(Ordering::Relaxed)
    }

    /// Returns the number of items whose sender was refused, or went away before they were let in.
    pub fn refused(&self, signal: Signal) -> u64 {
        self.of(signal).refused.load(Ordering::Relaxed)
    }

    /// Returns the number of texts in which something was replaced, because it was not UTF-8,
    /// including those of requests that were refused later.
    pub fn replaced_texts(&self, signal: Signal) -> u64 {
        self.of(signal).replaced.load(Ordering::Relaxed)
    }

    pub(super) fn replaced(&self, signal: Signal, accepted: &Acceptance) {
        let texts = accepted.replaced.count as u64;
        if texts > 0 {
            let replaced = &self.of(signal).replaced;
            replaced.fetch_add(texts, Ordering::Relaxed);
        }
    }

    pub(super) fn offer(&self, signal: Signal, items: u64, invalid: u64) -> Offer<'_> {
        Offer {
            counters: self.of(signal),
            is_in: AtomicBool::new(false),
            items,
            invalid,
        }
    }
}

/// The items of one request. They are counted when it is dropped, so those of a sender that went
/// away before its answer are counted, too.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    counters: &'a Counters,
    is_in: AtomicBool,
    items: u64,
    /// The number of further items that are refused, whatever becomes of the others.
    invalid: u64,
}

impl Offer<'_> {
    /// Sets whether the pipelines own the items by now.
    pub(super) fn set_in(&self, is_in: bool) {
        self.is_in.store(is_in, Ordering::Relaxed);
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        let Counters {
            accepted, refused, ..
        } = self.counters;
        let is_in = self.is_in.load(Ordering::Relaxed);
        let counter = if is_in { accepted } else { refused };
        counter.fetch_add(self.items, Ordering::Relaxed);
        if self.invalid > 0 {
            refused.fetch_add(self.invalid, Ordering::Relaxed);
        }
    }
}
