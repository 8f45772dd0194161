//! The stages of a pipeline over all its shards: they are built, and changed while batches run.
//!
//! A change is published as a whole: before the first shard is told, every instance exists, and
//! every shard has a place for the order in its input. From then on the change cannot fail; each
//! shard obeys between two batches.

mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use spandrel_wire::Limits;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use self::targets::{Plan, Shards, Shown};
use super::resume::Resume;
use super::{AckOn, BuildError, ChangeError};
use crate::chain::Chain;
use crate::egress::Egress;
use crate::handover::ShardLeft;
use crate::ingress::{Door, LanePermit, Routing};
use crate::ledger::Ledger;
use crate::shard::{Changed, Ending, INPUT_BATCHES, Order, Shard, Task};
use crate::stage::rollout::slot::{StageSlot, Target};
use crate::stage::{Carried, Comparison, Dispatch, Input, StageSpec, State};

/// The longest time that a change waits until every shard has come to it. A shard that has not come
/// by then waits for a backend; nothing is changed in that case.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// The longest time that a change waits for the shards' reports once it is published. It cannot be
/// taken back then: a shard that waits for a backend changes when it goes on.
const REPORT_WAIT: Duration = Duration::from_secs(10);
/// The longest time that a change to a looser dispatch rule waits until the batches under way are
/// in the shards. If they are not by then, the old rule stays.
const LOOSEN_WAIT: Duration = Duration::from_secs(1);
/// The longest time that a probe waits for a copy of a running instance's state.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);

/// The result of a change.
#[derive(Clone, Debug, Default)]
pub struct StagesChanged {
    /// The longest time for which a shard took no batches.
    pub pause: Duration,
    /// The outcome for the state of each stage whose generation changed: the worst of all shards.
    pub carried: BTreeMap<String, Carried>,
}

/// The settings and handles that all stages of the pipeline share.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) egress: Arc<Egress>,
    pub(super) limits: Limits,
    pub(super) ack_on: AckOn,
    /// The number of shards, unless a plugin wants only one.
    pub(super) width: usize,
    pub(super) ending: watch::Receiver<Option<Ending>>,
}

/// The stages of a pipeline over all its shards.
#[derive(Debug)]
pub(super) struct Stages {
    terms: Terms,
    /// The lock for a change of the stages: one change at a time.
    shards: Mutex<JoinSet<ShardLeft>>,
    /// The published stages. Anyone may read them at any time.
    view: std::sync::Mutex<View>,
}

/// The stages as they were published last.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    specs: Vec<StageSpec>,
    shown: BTreeMap<String, Shown>,
    /// The number of shards that have the stages: the first ones.
    shards: usize,
}

impl Stages {
    /// Makes every instance, gives the instances what the last process left, then starts the
    /// shards. Returns the stages, the routing to the shards for the pipeline's door, and the
    /// records of which stages hold something.
    pub(super) async fn build(
        terms: Terms,
        specs: Vec<StageSpec>,
        resume: Option<Resume<'_>>,
    ) -> Result<(Self, Routing, BTreeSet<u64>), BuildError> {
        let stages = Self {
            terms,
            shards: Mutex::default(),
            view: std::sync::Mutex::default(),
        };
        let dispatch = strictest(&specs);
        let plan = stages.first_plan(specs).await?;
        let (mut chains, view) = stages.chains(plan).await;
        let mut held = BTreeSet::new();
        if let Some(resume) = resume {
            let names: Vec<&str> = view.specs.iter().map(|spec| spec.name.as_str()).collect();
            let Terms { ledger, limits, .. } = &stages.terms;
            held = resume.run(ledger, *limits, &names, &mut chains).await;
        }
        let routing = stages.start(&mut *stages.shards.lock().await, chains, view, dispatch);
        Ok((stages, routing, held))
    }

    /// Makes these the stages, in this order. A stage of the same name and generation goes on as it
    /// is; another generation takes over its state and its held items.
    ///
    /// The future may be dropped at any time: either nothing was published, or every shard has the
    /// order.
    pub(super) async fn change(
        &self,
        door: &Door,
        specs: Vec<StageSpec>,
    ) -> Result<StagesChanged, ChangeError> {
        let mut shards = self.shards.lock().await;
        if door.is_closed() {
            return Err(ChangeError::Draining);
        }
        super::check_ack_on(&self.terms.name, self.terms.ack_on, &specs)?;
        let wanted = strictest(&specs);
        let (lanes, dispatch) = door.routing().await.parts();
        if lanes.is_empty() {
            let plan = self.first_plan(specs).await?;
            let mut routing = timeout(PUBLISH_WAIT, door.reroute())
                .await
                .map_err(|_| ChangeError::Busy)?;
            let (chains, view) = self.chains(plan).await;
            *routing = self.start(&mut shards, chains, view, wanted);
            return Ok(StagesChanged::default());
        }
        // If stages have state that lies by the old rule, the old rule stays.
        let loosens = wanted < dispatch && self.view().is_free(&specs);
        let swapped = self.view().swapped(&specs);
        let view = self.view().clone();
        let rule = if loosens {
            wanted
        } else {
            wanted.max(dispatch)
        };
        let shards = Shards {
            all: lanes.len(),
            busy: match rule {
                Dispatch::Single => 1,
                Dispatch::Any | Dispatch::ByTrace => lanes.len(),
            },
        };
        let plan = view.plan(&self.terms, specs, shards).await?;
        let stricter = (wanted > dispatch).then_some(wanted);
        let reports = self.publish(door, &lanes, plan, stricter).await?;
        let changed = summed(reports.await, &swapped);
        if loosens && let Ok(mut routing) = timeout(LOOSEN_WAIT, door.reroute()).await {
            routing.set_dispatch(wanted);
        }
        Ok(changed)
    }

