//! The host's double in native builds. Each thread has one, so tests do not affect each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Level;

/// The start of a test's wall clock: 2026-01-01T00:00:00Z.
const START_OF_WALL_CLOCK: u64 = 1_767_225_600_000_000_000;

/// The most metric names, counters and gauges together, that the real host accepts from one stage.
const METRIC_NAMES: usize = 64;
/// The longest metric name, in bytes.
const METRIC_NAME_BYTES: usize = 64;

/// The plugin's calls to the host, and the answers that the host will give.
#[derive(Debug)]
pub(crate) struct Double {
    elapsed: Duration,
    /// The start of the current instance's monotonic clock: each instance has its own.
    started: Duration,
    pub(crate) seed: u64,
    /// The batch behind the plugin's current projection.
    pub(crate) batch: Option<Vec<u8>>,
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
}

impl Double {
    const fn new() -> Self {
        Self {
            elapsed: Duration::ZERO,
            started: Duration::ZERO,
            seed: 0,
            batch: None,
            logs: Vec::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }
}

thread_local! {
    static DOUBLE: RefCell<Double> = const { RefCell::new(Double::new()) };
}

/// Gives `look` access to the double of this thread.
pub(crate) fn with<R>(look: impl FnOnce(&mut Double) -> R) -> R {
    DOUBLE.with_borrow_mut(look)
}

/// Starts over, so that a test does not see traces of an earlier one on this thread.
pub(crate) fn reset() {
    with(|double| *double = Double::new());
}

/// Moves both clocks.
pub(crate) fn advance(by: Duration) {
    with(|double| double.elapsed += by);
}

/// Starts the monotonic clock of a new instance.
pub(crate) fn start_instance() -> Duration {
    with(|double| {
        double.started = double.elapsed;
        double.started
    })
}

/// Sets the monotonic clock to that of an instance.
pub(crate) fn enter_instance(started: Duration) {
    with(|double| double.started = started);
}

/// Sets the seed of `random`.
pub(crate) fn seed(seed: u64) {
    with(|double| double.seed = seed);
}

/// Returns the batch once in a call, like the real host.
pub(super) fn batch() -> Vec<u8> {
    with(|double| double.batch.take().unwrap_or_default())
}

pub(super) fn log(level: Level, message: &str) {
    with(|double| double.logs.push((level, message.to_owned())));
}

pub(super) fn now() -> u64 {
    START_OF_WALL_CLOCK + with(|double| nanoseconds(double.elapsed))
}

pub(super) fn monotonic() -> u64 {
    with(|double| nanoseconds(double.elapsed.saturating_sub(double.started)))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the next number of `SplitMix64`: any seed gives a good sequence, and the same one every
/// time.
pub(super) fn random() -> u64 {
    with(|double| {
        double.seed = double.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = double.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[track_caller]
pub(super) fn count(name: &str, delta: u64) {
    with(|double| {
        double.check_metric(name, double.gauges.contains_key(name));
        let counter = double.counters.entry(name.to_owned()).or_default();
        *counter = counter.saturating_add(delta);
    });
}

#[track_caller]
pub(super) fn gauge(name: &str, value: f64) {
    with(|double| {
        double.check_metric(name, double.counters.contains_key(name));
        double.gauges.insert(name.to_owned(), value);
    });
}

impl Double {
    /// Panics on a metric that the real host would refuse and log once.
    #[track_caller]
    fn check_metric(&self, name: &str, is_other_kind: bool) {
        let is_of_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            (1..=METRIC_NAME_BYTES).contains(&name.len()) && name.bytes().all(is_of_name),
            "metric `{name}`: a name is 1 to {METRIC_NAME_BYTES} of a-z, 0-9 and _"
        );
        assert!(
            !is_other_kind,
            "metric `{name}`: a name is a counter or a gauge, not both"
        );
        let is_known = self.counters.contains_key(name) || self.gauges.contains_key(name);
        assert!(
            is_known || self.counters.len() + self.gauges.len() < METRIC_NAMES,
            "metric `{name}`: a stage has at most {METRIC_NAMES} names"
        );
    }
}
