//! The way from the door of a pipeline to its shards, and the answer to the sender.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::admission::{Admitted, Door, SHARD_WAIT};
use super::lanes::{Lanes, by_trace, place, send};
use super::{Answer, Routing};
use crate::batch::Batch;
use crate::completion::Guard;
use crate::egress::Permits;
use crate::ledger::Account;
use crate::pipeline::AckOn;
use crate::refused::Refused;
use crate::shard::Task;
use crate::stage::Dispatch;

impl Door {
    pub(super) async fn lanes(&self, routing: &Routing, batch: &Batch) -> Result<Lanes, Refused> {
        let shards = routing.lanes();
        let dispatch = if shards.len() < 2 {
            Dispatch::Single
        } else {
            routing.dispatch()
        };
        match (shards, dispatch) {
            ([], _) => Ok(Lanes::None),
            ([first, ..], Dispatch::Single) => Ok(Lanes::One(place(first.clone()).await?)),
            (all, Dispatch::Any) => self.any(all).await,
            (all, Dispatch::ByTrace) => by_trace(all, batch).await,
        }
    }

    /// Takes a place in the next shard in turn that has one free; if none has, waits for the next
    /// in turn.
    async fn any(&self, shards: &[mpsc::Sender<Task>]) -> Result<Lanes, Refused> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % shards.len().max(1);
        let (before, after) = shards.split_at(turn.min(shards.len()));
        let in_turn = || after.iter().chain(before);
        if let Some(free) = in_turn().find_map(|shard| shard.clone().try_reserve_owned().ok()) {
            return Ok(Lanes::One(free));
        }
        match in_turn().next() {
            Some(shard) => Ok(Lanes::One(place(shard.clone()).await?)),
            None => Err(Refused::Draining),
        }
    }

    /// Lets a batch in that the journal has; waits until there is a place for it. If it is dropped
    /// on the way, it stays in the journal.
    pub(crate) async fn let_in(&self, batch: Batch, permits: Permits) -> Result<Answer, Refused> {
        loop {
            let way = async {
                let routing = Arc::clone(&self.routing).read_owned().await;
                if routing.is_released() {
                    return Err(Refused::Draining);
                }
                let lanes = match self.lanes(&routing, &batch).await {
                    // The batch cannot be cut by trace, but its sender has its OK.
                    Err(Refused::Invalid(_)) => self.any(routing.lanes()).await?,
                    lanes => lanes?,
                };
                Ok((lanes, routing))
            };
            // The routing cannot change while this waits, so the lock is released and taken anew.
            let Ok(way) = tokio::time::timeout(SHARD_WAIT, way).await else {
                continue;
            };
            let (lanes, routing) = way?;
            return Ok(self.enter(Admitted {
                batch,
                permits,
                lanes,
                _routing: routing,
            }));
        }
    }

    /// Lets an admitted request in. From the first line on, the pipeline owns the items.
    pub(super) fn enter(&self, admitted: Admitted) -> Answer {
        let Admitted {
            mut batch,
            mut permits,
            lanes,
            _routing: _until_it_is_in,
        } = admitted;
        let waits = permits.waits();
        let completed = (self.config.ack_on == AckOn::Export).then(|| {
            let (guard, completed) = Guard::new();
            batch.tally.guard(guard);
            completed
        });
        batch.tally.transfer(Account::Chain);
        let mut parts = Vec::new();
        match lanes {
            Lanes::None => self.egress.forward(batch, &permits),
            Lanes::One(lane) => parts.push(send(lane, batch, permits)),
            Lanes::Many(lanes) => {
                let Batch { mut tally, .. } = batch;
                let lane = |(lane, bytes, items)| {
                    send(
                        lane,
                        Batch {
                            bytes,
                            tally: tally.split(items),
                        },
                        permits.clone(),
                    )
                };
                parts = lanes.into_iter().map(lane).collect();
            }
        }
        Answer {
            parts,
            completed,
            waits,
            draining: self.draining.subscribe(),
        }
    }
}
