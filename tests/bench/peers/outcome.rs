//! The results of a contestant, over all rounds.

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::contestant::Contestant;
use crate::figures::{COLUMNS, Counts, Figures, Verdict, added_bytes};

/// A contestant with its measurements.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) contestant: Contestant,
    pub(crate) rounds: Vec<Figures>,
    /// The number of rounds that it did not get through, or in which it lost items.
    pub(crate) failures: u32,
    reports: Vec<Value>,
    counts: Counts,
    /// The bytes that a span gained in the round with the least gain; `None` before the first.
    added_bytes: Option<f64>,
    /// The number of rounds in which the test bed was too slow for a meaningful result.
    doubtful: u32,
}

impl Outcome {
    pub(crate) fn new(contestant: Contestant) -> Self {
        Self {
            contestant,
            rounds: Vec::new(),
            failures: 0,
            reports: Vec::new(),
            counts: Counts::default(),
            added_bytes: None,
            doubtful: 0,
        }
    }

    /// Adds the report of a round.
    pub(crate) fn add(&mut self, report: Value) {
        self.rounds.push(Figures::read(&report));
        self.counts.add(&Counts::read(&report));
        if let Some(added) = added_bytes(&report) {
            self.added_bytes = Some(self.added_bytes.map_or(added, |least| least.min(added)));
        }
        let verdict = Verdict::read(&report);
        self.failures += u32::from(!verdict.is_ok);
        self.doubtful += u32::from(verdict.is_doubtful);
        self.reports.push(report);
    }

    /// Returns the name of the collector and its job.
    pub(crate) fn name(&self) -> String {
        self.contestant.title()
    }

    /// Returns each figure's median over the rounds.
    pub(crate) fn medians(&self) -> Figures {
        Figures::medians(&self.rounds)
    }

    /// Returns true if it got through every round, accepted and delivered everything once, and did
    /// its job.
    pub(crate) fn is_good(&self) -> bool {
        let Counts {
            duplicated,
            rejected,
            refused,
            unanswered,
            ..
        } = self.counts;
        let is_whole = duplicated + rejected + refused + unanswered == 0;
        self.failures == 0 && is_whole && self.wrong_job().is_none() && !self.added_nothing()
    }

    /// Returns the problems that the figures do not show.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let counts = &self.counts;
        for (count, what) in [
            (counts.lost, "lost"),
            (counts.late, "late"),
            (counts.duplicated, "duplicated"),
            (counts.rejected, "rejected"),
            (counts.refused, "refused"),
            (counts.unanswered, "unanswered"),
        ] {
            if count > 0 {
                remarks.push(format!("{count} {what}"));
            }
        }
        remarks.extend(self.wrong_job());
        if self.added_nothing() {
            remarks.push("added no attributes".to_owned());
        }
        if self.doubtful > 0 {
            remarks.push(format!(
                "rounds with a bed that was not cheap: {}",
                self.doubtful
            ));
        }
        if self.failures > 0 {
            remarks.push(format!("rounds failed: {}", self.failures));
        }
        remarks
    }

    /// Returns true if its spans arrived without the attributes of its job.
    fn added_nothing(&self) -> bool {
        let least = f64::from(self.contestant.job.attributes() * BYTES_OF_ATTRIBUTE);
        least > 0.0 && self.added_bytes.is_some_and(|added| added < least)
    }

    /// Returns a description of its handling of health checks, if that is not its job.
    fn wrong_job(&self) -> Option<String> {
        let Counts {
            health_checks_sent: sent,
            health_checks_accepted: accepted,
            health_checks_delivered: arrived,
            rejected,
            ..
        } = self.counts;
        let drops = self.contestant.job.drops();
        if drops && arrived > 0 {
            Some(format!(
                "{arrived} of {sent} health checks were not dropped"
            ))
        } else if !drops && arrived + rejected < accepted {
            // The spans that a partial success rejected may have been any of the spans.
            Some(format!(
                "{} of {accepted} health checks were dropped",
                accepted - arrived
            ))
        } else {
            None
        }
    }
}

/// The fewest bytes that an attribute of a job takes: its key, its value, and two tags with
/// lengths.
const BYTES_OF_ATTRIBUTE: u32 = 10;

/// Returns everything as JSON, for scripts.
pub(crate) fn json(outcomes: &[Outcome], arguments: &Arguments, missing: &[String]) -> String {
    let contestants = outcomes.iter().map(|outcome| {
        let medians = outcome.medians();
        let figures = COLUMNS.iter().zip(medians.values());
        let medians: serde_json::Map<String, Value> = figures
            .map(|(column, value)| (column.key.to_owned(), json!(value)))
            .collect();
        json!({
            "collector": outcome.contestant.name,
            "job": outcome.contestant.job.slug(),
            "medians": medians,
            "good": outcome.is_good(),
            "remarks": outcome.remarks(),
            "failures": outcome.failures,
            "reports": outcome.reports,
        })
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let whole = json!({
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "cores": cores,
        "left_out": missing,
        "contestants": contestants.collect::<Vec<_>>(),
    });
    format!("{whole:#}")
}

#[cfg(test)]
mod tests;
