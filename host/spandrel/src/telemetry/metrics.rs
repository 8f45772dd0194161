//! `/metrics`: Prometheus' text format, written from the ledgers at the moment of the scrape.
//!
//! Metrics have the Collector's names if it has the same ones, and start with `spandrel_`
//! otherwise. Nothing is counted twice: a value that can be read from a ledger has no counter of
//! its own.

mod help;
mod journals;
mod process;
mod swaps;
mod text;

use std::collections::BTreeMap;

use spandrel_collector::status::{PipelineStatus, Snapshot, Status};
use spandrel_pipeline::ledger::{Books, Figure, FullPart, StageBooks};
use spandrel_pipeline::stage::FaultKind;
use spandrel_plugin::metrics::Value;
use spandrel_wire::Signal;

use text::Text;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// Returns the text of one scrape.
pub fn render(status: &Status) -> String {
    let snapshot = status.snapshot();
    let mut text = Text::default();
    receivers(&mut text, &snapshot);
    requests(&mut text, &snapshot);
    let books: Vec<(&PipelineStatus, Books)> = snapshot
        .pipelines
        .iter()
        .map(|pipeline| (pipeline, pipeline.ledger.books()))
        .collect();
    exporters(&mut text, &books);
    stages(&mut text, &books);
    swaps::render(&mut text, status, &books);
    ledgers(&mut text, &books);
    journals::render(&mut text, &books);
    limiters(&mut text, &snapshot);
    plugins(&mut text, &snapshot);
    process::render(&mut text, status.started().elapsed());
    text.finish()
}

fn receivers(text: &mut Text, snapshot: &Snapshot) {
    for signal in SIGNALS {
        let name = |what| format!("otelcol_receiver_{what}_{}", items(signal));
        for source in &snapshot.receivers {
            let labels = [
                ("receiver", source.receiver.as_str()),
                ("transport", source.transport),
            ];
            let offered = &source.offered;
            text.counter(&name("accepted"), &labels, offered.accepted(signal));
            text.counter(&name("refused"), &labels, offered.refused(signal));
            let labels = [labels.as_slice(), &[("data_type", data_type(signal))]].concat();
            let replaced = offered.replaced_texts(signal);
            text.counter("spandrel_receiver_replaced_texts_total", &labels, replaced);
        }
    }
}

/// Writes the counts of requests. They include requests whose items were not counted, because they
/// were refused before they were read.
fn requests(text: &mut Text, snapshot: &Snapshot) {
    for source in &snapshot.receivers {
        let Some(stats) = &source.stats else { continue };
        let labels = [
            ("receiver", source.receiver.as_str()),
            ("transport", source.transport),
        ];
        for (code, count) in stats.answers() {
            let labels = [labels.as_slice(), &[("code", code)]].concat();
            text.counter("spandrel_receiver_requests_total", &labels, count);
        }
        for (spoke, count) in stats.wrong_protocols() {
            let labels = [labels.as_slice(), &[("spoke", spoke)]].concat();
            text.counter("spandrel_receiver_wrong_protocol_total", &labels, count);
        }
        text.counter(
            "spandrel_receiver_failed_connections_total",
            &labels,
            stats.failed_connections(),
        );
    }
}

fn limiters(text: &mut Text, snapshot: &Snapshot) {
    for limiter in &snapshot.limiters {
        let labels = [("limiter", limiter.id.as_str())];
        let refusing = u8::from(limiter.is_refusing());
        text.gauge("spandrel_memory_limiter_refusing", &labels, refusing);
        let name = |what| format!("spandrel_memory_limiter_{what}_limit_bytes");
        text.gauge(&name("soft"), &labels, limiter.soft_limit);
        text.gauge(&name("hard"), &labels, limiter.hard_limit);
    }
}

fn plugins(text: &mut Text, snapshot: &Snapshot) {
    for (stage, metrics) in &snapshot.plugins {
        for (name, value) in metrics.snapshot() {
            let labels = [("stage", stage.as_str()), ("name", name.as_str())];
            match value {
                Value::Counter(count) => {
                    text.counter("spandrel_plugin_counter_total", &labels, count)
                }
                Value::Gauge(value) => text.gauge("spandrel_plugin_gauge", &labels, value),
            }
        }
        text.counter(
            "spandrel_plugin_metrics_refused_total",
            &[("stage", stage)],
            metrics.refused(),
        );
    }
}

/// Returns the Collector's word for the items of a signal.
fn items(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "spans",
        Signal::Metrics => "metric_points",
        Signal::Logs => "log_records",
    }
}

