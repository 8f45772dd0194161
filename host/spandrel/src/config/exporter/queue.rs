//! `sending_queue`: the bounds of an exporter's queue.

use std::time::Duration;

use crate::config::processor::Batch;
use crate::config::section::Section;

/// The bounds of an exporter's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Attempts that run at once.
    pub consumers: usize,
    /// How much fits, in units of `sizer`.
    pub size: usize,
    /// What `size` counts.
    pub sizer: Sizer,
    /// Whether senders wait for room instead of being refused.
    pub block_on_overflow: bool,
}

/// What a queue's size counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    /// Batches.
    Requests,
    /// Spans, data points, log records.
    Items,
    /// Bytes.
    Bytes,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            consumers: 10,
            size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
        }
    }
}

pub(crate) fn read(section: &Section<'_>) -> (Queue, Option<Batch>) {
    let default = Queue::default();
    let sizers = [
        ("requests", Sizer::Requests),
        ("items", Sizer::Items),
        ("bytes", Sizer::Bytes),
    ];
    let queue = Queue {
        consumers: section.integer("num_consumers", default.consumers, 1..=1000),
        size: section.integer("queue_size", default.size, 1..=1 << 40),
        sizer: section.choice("sizer", default.sizer, &sizers),
        block_on_overflow: section.boolean("block_on_overflow", default.block_on_overflow),
    };
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
        "remove it: this version keeps its queues in memory",
    );
    let batch = section
        .node("batch")
        .map(|_| read_batch(&section.section("batch")));
    (queue, batch)
}

fn read_batch(section: &Section<'_>) -> Batch {
    let sizer = section.choice(
        "sizer",
        Sizer::Items,
        &[
            ("items", Sizer::Items),
            ("bytes", Sizer::Bytes),
            ("requests", Sizer::Requests),
        ],
    );
    if sizer != Sizer::Items {
        section.wrong_key(
            "sizer",
            "batches are sized by their items",
            "write items, or remove the key",
        );
    }
    section.not_offered(
        "partition",
        "remove it: batches are not kept apart by metadata",
    );
    let min_items = section.integer("min_size", 8192, 0..=10_000_000);
    let max_items = section.integer("max_size", 0, 0..=10_000_000);
    if max_items != 0 && max_items < min_items {
        let what = format!("{max_items} is smaller than min_size, which is {min_items}");
        section.wrong_key(
            "max_size",
            what,
            "write 0 for no limit, or at least min_size",
        );
    }
    Batch {
        timeout: section.duration_positive("flush_timeout", Duration::from_millis(200)),
        min_items,
        max_items: (max_items != 0).then_some(max_items),
    }
}
