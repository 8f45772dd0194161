//! One stage's column: its figures, in all and by generation.

use std::time::Duration;

use super::bypass::Bypass;
use super::figure::{Figure, Side, Unit};
use super::reason::Reason;
use crate::plugin::FaultKind;

/// Names one stage's column, and the generation that a posting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The place of the column in [`Books::stages`](super::Books::stages).
    pub stage: usize,
    /// The generation's number.
    pub generation: u64,
}

/// One stage's column. It stays when the stage is taken out of the pipeline, because the books
/// balance only with its sums.
#[derive(Clone, Debug, Default)]
pub struct StageBooks {
    /// The stage's name in the config.
    pub name: String,
    /// The stage's position in the pipeline, from 0; `None` if it was taken out.
    pub position: Option<usize>,
    /// Items offered to the stage.
    pub input: u64,
    /// Items offered again after a fault. They are not in `input`, and not in `output` if they came
    /// through here before.
    pub retried: u64,
    /// Items that left the stage towards the next.
    pub output: u64,
    /// Items held now.
    pub held: u64,
    /// Bytes held now, as the host stores them.
    pub held_bytes: u64,
    /// Items that passed by without a judgement, because the plugin failed or its breaker is open.
    pub bypassed: u64,
    /// Calls of the plugin.
    pub calls: u64,
    /// Time inside these calls.
    pub call_time: Duration,
    /// Failed calls, in the order of [`FaultKind::ALL`].
    pub faults: [u64; FaultKind::ALL.len()],
    /// Instances made after a fault.
    pub restarts: u64,
    /// Shards whose breaker is open now.
    pub breakers_open: u64,
    /// Batches that are in quarantine now.
    pub quarantined: u64,
    /// The figures of the last generations, in the order in which they were last begun.
    pub generations: Vec<GenerationBooks>,
    dropped: Vec<DropCount>,
}

/// The calls whose processor time was measured: all first ones and one in 16 of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSamples {
    /// Their number.
    pub calls: u64,
    /// The items that they were offered.
    pub items: u64,
    /// The processor time inside them.
    pub time: Duration,
}

impl CpuSamples {
    /// Adds one call.
    pub(crate) fn add(&mut self, items: u64, time: Duration) {
        self.calls += 1;
        self.items += items;
        self.time += time;
    }
}

/// The figures of one generation in a stage.
#[derive(Clone, Debug, Default)]
pub struct GenerationBooks {
    /// Its number.
    pub number: u64,
    /// Items offered to it.
    pub input: u64,
    /// Items that left it towards the next stage.
    pub output: u64,
    /// Items that it dropped, for any reason.
    pub dropped: u64,
    /// Its calls.
    pub calls: u64,
    /// Time inside these calls.
    pub call_time: Duration,
    /// The calls whose processor time was measured.
    pub samples: CpuSamples,
    /// Failed calls.
    pub faults: u64,
    /// The items that passed it without a judgement.
    pub bypass: Bypass,
    /// The reasons of its manifest, as places in the column's `dropped`.
    reasons: Vec<usize>,
    /// The number of shards on which it runs. Its figures stay while it runs.
    shards: u32,
}

#[derive(Clone, Debug)]
struct DropCount {
    reason: String,
    items: u64,
}

/// The number of generations with figures of their own: the running one, the one before, a
/// candidate beside it, and one more to compare with. Running generations are never forgotten.
const GENERATIONS: usize = 4;

/// The most names of reasons in a column: four generations' worth of the most that a manifest may
/// have. Beyond that, a plugin that makes up new names with each generation drops under `other`.
const REASONS: usize = 1000;

const OTHER: &str = "other";

