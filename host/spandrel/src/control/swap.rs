//! Swaps on command: another generation of a stage, or the one before it again.

use std::path::PathBuf;
use std::sync::Arc;

use spandrel_pipeline::pipeline::{ChangeError, StagesChanged};
use spandrel_pipeline::stage::{Carried, Generation as _, Mode, Share};
use spandrel_plugin::artifact::Digest;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use super::api::{EventView, SwapReport, SwapRequest};
use super::board::mode_label;
use super::build::{BuildError, Built, Evidence, Plan};
use super::changer::{Asked, Building, Changer, answer};
use super::lineup::{Candidate, Lineup, Loaded, ModuleSource};
use super::{By, Refusal, in_one_line};
use crate::app::live::Live;
use crate::app::plugins::log_loaded;
use crate::app::{micros, millis};
use crate::config::id::Id;

type Reply = oneshot::Sender<Result<SwapReport, Refusal>>;

/// One event of a stage, but for what is the same for all.
pub(super) struct Said<'a> {
    pub(super) event: &'static str,
    pub(super) by: By,
    pub(super) loaded: &'a Loaded,
    pub(super) detail: String,
    pub(super) took: Option<(Instant, &'a StagesChanged)>,
}

impl Changer {
    /// Begins to build what somebody asks for.
    pub(super) async fn begin_swap(
        &mut self,
        stage: &str,
        request: SwapRequest,
        upload: Option<Vec<u8>>,
        by: By,
        reply: Option<Reply>,
    ) {
        let started = Instant::now();
        match self.plan_swap(stage, &request, upload, by).await {
            Ok((id, plan)) => {
                self.live.board.set_doing(id.as_str(), Some("loading"));
                let asked = Asked {
                    stage: id,
                    number: plan.number,
                    request,
                    by,
                    started,
                    reply,
                };
                self.begin_building(Building::Swap {
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
        by: By,
    ) -> Result<(Id, Plan), Refusal> {
        let id = self.find(stage)?;
        let pinned = request.sha256.as_deref().map(parse_digest).transpose()?;
        mode(request)?;
        let evidence = self.live.evidence(&id).await;
        let live = &mut self.live;
        let (Some(engine), Some(stage)) = (&live.engine, live.stages.get_mut(&id)) else {
            return Err(Refusal::NotFound(format!("there is no stage `{stage}`")));
        };
        if stage.lineup.candidate.is_some() && by != By::File {
            return Err(Refusal::Conflict(format!(
                "stage `{id}` has a candidate beside its generation: promote or cancel that first"
            )));
        }
        let source = match (upload, &request.module) {
            (Some(bytes), _) => ModuleSource::Upload(bytes.into()),
            (None, Some(path)) => ModuleSource::File(PathBuf::from(path)),
            (None, None) => ModuleSource::File(stage.wasm.module.clone()),
        };
        let config = match (&request.config, by) {
            (Some(config), _) => Arc::new(config.clone()),
            // The file is the configuration's, and so is what goes with it.
            (None, By::File) => Arc::new(stage.wasm.config.clone()),
            (None, _) => Arc::clone(&stage.lineup.running.config),
        };
        let plan = Plan {
            engine: engine.clone(),
            stage: id.to_string(),
            number: stage.next_number(),
            source,
            pinned: pinned.or(stage.wasm.sha256),
            config,
            limits: stage.wasm.limits.clone(),
            metrics: Arc::clone(&stage.metrics),
            evidence: Some(evidence),
        };
        Ok((id, plan))
    }

    /// Publishes what was built, or says why not.
    pub(super) async fn finish_swap(&mut self, asked: Asked, built: Result<Built, BuildError>) {
        let Asked {
            stage,
            number,
            request,
            by,
            started,
            reply,
        } = asked;
        self.live.board.set_doing(stage.as_str(), None);
        let done = match built {
            Ok(built) => {
                log_loaded(&stage, &built.loaded, started);
                self.publish_built(&stage, &request, by, started, built)
                    .await
            }
            Err(error) => {
                if let (BuildError::Probe { identity, .. }, Some(stage)) =
                    (&error, self.live.stages.get_mut(&stage))
                {
                    stage.remember_failed(*identity);
                }
                Err(Refusal::Bad(in_one_line(&error)))
            }
        };
        match done {
            Ok(report) => {
                self.look_soon();
                if let Some(reply) = reply {
                    answer(reply, Ok(report));
                }
            }
            Err(refusal) => {
                self.live.board.count(stage.as_str(), "refused");
                self.live.board.add(EventView {
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
        by: By,
        started: Instant,
        Built { mut loaded, probed }: Built,
    ) -> Result<SwapReport, Refusal> {
        let gone = || Refusal::NotFound(format!("stage `{id}` was taken out meanwhile"));
        let stage = self.live.stages.get(id).ok_or_else(gone)?;
        let running = &stage.lineup.running;
        let identity = loaded.generation.identity();
        let mut report = SwapReport {
            stage: id.to_string(),
            outcome: "unchanged".to_owned(),
            generation: running.number(),
            previous: running.number(),
            sha256: loaded.sha256(),
            ..SwapReport::default()
        };
        if identity.generation == running.generation.digest() {
            report.elapsed_ms = millis(started);
            return Ok(report);
        }
        if by == By::File && stage.has_failed(&identity.generation) {
            return Err(Refusal::Bad(format!(
                "this module with this config failed before in stage `{id}`; it is not loaded again \
                 by itself: change it, or swap it in by hand"
            )));
        }
        report.generation = loaded.number();
        report.state = probed.state_refused.map_or_else(
            || "can be carried".to_owned(),
            |why| format!("not carried: {why}"),
        );
        if request.dry_run {
            "would publish".clone_into(&mut report.outcome);
            report.elapsed_ms = millis(started);
            return Ok(report);
        }
        let mut lineup = stage.lineup.clone();
        let mode = mode(request)?;
        let event = match mode {
            Some(mode) => {
                let label = mode_label(mode);
                loaded.state = "none".to_owned();
                lineup.candidate = Some(Candidate {
                    loaded: loaded.clone(),
                    mode,
                    since: Instant::now(),
                });
                report.outcome = label;
                if mode == Mode::Shadow {
                    "shadow"
                } else {
                    "canary"
                }
            }
            None => {
                lineup.previous = Some(std::mem::replace(&mut lineup.running, loaded.clone()));
                lineup.candidate = None;
                lineup.probation = Some(Instant::now());
                "published".clone_into(&mut report.outcome);
                "published"
            }
        };
        let changed = self.live.publish(id, lineup).await?;
        if mode.is_none() {
            report.state = state_label(id, &changed);
            self.live.note_state(id, &report.state);
        }
        let said = Said {
            event,
            by,
            loaded: &loaded,
            detail: if mode.is_none() {
                format!("state {}", report.state)
            } else {
                report.outcome.clone()
            },
            took: Some((started, &changed)),
        };
        self.live.say(id, said);
        report.pause_us = micros(changed.pause);
        report.elapsed_ms = millis(started);
        Ok(report)
    }

    /// Brings back the generation before.
    pub(super) async fn rollback(&mut self, name: &str) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        self.live.roll_back(&id, By::Admin, "asked for").await
    }

    /// Publishes the candidate of a stage.
    pub(super) async fn promote(&mut self, name: &str) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        let report = self.live.promote(&id, By::Admin).await;
        self.look_soon();
        report
    }

    /// Ends the candidate of a stage.
    pub(super) async fn cancel(&mut self, name: &str) -> Result<SwapReport, Refusal> {
        let id = self.find(name)?;
        self.live.cancel(&id, By::Admin, "asked for").await
    }
}

impl Live {
    /// What a candidate of this stage is probed with.
    pub(super) async fn evidence(&self, id: &Id) -> Evidence {
        let Some((_, pipeline)) = self.with_stage(id).next() else {
            return Evidence::default();
        };
        Evidence {
            state: pipeline.snapshot(id.as_str()).await,
            sample: pipeline.sample(id.as_str()).await,
        }
    }

    /// Makes a stage's lineup this one, in all pipelines in which it stands, or in none.
    pub(super) async fn publish(
        &mut self,
        id: &Id,
        lineup: Lineup,
    ) -> Result<StagesChanged, Refusal> {
        let Some(stage) = self.stages.get_mut(id) else {
            return Err(Refusal::NotFound(format!("there is no stage `{id}`")));
        };
        let before = std::mem::replace(&mut stage.lineup, lineup);
        let changed = self.apply(id).await;
        if changed.is_err() {
            if let Some(stage) = self.stages.get_mut(id) {
                stage.lineup = before;
            }
            // Those pipelines that did change go back; for the others it is no change.
            if let Err(error) = self.apply(id).await {
                warn!(stage = %id, error = &error as &dyn std::error::Error, "not every pipeline could be changed back");
            }
        }
        self.show();
        changed.map_err(|error| match error {
            ChangeError::Draining => Refusal::Draining,
            ChangeError::Busy => Refusal::Conflict(in_one_line(&error)),
            error => Refusal::Bad(in_one_line(&error)),
        })
    }

    async fn apply(&self, id: &Id) -> Result<StagesChanged, ChangeError> {
        let mut sum = StagesChanged::default();
        for (config, pipeline) in self.with_stage(id) {
            add(&mut sum, pipeline.change(self.specs(config)).await?);
        }
        Ok(sum)
    }

    /// Brings back the generation before the running one.
    pub(super) async fn roll_back(
        &mut self,
        id: &Id,
        by: By,
        why: &str,
    ) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let lineup = self.lineup(id)?;
        let Some(previous) = lineup.previous.clone() else {
            return Err(Refusal::NotFound(format!(
                "stage `{id}` has run no other generation that could be brought back"
            )));
        };
        let from = lineup.running.clone();
        let changed = self
            .publish(
                id,
                Lineup {
                    running: previous.clone(),
                    // By hand one may change one's mind; what failed is not brought back.
                    previous: (by == By::Admin).then(|| from.clone()),
                    candidate: None,
                    probation: None,
                },
            )
            .await?;
        if by == By::Probation
            && let Some(stage) = self.stages.get_mut(id)
        {
            stage.remember_failed(from.generation.digest());
        }
        let state = state_label(id, &changed);
        self.note_state(id, &state);
        self.say(
            id,
            Said {
                event: "rolled back",
                by,
                loaded: &previous,
                detail: format!("from generation {}: {why}; state {state}", from.number()),
                took: Some((started, &changed)),
            },
        );
        Ok(self.report(id, "rolled back", &from, &changed, started))
    }

    /// Publishes the candidate beside the running generation.
    pub(super) async fn promote(&mut self, id: &Id, by: By) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let lineup = self.lineup(id)?;
        let Some(candidate) = lineup.candidate.clone() else {
            return Err(no_candidate(id));
        };
        let from = lineup.running.clone();
        let changed = self
            .publish(
                id,
                Lineup {
                    running: candidate.loaded.clone(),
                    previous: Some(from.clone()),
                    candidate: None,
                    // A canary that has passed is promoted because of that.
                    probation: (by == By::Admin).then(Instant::now),
                },
            )
            .await?;
        let state = state_label(id, &changed);
        self.note_state(id, &state);
        self.say(
            id,
            Said {
                event: "promoted",
                by,
                loaded: &candidate.loaded,
                detail: format!("was {}; state {state}", mode_label(candidate.mode)),
                took: Some((started, &changed)),
            },
        );
        Ok(self.report(id, "promoted", &from, &changed, started))
    }

    /// Ends the candidate beside the running generation.
    pub(super) async fn cancel(
        &mut self,
        id: &Id,
        by: By,
        why: &str,
    ) -> Result<SwapReport, Refusal> {
        let started = Instant::now();
        let mut lineup = self.lineup(id)?.clone();
        let Some(candidate) = lineup.candidate.take() else {
            return Err(no_candidate(id));
        };
        let running = lineup.running.clone();
        let changed = self.publish(id, lineup).await?;
        if by == By::Probation
            && let Some(stage) = self.stages.get_mut(id)
        {
            stage.remember_failed(candidate.loaded.generation.digest());
        }
        self.say(
            id,
            Said {
                event: "cancelled",
                by,
                loaded: &candidate.loaded,
                detail: format!("was {}: {why}", mode_label(candidate.mode)),
                took: Some((started, &changed)),
            },
        );
        Ok(self.report(id, "cancelled", &running, &changed, started))
    }

    fn lineup(&self, id: &Id) -> Result<&Lineup, Refusal> {
        let stage = self.stages.get(id);
        let stage = stage.ok_or_else(|| Refusal::NotFound(format!("there is no stage `{id}`")))?;
        Ok(&stage.lineup)
    }

    fn report(
        &self,
        id: &Id,
        outcome: &str,
        from: &Loaded,
        changed: &StagesChanged,
        started: Instant,
    ) -> SwapReport {
        let running = self.stages.get(id).map(|stage| &stage.lineup.running);
        SwapReport {
            stage: id.to_string(),
            outcome: outcome.to_owned(),
            generation: running.map_or(0, Loaded::number),
            previous: from.number(),
            sha256: running.map(Loaded::sha256).unwrap_or_default(),
            state: state_label(id, changed),
            elapsed_ms: millis(started),
            pause_us: micros(changed.pause),
        }
    }

    /// Remembers what became of the state when the running generation took over.
    pub(super) fn note_state(&mut self, id: &Id, state: &str) {
        if let Some(stage) = self.stages.get_mut(id) {
            state.clone_into(&mut stage.lineup.running.state);
        }
        self.show();
    }

    /// Tells the log, the history and the metrics of something that happened to a stage.
    pub(super) fn say(&self, id: &Id, said: Said<'_>) {
        let Said {
            event,
            by,
            loaded,
            detail,
            took,
        } = said;
        let manifest = loaded.generation.manifest();
        info!(
            stage = %id,
            event,
            generation = loaded.number(),
            plugin = %manifest.name,
            version = %manifest.version,
            by = by.label(),
            detail = %detail,
            elapsed_ms = took.map(|(started, _)| millis(started)),
            pause_us = took.map(|(_, changed)| micros(changed.pause)),
            "plugin swapped"
        );
        self.board.count(id.as_str(), event);
        if let Some((started, changed)) = took {
            self.board.count_duration(
                id.as_str(),
                started.elapsed().as_secs_f64(),
                changed.pause.as_secs_f64(),
            );
        }
        self.board.add(EventView {
            stage: id.to_string(),
            generation: loaded.number(),
            sha256: loaded.sha256(),
            event: event.to_owned(),
            by: by.label().to_owned(),
            detail,
            elapsed_ms: took.map(|(started, _)| millis(started)),
            pause_us: took.map(|(_, changed)| micros(changed.pause)),
            ..EventView::default()
        });
    }
}

fn refuse(stage: &str, by: By, reply: Option<Reply>, refusal: Refusal) {
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

fn no_candidate(id: &Id) -> Refusal {
    Refusal::NotFound(format!(
        "stage `{id}` has no candidate: begin one with `swap --canary` or `swap --shadow`"
    ))
}

/// What the new generation is to get, if it is not to take over.
fn mode(request: &SwapRequest) -> Result<Option<Mode>, Refusal> {
    match (request.canary, request.shadow) {
        (None, false) => Ok(None),
        (None, true) => Ok(Some(Mode::Shadow)),
        (Some(_), true) => Err(Refusal::Bad(
            "a candidate is a canary or a shadow, not both".to_owned(),
        )),
        (Some(percent), false) => match Share::from_percent(percent) {
            Some(share) => Ok(Some(Mode::Canary(share))),
            None => Err(Refusal::Bad(format!(
                "{percent} is no share of traces: write a percentage above 0, up to 100"
            ))),
        },
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text.trim(), &mut digest)
        .map(|()| Digest(digest))
        .map_err(|_| {
            Refusal::Bad("`sha256` must be the 64 hex digits that sha256sum prints".to_owned())
        })
}

/// What was changed in several pipelines, together; the worst of what became of a state is told.
pub(super) fn add(sum: &mut StagesChanged, other: StagesChanged) {
    sum.pause = sum.pause.max(other.pause);
    for (stage, carried) in other.carried {
        let known = sum.carried.entry(stage).or_insert_with(|| carried.clone());
        if !matches!(known, Carried::Not(_)) && carried != Carried::Nothing {
            *known = carried;
        }
    }
}

/// What became of a stage's state.
fn state_label(id: &Id, changed: &StagesChanged) -> String {
    match changed.carried.get(id.as_str()) {
        None | Some(Carried::Nothing) => "none".to_owned(),
        Some(Carried::Yes) => "carried".to_owned(),
        Some(Carried::Earlier) => "carried from before".to_owned(),
        Some(Carried::Not(why)) => format!("not carried: {why}"),
    }
}
