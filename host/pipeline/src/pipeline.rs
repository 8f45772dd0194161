//! A pipeline: built eagerly, as a whole or not at all, and drained in order.

mod checks;
mod journal_tasks;
mod resume;
mod stages;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::{Limits, Signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use crate::ingress::AckOn;
pub use crate::retries::{Retries, Retry, RetryAnswer};

pub use self::stages::StagesChange;
use self::stages::{StageContext, Stages};

use self::checks::{check_ack_on, warn_of_retries};
use self::journal_tasks::JournalTasks;
use crate::egress::{Consumers, Egress, ExporterSpec};
use crate::ingress::{Admission, AdmissionConfig, FanOut, Gate};
use crate::journal::Durability;
use crate::ledger::Ledger;
use crate::queue::QueueFill;
use crate::shard::ShardShutdown;
use crate::stage::{Comparison, Input, InstantiateError, StageSpec, State};

/// One entry of `service::pipelines`.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Its name in the config (`traces`, `traces/2`).
    pub name: String,
    /// The signal it carries.
    pub signal: Signal,
    /// The number of shards; at least one.
    pub shards: usize,
    /// Its stages, in order.
    pub stages: Vec<StageSpec>,
    /// Its exporters; each gets everything.
    pub exporters: Vec<ExporterSpec>,
    /// The moment when a sender gets its OK.
    pub ack_on: AckOn,
    /// The limits for a request.
    pub limits: Limits,
    /// The logs of a durable pipeline: a batch whose sender has an OK is on the disk. Not with
    /// [`AckOn::Export`].
    pub durability: Option<Durability>,
}

/// The reason why a pipeline could not be built, or its stages could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A plugin could not be instantiated.
    #[error("cannot make an instance of stage `{stage}` in pipeline `{pipeline}`")]
    Instantiate {
        /// The pipeline's name.
        pipeline: String,
        /// The stage's name.
        stage: String,
        /// The cause.
        #[source]
        source: InstantiateError,
    },
    /// With `ack_on: export` the sender of a held item would wait for as long as the item is held.
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
    /// With a journal, the journal decides when a sender gets its OK.
    #[error("pipeline `{pipeline}` has a journal and says `ack_on: export`; use one of the two")]
    AckOnExportWithJournal {
        /// The pipeline's name.
        pipeline: String,
    },
    /// An exporter's log cannot be opened.
    #[error("cannot open the log of exporter `{exporter}` in pipeline `{pipeline}`")]
    Log {
        /// The pipeline's name.
        pipeline: String,
        /// The exporter's name.
        exporter: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A shard waits for something else. Nothing was changed.
    #[error("a shard did not come to it in time; is a backend down, with full queues? try again")]
    Busy,
    /// The pipeline has begun to drain.
    #[error("the pipeline is stopping")]
    Draining,
}

/// The result of a drain, phase by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// The time until the shards had finished their batches and their stages had let go.
    pub shards: Duration,
    /// The time from then until the queues were empty and every attempt had ended.
    pub egress: Duration,
    /// True if every phase ended by itself, before the deadline.
    pub in_time: bool,
    /// The number of items that stay on the disk for the next start: in the ingress log, and in
    /// each exporter's.
    pub kept: u64,
}

/// A running pipeline.
#[derive(Debug)]
pub struct Pipeline {
    admission: Arc<Admission>,
    egress: Arc<Egress>,
    consumers: Consumers,
    stages: Stages,
    shutdown: watch::Sender<Option<ShardShutdown>>,
    /// The tasks of a durable pipeline.
    journal_tasks: Option<JournalTasks>,
}

