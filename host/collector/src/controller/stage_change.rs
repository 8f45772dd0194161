//! One change of the generations of one stage: a swap, a rollback, the end of a candidate or of a
//! probation.

use spandrel_config::id::Id;
use spandrel_pipeline::pipeline::StagesChange;
use spandrel_pipeline::stage::{Mode, StateTransfer};
use tokio::time::Instant;

use crate::controller::request::{failed_before, mode};
use crate::refusal::Refusal;
use crate::report::{SwapReport, SwapRequest};
use crate::stage::event::StageEvent;
use crate::stage::load::ProbedPlugin;
use crate::stage::loaded::LoadedPlugin;
use crate::stage::probation::Figures;
use crate::stage::rollout::{Rollout, Watch};
use crate::stage::view::mode_label;
use crate::state::CollectorState;
use crate::time_text::{micros, millis};
use crate::trigger::Trigger;

/// A change of one stage, its cause and its beginning.
pub(super) struct StageChange<'a> {
    state: &'a mut CollectorState,
    id: &'a Id,
    by: Trigger,
    started: Instant,
}

impl<'a> StageChange<'a> {
    /// Makes a change that begins now.
    pub(super) fn new(state: &'a mut CollectorState, id: &'a Id, by: Trigger) -> Self {
        Self {
            state,
            id,
            by,
            started: Instant::now(),
        }
    }

    /// Counts the time of the change from an earlier moment.
    pub(super) fn since(mut self, started: Instant) -> Self {
        self.started = started;
        self
    }

    /// Publishes what was built: in place of the running generation, or beside it.
    pub(super) async fn swap(
        mut self,
        request: &SwapRequest,
        ProbedPlugin { loaded, probed }: ProbedPlugin,
    ) -> Result<SwapReport, Refusal> {
        let id = self.id;
        let stage =
            self.state.stages().get(id).ok_or_else(|| {
                Refusal::NotFound(format!("stage `{id}` was taken out meanwhile"))
            })?;
        let running = stage.running();
        let digest = loaded.generation.digest();
        let is_new = digest != running.generation.digest();
        if is_new && self.by == Trigger::File && stage.has_failed(&digest) {
            return Err(failed_before(id));
        }
        let mut report = SwapReport {
            stage: id.to_string(),
            outcome: "unchanged".to_owned(),
            generation: running.number(),
            previous: running.number(),
            sha256: loaded.sha256(),
            ..SwapReport::default()
        };
        if is_new {
            report.generation = loaded.number();
            "would publish".clone_into(&mut report.outcome);
            report.state = probed.state_refused.map_or_else(
                || "can be carried".to_owned(),
                |why| format!("not carried: {why}"),
            );
        }
        if !is_new || request.dry_run {
            report.elapsed_ms = millis(self.started);
            self.state
                .stages_mut()
                .require_mut(id)?
                .give_back(loaded.number());
            return Ok(report);
        }
        let watch = Watch::of(request);
        let figures = self.state.pipelines().figures(id, running.number());
        let changed;
        (report.outcome, changed) = match mode(request)? {
            None => {
                let (none, recent) = (Figures::default(), stage.recent(figures));
                let rollout = stage.rollout().with_running(loaded, none, recent, watch);
                let changed = self.publish(rollout).await?;
                report.state = self.state_label(&changed);
                self.report_takeover("published", note(watch), &changed);
                ("published".to_owned(), changed)
            }
            Some(mode) => {
                let rollout = stage.rollout();
                let rollout = rollout.with_candidate(loaded.clone(), mode, figures, watch);
                let changed = self.publish(rollout).await?;
                let event = match mode {
                    Mode::Canary(_) => "canary",
                    Mode::Shadow => "shadow",
                };
                self.report_event(event, &loaded, mode_label(mode), &changed);
                (mode_label(mode), changed)
            }
        };
        report.pause_us = micros(changed.pause);
        report.elapsed_ms = millis(self.started);
        Ok(report)
    }

    /// Brings back the generation before the running one.
    pub(super) async fn roll_back(mut self, why: &str) -> Result<SwapReport, Refusal> {
        let id = self.id;
        let before = self.rollout()?;
        let Some(rollout) = before.rolled_back(self.by, why) else {
            return Err(Refusal::NotFound(format!(
                "stage `{id}` has run no other generation that could be brought back"
            )));
        };
        let from = before.running().clone();
        let to = rollout.running().number();
        let changed = self.publish(rollout).await?;
        self.remember_failed(&from);
        let what = format!("to generation {to} from {}: {why}; ", from.number());
        self.report_takeover("rolled back", &what, &changed);
        Ok(self.report("rolled back", &from, &changed))
    }

