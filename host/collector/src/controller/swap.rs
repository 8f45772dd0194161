//! Swaps on command: another generation of a stage, or the previous one again.

mod request;

use crate::stage::probation::Figures;
use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_pipeline::stage::Mode;
use spandrel_supply::SignatureSource;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

pub(crate) use self::request::failed_before;
use self::request::{mode, one_of_all, parse_digest, refusal};
use crate::controller::probation::RETRY_AFTER;
use crate::controller::{Controller, PendingBuild, PendingSwap, Retry, answer};
use crate::plugins::log_loaded;
use crate::refusal::Refusal;
use crate::report::{EventView, SwapReport, SwapRequest};
use crate::stage::load::{LoadPlan, ProbedPlugin, StageLoadError};
use crate::stage::rollout::{ModuleSource, Watch};
use crate::stage::view::mode_label;
use crate::state::publish::{StageEvent, state_label, watched};
use crate::time_text::{micros, millis};
use crate::trigger::Trigger;

type Reply = oneshot::Sender<Result<SwapReport, Refusal>>;

impl Controller {
    /// Begins to build the generation that a request asks for.
    pub(crate) async fn begin_swap(
        &mut self,
        stage: &str,
        request: SwapRequest,
        upload: Option<Vec<u8>>,
        by: Trigger,
        reply: Option<Reply>,
    ) {
        let started = Instant::now();
        match self.plan_swap(stage, &request, upload, by).await {
            Ok((id, plan)) => {
                self.state.status.set_swap(id.as_str(), Some("loading"));
                let asked = PendingSwap {
                    stage: id,
                    number: plan.number(),
                    request,
                    by,
                    started,
                    reply,
                };
                self.begin_building(PendingBuild::Swap {
                    asked: Box::new(asked),
                    built: Box::pin(plan.build()),
                });
            }
            Err(refusal) => refuse(stage, by, reply, refusal),
        }
    }

    async fn plan_swap(
        &mut self,
        stage: &str,
        request: &SwapRequest,
        upload: Option<Vec<u8>>,
        by: Trigger,
    ) -> Result<(Id, LoadPlan), Refusal> {
        let id = self.find(stage)?;
        let pinned = request.sha256.as_deref().map(parse_digest).transpose()?;
        mode(request)?;
        let probe_input = self.state.probe_input(&id).await;
        let state = &mut self.state;
        let (Some(engine), Some(stage)) = (&state.engine, state.stages.get_mut(&id)) else {
            return Err(Refusal::NotFound(format!("there is no stage `{stage}`")));
        };
        if stage.rollout.candidate.is_some() && by != Trigger::File {
            return Err(Refusal::Conflict(format!(
                "stage `{id}` has a candidate beside its generation: promote or cancel that first"
            )));
        }
        let upload_is_none = upload.is_none();
        let signature = |default| match &request.signature {
            Some(text) => SignatureSource::Text(text.as_str().into()),
            None => default,
        };
        let source = match (upload, &request.module) {
            (Some(bytes), _) => ModuleSource::Upload {
                bytes: bytes.into(),
                signature: signature(SignatureSource::Missing),
            },
            (None, Some(path)) => ModuleSource::Place(ModuleLocation::File {
                path: path.into(),
                signature: signature(SignatureSource::Beside),
            }),
            // The request changes only the plugin's configuration; the module is the running one,
            // wherever it came from.
            (None, None) if request.config.is_some() => stage.rollout.running.source.clone(),
            (None, None) => ModuleSource::Place(stage.wasm.module.location.clone()),
        };
        let (config, hidden) = request::config(stage, request, by);
        // If only the configuration changes, the file must be the module that runs, whatever the
        // request says: the file may have changed, have failed, or have no signature.
        let is_same = upload_is_none && request.module.is_none() && request.config.is_some();
        let is_same = is_same && !stage.is_missing();
        let running = is_same.then(|| stage.rollout.running.generation.identity().module);
        let pinned = one_of_all([running, pinned, stage.wasm.module.sha256])?;
        let plugins = &state.config.service.plugins;
        let plan = LoadPlan::new(
            engine,
            plugins,
            &id,
            stage.next_number(),
            &stage.wasm,
            &stage.metrics,
        )
        .with_module(source, pinned)
        .with_config(config, hidden)
        .with_probe(probe_input);
        let plan = match is_same {
            true => plan.without_signature(),
            false => plan,
        };
        Ok((id, plan))
    }

