//! `keep-interesting-traces` from changed source: another version of the plugin that also counts
//! its batches. It has the state of the original, so each can take over from the other.
#![expect(unreachable_pub, reason = "public in the original's library")]

#[path = "../../../examples/keep-interesting-traces/src/decisions.rs"]
mod decisions;
#[path = "../../../examples/keep-interesting-traces/src/plugin.rs"]
mod plugin;
#[path = "../../../examples/keep-interesting-traces/src/rules.rs"]
mod rules;
#[path = "../../../examples/keep-interesting-traces/src/state.rs"]
mod state;
#[path = "../../../examples/keep-interesting-traces/src/times.rs"]
mod times;
#[path = "../../../examples/keep-interesting-traces/src/trace.rs"]
mod trace;
#[path = "../../../examples/keep-interesting-traces/src/waiting.rs"]
mod waiting;

use spandrel_guest::prelude::*;

struct Next(plugin::KeepInterestingTraces);

impl Plugin for Next {
    type Config = rules::Config;

    fn manifest(&self) -> Manifest {
        let original = self.0.manifest();
        original.name("keep-interesting-traces").version("0.2.0")
    }

    fn configure(config: rules::Config) -> Result<Self, String> {
        plugin::KeepInterestingTraces::configure(config).map(Self)
    }

    fn process(&mut self, batch: &mut Batch) {
        count("batches", 1);
        self.0.process(batch);
    }

    fn tick(&mut self) {
        self.0.tick();
    }

    fn drain(&mut self, reason: DrainReason, deadline: Duration) {
        self.0.drain(reason, deadline);
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        self.0.snapshot()
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.0.restore(version, state)
    }
}

export!(Next);
