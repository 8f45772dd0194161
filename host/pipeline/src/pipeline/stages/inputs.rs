//! The inputs of all shards, for orders.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::ingress::LanePermit;
use crate::pipeline::ChangeError;
use crate::shard::{ChangeReport, Order, Task};
use crate::stage::rollout::target::Target;

/// The longest time that a change waits for the shards' reports once it is published. It cannot be
/// taken back then: a shard that waits for a backend changes when it goes on.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// The senders to the inputs of all shards.
pub(super) struct ShardInputs(Vec<mpsc::Sender<Task>>);

/// A reserved place in the input of every shard.
pub(super) struct ReservedInputs(Vec<LanePermit>);

impl ShardInputs {
    pub(super) fn new(senders: Vec<mpsc::Sender<Task>>) -> Self {
        Self(senders)
    }

    /// Returns the number of shards.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reserves a place in the input of every shard, or of none.
    pub(super) async fn reserve(&self, deadline: Instant) -> Result<ReservedInputs, ChangeError> {
        let mut places = Vec::with_capacity(self.0.len());
        for sender in &self.0 {
            let place = timeout_at(deadline, sender.clone().reserve_owned()).await;
            let place = place.map_err(|_| ChangeError::Busy)?;
            places.push(place.map_err(|_closed| ChangeError::Draining)?);
        }
        Ok(ReservedInputs(places))
    }

    /// Waits until each shard has come to an order that it gets now.
    pub(super) async fn ping(&self, deadline: Instant) -> Result<(), ChangeError> {
        let ReservedInputs(places) = self.reserve(deadline).await?;
        let mut answers = Vec::with_capacity(places.len());
        for place in places {
            let (done, answer) = oneshot::channel();
            place.send(Task::Order(Order::Ping { done }));
            answers.push(answer);
        }
        let answered = timeout_at(deadline, join_all(answers)).await;
        answered.map(drop).map_err(|_| ChangeError::Busy)
    }
}

impl ReservedInputs {
    /// Orders every shard, all at once, to become its row of `rows`. The future waits until each
    /// has obeyed; a shard that is late, or that was cut off at the drain's deadline, does not
    /// report.
    pub(super) fn order(
        self,
        rows: Vec<Vec<Target>>,
    ) -> impl Future<Output = Vec<Option<ChangeReport>>> + use<> {
        let mut answers = Vec::with_capacity(self.0.len());
        for (place, targets) in self.0.into_iter().zip(rows) {
            let (done, answer) = oneshot::channel();
            place.send(Task::Order(Order::Change { targets, done }));
            answers.push(answer);
        }
        async move {
            let late = Instant::now() + REPORT_WAIT;
            let report = |answer: oneshot::Receiver<ChangeReport>| async move {
                timeout_at(late, answer).await.ok()?.ok()
            };
            join_all(answers.into_iter().map(report)).await
        }
    }
}
