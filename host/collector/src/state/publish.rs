//! Changes what a stage runs, in every pipeline that contains it or in none.

use spandrel_config::id::Id;
use spandrel_pipeline::pipeline::StagesChanged;
use spandrel_pipeline::stage::Carried;
use spandrel_plugin::probation::Figures;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::refusal::Refusal;
use crate::report::{EventView, SwapReport};
use crate::stage::load::ProbeInput;
use crate::stage::rollout::{LoadedPlugin, Reversal, Rollout, Watch};
use crate::stage::view::mode_label;
use crate::state::CollectorState;
use crate::time_text::{micros, millis};
use crate::trigger::Trigger;

/// One event of a stage, without the fields that are the same for all events.
pub(crate) struct StageEvent<'a> {
    pub(crate) event: &'static str,
    pub(crate) by: Trigger,
    pub(crate) loaded: &'a LoadedPlugin,
    pub(crate) detail: String,
    pub(crate) took: Option<(Instant, &'a StagesChanged)>,
}

impl CollectorState {
    /// Returns the evidence that a candidate of this stage is probed with.
    pub(crate) async fn probe_input(&self, id: &Id) -> ProbeInput {
        let Some((_, pipeline)) = self.with_stage(id).next() else {
            return ProbeInput::default();
        };
        ProbeInput {
            state: pipeline.snapshot(id.as_str()).await,
            sample: pipeline.sample(id.as_str()).await,
        }
    }

    /// Makes a stage's lineup this one, in all pipelines that contain it or in none.
    pub(crate) async fn publish(
        &mut self,
        id: &Id,
        rollout: Rollout,
        by: Trigger,
    ) -> Result<StagesChanged, Refusal> {
        let Some(stage) = self.stages.get_mut(id) else {
            return Err(Refusal::NotFound(format!("there is no stage `{id}`")));
        };
        let before = std::mem::replace(&mut stage.rollout, rollout);
        let mut changed = StagesChanged::default();
        let mut done = Vec::new();
        let mut failed = None;
        for (config, pipeline) in self.with_stage(id) {
            match pipeline.change(self.specs(config)).await {
                Ok(one) => add(&mut changed, one),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            done.push(config.id.clone());
        }
        let Some(failed) = failed else {
            self.note_ended(id, &before, by);
            self.show();
            return Ok(changed);
        };
        if let Some(stage) = self.stages.get_mut(id) {
            stage.rollout = before;
        }
        self.change_back(&done).await;
        Err(failed.into())
    }

    /// Changes the stages of these pipelines back to what the stages' lineups say.
    pub(crate) async fn change_back(&self, pipelines: &[Id]) {
        for (config, pipeline) in self.running() {
            if pipelines.contains(&config.id)
                && let Err(error) = pipeline.change(self.specs(config)).await
            {
                error!(
                    pipeline = %config.id,
                    error = &error as &dyn std::error::Error,
                    "a pipeline could not be changed back"
                );
            }
        }
        self.show();
    }

    /// Reports that a candidate is gone, unless that was the point of the change.
    pub(crate) fn note_ended(&self, id: &Id, before: &Rollout, by: Trigger) {
        let (Some(ended), Some(stage)) = (&before.candidate, self.stages.get(id)) else {
            return;
        };
        let number = ended.loaded.number();
        let now = &stage.rollout;
        let stays = now
            .candidate
            .as_ref()
            .is_some_and(|candidate| candidate.loaded.number() == number);
        if stays
            || now.running.number() == number
            || before.running.number() == now.running.number()
        {
            return;
        }
        let said = StageEvent {
            event: "cancelled",
            by,
            loaded: &ended.loaded,
            detail: format!(
                "was {}: generation {} took over",
                mode_label(ended.mode),
                now.running.number()
            ),
            took: None,
        };
        self.report_event(id, said);
    }

    /// Brings back the generation before the running one.
    pub(crate) async fn roll_back(
        &mut self,
        id: &Id,
        by: Trigger,
        why: &str,
    ) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let rollout = self.rollout(id)?;
        let Some(previous) = rollout.previous.clone() else {
            return Err(Refusal::NotFound(format!(
                "stage `{id}` has run no other generation that could be brought back"
            )));
        };
        let from = rollout.running.clone();
        let changed = self
            .publish(
                id,
                Rollout {
                    running: previous,
                    // A rollback by hand may itself be undone. A generation that failed is not
                    // brought back.
                    previous: (by == Trigger::Admin).then(|| from.clone()),
                    candidate: None,
                    probation: None,
                    reversal: (by == Trigger::Probation)
                        .then(|| Reversal::now("rolled back", from.number(), why)),
                },
                by,
            )
            .await?;
        if by == Trigger::Probation
            && let Some(stage) = self.stages.get_mut(id)
        {
            stage.remember_failed(from.generation.digest());
        }
        let to = self.rollout(id)?.running.number();
        let what = format!("to generation {to} from {}: {why}; ", from.number());
        self.report_takeover(id, "rolled back", by, &what, (started, &changed));
        Ok(self.report(id, "rolled back", &from, &changed, started))
    }

