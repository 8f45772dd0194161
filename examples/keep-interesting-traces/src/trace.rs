//! The record of a trace while its spans are held.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::{Held, Moment, Span, StatusCode};

use crate::times::{Clock, Times};

/// A whole trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TraceId(#[serde(with = "spandrel_guest::state::flat")] pub(crate) [u8; 16]);

impl TraceId {
    /// Returns the trace id of a span; `None` if it is missing or all zeros, which means the same.
    pub(crate) fn of(span: &Span<'_>) -> Option<Self> {
        let id: [u8; 16] = span.trace_id().try_into().ok()?;
        (id != [0; 16]).then_some(Self(id))
    }

    /// Returns a number from 0 to below 1 that is the same in every collector. It is a hash of the
    /// id, because not every tracer's ids are random in all their bytes.
    pub(crate) fn share(self) -> f64 {
        let mut hash = 0_u64;
        for word in self.0.as_chunks::<8>().0 {
            hash = mix(hash ^ u64::from_le_bytes(*word));
        }
        // A float represents 53 bits exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let (part, whole) = ((hash >> 11) as f64, (1_u64 << 53) as f64);
        part / whole
    }
}

/// The finalizer of `SplitMix64`: each bit of the input changes half of the output's bits.
fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A trace that waits for its decision. It goes into the state as it is: changing its fields
/// requires a new [`VERSION`](crate::state::VERSION).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// The times when its first span and its root arrived.
    pub(crate) begun_at: Moment,
    pub(crate) root_at: Option<Moment>,
    /// Its first start and its last end.
    pub(crate) times: Times,
    pub(crate) failed: bool,
    pub(crate) held: Vec<Held>,
}

impl Trace {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            begun_at: now,
            root_at: None,
            times: Times::NONE,
            failed: false,
            held: Vec::new(),
        }
    }

    /// Notes what the decision needs to know of a span, and holds the span.
    pub(crate) fn add(&mut self, span: Span<'_>, now: Moment, clock: &Clock) {
        if let Some(times) = clock.times_of(&span) {
            self.times.add(times, clock.apart);
        }
        self.failed = self.failed || has_failed(&span);
        if span.is_root() {
            self.root_at.get_or_insert(now);
        }
        self.held.push(span.hold());
    }

    /// Joins two parts of the trace, which two instances held.
    pub(crate) fn join(&mut self, mut other: Self, apart: Duration) {
        self.begun_at = self.begun_at.min(other.begun_at);
        self.root_at = match (self.root_at, other.root_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.times.add(other.times, apart);
        self.failed |= other.failed;
        self.held.append(&mut other.held);
    }
}

/// Returns true if the span failed: by its status, or, if that is not set, by its attributes or by
/// an exception that left it. A status of "ok" is the developer's decision and overrides both.
fn has_failed(span: &Span<'_>) -> bool {
    span.has_failed() || span.status().code == StatusCode::Unset && span.has_exception()
}