fn data_type(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

#[derive(Default)]
struct ExporterSums {
    sent: u64,
    send_failed: u64,
    too_large: u64,
    enqueue_failed: u64,
    attempts: u64,
    size: usize,
    capacity: usize,
}

/// Writes the metrics of exporters. As in the Collector, each exporter and signal has one series:
/// pipelines that share an exporter are added up.
fn exporters(text: &mut Text, books: &[(&PipelineStatus, Books)]) {
    let mut sums: BTreeMap<(&str, &str, &str), ExporterSums> = BTreeMap::new();
    for (pipeline, books) in books {
        let signal = pipeline.ledger.signal();
        for (exporter, fill) in books.exporters.iter().zip((pipeline.queues)()) {
            let key = (exporter.name.as_str(), items(signal), data_type(signal));
            let sum = sums.entry(key).or_default();
            sum.sent += exporter.sent;
            sum.send_failed += exporter.lost();
            sum.too_large += exporter.too_large;
            sum.enqueue_failed += exporter.enqueue_failed;
            sum.attempts += exporter.attempts;
            sum.size += fill.size;
            sum.capacity += fill.capacity;
        }
    }
    for ((exporter, items, data_type), sum) in sums {
        let labels = [("exporter", exporter)];
        text.counter(&format!("otelcol_exporter_sent_{items}"), &labels, sum.sent);
        text.counter(
            &format!("otelcol_exporter_send_failed_{items}"),
            &labels,
            sum.send_failed,
        );
        text.counter(
            &format!("otelcol_exporter_enqueue_failed_{items}"),
            &labels,
            sum.enqueue_failed,
        );
        let labels = [("exporter", exporter), ("data_type", data_type)];
        text.gauge("otelcol_exporter_queue_size", &labels, sum.size);
        text.gauge("otelcol_exporter_queue_capacity", &labels, sum.capacity);
        text.counter("spandrel_exporter_attempts_total", &labels, sum.attempts);
        text.counter(
            "spandrel_exporter_too_large_items_total",
            &labels,
            sum.too_large,
        );
    }
}

fn stages(text: &mut Text, books: &[(&PipelineStatus, Books)]) {
    for (pipeline, books) in books {
        for stage in &books.stages {
            render_stage(text, pipeline.ledger.pipeline(), stage);
        }
    }
}

fn render_stage(text: &mut Text, pipeline: &str, stage: &StageBooks) {
    let labels = [("pipeline", pipeline), ("stage", stage.name.as_str())];
    let with = |name, value| [labels.as_slice(), &[(name, value)]].concat();
    figures(text, &labels, &stage.columns(), false);
    text.counter(
        "spandrel_stage_call_seconds_total",
        &labels,
        stage.call_time.as_secs_f64(),
    );
    for (kind, count) in FaultKind::ALL.iter().zip(stage.faults) {
        text.counter(
            "spandrel_stage_faults_total",
            &with("fault", kind.label()),
            count,
        );
    }
    for (reason, count) in stage.dropped() {
        text.counter(
            "spandrel_stage_dropped_items_total",
            &with("reason", reason),
            count,
        );
    }
}

/// Writes the figures of the ledger that are metrics: those of journals, or the others.
fn figures(text: &mut Text, labels: &[(&str, &str)], figures: &[Figure], of_journal: bool) {
    for figure in figures {
        match figure.metric {
            Some(_) if figure.of_journal != of_journal => {}
            Some(name) if name.ends_with("_total") => text.counter(name, labels, figure.value),
            Some(name) => text.gauge(name, labels, figure.value),
            None => {}
        }
    }
}

fn ledgers(text: &mut Text, books: &[(&PipelineStatus, Books)]) {
    for (pipeline, books) in books {
        let labels = [("pipeline", pipeline.ledger.pipeline())];
        figures(text, &labels, &books.columns(), false);
        for (full, items) in [
            (FullPart::Queues, books.overflowed.queues),
            (FullPart::Shards, books.overflowed.shards),
        ] {
            let labels = [labels.as_slice(), &[("reason", full.label())]].concat();
            text.counter("spandrel_ledger_overflowed_items_total", &labels, items);
        }
        for exporter in &books.exporters {
            let labels = [
                ("pipeline", pipeline.ledger.pipeline()),
                ("exporter", exporter.name.as_str()),
            ];
            figures(text, &labels, &exporter.columns(), false);
        }
        text.gauge(
            "spandrel_ledger_balanced",
            &labels,
            u8::from(books.is_balanced()),
        );
    }
}
