//! A stage: a plugin's instances as the pipeline sees them.
//!
//! The pipeline knows plugins only by the two traits here. `host/plugin` implements them with
//! WebAssembly; tests and native twins implement them in Rust. `stage/runner.rs` applies an
//! instance's answers.

mod breaker;
mod canary;
mod comparison;
mod held;
mod input;
mod learned;
pub(crate) mod place;
mod probe;
pub(crate) mod quarantine;
pub(crate) mod runner;
pub(crate) mod sample;
mod shadow;
mod share;
mod spec;
pub(crate) mod transit;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

pub use self::breaker::BreakerConfig;
pub use self::comparison::{Comparison, Difference, Said, Seen};
pub use self::input::Input;
pub use self::learned::NewReads;
pub use self::probe::{ProbeError, Probed, probe};
pub use self::runner::HOUSEKEEPING;
pub use self::share::Share;
pub use self::spec::{Beside, Carried, FaultPolicy, HoldLimits, Mode, StageSpec};

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

/// A plugin's answer to one batch, as it came: nothing in it is checked yet.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The verdicts: empty, or one byte for each item (see `spandrel_wire::Verdict`).
    pub verdicts: Vec<u8>,
    /// The edits: four words for each (see `spandrel_wire::Edits`).
    pub edits: Vec<u32>,
    /// The bytes that the edits point into.
    pub blob: Vec<u8>,
    /// The items that were settled or made beside this batch.
    pub emission: Option<Emission>,
    /// The reads that are new with this batch; `None` if there are none. Plugins that never report
    /// any are called with whole batches.
    pub reads: Option<NewReads>,
}

/// The items that a plugin settled or made outside of the batch in hand; nothing is checked yet.
#[derive(Clone, Debug, Default)]
pub struct Emission {
    /// The released items: two words for each, ticket, then index (low 32 bits) and outcome
    /// (above).
    pub released: Vec<u64>,
    /// The edits of forwarded items; their index counts the items of `released`.
    pub edits: Vec<u32>,
    /// The bytes that the edits point into.
    pub blob: Vec<u8>,
    /// One OTLP request with the items that the plugin made; empty if it made none.
    pub created: Vec<u8>,
}

impl Emission {
    /// Returns true if the emission is empty.
    pub fn is_empty(&self) -> bool {
        self.released.is_empty() && self.created.is_empty()
    }
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

/// The kind of a fault: the label under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The guest trapped or panicked.
    Trap,
    /// The call ran past its deadline.
    Deadline,
    /// The guest asked for more memory than its limit.
    Memory,
    /// The reply does not fit the contract.
    BadReply,
}

impl FaultKind {
    /// Every kind, in the order of the ledger's columns.
    pub const ALL: [Self; 4] = [Self::Trap, Self::Deadline, Self::Memory, Self::BadReply];

    /// Returns the label of this kind in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::BadReply => "bad_reply",
        }
    }
}

/// A failed call. The instance that failed must not be called again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {message}", kind.label())]
pub struct Fault {
    /// The kind under which the fault is counted.
    pub kind: FaultKind,
    /// The guest's message, or the place where the reply is wrong: one line, for the operator.
    pub message: String,
}

impl Fault {
    /// Makes a fault of this kind with a line for the operator.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
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
