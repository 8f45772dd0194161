//! Metrics of journals and quarantine, by pipeline and log.

use std::sync::Arc;

use spandrel_collector::status::PipelineStatus;
use spandrel_journal::Store;
use spandrel_pipeline::journal::{Journal as _, Log};
use spandrel_pipeline::ledger::Books;

use super::text::Text;

pub(super) fn render(text: &mut Text, books: &[(&PipelineStatus, Books)]) {
    for (pipeline, books) in books {
        if let Some(journal) = &pipeline.journal {
            let name = pipeline.ledger.pipeline();
            counters(text, name, journal);
            fill(text, name, "ingress", &journal.ingress());
            for exporter in &books.exporters {
                // The log of an exporter in the books is open already.
                if let Ok(log) = journal.egress(&exporter.name) {
                    fill(text, name, &format!("egress/{}", exporter.name), &log);
                }
            }
            ledger(text, name, books);
        }
    }
    for (pipeline, _) in books {
        if let Some(quarantine) = &pipeline.quarantine {
            let labels = [("pipeline", pipeline.view.name.as_str())];
            let batches = quarantine.put_so_far();
            text.counter("spandrel_quarantined_batches_total", &labels, batches);
        }
    }
}

fn fill(text: &mut Text, pipeline: &str, log: &str, of: &Arc<dyn Log>) {
    let labels = [("pipeline", pipeline), ("log", log)];
    let fill = of.fill();
    for (what, value) in [
        ("records", fill.records),
        ("items", fill.items),
        ("bytes", fill.bytes),
    ] {
        let name = format!("spandrel_journal_unfinished_{what}");
        text.gauge(&name, &labels, value);
    }
    text.gauge("spandrel_journal_log_disk_bytes", &labels, fill.disk_bytes);
    let loss = of.loss();
    for (what, count) in [
        ("lost_items", loss.items),
        ("lost_records_of_unknown_size", loss.records),
        ("doubtful_records_and_files", loss.doubtful),
    ] {
        let name = format!("spandrel_journal_{what}_total");
        text.counter(&name, &labels, count);
    }
}

fn counters(text: &mut Text, pipeline: &str, journal: &Store) {
    let labels = [("pipeline", pipeline)];
    let counters = journal.counters();
    for (what, count) in [
        ("appended_records", counters.records),
        ("appended_bytes", counters.bytes),
        ("syncs", counters.syncs),
        ("failures", counters.failures),
        ("refused_full", counters.full),
        ("damaged_records", counters.damaged),
    ] {
        let name = format!("spandrel_journal_{what}_total");
        text.counter(&name, &labels, count);
    }
    text.counter(
        "spandrel_journal_sync_seconds_total",
        &labels,
        counters.sync_time.as_secs_f64(),
    );
    text.gauge(
        "spandrel_journal_last_sync_seconds",
        &labels,
        counters.last_sync.as_secs_f64(),
    );
    text.gauge("spandrel_journal_segments", &labels, counters.segments);
    text.gauge("spandrel_journal_disk_bytes", &labels, counters.disk_bytes);
}

fn ledger(text: &mut Text, pipeline: &str, books: &Books) {
    let labels = [("pipeline", pipeline)];
    for (what, items) in [
        ("replayed", books.replayed),
        ("journaled", books.journaled),
        ("quarantined", books.quarantined),
        ("damaged", books.damaged),
    ] {
        let name = format!("spandrel_ledger_{what}_items_total");
        text.counter(&name, &labels, items);
    }
    text.counter(
        "spandrel_journal_unused_handovers_total",
        &labels,
        books.unused_handovers,
    );
    for exporter in &books.exporters {
        let labels = [("pipeline", pipeline), ("exporter", exporter.name.as_str())];
        let name = |what| format!("spandrel_ledger_exporter_{what}_items");
        text.gauge(&name("recovered"), &labels, exporter.recovered);
        text.gauge(&name("on_disk"), &labels, exporter.on_disk);
        text.gauge(&name("journaled"), &labels, exporter.journaled);
    }
}
