//! A plugin as the pipeline sees it: two traits, and the values that pass through them.
//!
//! `host/plugin` implements the traits with WebAssembly; tests and native twins implement them in
//! Rust. Nothing here knows of stages, of the ledger or of the journal, so all of these can name a
//! fault or a state.

mod fault;
mod input;
mod reply;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::fault::{Fault, FaultKind};
pub use self::input::Input;
pub(crate) use self::input::ReplyEffect;
pub use self::reply::{Emission, NewReads, Reply};

/// The number of one input batch of one instance until each of its items is settled. Never zero.
pub type Ticket = u64;

/// The rule by which batches reach the instances of a stage, from the loosest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispatch {
    /// A batch may reach any shard.
    #[default]
    Any,
    /// All spans of a trace reach the same shard.
    ByTrace,
    /// All batches reach one shard.
    Single,
}

/// The description that a plugin gives of itself once it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's own name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// The rule by which batches must reach its instances.
    pub dispatch: Dispatch,
    /// The time between two ticks; `None` if the plugin wants no ticks.
    pub tick_interval: Option<Duration>,
    /// The version of its state; 0 if it has no state to carry.
    pub state_version: u32,
    /// True if its verdicts may say hold.
    pub holds: bool,
    /// The names of the drop reasons that verdicts refer to by index.
    pub drop_reasons: Vec<String>,
}

/// The reason why a plugin is asked to let go of the items that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// The collector is stopping.
    Shutdown,
    /// The stage's limits on held items are reached.
    Pressure,
    /// The generation is being retired, or its stage moves to another place in the pipeline.
    Swap,
}

/// The state that an instance hands to an instance of the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version of the state's format; the plugin numbers it.
    pub version: u32,
    /// The state, opaque to the host.
    pub bytes: Vec<u8>,
}

/// The reason why an instance could not be made: one line for the operator, the cause as the
/// source.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct InstantiateError {
    /// The step that failed.
    pub message: String,
    /// Its cause, if there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One running copy of a generation. Every call returns within the stage's limits; after a fault
/// the instance is dropped and another one is made.
pub trait Instance: Send {
    /// Judges one batch. A projection contains at least the reads that this instance reported.
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>>;
    /// Lets time pass for the plugin.
    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>>;
    /// Asks the plugin to let go of its held items, within `deadline`.
    fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>>;
    /// Returns the state for an instance of the next generation, or `None` if there is nothing to
    /// carry. This instance may continue to work afterwards.
    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Takes over the state of an instance of another generation, in addition to the state that
    /// this one already has. The inner error is the plugin's refusal, one line for the operator.
    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        let refusal = format!("no state is carried; version {} was offered", state.version);
        Box::pin(std::future::ready(Ok(Err(refusal))))
    }
}

/// One loaded plugin (bytes + config) of a stage: makes instances.
pub trait Generation: Send + Sync + fmt::Debug {
    /// Returns the manifest that the plugin gave.
    fn manifest(&self) -> &Manifest;
    /// Returns its number in its stage, from 1.
    fn number(&self) -> u64 {
        1
    }
    /// Makes and configures one more instance.
    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>>;
}
