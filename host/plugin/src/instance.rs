//! One running copy of a generation: one store, called by one shard.
//!
//! Its life: its generation makes and configures it; then it is called, one call at a time. After
//! the first fault, or a call that was dropped halfway, the store is gone and every further call
//! fails.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    self, DrainReason, Emission, Fault, FaultKind, Input, Manifest, Reply, State, Ticket,
};
use spandrel_supply::{InstanceLimits, text};
use wasmtime::Store;

use crate::abi::v0_1;
use crate::fault;
use crate::store::{self, Guest};

/// One store and its guest.
pub struct Instance {
    limits: InstanceLimits,
    store_state: StoreState,
}

enum StoreState {
    Ready(Box<GuestStore>),
    /// A call is under way. If another call finds this, the last one was dropped halfway.
    Calling,
    Gone(Fault),
}

/// A store, and the exports of the guest in it.
struct GuestStore {
    store: Store<Guest>,
    plugin: v0_1::Plugin,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.store_state {
            StoreState::Ready(_) => "ready",
            StoreState::Calling => "calling",
            StoreState::Gone(_) => "gone",
        };
        f.debug_struct("Instance")
            .field("store", &state)
            .finish_non_exhaustive()
    }
}

/// Calls one export: lends the store, waits within the deadline, and ends in `Ok` with the store
/// ready again, or in the fault with the store gone.
macro_rules! call {
    ($self:ident, $deadline:expr, |$plugin:ident, $store:ident| $call:expr) => {{
        let deadline: Duration = $deadline;
        let mut running = $self.take()?;
        store::begin_call(&mut running.store, deadline);
        let GuestStore {
            store: $store,
            plugin: $plugin,
        } = &mut *running;
        // Ticks stop a guest that runs; this stops one that sleeps in a WASI call. Twice the
        // deadline, because this time includes the turns of other tasks.
        let ended = tokio::time::timeout(deadline.saturating_mul(2), $call).await;
        $self.settle(running, ended.ok(), deadline)
    }};
}

impl Instance {
    pub(crate) fn new(limits: InstanceLimits, store: Store<Guest>, plugin: v0_1::Plugin) -> Self {
        Self {
            limits,
            store_state: StoreState::Ready(Box::new(GuestStore { store, plugin })),
        }
    }

    /// Hands over the config. Returns the manifest, with true if the guest wants traces, or the
    /// guest's refusal.
    pub(crate) async fn configure(
        &mut self,
        config: &str,
    ) -> Result<Result<(Manifest, bool), String>, Fault> {
        let answer = call!(self, self.limits.configure_deadline, |plugin, store| plugin
            .spandrel_plugin_lifecycle()
            .call_configure(store, config))?;
        Ok(answer
            .map(v0_1::manifest)
            .map_err(|message| text::printable(&message, text::MESSAGE_BYTES)))
    }

    /// Returns the state for the next generation, or `None` if there is nothing to carry.
    pub async fn snapshot(&mut self) -> Result<Option<State>, Fault> {
        let state = call!(self, self.limits.state_deadline, |plugin, store| plugin
            .spandrel_plugin_lifecycle()
            .call_snapshot(store))?;
        Ok(state.map(|state| State {
            version: state.version,
            bytes: state.bytes,
        }))
    }

    /// Takes over the state of an earlier generation. The inner error is the plugin's refusal, one
    /// line for the operator.
    pub async fn restore(&mut self, state: State) -> Result<Result<(), String>, Fault> {
        let state = v0_1::State {
            version: state.version,
            bytes: state.bytes,
        };
        let answer = call!(self, self.limits.state_deadline, |plugin, store| plugin
            .spandrel_plugin_lifecycle()
            .call_restore(store, &state))?;
        Ok(answer.map_err(|message| text::printable(&message, text::MESSAGE_BYTES)))
    }

    /// Returns the bytes of linear memory that the guest has now; 0 once it is gone.
    pub fn memory_bytes(&self) -> usize {
        match &self.store_state {
            StoreState::Ready(running) => running.store.data().limiter().used_bytes(),
            StoreState::Calling | StoreState::Gone(_) => 0,
        }
    }

    async fn run_process(&mut self, ticket: Ticket, input: &Input) -> Result<Reply, Fault> {
        let projected = input.reads().is_some();
        if projected && let StoreState::Ready(running) = &mut self.store_state {
            running.store.data_mut().lend(input.clone());
        }
        let batch = input.bytes();
        let reply = call!(self, self.limits.call_deadline, |plugin, store| plugin
            .spandrel_plugin_traces()
            .call_process(store, ticket, batch, projected))?;
        if projected && let StoreState::Ready(running) = &mut self.store_state {
            running.store.data_mut().take_back();
        }
        Ok(reply.into())
    }

    async fn run_tick(&mut self) -> Result<Emission, Fault> {
        let emission = call!(self, self.limits.call_deadline, |plugin, store| plugin
            .spandrel_plugin_lifecycle()
            .call_tick(store))?;
        Ok(emission.into())
    }

    async fn run_drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
    ) -> Result<Emission, Fault> {
        let deadline = deadline.min(self.limits.drain_deadline);
        let left_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let reason = v0_1::drain_reason(reason);
        let emission = call!(self, deadline, |plugin, store| plugin
            .spandrel_plugin_lifecycle()
            .call_drain(store, reason, left_ms))?;
        Ok(emission.into())
    }

    /// Takes the guest for one call. `settle` brings it back; a call that is dropped does not.
    fn take(&mut self) -> Result<Box<GuestStore>, Fault> {
        match std::mem::replace(&mut self.store_state, StoreState::Calling) {
            StoreState::Ready(running) => Ok(running),
            StoreState::Calling => {
                let fault = Fault::new(FaultKind::Trap, "its last call was given up halfway");
                Err(self.give_up(fault))
            }
            StoreState::Gone(fault) => Err(self.give_up(fault)),
        }
    }

    fn settle<T>(
        &mut self,
        running: Box<GuestStore>,
        ended: Option<wasmtime::Result<T>>,
        deadline: Duration,
    ) -> Result<T, Fault> {
        match ended {
            Some(Ok(value)) => {
                self.store_state = StoreState::Ready(running);
                Ok(value)
            }
            Some(Err(error)) => {
                let guest = running.store.data();
                let fault = fault::of(&error, guest, &self.limits, deadline);
                Err(self.give_up(fault))
            }
            None => Err(self.give_up(fault::past(deadline))),
        }
    }

    fn give_up(&mut self, fault: Fault) -> Fault {
        self.store_state = StoreState::Gone(fault.clone());
        fault
    }
}

impl stage::Instance for Instance {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(self.run_process(ticket, input))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(self.run_tick())
    }

    fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(self.run_drain(reason, deadline))
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        Box::pin(Self::snapshot(self))
    }

    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        Box::pin(Self::restore(self, state))
    }
}