    /// Publishes the candidate beside the running generation. The watch that was set when the
    /// candidate began holds, unless `watch` says otherwise.
    pub(crate) async fn promote(
        &mut self,
        id: &Id,
        by: Trigger,
        watch: Watch,
    ) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let rollout = self.rollout(id)?;
        let Some(candidate) = rollout.candidate.clone() else {
            return Err(no_candidate(id));
        };
        let from = rollout.running.clone();
        let before = self.figures(id, candidate.loaded.number());
        let recent = self.recent(id);
        let watch = match (by, watch) {
            // A canary that has passed has had its probation.
            (Trigger::Probation, _) => Watch::Nothing,
            (_, Watch::All) => candidate.watch,
            (_, watch) => watch,
        };
        let next = rollout.published(candidate.loaded, before, recent, watch);
        let changed = self.publish(id, next, by).await?;
        let how = match by {
            Trigger::Probation => "",
            _ => watched(watch),
        };
        let what = format!("was {}; {how}", mode_label(candidate.mode));
        self.report_takeover(id, "promoted", by, &what, (started, &changed));
        Ok(self.report(id, "promoted", &from, &changed, started))
    }

    /// Ends the candidate beside the running generation.
    pub(crate) async fn cancel(
        &mut self,
        id: &Id,
        by: Trigger,
        why: &str,
    ) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let mut rollout = self.rollout(id)?.clone();
        let Some(candidate) = rollout.candidate.take() else {
            return Err(no_candidate(id));
        };
        let running = rollout.running.clone();
        let number = candidate.loaded.number();
        rollout.reversal =
            (by == Trigger::Probation).then(|| Reversal::now("cancelled", number, why));
        let changed = self.publish(id, rollout, by).await?;
        if by == Trigger::Probation
            && let Some(stage) = self.stages.get_mut(id)
        {
            stage.remember_failed(candidate.loaded.generation.digest());
        }
        self.report_event(
            id,
            StageEvent {
                event: "cancelled",
                by,
                loaded: &candidate.loaded,
                detail: format!("was {}: {why}", mode_label(candidate.mode)),
                took: Some((started, &changed)),
            },
        );
        let mut report = self.report(id, "cancelled", &running, &changed, started);
        report.generation = candidate.loaded.number();
        report.sha256 = candidate.loaded.sha256();
        Ok(report)
    }

    /// Returns what a stage's running generation did in its last minute or so.
    pub(crate) fn recent(&self, id: &Id) -> Figures {
        let Some(stage) = self.stages.get(id) else {
            return Figures::default();
        };
        stage.recent(self.figures(id, stage.rollout.running.number()))
    }

    fn rollout(&self, id: &Id) -> Result<&Rollout, Refusal> {
        let stage = self.stages.get(id);
        let stage = stage.ok_or_else(|| Refusal::NotFound(format!("there is no stage `{id}`")))?;
        Ok(&stage.rollout)
    }

    fn report(
        &self,
        id: &Id,
        outcome: &str,
        from: &LoadedPlugin,
        changed: &StagesChanged,
        started: Instant,
    ) -> SwapReport {
        let running = self.stages.get(id).map(|stage| &stage.rollout.running);
        SwapReport {
            stage: id.to_string(),
            outcome: outcome.to_owned(),
            generation: running.map_or(0, LoadedPlugin::number),
            previous: from.number(),
            sha256: running.map(LoadedPlugin::sha256).unwrap_or_default(),
            state: state_label(id, changed),
            elapsed_ms: millis(started),
            pause_us: micros(changed.pause),
        }
    }

    /// Reports that another generation runs now, and remembers the fate of the state.
    pub(crate) fn report_takeover(
        &mut self,
        id: &Id,
        event: &'static str,
        by: Trigger,
        what: &str,
        took: (Instant, &StagesChanged),
    ) {
        let state = state_label(id, took.1);
        if let Some(stage) = self.stages.get_mut(id) {
            state.clone_into(&mut stage.rollout.running.state);
        }
        self.show();
        if let Some(stage) = self.stages.get(id) {
            let said = StageEvent {
                event,
                by,
                loaded: &stage.rollout.running,
                detail: format!("{what}state {state}"),
                took: Some(took),
            };
            self.report_event(id, said);
        }
    }

    /// Reports an event of a stage to the log, the history and the metrics.
    pub(crate) fn report_event(&self, id: &Id, said: StageEvent<'_>) {
        let StageEvent {
            event,
            by,
            loaded,
            detail,
            took,
        } = said;
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
        let pause_us = took.map(|(_, changed)| micros(changed.pause));
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    stage = %id,
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
        self.status.count(id.as_str(), event);
        if let Some((started, changed)) = took {
            self.status.count_duration(
                id.as_str(),
                started.elapsed().as_secs_f64(),
                changed.pause.as_secs_f64(),
            );
        }
        self.status.add(EventView {
            stage: id.to_string(),
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

/// Returns a note for an event's detail if a generation is not watched as usual.
pub(crate) fn watched(watch: Watch) -> &'static str {
    match watch {
        Watch::All => "",
        Watch::AllButDrops => "on probation but for its drops; ",
        Watch::Nothing => "not on probation; ",
    }
}

fn no_candidate(id: &Id) -> Refusal {
    Refusal::NotFound(format!(
        "stage `{id}` has no candidate: begin one with `swap --canary` or `swap --shadow`"
    ))
}

/// Adds up the changes in several pipelines. Of the fates of a state, the worst is kept.
pub(crate) fn add(sum: &mut StagesChanged, other: StagesChanged) {
    sum.pause = sum.pause.max(other.pause);
    for (stage, carried) in other.carried {
        let known = sum.carried.entry(stage).or_insert_with(|| carried.clone());
        if !matches!(known, Carried::Not(_)) && carried != Carried::Nothing {
            *known = carried;
        }
    }
}

/// Returns the fate of a stage's state as text.
pub(crate) fn state_label(id: &Id, changed: &StagesChanged) -> String {
    match changed.carried.get(id.as_str()) {
        None | Some(Carried::Nothing) => "none".to_owned(),
        Some(Carried::Yes) => "carried".to_owned(),
        Some(Carried::Earlier) => "carried from before".to_owned(),
        Some(Carried::Not(why)) => format!("not carried: {why}"),
    }
}
