//! The result as a table: names are aligned left, figures right.

use crate::figures::COLUMNS;
use crate::outcome::Outcome;
use crate::roster::PROXY;

/// Returns the header and a row for each contestant: medians, and the rate as a share of the raw
/// proxy's.
pub(crate) fn rows(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let proxy = outcomes
        .iter()
        .find(|outcome| outcome.contestant.name == PROXY)
        .and_then(|outcome| outcome.medians().rate());
    let mut head = vec!["collector".to_owned()];
    head.extend(COLUMNS.iter().map(|column| column.head.to_owned()));
    head.extend(["of proxy", "remarks"].map(str::to_owned));
    let rows = outcomes.iter().map(|outcome| {
        let medians = outcome.medians();
        let mut row = vec![outcome.name()];
        row.extend(medians.shown());
        row.push(match (medians.rate(), proxy) {
            (Some(rate), Some(proxy)) if proxy > 0.0 => format!("{:.0} %", rate / proxy * 100.0),
            _ => "-".to_owned(),
        });
        row.push(outcome.remarks().join("; "));
        row
    });
    std::iter::once(head).chain(rows).collect()
}

/// Formats the table for people: aligned with spaces.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| cells.join("  ").trim_end().to_owned();
    let lines: Vec<String> = padded(rows).map(line).collect();
    lines.join("\n")
}

/// Formats the table as Markdown: with bars, and aligned as well.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut lines: Vec<String> = padded(rows)
        .map(|cells| format!("| {} |", cells.join(" | ")))
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let rule = (0..columns).map(|column| {
        if is_text(column, columns) {
            "---"
        } else {
            "---:"
        }
    });
    lines.insert(
        lines.len().min(1),
        format!("| {} |", rule.collect::<Vec<_>>().join(" | ")),
    );
    lines.join("\n")
}

fn is_text(column: usize, columns: usize) -> bool {
    column == 0 || column + 1 == columns
}

fn padded(rows: &[Vec<String>]) -> impl Iterator<Item = Vec<String>> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = move |column: usize| {
        let cells = rows.iter().filter_map(move |row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().map(move |row| {
        let cells = row.iter().zip(&widths).enumerate();
        cells
            .map(|(column, (cell, width))| {
                if is_text(column, columns) {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<Vec<String>> {
        let rows = [
            ["collector", "rate", "remarks"],
            ["it", "1,000", ""],
            ["other one", "9", "lost 1"],
        ];
        rows.map(|row| row.map(str::to_owned).to_vec()).to_vec()
    }

    /// Columns are as wide as their widest cell; figures are aligned right.
    #[test]
    fn columns_are_aligned() {
        let expected = "\
collector   rate  remarks
it         1,000
other one      9  lost 1";
        assert_eq!(aligned(&table()), expected);
    }

    /// A Markdown table has its rule under the header.
    #[test]
    fn pages_have_bars() {
        let expected = "\
| collector |  rate | remarks |
| --- | ---: | --- |
| it        | 1,000 |         |
| other one |     9 | lost 1  |";
        assert_eq!(markdown(&table()), expected);
    }
}
