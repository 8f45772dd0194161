//! The state of a record of which not everything came through.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::marks::{failures_of, mark_of};
use crate::refused::{BatchRefusal, Refused};
use crate::stage::ATTEMPTS;

/// The first wait for another try. It is doubled each time, up to the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait for a record of which some parts come through each time, while a plugin on
/// another shard is not asked: each try duplicates those parts.
const LONGEST_IN_PART: Duration = Duration::from_secs(600);

/// The state of a record of which not everything came through: its failures so far, and its waits.
#[derive(Clone, Debug)]
pub(crate) struct RetryState {
    /// The number of times that it failed, or ended the process.
    failures: u8,
    /// True if its items went back to the journal in this process' books.
    is_booked: bool,
    /// True if some parts of it came through.
    in_part: bool,
    /// The number of waits so far.
    waits: u32,
    /// The description of the last failure.
    reason: Option<String>,
    /// The stage that failed on it last.
    failed_at: Option<Arc<str>>,
    /// The change of the stages whose plugins were asked last, and failed. `None` if it did not
    /// fail in this process.
    asked: Option<u64>,
}

impl RetryState {
    pub(super) fn new(failures: u8) -> Self {
        Self {
            failures,
            is_booked: false,
            in_part: false,
            waits: 0,
            reason: None,
            failed_at: None,
            asked: None,
        }
    }

    /// Makes the entry for a record of the backlog with this mark.
    pub(crate) fn from_start(mark: u8) -> Self {
        Self::new(failures_of(mark))
    }

    /// Returns the number of times that it failed, or ended the process.
    pub(crate) fn failures(&self) -> u8 {
        self.failures
    }

    /// Returns true if it has failed so often that it is not tried again.
    pub(crate) fn is_poison(&self) -> bool {
        self.failures >= failures_at_most()
    }

    /// Returns true if its items went back to the journal in this process' books.
    pub(crate) fn is_booked(&self) -> bool {
        self.is_booked
    }

    /// Returns its mark during a try: the try counts as a failure if the process ends meanwhile.
    pub(crate) fn mark_of_a_try(&self) -> u8 {
        mark_of(self.failures.saturating_add(1))
    }

    /// Returns its mark after it came through the stages: whatever ends the process from then on,
    /// this batch is not blamed for it.
    pub(crate) fn mark_through() -> u8 {
        mark_of(0)
    }

    /// Returns its mark while it waits.
    pub(crate) fn mark(&self) -> u8 {
        mark_of(self.failures)
    }

    /// Marks that it was in the stages, and so in the books.
    pub(crate) fn booked(self) -> Self {
        Self {
            is_booked: true,
            ..self
        }
    }

    /// Grants one more try if the plugins have been changed since the last failure. Failures that
    /// ended a process stay as they are.
    pub(crate) fn once_more(mut self, changes: u64) -> Self {
        if self.asked.is_some_and(|asked| asked != changes) {
            self.failures = self.failures.min(failures_at_most().saturating_sub(1));
        }
        self
    }

    /// Resets it, because an operator wants it tried as if it were new.
    pub(super) fn anew(mut self) -> Self {
        if self.asked.is_some() {
            self.failures = 0;
        }
        self.waits = 0;
        self
    }

    /// Returns the stage that failed on it last.
    pub(crate) fn failed_at(&self) -> Option<Arc<str>> {
        self.failed_at.clone()
    }

    /// Makes it wait longer before the next try. Adds no failure.
    pub(crate) fn later(self) -> Self {
        Self {
            waits: self.waits.saturating_add(1),
            ..self
        }
    }

    /// Notes that the stages of this change refused it.
    pub(crate) fn refused(mut self, refusal: &BatchRefusal, changes: u64) -> Self {
        let BatchRefusal { refused, fault, .. } = refusal;
        match refused {
            // It can never come through.
            Refused::Invalid(_) | Refused::Quarantined { .. } => self.failures = failures_at_most(),
            _ if fault.is_some() => self.failures = self.failures.saturating_add(1),
            _ => {}
        }
        self.in_part = refusal.partial && fault.is_none();
        if let Refused::Fault { stage, .. } | Refused::Quarantined { stage, .. } = refused {
            self.failed_at = Some(Arc::from(stage.as_str()));
            self.asked = Some(changes);
        }
        // The message that a plugin is not called says less than what the plugin itself said.
        let says_less = fault.is_none() && self.failures > 0 && self.reason.is_some();
        if !says_less {
            let first: &dyn Error = refused;
            let causes = std::iter::successors(Some(first), |error| (*error).source());
            let words = causes.map(ToString::to_string);
            let words = words.chain(fault.as_ref().map(ToString::to_string));
            self.reason = Some(words.collect::<Vec<_>>().join(": "));
        }
        self.later()
    }

    /// Returns what happened, for the operator who looks at the quarantine.
    pub(crate) fn reason(&self) -> String {
        let died = || "the process ended each time while this was in the stages".to_owned();
        self.reason.clone().unwrap_or_else(died)
    }

    pub(super) fn wait(&self) -> Duration {
        if self.is_poison() && self.waits <= 3 {
            // The way to quarantine needs no wait.
            return Duration::ZERO;
        }
        let doubled = 1_u32 << self.waits.saturating_sub(1).min(10);
        let longest = if self.in_part {
            LONGEST_IN_PART
        } else {
            LONGEST
        };
        longest.min(FIRST * doubled)
    }
}

/// Returns the number of failures after which a batch is put into quarantine: the same number after
/// which a stage does not ask its plugin again.
fn failures_at_most() -> u8 {
    u8::try_from(ATTEMPTS).unwrap_or(u8::MAX)
}
