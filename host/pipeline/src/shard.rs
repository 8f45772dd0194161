//! A shard: a task that owns one instance of every stage and runs one batch at a time through all
//! of them. It ends when its input closes, after it has drained its stages.

mod order;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::order::{ChangeReport, Order};
use crate::batch::Batch;
use crate::chain::Chain;
use crate::egress::{Egress, Permits, ReservedBatch};
use crate::handover::{ShardHandover, StageHandover};
use crate::ledger::Tally;
use crate::plugin::DrainReason;
use crate::queue::RoomClass;
use crate::refused::BatchRefusal;
use crate::stage::rollout::slot::StageSlot;
use crate::stage::rollout::target::Target;
use crate::stage::run::batch::StageBatch;
use crate::stage::run::output::{BatchOwner, StageOutput};

/// The number of batches that may wait for a shard. A shard is busy for milliseconds per batch, so
/// a few are enough to keep it from idling, and few enough to keep the number of accepted but not
/// queued batches small.
pub(crate) const INPUT_BATCHES: usize = 8;

/// The input of a shard: tasks that it does one after the other.
pub(crate) enum Task {
    Batch(Job),
    Order(Order),
}

/// One batch for one shard, and the channel for its result.
#[derive(Debug)]
pub(crate) struct Job {
    pub reserved: ReservedBatch,
    pub answer: oneshot::Sender<Result<(), BatchRefusal>>,
}

/// A task that owns one instance of every stage and runs one batch at a time through all of them.
pub(crate) struct Shard {
    chain: Chain,
    egress: Arc<Egress>,
    input: mpsc::Receiver<Task>,
    /// The way in which it is to end; set before the input closes.
    shutdown: watch::Receiver<Option<ShardShutdown>>,
    number: usize,
}

/// The way in which a shard is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardShutdown {
    /// The time by which it is to end.
    pub(crate) deadline: Instant,
    /// True if held items stay for the next process, with the state of the plugins.
    pub(crate) hands_over: bool,
}

impl Shard {
    pub(crate) fn new(
        chain: Chain,
        egress: Arc<Egress>,
        input: mpsc::Receiver<Task>,
        shutdown: watch::Receiver<Option<ShardShutdown>>,
        number: usize,
    ) -> Self {
        Self {
            chain,
            egress,
            input,
            shutdown,
            number,
        }
    }

    /// Runs until the input is closed and empty, then drains the stages in pipeline order, or stops
    /// them. Returns what they leave to the next process.
    pub(crate) async fn run(mut self) -> ShardHandover {
        loop {
            let due = self.chain.next_tick();
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Ticks come first: a shard that is never idle must tick all the same. After a tick
            // comes a batch, if one waits: a plugin whose ticks never end must not keep batches
            // out.
            let task = tokio::select! {
                biased;
                () = tick => {
                    self.tick().await;
                    match self.input.try_recv() {
                        Ok(task) => task,
                        Err(mpsc::error::TryRecvError::Empty) => continue,
                        Err(mpsc::error::TryRecvError::Disconnected) => break,
                    }
                }
                task = self.input.recv() => match task {
                    Some(task) => task,
                    None => break,
                },
            };
            match task {
                Task::Batch(job) => self.run_job(job).await,
                Task::Order(order) => self.obey(order).await,
            }
        }
        let shutdown = *self.shutdown.borrow();
        let mut left = ShardHandover {
            shard: self.number,
            stages: Vec::new(),
            tallies: Vec::new(),
        };
        match shutdown {
            Some(ShardShutdown {
                hands_over: true, ..
            }) => (left.stages, left.tallies) = self.stop().await,
            _ => self.drain().await,
        }
        left
    }

    /// Carries out an order, even if its sender is gone.
    async fn obey(&mut self, order: Order) {
        match order {
            Order::Change { targets, done } => {
                let changed = self.change(targets).await;
                drop(done.send(changed));
            }
            Order::Snapshot { stage, reply } => {
                let mut emitted = Vec::new();
                let state = self.chain.copy_state(&stage, &mut emitted).await;
                drop(reply.send(state));
                if let Some(index) = self.chain.position(&stage) {
                    self.forward(index + 1, emitted).await;
                }
            }
            Order::Ping { done } => done.send(()).unwrap_or_default(),
        }
    }

    /// Becomes another row of stages. Batches that leave a stage on the way go through those behind
    /// it: in the old row for a stage that is taken out, in the new one for a stage that stays.
    async fn change(&mut self, targets: Vec<Target>) -> ChangeReport {
        let started = Instant::now();
        let next = |index| {
            let name = self.chain.name(index);
            let mut targets = targets.iter();
            targets.position(|target| Some(&*target.spec.name) == name)
        };
        let next: Vec<Option<usize>> = (0..self.chain.len()).map(next).collect();
        for (index, position) in next.iter().enumerate() {
            // The items that a stage holds have been through the stages in front of it, and through
            // no other: they go on in the old order, once.
            let lets_go = position.is_none_or(|position| {
                self.chain.holds(index) && changes_sides(&next, (index, position))
            });
            if lets_go {
                self.take_out(index).await;
            }
        }
        let mut old = self.chain.take();
        let mut changed = ChangeReport::default();
        let mut row = Vec::with_capacity(targets.len());
        let mut left = Vec::new();
        for target in targets {
            let name = target.spec.name.clone();
            let mut emitted = Vec::new();
            let known = old.iter().position(|slot| slot.name() == name);
            let slot = match known {
                Some(known) => {
                    let slot = old.swap_remove(known);
                    let (slot, carried) = slot.change(target, &mut emitted).await;
                    changed
                        .carried
                        .extend(carried.map(|carried| (name, carried)));
                    Some(slot)
                }
                None => {
                    let (limits, ledger) = self.chain.terms();
                    StageSlot::new(target, limits, ledger).await
                }
            };
            // There is no slot without an instance; the pipeline sends one with each new stage.
            let Some(slot) = slot else { continue };
            row.push(slot);
            left.push((row.len(), emitted));
        }
        old.into_iter().for_each(StageSlot::end);
        self.chain.put(row);
        changed.pause = started.elapsed();
        for (next, emitted) in left {
            self.forward(next, emitted).await;
        }
        changed
    }

