//! The change from one generation to another: its state, and its held items.
//!
//! ```text
//! the old generation gave   the new one ...             then
//! a state                   begins and takes it         it knows all held items
//!                           adds it to its own          it knows all held items
//!                           does not take it            it falls back
//! no state, or failed                                   it falls back
//!
//! falling back: its own state from before the old       it knows the items up to the last ticket
//!               generation ran, if it takes that          of that state
//!               otherwise                               it knows no item of the old generation
//! ```
//!
//! Held items that the new generation does not know are offered to it as batches.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::batch::Batch;
use crate::ledger::Reason;
use crate::plugin::{Fault, Generation, State, Ticket};
use crate::stage::run::runner::StageRunner;
use crate::stage::run::supervisor::PluginSupervisor;
use crate::stage::spec::StateTransfer;

/// The state with which a generation ended, for as long as it may be called back: the next
/// generation may fail in a way that leaves no state.
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
    fn new(plugin: &PluginSupervisor, state: State) -> Self {
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

/// The state that the new generation can go back to if it does not take the state of the old one.
pub(super) enum Fallback {
    /// The new generation begins; this is its own state from before the old one ran.
    Earlier(Option<RetainedState>),
    /// The new generation has worked, and has a state of its own now.
    Own,
}

/// The held items of the old generation that the new one knows, from the state that it has.
enum KnownItems {
    All,
    /// The items of tickets up to this one, but for these tickets.
    UpTo(Ticket, BTreeSet<Ticket>),
    Nothing,
}

/// One generation that takes over from another.
pub(super) struct Succession<'a> {
    new: &'a mut StageRunner,
    fallback: Fallback,
    /// The items that are let go on the way.
    emitted: &'a mut Vec<Batch>,
}

impl<'a> Succession<'a> {
    pub(super) fn new(
        new: &'a mut StageRunner,
        fallback: Fallback,
        emitted: &'a mut Vec<Batch>,
    ) -> Self {
        Self {
            new,
            fallback,
            emitted,
        }
    }

    /// Gives the new generation the state and the held items of the old one. Returns the outcome
    /// for the state, and the old generation's state if it is to be retained.
    pub(super) async fn run(
        mut self,
        mut old: StageRunner,
        retains: bool,
    ) -> (StateTransfer, Option<RetainedState>) {
        let from = old.plugin();
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
            (StateTransfer::Done, _) => (StateTransfer::Done, KnownItems::All),
            (carried, Fallback::Earlier(Some(earlier))) => self.fall_back(carried, earlier).await,
            (carried, Fallback::Earlier(None) | Fallback::Own) => (carried, KnownItems::Nothing),
        };
        self.take_held(from, known);
        self.new.take_place_of(old);
        (carried, retained)
    }

    /// Gives the new generation the old one's state.
    async fn carry(&mut self, state: Result<Option<State>, Fault>) -> StateTransfer {
        match (state, &self.fallback) {
            (Ok(Some(state)), Fallback::Earlier(_)) => {
                self.new.plugin().restore(state, self.emitted).await
            }
            (Ok(Some(state)), Fallback::Own) => self.restore_beside(state).await,
            (Ok(None), _) => StateTransfer::NoState,
            (Err(fault), _) => {
                StateTransfer::Failed(format!("the plugin failed in `snapshot`: {fault}"))
            }
        }
    }

    /// Adds a state to the one that the new generation has. If it fails on that, its own state is
    /// restored.
    async fn restore_beside(&mut self, state: State) -> StateTransfer {
        let new = self.new.plugin();
        let own = new.copy_state(self.emitted).await;
        // The instance may have failed a moment ago, so there may be none yet.
        new.renew().await;
        // A fault now does not concern what is held: the instance that comes after it gets the
        // state that names these items.
        let held = std::mem::take(new.held_mut());
        let carried = new.restore(state, self.emitted).await;
        let mut knows = new.is_there();
        if let (false, Some(own)) = (knows, own) {
            new.renew().await;
            knows = new.restore(own, self.emitted).await == StateTransfer::Done;
        }
        *new.held_mut() = held;
        if !knows {
            new.lose_instance(self.emitted);
        }
        carried
    }

    /// Gives the new generation its own state from before the old one ran, after it did not take
    /// the old one's.
    async fn fall_back(
        &mut self,
        carried: StateTransfer,
        earlier: RetainedState,
    ) -> (StateTransfer, KnownItems) {
        let new = self.new.plugin();
        // It may have failed on the other one's state.
        new.renew().await;
        match new.restore(earlier.state, self.emitted).await {
            StateTransfer::Done => (
                StateTransfer::Earlier,
                KnownItems::UpTo(earlier.ticket, earlier.unknown),
            ),
            _ => (carried, KnownItems::Nothing),
        }
    }

    /// Moves the held items to the new generation.
    fn take_held(&mut self, from: &mut PluginSupervisor, known: KnownItems) {
        let new = self.new.plugin();
        let mut held = std::mem::take(from.held_mut());
        match known {
            KnownItems::All => {}
            KnownItems::Nothing => held.set_known(|_| false),
            KnownItems::UpTo(last, unknown) => {
                // That state still names items that were let go since.
                held.ignore_releases_below(from.last_ticket().saturating_add(1));
                // That state would take items that were offered to the old generation again for
                // items it has already seen.
                let seen = held.take_retagged(last);
                new.let_go(seen, Reason::Fault, self.emitted);
                held.set_known(|ticket| ticket <= last && !unknown.contains(&ticket));
            }
        }
        new.held_mut().absorb(held);
        new.skip_tickets(from.last_ticket());
        new.count_held();
    }
}

#[cfg(test)]
mod tests;
