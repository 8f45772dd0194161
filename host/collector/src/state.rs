//! The parts of a running collector that can change while it runs.

use std::sync::Arc;

use spandrel_config::id::Id;
use spandrel_config::service::DrainTiming;
use spandrel_config::{self as config, Config};
use spandrel_pipeline::pipeline::{Pipeline, StagesChange};

use crate::difference::Difference;
use crate::drain::{Drain, Ending};
use crate::durable::{self, Durables};
use crate::error_chain::in_one_line;
use crate::exporters::Exporters;
use crate::memory::Limiters;
use crate::pipelines::Pipelines;
use crate::quarantine::Quarantine;
use crate::receivers::{BoundReceiver, Receivers};
use crate::refusal::Refusal;
use crate::report::PipelineView;
use crate::retiring::RetiringPipelines;
use crate::stage::event::StageEvent;
use crate::stage::probation::Figures;
use crate::stage::rollout::Rollout;
use crate::stage::table::{Stages, StagesBackup};
use crate::stage::view::stage_view;
use crate::status::{PipelineStatus, Snapshot, Status};
use crate::trigger::Trigger;

/// The parts of a running collector that can change while it runs. One task owns it.
#[derive(Debug)]
pub(crate) struct CollectorState {
    pipelines: Pipelines,
    stages: Stages,
    exporters: Exporters,
    receivers: Receivers,
    /// The journals and quarantines of the running pipelines.
    durables: Durables,
    limiters: Limiters,
    /// Pipelines that a reload removed, until they are empty.
    retiring: RetiringPipelines,
    status: Arc<Status>,
    timing: DrainTiming,
}

/// Everything that is made for another configuration before anything is changed.
struct NewParts {
    exporters: Exporters,
    receivers: Vec<BoundReceiver>,
    /// In the order of the new configuration; `None` where the running pipeline goes on.
    pipelines: Vec<Option<Pipeline>>,
    /// The journals and quarantines of the new pipelines.
    durables: Durables,
}

impl CollectorState {
    /// Puts the parts together. No receiver accepts yet. Must be called inside the runtime.
    pub(crate) fn new(
        pipelines: Pipelines,
        stages: Stages,
        exporters: Exporters,
        durables: Durables,
        status: Arc<Status>,
    ) -> Self {
        Self {
            limiters: Limiters::watch(pipelines.iter()),
            timing: pipelines.config().service.drain_timing(),
            pipelines,
            stages,
            exporters,
            receivers: Receivers::default(),
            durables,
            retiring: RetiringPipelines::default(),
            status,
        }
    }

    /// Starts the receivers.
    pub(crate) fn serve(&mut self, receivers: Vec<BoundReceiver>) {
        self.receivers = Receivers::start(receivers);
        self.show();
    }

    /// Drains, unless `abort` comes first.
    pub(crate) async fn drain(self, abort: impl Future<Output = &'static str>) -> Ending {
        let drain = Drain {
            receivers: self.receivers,
            pipelines: self.pipelines.into_running(),
            retiring: self.retiring,
            durables: self.durables,
            timing: self.timing,
        };
        drain.run(&self.status, abort).await
    }

    pub(crate) fn pipelines(&self) -> &Pipelines {
        &self.pipelines
    }

    pub(crate) fn stages(&self) -> &Stages {
        &self.stages
    }

    pub(crate) fn stages_mut(&mut self) -> &mut Stages {
        &mut self.stages
    }

    pub(crate) fn exporters(&self) -> &Exporters {
        &self.exporters
    }

    pub(crate) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Publishes the status: what runs now.
    pub(crate) fn show(&self) {
        let config = self.pipelines.config();
        let shards = config.shards();
        let pipelines = self.pipelines.iter().map(|(config, pipeline)| {
            let durable = self.durables.get(&config.id);
            PipelineStatus {
                view: view(config, shards),
                ledger: Arc::clone(pipeline.ledger()),
                queues: Arc::new(pipeline.queue_gauge()),
                journal: durable.map(|durable| Arc::clone(&durable.journal)),
                quarantine: durable.map(|durable| {
                    let store = Arc::clone(&durable.quarantine);
                    Quarantine::new(store, Arc::new(pipeline.ingress()), pipeline.retries())
                }),
            }
        });
        let stages = self.stages.in_order(config).into_iter().map(stage_view);
        let plugins = self.stages.iter();
        self.status.publish(Snapshot {
            receivers: self.receivers.counters(),
            pipelines: pipelines.collect(),
            stages: stages.collect(),
            plugins: plugins
                .map(|stage| (stage.id().to_string(), Arc::clone(stage.metrics())))
                .collect(),
            limiters: self.limiters.watched(),
        });
    }

    /// Reads the figures of every running generation, to know later what is usual for it.
    pub(crate) fn read_figures(&mut self) {
        for id in self.stages.ids() {
            if let Some(stage) = self.stages.get_mut(&id) {
                stage.read(self.pipelines.figures(&id, stage.running().number()));
            }
        }
    }

    /// Returns what a stage's running generation did in its last minute or so.
    pub(crate) fn recent(&self, id: &Id) -> Figures {
        let Some(stage) = self.stages.get(id) else {
            return Figures::default();
        };
        stage.recent(self.pipelines.figures(id, stage.running().number()))
    }

