//! Converts books to the views of the admin API.

use spandrel_pipeline::ledger::{Books, GenerationBooks};

use crate::report::{ExporterLedger, FiguresView, LedgerView, StageLedger};

/// Returns the figures of one generation in two pipelines, together.
pub(crate) fn joined(one: &FiguresView, other: &FiguresView) -> FiguresView {
    let calls = one.calls + other.calls;
    let time = one.call_us * one.calls + other.call_us * other.calls;
    FiguresView {
        generation: one.generation,
        input: one.input + other.input,
        output: one.output + other.output,
        dropped: one.dropped + other.dropped,
        calls,
        faults: one.faults + other.faults,
        bypassed: one.bypassed + other.bypassed,
        call_us: time.checked_div(calls).unwrap_or(0),
    }
}

/// Returns the figures of one generation in one pipeline.
pub(crate) fn figures_view(books: &GenerationBooks) -> FiguresView {
    let micros = u64::try_from(books.call_time.as_micros()).unwrap_or(u64::MAX);
    FiguresView {
        generation: books.number,
        input: books.input,
        output: books.output,
        dropped: books.dropped,
        calls: books.calls,
        faults: books.faults,
        bypassed: books.bypass.items(),
        call_us: micros.checked_div(books.calls).unwrap_or(0),
    }
}

/// Returns a pipeline's books, with its stages in the order in which a batch passes them.
pub(crate) fn ledger_view(books: &Books) -> LedgerView {
    let mut stages: Vec<_> = books
        .stages
        .iter()
        .map(|column| {
            let dropped = column.dropped();
            let view = StageLedger {
                stage: column.name.clone(),
                input: column.input,
                retried: column.retried,
                output: column.output,
                held: column.held,
                bypassed: column.bypassed,
                dropped: dropped
                    .map(|(reason, items)| (reason.to_owned(), items))
                    .collect(),
                generations: column.generations.iter().map(figures_view).collect(),
            };
            (column.position.unwrap_or(usize::MAX), view)
        })
        .collect();
    stages.sort_by_key(|(position, _)| *position);
    let exporters = books.exporters.iter().map(|exporter| ExporterLedger {
        exporter: exporter.name.clone(),
        queued: exporter.queued,
        exported: exporter.sent,
        lost: exporter.lost(),
        overflowed: exporter.overflowed,
        recovered: exporter.recovered,
        on_disk: exporter.on_disk,
        journaled: exporter.journaled,
    });
    LedgerView {
        received: books.received,
        created: books.created,
        refused: books.refused,
        dropped: books.dropped(),
        overflowed: books.overflowed.total(),
        forwarded: books.forwarded,
        abandoned: books.abandoned,
        held: books.held(),
        in_flight: books.ingress + books.chain,
        replayed: books.replayed,
        journaled: books.journaled,
        quarantined: books.quarantined,
        damaged: books.damaged,
        balanced: books.is_balanced(),
        stages: stages.into_iter().map(|(_, view)| view).collect(),
        exporters: exporters.collect(),
    }
}