    /// Puts the order into every shard's input, or into none.
    async fn publish(
        &self,
        door: &Door,
        lanes: &[mpsc::Sender<Task>],
        plan: Plan,
        stricter: Option<Dispatch>,
    ) -> Result<impl Future<Output = Vec<Option<Changed>>> + use<>, ChangeError> {
        let deadline = Instant::now() + PUBLISH_WAIT;
        ping(lanes, deadline).await?;
        let mut rerouting = None;
        if let Some(dispatch) = stricter {
            // The routing is locked until the order is in every input, so no batch that was dealt
            // out by the old rule comes after the order.
            let held = timeout_at(deadline, door.reroute()).await;
            rerouting = Some((held.map_err(|_| ChangeError::Busy)?, dispatch));
        }
        let places = places(lanes, deadline).await?;
        if let Some((routing, dispatch)) = &mut rerouting {
            routing.set_dispatch(*dispatch);
        }
        let Plan { rows, view } = plan;
        let names = view.specs.iter().map(|spec| spec.name.as_str());
        self.terms.ledger.arrange(names);
        *self.view() = view;
        let told = tell(places, rows);
        self.terms.ledger.stages_changed();
        Ok(told)
    }

    /// Returns the current stages.
    pub(super) fn specs(&self) -> Vec<StageSpec> {
        self.view().specs.clone()
    }

    /// Returns the last real batch that went into a stage, if there was one lately.
    pub(super) fn sample(&self, stage: &str) -> Option<Input> {
        self.view().shown.get(stage)?.sample.get().map(Input::from)
    }

    /// Returns how the shadow of a stage differs; if it has none now, how the last one differed.
    pub(super) fn comparison(&self, stage: &str) -> Option<Comparison> {
        let shown = self.view().shown.get(stage)?.clone();
        Some(shown.comparison())
    }

    /// Returns a copy of the state of one instance of a stage.
    pub(super) async fn snapshot(&self, door: &Door, stage: &str) -> Option<State> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Snapshot {
            stage: stage.to_owned(),
            reply,
        };
        let asked = async {
            let (lanes, _) = door.routing().await.parts();
            lanes.first()?.send(Task::Order(order)).await.ok()?;
            answer.await.ok().flatten()
        };
        timeout(SNAPSHOT_WAIT, asked).await.ok().flatten()
    }

    /// Waits until every shard has ended, which happens once the door has released its senders to
    /// them. Returns true if they ended in time; the others are cut off. Also returns what they
    /// left, but only if each of them ended by itself.
    pub(super) async fn finish(self, deadline: Instant) -> (bool, Option<Vec<ShardLeft>>) {
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

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the plan for the first shards, when there are none yet.
    async fn first_plan(&self, specs: Vec<StageSpec>) -> Result<Plan, ChangeError> {
        let terms = &self.terms;
        let all = match (specs.is_empty(), strictest(&specs)) {
            (true, _) => 0,
            (false, Dispatch::Single) => 1,
            (false, Dispatch::Any | Dispatch::ByTrace) => terms.width.max(1),
        };
        let shards = Shards { all, busy: all };
        View::default().plan(terms, specs, shards).await
    }

    /// Builds the rows of a first plan.
    async fn chains(&self, plan: Plan) -> (Vec<Chain>, View) {
        let terms = &self.terms;
        let mut chains = Vec::with_capacity(plan.rows.len());
        for targets in plan.rows {
            let mut row = Vec::with_capacity(targets.len());
            for target in targets {
                let ledger = Arc::clone(&terms.ledger);
                row.extend(StageSlot::new(target, terms.limits, ledger).await);
            }
            chains.push(Chain::new(row, terms.limits, Arc::clone(&terms.ledger)));
        }
        (chains, plan.view)
    }

    /// Starts a shard with each of these rows.
    fn start(
        &self,
        shards: &mut JoinSet<ShardLeft>,
        chains: Vec<Chain>,
        view: View,
        dispatch: Dispatch,
    ) -> Routing {
        let terms = &self.terms;
        let mut lanes = Vec::with_capacity(chains.len());
        for (number, chain) in chains.into_iter().enumerate() {
            let (lane, input) = mpsc::channel(INPUT_BATCHES);
            lanes.push(lane);
            let egress = Arc::clone(&terms.egress);
            let shard = Shard::new(chain, egress, input, terms.ending.clone(), number);
            shards.spawn(shard.run());
        }
        let names = view.specs.iter().map(|spec| spec.name.as_str());
        terms.ledger.arrange(names);
        *self.view() = view;
        Routing::new(lanes, dispatch)
    }
}

