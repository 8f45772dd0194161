//! A shard: a task that owns one instance of every stage and runs one batch at a time through all
//! of them. It ends when its input closes, after it has drained its stages.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::egress::{Egress, Permits};
use crate::ledger::Account;
use crate::queue::Lane;
use crate::refused::Refused;
use crate::stage::runner::{Origin, Passed, StageRunner};

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
    stages: Vec<StageRunner>,
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
            stages,
            egress,
            input,
            deadline,
        }
    }

    /// Runs until the input is closed and empty, then drains the stages in pipeline order.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.stages.iter().map(StageRunner::next_tick).min();
            let tick = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Ticks first: a shard that is never idle must tick all the same.
            tokio::select! {
                biased;
                () = tick => self.tick().await,
                job = self.input.recv() => match job {
                    Some(job) => self.run_job(job).await,
                    None => break,
                },
            }
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
        let mut fresh = Some(batch);
        for index in 0..self.stages.len() {
            let Some(batch) = fresh.take() else { break };
            let Some(stage) = self.stages.get_mut(index) else {
                break;
            };
            let Passed {
                kept,
                emitted,
                refused,
            } = stage.process(batch, Origin::Sender).await;
            self.forward(index + 1, emitted).await;
            if let Some(refused) = refused {
                return Err(refused);
            }
            fresh = kept;
        }
        if let Some(batch) = fresh {
            self.egress.forward(batch, permits);
        }
        Ok(())
    }

    /// Runs accepted batches through the stages from `first` on, and on to the exporters.
    async fn forward(&mut self, first: usize, batches: Vec<Batch>) {
        // A stack in place of recursion: what a stage emits goes through the stages after it.
        let mut left: Vec<(usize, Batch)> =
            batches.into_iter().map(|batch| (first, batch)).collect();
        while let Some((index, batch)) = left.pop() {
            let Some(stage) = self.stages.get_mut(index) else {
                self.leave(batch).await;
                continue;
            };
            let Passed { kept, emitted, .. } = stage.process(batch, Origin::Accepted).await;
            left.extend(
                kept.into_iter()
                    .chain(emitted)
                    .map(|batch| (index + 1, batch)),
            );
        }
    }

    /// Waits for room behind the last stage. Nothing bounds the wait but the drain's deadline:
    /// these items are accepted, and while they wait the senders of this shard do, too.
    async fn leave(&mut self, batch: Batch) {
        if let Some(permits) = self
            .egress
            .reserve(Lane::Released, batch.items(), batch.bytes.len())
            .await
        {
            self.egress.forward(batch, &permits);
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        for index in 0..self.stages.len() {
            let Some(stage) = self.stages.get_mut(index) else {
                break;
            };
            if stage.next_tick() <= now {
                let emitted = stage.tick().await;
                self.forward(index + 1, emitted).await;
            }
        }
    }

    /// Each stage's drain in turn: what a stage lets go runs through the stages after it before
    /// those are asked to drain.
    async fn drain(&mut self) {
        for index in 0..self.stages.len() {
            let deadline = *self.deadline.borrow();
            let left = deadline.map_or(std::time::Duration::from_secs(1), |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            let Some(stage) = self.stages.get_mut(index) else {
                break;
            };
            let emitted = stage.drain(left).await;
            self.forward(index + 1, emitted).await;
        }
    }
}

/// Moves a batch into the chain, on its way to a shard or straight to the exporters.
pub(crate) fn enter_chain(batch: &mut Batch) {
    batch.tally.transfer(Account::Chain);
}