impl Pipeline {
    /// Makes every instance, then starts the shards and exporters. It fails as a whole: nothing
    /// runs if it returns an error.
    ///
    /// # Errors
    /// If a plugin cannot be instantiated, the config contradicts its manifest, or a log cannot be
    /// opened.
    pub async fn build(config: PipelineConfig) -> Result<Self, ChangeError> {
        let PipelineConfig {
            name,
            signal,
            shards,
            stages,
            exporters,
            ack_on,
            limits,
            durability,
        } = config;
        check_ack_on(&name, ack_on, &stages)?;
        if durability.is_some() && ack_on == AckOn::Export {
            return Err(ChangeError::AckOnExportWithJournal { pipeline: name });
        }
        warn_of_retries(&name, ack_on, &stages);
        let exporter_names = exporters.iter().map(|exporter| exporter.name.clone());
        let ledger = Ledger::new(name.clone(), signal, exporter_names);
        let journal = durability
            .as_ref()
            .map(|durability| Arc::clone(&durability.journal));
        let keeps_all = journal.is_some() || ack_on == AckOn::Export;
        let started = Egress::start(signal, &ledger, exporters, keeps_all, journal).await;
        let (egress, consumers) = started.map_err(|error| log_error(&name, error))?;
        let (shutdown, shutdown_seen) = watch::channel(None);
        let context = StageContext {
            name,
            ledger: Arc::clone(&ledger),
            egress: Arc::clone(&egress),
            limits,
            ack_on,
            width: shards,
            shutdown: shutdown_seen,
        };
        let prepared = durability.map(JournalTasks::prepare);
        let resume = prepared.as_ref().map(|(tasks, _)| tasks.resume());
        let (stages, routing, held) = Stages::build(context, stages, resume).await?;
        let (tasks, feed) = prepared.unzip();
        let config = AdmissionConfig {
            signal,
            limits,
            ack_on,
        };
        let admission = Admission::new(config, ledger, Arc::clone(&egress), routing, feed);
        let admission = Arc::new(admission);
        let journal_tasks = tasks.map(|tasks| tasks.start(&admission, held));
        Ok(Self {
            admission,
            egress,
            consumers,
            stages,
            shutdown,
            journal_tasks,
        })
    }

    /// Makes these the stages, in this order, while batches run. Nothing is lost. Nothing is seen
    /// twice, except by a generation that did not get the state of the one before it: it is offered
    /// again the items that the other one held. A stage with the same name and the same generation
    /// (the same `Arc`) is not touched. All or nothing: after an error everything is as it was.
    ///
    /// # Errors
    /// If an instance cannot be made, the stages contradict the pipeline's `ack_on`, or a shard
    /// does not take the order in time.
    pub async fn change(&self, stages: Vec<StageSpec>) -> Result<StagesChange, ChangeError> {
        self.stages.change(&self.admission, stages).await
    }

    /// Returns the current stages.
    pub async fn stages(&self) -> Vec<StageSpec> {
        self.stages.specs()
    }

    /// Returns the last real batch that went into a stage, if there was one; it may be up to a
    /// second older than the actual last one.
    pub async fn sample(&self, stage: &str) -> Option<Input> {
        self.stages.sample(stage)
    }

    /// Returns how a stage's shadow differs from the running generation.
    pub async fn comparison(&self, stage: &str) -> Option<Comparison> {
        self.stages.comparison(stage)
    }

    /// Returns a copy of the state of one of a stage's instances, for a probe; `None` if the
    /// instance has no state, or is busy for too long.
    pub async fn snapshot(&self, stage: &str) -> Option<State> {
        self.stages.snapshot(&self.admission, stage).await
    }

    /// Returns the ingress for a receiver of this pipeline's signal.
    pub fn ingress(&self) -> FanOut {
        Self::fan_out([self])
    }

