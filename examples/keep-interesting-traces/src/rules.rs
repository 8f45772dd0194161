//! The rules that decide which traces are interesting, and how long a trace waits for its decision.

use std::time::Duration;

use serde::Deserialize;

use crate::trace::{Trace, TraceId};

/// The most traces or decisions that the config may ask for: a million take about 200 MiB.
const MOST: usize = 1_000_000;

/// The stage's `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// If true, traces with an error are kept.
    #[serde(default = "yes")]
    errors: bool,
    /// The shortest duration of a slow trace, from its first start to its last end. Slow traces are
    /// kept; `0s` switches this off.
    #[serde(default = "slow", with = "spandrel_guest::duration")]
    slow: Duration,
    /// The share of all other traces that is kept, from 0 to 1. The trace id decides, so that every
    /// collector with the same ratio keeps the same traces.
    #[serde(default = "ratio")]
    ratio: f64,
    /// The time that a trace waits after its root, for spans of other services.
    #[serde(default = "settle", with = "spandrel_guest::duration")]
    settle: Duration,
    /// The time after its first span when a trace is judged without a root.
    #[serde(default = "timeout", with = "spandrel_guest::duration")]
    timeout: Duration,
    /// The most traces that wait in one instance. Beyond it, the oldest are judged early.
    #[serde(default = "max_traces")]
    max_traces: usize,
    /// The most decisions that one instance remembers for late spans.
    #[serde(default = "max_decisions")]
    max_decisions: usize,
}

fn yes() -> bool {
    true
}

fn slow() -> Duration {
    Duration::from_secs(1)
}

fn ratio() -> f64 {
    0.1
}

/// The default of `settle`. SDKs export every five seconds by default: most spans of a trace arrive
/// within two seconds of its root.
fn settle() -> Duration {
    Duration::from_secs(2)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

/// The default of `max_traces`. With ten spans a trace, these take 12 MiB of the 64 that a stage
/// has by default.
fn max_traces() -> usize {
    50_000
}

/// The default of `max_decisions`. They take 10 MiB.
fn max_decisions() -> usize {
    200_000
}

/// The checked config.
#[derive(Debug)]
pub(crate) struct Rules {
    errors: bool,
    slow: Option<Duration>,
    ratio: f64,
    pub(crate) settle: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_traces: usize,
    pub(crate) max_decisions: usize,
}

impl Rules {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&config.ratio) {
            return Err(format!(
                "`ratio` is {}: it must be from 0 to 1",
                config.ratio
            ));
        }
        if config.timeout.is_zero() {
            return Err("`timeout` must be longer than zero".to_owned());
        }
        for (name, value) in [
            ("max_traces", config.max_traces),
            ("max_decisions", config.max_decisions),
        ] {
            if !(2..=MOST).contains(&value) {
                return Err(format!("`{name}` is {value}: it must be from 2 to {MOST}"));
            }
        }
        Ok(Self {
            errors: config.errors,
            slow: Some(config.slow).filter(|slow| !slow.is_zero()),
            ratio: config.ratio,
            settle: config.settle,
            timeout: config.timeout,
            max_traces: config.max_traces,
            max_decisions: config.max_decisions,
        })
    }

    /// Returns true if the trace is kept, based on the spans so far.
    pub(crate) fn keep(&self, id: TraceId, trace: &Trace) -> bool {
        (self.errors && trace.failed)
            || self.slow.is_some_and(|slow| trace.times.duration() >= slow)
            || id.share() < self.ratio
    }
}
