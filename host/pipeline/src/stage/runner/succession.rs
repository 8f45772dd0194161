//! One generation after another: what it knew, and what it held.

use std::sync::Arc;

use tokio::time::Instant;

use super::StageRunner;
use crate::batch::Batch;
use crate::stage::{Carried, Fault, Generation, State, Ticket};

/// The state with which a generation ended, for as long as it may be called back: its successor may
/// fail in a way that leaves none.
#[derive(Debug)]
pub(crate) struct Retained {
    generation: Arc<dyn Generation>,
    state: State,
    /// The last ticket that the state can know of.
    ticket: Ticket,
}

impl Retained {
    pub(crate) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }
}

impl StageRunner {
    /// Takes over from another generation of the stage: its state, in addition to what this one
    /// knows, and what it holds. What is held of which nobody has knowledge after that is offered as
    /// a batch. `retained` is a state of this generation from before `other` ran.
    ///
    /// Returns what became of the state, and `other`'s, to be retained.
    pub(crate) async fn take_over(
        &mut self,
        mut other: Self,
        retained: Option<Retained>,
        emitted: &mut Vec<Batch>,
    ) -> (Carried, Option<Retained>) {
        let state = other.snapshot(emitted).await;
        let last = state
            .as_ref()
            .ok()
            .cloned()
            .flatten()
            .map(|state| Retained {
                generation: Arc::clone(&other.generation),
                state,
                ticket: other.last_ticket,
            });
        let mut carried = match state {
            Ok(Some(state)) => self.restore(state, emitted).await,
            Ok(None) => Carried::Nothing,
            Err(fault) => Carried::Not(format!("the plugin failed in `snapshot`: {fault}")),
        };
        let mut held = std::mem::take(&mut other.held);
        if carried != Carried::Yes {
            let mut known_up_to = 0;
            if let Some(Retained { state, ticket, .. }) = retained {
                // It may have failed on the other one's state.
                self.renew().await;
                if self.restore(state, emitted).await == Carried::Yes {
                    carried = Carried::Earlier;
                    known_up_to = ticket;
                    // What was let go since is still named by that state.
                    held.forgive_below(other.last_ticket.saturating_add(1));
                }
            }
            held.orphan(|ticket| ticket > known_up_to);
        }
        if self.instance.is_none() {
            held.bereave();
        }
        self.held.absorb(held);
        self.last_ticket = self.last_ticket.max(other.last_ticket);
        self.orphaned = self.held.has_orphans();
        if self.orphaned {
            self.wake_at = Instant::now();
        }
        other.leave();
        (carried, last)
    }

    async fn snapshot(&mut self, emitted: &mut Vec<Batch>) -> Result<Option<State>, Fault> {
        let Some(instance) = &mut self.instance else {
            return Ok(None);
        };
        let state = instance.snapshot().await;
        if let Err(fault) = &state {
            self.failed(fault, None, emitted);
        }
        state
    }

    async fn restore(&mut self, state: State, emitted: &mut Vec<Batch>) -> Carried {
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

    /// A copy of the instance's state, for a probe; the instance goes on.
    pub(crate) async fn trial_snapshot(&mut self, emitted: &mut Vec<Batch>) -> Option<State> {
        self.snapshot(emitted).await.ok().flatten()
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
