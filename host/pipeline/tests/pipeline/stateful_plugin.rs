//! A plugin with a state: the spans that it has seen, and the names of the items that it holds. A
//! diary records everything that happens to its instances.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    Candidate, Dispatch, DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance,
    InstantiateError, Manifest, Mode, Reply, StageSpec, State, Ticket,
};

use crate::edges::{ids, releasing};

/// The behavior of a call of `snapshot` or `restore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// The call works.
    #[default]
    Works,
    /// `snapshot` returns no state; `restore` refuses the state.
    Refuses,
    /// The call traps.
    Traps,
    /// `restore` traps on the state of another generation.
    TrapsOnOthers,
}

/// The behavior of a generation. The default keeps everything, and has a state.
#[derive(Clone)]
pub(crate) struct StatefulPlugin {
    pub(crate) number: u64,
    /// The spans that it holds.
    pub(crate) holds: Option<fn(u64) -> bool>,
    /// The spans that it drops, each for the reason at this index.
    pub(crate) drops: fn(u64) -> Option<u8>,
    pub(crate) reasons: Vec<String>,
    /// True if it drops spans that it has seen before, for its last reason.
    pub(crate) dedups: bool,
    /// True if it drops the items that it releases, for its first reason.
    pub(crate) drops_held: bool,
    /// True if it releases half an item.
    pub(crate) stutters: bool,
    /// The span on which it releases everything that it holds.
    pub(crate) releases_on: u64,
    /// The spans that make it fail on a batch.
    pub(crate) fails_on: fn(u64) -> bool,
    /// The batches from which it never returns.
    pub(crate) lost_in: fn(&[u64]) -> bool,
    pub(crate) snapshot: Way,
    pub(crate) restore: Way,
    pub(crate) dispatch: Dispatch,
    pub(crate) tick: Option<Duration>,
    /// The number of instances that can be made.
    pub(crate) instances: usize,
    /// The diary that records its events.
    pub(crate) diary: Diary,
}

impl Default for StatefulPlugin {
    fn default() -> Self {
        Self {
            number: 1,
            holds: None,
            drops: |_| None,
            reasons: Vec::new(),
            dedups: false,
            drops_held: false,
            stutters: false,
            releases_on: u64::MAX,
            fails_on: |_| false,
            lost_in: |_| false,
            snapshot: Way::Works,
            restore: Way::Works,
            dispatch: Dispatch::Any,
            tick: None,
            instances: usize::MAX,
            diary: Diary::default(),
        }
    }
}

/// The events of the instances, in order, each with the generation's number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<(u64, Event)>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Made,
    Saw(Vec<u64>),
    Drained(DrainReason),
    Snapshot,
    /// The numbers of seen and held spans in the state that it was given.
    Restored(usize, usize),
}

impl Diary {
    fn write(&self, number: u64, event: Event) {
        self.0.lock().unwrap().push((number, event));
    }

    pub(crate) fn read(&self) -> Vec<(u64, Event)> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the number of instances of a generation that were made.
    pub(crate) fn made(&self, number: u64) -> usize {
        let made = |(who, event): &(u64, Event)| *who == number && *event == Event::Made;
        self.read().iter().filter(|entry| made(entry)).count()
    }

    /// Returns the spans that a generation saw, batch by batch.
    pub(crate) fn saw(&self, number: u64) -> Vec<Vec<u64>> {
        let saw = |(who, event)| match event {
            Event::Saw(ids) if who == number => Some(ids),
            _ => None,
        };
        self.read().into_iter().filter_map(saw).collect()
    }
}

/// Selects every span.
pub(crate) fn all(_: u64) -> bool {
    true
}

impl StatefulPlugin {
    /// Makes a plugin that holds everything.
    pub(crate) fn holding(number: u64) -> Self {
        Self {
            number,
            holds: Some(all),
            releases_on: 999,
            ..Self::default()
        }
    }

    pub(crate) fn generation(&self) -> Arc<dyn Generation> {
        let mut reasons = self.reasons.clone();
        reasons.extend(self.dedups.then(|| "duplicate".to_owned()));
        Arc::new(KeeperGeneration {
            manifest: Manifest {
                name: "plugin".to_owned(),
                dispatch: self.dispatch,
                tick_interval: self.tick,
                state_version: 1,
                holds: self.holds.is_some(),
                drop_reasons: reasons,
                ..Manifest::default()
            },
            plugin: self.clone(),
            made: AtomicUsize::new(0),
        })
    }

    pub(crate) fn stage(&self, name: &str) -> StageSpec {
        StageSpec::new(name, self.generation())
    }
}

/// Returns the stage with another generation.
pub(crate) fn swapped(spec: &StageSpec, generation: &Arc<dyn Generation>) -> StageSpec {
    StageSpec {
        generation: Arc::clone(generation),
        candidate: None,
        on_probation: true,
        ..spec.clone()
    }
}

