//! The measurements while plugins are swapped, as a table and against their bounds.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use spandrel_tests::admin::Report;

/// The highest allowed ratio of the latency to the one in the steady state.
const LATENCY_RATIO: f64 = 1.5;
/// The highest allowed difference of the memory in the end.
const MEMORY_SHARE: f64 = 0.02;

/// The measurements.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Latencies without swaps, in microseconds.
    pub(super) steady: Vec<u32>,
    /// Latencies while swaps follow one another.
    pub(super) swapping: Vec<u32>,
    pub(super) reports: Vec<Report>,
    /// The collector's memory after each swap.
    pub(super) memory_kib: Vec<u64>,
}

impl Figures {
    fn pauses(&self) -> Vec<u64> {
        self.reports.iter().map(|report| report.pause_us).collect()
    }

    fn latency_ratio(&self) -> f64 {
        let steady = quantile(&self.steady, 99).max(1);
        f64::from(quantile(&self.swapping, 99)) / f64::from(steady)
    }

    /// Returns the memory after a tenth of the swaps and after the last ones, each the median of a
    /// tenth.
    fn memory(&self) -> (u64, u64) {
        let tenth = (self.memory_kib.len() / 10).max(1);
        let early = self.memory_kib.iter().copied().skip(tenth).take(tenth);
        let late = self.memory_kib.iter().rev().copied().take(tenth);
        let early: Vec<u64> = early.collect();
        let late: Vec<u64> = late.collect();
        (quantile(&early, 50), quantile(&late, 50))
    }

    pub(super) fn table(&self, name: &str) -> String {
        let pauses = self.pauses();
        let took: Vec<u64> = self.reports.iter().map(|it| it.elapsed_ms).collect();
        let (before, after) = self.memory();
        let mut table = format!("\n{name}, {} swaps\n", self.reports.len());
        let mut row = |what: &str, cells: [String; 3]| {
            let [one, two, three] = cells;
            // Writing to a String does not fail.
            writeln!(table, "  {what:<26} {one:>14} {two:>14} {three:>14}").unwrap_or_default();
        };
        let heads = |cells: [&str; 3]| cells.map(str::to_owned);
        row("", heads(["median", "p99", "longest"]));
        row("pause of a shard, us", shares(&pauses));
        row("a swap, ms", shares(&took));
        row("latency, steady, us", shares(&self.steady));
        row("latency, swapping, us", shares(&self.swapping));
        row("", heads(["early", "late", "ratio"]));
        let share = after as f64 / before.max(1) as f64;
        row(
            "memory, KiB",
            [before.to_string(), after.to_string(), format!("{share:.3}")],
        );
        let ratio = format!("{:.2}", self.latency_ratio());
        row("p99 latency", [String::new(), String::new(), ratio]);
        table
    }

    pub(super) fn check_pause(&self, most: Duration) -> Result<()> {
        let longest = Duration::from_micros(quantile(&self.pauses(), 100));
        ensure!(longest <= most, "a shard paused for {longest:?}");
        Ok(())
    }

    pub(super) fn check_latency(&self) -> Result<()> {
        let ratio = self.latency_ratio();
        ensure!(ratio <= LATENCY_RATIO, "p99 latency is {ratio:.2} times");
        Ok(())
    }

    pub(super) fn check_memory(&self) -> Result<()> {
        let (before, after) = self.memory();
        let share = (after as f64 / before.max(1) as f64 - 1.0).abs();
        ensure!(
            share <= MEMORY_SHARE,
            "memory went from {before} to {after} KiB"
        );
        Ok(())
    }
}

fn shares<T: Copy + Ord + Default + ToString>(values: &[T]) -> [String; 3] {
    [50, 99, 100].map(|percent| quantile(values, percent).to_string())
}

/// Returns the value that this percentage of the values does not exceed.
fn quantile<T: Copy + Ord + Default>(values: &[T], percent: usize) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}
