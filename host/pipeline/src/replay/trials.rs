//! Trials: they find out which record ends the process, at a tick, when it is let go, or on its way
//! to a backend. The suspects are records that came through the stages again and again in processes
//! that did not end well.
//!
//! A process that is killed from outside leaves such records, too, and they are not at fault. So
//! nothing is tried before the process has lived without them for a while; if it ends sooner, the
//! cause was something else, and the search begins anew. Then they are tried together. If the
//! process ends, half of them are tried, and so on, down to the one that is alone when the process
//! ends, and alone again when the next process ends, which had lived without it for four times as
//! long. That one goes on the shelf.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, sleep};

use super::marks::{HAUNTED, Mark};
use super::returns::Returned;
use super::{Replay, WINDOW};
use crate::journal::Unfinished;

/// The time that a process lives without the suspects before they are tried; four times as long for
/// each time that the process ended while one was alone.
const CALM: Duration = Duration::from_secs(5);
/// The time that a record that is tried alone keeps fresh batches out, if it is held. Senders are
/// told to come back meanwhile.
const KEEP_OUT: Duration = Duration::from_secs(10);
/// The duration of a trial if the records are not finished before: longer than plugins hold items.
const TRIAL: Duration = Duration::from_secs(120);
/// The time between two checks whether they are finished.
const LOOK: Duration = Duration::from_millis(100);
/// The number of trials alone that convict a record.
const ALONE: u8 = 2;

impl Replay {
    /// Tries these records, until all were tried or the door is closed.
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

    /// Returns true if the door was open for this long.
    async fn calm(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.door.closed() => false,
            () = sleep(wait) => true,
        }
    }

    /// Runs one trial. A record that is alone was already tried alone `before` times.
    async fn try_group(&self, group: Vec<Unfinished>, before: u8) {
        let alone = group.len() == 1;
        let mark = Mark::Trial(if alone { before + 1 } else { 0 });
        let numbers: Vec<u64> = group.iter().map(|record| record.record).collect();
        let marks = numbers.iter().map(|record| (*record, mark));
        if !self.set_marks(marks).await {
            // The effect on the process would not be known, so this group waits for the next start.
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
        // Finished records are marked, too: if their finish is forgotten, their trial must be as
        // well.
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

/// Returns the groups that are tried together, one group after the other: half of the records in
/// whose trial the process ended, the other half, and those that were not in it.
fn choose(records: Vec<Unfinished>) -> Vec<Vec<Unfinished>> {
    let was_tried = |record: &Unfinished| matches!(Mark::from(record.attempts), Mark::Trial(_));
    let (mut first, rest): (Vec<_>, Vec<_>) = records.into_iter().partition(was_tried);
    let second = first.split_off(first.len().div_ceil(2));
    let mut groups = vec![first, second, rest];
    groups.retain(|group| !group.is_empty());
    groups
}
