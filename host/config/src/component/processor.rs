//! Processors: `wasm/NAME` is a stage; `batch` sets the batcher of its pipeline; `memory_limiter`
//! guards the entry of its pipeline.

pub mod memory_limiter;
pub mod module;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::queue::Sizer;
use spandrel_pipeline::stage::{FaultPolicy, HOUSEKEEPING, HoldLimits};
use spandrel_plugin::probation::ProbationConfig;
use spandrel_plugin::{Limits, SHORTEST_DEADLINE};

use self::memory_limiter::MemoryLimiter;
use self::module::Module;
use crate::id::Id;
use crate::plugins::Plugins;
use crate::text::plugin_config::PluginConfig;
use crate::text::section::Section;

/// One configured processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Processor {
    /// Its key in the configuration.
    pub id: Id,
    /// The type of the processor, with its settings.
    pub kind: ProcessorKind,
}

/// The types of processors.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessorKind {
    /// A WebAssembly plugin.
    Wasm(Arc<Wasm>),
    /// Batching in front of the exporters.
    Batch(BatcherConfig),
    /// Refuses what comes in while the process uses too much memory.
    MemoryLimiter(MemoryLimiter),
}

/// A stage: a plugin with its config, limits and fault policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Wasm {
    /// The place of the plugin, and the proof that it is the right one.
    pub module: Module,
    /// The input of the plugin's `configure`.
    pub config: PluginConfig,
    /// JSON pointers to the values of `config` that may be secrets: they came from a variable or
    /// the command line.
    pub hidden: Arc<BTreeSet<String>>,
    /// The policy for a batch on which the plugin fails.
    pub on_fault: FaultPolicy,
    /// True if `/readyz` fails while items pass the stage without a judgement.
    pub bypass_fails_readiness: bool,
    /// The limits of each instance.
    pub limits: Limits,
    /// The limits on what it may hold, over all shards.
    pub hold: HoldLimits,
    /// The settings of the probation after a swap.
    pub probation: ProbationConfig,
}

/// The types of processors that can be configured.
pub(crate) const KINDS: &[&str] = &["wasm", "batch", "memory_limiter"];

pub(crate) fn read(id: Id, section: &Section<'_>, plugins: &Plugins) -> Option<Processor> {
    let kind = match id.kind() {
        "wasm" => ProcessorKind::Wasm(Arc::new(read_wasm(section, plugins)?)),
        "batch" => ProcessorKind::Batch(read_batch(section)),
        "memory_limiter" => ProcessorKind::MemoryLimiter(memory_limiter::read(section)?),
        _ => return None,
    };
    Some(Processor { id, kind })
}

fn read_wasm(section: &Section<'_>, plugins: &Plugins) -> Option<Wasm> {
    let policies = [
        ("pass", FaultPolicy::Pass),
        ("drop", FaultPolicy::Drop),
        ("refuse", FaultPolicy::Refuse),
    ];
    let on_fault = section.choice("on_fault", FaultPolicy::Pass, &policies);
    let bypass_fails_readiness = section.boolean("bypass_fails_readiness", false);
    if bypass_fails_readiness && on_fault == FaultPolicy::Drop {
        section.wrong_key(
            "bypass_fails_readiness",
            "nothing passes a stage unjudged with `on_fault: drop`",
            "remove it, or write `on_fault: pass`",
        );
    }
    let config = section.json("config");
    let hidden = Arc::new(section.hidden("config"));
    let (limits, hold) = read_limits(&section.section("limits"));
    let probation = read_probation(&section.section("probation"));
    let module = module::read(section, plugins)?;
    Some(Wasm {
        module,
        config,
        hidden,
        on_fault,
        bypass_fails_readiness,
        limits,
        hold,
        probation,
    })
}

/// Reads when a generation that was swapped in is rolled back. The defaults are defined beside the
/// code that judges generations.
fn read_probation(section: &Section<'_>) -> ProbationConfig {
    let default = ProbationConfig::default();
    ProbationConfig {
        time: section.duration("time", default.time),
        batches: section.integer("batches", default.batches, 0..=1_000_000_000),
        max_faults: section.integer("max_faults", default.max_faults, 0..=1_000_000_000),
        max_drop_increase: section.float("max_drop_increase", default.max_drop_increase, 0.0..=1.0),
        max_latency_ratio: section.float("max_latency_ratio", default.max_latency_ratio, 1.0..=1e6),
        min_items: section.integer("min_items", default.min_items, 1..=1_000_000_000),
        // A swap request sets this, not the configuration.
        expects_drops: false,
    }
}

/// Reads the limits of a plugin and of what it may hold. The defaults are defined beside the code
/// that enforces the limits.
fn read_limits(section: &Section<'_>) -> (Limits, HoldLimits) {
    let default = Limits::default();
    let hold = HoldLimits::default();
    let mib =
        |key, default: usize, most: usize| section.integer(key, default >> 20, 1..=most) << 20;
    let ticks = "calls are stopped at ticks of 5 ms";
    let time = |key, default| section.duration_least(key, default, (SHORTEST_DEADLINE, ticks));
    let limits = Limits {
        // 32-bit WebAssembly cannot address more than 4 GiB.
        memory_bytes: mib("memory_mib", default.memory_bytes, 4096),
        call_deadline: time("call_deadline", default.call_deadline),
        configure_deadline: time("configure_deadline", default.configure_deadline),
        drain_deadline: time("drain_deadline", default.drain_deadline),
        reply_bytes: mib("reply_mib", default.reply_bytes, 1024),
        log_lines_per_second: section.integer(
            "log_lines_per_second",
            default.log_lines_per_second,
            0..=10_000,
        ),
        ..default
    };
    let hold = HoldLimits {
        items: section.integer("held_items", hold.items, 1..=100_000_000),
        bytes: mib("held_mib", hold.bytes, 1_048_576),
        time: section.duration_least(
            "hold_time",
            hold.time,
            (HOUSEKEEPING, "what is held is looked at each second"),
        ),
    };
    (limits, hold)
}

fn read_batch(section: &Section<'_>) -> BatcherConfig {
    section.not_offered(
        "metadata_keys",
        "remove it: batches are not kept apart by metadata",
    );
    section.without_meaning(
        &["metadata_cardinality_limit"],
        "batches are not kept apart by metadata",
    );
    let min_items = section.integer("send_batch_size", 8192, 0..=10_000_000);
    let max_items = section.integer("send_batch_max_size", 0, 0..=10_000_000);
    if max_items != 0 && max_items < min_items {
        section.wrong_key(
            "send_batch_max_size",
            format!("{max_items} is smaller than send_batch_size, which is {min_items}"),
            "write 0 for no limit, or at least send_batch_size",
        );
    }
    BatcherConfig {
        flush_timeout: section.duration("timeout", Duration::from_millis(200)),
        sizer: Sizer::Items,
        min_size: min_items,
        max_size: max_items,
    }
}
