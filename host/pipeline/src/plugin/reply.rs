//! The reply of a plugin, as it came.

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

/// The reads that an instance made in a call and had never reported before. The host uses them as a
/// hint of what to have at hand in the next calls, so reporting too little costs time and nothing
/// else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewReads {
    /// Ids, names, kinds, times, status and flags of spans: everything that is not an attribute,
    /// event or link.
    pub fields: bool,
    /// Attributes of spans with these keys.
    pub attributes: Vec<String>,
    /// Everything else: all attributes of a span, events, links, bytes.
    pub whole: bool,
}
