//! What a call did to spans.

use spandrel_wire::{Resource, Scope, Span, Traces};

/// What becomes of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on to the next stage.
    Kept,
    /// The host keeps it for the plugin.
    Held,
    /// It was let go, for this reason.
    Dropped(String),
    /// Its [`Held`](crate::Held) was destroyed without a word.
    Undisposed,
}

/// What one call of a plugin did: to the spans of its batch, to those it held earlier, and what it
/// made.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub(crate) spans: Vec<TestedSpan>,
    pub(crate) created: Vec<TestedSpan>,
    pub(crate) untouched: bool,
}

impl Outcome {
    /// Names of the spans that go on to the next stage, held earlier or not.
    pub fn kept(&self) -> Vec<&str> {
        self.with_fate(&Fate::Kept)
    }

    /// Names of the spans that are held since this call.
    pub fn held(&self) -> Vec<&str> {
        self.with_fate(&Fate::Held)
    }

    /// Names of the spans that this call dropped for this reason, held earlier or not.
    pub fn dropped(&self, reason: &str) -> Vec<&str> {
        self.with_fate(&Fate::Dropped(reason.to_owned()))
    }

    /// Names of the spans whose handle was destroyed without a word.
    pub fn undisposed(&self) -> Vec<&str> {
        self.with_fate(&Fate::Undisposed)
    }

    /// All spans that this call said something of: first those of the batch, in its order, then
    /// those held earlier, in the order of their release.
    pub fn spans(&self) -> &[TestedSpan] {
        &self.spans
    }

    /// The first span that came with this name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[expect(clippy::panic, reason = "a failed test")]
    pub fn span(&self, name: &str) -> &TestedSpan {
        match self.spans.iter().find(|span| span.name == name) {
            Some(span) => span,
            None => panic!("no span `{name}` among {:?}", self.spans),
        }
    }

    /// Spans that the plugin made.
    pub fn created(&self) -> &[TestedSpan] {
        &self.created
    }

    /// Whether the reply was empty: everything is kept as it came, at no cost.
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
    /// The name that it came with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What became of it.
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// The span after all edits. Dropped spans read as if they had no fields.
    pub fn after(&self) -> Span<'_> {
        let placed = Traces::new(&self.request).spans().next();
        placed.map_or(Span::new(&[]), |placed| placed.span)
    }

    /// Its resource after all edits, if it was not dropped.
    pub fn resource(&self) -> Option<Resource<'_>> {
        let placed = Traces::new(&self.request).spans().next()?;
        Some(placed.resource_spans.resource())
    }

    /// Its scope after all edits, if it was not dropped.
    pub fn scope(&self) -> Option<Scope<'_>> {
        let placed = Traces::new(&self.request).spans().next()?;
        Some(placed.scope_spans.scope())
    }
}
