//! `drop-duplicates` from changed source: another version of the plugin that also counts its
//! batches. It has the state of the original, so each can take over from the other.
#![expect(unreachable_pub, reason = "public in the original's library")]

#[path = "../../../examples/drop-duplicates/src/ids.rs"]
mod ids;
#[path = "../../../examples/drop-duplicates/src/plugin.rs"]
mod plugin;
#[path = "../../../examples/drop-duplicates/src/seen.rs"]
mod seen;

use spandrel_guest::prelude::*;

struct Next(plugin::DropDuplicates);

impl Plugin for Next {
    type Config = plugin::Config;

    fn manifest(&self) -> Manifest {
        self.0.manifest().name("drop-duplicates").version("0.2.0")
    }

    fn configure(config: plugin::Config) -> Result<Self, String> {
        plugin::DropDuplicates::configure(config).map(Self)
    }

    fn process(&mut self, batch: &mut Batch) {
        count("batches", 1);
        self.0.process(batch);
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        self.0.snapshot()
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        self.0.restore(version, state)
    }
}

export!(Next);