/// Returns the stage with a candidate beside it.
pub(crate) fn with_candidate(
    spec: &StageSpec,
    generation: &Arc<dyn Generation>,
    mode: Mode,
) -> StageSpec {
    let generation = Arc::clone(generation);
    StageSpec {
        candidate: Some(Candidate { generation, mode }),
        ..spec.clone()
    }
}

struct KeeperGeneration {
    manifest: Manifest,
    plugin: StatefulPlugin,
    made: AtomicUsize,
}

impl fmt::Debug for KeeperGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.plugin.number)
    }
}

impl Generation for KeeperGeneration {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn number(&self) -> u64 {
        self.plugin.number
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let fits = self.made.fetch_add(1, Ordering::Relaxed) < self.plugin.instances;
        let instance = KeeperInstance {
            plugin: self.plugin.clone(),
            seen: Vec::new(),
            held: Vec::new(),
        };
        Box::pin(async move {
            // This takes a while, as with a real plugin.
            tokio::task::yield_now().await;
            if fits {
                instance.write(Event::Made);
                return Ok(Box::new(instance) as Box<dyn Instance>);
            }
            let message = "no more of these".to_owned();
            Err(InstantiateError {
                message,
                source: None,
            })
        })
    }
}

struct KeeperInstance {
    plugin: StatefulPlugin,
    seen: Vec<u64>,
    /// Pairs of ticket and index.
    held: Vec<u64>,
}

fn trap() -> Fault {
    Fault::new(FaultKind::Trap, "panicked")
}

impl KeeperInstance {
    fn write(&self, event: Event) {
        self.plugin.diary.write(self.plugin.number, event);
    }

    fn judge(&mut self, ticket: Ticket, batch: &[u8]) -> Result<Reply, Fault> {
        let ids = ids(batch);
        self.write(Event::Saw(ids.clone()));
        if ids.iter().any(|id| (self.plugin.fails_on)(*id)) {
            return Err(trap());
        }
        let mut reply = Reply::default();
        if ids.contains(&self.plugin.releases_on) {
            reply.emission = Some(self.release());
        }
        let duplicate = u8::try_from(self.plugin.reasons.len()).unwrap() + 2;
        for (index, id) in ids.into_iter().enumerate() {
            let verdict = if self.plugin.dedups && self.seen.contains(&id) {
                duplicate
            } else if let Some(reason) = (self.plugin.drops)(id) {
                reason + 2
            } else if self.plugin.holds.is_some_and(|holds| holds(id)) {
                self.held.extend([ticket, index as u64]);
                1
            } else {
                0
            };
            self.seen.push(id);
            reply.verdicts.push(verdict);
        }
        Ok(reply)
    }

    fn release(&mut self) -> Emission {
        let mut released = std::mem::take(&mut self.held);
        if self.plugin.stutters {
            released.pop();
        }
        if self.plugin.drops_held {
            let words = released.iter_mut().skip(1).step_by(2);
            words.for_each(|word| *word |= 2 << 32);
        }
        releasing(released).emission.unwrap()
    }

    fn state(&self) -> State {
        let words = [self.seen.len() as u64];
        let words = words.iter().chain(&self.seen).chain(&self.held);
        State {
            version: u32::try_from(self.plugin.number).unwrap(),
            bytes: words.flat_map(|word| word.to_le_bytes()).collect(),
        }
    }

    fn add(&mut self, state: &State) {
        let (words, _) = state.bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let seen = usize::try_from(words[0]).unwrap();
        let (seen, held) = words[1..].split_at(seen);
        self.write(Event::Restored(seen.len(), held.len() / 2));
        self.seen.extend(seen);
        self.held.extend(held);
    }
}

impl Instance for KeeperInstance {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        let is_lost = (self.plugin.lost_in)(&ids(input.bytes()));
        let answer = self.judge(ticket, input.bytes());
        Box::pin(async move {
            if is_lost {
                std::future::pending::<()>().await;
            }
            answer
        })
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        let emission = self.release();
        Box::pin(std::future::ready(Ok(emission)))
    }

    fn drain(
        &mut self,
        reason: DrainReason,
        _: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        self.write(Event::Drained(reason));
        let emission = self.release();
        Box::pin(std::future::ready(Ok(emission)))
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        self.write(Event::Snapshot);
        let answer = match self.plugin.snapshot {
            Way::Works | Way::TrapsOnOthers => Ok(Some(self.state())),
            Way::Refuses => Ok(None),
            Way::Traps => Err(trap()),
        };
        Box::pin(async move {
            tokio::task::yield_now().await;
            answer
        })
    }

    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        let is_own = u64::from(state.version) == self.plugin.number;
        let answer = match self.plugin.restore {
            Way::TrapsOnOthers if !is_own => Err(trap()),
            Way::Works | Way::TrapsOnOthers => {
                self.add(&state);
                Ok(Ok(()))
            }
            Way::Refuses => Ok(Err("cannot read this".to_owned())),
            Way::Traps => Err(trap()),
        };
        Box::pin(async move {
            tokio::task::yield_now().await;
            answer
        })
    }
}
