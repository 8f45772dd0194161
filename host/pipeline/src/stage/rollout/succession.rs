//! The change from one generation to another: its state, and its held items.
//!
//! ```text
//! the predecessor gave  the heir ...               then
//! a state               begins and takes it        the heir knows all held items
//!                       adds it to its own         the heir knows all held items
//!                       does not take it           the heir falls back
//! no state, or failed                              the heir falls back
//!
//! falling back: the heir's own state from before   the heir knows the items up to the last ticket
//!               the predecessor ran, if it takes     of that state
//!               that
//!               otherwise                          the heir knows no item of the predecessor
//! ```
//!
//! Held items that the heir does not know are offered to it as batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::batch::Batch;
use crate::ledger::Reason;
use crate::plugin::{Fault, Generation, State, Ticket};
use crate::stage::run::plugin::Plugin;
use crate::stage::run::runner::StageRunner;
use crate::stage::spec::Carried;

/// The state with which a generation ended, for as long as it may be called back: its successor may
/// fail in a way that leaves no state.
#[derive(Debug)]
pub(super) struct RetainedState {
    generation: Arc<dyn Generation>,
    state: State,
    /// The last ticket that the state can know of.
    ticket: Ticket,
    /// The tickets up to that one whose items the instance did not know: they were still to be
    /// offered.
    unknown: BTreeSet<Ticket>,
}

impl RetainedState {
    fn new(plugin: &Plugin, state: State) -> Self {
        Self {
            generation: Arc::clone(plugin.generation()),
            state,
            ticket: plugin.last_ticket(),
            unknown: plugin.held().unowned().collect(),
        }
    }

    pub(super) fn is_of(&self, generation: &Arc<dyn Generation>) -> bool {
        Arc::ptr_eq(&self.generation, generation)
    }
}

/// The state that the heir can go back to if it does not take the state of its predecessor.
pub(super) enum Fallback {
    /// The heir begins; this is its own state from before the predecessor ran.
    Earlier(Option<RetainedState>),
    /// The heir has worked, and has a state of its own now.
    Own,
}

/// The held items of the predecessor that the heir knows, from the state that it has.
enum KnownItems {
    All,
    /// The items of tickets up to this one, but for these tickets.
    UpTo(Ticket, BTreeSet<Ticket>),
    Nothing,
}

/// One generation that takes over from another.
pub(super) struct Succession<'a> {
    heir: &'a mut StageRunner,
    fallback: Fallback,
    /// The items that are let go on the way.
    emitted: &'a mut Vec<Batch>,
}

impl<'a> Succession<'a> {
    pub(super) fn new(
        heir: &'a mut StageRunner,
        fallback: Fallback,
        emitted: &'a mut Vec<Batch>,
    ) -> Self {
        Self {
            heir,
            fallback,
            emitted,
        }
    }

    /// Gives the heir the state and the held items of its predecessor. Returns the outcome for the
    /// state, and the predecessor's state if it is to be retained.
    pub(super) async fn run(
        mut self,
        mut predecessor: StageRunner,
        retains: bool,
    ) -> (Carried, Option<RetainedState>) {
        let from = predecessor.plugin();
        let state = from.snapshot(self.emitted).await;
        let retained = match &state {
            Ok(Some(state)) if retains => Some(RetainedState::new(from, state.clone())),
            _ => None,
        };
        let carried = self.carry(state).await;
        let (carried, known) = match (
            carried,
            std::mem::replace(&mut self.fallback, Fallback::Own),
        ) {
            (Carried::Yes, _) => (Carried::Yes, KnownItems::All),
            (carried, Fallback::Earlier(Some(earlier))) => self.fall_back(carried, earlier).await,
            (carried, Fallback::Earlier(None) | Fallback::Own) => (carried, KnownItems::Nothing),
        };
        self.take_held(from, known);
        self.heir.come_after(predecessor);
        (carried, retained)
    }

    /// Gives the heir the predecessor's state.
    async fn carry(&mut self, state: Result<Option<State>, Fault>) -> Carried {
        match (state, &self.fallback) {
            (Ok(Some(state)), Fallback::Earlier(_)) => {
                self.heir.plugin().restore(state, self.emitted).await
            }
            (Ok(Some(state)), Fallback::Own) => self.restore_beside(state).await,
            (Ok(None), _) => Carried::Nothing,
            (Err(fault), _) => Carried::Not(format!("the plugin failed in `snapshot`: {fault}")),
        }
    }

    /// Adds a state to the one that the heir has. If the heir fails on that, its own state is
    /// restored.
    async fn restore_beside(&mut self, state: State) -> Carried {
        let heir = self.heir.plugin();
        let own = heir.copy_state(self.emitted).await;
        // The instance may have failed a moment ago, so there may be none yet.
        heir.renew().await;
        // A fault now does not concern what is held: the instance that comes after it gets the
        // state that names these items.
        let held = std::mem::take(heir.held_mut());
        let carried = heir.restore(state, self.emitted).await;
        let mut knows = heir.is_there();
        if let (false, Some(own)) = (knows, own) {
            heir.renew().await;
            knows = heir.restore(own, self.emitted).await == Carried::Yes;
        }
        *heir.held_mut() = held;
        if !knows {
            heir.lose_instance(self.emitted);
        }
        carried
    }

    /// Gives the heir its own state from before the predecessor ran, after it did not take the
    /// predecessor's.
    async fn fall_back(
        &mut self,
        carried: Carried,
        earlier: RetainedState,
    ) -> (Carried, KnownItems) {
        let heir = self.heir.plugin();
        // It may have failed on the other one's state.
        heir.renew().await;
        match heir.restore(earlier.state, self.emitted).await {
            Carried::Yes => (
                Carried::Earlier,
                KnownItems::UpTo(earlier.ticket, earlier.unknown),
            ),
            _ => (carried, KnownItems::Nothing),
        }
    }

    /// Moves the held items to the heir.
    fn take_held(&mut self, from: &mut Plugin, known: KnownItems) {
        let heir = self.heir.plugin();
        let mut held = std::mem::take(from.held_mut());
        match known {
            KnownItems::All => {}
            KnownItems::Nothing => held.set_known(|_| false),
            KnownItems::UpTo(last, unknown) => {
                // That state still names items that were let go since.
                held.ignore_releases_below(from.last_ticket().saturating_add(1));
                // That state would take items that were offered to the predecessor again for items
                // it has already seen.
                let seen = held.take_retagged(last);
                heir.let_go(seen, Reason::Fault, self.emitted);
                held.set_known(|ticket| ticket <= last && !unknown.contains(&ticket));
            }
        }
        heir.held_mut().absorb(held);
        heir.skip_tickets(from.last_ticket());
        heir.count_held();
    }
}

#[cfg(test)]
mod tests;
