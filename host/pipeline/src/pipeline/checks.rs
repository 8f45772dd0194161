//! Checks that the stages of a pipeline fit its other settings.

use super::{AckOn, ChangeError};
use crate::stage::{FaultPolicy, StageSpec};

/// Refuses `ack_on: export` with a plugin that holds: the sender of a held item would wait for as
/// long as the item is held.
pub(super) fn check_ack_on(
    pipeline: &str,
    ack_on: AckOn,
    stages: &[StageSpec],
) -> Result<(), ChangeError> {
    let generations = stages.iter().flat_map(|stage| {
        let generations = stage.generations();
        generations.map(move |generation| (stage, generation))
    });
    let mut holding = generations.filter(|(_, generation)| generation.manifest().holds);
    match (ack_on, holding.next()) {
        (AckOn::Export, Some((stage, _))) => Err(ChangeError::AckOnExportWithHolds {
            pipeline: pipeline.to_owned(),
            stage: stage.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Warns if a plugin with state sees retries. If a batch is refused behind it, it sees the batch
/// again when the sender retries: a plugin that drops duplicates would drop the retry.
pub(super) fn warn_of_retries(pipeline: &str, ack_on: AckOn, stages: &[StageSpec]) {
    let stateful = |stage: &&StageSpec| stage.generation.manifest().state_version > 0;
    let Some(first) = stages.iter().position(|stage| stateful(&stage)) else {
        return;
    };
    let behind = stages
        .iter()
        .skip(first + 1)
        .find(|stage| stage.on_fault == FaultPolicy::Refuse);
    let stage = stages.get(first).map_or("", |stage| stage.name.as_str());
    if ack_on == AckOn::Export {
        tracing::warn!(
            pipeline,
            stage,
            "with `ack_on: export` this plugin sees retries of items that it has seen"
        );
    } else if let Some(behind) = behind {
        tracing::warn!(
            pipeline, stage, refuses = %behind.name,
            "a later stage may refuse items that this plugin has seen, and it sees the retries"
        );
    }
}
