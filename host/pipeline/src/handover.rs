//! The handover: the state and the held items that the stages of a durable pipeline keep over a
//! restart.
//!
//! A clean stop asks no plugin to let go of items that the journal has. It writes, beside the
//! journal, each stage's state on each shard, and the items that the stage holds, with their
//! tickets and the records that have them. The next process gives both back to the stage, as at a
//! swap. The held items are not offered again to the stages in front of it, which have seen them,
//! and they finish the same records as before.
//!
//! A handover is used once, by the next process, or not at all. A process that starts without it
//! finds every held item in an unfinished record, and offers all of them to stages that know
//! nothing. A state without the items, or items without the states of the stages in front of them,
//! would make a stage that drops duplicates drop the only copy. So it is all or nothing.

mod codec;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use spandrel_wire::{Edits, HeldItems, Limits, Output, Rules, Signal, Verdict};

use crate::journal::Log;
use crate::ledger::Tally;
use crate::plugin::{State, Ticket};

/// The state and the held items that one process leaves to the next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Handover {
    /// The number of the first record that the next process adds. If the log is at another number,
    /// it accepted something after the handover was written.
    pub(crate) next: u64,
    /// For each shard, its stages in order.
    pub(crate) shards: Vec<Vec<StageHandover>>,
}

/// The state and the held items of a stage on one shard.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct StageHandover {
    /// Its name in the config.
    pub(crate) name: String,
    /// The plugin's state, when it gave one.
    pub(crate) state: Option<State>,
    /// The last ticket that was given out.
    pub(crate) last_ticket: Ticket,
    /// Below this ticket, the plugin may name items that are not held any more.
    pub(crate) evicted_below: Ticket,
    /// The batches of which it held items.
    pub(crate) held: Vec<HeldHandover>,
}

/// The items that were held of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldHandover {
    /// The ticket by which the plugin knows it.
    pub(crate) ticket: Ticket,
    /// The lowest ticket under which some of these items were ever held.
    pub(crate) first: Ticket,
    /// The instance that knew of them.
    pub(crate) owner: Owner,
    /// The time for which they were held, to the millisecond.
    pub(crate) age: Duration,
    /// The time at which their record was written.
    pub(crate) written: Option<SystemTime>,
    /// The records that have them.
    pub(crate) records: Vec<u64>,
    /// The number of each item in its batch.
    pub(crate) indices: Vec<u32>,
    /// The items, as a request.
    pub(crate) request: Bytes,
}

/// The owner of the items that are held of one batch: the instance that is to release them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The running instance: it got them as a batch, or knows them from a state that it took over.
    Instance,
    /// Nobody: the instance that held them is gone. They are offered to the next one as a batch.
    Nobody,
    /// The running instance, to which they were offered after another one had held them. If it
    /// fails, too, they are let go, because they may be the reason.
    SecondInstance,
}

impl HeldHandover {
    /// Returns the items as a stage holds them; `None` if the request is not valid, or has other
    /// items.
    pub(crate) fn to_held(&self, limits: &Limits) -> Option<HeldItems> {
        let summary = spandrel_wire::validate(Signal::Traces, &self.request, limits).ok()?;
        let items = summary.items;
        if items == 0 || self.records.is_empty() || self.ticket == 0 {
            return None;
        }
        let rules = Rules {
            items,
            reasons: 0,
            holds: true,
            limits: *limits,
        };
        let verdicts = vec![Verdict::Hold.to_byte(); items];
        let spliced =
            spandrel_wire::splice(&self.request, &verdicts, Edits::default(), &rules).ok()?;
        let mut held = spliced.held.filter(|_| spliced.output == Output::Nothing)?;
        held.renumber(&self.indices).then_some(held)
    }
}

/// The part of a handover that one shard left when it ended, and the tallies that keep the held
/// items in the books until the handover is on the disk.
#[derive(Debug)]
pub(crate) struct ShardHandover {
    /// The number of the shard.
    pub(crate) shard: usize,
    /// Its stages, in order; empty if the shard let go of everything.
    pub(crate) stages: Vec<StageHandover>,
    /// The tallies of the items that the stages hold.
    pub(crate) tallies: Vec<Tally>,
}

/// The reason why the handover of the last process is not used: a sentence without a full stop.
pub(crate) type UnusedReason = &'static str;

impl Handover {
    /// Builds the handover from what these shards left, in any order. Also returns the tallies of
    /// the held items.
    pub(crate) fn new(next: u64, mut shards: Vec<ShardHandover>) -> (Self, Vec<Tally>) {
        shards.sort_by_key(|shard| shard.shard);
        let mut tallies = Vec::new();
        let mut rows = Vec::with_capacity(shards.len());
        for mut shard in shards {
            tallies.append(&mut shard.tallies);
            rows.push(shard.stages);
        }
        // Shards beyond what a `single` stage needs have no stages.
        while rows.last().is_some_and(Vec::is_empty) {
            rows.pop();
        }
        let handover = Self { next, shards: rows };
        (handover, tallies)
    }

