//! Tables with aligned columns.

use super::paint::Paint;

/// The alignment of a column's cells, with the title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Left(&'static str),
    /// A right-aligned column, for numbers.
    Right(&'static str),
    /// A column of status words, which are coloured by their meaning.
    Status(&'static str),
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Left(title) | Self::Right(title) | Self::Status(title) => title,
        }
    }
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    widths: Vec<usize>,
    paint: Paint,
}

impl Table {
    pub(super) fn new<'r>(
        columns: &[Column],
        rows: impl IntoIterator<Item = &'r Vec<String>>,
        paint: Paint,
    ) -> Self {
        let mut widths: Vec<usize> = columns.iter().map(|column| column.title().len()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        Self {
            columns: columns.to_vec(),
            widths,
            paint,
        }
    }

    pub(super) fn head(&self) -> String {
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.title().to_owned())
            .collect();
        self.paint.bold(&self.line(&titles, false))
    }

    pub(super) fn row(&self, cells: &[String]) -> String {
        self.line(cells, true)
    }

    fn line(&self, cells: &[String], painted: bool) -> String {
        let mut line = String::new();
        let mut owed = 0;
        for ((column, width), cell) in self.columns.iter().zip(&self.widths).zip(cells) {
            let space = width.saturating_sub(cell.chars().count());
            let is_right = matches!(column, Column::Right(_));
            // Spaces are written only before more text, so that lines have no trailing spaces.
            if !cell.is_empty() {
                let before = if is_right { owed + space } else { owed };
                line.push_str(&" ".repeat(before));
                owed = if is_right { 0 } else { space };
                match column {
                    Column::Status(_) if painted => line.push_str(&self.paint.status(cell)),
                    _ => line.push_str(cell),
                }
            } else {
                owed += space;
            }
            owed += 2;
        }
        line
    }
}

/// Returns a whole table, with the end of its last line.
pub(super) fn table(columns: &[Column], rows: &[Vec<String>], paint: Paint) -> String {
    let table = Table::new(columns, rows, paint);
    let mut text = table.head();
    text.push('\n');
    for row in rows {
        text.push_str(&table.row(row));
        text.push('\n');
    }
    text
}

/// Formats a number with separators between thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Shortens a digest to as much as distinguishes it from others.
pub(super) fn digest(sha256: &str) -> String {
    sha256.chars().take(12).collect()
}

/// Formats a time in microseconds with a suitable unit.
pub(super) fn micros(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let value = micros as f64;
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", value / 1e3),
        _ => format!("{:.1} s", value / 1e6),
    }
}

pub(super) fn millis(millis: u64) -> String {
    micros(millis.saturating_mul(1000))
}
