//! Drops batches that find no room. The log gets one line when the drops begin and one when they
//! have ended, however often there is room in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::ledger::{FullPart, Ledger, Tally};

/// The time without a drop after which an overflow has ended: a full queue has room for a batch now
/// and then, and is full again with the next one.
const ENDED_AFTER: Duration = Duration::from_secs(10);

/// The overflow of one exporter or of one pipeline: it drops batches that find no room, and logs
/// its beginning and its end.
#[derive(Debug)]
pub(crate) struct Overflow {
    ledger: Arc<Ledger>,
    /// The exporter's name; `None` for the pipeline.
    exporter: Option<String>,
    is_on: AtomicBool,
    period: Mutex<Option<OverflowPeriod>>,
}

#[derive(Debug)]
struct OverflowPeriod {
    began: Instant,
    last: Instant,
    batches: u64,
    items: u64,
}

impl Overflow {
    pub(crate) fn of_exporter(ledger: Arc<Ledger>, exporter: String) -> Self {
        Self::new(ledger, Some(exporter))
    }

    pub(crate) fn of_pipeline(ledger: Arc<Ledger>) -> Self {
        Self::new(ledger, None)
    }

    fn new(ledger: Arc<Ledger>, exporter: Option<String>) -> Self {
        Self {
            ledger,
            exporter,
            is_on: AtomicBool::new(false),
            period: Mutex::default(),
        }
    }

    /// Drops a batch for this exporter.
    pub(crate) fn drop_batch(&self, batch: Batch) {
        self.drop_tally(batch.tally, FullPart::Queues);
    }

    /// Drops these items.
    pub(crate) fn drop_tally(&self, tally: Tally, full: FullPart) {
        let items = tally.items();
        tally.overflow(full);
        if items > 0 && self.add(items) {
            self.tell_begun(full);
        }
    }

    /// Notes that there was room for a batch. Costs one atomic load while nothing is dropped.
    pub(crate) fn has_room(&self) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut period = self.lock();
        if period
            .as_ref()
            .is_some_and(|period| period.last.elapsed() < ENDED_AFTER)
        {
            return;
        }
        let ended = period.take();
        self.is_on.store(false, Ordering::Relaxed);
        drop(period);
        if let Some(ended) = ended {
            self.tell_ended(&ended);
        }
    }

    /// Counts dropped items. Returns true if the overflow began with them.
    fn add(&self, items: u64) -> bool {
        let now = Instant::now();
        let mut period = self.lock();
        let begins = period.is_none();
        let period = period.get_or_insert(OverflowPeriod {
            began: now,
            last: now,
            batches: 0,
            items: 0,
        });
        period.last = now;
        period.batches += 1;
        period.items += items;
        self.is_on.store(true, Ordering::Relaxed);
        begins
    }

    fn tell_begun(&self, full: FullPart) {
        let (pipeline, reason) = (self.ledger.pipeline(), full.label());
        match &self.exporter {
            Some(exporter) => tracing::warn!(
                pipeline,
                exporter,
                reason,
                "exporter's queue is full, items that do not fit are dropped for this exporter alone"
            ),
            None => tracing::warn!(
                pipeline,
                reason,
                "pipeline is full, items that other pipelines accept are dropped for this one alone"
            ),
        }
    }

    fn tell_ended(&self, ended: &OverflowPeriod) {
        let pipeline = self.ledger.pipeline();
        let OverflowPeriod { batches, items, .. } = *ended;
        let lasted = ended.last.duration_since(ended.began);
        let lasted_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        match &self.exporter {
            Some(exporter) => tracing::info!(
                pipeline,
                exporter,
                batches,
                items,
                lasted_ms,
                "exporter's queue has room again"
            ),
            None => tracing::info!(
                pipeline,
                batches,
                items,
                lasted_ms,
                "pipeline has room again"
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<OverflowPeriod>> {
        self.period.lock()
    }
}
