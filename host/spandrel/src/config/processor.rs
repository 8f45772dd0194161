//! Processors: `wasm/NAME` is a stage; `batch` sets the batcher of its pipeline.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::id::Id;
use super::section::Section;

/// One configured processor.
#[derive(Clone, Debug, PartialEq)]
pub struct Processor {
    /// Its key in the configuration.
    pub id: Id,
    /// What it does.
    pub kind: ProcessorKind,
}

/// The processors there are.
#[derive(Clone, Debug, PartialEq)]
pub enum ProcessorKind {
    /// A WebAssembly plugin.
    Wasm(Arc<Wasm>),
    /// Batching in front of the exporters.
    Batch(Batch),
    /// Read and checked, but the limits at admission protect the process.
    MemoryLimiter,
}

/// A stage: a plugin with its config, limits and fault policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Wasm {
    /// The plugin's file.
    pub module: PathBuf,
    /// What the file's bytes must hash to.
    pub sha256: Option<[u8; 32]>,
    /// What the plugin's `configure` is given.
    pub config: serde_json::Value,
    /// What happens to a batch that the plugin fails on.
    pub on_fault: OnFault,
    /// What the plugin may use.
    pub limits: Limits,
}

/// What happens to a batch that a plugin fails on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// It goes on as it came.
    Pass,
    /// Its items are dropped.
    Drop,
    /// Its sender is told to retry.
    Refuse,
}

/// What a stage may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory of each instance.
    pub memory_bytes: usize,
    /// Time for one call.
    pub call_deadline: Duration,
    /// Time for the last call when the collector stops.
    pub drain_deadline: Duration,
    /// Items held on each shard.
    pub held_items: usize,
    /// Bytes held on each shard.
    pub held_bytes: usize,
    /// How long an item may be held.
    pub hold_time: Duration,
    /// Log lines that pass in a second.
    pub log_lines_per_second: u32,
    /// Bytes of one reply.
    pub reply_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // What a Rust plugin with a cache of some 100,000 ids needs, four times over.
            memory_bytes: 64 << 20,
            // A batch of 8,192 spans takes 5 ms; 20 times that is a fault, not slowness.
            call_deadline: Duration::from_millis(100),
            drain_deadline: Duration::from_secs(5),
            // Half a minute of 3,000 spans a second, which is what tail sampling waits.
            held_items: 100_000,
            held_bytes: 256 << 20,
            // The longest that a trace is worth waiting for.
            hold_time: Duration::from_secs(300),
            log_lines_per_second: 10,
            // As large as the largest request: a plugin may replace every span once.
            reply_bytes: 64 << 20,
        }
    }
}

/// Batching in front of the exporters, with the `batch` processor's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The longest that items wait for more.
    pub timeout: Duration,
    /// Items after which a batch is sent at once.
    pub min_items: usize,
    /// The most items of one batch; none for no limit.
    pub max_items: Option<usize>,
}

/// What can be written as a processor's type.
pub(crate) const KINDS: &[&str] = &["wasm", "batch", "memory_limiter"];

pub(crate) fn read(id: Id, section: &Section<'_>) -> Option<Processor> {
    let kind = match id.kind() {
        "wasm" => ProcessorKind::Wasm(Arc::new(read_wasm(section)?)),
        "batch" => ProcessorKind::Batch(read_batch(section)),
        "memory_limiter" => read_memory_limiter(section),
        _ => return None,
    };
    Some(Processor { id, kind })
}

fn read_wasm(section: &Section<'_>) -> Option<Wasm> {
    let on_fault = section.choice(
        "on_fault",
        OnFault::Pass,
        &[
            ("pass", OnFault::Pass),
            ("drop", OnFault::Drop),
            ("refuse", OnFault::Refuse),
        ],
    );
    let config = section.json("config");
    let limits = read_limits(&section.section("limits"));
    let (module, sha256) = read_module(section)?;
    Some(Wasm {
        module,
        sha256,
        config,
        on_fault,
        limits,
    })
}

/// `module: path`, or `module: { file: path, sha256: digest }`.
fn read_module(section: &Section<'_>) -> Option<(PathBuf, Option<[u8; 32]>)> {
    section.required("module", "./plugins/my_plugin.wasm");
    if !section.is_map("module") {
        return section
            .string("module")
            .map(|path| (PathBuf::from(path), None));
    }
    let module = section.section("module");
    module.required("file", "./plugins/my_plugin.wasm");
    let sha256 = module.parsed("sha256", |text| {
        let digest = hex::decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        digest.ok_or_else(|| "write the 64 hex digits that sha256sum prints".to_owned())
    });
    let file = module.string("file")?;
    Some((PathBuf::from(file), sha256))
}

fn read_limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let mib =
        |key, default: usize, most: usize| section.integer(key, default >> 20, 1..=most) << 20;
    Limits {
        // 32-bit WebAssembly cannot address more than 4 GiB.
        memory_bytes: mib("memory_mib", default.memory_bytes, 4096),
        call_deadline: section.duration_positive("call_deadline", default.call_deadline),
        drain_deadline: section.duration_positive("drain_deadline", default.drain_deadline),
        held_items: section.integer("held_items", default.held_items, 0..=100_000_000),
        held_bytes: mib("held_mib", default.held_bytes, 1_048_576),
        hold_time: section.duration_positive("hold_time", default.hold_time),
        log_lines_per_second: section.integer(
            "log_lines_per_second",
            default.log_lines_per_second,
            0..=10_000,
        ),
        reply_bytes: mib("reply_mib", default.reply_bytes, 1024),
    }
}

fn read_batch(section: &Section<'_>) -> Batch {
    section.not_offered(
        "metadata_keys",
        "remove it: batches are not kept apart by metadata",
    );
    section.ignored(&["metadata_cardinality_limit"]);
    let min_items = section.integer("send_batch_size", 8192, 0..=10_000_000);
    let max_items = section.integer("send_batch_max_size", 0, 0..=10_000_000);
    if max_items != 0 && max_items < min_items {
        section.wrong_key(
            "send_batch_max_size",
            format!("{max_items} is smaller than send_batch_size, which is {min_items}"),
            "write 0 for no limit, or at least send_batch_size",
        );
    }
    Batch {
        timeout: section.duration("timeout", Duration::from_millis(200)),
        min_items,
        max_items: (max_items != 0).then_some(max_items),
    }
}

fn read_memory_limiter(section: &Section<'_>) -> ProcessorKind {
    section.duration("check_interval", Duration::ZERO);
    for key in ["limit_mib", "spike_limit_mib"] {
        section.integer(key, 0_u32, 0..=u32::MAX);
    }
    for key in ["limit_percentage", "spike_limit_percentage"] {
        section.integer(key, 0_u32, 0..=100);
    }
    ProcessorKind::MemoryLimiter
}
