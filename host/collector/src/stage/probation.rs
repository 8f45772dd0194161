//! Probation: judges whether a generation that was just published does as well as the one before
//! it.
//!
//! Nothing here watches the generations: the caller hands in the figures of both from time to time,
//! and is told to go on, that the new one passed, or why it must be rolled back.

use std::ops::AddAssign;
use std::time::Duration;

use spandrel_pipeline::ledger::{CpuSamples, GenerationBooks};

use spandrel_config::probation::ProbationConfig;

/// The number of measured calls before latency is judged: the first calls of each instance pay for
/// its memory. Shares of dropped items are compared after as many calls, or after [`EVERYTHING_ITEMS`]:
/// the items of one batch resemble each other, and a client that sends some batches again after a
/// pause does not make the plugin bad.
const MIN_CALLS: u64 = 20;
/// The number of items before a generation is said to drop everything, if there is no other to
/// compare it with, or the other one dropped much: ten times as many as a comparison needs.
const EVERYTHING_ITEMS: u64 = 1000;
/// The share of dropped items from which on a generation drops everything.
const EVERYTHING: f64 = 0.99;
/// The share of dropped items in the generation before above which it does not matter that the new
/// one drops everything.
const ALMOST_EVERYTHING: f64 = 0.95;
/// The time that is taken off before latency is judged, so that one call that went on up to its
/// deadline (100 ms by default) is never the reason.
const LATENCY_SLACK: Duration = Duration::from_millis(100);
/// The average time of a call that is fast enough, however fast calls were before: a quarter of a
/// percent of the default deadline.
const LATENCY_FLOOR: Duration = Duration::from_micros(250);
/// The number of failed calls of a batch that no generation can take, before it is quarantined.
const POISON_FAULTS: f64 = 3.0;

/// The figures of a generation, over all instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The number of its calls.
    pub calls: u64,
    /// The calls whose processor time was measured. Wall-clock time is not compared: a call that
    /// waits for a core is no slower plugin.
    pub samples: CpuSamples,
    /// The number of items that it was called with.
    pub items_in: u64,
    /// The number of items that it let go on.
    pub items_out: u64,
    /// The number of items that it dropped.
    pub dropped: u64,
    /// The number of calls that failed.
    pub faults: u64,
}

impl From<&GenerationBooks> for Figures {
    fn from(books: &GenerationBooks) -> Self {
        Self {
            calls: books.calls,
            samples: books.samples,
            items_in: books.input,
            items_out: books.output,
            dropped: books.dropped,
            faults: books.faults,
        }
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.samples.calls += other.samples.calls;
        self.samples.items += other.samples.items;
        self.samples.time += other.samples.time;
        self.items_in += other.items_in;
        self.items_out += other.items_out;
        self.dropped += other.dropped;
        self.faults += other.faults;
    }
}

impl Figures {
    /// Returns the increase since `earlier`, a former reading of the same figures.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(earlier.calls),
            samples: CpuSamples {
                calls: self.samples.calls.saturating_sub(earlier.samples.calls),
                items: self.samples.items.saturating_sub(earlier.samples.items),
                time: self.samples.time.saturating_sub(earlier.samples.time),
            },
            items_in: self.items_in.saturating_sub(earlier.items_in),
            items_out: self.items_out.saturating_sub(earlier.items_out),
            dropped: self.dropped.saturating_sub(earlier.dropped),
            faults: self.faults.saturating_sub(earlier.faults),
        }
    }

    /// Returns the number of items with a known fate.
    fn settled(&self) -> u64 {
        self.dropped.saturating_add(self.items_out)
    }

    /// Returns the share of items that it dropped, once there are `enough`.
    fn drop_share(&self, enough: u64) -> Option<f64> {
        let settled = self.settled();
        (settled > 0 && settled >= enough).then(|| self.dropped as f64 / settled as f64)
    }

    /// Returns the seconds for each measured item, of this much processor time.
    fn item_seconds(&self, time: Duration) -> Option<f64> {
        (self.samples.items > 0).then(|| time.as_secs_f64() / self.samples.items as f64)
    }
}