    /// Returns the ingress for a receiver that feeds several pipelines. Each request goes into the
    /// pipelines that carry its signal and have room. It goes into none if a pipeline that must not
    /// lose anything has no room.
    pub fn fan_out<'a>(pipelines: impl IntoIterator<Item = &'a Self>) -> FanOut {
        let admissions = pipelines.into_iter().map(|pipeline| &pipeline.admission);
        FanOut::new(admissions.cloned())
    }

    /// Returns the pipeline's books.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.admission.ledger()
    }

    /// Makes these the exporters, at once, under any traffic. They are matched by name. An exporter
    /// of which nothing has changed (the very same `exporter`, equal settings) stays as it is, with
    /// its queue and its connection. A changed one keeps its queue, and goes on with the new
    /// settings. A new one is started. One that is not named any more is retired: what was admitted
    /// for it still goes out through it, then it ends by itself. Call it inside the runtime; in a
    /// durable pipeline, after [`Pipeline::prepare_exporters`].
    pub fn set_exporters(&self, exporters: Vec<ExporterSpec>) {
        self.egress.change(&self.consumers, exporters);
    }

    /// Opens the logs of exporters that are to be set, by their names. Without this call,
    /// `set_exporters` opens them, and its caller waits for the disk.
    ///
    /// # Errors
    /// If one cannot be opened. Nothing is changed then.
    pub async fn prepare_exporters(&self, names: Vec<String>) -> Result<(), ChangeError> {
        let prepared = self.egress.prepare(names).await;
        prepared.map_err(|error| log_error(self.ledger().pipeline(), error))
    }

    /// Returns the batches that wait for another try, in a durable pipeline.
    pub fn retries(&self) -> Option<Retries> {
        self.journal_tasks.as_ref().map(JournalTasks::retries)
    }

    /// Returns the gate that can refuse everything that is offered here for a while.
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(self.admission.gate())
    }

    /// Returns the fill of each exporter's queue, in the order of the exporters' columns in the
    /// ledger.
    pub fn queues(&self) -> Vec<QueueFill> {
        self.egress.fill()
    }

    /// Returns a function that reads the queues for as long as the pipeline lives, and after.
    pub fn queue_gauge(&self) -> impl Fn() -> Vec<QueueFill> + Send + Sync + 'static + use<> {
        let egress = Arc::clone(&self.egress);
        move || egress.fill()
    }

    /// Accepts nothing new from now on. Requests that are already in are still answered. Call it
    /// when the receivers are told to stop.
    pub fn close(&self) {
        self.admission.close();
        self.consumers.hurry();
    }

    /// Finishes the accepted batches: shards, stages in pipeline order, batchers, queues,
    /// exporters. Items that are left at `deadline` are abandoned, and booked so. Call it once the
    /// receivers are done.
    ///
    /// A durable pipeline does not wait for a backend that takes nothing: the rest stays on the
    /// disk, and so does everything that is cut off at the deadline. No plugin is asked to let go
    /// of what it holds: held items stay on the disk with the state of the plugins, and the next
    /// process goes on with both.
    pub async fn drain(self, deadline: Instant) -> DrainReport {
        let hands_over = self.journal_tasks.is_some();
        self.end(deadline, hands_over).await
    }

    /// Drains a pipeline that no other process continues: plugins let go of what they hold.
    pub async fn retire(self, deadline: Instant) -> DrainReport {
        self.end(deadline, false).await
    }

    async fn end(mut self, deadline: Instant, hands_over: bool) -> DrainReport {
        let started = Instant::now();
        self.close();
        self.shutdown.send_replace(Some(ShardShutdown {
            deadline,
            hands_over,
        }));
        if let Some(tasks) = &mut self.journal_tasks {
            tasks.place_all(deadline).await;
        }
        // A sender that waits at another pipeline's admission may keep the shards' inputs open until it
        // gives up.
        drop(timeout_at(deadline, self.admission.release_shards()).await);
        let (shards_in_time, left) = self.stages.finish(deadline).await;
        let mut kept = 0;
        if let Some(tasks) = &mut self.journal_tasks {
            tasks.finish().await;
        }
        let shards = started.elapsed();
        let egress_in_time = self.egress.finish(self.consumers, deadline).await;
        if let Some(tasks) = &self.journal_tasks {
            if hands_over {
                tasks
                    .hand_over(left, self.admission.ledger(), deadline)
                    .await;
            }
            kept = tasks.unfinished() + self.egress.on_disk();
        }
        DrainReport {
            shards,
            egress: started.elapsed().saturating_sub(shards),
            in_time: shards_in_time && egress_in_time,
            kept,
        }
    }
}

fn log_error(pipeline: &str, (exporter, source): (String, io::Error)) -> ChangeError {
    ChangeError::Log {
        pipeline: pipeline.to_owned(),
        exporter,
        source,
    }
}
