//! Swaps: another generation of a stage, on command or because the file of its module has changed.

use std::sync::Arc;

use spandrel_config::id::Id;
use spandrel_config::module::ModuleLocation;
use spandrel_supply::SignatureSource;
use tokio::time::Instant;
use tracing::warn;

use crate::control::Reply;
use crate::controller::request::{self, one_of_all, parse_digest, refusal};
use crate::controller::stage_change::StageChange;
use crate::refusal::Refusal;
use crate::report::{EventView, SwapReport, SwapRequest};
use crate::stage::Stage;
use crate::stage::load::{LoadPlan, ProbedPlugin, StageLoadError};
use crate::stage::loaded::ModuleSource;
use crate::state::CollectorState;
use crate::time_text::millis;
use crate::trigger::Trigger;

/// An order to run another generation of a stage.
pub(super) struct SwapOrder {
    pub(super) stage: String,
    pub(super) request: SwapRequest,
    /// The module's bytes, if they came with the request.
    pub(super) upload: Option<Vec<u8>>,
    pub(super) by: Trigger,
    /// `None` if nobody waits for the answer.
    pub(super) reply: Option<Reply<SwapReport>>,
}

impl SwapOrder {
    /// Plans the generation.
    async fn plan(&mut self, state: &mut CollectorState) -> Result<(Id, LoadPlan), Refusal> {
        let request = &self.request;
        let id = state.stages().find(&self.stage)?;
        let pinned = request.sha256.as_deref().map(parse_digest).transpose()?;
        request::mode(request)?;
        let probe_input = state.pipelines().probe_input(&id).await;
        let rules = Arc::clone(&state.pipelines().config().service.plugins);
        let engine = state.stages().engine().cloned();
        let stage = state.stages_mut().get_mut(&id);
        let (Some(engine), Some(stage)) = (engine, stage) else {
            return Err(Refusal::NotFound(format!("there is no stage `{id}`")));
        };
        if stage.rollout().candidate().is_some() && self.by != Trigger::File {
            return Err(Refusal::Conflict(format!(
                "stage `{id}` has a candidate beside its generation: promote or cancel that first"
            )));
        }
        // If only the configuration changes, the file must be the module that runs, whatever the
        // request says: the file may have changed, have failed, or have no signature.
        let is_same = self.upload.is_none() && request.module.is_none() && request.config.is_some();
        let is_same = is_same && !stage.is_missing();
        let running = is_same.then(|| stage.running().module());
        let pinned = one_of_all([running, pinned, stage.wasm().module.sha256])?;
        let (config, hidden) = request::config(stage, request, self.by);
        let source = source(stage, request, self.upload.take());
        let number = stage.next_number();
        let plan = LoadPlan::new(&engine, &rules, &id, number, stage.wasm(), stage.metrics())
            .with_module(source, pinned)
            .with_config(config, hidden)
            .with_probe(probe_input);
        let plan = match is_same {
            true => plan.without_signature(),
            false => plan,
        };
        Ok((id, plan))
    }

    /// Logs the refusal and sends it as the answer.
    fn refuse(self, refusal: Refusal) {
        warn!(
            stage = self.stage,
            by = self.by.label(),
            error = &refusal as &dyn std::error::Error,
            "plugin not swapped, the running generation stays"
        );
        self.answer(Err(refusal));
    }

    /// Sends the answer. The client may be gone.
    fn answer(self, done: Result<SwapReport, Refusal>) {
        if let Some(reply) = self.reply {
            drop(reply.send(done));
        }
    }
}

/// Returns the place that the module of a request comes from.
fn source(stage: &Stage, request: &SwapRequest, upload: Option<Vec<u8>>) -> ModuleSource {
    let signature = |default| match &request.signature {
        Some(text) => SignatureSource::Text(text.as_str().into()),
        None => default,
    };
    match (upload, &request.module) {
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
        (None, None) if request.config.is_some() => stage.running().source.clone(),
        (None, None) => ModuleSource::Place(stage.wasm().module.location.clone()),
    }
}

/// A swap whose generation is being built.
pub(super) struct PendingSwap {
    order: SwapOrder,
    stage: Id,
    number: u64,
    started: Instant,
}

impl PendingSwap {
    /// Plans the generation that an order asks for. `None` if the order was refused.
    pub(super) async fn plan(
        mut order: SwapOrder,
        state: &mut CollectorState,
    ) -> Option<(Self, LoadPlan)> {
        let started = Instant::now();
        match order.plan(state).await {
            Ok((stage, plan)) => {
                state.status().set_swap(stage.as_str(), Some("loading"));
                let swap = Self {
                    order,
                    stage,
                    number: plan.number(),
                    started,
                };
                Some((swap, plan))
            }
            Err(refusal) => {
                order.refuse(refusal);
                None
            }
        }
    }

    pub(super) fn stage(&self) -> &Id {
        &self.stage
    }

    /// Returns the cause of the swap.
    pub(super) fn by(&self) -> Trigger {
        self.order.by
    }

    /// Publishes what was built.
    pub(super) async fn apply(
        &self,
        state: &mut CollectorState,
        built: Result<ProbedPlugin, StageLoadError>,
    ) -> Result<SwapReport, Refusal> {
        let request = &self.order.request;
        state.status().set_swap(self.stage.as_str(), None);
        match built {
            Ok(built) => {
                built.loaded.log(&self.stage, self.started);
                if let Some(stage) = state.stages_mut().get_mut(&self.stage) {
                    stage.note_read(&built.loaded.source, built.loaded.module());
                }
                let change = StageChange::new(state, &self.stage, self.order.by);
                change.since(self.started).swap(request, built).await
            }
            Err(error) => {
                if let (Some(generation), false, Some(stage)) = (
                    error.failed(),
                    request.dry_run,
                    state.stages_mut().get_mut(&self.stage),
                ) {
                    stage.remember_failed(generation);
                }
                Err(refusal(&error, request))
            }
        }
    }

    /// Sends the answer to whoever asked for the swap.
    pub(super) fn succeed(self, report: SwapReport) {
        self.order.answer(Ok(report));
    }

    /// Reports that nothing was changed, to the history and to whoever asked for the swap.
    pub(super) fn refuse(self, state: &CollectorState, refusal: Refusal) {
        let status = state.status();
        status.count(self.stage.as_str(), "refused");
        status.add(EventView {
            stage: self.stage.to_string(),
            generation: self.number,
            event: "refused".to_owned(),
            by: self.order.by.label().to_owned(),
            detail: refusal.to_string(),
            elapsed_ms: Some(millis(self.started)),
            ..EventView::default()
        });
        self.order.refuse(refusal);
    }
}