/// The verdict on a generation on probation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong so far.
    Undecided,
    /// The generation stays.
    Passed,
    /// The generation must be rolled back, for this reason: one line, for the operator.
    Failed(String),
}

/// Judges a generation by its figures over `elapsed` and by those of the one before it (`None` if
/// there was none). A reason to fail counts more than the end of the probation.
pub(crate) fn judge(
    config: &ProbationConfig,
    elapsed: Duration,
    new: &Figures,
    old: Option<&Figures>,
) -> Verdict {
    let old = old.copied().unwrap_or_default();
    let problem = judge_faults(config, new, &old)
        .or_else(|| judge_drops(config, new, &old))
        .or_else(|| judge_latency(config, new, &old));
    match problem {
        Some(reason) => Verdict::Failed(reason),
        None if elapsed >= config.time && new.calls >= config.batches => Verdict::Passed,
        None => Verdict::Undecided,
    }
}

/// Returns a reason if more calls failed than the batches explain. If the generation before failed
/// as well, the batches explain as many failures as it would have had, the deviation that chance
/// adds to that, and one batch that no generation can take.
fn judge_faults(config: &ProbationConfig, new: &Figures, old: &Figures) -> Option<String> {
    let mut allowed = config.max_faults as f64;
    if old.faults > 0 {
        let rate = old.faults as f64 / old.calls.max(old.faults) as f64;
        let expected = rate * new.calls as f64;
        allowed += (expected + 3.0 * expected.sqrt() + POISON_FAULTS).floor();
    }
    (new.faults as f64 > allowed).then(|| {
        format!(
            "{} of {} calls failed, {allowed:.0} were allowed; before it, {} of {} failed",
            new.faults, new.calls, old.faults, old.calls
        )
    })
}

fn judge_drops(config: &ProbationConfig, new: &Figures, old: &Figures) -> Option<String> {
    if config.expects_drops {
        return None;
    }
    let share = new.drop_share(config.min_items)?;
    let drops = |before: Option<f64>| {
        let against = before.map_or("nothing to compare with".to_owned(), |before| {
            format!("{:.1} % before", before * 100.0)
        });
        format!(
            "drops {:.1} % ({} of {} items) against {against}",
            share * 100.0,
            new.dropped,
            new.settled()
        )
    };
    let before = old.drop_share(config.min_items);
    let is_varied = new.calls >= MIN_CALLS || new.settled() >= EVERYTHING_ITEMS;
    if let Some(before) = before
        && is_varied
        && share - before > config.max_drop_increase
    {
        return Some(format!(
            "{}, {:.1} points more are allowed",
            drops(Some(before)),
            config.max_drop_increase * 100.0
        ));
    }
    let everything = new.settled() >= EVERYTHING_ITEMS && share >= EVERYTHING;
    if !everything || before.is_some_and(|before| before > ALMOST_EVERYTHING) {
        return None;
    }
    Some(format!("{}: that is everything", drops(before)))
}

fn judge_latency(config: &ProbationConfig, new: &Figures, old: &Figures) -> Option<String> {
    if new.samples.calls < MIN_CALLS || old.samples.calls < MIN_CALLS {
        return None;
    }
    let time = new.samples.time.saturating_sub(LATENCY_SLACK);
    let call_seconds = time.as_secs_f64() / new.samples.calls as f64;
    if call_seconds <= LATENCY_FLOOR.as_secs_f64() {
        return None;
    }
    let before = old
        .item_seconds(old.samples.time)
        .filter(|before| *before > 0.0)?;
    let ratio = new.item_seconds(time)? / before;
    (ratio > config.max_latency_ratio).then(|| {
        format!(
            "an item takes {:.2} us of processor time, before it {:.2} us: {ratio:.1} times as long, {:.1} are allowed",
            new.item_seconds(time).unwrap_or_default() * 1e6,
            before * 1e6,
            config.max_latency_ratio
        )
    })
}

#[cfg(test)]
mod tests;
