//! The stages of a pipeline, over all its shards: built, and changed while batches run.
//!
//! A change is published as a whole: every instance is there, and every shard has a place for the
//! order in its input, before the first one is told. From then on it cannot fail; each shard obeys
//! between two batches.

mod targets;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use spandrel_wire::Limits;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::targets::Shown;
use super::{AckOn, BuildError, ChangeError};
use crate::chain::Chain;
use crate::egress::Egress;
use crate::ingress::{Door, LanePermit, Routing};
use crate::ledger::Ledger;
use crate::shard::{Changed, INPUT_BATCHES, Order, Shard, Task};
use crate::stage::place::{Place, Target};
use crate::stage::{Carried, Comparison, Dispatch, Input, StageSpec, State};

/// How long a change waits for a place in the input of every shard. A shard that has none for so long
/// waits for a backend.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);
/// How long a probe waits for a copy of a running instance's state.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(2);

/// How a change went.
#[derive(Clone, Debug, Default)]
pub struct StagesChanged {
    /// The longest time for which a shard took no batches.
    pub pause: Duration,
    /// What became of the state of each stage whose generation changed: the worst of all shards.
    pub carried: BTreeMap<String, Carried>,
}

/// What every stage of the pipeline shares.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) name: String,
    pub(super) ledger: Arc<Ledger>,
    pub(super) egress: Arc<Egress>,
    pub(super) limits: Limits,
    pub(super) ack_on: AckOn,
    /// How many shards there are to be, unless a plugin wants one only.
    pub(super) width: usize,
    pub(super) deadline: watch::Receiver<Option<Instant>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stages {
    terms: Terms,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    specs: Vec<StageSpec>,
    shown: BTreeMap<String, Shown>,
    shards: JoinSet<()>,
}

impl Stages {
    /// Makes every instance, then starts the shards. The ways to them go to the pipeline's door.
    pub(super) async fn build(
        terms: Terms,
        specs: Vec<StageSpec>,
    ) -> Result<(Self, Routing), BuildError> {
        let mut running = Running::default();
        let dispatch = strictest(&specs);
        let routing = running.start(&terms, specs, dispatch).await?;
        let running = Mutex::new(running);
        Ok((Self { terms, running }, routing))
    }

    /// Makes these the stages, in this order. A stage of the same name and generation goes on as it
    /// is; another generation takes over its state and what it holds.
    pub(super) async fn change(
        &self,
        door: &Door,
        specs: Vec<StageSpec>,
    ) -> Result<StagesChanged, ChangeError> {
        let mut running = self.running.lock().await;
        super::check_ack_on(&self.terms.name, self.terms.ack_on, &specs)?;
        let wanted = strictest(&specs);
        let (lanes, dispatch) = door.routing().await.parts();
        if lanes.is_empty() {
            let routing = running.start(&self.terms, specs, wanted).await?;
            *door.reroute().await = routing;
            return Ok(StagesChanged::default());
        }
        let rows = running.rows(&self.terms, &specs, lanes.len()).await?;
        let deadline = Instant::now() + PUBLISH_WAIT;
        let changed = if wanted > dispatch {
            // Held until the order stands in every input: no batch that was dealt out by the old
            // rule comes after it.
            let mut rerouting = timeout_at(deadline, door.reroute())
                .await
                .map_err(|_| ChangeError::Busy)?;
            if wanted == Dispatch::Single {
                empty_all_but_first(&lanes, deadline).await?;
            }
            let places = places(&lanes, deadline).await?;
            rerouting.set_dispatch(wanted);
            tell(places, rows)
        } else {
            let places = places(&lanes, deadline).await?;
            tell(places, rows)
        };
        let names = specs.iter().map(|spec| spec.name.as_str());
        self.terms.ledger.arrange(names);
        // Where state lies by the old rule, the old rule stays.
        let is_free = running.is_free(&specs);
        running.specs = specs;
        let changed = summed(changed.await);
        if wanted < dispatch && is_free {
            door.reroute().await.set_dispatch(wanted);
        }
        Ok(changed)
    }

    /// The stages as they are.
    pub(super) async fn specs(&self) -> Vec<StageSpec> {
        self.running.lock().await.specs.clone()
    }

    /// The last real batch that went into a stage, if one did lately.
    pub(super) async fn sample(&self, stage: &str) -> Option<Input> {
        let running = self.running.lock().await;
        running.shown.get(stage)?.sample.get().map(Input::from)
    }

    /// How the shadow of a stage differs; the last one's, when it has none now.
    pub(super) async fn comparison(&self, stage: &str) -> Option<Comparison> {
        let running = self.running.lock().await;
        Some(running.shown.get(stage)?.comparison())
    }

