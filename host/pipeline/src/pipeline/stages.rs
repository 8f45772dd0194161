//! The stages of a pipeline over all its shards: they are built, and changed while batches run.
//!
//! A change is published as a whole: before the first shard is told, every instance exists, and
//! every shard has a place for the order in its input. From then on the change cannot fail; each
//! shard obeys between two batches.

mod changed;
mod dispatch;
mod inputs;
mod plan;
mod published;
mod shard_count;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use spandrel_wire::Limits;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::changed::StagesChange;
use self::dispatch::{DispatchChange, strictest};
use self::inputs::ShardInputs;
use self::plan::StagePlan;
use self::published::PublishedStages;
use self::shard_count::ShardCount;
use super::resume::Resume;
use super::{AckOn, ChangeError};
use crate::chain::Chain;
use crate::egress::Egress;
use crate::handover::ShardHandover;
use crate::ingress::{Admission, Routing};
use crate::ledger::Ledger;
use crate::shard::{ChangeReport, INPUT_BATCHES, Order, Shard, ShardShutdown, Task};
use crate::stage::rollout::slot::StageSlot;
use crate::stage::{Comparison, Dispatch, Input, StageSpec, State};

/// The longest time that a change waits until every shard has come to it. A shard that has not
/// reached the order by then waits for a backend; nothing is changed in that case.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// The longest time that a change to a looser dispatch waits until the batches under way are in the
/// shards. If they are not by then, the old one stays.
const LOOSEN_WAIT: Duration = Duration::from_secs(1);
/// The longest time that a probe waits for a copy of a running instance's state.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);

/// The settings and handles that all stages of the pipeline share.
#[derive(Clone, Debug)]
pub(super) struct StageContext {
    pub(super) name: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) egress: Arc<Egress>,
    pub(super) limits: Limits,
    pub(super) ack_on: AckOn,
    /// The number of shards, unless a plugin wants only one.
    pub(super) width: usize,
    pub(super) shutdown: watch::Receiver<Option<ShardShutdown>>,
}

/// The stages of a pipeline over all its shards.
#[derive(Debug)]
pub(super) struct Stages {
    context: StageContext,
    /// The lock for a change of the stages: one change at a time.
    shards: Mutex<JoinSet<ShardHandover>>,
    published: parking_lot::Mutex<PublishedStages>,
}

impl Stages {
    /// Makes every instance, gives the instances what the last process left, then starts the
    /// shards. Returns the stages, the routing to the shards for the pipeline's admission, and the
    /// records of which stages hold something.
    pub(super) async fn build(
        context: StageContext,
        specs: Vec<StageSpec>,
        resume: Option<Resume<'_>>,
    ) -> Result<(Self, Routing, BTreeSet<u64>), ChangeError> {
        let stages = Self {
            context,
            shards: Mutex::default(),
            published: parking_lot::Mutex::default(),
        };
        let dispatch = strictest(&specs);
        let (mut chains, published) = stages.chains(specs, dispatch).await?;
        let mut held = BTreeSet::new();
        if let Some(resume) = resume {
            let names: Vec<&str> = published.names().collect();
            let StageContext { ledger, limits, .. } = &stages.context;
            held = resume.run(ledger, *limits, &names, &mut chains).await;
        }
        let mut shards = stages.shards.lock().await;
        let routing = stages.start(&mut shards, chains, published, dispatch);
        drop(shards);
        Ok((stages, routing, held))
    }

    /// Makes these the stages, in this order. A stage of the same name and generation goes on as it
    /// is; another generation takes over its state and its held items.
    ///
    /// The future may be dropped at any time: either nothing was published, or every shard has the
    /// order.
    pub(super) async fn change(
        &self,
        admission: &Admission,
        specs: Vec<StageSpec>,
    ) -> Result<StagesChange, ChangeError> {
        let mut shards = self.shards.lock().await;
        if admission.is_closed() {
            return Err(ChangeError::Draining);
        }
        super::check_ack_on(&self.context.name, self.context.ack_on, &specs)?;
        let wanted = strictest(&specs);
        let (senders, now) = admission.routing().await.parts();
        let inputs = ShardInputs::new(senders);
        if inputs.is_empty() {
            let (chains, published) = self.chains(specs, wanted).await?;
            let mut routing = timeout(PUBLISH_WAIT, admission.reroute())
                .await
                .map_err(|_| ChangeError::Busy)?;
            *routing = self.start(&mut shards, chains, published, wanted);
            return Ok(StagesChange::default());
        }
        let published = self.published().clone();
        let swapped = published.swapped(&specs);
        let has_state = published.has_state_by_rule(&specs);
        let dispatch = DispatchChange::between(now, wanted, has_state);
        let count = ShardCount::running(inputs.len(), dispatch.target());
        let plan = StagePlan::new(&published, &self.context, specs, count).await?;
        let reports = self.publish(admission, &inputs, plan, dispatch).await?;
        let changed = StagesChange::new(reports.await, &swapped);
        if let DispatchChange::Loosen(dispatch) = dispatch
            && let Ok(mut routing) = timeout(LOOSEN_WAIT, admission.reroute()).await
        {
            routing.set_dispatch(dispatch);
        }
        Ok(changed)
    }

