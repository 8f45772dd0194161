//! A pipeline: built eagerly, as a whole or not at all; drained in order.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::egress::{Consumers, Egress, ExporterSpec};
use crate::ingress::{Door, DoorConfig, FanOut};
use crate::ledger::Ledger;
use crate::queue::QueueFill;
use crate::shard::{INPUT_BATCHES, Shard};
use crate::stage::runner::StageRunner;
use crate::stage::{Dispatch, FaultPolicy, HoldLimits, InstantiateError, StageSpec};

/// When a sender gets its OK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckOn {
    /// Once the batch is through the stages and in the queues; held items count as in.
    #[default]
    Queue,
    /// Once every exporter has it. Not for pipelines with a plugin that holds.
    Export,
}

/// One entry of `service::pipelines`.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name in the config (`traces`, `traces/2`).
    pub name: String,
    /// The signal it carries.
    pub signal: Signal,
    /// How many shards; at least one.
    pub shards: usize,
    /// Its stages, in order.
    pub stages: Vec<StageSpec>,
    /// Its exporters; each gets everything.
    pub exporters: Vec<ExporterSpec>,
    /// When a sender gets its OK.
    pub ack_on: AckOn,
    /// What a request may be at most.
    pub limits: Limits,
}

/// Why a pipeline could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A plugin could not be instantiated.
    #[error("cannot make an instance of stage `{stage}` in pipeline `{pipeline}`")]
    Instantiate {
        /// The pipeline's name.
        pipeline: String,
        /// The stage's name.
        stage: String,
        /// Why.
        #[source]
        source: InstantiateError,
    },
    /// `ack_on: export` would make the sender of a held item wait for as long as it is held.
    #[error(
        "pipeline `{pipeline}` says `ack_on: export`, but the plugin of stage `{stage}` holds items; \
         use `ack_on: queue`, or leave the stage out"
    )]
    AckOnExportWithHolds {
        /// The pipeline's name.
        pipeline: String,
        /// The stage's name.
        stage: String,
    },
}

/// How a drain went, phase by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Until the shards had finished their batches and their stages had let go.
    pub shards: Duration,
    /// Until the queues were empty and every attempt had ended.
    pub egress: Duration,
    /// Whether every phase ended by itself, before the deadline.
    pub in_time: bool,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    door: Arc<Door>,
    egress: Arc<Egress>,
    consumers: Consumers,
    shards: JoinSet<()>,
    deadline: watch::Sender<Option<Instant>>,
}

impl Pipeline {
    /// Makes every instance, then starts the shards and exporters. Fails as a whole: nothing runs
    /// when an error is returned.
    ///
    /// # Errors
    /// When a plugin cannot be instantiated, or the config contradicts its manifest.
    pub async fn build(config: PipelineConfig) -> Result<Self, BuildError> {
        let PipelineConfig {
            name,
            signal,
            shards,
            stages,
            exporters,
            ack_on,
            limits,
        } = config;
        let holds = stages
            .iter()
            .find(|stage| stage.generation.manifest().holds);
        if let (AckOn::Export, Some(stage)) = (ack_on, holds) {
            return Err(BuildError::AckOnExportWithHolds {
                pipeline: name,
                stage: stage.name.clone(),
            });
        }
        warn_of_retries(&name, ack_on, &stages);
        let dispatch = stages
            .iter()
            .map(|stage| stage.generation.manifest().dispatch)
            .max();
        let dispatch = dispatch.unwrap_or_default();
        let shards = match (stages.is_empty(), dispatch) {
            (true, _) => 0,
            (false, Dispatch::Single) => 1,
            (false, Dispatch::Any | Dispatch::ByTrace) => shards.max(1),
        };
        let columns = stages.iter().map(|stage| {
            (
                stage.name.clone(),
                stage.generation.manifest().drop_reasons.clone(),
            )
        });
        let names = exporters.iter().map(|exporter| exporter.name.clone());
        let ledger = Ledger::new(name.clone(), signal, columns, names);
        let runners = make_runners(&name, &stages, shards, &limits, &ledger).await?;

        let (egress, consumers) = Egress::start(signal, &ledger, exporters);
        let (deadline, deadline_seen) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let mut lanes = Vec::with_capacity(shards);
        for stages in runners {
            let (lane, input) = mpsc::channel(INPUT_BATCHES);
            lanes.push(lane);
            tasks
                .spawn(Shard::new(stages, Arc::clone(&egress), input, deadline_seen.clone()).run());
        }
        let door = DoorConfig {
            signal,
            limits,
            dispatch,
            ack_on,
        };
        let door = Arc::new(Door::new(door, ledger, Arc::clone(&egress), lanes));
        Ok(Self {
            door,
            egress,
            consumers,
            shards: tasks,
            deadline,
        })
    }

