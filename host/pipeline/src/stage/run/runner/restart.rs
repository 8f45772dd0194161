//! A stage over a restart: leaves state and held items at a clean stop, takes them up at the next
//! start.

use std::time::Duration;

use spandrel_wire::HeldItems;
use tokio::time::{Instant, timeout};

use super::{StageOutput, StageRunner};
use crate::batch::Batch;
use crate::completion::Guards;
use crate::handover::{HeldLeft, StageLeft};
use crate::ledger::{Account, Reason, Tally};
use crate::plugin::{DrainReason, Fault, FaultKind, State};
use crate::stage::spec::Carried;

impl StageRunner {
    /// Ends the calls of the plugin, without asking it to let go of items that the journal has. The
    /// returned batches go on through the stages behind: items that no record has, and items that
    /// the plugin makes when it is asked to drain, which happens only if it has no state to carry
    /// and cannot hold. No batch may come after this.
    pub(crate) async fn stop(&mut self, left: Duration) -> (Vec<Batch>, Option<State>) {
        let mut passed = StageOutput::default();
        let loose = self.held.take_loose();
        self.let_go(loose, Reason::Undrained, &mut passed.emitted);
        let snapshot = timeout(left, self.snapshot(&mut passed.emitted)).await;
        let state = match snapshot {
            Ok(state) => state.unwrap_or_default(),
            Err(_) => {
                let fault = Fault::new(FaultKind::Deadline, "its snapshot did not end in time");
                self.failed(&fault, None, &mut passed.emitted);
                None
            }
        };
        if state.is_none() && self.never_holds() {
            let asked = self.ask_to_drain(DrainReason::Shutdown, left, &mut passed.emitted);
            if timeout(left, asked).await.is_err() {
                let fault = Fault::new(FaultKind::Deadline, "its drain did not end in time");
                self.failed(&fault, None, &mut passed.emitted);
            }
        }
        self.count_held();
        self.count_output(&passed);
        (passed.emitted, state)
    }

    /// Leaves the held items and this state for the next process.
    pub(crate) fn leave_behind(&mut self, state: Option<State>) -> (StageLeft, Vec<Tally>) {
        let (held, tallies) = self.held.leave();
        self.count_held();
        let left = StageLeft {
            name: self.spec.name.clone(),
            state,
            last_ticket: self.last_ticket,
            evicted_below: self.held.evicted_below(),
            held,
        };
        (left, tallies)
    }

    /// Takes up the items and state that the stage left when the last process stopped; no batch may
    /// have come before. Held items that the instance does not know of after that are offered to it
    /// as batches.
    pub(crate) async fn take_up(
        &mut self,
        left: StageLeft,
        held: Vec<(HeldLeft, HeldItems)>,
        guards: &mut Guards<'_>,
    ) -> Carried {
        let StageLeft { state, .. } = left;
        // Nothing is held yet, so nothing can be let go.
        let mut nothing = Vec::new();
        let carried = match state {
            Some(state) => self.restore(state, &mut nothing).await,
            None => Carried::Nothing,
        };
        for (left, held) in held {
            let tally = self.account(&left, guards);
            self.held.put_back(&left, held, tally);
        }
        self.held.forgive_below(left.evicted_below);
        self.last_ticket = self.last_ticket.max(left.last_ticket);
        if carried != Carried::Yes {
            self.held.orphan(|_| true);
        }
        if self.instance.is_none() {
            self.held.bereave();
        }
        self.orphaned = self.held.has_orphans();
        if self.orphaned {
            self.wake_at = Instant::now();
        }
        self.count_held();
        carried
    }

    /// Books these items again; their records are finished when they are settled.
    fn account(&self, left: &HeldLeft, guards: &mut Guards<'_>) -> Tally {
        let guard = guards.of(&left.records);
        let items = left.indices.len() as u64;
        let mut tally = self.ledger.replay(items, false, guard);
        if let Some(written) = left.written {
            tally.write_at(written);
        }
        tally.transfer(Account::Held(self.column.stage));
        tally
    }
}