    /// Makes these the generations of a stage, in all pipelines that contain it or in none.
    pub(crate) async fn publish(
        &mut self,
        id: &Id,
        rollout: Rollout,
        by: Trigger,
    ) -> Result<StagesChange, Refusal> {
        let before = self.stages.require_mut(id)?.replace_rollout(rollout);
        let mut changed = Vec::new();
        let change = self.pipelines.change_stage(id, &self.stages, &mut changed);
        match change.await {
            Ok(change) => {
                self.report_overtaken(id, &before, by);
                self.show();
                Ok(change)
            }
            Err(error) => {
                if let Some(stage) = self.stages.get_mut(id) {
                    stage.replace_rollout(before);
                }
                self.pipelines.change_back(&changed, &self.stages).await;
                self.show();
                Err(error.into())
            }
        }
    }

    /// Reports that a candidate has ended because another generation took over.
    fn report_overtaken(&self, id: &Id, before: &Rollout, by: Trigger) {
        let Some(stage) = self.stages.get(id) else {
            return;
        };
        if let Some(candidate) = stage.rollout().overtaken(before) {
            let number = stage.running().number();
            StageEvent::overtaken(id, by, candidate, number).report(&self.status);
        }
    }

    /// Brings another configuration into force, as a whole or not at all. The stages have their new
    /// settings and generations already, and get those of `before` back if it fails.
    pub(crate) async fn reconfigure(
        &mut self,
        config: Config,
        difference: &Difference,
        before: &StagesBackup,
        by: Trigger,
    ) -> Result<StagesChange, Refusal> {
        let mut restaged = Vec::new();
        let prepared = self.prepare(&config, difference, &mut restaged).await;
        let (new, changed) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => {
                self.stages.restore(before);
                self.pipelines.change_back(&restaged, &self.stages).await;
                self.show();
                return Err(refusal);
            }
        };
        self.commit(config, difference, new);
        for (id, rollout) in before.rollouts() {
            self.report_overtaken(id, rollout, by);
        }
        Ok(changed)
    }

    /// Makes everything that is new, then changes the stages of the pipelines that stay, which is
    /// the last step that can fail. `restaged` lists the pipelines that were changed, even after a
    /// failure.
    async fn prepare(
        &self,
        config: &Config,
        difference: &Difference,
        restaged: &mut Vec<Id>,
    ) -> Result<(NewParts, StagesChange), Refusal> {
        let bad = |error: &dyn std::error::Error| Refusal::Bad(in_one_line(error));
        let exporters = self.exporters.changed(config);
        let exporters = exporters.map_err(|error| bad(&error))?;
        let timing = config.service.drain_timing();
        let mut receivers = Vec::new();
        let named = config.receivers();
        for receiver in named.iter().copied() {
            if self.receivers.has(receiver) {
                continue;
            }
            let before = self.receivers.before(receiver, &named);
            let bound = BoundReceiver::bind(receiver, &timing, before).await;
            receivers.push(bound.map_err(|error| bad(&error))?);
        }
        let mut durables = Durables::new();
        for pipeline in &config.service.pipelines {
            if difference.stays(&pipeline.id) {
                continue;
            }
            let opened = durable::open(pipeline).await;
            if let Some(opened) = opened.map_err(|error| bad(&error))? {
                durables.insert(pipeline.id.clone(), opened);
            }
        }
        let (running, stages) = (&self.pipelines, &self.stages);
        let built = running.build_new(config, difference, &exporters, stages, &durables);
        let pipelines = built.await?;
        let restage = running.restage(config, difference, stages, restaged);
        let changed = restage.await?;
        let new = NewParts {
            exporters,
            receivers,
            pipelines,
            durables,
        };
        Ok((new, changed))
    }

    /// Commits the rest of the reload. It cannot fail and does not wait, so it is done as a whole
    /// even when the collector is told to stop.
    fn commit(&mut self, config: Config, difference: &Difference, new: NewParts) {
        let NewParts {
            exporters,
            receivers,
            pipelines,
            durables,
        } = new;
        self.timing = config.service.drain_timing();
        let removed = self
            .pipelines
            .replace(config, pipelines, difference, &exporters);
        self.exporters = exporters;
        self.exporters.take_over();
        for receiver in &receivers {
            receiver.connect(&self.pipelines);
        }
        // A receiver that takes over a socket accepts before the one that had it is told to stop.
        for receiver in receivers {
            self.receivers.add(receiver);
        }
        let config = self.pipelines.config();
        let named = config.receivers();
        self.receivers
            .retain(|id| named.iter().any(|receiver| receiver.id == *id));
        self.receivers.connect(&self.pipelines);
        for (id, pipeline) in removed {
            let durable = self.durables.remove(&id);
            self.retiring.add(pipeline, durable, self.timing.timeout);
        }
        self.durables.extend(durables);
        self.limiters = Limiters::watch(self.pipelines.iter());
        let wanted = config.stages();
        self.stages.retain(|id| wanted.contains_key(id));
    }
}

fn view(config: &config::service::Pipeline, shards: usize) -> PipelineView {
    let receivers = config.receivers.iter();
    let exporters = config.exporters.iter();
    PipelineView {
        name: config.id.to_string(),
        signal: config.id.kind().to_owned(),
        receivers: receivers.map(|receiver| receiver.id.to_string()).collect(),
        stages: config
            .stages
            .iter()
            .map(|stage| stage.id.to_string())
            .collect(),
        exporters: exporters.map(|exporter| exporter.id.to_string()).collect(),
        shards: if config.stages.is_empty() { 0 } else { shards },
        ..PipelineView::default()
    }
}
