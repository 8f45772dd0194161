//! `probation` of a stage: how long a generation is watched after it was published, and which
//! figures make it fail. The collector judges by it.

use std::time::Duration;

use crate::text::section::Section;

/// The time for which a generation is watched, and the limits on it meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbationConfig {
    /// The shortest time until it passes. 60 s: most jobs that run each minute have been seen.
    pub time: Duration,
    /// The lowest number of calls until it passes. 1000: a failure in one of a thousand batches
    /// shows.
    pub batches: u64,
    /// The number of failed calls that are tolerated, besides those that the generation before had
    /// as well. 0: the first fault of a new plugin is one too many.
    pub max_faults: u64,
    /// The increase of the share of dropped items that is tolerated, from 0 to 1. 0.5: filters are
    /// changed to drop other things, rarely to drop half of the traffic more.
    pub max_drop_increase: f64,
    /// The factor by which an item may take longer. 5: more than another job or another machine's
    /// load causes, less than a quadratic loop.
    pub max_latency_ratio: f64,
    /// The number of items with a known fate before shares of dropped items are compared. 100: by
    /// chance, such a share is then off by 10 %, not by 50 %.
    pub min_items: u64,
    /// True if the operator said that more is dropped from now on: dropped items are then not
    /// evidence.
    pub expects_drops: bool,
}

impl Default for ProbationConfig {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            batches: 1000,
            max_faults: 0,
            max_drop_increase: 0.5,
            max_latency_ratio: 5.0,
            min_items: 100,
            expects_drops: false,
        }
    }
}

/// Reads when a generation that was swapped in is rolled back.
pub(crate) fn read(section: &Section<'_>) -> ProbationConfig {
    let default = ProbationConfig::default();
    ProbationConfig {
        time: section.duration("time", default.time),
        batches: section.integer("batches", default.batches, 0..=1_000_000_000),
        max_faults: section.integer("max_faults", default.max_faults, 0..=1_000_000_000),
        max_drop_increase: section.float("max_drop_increase", default.max_drop_increase, 0.0..=1.0),
        max_latency_ratio: section.float("max_latency_ratio", default.max_latency_ratio, 1.0..=1e6),
        min_items: section.integer("min_items", default.min_items, 1..=1_000_000_000),
        // A swap request sets this, not the configuration.
        expects_drops: false,
    }
}
