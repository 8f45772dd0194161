//! Resuming: a durable pipeline goes on with the state and the held items of its stages from the
//! last process.

use std::collections::BTreeSet;

use bytes::Bytes;
use spandrel_wire::{HeldItems, Limits};

use crate::chain::Chain;
use crate::completion::{IngressLog, RecordGuards};
use crate::handover::{Handover, HeldHandover, StageHandover, UnusedReason};
use crate::journal::Durability;
use crate::ledger::Ledger;
use crate::stage::StateTransfer;

/// The journal that has the handover of the last process, and the ingress log that keeps its
/// records.
#[derive(Clone, Copy)]
pub(super) struct Resume<'a> {
    pub(super) durability: &'a Durability,
    pub(super) accepted: &'a IngressLog,
}

/// A handover with its items as stages hold them.
struct HandoverItems {
    handover: Handover,
    /// The held items, for each shard and stage, in order.
    held: Vec<Vec<Vec<(HeldHandover, HeldItems)>>>,
}

impl Resume<'_> {
    /// Gives these rows what was left for them, before anything else comes to them. Returns the
    /// records that are not to be replayed, because stages hold their remaining items.
    ///
    /// The pipeline starts even if something is wrong with the handover: without it, every item is
    /// in a record, and is offered to all stages.
    pub(super) async fn run(
        self,
        ledger: &Ledger,
        limits: Limits,
        stages: &[&str],
        chains: &mut [Chain],
    ) -> BTreeSet<u64> {
        let pipeline = ledger.pipeline();
        let taken = self.durability.journal.take_handover().await;
        let unpacked = match taken {
            Ok(None) => return BTreeSet::new(),
            Ok(Some(bytes)) => self.unpack(bytes, limits, stages, chains.len()).await,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(pipeline, error, "{UNUSED}");
                ledger.post(|books| books.unused_handovers += 1);
                return BTreeSet::new();
            }
        };
        match unpacked {
            Ok(unpacked) => self.take_up(ledger, unpacked, chains).await,
            Err(reason) => {
                tracing::warn!(pipeline, reason, "{UNUSED}");
                ledger.post(|books| books.unused_handovers += 1);
                BTreeSet::new()
            }
        }
    }

    /// Reads and checks all of it. Nothing of it is used unless all of it can be.
    async fn unpack(
        self,
        bytes: Bytes,
        limits: Limits,
        stages: &[&str],
        shards: usize,
    ) -> Result<HandoverItems, UnusedReason> {
        // Hundreds of thousands of spans may have to be validated: that would block a thread of the
        // runtime.
        let unpacked = tokio::task::spawn_blocking(move || unpack(bytes, &limits)).await;
        let unpacked = unpacked.ok().flatten().ok_or("it is damaged")?;
        let log = self.accepted.log().as_ref();
        unpacked.handover.check(log, stages, shards)?;
        Ok(unpacked)
    }

    async fn take_up(
        self,
        ledger: &Ledger,
        unpacked: HandoverItems,
        chains: &mut [Chain],
    ) -> BTreeSet<u64> {
        let HandoverItems { handover, held } = unpacked;
        let pipeline = ledger.pipeline();
        let (records, items) = (handover.records(), handover.items());
        let mut guards = RecordGuards::new(self.accepted);
        let rows = chains.iter_mut().zip(handover.shards.into_iter().zip(held));
        for (shard, (chain, (row, held))) in rows.enumerate() {
            for (stage, held) in row.into_iter().zip(held) {
                let name = stage.name.clone();
                let Some(slot) = chain.slot_mut(&name) else {
                    continue;
                };
                if let StateTransfer::Failed(reason) = slot.take_up(stage, held, &mut guards).await
                {
                    tracing::warn!(
                        pipeline,
                        stage = name,
                        shard,
                        reason,
                        "plugin refuses the state from before the restart, its held items are offered to it again"
                    );
                }
            }
        }
        tracing::info!(
            pipeline,
            items,
            batches = records.len(),
            "stages continue with their state and held items from before the restart"
        );
        records
    }
}

const UNUSED: &str =
    "state from before the restart is not used, unfinished batches go through all stages again";

fn unpack(bytes: Bytes, limits: &Limits) -> Option<HandoverItems> {
    let mut handover = Handover::decode(bytes)?;
    let mut held = Vec::with_capacity(handover.shards.len());
    for row in &mut handover.shards {
        let stages = row.iter_mut().map(|stage| unpack_stage(stage, limits));
        held.push(stages.collect::<Option<Vec<_>>>()?);
    }
    Some(HandoverItems { handover, held })
}

fn unpack_stage(
    stage: &mut StageHandover,
    limits: &Limits,
) -> Option<Vec<(HeldHandover, HeldItems)>> {
    let tickets = stage.held.iter().map(|held| held.ticket);
    let sound = tickets.clone().is_sorted_by(|a, b| a < b)
        && tickets.last().is_none_or(|last| last <= stage.last_ticket);
    let unpacked = stage.held.iter_mut().map(|left| {
        let held = left.to_held(limits)?;
        // The bytes are in `held` now.
        left.request = Bytes::new();
        Some((left.clone(), held))
    });
    let unpacked = unpacked.collect::<Option<Vec<_>>>()?;
    sound.then_some(unpacked)
}