    /// A copy of the state of one instance of a stage.
    pub(super) async fn snapshot(&self, door: &Door, stage: &str) -> Option<State> {
        let (lanes, _) = door.routing().await.parts();
        let lane = lanes.first()?;
        let (reply, answer) = oneshot::channel();
        let order = Order::Snapshot {
            stage: stage.to_owned(),
            reply,
        };
        let asked = async {
            lane.send(Task::Order(order)).await.ok()?;
            answer.await.ok().flatten()
        };
        tokio::time::timeout(SNAPSHOT_WAIT, asked)
            .await
            .ok()
            .flatten()
    }

    /// Waits until every shard has ended; they do once the door has let go of the ways to them.
    /// Returns whether they did in time; those that did not are cut off.
    pub(super) async fn finish(self, deadline: Instant) -> bool {
        let mut running = self.running.into_inner();
        let all = async { while running.shards.join_next().await.is_some() {} };
        let in_time = timeout_at(deadline, all).await.is_ok();
        running.shards.shutdown().await;
        in_time
    }
}

impl Running {
    /// Starts shards where there are none, if there are stages.
    async fn start(
        &mut self,
        terms: &Terms,
        specs: Vec<StageSpec>,
        dispatch: Dispatch,
    ) -> Result<Routing, ChangeError> {
        let shards = match (specs.is_empty(), dispatch) {
            (true, _) => 0,
            (false, Dispatch::Single) => 1,
            (false, Dispatch::Any | Dispatch::ByTrace) => terms.width.max(1),
        };
        let mut chains = Vec::with_capacity(shards);
        for targets in self.rows(terms, &specs, shards).await? {
            let mut row = Vec::with_capacity(targets.len());
            for target in targets {
                let ledger = Arc::clone(&terms.ledger);
                row.extend(Place::new(target, terms.limits, ledger).await);
            }
            chains.push(Chain::new(row, terms.limits, Arc::clone(&terms.ledger)));
        }
        let mut lanes = Vec::with_capacity(shards);
        for chain in chains {
            let (lane, input) = mpsc::channel(INPUT_BATCHES);
            lanes.push(lane);
            let egress = Arc::clone(&terms.egress);
            let shard = Shard::new(chain, egress, input, terms.deadline.clone());
            self.shards.spawn(shard.run());
        }
        let names = specs.iter().map(|spec| spec.name.as_str());
        terms.ledger.arrange(names);
        self.specs = specs;
        Ok(Routing::new(lanes, dispatch))
    }

    /// Whether no stage that stays has state by trace, so that traces may go to other shards.
    fn is_free(&self, specs: &[StageSpec]) -> bool {
        let stays = |old: &&StageSpec| specs.iter().any(|spec| spec.name == old.name);
        let mut stay = self.specs.iter().filter(stays);
        stay.all(|old| old.generation.manifest().dispatch == Dispatch::Any)
    }
}

/// What the strictest of these stages, and of the candidates beside them, asks for.
fn strictest(specs: &[StageSpec]) -> Dispatch {
    let generations = specs.iter().flat_map(|spec| {
        let beside = spec.beside.as_ref().map(|beside| &beside.generation);
        std::iter::once(&spec.generation).chain(beside)
    });
    let asked = generations.map(|generation| generation.manifest().dispatch);
    asked.max().unwrap_or_default()
}

/// A place in the input of every shard, or none at all.
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
        let answers = join_all(answers).await;
        // A shard that was cut off at the drain's deadline does not answer.
        answers.into_iter().map(Result::ok).collect()
    }
}

/// Has every shard but the first let go of what it holds, for all is to go to the first.
async fn empty_all_but_first(
    lanes: &[mpsc::Sender<Task>],
    deadline: Instant,
) -> Result<(), ChangeError> {
    let mut answers = Vec::new();
    for place in places(lanes.get(1..).unwrap_or_default(), deadline).await? {
        let (done, answer) = oneshot::channel();
        place.send(Task::Order(Order::Empty { done }));
        answers.push(answer);
    }
    let emptied = timeout_at(deadline, join_all(answers)).await;
    emptied.map(drop).map_err(|_| ChangeError::Busy)
}

fn summed(shards: Vec<Option<Changed>>) -> StagesChanged {
    let mut sum = StagesChanged::default();
    for changed in shards.into_iter().flatten() {
        sum.pause = sum.pause.max(changed.pause);
        for (stage, carried) in changed.carried {
            let known = sum.carried.entry(stage).or_insert(Carried::Nothing);
            if carried.rank() > known.rank() {
                *known = carried;
            }
        }
    }
    sum
}
