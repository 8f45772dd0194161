//! A shard: a task that owns one instance of every stage and runs one batch at a time through all
//! of them. It ends when its input closes, after it has drained its stages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::chain::Chain;
use crate::egress::{Egress, Permits};
use crate::refused::Refused;
use crate::stage::runner::{Origin, Passed, StageRunner};
use crate::stage::transit::Transit;

/// Batches that wait for a shard. A shard is busy for milliseconds a batch, so a few are enough to
/// keep it from waiting, and few enough to keep what is accepted but not queued small.
pub(crate) const INPUT_BATCHES: usize = 8;

/// One batch for one shard, and whom to tell how it ended.
#[derive(Debug)]
pub(crate) struct Job {
    pub batch: Batch,
    pub permits: Permits,
    pub answer: oneshot::Sender<Result<(), Refused>>,
}

/// See the module.
pub(crate) struct Shard {
    chain: Chain,
    egress: Arc<Egress>,
    input: mpsc::Receiver<Job>,
    /// When the drain must be over; set before the input closes.
    deadline: watch::Receiver<Option<Instant>>,
}

impl Shard {
    pub(crate) fn new(
        stages: Vec<StageRunner>,
        egress: Arc<Egress>,
        input: mpsc::Receiver<Job>,
        deadline: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            chain: Chain::new(stages),
            egress,
            input,
            deadline,
        }
    }

    /// Runs until the input is closed and empty, then drains the stages in pipeline order.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.chain.next_tick();
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Ticks first: a shard that is never idle must tick all the same. After a tick comes a
            // batch, if one waits: a plugin whose ticks never end must not keep batches out.
            let job = tokio::select! {
                biased;
                () = tick => {
                    self.tick().await;
                    match self.input.try_recv() {
                        Ok(job) => job,
                        Err(mpsc::error::TryRecvError::Empty) => continue,
                        Err(mpsc::error::TryRecvError::Disconnected) => break,
                    }
                }
                job = self.input.recv() => match job {
                    Some(job) => job,
                    None => break,
                },
            };
            self.run_job(job).await;
        }
        self.drain().await;
    }

    async fn run_job(
        &mut self,
        Job {
            batch,
            permits,
            answer,
        }: Job,
    ) {
        let answered = self.run_batch(batch, &permits).await;
        // A sender that went away gets no answer; its batch is accepted or refused all the same.
        drop(answer.send(answered));
    }

    /// Runs a sender's batch through all stages, and what they emit beside it through the stages
    /// after them.
    async fn run_batch(&mut self, batch: Batch, permits: &Permits) -> Result<(), Refused> {
        let mut batch = Transit::from(batch);
        for index in 0.. {
            let passed = match self.chain.step(index, batch, Origin::Sender).await {
                Ok(passed) => passed,
                Err(through) => {
                    self.egress.forward(through.into_batch(), permits);
                    break;
                }
            };
            let Passed {
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
        // A queue in place of recursion: what a stage emits goes through the stages after it, in order.
        let from = |index, batches: Vec<Batch>| {
            let transits = batches.into_iter().map(Transit::from);
            transits.map(move |batch| (index, batch))
        };
        let mut left: VecDeque<_> = from(first, batches).collect();
        while let Some((index, batch)) = left.pop_front() {
            match self.chain.step(index, batch, Origin::Accepted).await {
                Ok(Passed { kept, emitted, .. }) => {
                    left.extend(kept.map(|kept| (index + 1, kept)));
                    left.extend(from(index + 1, emitted));
                }
                Err(through) => self.leave(through.into_batch()).await,
            }
        }
    }

    /// Waits for room behind the last stage. Nothing bounds the wait but the drain's deadline:
    /// these items are accepted, and while they wait the senders of this shard do, too.
    async fn leave(&mut self, batch: Batch) {
        if let Some(permits) = self
            .egress
            .reserve_released(batch.items(), batch.bytes.len())
            .await
        {
            self.egress.forward(batch, &permits);
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        for index in 0..self.chain.len() {
            let emitted = self.chain.tick(index, now).await;
            self.forward(index + 1, emitted).await;
        }
    }

    /// Each stage's drain in turn: what a stage lets go runs through the stages after it before
    /// those are asked to drain. The time that is left is shared out evenly, and a part of it is
    /// kept for the queues behind.
    async fn drain(&mut self) {
        for index in 0..self.chain.len() {
            let stages_left = u32::try_from(self.chain.len() - index).unwrap_or(u32::MAX);
            let left = self.deadline.borrow().map_or(DEFAULT_DRAIN, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            let share = left.mul_f64(1.0 - EGRESS_SHARE) / stages_left;
            let emitted = self.chain.drain(index, share).await;
            self.forward(index + 1, emitted).await;
        }
    }
}

/// What is left for the queues of the time that a drain still has when a stage is asked.
const EGRESS_SHARE: f64 = 0.4;
/// For a pipeline that is dropped without a drain, so without a deadline.
const DEFAULT_DRAIN: Duration = Duration::from_secs(1);
