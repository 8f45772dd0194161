//! The change from one generation to another: its state, and its held items.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::StageRunner;
use crate::batch::Batch;
use crate::ledger::Reason;
use crate::plugin::{Fault, Generation, State, Ticket};
use crate::stage::spec::Carried;

/// The state with which a generation ended, for as long as it may be called back: its successor may
/// fail in a way that leaves no state.
#[derive(Debug)]
pub(crate) struct RetainedState {
    generation: Arc<dyn Generation>,
    state: State,
    /// The last ticket that the state can know of.
    ticket: Ticket,
    /// The tickets up to that one whose items the instance did not know: they were still to be
    /// offered.
    unknown: BTreeSet<Ticket>,
}

impl RetainedState {
    pub(crate) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }
}

/// The state that a generation can go back to if it does not take the state of another.
pub(crate) enum Fallback {
    /// The generation begins; this is its own state from before the other one ran.
    Earlier(Option<RetainedState>),
    /// The generation has worked, and has a state of its own now.
    Own,
}

impl StageRunner {
    /// Takes over from another generation of the stage: its state, in addition to the state that
    /// this one has, and its held items. Held items that the instance does not know of after that
    /// are offered as batches.
    ///
    /// Returns the outcome for the state, and the state of `other`, to be retained on probation.
    pub(crate) async fn take_over(
        &mut self,
        mut other: Self,
        fallback: Fallback,
        emitted: &mut Vec<Batch>,
    ) -> (Carried, Option<RetainedState>) {
        let state = other.snapshot(emitted).await;
        let last = match &state {
            Ok(Some(state)) if self.spec.on_probation => Some(other.retain(state.clone())),
            _ => None,
        };
        let mut carried = match (state, &fallback) {
            (Ok(Some(state)), Fallback::Earlier(_)) => self.restore(state, emitted).await,
            (Ok(Some(state)), Fallback::Own) => self.restore_beside(state, emitted).await,
            (Ok(None), _) => Carried::Nothing,
            (Err(fault), _) => Carried::Not(format!("the plugin failed in `snapshot`: {fault}")),
        };
        let mut held = std::mem::take(&mut other.held);
        if carried != Carried::Yes {
            let mut known_up_to = 0;
            let mut unknown = BTreeSet::new();
            if let Fallback::Earlier(Some(retained)) = fallback {
                // It may have failed on the other one's state.
                self.renew().await;
                if self.restore(retained.state, emitted).await == Carried::Yes {
                    carried = Carried::Earlier;
                    known_up_to = retained.ticket;
                    unknown = retained.unknown;
                    // That state still names items that were let go since.
                    held.forgive_below(other.last_ticket.saturating_add(1));
                    // That state would take items that were offered to `other` again for items it
                    // has already seen.
                    let seen = held.take_renamed(known_up_to);
                    self.let_go(seen, Reason::Fault, emitted);
                }
            }
            held.orphan(|ticket| ticket > known_up_to || unknown.contains(&ticket));
        }
        if self.instance.is_none() {
            held.bereave();
        }
        self.held.absorb(held);
        self.last_ticket = self.last_ticket.max(other.last_ticket);
        self.orphaned = self.held.has_orphans();
        self.count_held();
        // Ticks keep their due time: otherwise, with swaps more often than ticks, none would ever
        // be due.
        self.wake_at = self.wake_at.min(other.wake_at);
        self.tick_at = self
            .tick_at
            .map(|own| own.min(other.tick_at.unwrap_or(own)));
        if self.orphaned {
            self.wake_at = Instant::now();
        }
        other.leave();
        (carried, last)
    }

    fn retain(&self, state: State) -> RetainedState {
        RetainedState {
            generation: Arc::clone(&self.generation),
            state,
            ticket: self.last_ticket,
            unknown: self.held.orphans().collect(),
        }
    }

    /// Adds a state to the one that the instance has. If the instance fails on that, its own state
    /// is restored.
    async fn restore_beside(&mut self, state: State, emitted: &mut Vec<Batch>) -> Carried {
        let own = self.trial_snapshot(emitted).await;
        // The instance may have failed a moment ago, so there may be none yet.
        self.renew().await;
        let held = std::mem::take(&mut self.held);
        let carried = self.restore(state, emitted).await;
        let mut knows = self.instance.is_some();
        if let (false, Some(own)) = (knows, own) {
            self.renew().await;
            knows = self.restore(own, emitted).await == Carried::Yes;
        }
        self.held = held;
        if !knows {
            self.lose_instance(emitted);
        }
        carried
    }

    pub(super) async fn snapshot(
        &mut self,
        emitted: &mut Vec<Batch>,
    ) -> Result<Option<State>, Fault> {
        let Some(instance) = &mut self.instance else {
            return Ok(None);
        };
        let state = instance.snapshot().await;
        if let Err(fault) = &state {
            self.failed(fault, None, emitted);
        }
        state
    }

    pub(super) async fn restore(&mut self, state: State, emitted: &mut Vec<Batch>) -> Carried {
        let Some(instance) = &mut self.instance else {
            return Carried::Not("the plugin had failed before".to_owned());
        };
        match instance.restore(state).await {
            Ok(Ok(())) => Carried::Yes,
            Ok(Err(refusal)) => Carried::Not(refusal),
            Err(fault) => {
                self.failed(&fault, None, emitted);
                Carried::Not(format!("the plugin failed in `restore`: {fault}"))
            }
        }
    }

    /// Gives a fresh instance a state to begin with; if it refuses the state, it begins without.
    /// Names of items that were held up to this ticket are ignored.
    pub(crate) async fn begin_with(
        &mut self,
        state: State,
        up_to: Ticket,
        emitted: &mut Vec<Batch>,
    ) {
        self.held.forgive_below(up_to.saturating_add(1));
        let carried = self.restore(state, emitted).await;
        tracing::debug!(stage = %self.spec.name, ?carried, "candidate begins");
    }

    /// Returns a copy of the instance's state, for a probe; the instance goes on. A failure here
    /// did not affect any batch, so it does not count against the generation, but this is not tried
    /// again.
    pub(crate) async fn trial_snapshot(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        if self.no_trials {
            return None;
        }
        match self.instance.as_mut()?.snapshot().await {
            Ok(state) => state,
            Err(fault) => {
                self.no_trials = true;
                tracing::warn!(
                    stage = %self.spec.name, fault = fault.kind.label(), error = %fault.message,
                    "plugin failed when it was asked for a copy of its state"
                );
                self.lose_instance(emitted);
                None
            }
        }
    }

    /// Removes its own entries from the books.
    fn leave(mut self) {
        let quarantined = std::mem::take(&mut self.booked_quarantine);
        let open = u64::from(self.breaker.is_open());
        self.post(|column| {
            column.quarantined = column.quarantined.saturating_sub(quarantined);
            column.breakers_open = column.breakers_open.saturating_sub(open);
        });
        self.ledger.close(self.column);
    }

    /// Ends a runner that holds nothing and has no successor.
    pub(crate) fn end(self) {
        self.leave();
    }
}
