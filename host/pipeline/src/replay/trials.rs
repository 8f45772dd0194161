//! Records that came through the stages again and again in processes that did not end well: one of
//! them may be what ends them, at a tick, when it is let go, or on its way to a backend.
//!
//! A process that is killed from outside leaves such records, too, and they are not at fault. So
//! nothing is tried before the process has lived without them for a while; if it ends sooner, that was
//! something else, and the search begins anew. Then they are tried together; if the process ends, half
//! of them is, and so on, to the one that is alone when it ends, and alone again when the next one
//! ends, which had lived without it for four times as long. That one goes on the shelf.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use super::marks::{HAUNTED, Mark};
use super::returns::Returned;
use super::{Replay, WINDOW};
use crate::journal::Unfinished;

/// How long a process lives without them before they are tried; four times as long for each time that
/// one ended while it was alone.
const CALM: Duration = Duration::from_secs(5);
/// How long one that is tried alone keeps fresh batches out, if it is held: senders are told to come
/// back meanwhile.
const KEEP_OUT: Duration = Duration::from_secs(10);
/// How long a trial takes if they are not finished before: more than plugins hold.
const TRIAL: Duration = Duration::from_secs(120);
/// How often is looked whether they are finished.
const LOOK: Duration = Duration::from_millis(100);
/// So many trials alone convict.
const ALONE: u8 = 2;

impl Replay {
    /// Tries these, until all were or the door is closed.
    pub(super) async fn trials(&self, haunted: Vec<u64>) {
        let there = haunted.iter().filter_map(|record| self.unfinished(*record));
        let mut groups = VecDeque::from(choose(there.collect()));
        while let Some(group) = groups.pop_front() {
            let before = match group.as_slice() {
                [one] => match Mark::from(one.attempts) {
                    Mark::Trial(before) => before,
                    _ => 0,
                },
                _ => 0,
            };
            if let ([one], ALONE..) = (group.as_slice(), before) {
                self.try_record(*one, Returned::convicted(), false).await;
                continue;
            }
            let waits = |record: &Unfinished| (record.record, Mark::Waits(before));
            let later = |record: &Unfinished| (record.record, Mark::Through(HAUNTED));
            let marks = || {
                let others = groups.iter().flatten().map(later);
                group.iter().map(waits).chain(others)
            };
            while !self.set_marks(marks()).await {
                if !self.calm(CALM).await {
                    return;
                }
            }
            if !self.calm(CALM * 4_u32.pow(before.into())).await {
                return;
            }
            self.try_group(group, before).await;
        }
    }

    /// Whether the door was open for so long.
    async fn calm(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.door.closed() => false,
            () = sleep(wait) => true,
        }
    }

    /// One trial. One alone was that so many times before.
    async fn try_group(&self, group: Vec<Unfinished>, before: u8) {
        let alone = group.len() == 1;
        let mark = Mark::Trial(if alone { before + 1 } else { 0 });
        let numbers: Vec<u64> = group.iter().map(|record| record.record).collect();
        let marks = numbers.iter().map(|record| (*record, mark));
        if !self.set_marks(marks).await {
            // What it does to the process would not be known: it waits for the next start.
            return;
        }
        tracing::warn!(
            pipeline = self.ledger.pipeline(),
            batches = group.len(),
            "trying batches that were there whenever the process ended"
        );
        let tries =
            stream::iter(group).map(|record| self.try_record(record, Returned::on_trial(), alone));
        tries.buffer_unordered(WINDOW).collect::<()>().await;
        self.judge(&numbers, alone).await;
    }

    /// Waits for the end of a trial, and takes the marks back.
    async fn judge(&self, group: &[u64], alone: bool) {
        let began = Instant::now();
        let mut kept_out = None;
        let mark = loop {
            let is_there =
                |record: &u64| self.unfinished(*record).is_some() && !self.returns.has(*record);
            if self.door.is_closed() {
                break Mark::Through(HAUNTED);
            }
            if began.elapsed() >= TRIAL || !group.iter().any(is_there) {
                break Mark::Failures(0);
            }
            if alone && began.elapsed() < KEEP_OUT {
                if kept_out.is_none() {
                    kept_out = Some(self.door.keep_out().await);
                }
            } else {
                kept_out = None;
            }
            tokio::select! {
                () = self.door.closed() => {}
                () = sleep(LOOK) => {}
            }
        };
        // Also of those that are finished: should that be forgotten, so should their trial.
        let marks = group.iter().filter(|record| !self.returns.has(**record));
        self.set_marks(marks.map(|record| (*record, mark))).await;
    }

    async fn set_marks(&self, marks: impl Iterator<Item = (u64, Mark)>) -> bool {
        let marks = marks.map(|(record, mark)| (record, u8::from(mark)));
        match self.log.set_attempts(marks.collect()).await {
            Ok(()) => true,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "marks cannot be changed in the journal");
                false
            }
        }
    }
}

/// What is tried together, one after the other: half of those in whose trial the process ended, the
/// other half, and those that were not in it.
fn choose(records: Vec<Unfinished>) -> Vec<Vec<Unfinished>> {
    let was_tried = |record: &Unfinished| matches!(Mark::from(record.attempts), Mark::Trial(_));
    let (mut first, rest): (Vec<_>, Vec<_>) = records.into_iter().partition(was_tried);
    let second = first.split_off(first.len().div_ceil(2));
    let mut groups = vec![first, second, rest];
    groups.retain(|group| !group.is_empty());
    groups
}
