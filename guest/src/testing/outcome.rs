//! The effects of a call on spans.

use spandrel_wire::{Resource, Scope, Span, Traces};

/// The result for one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The span goes to the next stage.
    Kept,
    /// The host keeps the span for the plugin.
    Held,
    /// The span was dropped for this reason.
    Dropped(String),
    /// The span's [`Held`](crate::Held) was destroyed without settling it.
    Undisposed,
}

/// The effects of one call of a plugin: on the spans of its batch, on spans held earlier, and the
/// spans that it made.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub(crate) spans: Vec<TestedSpan>,
    pub(crate) created: Vec<TestedSpan>,
    pub(crate) untouched: bool,
}

impl Outcome {
    /// Returns the names of the spans that go to the next stage, held earlier or not.
    pub fn kept(&self) -> Vec<&str> {
        self.with_fate(&Fate::Kept)
    }

    /// Returns the names of the spans that this call held.
    pub fn held(&self) -> Vec<&str> {
        self.with_fate(&Fate::Held)
    }

    /// Returns the names of the spans that this call dropped for this reason, held earlier or not.
    pub fn dropped(&self, reason: &str) -> Vec<&str> {
        self.with_fate(&Fate::Dropped(reason.to_owned()))
    }

    /// Returns the names of the spans whose handle was destroyed without settling it.
    pub fn undisposed(&self) -> Vec<&str> {
        self.with_fate(&Fate::Undisposed)
    }

    /// Returns all spans that this call decided: first those of the batch, in its order, then those
    /// held earlier, in the order of their release.
    pub fn spans(&self) -> &[TestedSpan] {
        &self.spans
    }

    /// Returns the first span that came with this name.
    ///
    /// # Panics
    /// Panics if there is none.
    #[track_caller]
    #[expect(clippy::panic, reason = "a failed test")]
    pub fn span(&self, name: &str) -> &TestedSpan {
        match self.spans.iter().find(|span| span.name == name) {
            Some(span) => span,
            None => panic!("no span `{name}` among {:?}", self.spans),
        }
    }

    /// Returns the spans that the plugin made.
    pub fn created(&self) -> &[TestedSpan] {
        &self.created
    }

    /// Returns true if the reply was empty: everything is kept as it came, at no cost.
    pub fn is_untouched(&self) -> bool {
        self.untouched
    }

    fn with_fate(&self, fate: &Fate) -> Vec<&str> {
        let of_fate = self.spans.iter().filter(|span| span.fate == *fate);
        of_fate.map(TestedSpan::name).collect()
    }
}

/// One span and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestedSpan {
    pub(crate) name: String,
    pub(crate) fate: Fate,
    /// A request with this span alone, as it is after the call.
    pub(crate) request: Vec<u8>,
}

impl TestedSpan {
    /// Returns the name that the span came with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what became of it.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// Returns the span after all edits. A dropped span reads as if it had no fields.
    pub fn after(&self) -> Span<'_> {
        let placed = Traces::new(&self.request).spans().next();
        placed.map_or(Span::new(&[]), |placed| placed.span)
    }

    /// Returns its resource after all edits, if it was not dropped.
    pub fn resource(&self) -> Option<Resource<'_>> {
        let placed = Traces::new(&self.request).spans().next()?;
        Some(placed.resource_spans.resource())
    }

    /// Returns its scope after all edits, if it was not dropped.
    pub fn scope(&self) -> Option<Scope<'_>> {
        let placed = Traces::new(&self.request).spans().next()?;
        Some(placed.scope_spans.scope())
    }
}