    /// Makes a stage let go of everything.
    async fn take_out(&mut self, index: usize) {
        let emitted = self.chain.drain(index, DrainReason::Swap, TAKE_OUT).await;
        self.forward(index + 1, emitted).await;
    }

    async fn run_job(&mut self, Job { reserved, answer }: Job) {
        let ReservedBatch { batch, permits } = reserved;
        batch.tally.see();
        let answered = self.run_batch(batch, &permits).await;
        // A sender that went away gets no answer; its batch is accepted or refused all the same.
        drop(answer.send(answered));
    }

    /// Runs a sender's batch through all stages, and the batches that they emit beside it through
    /// the stages behind them.
    async fn run_batch(&mut self, batch: Batch, permits: &Permits) -> Result<(), BatchRefusal> {
        let mut batch = StageBatch::from(batch);
        for index in 0.. {
            let passed = match self.chain.step(index, batch, BatchOwner::Sender).await {
                Ok(passed) => passed,
                Err(through) => {
                    permits.forward(through.into_batch());
                    break;
                }
            };
            let StageOutput {
                kept,
                emitted,
                refused,
            } = passed;
            self.forward(index + 1, emitted).await;
            if let Some(refused) = refused {
                return Err(refused);
            }
            let Some(kept) = kept else { break };
            batch = kept;
        }
        Ok(())
    }

    /// Runs accepted batches through the stages from `first` on, and on to the exporters.
    async fn forward(&mut self, first: usize, batches: Vec<Batch>) {
        // A queue instead of recursion: batches that a stage emits go through the stages behind it,
        // in order.
        let from = |index, batches: Vec<Batch>| {
            let transits = batches.into_iter().map(StageBatch::from);
            transits.map(move |batch| (index, batch))
        };
        let mut left: VecDeque<_> = from(first, batches).collect();
        while let Some((index, batch)) = left.pop_front() {
            match self.chain.step(index, batch, BatchOwner::Accepted).await {
                Ok(StageOutput { kept, emitted, .. }) => {
                    left.extend(kept.map(|kept| (index + 1, kept)));
                    left.extend(from(index + 1, emitted));
                }
                Err(through) => self.leave(through.into_batch()).await,
            }
        }
    }

    /// Waits for room behind the last stage. Only the drain's deadline bounds the wait: these items
    /// are accepted, and while they wait, so do the senders of this shard.
    async fn leave(&mut self, batch: Batch) {
        if let Some(permits) = self
            .egress
            .reserve(RoomClass::Released, batch.items(), batch.bytes.len())
            .await
        {
            permits.forward(batch);
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        for index in 0..self.chain.len() {
            let emitted = self.chain.tick(index, now).await;
            self.forward(index + 1, emitted).await;
        }
    }

    /// Drains each stage in turn. Items that a stage lets go run through the stages behind it
    /// before those are asked to drain. The remaining time is shared out evenly, except for a part
    /// that is kept for the queues behind.
    async fn drain(&mut self) {
        for index in 0..self.chain.len() {
            let share = self.share(index);
            let emitted = self.chain.drain(index, DrainReason::Shutdown, share).await;
            self.forward(index + 1, emitted).await;
        }
    }

    /// Stops each stage in turn, in the same time. Items that a stage lets go nevertheless run
    /// through the stages behind it before those stop. After that, no batch comes to the stage.
    async fn stop(&mut self) -> (Vec<StageHandover>, Vec<Tally>) {
        let mut states = Vec::with_capacity(self.chain.len());
        for index in 0..self.chain.len() {
            let (emitted, state) = self.chain.stop(index, self.share(index)).await;
            states.push(state);
            self.forward(index + 1, emitted).await;
        }
        self.chain.leave_behind(states)
    }

    /// Returns the time that the stage at `index` may take to end.
    fn share(&self, index: usize) -> Duration {
        let stages_left = u32::try_from(self.chain.len() - index).unwrap_or(u32::MAX);
        let left = self.shutdown.borrow().map_or(DEFAULT_DRAIN, |shutdown| {
            shutdown.deadline.saturating_duration_since(Instant::now())
        });
        left.mul_f64(1.0 - EGRESS_SHARE) / stages_left
    }
}

/// Returns true if a stage that stood behind this one comes in front of it, or the other way round.
/// `next` has the position of each old stage in the new row; `from` and `to` are the old and the
/// new position of this one.
fn changes_sides(next: &[Option<usize>], (from, to): (usize, usize)) -> bool {
    let stay = next.iter().enumerate();
    let mut stay = stay.filter_map(|(old, new)| Some((old, (*new)?)));
    stay.any(|(old, new)| (old < from) != (new < to))
}

/// The time that a plugin that is taken out may take to let go. The senders of this shard wait
/// meanwhile.
const TAKE_OUT: Duration = Duration::from_millis(500);

/// The share of a drain's remaining time that is kept for the queues when a stage is asked to
/// drain.
const EGRESS_SHARE: f64 = 0.4;
/// The time for a pipeline that is dropped without a drain, and so has no deadline.
const DEFAULT_DRAIN: Duration = Duration::from_secs(1);