    /// What a receiver of this pipeline's signal is given.
    pub fn ingress(&self) -> FanOut {
        FanOut::new(vec![Arc::clone(&self.door)])
    }

    /// What a receiver is given that feeds several pipelines: each request goes into all of those
    /// that carry its signal, or into none.
    pub fn fan_out<'a>(pipelines: impl IntoIterator<Item = &'a Self>) -> FanOut {
        FanOut::new(
            pipelines
                .into_iter()
                .map(|pipeline| Arc::clone(&pipeline.door))
                .collect(),
        )
    }

    /// The pipeline's books.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.door.ledger()
    }

    /// Makes these the exporters, at once, under whatever traffic. By name: one of which nothing has
    /// changed (the very same `exporter`, equal settings) stays as it is, with its queue and its
    /// connection; another is started anew; those that are not named any more are retired, and a
    /// changed one's predecessor is, too: what was admitted for them still goes out through them,
    /// then they end by themselves. To be called inside the runtime.
    pub fn set_exporters(&self, exporters: Vec<ExporterSpec>) {
        self.egress.change(&self.consumers, exporters);
    }

    /// How full each exporter's queue is, in the order of the exporters' columns in the ledger.
    pub fn queues(&self) -> Vec<QueueFill> {
        self.egress.fill()
    }

    /// Something that reads the queues for as long as the pipeline lives, and after.
    pub fn queue_gauge(&self) -> impl Fn() -> Vec<QueueFill> + Send + Sync + 'static + use<> {
        let egress = Arc::clone(&self.egress);
        move || egress.fill()
    }

    /// Accepts nothing new from now on. Requests that are already in are still answered. Call it
    /// when the receivers are told to stop.
    pub fn close(&self) {
        self.door.close();
        self.consumers.hurry();
    }

    /// Finishes what was accepted: shards, stages in pipeline order, batchers, queues, exporters.
    /// What is left at `deadline` is abandoned, and booked so. Call it once the receivers are done.
    pub async fn drain(mut self, deadline: Instant) -> Drained {
        let started = Instant::now();
        self.close();
        self.deadline.send_replace(Some(deadline));
        self.door.release_shards();
        let all = async { while self.shards.join_next().await.is_some() {} };
        let shards_in_time = tokio::time::timeout_at(deadline, all).await.is_ok();
        self.shards.shutdown().await;
        let shards = started.elapsed();
        self.egress.close();
        let egress_in_time = self.consumers.finish(deadline).await;
        Drained {
            shards,
            egress: started.elapsed().saturating_sub(shards),
            in_time: shards_in_time && egress_in_time,
        }
    }
}

/// A plugin with state has seen a batch that is refused behind it, and sees it again when the sender
/// retries: one that drops duplicates would drop the retry.
fn warn_of_retries(pipeline: &str, ack_on: AckOn, stages: &[StageSpec]) {
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
            "with ack_on export this plugin sees retries of what it has seen"
        );
    } else if let Some(behind) = behind {
        tracing::warn!(
            pipeline, stage, refuses = %behind.name,
            "a stage behind this plugin may refuse what it has seen, and it sees the retries"
        );
    }
}

/// One instance of every stage for each shard, each shard with its share of the hold limits.
async fn make_runners(
    pipeline: &str,
    stages: &[StageSpec],
    shards: usize,
    limits: &Limits,
    ledger: &Arc<Ledger>,
) -> Result<Vec<Vec<StageRunner>>, BuildError> {
    let specs = stages
        .iter()
        .map(|stage| Arc::new(share(stage, shards)))
        .collect::<Vec<_>>();
    let mut runners = Vec::with_capacity(shards);
    for _ in 0..shards {
        let mut chain = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let instance =
                spec.generation
                    .instantiate()
                    .await
                    .map_err(|source| BuildError::Instantiate {
                        pipeline: pipeline.to_owned(),
                        stage: spec.name.clone(),
                        source,
                    })?;
            let ledger = Arc::clone(ledger);
            chain.push(StageRunner::new(
                index,
                Arc::clone(spec),
                *limits,
                ledger,
                instance,
            ));
        }
        runners.push(chain);
    }
    Ok(runners)
}

fn share(stage: &StageSpec, shards: usize) -> StageSpec {
    let HoldLimits { items, bytes, time } = stage.hold;
    let shards = shards.max(1);
    let hold = HoldLimits {
        items: (items / shards as u64).max(1),
        bytes: (bytes / shards).max(1),
        time,
    };
    StageSpec {
        hold,
        ..stage.clone()
    }
}
