//! The health of a plugin: how often it has failed lately and on which batches, and so whether it
//! is called.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, BreakerState};
use super::counts::StageCounts;
use super::failed_batches::{ATTEMPTS, FailedBatches};
use super::rebuild_wait::RebuildWait;
use crate::plugin::{Fault, Input};
use crate::stage::spec::BreakerConfig;

/// Repeated faults are logged once in this time, with their number.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The breaker, the batches on which the plugin failed, and the log of its faults.
#[derive(Debug)]
pub(super) struct PluginHealth {
    breaker: Breaker,
    failed_batches: FailedBatches,
    log: FaultLog,
    rebuild: RebuildWait,
}

impl PluginHealth {
    pub(super) fn new(config: BreakerConfig) -> Self {
        Self {
            breaker: Breaker::new(config),
            failed_batches: FailedBatches::default(),
            log: FaultLog::default(),
            rebuild: RebuildWait::new(),
        }
    }

    /// Sets other limits for the breaker.
    pub(super) fn configure(&mut self, config: BreakerConfig) {
        self.breaker.configure(config);
    }

    /// Returns true if the plugin must not be called, because its breaker is open.
    pub(super) fn is_blocked(&self) -> bool {
        self.breaker.state() == BreakerState::Open
    }

    /// Returns true if a lost instance may be made again.
    pub(super) fn may_rebuild(&self) -> bool {
        self.rebuild.is_over()
    }

    /// Returns true if any batch is remembered on which the plugin failed.
    pub(super) fn remembers_batches(&self) -> bool {
        !self.failed_batches.is_empty()
    }

    /// Returns how often the plugin failed on this batch.
    pub(super) fn failures(&mut self, input: &mut Input) -> u32 {
        if self.failed_batches.is_empty() {
            return 0;
        }
        input.make_whole();
        self.failed_batches.failures(input.bytes())
    }

    /// Records that a call with this batch succeeded.
    pub(super) fn succeed(&mut self, bytes: &[u8], counts: &mut StageCounts) {
        self.failed_batches.success(bytes);
        self.rebuild.success();
        if self.breaker.success() {
            counts.set_breaker(false);
            tracing::info!(stage = %counts.stage(), "breaker closed, the plugin works again");
        }
    }

    /// Records that a call failed: counts and logs the fault. `bytes` is the batch that is to
    /// blame, if there is one.
    pub(super) fn fail(&mut self, fault: &Fault, bytes: Option<&[u8]>, counts: &mut StageCounts) {
        counts.add_fault(fault.kind);
        let attempts = bytes.map_or(0, |bytes| self.failed_batches.fault(bytes));
        if let Some(suppressed) = self.log.admit() {
            tracing::warn!(
                stage = %counts.stage(), fault = fault.kind.label(), error = %fault.message, suppressed,
                "plugin failed"
            );
        }
        if attempts == ATTEMPTS {
            tracing::warn!(
                stage = %counts.stage(), attempts,
                "batch quarantined, the plugin will not be asked about it again"
            );
        }
        self.trip(counts);
        counts.set_failed_batches(self.failed_batches.batches(ATTEMPTS));
    }

    /// Counts a failure in the breaker, and sets the time when the plugin is instantiated again.
    pub(super) fn trip(&mut self, counts: &mut StageCounts) {
        if let Some(open_for) = self.breaker.fault() {
            counts.set_breaker(true);
            let wait_ms = u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(stage = %counts.stage(), wait_ms, "breaker opened, the plugin is not called");
        }
        self.rebuild.fault();
    }

    /// Forgets batches that were not seen for long.
    pub(super) fn forget(&mut self, counts: &mut StageCounts) {
        self.failed_batches.forget();
        counts.set_failed_batches(self.failed_batches.batches(ATTEMPTS));
    }
}

/// Keeps a plugin that fails on every batch from filling the log.
#[derive(Debug, Default)]
struct FaultLog {
    last: Option<Instant>,
    suppressed: u64,
}

impl FaultLog {
    /// Returns the number of faults that were not logged, if this one should be logged.
    fn admit(&mut self) -> Option<u64> {
        if self.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            self.suppressed += 1;
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.suppressed))
    }
}