impl StageBooks {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    /// Returns the figures of this column that are whole numbers. They have no balance of their own:
    /// a stage also makes items.
    #[rustfmt::skip]
    pub fn columns(&self) -> [Figure; 10] {
        let figure = |name, value, metric, help| Figure::new(name, value, Side::Aside, Some(metric), help);
        [
            figure("input", self.input, "spandrel_stage_in_items_total", "Items offered to the stage."),
            figure("retried", self.retried, "spandrel_stage_retried_items_total", "Items offered again after a fault. They are not in `input`."),
            figure("output", self.output, "spandrel_stage_out_items_total", "Items that left the stage towards the next."),
            figure("held", self.held, "spandrel_stage_held_items", "Items held now."),
            figure("bypassed", self.bypassed, "spandrel_stage_bypassed_items_total", "Items that passed by without a judgement."),
            figure("held_bytes", self.held_bytes, "spandrel_stage_held_bytes", "Bytes held now, as the host stores them.").unit(Unit::Bytes),
            figure("calls", self.calls, "spandrel_stage_calls_total", "Calls of the plugin.").unit(Unit::Calls),
            figure("restarts", self.restarts, "spandrel_stage_restarts_total", "Instances made after a fault.").unit(Unit::Instances),
            figure("breakers_open", self.breakers_open, "spandrel_stage_breakers_open", "Shards whose breaker is open now.").unit(Unit::Shards),
            figure("quarantined", self.quarantined, "spandrel_stage_quarantined_batches", "Batches that are in quarantine now.").unit(Unit::Batches),
        ]
    }

    /// Returns the number of items dropped so far for each reason, by its name.
    pub fn dropped(&self) -> impl Iterator<Item = (&str, u64)> {
        let dropped = self.dropped.iter().filter(|dropped| dropped.items > 0);
        dropped.map(|dropped| (dropped.reason.as_str(), dropped.items))
    }

