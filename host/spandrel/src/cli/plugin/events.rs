//! Formats the history and the differences of a shadow for people.

use spandrel_collector::report::{EventView, ShadowView};

use super::paint::Paint;
use super::table::{Column, Table, digest, micros, millis, number, table};

const COLUMNS: [Column; 9] = [
    Column::Left("AT"),
    Column::Left("STAGE"),
    Column::Right("GEN"),
    Column::Status("EVENT"),
    Column::Left("BY"),
    Column::Left("SHA256"),
    Column::Right("TOOK"),
    Column::Right("PAUSE"),
    Column::Left("DETAIL"),
];

fn cells(event: &EventView) -> Vec<String> {
    vec![
        event.at.clone(),
        event.stage.clone(),
        event.generation.to_string(),
        event.event.clone(),
        event.by.clone(),
        digest(&event.sha256),
        event.elapsed_ms.map(millis).unwrap_or_default(),
        event.pause_us.map(micros).unwrap_or_default(),
        event.detail.clone(),
    ]
}

/// Formats the output of `history`.
pub(super) fn history(events: &[EventView], paint: Paint) -> String {
    if events.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    let rows: Vec<_> = events.iter().map(cells).collect();
    table(&COLUMNS, &rows, paint)
}

/// The lines of `history --watch`, aligned with those before as far as they fit.
pub(super) struct Lines {
    table: Table,
    is_first: bool,
}

impl Lines {
    pub(super) fn new(known: &[EventView], paint: Paint) -> Self {
        let mut rows: Vec<_> = known.iter().map(cells).collect();
        // A row that is wide enough for most events to come.
        rows.push(
            [
                "",
                "",
                "1000",
                "rolled back",
                "probation",
                "",
                "999.9 ms",
                "999.9 ms",
                "",
            ]
            .map(str::to_owned)
            .to_vec(),
        );
        Self {
            table: Table::new(&COLUMNS, &rows, paint),
            is_first: true,
        }
    }

    pub(super) fn next(&mut self, event: &EventView) -> String {
        let row = self.table.row(&cells(event));
        if std::mem::take(&mut self.is_first) {
            format!("{}\n{row}", self.table.head())
        } else {
            row
        }
    }
}

/// Formats the output of `shadow`.
pub(super) fn shadow(view: &ShadowView, paint: Paint) -> String {
    let mut text = format!(
        "{}: generation {} in the shadow of {}\n",
        paint.bold(&view.stage),
        view.shadow,
        view.running
    );
    text.push_str(&format!(
        "  {} items compared, {} differ{}, {} not settled, {} faults\n",
        number(view.compared),
        number(view.different),
        share(view.different, view.compared),
        number(view.unsettled),
        number(view.faults)
    ));
    if view.differences.is_empty() {
        return text;
    }
    let columns = [
        Column::Right("COUNT"),
        Column::Left("SERVICE"),
        Column::Left("SPAN"),
        Column::Left("RUNNING"),
        Column::Left("SHADOW"),
        Column::Left("EXAMPLE (TRACE, SPAN)"),
    ];
    let rows: Vec<_> = view
        .differences
        .iter()
        .map(|difference| {
            let example = difference.examples.first();
            let example = example.map(|(trace, span)| format!("{trace} {span}"));
            vec![
                number(difference.count),
                difference.service.clone(),
                difference.span.clone(),
                difference.running.clone(),
                difference.shadow.clone(),
                example.unwrap_or_default(),
            ]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(&columns, &rows, paint));
    text
}

fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let percent = part as f64 / all as f64 * 100.0;
    format!(" ({percent:.2} %)")
}
