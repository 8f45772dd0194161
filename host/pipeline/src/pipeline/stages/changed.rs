//! The result of a change of the stages, over all shards.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::shard::ChangeReport;
use crate::stage::Carried;

/// The result of a change.
#[derive(Clone, Debug, Default)]
pub struct StagesChanged {
    /// The longest time for which a shard took no batches.
    pub pause: Duration,
    /// The outcome for the state of each stage whose generation changed: the worst of all shards.
    pub carried: BTreeMap<String, Carried>,
}

impl StagesChanged {
    /// Sums up the shards' reports; `None` is a shard that did not report. `swapped` are the stages
    /// that got another generation.
    pub(super) fn new(reports: Vec<Option<ChangeReport>>, swapped: &[String]) -> Self {
        let mut sum = Self::default();
        for report in reports {
            match report {
                Some(report) => {
                    sum.pause = sum.pause.max(report.pause);
                    for (stage, carried) in report.carried {
                        sum.add(stage, carried);
                    }
                }
                None => {
                    for stage in swapped {
                        let late = "a shard waits for a backend, and changes after that";
                        sum.add(stage.clone(), Carried::Not(late.to_owned()));
                    }
                }
            }
        }
        sum
    }

    fn add(&mut self, stage: String, carried: Carried) {
        let known = self.carried.entry(stage).or_insert(Carried::Nothing);
        if carried.rank() > known.rank() {
            *known = carried;
        }
    }
}
