//! `sending_queue`: the bounds of an exporter's queue.

use std::time::Duration;

use spandrel_pipeline::batcher::BatcherConfig;
use spandrel_pipeline::queue::{OnFull, QueueConfig, Sizer};

use crate::text::section::Section;

/// The smallest queue that is counted in bytes: about a hundred spans, which is what SDKs send at
/// once.
const LEAST_BYTES: usize = 64 << 10;

/// Returns the queue, true if it sets `on_full: drop` explicitly, and its batching.
pub(crate) fn read(section: &Section<'_>) -> (QueueConfig, bool, Option<BatcherConfig>) {
    let default = QueueConfig::default();
    let sizers = [
        ("requests", Sizer::Requests),
        ("items", Sizer::Items),
        ("bytes", Sizer::Bytes),
    ];
    let queue = QueueConfig {
        num_consumers: section.integer("num_consumers", default.num_consumers, 1..=1000),
        queue_size: section.integer("queue_size", default.queue_size, 1..=1 << 40),
        sizer: section.choice("sizer", default.sizer, &sizers),
        max_bytes: section.integer("max_mib", default.max_bytes >> 20, 1..=1_048_576) << 20,
        block_on_overflow: section.boolean("block_on_overflow", default.block_on_overflow),
        on_full: section.choice(
            "on_full",
            default.on_full,
            &[("drop", OnFull::Drop), ("refuse", OnFull::Refuse)],
        ),
    };
    if queue.sizer == Sizer::Bytes && queue.queue_size < LEAST_BYTES {
        // A request that is larger than the queue would still be let in, alone.
        let what = "so few bytes hold no request";
        section.wrong_key("queue_size", what, format!("write at least {LEAST_BYTES}"));
    }
    if !section.boolean("enabled", true) {
        section.wrong_key(
            "enabled",
            "exporters always have a queue",
            "remove it, or set `ack_on: export` on the pipeline to answer senders after the export",
        );
    }
    if section.boolean("wait_for_result", false) {
        section.wrong_key(
            "wait_for_result",
            "not offered for one exporter",
            "set `ack_on: export` on the pipeline",
        );
    }
    section.not_offered(
        "storage",
        "remove it, and write `durability: { dir: ... }` at the pipeline: more than the queue is kept then",
    );
    let batch = section.node("batch").map(|_| {
        let is_said = section.has("sizer");
        read_batch(&section.section("batch"), is_said.then_some(queue.sizer))
    });
    let says_drop = queue.on_full == OnFull::Drop && section.has("on_full");
    (queue, says_drop, batch)
}

/// Reads the batching. As in the Collector, a batch has the queue's sizer unless it sets its own.
fn read_batch(section: &Section<'_>, of_queue: Option<Sizer>) -> BatcherConfig {
    let default = of_queue.filter(|sizer| *sizer != Sizer::Requests);
    let sizers = [
        ("items", Sizer::Items),
        ("bytes", Sizer::Bytes),
        ("requests", Sizer::Requests),
    ];
    let sizer = section.choice("sizer", default.unwrap_or(Sizer::Items), &sizers);
    if sizer == Sizer::Requests {
        section.wrong_key(
            "sizer",
            "a batch is one request",
            "write items or bytes, or remove the key",
        );
    }
    section.not_offered(
        "partition",
        "remove it: batches are not kept apart by metadata",
    );
    // Bytes up to 1 GiB, which is more than any backend takes.
    let min_size = section.integer("min_size", 8192, 0..=1 << 30);
    let max_size = section.integer("max_size", 0, 0..=1 << 30);
    if max_size != 0 && max_size < min_size {
        let what = format!("{max_size} is smaller than min_size, which is {min_size}");
        section.wrong_key(
            "max_size",
            what,
            "write 0 for no limit, or at least min_size",
        );
    }
    BatcherConfig {
        flush_timeout: section.duration_positive("flush_timeout", Duration::from_millis(200)),
        sizer,
        min_size,
        max_size,
    }
}
