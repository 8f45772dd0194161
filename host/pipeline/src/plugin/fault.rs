//! The failure of a call.

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
