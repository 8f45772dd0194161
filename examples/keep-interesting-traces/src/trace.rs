//! What is noted of a trace while its spans are held.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spandrel_guest::{Held, Moment, Span};

/// The id of a trace, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TraceId(#[serde(with = "spandrel_guest::state::flat")] pub(crate) [u8; 16]);

impl TraceId {
    pub(crate) fn of(span: &Span<'_>) -> Option<Self> {
        span.trace_id().try_into().ok().map(Self)
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
    /// First start and last end of its spans, in nanoseconds since the Unix epoch.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) failed: bool,
    pub(crate) held: Vec<Held>,
}

impl Trace {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            begun_at: now,
            root_at: None,
            start: u64::MAX,
            end: 0,
            failed: false,
            held: Vec::new(),
        }
    }

    /// Notes what the judgement needs to know of a span, and holds it.
    pub(crate) fn add(&mut self, span: Span<'_>, now: Moment) {
        self.start = self.start.min(span.start_time_unix_nano());
        self.end = self.end.max(span.end_time_unix_nano());
        self.failed |= span.is_error();
        if span.is_root() {
            self.root_at.get_or_insert(now);
        }
        self.held.push(span.hold());
    }

    /// Makes one of two parts of the trace, which two instances held.
    pub(crate) fn join(&mut self, mut other: Self) {
        self.begun_at = self.begun_at.min(other.begun_at);
        self.root_at = match (self.root_at, other.root_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.failed |= other.failed;
        self.held.append(&mut other.held);
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_nanos(self.end.saturating_sub(self.start))
    }
}
