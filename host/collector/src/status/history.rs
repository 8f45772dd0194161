//! The history of the stages: the last events, and the counts of all.

use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

use crate::report::EventView;
use crate::time_text::rfc3339;

/// The number of events that are remembered: some days of a busy team's changes.
const EVENTS: usize = 512;

/// The last events, and the counts of all.
#[derive(Debug, Default)]
pub(crate) struct History {
    events: VecDeque<EventView>,
    sequence: u64,
    /// Swaps so far, by stage and outcome.
    swaps: BTreeMap<(String, &'static str), u64>,
    /// Durations of the published swaps, by stage.
    durations: BTreeMap<String, SwapDurations>,
}

/// The summed durations of swaps.
#[derive(Clone, Copy, Debug, Default)]
pub struct SwapDurations {
    /// The number of swaps.
    pub swaps: u64,
    /// The time from the request to the end, of all of them.
    pub seconds: f64,
    /// The longest pause of a shard in any of them.
    pub longest_pause_seconds: f64,
}

impl History {
    /// Adds an event, and sets its sequence and time.
    pub(crate) fn add(&mut self, mut event: EventView) {
        self.sequence += 1;
        event.sequence = self.sequence;
        event.at = rfc3339(SystemTime::now());
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Returns the events of one stage, or of all, with a higher sequence than `after`.
    pub(crate) fn since(&self, stage: Option<&str>, after: u64) -> Vec<EventView> {
        // A client with a higher sequence than ours has it from another run of the collector.
        let after = if after > self.sequence { 0 } else { after };
        let events = self.events.iter().filter(|event| {
            event.sequence > after && stage.is_none_or(|stage| event.stage == stage)
        });
        events.cloned().collect()
    }

    /// Counts the outcome of an attempt to change a stage.
    pub(crate) fn count(&mut self, stage: &str, outcome: &'static str) {
        *self.swaps.entry((stage.to_owned(), outcome)).or_default() += 1;
    }

    /// Adds the durations of one swap, in seconds.
    pub(crate) fn count_duration(&mut self, stage: &str, seconds: f64, pause_seconds: f64) {
        let durations = self.durations.entry(stage.to_owned()).or_default();
        durations.swaps += 1;
        durations.seconds += seconds;
        durations.longest_pause_seconds = durations.longest_pause_seconds.max(pause_seconds);
    }

    /// Returns the stage, outcome and count of all swaps.
    pub(crate) fn swaps(&self) -> Vec<(String, &'static str, u64)> {
        let swaps = self.swaps.iter();
        swaps
            .map(|((stage, outcome), count)| (stage.clone(), *outcome, *count))
            .collect()
    }

    /// Returns the durations of swaps by stage.
    pub(crate) fn durations(&self) -> Vec<(String, SwapDurations)> {
        let durations = self.durations.iter();
        durations
            .map(|(stage, durations)| (stage.clone(), *durations))
            .collect()
    }
}
