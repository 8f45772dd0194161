//! A stage: a plugin's instances, seen from the pipeline.
//!
//! The pipeline knows plugins only by the two traits here. `host/plugin` implements them with
//! WebAssembly; tests and native twins implement them in Rust. What the pipeline does with an
//! instance's answers is in `stage/runner.rs`.

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

/// Names one input batch of one instance until each of its items is settled. Never zero.
pub type Ticket = u64;

/// How batches reach the instances of a stage, from the loosest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispatch {
    /// Any shard.
    #[default]
    Any,
    /// All spans of a trace reach the same shard.
    ByTrace,
    /// Everything reaches one shard.
    Single,
}

/// What a plugin says of itself once it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The plugin's own name.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// How batches must reach its instances.
    pub dispatch: Dispatch,
    /// Time between two ticks; none when the plugin wants no ticks.
    pub tick_interval: Option<Duration>,
    /// Version of its state; 0 when there is none to carry.
    pub state_version: u32,
    /// Whether its verdicts may say hold.
    pub holds: bool,
    /// Names of the drop reasons that verdicts refer to by index.
    pub drop_reasons: Vec<String>,
}

/// What a plugin answers to one batch, as it came: nothing in it is checked yet.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Empty, or one byte for each item (see `spandrel_wire::Verdict`).
    pub verdicts: Vec<u8>,
    /// Four words for each edit (see `spandrel_wire::Edits`).
    pub edits: Vec<u32>,
    /// What the edits point into.
    pub blob: Vec<u8>,
    /// Items settled or made beside this batch.
    pub emission: Option<Emission>,
    /// What the plugin read in this batch and never before; none for nothing new. Plugins that
    /// never say any are called with whole batches.
    pub reads: Option<NewReads>,
}

/// Items that a plugin settled or made outside of the batch in hand; nothing in it is checked yet.
#[derive(Clone, Debug, Default)]
pub struct Emission {
    /// Two words for each item: ticket, then index (low 32 bits) and outcome (above).
    pub released: Vec<u64>,
    /// Edits of forwarded items; the index counts the items of `released`.
    pub edits: Vec<u32>,
    /// What the edits point into.
    pub blob: Vec<u8>,
    /// One OTLP request with items the plugin made; empty for none.
    pub created: Vec<u8>,
}

impl Emission {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.released.is_empty() && self.created.is_empty()
    }
}

/// Why a plugin is asked to let go of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainReason {
    /// The collector is stopping.
    Shutdown,
    /// The stage's limits on held items are reached.
    Pressure,
    /// The generation is being retired, or its stage gets another place among the others.
    Swap,
}

/// What an instance carries to one of the next generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The version of its format, the plugin's own.
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

    /// The label of this kind in logs and metrics.
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
    /// What happened, by the label that is counted.
    pub kind: FaultKind,
    /// What the guest said, or where the reply is wrong: one line, for the operator.
    pub message: String,
}

impl Fault {
    /// A fault of this kind with a line for the operator.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Why an instance could not be made: one line for the operator, the cause as the source.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct InstantiateError {
    /// What failed.
    pub message: String,
    /// Its cause, where there is one.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// One running copy of a generation. Every call returns within the stage's limits; after a fault
/// the instance is dropped and another one made.
pub trait Instance: Send {
    /// Judges one batch. A projection has at least what this instance said that it reads.
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>>;
    /// Lets time pass for the plugin.
    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>>;
    /// Asks the plugin to let go of what it holds, within `deadline`.
    fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>>;
    /// The state for an instance of the next generation, or none when there is nothing to carry.
    /// This instance may go on working after it.
    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Takes over the state of an instance of another generation, in addition to what this one
    /// knows already. The inner error is the plugin's refusal, one line for the operator.
    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        let refusal = format!("no state is carried; version {} was offered", state.version);
        Box::pin(std::future::ready(Ok(Err(refusal))))
    }
}

/// One loaded (bytes + config) of a stage: makes instances.
pub trait Generation: Send + Sync + fmt::Debug {
    /// What the plugin said of itself.
    fn manifest(&self) -> &Manifest;
    /// Its number in its stage, from 1.
    fn number(&self) -> u64 {
        1
    }
    /// Makes and configures one more instance.
    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>>;
}