impl View {
    /// Returns true if no remaining stage has state by trace, so that traces may go to other
    /// shards.
    fn is_free(&self, specs: &[StageSpec]) -> bool {
        let stays = |old: &&StageSpec| specs.iter().any(|spec| spec.name == old.name);
        let mut stay = self.specs.iter().filter(stays);
        stay.all(|old| old.generation.manifest().dispatch == Dispatch::Any)
    }

    /// Returns the stages that get another generation.
    fn swapped(&self, specs: &[StageSpec]) -> Vec<String> {
        let of = |spec: &&StageSpec| {
            let mut old = self.specs.iter().filter(|old| old.name == spec.name);
            old.any(|old| !Arc::ptr_eq(&old.generation, &spec.generation))
        };
        let swapped = specs.iter().filter(of);
        swapped.map(|spec| spec.name.clone()).collect()
    }
}

/// Returns the strictest dispatch that these stages, or the candidates beside them, ask for.
fn strictest(specs: &[StageSpec]) -> Dispatch {
    let generations = specs.iter().flat_map(|spec| {
        let beside = spec.beside.as_ref().map(|beside| &beside.generation);
        std::iter::once(&spec.generation).chain(beside)
    });
    let asked = generations.map(|generation| generation.manifest().dispatch);
    asked.max().unwrap_or_default()
}

/// Reserves a place in the input of every shard, or of none.
async fn places(
    lanes: &[mpsc::Sender<Task>],
    deadline: Instant,
) -> Result<Vec<LanePermit>, ChangeError> {
    let mut places = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let place = timeout_at(deadline, lane.clone().reserve_owned()).await;
        let place = place.map_err(|_| ChangeError::Busy)?;
        places.push(place.map_err(|_closed| ChangeError::Draining)?);
    }
    Ok(places)
}

/// Tells every shard, all at once, and waits until each has obeyed.
fn tell(
    places: Vec<LanePermit>,
    rows: Vec<Vec<Target>>,
) -> impl Future<Output = Vec<Option<Changed>>> {
    let mut answers = Vec::with_capacity(places.len());
    for (place, targets) in places.into_iter().zip(rows) {
        let (done, answer) = oneshot::channel();
        place.send(Task::Order(Order::Change { targets, done }));
        answers.push(answer);
    }
    async move {
        // A shard that is late, or that was cut off at the drain's deadline, does not answer.
        let late = Instant::now() + REPORT_WAIT;
        let report = |answer: oneshot::Receiver<Changed>| async move {
            timeout_at(late, answer).await.ok()?.ok()
        };
        join_all(answers.into_iter().map(report)).await
    }
}

/// Waits until each of these shards has come to this order.
async fn ping(lanes: &[mpsc::Sender<Task>], deadline: Instant) -> Result<(), ChangeError> {
    let mut answers = Vec::with_capacity(lanes.len());
    for place in places(lanes, deadline).await? {
        let (done, answer) = oneshot::channel();
        place.send(Task::Order(Order::Ping { done }));
        answers.push(answer);
    }
    let answered = timeout_at(deadline, join_all(answers)).await;
    answered.map(drop).map_err(|_| ChangeError::Busy)
}

/// Sums up the shards' reports. `swapped` are the stages that got another generation.
fn summed(shards: Vec<Option<Changed>>, swapped: &[String]) -> StagesChanged {
    let mut sum = StagesChanged::default();
    let mut carry = |stage: String, carried: Carried| {
        let known = sum.carried.entry(stage).or_insert(Carried::Nothing);
        if carried.rank() > known.rank() {
            *known = carried;
        }
    };
    for shard in shards {
        let Some(changed) = shard else {
            let late =
                || Carried::Not("a shard waits for a backend, and changes after that".to_owned());
            swapped
                .iter()
                .for_each(|stage| carry(stage.clone(), late()));
            continue;
        };
        sum.pause = sum.pause.max(changed.pause);
        for (stage, carried) in changed.carried {
            carry(stage, carried);
        }
    }
    sum
}
