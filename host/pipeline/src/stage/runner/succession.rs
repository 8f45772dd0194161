//! One generation after another: what it knew, and what it held.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::StageRunner;
use crate::batch::Batch;
use crate::ledger::Reason;
use crate::stage::{Carried, Fault, Generation, State, Ticket};

/// The state with which a generation ended, for as long as it may be called back: its successor may
/// fail in a way that leaves none.
#[derive(Debug)]
pub(crate) struct Retained {
    generation: Arc<dyn Generation>,
    state: State,
    /// The last ticket that the state can know of.
    ticket: Ticket,
    /// What was held up to that ticket without the knowledge of the instance: it was still to be
    /// offered.
    unknown: BTreeSet<Ticket>,
}

impl Retained {
    pub(crate) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }
}

/// What a generation can go back to when it does not take the state of another.
pub(crate) enum Fallback {
    /// It begins; this is a state of its own from before the other one ran.
    Earlier(Option<Retained>),
    /// It has worked, and has a state of its own now.
    Own,
}

impl StageRunner {
    /// Takes over from another generation of the stage: its state, in addition to what this one
    /// knows, and what it holds. What is held of which nobody has knowledge after that is offered as
    /// a batch.
    ///
    /// Returns what became of the state, and `other`'s, to be retained on probation.
    pub(crate) async fn take_over(
        &mut self,
        mut other: Self,
        fallback: Fallback,
        emitted: &mut Vec<Batch>,
    ) -> (Carried, Option<Retained>) {
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
                    // What was let go since is still named by that state.
                    held.forgive_below(other.last_ticket.saturating_add(1));
                    // What `other` was offered again of it, it would take for seen before.
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
        // Time goes on: with a swap more often than that, nothing would ever be due.
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

    fn retain(&self, state: State) -> Retained {
        Retained {
            generation: Arc::clone(&self.generation),
            state,
            ticket: self.last_ticket,
            unknown: self.held.orphans().collect(),
        }
    }

    /// Adds a state to what the instance knows. Should it fail on that, what it knew itself is not
    /// lost with it.
    async fn restore_beside(&mut self, state: State, emitted: &mut Vec<Batch>) -> Carried {
        let own = self.trial_snapshot(emitted).await;
        // It may have failed a moment ago, and have no instance yet.
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

    /// Gives a fresh instance a state to begin with; one that it refuses is left out.
    /// Names of items that were held up to this ticket mean nothing to it.
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

    /// A copy of the instance's state, for a probe; the instance goes on. One that fails here has
    /// failed in nobody's service: that is not held against its generation, but not tried again.
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

    /// Takes what it had in the books as its own out of them.
    fn leave(mut self) {
        let quarantined = std::mem::take(&mut self.booked_quarantine);
        let open = u64::from(self.breaker.is_open());
        self.post(|column| {
            column.quarantined = column.quarantined.saturating_sub(quarantined);
            column.breakers_open = column.breakers_open.saturating_sub(open);
        });
        self.ledger.close(self.column);
    }

    /// Ends a runner that holds nothing and that nobody follows.
    pub(crate) fn end(self) {
        self.leave();
    }
}