    /// Puts the order into every shard's input, or into none.
    async fn publish(
        &self,
        admission: &Admission,
        inputs: &ShardInputs,
        plan: StagePlan,
        dispatch: DispatchChange,
    ) -> Result<impl Future<Output = Vec<Option<ChangeReport>>> + use<>, ChangeError> {
        let deadline = Instant::now() + PUBLISH_WAIT;
        inputs.ping(deadline).await?;
        let mut stricter = None;
        if let DispatchChange::Tighten(dispatch) = dispatch {
            // The routing is locked until the order is in every input, so no batch that was dealt
            // out by the old rule comes after the order.
            let routing = timeout_at(deadline, admission.reroute()).await;
            stricter = Some((routing.map_err(|_| ChangeError::Busy)?, dispatch));
        }
        let places = inputs.reserve(deadline).await?;
        if let Some((routing, dispatch)) = &mut stricter {
            routing.set_dispatch(*dispatch);
        }
        let StagePlan { rows, published } = plan;
        self.show(published);
        let reports = places.order(rows);
        self.context.ledger.stages_changed();
        Ok(reports)
    }

    /// Shows these stages to everyone who reads them, and in the ledger.
    fn show(&self, published: PublishedStages) {
        self.context.ledger.arrange(published.names());
        *self.published() = published;
    }

    /// Returns the current stages.
    pub(super) fn specs(&self) -> Vec<StageSpec> {
        self.published().specs.clone()
    }

    /// Returns the last real batch that went into a stage, if there was one lately.
    pub(super) fn sample(&self, stage: &str) -> Option<Input> {
        self.published().reports.get(stage)?.sample()
    }

    /// Returns how the shadow of a stage differs; if it has none now, how the last one differed.
    pub(super) fn comparison(&self, stage: &str) -> Option<Comparison> {
        let reports = self.published().reports.get(stage)?.clone();
        Some(reports.comparison())
    }

    /// Returns a copy of the state of one instance of a stage.
    pub(super) async fn snapshot(&self, admission: &Admission, stage: &str) -> Option<State> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Snapshot {
            stage: stage.to_owned(),
            reply,
        };
        let asked = async {
            let (senders, _) = admission.routing().await.parts();
            senders.first()?.send(Task::Order(order)).await.ok()?;
            answer.await.ok().flatten()
        };
        timeout(SNAPSHOT_WAIT, asked).await.ok().flatten()
    }

    /// Waits until every shard has ended, which happens once the admission has released its senders to
    /// them. Returns true if they ended in time; the others are cut off. Also returns what they
    /// left, but only if each of them ended by itself.
    pub(super) async fn finish(self, deadline: Instant) -> (bool, Option<Vec<ShardHandover>>) {
        let mut shards = self.shards.into_inner();
        let mut left = Some(Vec::new());
        let all = async {
            while let Some(ended) = shards.join_next().await {
                match (ended, &mut left) {
                    (Ok(shard), Some(left)) => left.push(shard),
                    (Ok(_), None) => {}
                    (Err(_), _) => left = None,
                }
            }
        };
        let in_time = timeout_at(deadline, all).await.is_ok();
        shards.shutdown().await;
        (in_time, left.filter(|_| in_time))
    }

    fn published(&self) -> MutexGuard<'_, PublishedStages> {
        self.published.lock()
    }

    /// Builds the chains of the first shards, when there are none yet.
    async fn chains(
        &self,
        specs: Vec<StageSpec>,
        dispatch: Dispatch,
    ) -> Result<(Vec<Chain>, PublishedStages), ChangeError> {
        let context = &self.context;
        let count = ShardCount::first(context.width, &specs, dispatch);
        let none = PublishedStages::default();
        let plan = StagePlan::new(&none, context, specs, count).await?;
        let mut chains = Vec::with_capacity(plan.rows.len());
        for targets in plan.rows {
            let mut row = Vec::with_capacity(targets.len());
            for target in targets {
                let ledger = Arc::clone(&context.ledger);
                row.extend(StageSlot::new(target, context.limits, ledger).await);
            }
            let ledger = Arc::clone(&context.ledger);
            chains.push(Chain::new(row, context.limits, ledger));
        }
        Ok((chains, plan.published))
    }

    /// Starts a shard with each of these chains.
    fn start(
        &self,
        shards: &mut JoinSet<ShardHandover>,
        chains: Vec<Chain>,
        published: PublishedStages,
        dispatch: Dispatch,
    ) -> Routing {
        let mut senders = Vec::with_capacity(chains.len());
        for (number, chain) in chains.into_iter().enumerate() {
            let (sender, input) = mpsc::channel(INPUT_BATCHES);
            senders.push(sender);
            let egress = Arc::clone(&self.context.egress);
            let shutdown = self.context.shutdown.clone();
            let shard = Shard::new(chain, egress, input, shutdown, number);
            shards.spawn(shard.run());
        }
        self.show(published);
        Routing::new(senders, dispatch)
    }
}