    /// Publishes the candidate beside the running generation. The watch that was set when the
    /// candidate began holds, unless `watch` says otherwise.
    pub(super) async fn promote(mut self, watch: Watch) -> Result<SwapReport, Refusal> {
        let before = self.rollout()?;
        let Some(candidate) = before.candidate().cloned() else {
            return Err(self.no_candidate());
        };
        let from = before.running().clone();
        let figures = self
            .state
            .pipelines()
            .figures(self.id, candidate.loaded.number());
        let recent = self.state.recent(self.id);
        let watch = match (self.by, watch) {
            // A canary that has passed has had its probation.
            (Trigger::Probation, _) => Watch::Nothing,
            (_, Watch::All) => candidate.watch,
            (_, watch) => watch,
        };
        let rollout = before.with_running(candidate.loaded, figures, recent, watch);
        let changed = self.publish(rollout).await?;
        let how = match self.by {
            Trigger::Probation => "",
            _ => note(watch),
        };
        let what = format!("was {}; {how}", mode_label(candidate.mode));
        self.report_takeover("promoted", &what, &changed);
        Ok(self.report("promoted", &from, &changed))
    }

    /// Ends the candidate beside the running generation.
    pub(super) async fn cancel(mut self, why: &str) -> Result<SwapReport, Refusal> {
        let before = self.rollout()?;
        let Some((rollout, candidate)) = before.without_candidate(self.by, why) else {
            return Err(self.no_candidate());
        };
        let running = before.running().clone();
        let changed = self.publish(rollout).await?;
        self.remember_failed(&candidate.loaded);
        let detail = format!("was {}: {why}", mode_label(candidate.mode));
        self.report_event("cancelled", &candidate.loaded, detail, &changed);
        let mut report = self.report("cancelled", &running, &changed);
        report.generation = candidate.loaded.number();
        report.sha256 = candidate.loaded.sha256();
        Ok(report)
    }

    /// Ends the probation of the running generation, which has passed.
    pub(super) async fn pass(mut self) -> Result<(), Refusal> {
        let Some(stage) = self.state.stages().get(self.id) else {
            return Ok(());
        };
        let rollout = stage.rollout().without_probation();
        let running = rollout.running().clone();
        // The shards may forget the state that a rollback would have begun with.
        self.publish(rollout).await?;
        let detail = "its probation".to_owned();
        let event = StageEvent::new(self.id, "passed", self.by, &running, detail);
        event.report(self.state.status());
        Ok(())
    }

    /// Reports that another generation runs now, and remembers the fate of the state.
    pub(super) fn report_takeover(
        &mut self,
        event: &'static str,
        what: &str,
        changed: &StagesChange,
    ) {
        let state = self.state_label(changed);
        if let Some(stage) = self.state.stages_mut().get_mut(self.id) {
            stage.set_state(&state);
        }
        self.state.show();
        if let Some(stage) = self.state.stages().get(self.id) {
            let detail = format!("{what}state {state}");
            self.report_event(event, stage.running(), detail, changed);
        }
    }

    fn report_event(
        &self,
        event: &'static str,
        loaded: &LoadedPlugin,
        detail: String,
        changed: &StagesChange,
    ) {
        let event = StageEvent::new(self.id, event, self.by, loaded, detail);
        event
            .timed(self.started, changed)
            .report(self.state.status());
    }

    fn rollout(&self) -> Result<&Rollout, Refusal> {
        Ok(self.state.stages().require(self.id)?.rollout())
    }

    async fn publish(&mut self, rollout: Rollout) -> Result<StagesChange, Refusal> {
        self.state.publish(self.id, rollout, self.by).await
    }

    /// Remembers a generation that was taken back because it failed.
    fn remember_failed(&mut self, loaded: &LoadedPlugin) {
        if self.by == Trigger::Probation
            && let Some(stage) = self.state.stages_mut().get_mut(self.id)
        {
            stage.remember_failed(loaded.generation.digest());
        }
    }

    fn report(&self, outcome: &str, from: &LoadedPlugin, changed: &StagesChange) -> SwapReport {
        let stage = self.state.stages().get(self.id);
        let running = stage.map(|stage| stage.running());
        SwapReport {
            stage: self.id.to_string(),
            outcome: outcome.to_owned(),
            generation: running.map_or(0, LoadedPlugin::number),
            previous: from.number(),
            sha256: running.map(LoadedPlugin::sha256).unwrap_or_default(),
            state: self.state_label(changed),
            elapsed_ms: millis(self.started),
            pause_us: micros(changed.pause),
        }
    }

    /// Returns the fate of the stage's state as text.
    fn state_label(&self, changed: &StagesChange) -> String {
        match changed.carried.get(self.id.as_str()) {
            None | Some(StateTransfer::NoState) => "none".to_owned(),
            Some(StateTransfer::Done) => "carried".to_owned(),
            Some(StateTransfer::Earlier) => "carried from before".to_owned(),
            Some(StateTransfer::Failed(why)) => format!("not carried: {why}"),
        }
    }

    fn no_candidate(&self) -> Refusal {
        let id = self.id;
        Refusal::NotFound(format!(
            "stage `{id}` has no candidate: begin one with `swap --canary` or `swap --shadow`"
        ))
    }
}

/// Returns a note for an event's detail if a generation is not watched as usual.
fn note(watch: Watch) -> &'static str {
    match watch {
        Watch::All => "",
        Watch::AllButDrops => "on probation but for its drops; ",
        Watch::Nothing => "not on probation; ",
    }
}
