//! The plugin: its manifest, and its work on a batch.

use spandrel_guest::prelude::*;

use crate::ids::Ids;
use crate::seen::{Remembered, Seen};

/// The reason why spans are dropped, as the ledger shows it.
const DUPLICATE: Reason = Reason(0);

/// The version of [`Remembered`]. Versions up to 2 contained only ids: such a state cannot answer
/// for the spans that are compared now.
const STATE_VERSION: u32 = 3;

/// The largest `max_spans` that is accepted: about 1 GiB, a quarter of the most that a guest can
/// have.
const MOST_SPANS: usize = 10_000_000;

/// The plugin: it remembers the ids of recent spans.
#[derive(Debug)]
pub struct DropDuplicates {
    pub(crate) seen: Seen,
}

/// The stage's `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The time for which a span is remembered: at least this, at most twice as long.
    #[serde(default = "window", with = "spandrel_guest::duration")]
    window: Duration,
    /// The most spans that one instance remembers. Beyond it, the oldest are forgotten before their
    /// time. Each takes about 100 bytes of the stage's memory.
    #[serde(default = "max_spans")]
    max_spans: usize,
}

/// The default window. It is longer than a client's longest usual back-off between two attempts.
fn window() -> Duration {
    Duration::from_secs(30)
}

/// The default of `max_spans`. It takes 10 MiB of the 64 that a stage has by default.
fn max_spans() -> usize {
    100_000
}

impl Plugin for DropDuplicates {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        // A duplicate has the trace id of its original, so both reach the same instance.
        Manifest::new()
            .dispatch(Dispatch::ByTrace)
            .drop_reasons(&["duplicate"])
            .state_version(STATE_VERSION)
    }

    fn configure(config: Config) -> Result<Self, String> {
        if config.window.is_zero() {
            return Err("`window` must be longer than zero".to_owned());
        }
        if !(2..=MOST_SPANS).contains(&config.max_spans) {
            return Err(format!("`max_spans` must be from 2 to {MOST_SPANS}"));
        }
        Ok(Self {
            seen: Seen::new(config.window, config.max_spans, Moment::now()),
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        let now = Moment::now();
        self.seen.forget_old(now);
        let mut duplicates = 0;
        for span in batch.spans() {
            // A span without ids cannot be told from another, so it is kept.
            let Some(ids) = Ids::of(&span) else { continue };
            if !self.seen.insert(ids, now) {
                span.drop(DUPLICATE);
                duplicates += 1;
            }
        }
        if duplicates > 0 {
            count("duplicates", duplicates);
        }
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        state::to_bytes(&self.seen.remembered())
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        if version != STATE_VERSION {
            return Err(state::unreadable(version, STATE_VERSION));
        }
        let remembered: Remembered = state::from_bytes(state)?;
        self.seen.add(&remembered, Moment::now());
        Ok(())
    }
}
