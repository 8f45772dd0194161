//! Converts books to the views of the admin API.

use spandrel_pipeline::ledger::{Books, Figure, GenerationBooks, Side, Unit};

use crate::report::{ExporterLedger, FiguresView, LedgerColumns, LedgerView, StageLedger};

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

fn ledger_columns(figures: impl IntoIterator<Item = Figure>) -> LedgerColumns {
    let figures = figures.into_iter();
    LedgerColumns(
        figures
            .map(|figure| (figure.name.to_owned(), figure.value))
            .collect(),
    )
}

/// Returns a pipeline's books, with its stages in the order in which a batch passes them.
pub(crate) fn ledger_view(books: &Books) -> LedgerView {
    let mut stages: Vec<_> = books
        .stages
        .iter()
        .map(|column| {
            let dropped = column.dropped();
            let items = column.columns().into_iter();
            let items = items.filter(|figure| figure.unit == Unit::Items);
            let view = StageLedger {
                stage: column.name.clone(),
                columns: ledger_columns(items),
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
        columns: ledger_columns(exporter.columns()),
    });
    let columns = books.columns().into_iter();
    LedgerView {
        columns: ledger_columns(columns.filter(|column| column.side != Side::Aside)),
        balanced: books.is_balanced(),
        stages: stages.into_iter().map(|(_, view)| view).collect(),
        exporters: exporters.collect(),
    }
}