    fn stages(&self) -> impl Iterator<Item = &StageHandover> {
        self.shards.iter().flatten()
    }

    fn held(&self) -> impl Iterator<Item = &HeldHandover> {
        self.stages().flat_map(|stage| &stage.held)
    }

    /// Returns true if it has neither state nor items, so that a process that begins anew misses
    /// nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.stages()
            .all(|stage| stage.state.is_none() && stage.held.is_empty())
    }

    /// Returns the number of items in it.
    pub(crate) fn items(&self) -> u64 {
        self.held().map(|held| held.indices.len() as u64).sum()
    }

    /// Returns the records that have its items.
    pub(crate) fn records(&self) -> BTreeSet<u64> {
        self.held()
            .flat_map(|held| held.records.iter().copied())
            .collect()
    }

    /// Checks that it fits these stages on `shards` shards, and this log.
    pub(crate) fn check(
        &self,
        log: &dyn Log,
        stages: &[&str],
        shards: usize,
    ) -> Result<(), UnusedReason> {
        if self.next != log.next() {
            return Err("the journal went on without it");
        }
        if self.shards.len() != shards {
            return Err("the pipeline has another number of shards");
        }
        if !self.stands_in_order(stages) {
            return Err("stages that hold items were taken out or stand in another order");
        }
        let mut records = self.records();
        let mut next = 0;
        loop {
            let page = log.unfinished(next, PAGE);
            let Some(last) = page.last() else { break };
            next = last.record + 1;
            for unfinished in &page {
                records.remove(&unfinished.record);
            }
        }
        match records.is_empty() {
            true => Ok(()),
            false => Err("records of held items are gone from the journal"),
        }
    }

    /// Returns true if each stage that held something is still there, with the same stages in front
    /// of it and behind it: its items have been through those in front, and through no other.
    fn stands_in_order(&self, stages: &[&str]) -> bool {
        let place = |name: &str| stages.iter().position(|stage| *stage == name);
        self.shards.iter().all(|row| {
            row.iter().enumerate().all(|(from, stage)| {
                let Some(to) = place(&stage.name) else {
                    return stage.held.is_empty();
                };
                stage.held.is_empty()
                    || row.iter().enumerate().all(|(other, beside)| {
                        place(&beside.name).is_none_or(|now| (other < from) == (now < to))
                    })
            })
        })
    }

    /// Encodes it for the disk.
    pub(crate) fn encode(&self) -> Vec<Bytes> {
        codec::encode(self)
    }

    /// Decodes it; `None` if the bytes are not what [`Handover::encode`] writes.
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        codec::decode(bytes)
    }
}

/// The number of records that are looked at in one go.
const PAGE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, holds: usize) -> StageHandover {
        let held = |(ticket, owner)| HeldHandover {
            ticket,
            first: 5,
            owner,
            age: Duration::from_millis(1234),
            written: Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(77)),
            records: vec![3, 9],
            indices: vec![0, 4],
            request: Bytes::from_static(b"request"),
        };
        let owners = [
            (7, Owner::Nobody),
            (8, Owner::Instance),
            (9, Owner::SecondInstance),
        ];
        StageHandover {
            name: name.to_owned(),
            state: Some(State {
                version: 3,
                bytes: b"state".to_vec(),
            }),
            last_ticket: 9,
            evicted_below: 2,
            held: owners.into_iter().take(holds).map(held).collect(),
        }
    }

    fn handover() -> Handover {
        Handover {
            next: 12,
            shards: vec![vec![stage("a", 0), stage("b", 3)], vec![]],
        }
    }

    /// A handover comes back from its bytes. Bytes that were cut off, or have one byte too many,
    /// are not a handover.
    #[test]
    fn bytes_come_back() {
        let bytes: Vec<u8> = handover().encode().concat();
        assert_eq!(
            Handover::decode(Bytes::from(bytes.clone())),
            Some(handover())
        );
        for end in 0..bytes.len() {
            assert_eq!(
                Handover::decode(Bytes::from(bytes[..end].to_vec())),
                None,
                "{end}"
            );
        }
        let longer = Bytes::from([bytes, vec![0]].concat());
        assert_eq!(Handover::decode(longer), None);
    }

    /// Any bytes are read without a panic, and without allocating more than the bytes contain.
    #[test]
    fn any_bytes_are_read() {
        let bytes: Vec<u8> = handover().encode().concat();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                drop(Handover::decode(Bytes::from(changed)));
            }
        }
    }

    /// A stage that held items must keep its place among the stages that stay; others may come and
    /// go.
    #[test]
    fn order_matters_for_what_is_held() {
        let left = handover();
        for fits in [&["a", "b"][..], &["x", "a", "y", "b"], &["b"], &["b", "x"]] {
            assert!(left.stands_in_order(fits), "{fits:?}");
        }
        for differs in [&["b", "a"][..], &["a"], &[]] {
            assert!(!left.stands_in_order(differs), "{differs:?}");
        }
    }
}