    /// Returns the number of items dropped so far, for all reasons.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|dropped| dropped.items).sum()
    }

    /// Returns the figures of a generation, while it is remembered.
    pub fn generation(&self, number: u64) -> Option<&GenerationBooks> {
        self.generations
            .iter()
            .find(|generation| generation.number == number)
    }

    /// Begins the figures of a generation; if it comes back, it goes on with its old figures.
    pub(super) fn open(&mut self, number: u64, reasons: &[String]) {
        let reasons = reasons.iter().map(|reason| self.reason(reason)).collect();
        let known = self
            .generations
            .iter()
            .position(|known| known.number == number);
        let mut figures = match known {
            Some(known) => self.generations.remove(known),
            None => GenerationBooks {
                number,
                ..GenerationBooks::default()
            },
        };
        figures.reasons = reasons;
        figures.shards += 1;
        self.generations.push(figures);
        self.forget();
    }

    /// Books that a generation does not run on a shard any more.
    pub(super) fn close(&mut self, number: u64) {
        if let Some(figures) = self.generation_mut(number) {
            figures.shards = figures.shards.saturating_sub(1);
        }
        self.forget();
    }

    /// Forgets the figures of the oldest generations that do not run.
    fn forget(&mut self) {
        while self.generations.len() > GENERATIONS {
            let retired = self.generations.iter().position(|known| known.shards == 0);
            let Some(retired) = retired else { return };
            self.generations.remove(retired);
        }
    }

    pub(crate) fn generation_mut(&mut self, number: u64) -> Option<&mut GenerationBooks> {
        self.generations
            .iter_mut()
            .rev()
            .find(|generation| generation.number == number)
    }

    pub(super) fn add_dropped(&mut self, generation: u64, reason: Reason, items: u64) {
        let known = self.generation_mut(generation).map(|figures| {
            figures.dropped += items;
            match reason {
                Reason::Plugin(index) => figures.reasons.get(usize::from(index)).copied(),
                _ => None,
            }
        });
        let place = match (known.flatten(), reason) {
            (Some(place), _) => place,
            (None, reason) => self.reason(reason.label()),
        };
        if let Some(dropped) = self.dropped.get_mut(place) {
            dropped.items += items;
        }
    }

    /// Counts a call, in the column and in its generation's figures.
    pub(crate) fn add_call(&mut self, generation: u64, elapsed: Duration) {
        self.calls += 1;
        self.call_time += elapsed;
        if let Some(figures) = self.generation_mut(generation) {
            figures.calls += 1;
            figures.call_time += elapsed;
        }
    }

    /// Counts items that are offered.
    pub(crate) fn add_input(&mut self, generation: u64, items: u64) {
        self.input += items;
        if let Some(figures) = self.generation_mut(generation) {
            figures.input += items;
        }
    }

    /// Counts items that leave towards the next stage.
    pub(crate) fn add_output(&mut self, generation: u64, items: u64) {
        self.output += items;
        if let Some(figures) = self.generation_mut(generation) {
            figures.output += items;
        }
    }

    /// Counts items that pass by without a judgement. Returns true if the bypass began with them.
    pub(crate) fn add_bypassed(&mut self, generation: u64, items: u64) -> bool {
        self.bypassed += items;
        let figures = self.generation_mut(generation);
        figures.is_some_and(|figures| figures.bypass.add(items))
    }

    /// Returns how many items had passed a generation by, if it judges again; only once. While a
    /// breaker is open, it is not known.
    pub(crate) fn ends_bypass(&mut self, generation: u64) -> Option<u64> {
        if self.breakers_open > 0 {
            return None;
        }
        let bypass = &mut self.generation_mut(generation)?.bypass;
        bypass.ends().then(|| bypass.items())
    }

    pub(crate) fn add_fault(&mut self, generation: u64, kind: FaultKind) {
        for (column, counted) in FaultKind::ALL.iter().zip(&mut self.faults) {
            if *column == kind {
                *counted += 1;
            }
        }
        if let Some(figures) = self.generation_mut(generation) {
            figures.faults += 1;
        }
    }

    /// Returns the place of a reason's name, and adds the name if it is new.
    fn reason(&mut self, name: &str) -> usize {
        let known = |name| self.dropped.iter().position(|known| known.reason == name);
        if let Some(place) = known(name) {
            return place;
        }
        let name = if self.dropped.len() < REASONS {
            name
        } else if let Some(place) = known(OTHER) {
            return place;
        } else {
            OTHER
        };
        self.dropped.push(DropCount {
            reason: name.to_owned(),
            items: 0,
        });
        self.dropped.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize, prefix: &str) -> Vec<String> {
        (0..count).map(|n| format!("{prefix}{n}")).collect()
    }

    /// A reason keeps its name when another generation puts it at another index, and the figures of
    /// a generation that comes back go on.
    #[test]
    fn reasons_are_known_by_name() {
        let mut column = StageBooks::new("wasm/a".to_owned());
        column.open(1, &["health".to_owned(), "noise".to_owned()]);
        column.add_dropped(1, Reason::Plugin(1), 3);
        column.open(2, &["noise".to_owned()]);
        column.add_dropped(2, Reason::Plugin(0), 4);
        column.add_dropped(2, Reason::Plugin(9), 1);
        column.open(1, &["health".to_owned(), "noise".to_owned()]);
        column.add_dropped(1, Reason::Fault, 5);
        let dropped: Vec<_> = column.dropped().collect();
        assert_eq!(dropped, [("noise", 7), ("unnamed", 1), ("fault", 5)]);
        let of = |number| column.generation(number).map(|figures| figures.dropped);
        assert_eq!((of(1), of(2)), (Some(8), Some(5)));
        assert_eq!(column.dropped_total(), 13);
    }

    /// A running generation keeps its figures and its reasons, however many candidates come and go.
    #[test]
    fn who_runs_is_not_forgotten() {
        let mut column = StageBooks::new("wasm/a".to_owned());
        column.open(1, &names(1, "noise"));
        for candidate in 2..20 {
            column.open(candidate, &[]);
            column.close(candidate);
        }
        column.add_dropped(1, Reason::Plugin(0), 3);
        assert_eq!(column.dropped().collect::<Vec<_>>(), [("noise0", 3)]);
        assert_eq!(column.generations.len(), GENERATIONS);
    }

    /// Generations and names of reasons do not pile up over thousands of swaps, and no drop is
    /// lost.
    #[test]
    fn a_column_is_bounded() {
        let mut column = StageBooks::new("wasm/a".to_owned());
        for number in 1..=3000 {
            column.open(number, &names(1, &format!("g{number}_")));
            column.add_dropped(number, Reason::Plugin(0), 1);
            column.close(number);
        }
        assert_eq!(column.generations.len(), GENERATIONS);
        assert_eq!(column.dropped_total(), 3000);
        assert!(column.dropped.len() <= REASONS + 1);
        assert!(
            column
                .dropped()
                .any(|(name, items)| name == OTHER && items == 2000)
        );
    }
}
