//! The usual behaviour of a running generation: its figures in the last minute or so.

use std::collections::VecDeque;
use std::time::Duration;

use crate::stage::probation::Figures;

/// The interval of readings of the running generation's figures, and the number of readings that
/// are kept. Together they cover the minute before a swap.
pub(crate) const READ_EVERY: Duration = Duration::from_secs(10);
const READINGS: usize = 7;
/// The number of calls below which figures say little about the usual behaviour.
const ENOUGH_CALLS: u64 = 20;

/// The last readings of the figures of running generations.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    /// Generation numbers with the figures at each reading, oldest first.
    readings: VecDeque<(u64, Figures)>,
}

impl Readings {
    /// Remembers what a generation has done so far.
    pub(crate) fn add(&mut self, number: u64, figures: Figures) {
        if self.readings.len() >= READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back((number, figures));
    }

    /// Returns what a generation, which has done `figures` by now, did since the oldest reading.
    pub(crate) fn recent(&self, number: u64, figures: Figures) -> Figures {
        let mut readings = self.readings.iter();
        let oldest = readings.find(|(of, _)| *of == number);
        let recent = oldest.map(|(_, earlier)| figures.since(*earlier));
        // After a quiet minute its whole life is the better measure.
        recent
            .filter(|recent| recent.calls >= ENOUGH_CALLS)
            .unwrap_or(figures)
    }
}
