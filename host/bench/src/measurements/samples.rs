//! CPU time at both ends of a phase.

use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::error::BenchError;
use crate::process::{Cpu, CpuTime};

/// Reads the clocks when a phase begins, and when the last of its items arrived.
#[derive(Debug)]
pub(crate) struct Samples {
    began: Instant,
    collector_before: Option<Cpu>,
    backend_before: Duration,
    /// The time from the beginning of the phase to its end.
    pub(crate) elapsed: Duration,
    pub(crate) collector: Option<CpuTime>,
    pub(crate) backend: Duration,
    /// The number of items of the phase that must arrive and had arrived when it was over. The cost
    /// of later items came after the last reading of the clocks.
    pub(crate) plain: u64,
}

impl Samples {
    pub(crate) async fn begin(pid: Option<u32>, backend: &Backend) -> Result<Self, BenchError> {
        Ok(Self {
            collector_before: pid.and_then(Cpu::of),
            backend_before: backend.cpu().await?,
            began: Instant::now(),
            elapsed: Duration::ZERO,
            collector: None,
            backend: Duration::ZERO,
            plain: 0,
        })
    }

    /// Takes this moment as the end of the phase; another call moves it.
    pub(crate) async fn end(
        &mut self,
        pid: Option<u32>,
        backend: &Backend,
    ) -> Result<(), BenchError> {
        self.elapsed = self.began.elapsed();
        self.collector = self.collector_now(pid);
        self.backend = backend.cpu().await?.saturating_sub(self.backend_before);
        Ok(())
    }

    pub(crate) fn collector_until_now(&self, pid: Option<u32>) -> Option<Duration> {
        self.collector_now(pid).map(|spent| spent.total)
    }

    fn collector_now(&self, pid: Option<u32>) -> Option<CpuTime> {
        let now = pid.and_then(Cpu::of)?;
        Some(now.since(self.collector_before.as_ref()?))
    }
}
