//! A candidate that judges a share of the traces.

use std::collections::HashMap;

use bytes::Bytes;

use crate::stage::run::batch::StageBatch;
use crate::stage::run::output::{BatchOwner, StageOutput};
use crate::stage::run::runner::StageRunner;
use crate::stage::spec::Share;

/// A candidate that judges a share of the traces in place of the running generation.
pub(crate) struct Canary {
    pub(crate) runner: StageRunner,
    share: Share,
    /// Traces of which one of the two generations held spans when the share was set: they stay with
    /// it, so that one generation judges the whole trace. At most as many as a stage may hold.
    settled: HashMap<TraceId, Side>,
}

/// A trace id of 16 bytes. The share decides about ids of another length.
type TraceId = [u8; 16];

/// The generation that judges a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Running,
    Canary,
}

impl Canary {
    pub(crate) fn new(runner: StageRunner, share: Share, running: &StageRunner) -> Self {
        let mut canary = Self {
            runner,
            share,
            settled: HashMap::new(),
        };
        canary.set_share(share, running);
        canary
    }

    /// Sets another share. Traces that are under way stay where they are.
    pub(crate) fn set_share(&mut self, share: Share, running: &StageRunner) {
        self.share = share;
        self.settled.clear();
        for (runner, side) in [(running, Side::Running), (&self.runner, Side::Canary)] {
            let mut last = None;
            for id in runner.held_traces() {
                // Spans of a trace often arrive together.
                if last != Some(id)
                    && let Ok(id) = TraceId::try_from(id)
                {
                    self.settled.insert(id, side);
                }
                last = Some(id);
            }
        }
    }

    fn side(&self, trace_id: &[u8]) -> Side {
        let settled = TraceId::try_from(trace_id).ok();
        match settled.and_then(|id| self.settled.get(&id)) {
            Some(side) => *side,
            None if self.share.has(trace_id) => Side::Canary,
            None => Side::Running,
        }
    }

    /// Runs each trace of a batch through the generation that judges it.
    pub(crate) async fn process(
        &mut self,
        running: &mut StageRunner,
        mut batch: StageBatch,
        owner: BatchOwner,
    ) -> StageOutput {
        batch.input.make_whole();
        let side = |id: &[u8]| match self.side(id) {
            Side::Running => 0,
            Side::Canary => 1,
        };
        let parts = spandrel_wire::split_traces(batch.input.bytes(), side);
        let parts = match parts {
            Ok(1) => return self.runner.process(batch, owner).await,
            Err(Some(parts)) => parts,
            // One resource of many megabytes in front of many small spans is not worth the copies.
            Ok(_) | Err(None) => return running.process(batch, owner).await,
        };
        let [mut to_running, mut to_canary] = [None, None];
        for part in parts {
            let tally = batch.tally.split(part.items as u64);
            let part = (part.shard, Bytes::from(part.bytes), tally);
            let side = match part.0 {
                0 => &mut to_running,
                _ => &mut to_canary,
            };
            *side = Some(batch.part(part.1, part.2));
        }
        let (Some(to_running), Some(to_canary)) = (to_running, to_canary) else {
            // A batch with one part is not split.
            return StageOutput::default();
        };
        // If the first one refuses, nobody has seen the rest, and the whole batch is refused.
        let mut first = self.runner.process(to_canary, owner).await;
        if first.refused.is_some() {
            to_running.tally.refuse();
            return first;
        }
        let second = running.process(to_running, owner).await;
        first.emitted.extend(second.emitted);
        first.refused = second.refused;
        match (first.kept.take(), second.kept) {
            // The canary may remember the part that it kept, and drop it when the sender retries.
            // So this part goes on, and the sender's retry may deliver it twice.
            (Some(kept), _) if first.refused.is_some() => first.emitted.push(kept.into_batch()),
            (Some(one), Some(other)) => first.kept = Some(one.join(other)),
            (one, other) => first.kept = one.or(other),
        }
        first
    }
}
