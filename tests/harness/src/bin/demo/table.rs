//! Aligned tables: the first and the last column are aligned left, figures right.

/// Rows of cells; the first row is the header.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(head.iter().map(ToString::to_string));
        table
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Returns the table's lines, the header first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let figures = |column: usize| {
            let mut cells = self.rows.iter().skip(1).filter_map(|row| row.get(column));
            cells.all(|cell| cell.chars().all(|c| c.is_ascii_digit() || c == ','))
        };
        let right: Vec<bool> = (0..columns).map(figures).collect();
        self.rows
            .iter()
            .map(|row| {
                let mut line = String::from("  ");
                for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
                    if *right {
                        line.push_str(&format!("{cell:>width$}  "));
                    } else {
                        line.push_str(&format!("{cell:<width$}  "));
                    }
                }
                line.truncate(line.trim_end().len());
                line
            })
            .collect()
    }
}

/// Formats a count with thousands separators.
pub(crate) fn figure(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
