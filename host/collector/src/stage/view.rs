//! The view of a stage that operators see.

use spandrel_pipeline::stage::Mode;

use crate::report::{FiguresView, GenerationView, ReversalView, StageView};
use crate::stage::Stage;
use crate::stage::drift::drift;
use crate::stage::loaded::LoadedPlugin;
use crate::stage::redact::redacted;
use crate::stage::rollout::{Reversal, Watch};
use crate::time_text::rfc3339;

/// Returns the view of a stage, without what its pipelines count.
pub(crate) fn stage_view(stage: &Stage) -> StageView {
    let rollout = stage.rollout();
    let status = match rollout.probation() {
        Some(_) => "probation",
        None => "running",
    };
    let candidate = rollout.candidate().map(|candidate| {
        let status = mode_label(candidate.mode);
        generation_view(&candidate.loaded, &status)
    });
    StageView {
        stage: stage.id().to_string(),
        running: generation_view(rollout.running(), status),
        previous: rollout
            .previous()
            .map(|previous| generation_view(previous, "previous")),
        candidate,
        on_fault: stage.wasm().on_fault.label().to_owned(),
        bypass_fails_readiness: stage.wasm().bypass_fails_readiness,
        bypassing: stage.is_missing(),
        expects_drops: rollout
            .probation()
            .is_some_and(|probation| probation.watch == Watch::AllButDrops),
        undone: rollout.reversal().map(undone_view),
        drift: drift(stage),
        ..StageView::default()
    }
}

fn undone_view(reversal: &Reversal) -> ReversalView {
    ReversalView {
        event: reversal.event.to_owned(),
        generation: reversal.number,
        at: rfc3339(reversal.at),
        why: reversal.why.clone(),
    }
}

/// Returns the word for a candidate of this mode.
pub(crate) fn mode_label(mode: Mode) -> String {
    match mode {
        Mode::Canary(share) => format!("canary {}%", share.percent()),
        Mode::Shadow => "shadow".to_owned(),
    }
}

fn generation_view(loaded: &LoadedPlugin, status: &str) -> GenerationView {
    let manifest = loaded.generation.manifest();
    let identity = loaded.generation.identity();
    GenerationView {
        number: loaded.number(),
        plugin: manifest.name.clone(),
        version: manifest.version.clone(),
        module: loaded.source.name(),
        sha256: identity.module.to_string(),
        config_sha256: identity.config.to_string(),
        config: redacted(&loaded.config.value(), &loaded.hidden),
        loaded_at: rfc3339(loaded.loaded_at),
        status: status.to_owned(),
        state: loaded.state.clone(),
        figures: FiguresView {
            generation: loaded.number(),
            ..FiguresView::default()
        },
    }
}
