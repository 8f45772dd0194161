//! The stages that a reload leaves different from the configuration: somebody swapped or rolled
//! back, or a module's file has other bytes by now. If the configuration did not change, a reload
//! reverts none of that.

use tracing::info;

use crate::report::StageDriftView;
use crate::stage::drift::{drift, in_words};
use crate::stage::table::Stages;

/// Reports the stages that run something else than the configuration says, to the log and to the
/// caller. The digests of the modules' files are those of the last reading.
pub(crate) fn report_drift(stages: &Stages) -> Vec<StageDriftView> {
    let drifts = stages.iter().map(|stage| (stage.id(), drift(stage)));
    let different = drifts.filter(|(_, drift)| !drift.is_empty());
    let views = different.map(|(id, drift)| {
        info!(
            stage = %id,
            drift = in_words(&drift),
            "stage left as it is, different from the configuration"
        );
        StageDriftView {
            stage: id.to_string(),
            drift,
        }
    });
    views.collect()
}
