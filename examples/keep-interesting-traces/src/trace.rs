//! What is noted of a trace while its spans are held.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::{Held, Moment, Span, StatusCode};

use crate::times::{Clock, Times};

/// The id of a trace, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TraceId(#[serde(with = "spandrel_guest::state::flat")] pub(crate) [u8; 16]);

impl TraceId {
    /// None for no id, and for zeros, which are none either.
    pub(crate) fn of(span: &Span<'_>) -> Option<Self> {
        let id: [u8; 16] = span.trace_id().try_into().ok()?;
        (id != [0; 16]).then_some(Self(id))
    }

    /// A number from 0 to below 1 that is the same in every collector: a hash of the id, because
    /// not every tracer's ids are random in all their bytes.
    pub(crate) fn share(self) -> f64 {
        let mut hash = 0_u64;
        for word in self.0.as_chunks::<8>().0 {
            hash = mix(hash ^ u64::from_le_bytes(*word));
        }
        // 53 bits are what a float holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let (part, whole) = ((hash >> 11) as f64, (1_u64 << 53) as f64);
        part / whole
    }
}

/// The finaliser of `SplitMix64`: each bit of the input changes half of the output's.
fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A trace that waits for its judgement. It goes into the state as it is: a change of its fields is
/// a new [`VERSION`](crate::state::VERSION).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// When its first span came in, and its root.
    pub(crate) begun_at: Moment,
    pub(crate) root_at: Option<Moment>,
    /// From its first start to its last end.
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

    /// Notes what the judgement needs to know of a span, and holds it.
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

    /// Makes one of two parts of the trace, which two instances held.
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

/// By its status, by its attributes where that is not set, or by an exception that left it. A status of "ok"
/// is the developer's last word.
fn has_failed(span: &Span<'_>) -> bool {
    span.has_failed() || span.status().code == StatusCode::Unset && span.has_exception()
}
