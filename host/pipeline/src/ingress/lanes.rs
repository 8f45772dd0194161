//! The places that a batch takes in its shards' inputs.

use bytes::Bytes;
use spandrel_wire::Invalid;
use tokio::sync::{mpsc, oneshot};

use super::LanePermit;
use crate::batch::Batch;
use crate::egress::Permits;
use crate::refused::{Refusal, Refused};
use crate::shard::{Job, Task};

/// The place of a batch in the input of each of its shards.
#[derive(Debug)]
pub(super) enum Lanes {
    /// There are no stages: the batch goes straight to the exporters.
    None,
    One(LanePermit),
    /// The batch is cut by trace: each part with the number of its items.
    Many(Vec<(LanePermit, Bytes, u64)>),
}

/// Takes a place in a shard's input; waits for it in turn. The caller bounds the wait.
pub(super) async fn place(shard: mpsc::Sender<Task>) -> Result<LanePermit, Refused> {
    shard
        .reserve_owned()
        .await
        .map_err(|_closed| Refused::Draining)
}

/// Cuts a batch by trace id, and takes a place in the input of each shard that gets a part.
pub(super) async fn by_trace(
    shards: &[mpsc::Sender<Task>],
    batch: &Batch,
) -> Result<Lanes, Refused> {
    if let Some(index) = spandrel_wire::single_trace_part(&batch.bytes, shards.len()) {
        let shard = shards.get(index).ok_or(Refused::Draining)?;
        return Ok(Lanes::One(place(shard.clone()).await?));
    }
    let parts = spandrel_wire::split_by_trace(&batch.bytes, shards.len());
    let too_large = Invalid::OverLimit {
        what: "copies of a resource's bytes",
        limit: batch.bytes.len(),
    };
    let parts = parts.ok_or(Refused::Invalid(too_large))?;
    let mut lanes = Vec::with_capacity(parts.len());
    for part in parts {
        let shard = shards.get(part.shard).ok_or(Refused::Draining)?;
        lanes.push((
            place(shard.clone()).await?,
            Bytes::from(part.bytes),
            part.items as u64,
        ));
    }
    Ok(Lanes::Many(lanes))
}

pub(super) fn send(
    lane: LanePermit,
    batch: Batch,
    permits: Permits,
) -> oneshot::Receiver<Result<(), Refusal>> {
    let (answer, answered) = oneshot::channel();
    lane.send(Task::Batch(Job {
        batch,
        permits,
        answer,
    }));
    answered
}