    /// Publishes what was built, or reports why not.
    pub(crate) async fn finish_swap(
        &mut self,
        asked: PendingSwap,
        built: Result<ProbedPlugin, StageLoadError>,
    ) {
        let PendingSwap {
            stage,
            number,
            request,
            by,
            started,
            reply,
        } = asked;
        self.state.status.set_swap(stage.as_str(), None);
        let done = match built {
            Ok(built) => {
                log_loaded(&stage, &built.loaded, started);
                if let Some(stage) = self.state.stages.get_mut(&stage) {
                    let module = built.loaded.generation.identity().module;
                    stage.note_read(&built.loaded.source, module);
                }
                self.publish_built(&stage, &request, by, started, built)
                    .await
            }
            Err(error) => {
                if let (Some(identity), false, Some(stage)) = (
                    error.failed(),
                    request.dry_run,
                    self.state.stages.get_mut(&stage),
                ) {
                    stage.remember_failed(identity);
                }
                Err(refusal(&error, &request))
            }
        };
        match done {
            Ok(report) => {
                self.evaluate_soon();
                if let Some(reply) = reply {
                    answer(reply, Ok(report));
                }
            }
            Err(refusal) => {
                if by == Trigger::File && matches!(refusal, Refusal::Conflict(_)) {
                    self.retry_later(Retry::Stage(stage.clone()), RETRY_AFTER);
                } else if by == Trigger::Source {
                    self.retry_missing(&stage);
                }
                self.state.status.count(stage.as_str(), "refused");
                self.state.status.add(EventView {
                    stage: stage.to_string(),
                    generation: number,
                    event: "refused".to_owned(),
                    by: by.label().to_owned(),
                    detail: refusal.to_string(),
                    elapsed_ms: Some(millis(started)),
                    ..EventView::default()
                });
                refuse(stage.as_str(), by, reply, refusal);
            }
        }
    }

    async fn publish_built(
        &mut self,
        id: &Id,
        request: &SwapRequest,
        by: Trigger,
        started: Instant,
        ProbedPlugin { loaded, probed }: ProbedPlugin,
    ) -> Result<SwapReport, Refusal> {
        let gone = || Refusal::NotFound(format!("stage `{id}` was taken out meanwhile"));
        let stage = self.state.stages.get(id).ok_or_else(gone)?;
        let running = &stage.rollout.running;
        let digest = loaded.generation.digest();
        let mut report = SwapReport {
            stage: id.to_string(),
            outcome: "unchanged".to_owned(),
            generation: running.number(),
            previous: running.number(),
            sha256: loaded.sha256(),
            ..SwapReport::default()
        };
        let is_new = digest != running.generation.digest();
        if is_new && by == Trigger::File && stage.has_failed(&digest) {
            return Err(failed_before(id));
        }
        if is_new {
            report.generation = loaded.number();
            "would publish".clone_into(&mut report.outcome);
            report.state = probed.state_refused.map_or_else(
                || "can be carried".to_owned(),
                |why| format!("not carried: {why}"),
            );
        }
        if !is_new || request.dry_run {
            report.elapsed_ms = millis(started);
            let number = loaded.number();
            if let Some(stage) = self.state.stages.get_mut(id) {
                stage.give_back(number);
            }
            return Ok(report);
        }
        let mode = mode(request)?;
        let watch = Watch::of(request);
        let (event, outcome) = match mode {
            None => ("published", "published".to_owned()),
            Some(mode @ Mode::Canary(_)) => ("canary", mode_label(mode)),
            Some(Mode::Shadow) => ("shadow", mode_label(Mode::Shadow)),
        };
        let figures = self.state.figures(id, running.number());
        let rollout = match mode {
            None => {
                let recent = stage.recent(figures);
                let none = Figures::default();
                stage.rollout.published(loaded.clone(), none, recent, watch)
            }
            Some(mode) => stage.rollout.beside(loaded.clone(), mode, figures, watch),
        };
        let changed = self.state.publish(id, rollout, by).await?;
        let took = (started, &changed);
        if mode.is_none() {
            report.state = state_label(id, &changed);
            self.state
                .report_takeover(id, event, by, watched(watch), took);
        } else {
            let said = StageEvent {
                event,
                by,
                loaded: &loaded,
                detail: outcome.clone(),
                took: Some(took),
            };
            self.state.report_event(id, said);
        }
        report.outcome = outcome;
        report.pause_us = micros(changed.pause);
        report.elapsed_ms = millis(started);
        Ok(report)
    }

    /// Brings back the previous generation.
    pub(crate) async fn rollback(&mut self, name: &str) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        self.state.roll_back(&id, Trigger::Admin, "asked for").await
    }

    /// Publishes the candidate of a stage.
    pub(crate) async fn promote(
        &mut self,
        name: &str,
        watch: Watch,
    ) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        let report = self.state.promote(&id, Trigger::Admin, watch).await;
        self.evaluate_soon();
        report
    }

    /// Ends the candidate of a stage.
    pub(crate) async fn cancel(&mut self, name: &str) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        self.state.cancel(&id, Trigger::Admin, "asked for").await
    }
}

fn refuse(stage: &str, by: Trigger, reply: Option<Reply>, refusal: Refusal) {
    warn!(
        stage,
        by = by.label(),
        error = &refusal as &dyn std::error::Error,
        "plugin not swapped, the running generation stays"
    );
    if let Some(reply) = reply {
        answer(reply, Err(refusal));
    }
}
