//! The events of a stage, as the log, the history and the metrics show them.

use std::time::Duration;

use spandrel_config::id::Id;
use spandrel_pipeline::pipeline::StagesChange;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::report::EventView;
use crate::stage::loaded::LoadedPlugin;
use crate::stage::rollout::Candidate;
use crate::stage::view::mode_label;
use crate::status::Status;
use crate::time_text::{micros, millis};
use crate::trigger::Trigger;

/// One event of a stage.
pub(crate) struct StageEvent<'a> {
    stage: &'a Id,
    event: &'static str,
    by: Trigger,
    loaded: &'a LoadedPlugin,
    detail: String,
    /// The beginning of the change, and the pause of the pipelines.
    took: Option<(Instant, Duration)>,
}

impl<'a> StageEvent<'a> {
    /// Makes the event of a generation of a stage.
    pub(crate) fn new(
        stage: &'a Id,
        event: &'static str,
        by: Trigger,
        loaded: &'a LoadedPlugin,
        detail: String,
    ) -> Self {
        Self {
            stage,
            event,
            by,
            loaded,
            detail,
            took: None,
        }
    }

    /// Makes the event that a candidate has ended because generation `number` took over.
    pub(crate) fn overtaken(
        stage: &'a Id,
        by: Trigger,
        candidate: &'a Candidate,
        number: u64,
    ) -> Self {
        let mode = mode_label(candidate.mode);
        let detail = format!("was {mode}: generation {number} took over");
        Self::new(stage, "cancelled", by, &candidate.loaded, detail)
    }

    /// Adds how long the change took.
    pub(crate) fn timed(mut self, started: Instant, changed: &StagesChange) -> Self {
        self.took = Some((started, changed.pause));
        self
    }

    /// Reports the event to the log, the history and the metrics.
    pub(crate) fn report(self, status: &Status) {
        let Self {
            stage,
            event,
            by,
            loaded,
            detail,
            took,
        } = self;
        let manifest = loaded.generation.manifest();
        let identity = loaded.generation.identity();
        let message = match event {
            "canary" => "canary begun",
            "shadow" => "shadow begun",
            "promoted" => "candidate promoted",
            "cancelled" => "candidate cancelled",
            "rolled back" => "plugin rolled back",
            "passed" => "plugin passed its probation",
            _ => "plugin swapped",
        };
        let elapsed_ms = took.map(|(started, _)| millis(started));
        let pause_us = took.map(|(_, pause)| micros(pause));
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    stage = %stage,
                    generation = loaded.number(),
                    plugin = %manifest.name,
                    version = %manifest.version,
                    sha256 = %identity.module,
                    config_sha256 = %identity.config,
                    by = by.label(),
                    detail = %detail,
                    elapsed_ms,
                    pause_us,
                    "{message}"
                )
            };
        }
        // A generation that was taken back automatically is a change that somebody wanted and that
        // failed.
        match (by, event) {
            (Trigger::Probation, "rolled back" | "cancelled") => log!(warn),
            _ => log!(info),
        }
        status.count(stage.as_str(), event);
        if let Some((started, pause)) = took {
            let elapsed = started.elapsed();
            status.count_duration(stage.as_str(), elapsed.as_secs_f64(), pause.as_secs_f64());
        }
        status.add(EventView {
            stage: stage.to_string(),
            generation: loaded.number(),
            sha256: loaded.sha256(),
            event: event.to_owned(),
            by: by.label().to_owned(),
            detail,
            elapsed_ms,
            pause_us,
            ..EventView::default()
        });
    }
}
