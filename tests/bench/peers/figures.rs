//! The figures in a report of `spandrel bench`, and their medians.

use serde_json::Value;

/// A figure of the table.
#[derive(Debug)]
pub(crate) struct Column {
    /// The heading in the table.
    pub(crate) head: &'static str,
    /// The key in the JSON.
    pub(crate) key: &'static str,
    /// The places in the report. If there are several, the figure is the product of the numbers.
    pointers: &'static [&'static str],
    /// The factor from the report's unit to the table's.
    scale: f64,
    digits: usize,
}

const fn column(
    head: &'static str,
    key: &'static str,
    pointers: &'static [&'static str],
    scale: f64,
    digits: usize,
) -> Column {
    Column {
        head,
        key,
        pointers,
        scale,
        digits,
    }
}

/// The factor from bytes.
const MIB: f64 = 1.0 / (1024.0 * 1024.0);

const RATE: &[&str] = &["/cost/items_per_cpu_second"];
const COST: &[&str] = &["/cost/us_per_item"];
const USER: &[&str] = &["/cost/us_per_item", "/cost/user_share"];
const SYSTEM: &[&str] = &["/cost/us_per_item", "/cost/system_share"];
const PEAK: &[&str] = &["/collector/peak_bytes"];
const IDLE: &[&str] = &["/collector/idle_bytes"];

/// The figures of the table, in order. Contestants are compared by the first.
pub(crate) const COLUMNS: [Column; 10] = [
    column("spans/CPU-s", "spans_per_cpu_second", RATE, 1.0, 0),
    column("us/span", "us_per_span", COST, 1.0, 2),
    column("user", "user_us_per_span", USER, 1.0, 2),
    column("sys", "system_us_per_span", SYSTEM, 1.0, 2),
    column(
        "spans/s",
        "spans_per_second",
        &["/items_per_second"],
        1.0,
        0,
    ),
    column("peak MiB", "peak_mib", PEAK, MIB, 1),
    column("idle MiB", "idle_mib", IDLE, MIB, 1),
    column("start ms", "start_ms", &["/collector/ready_ms"], 1.0, 0),
    column("p50 ms", "p50_ms", &["/latency_ms/p50"], 1.0, 1),
    column("p99 ms", "p99_ms", &["/latency_ms/p99"], 1.0, 1),
];

/// One value for each column; `None` if the report has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures([Option<f64>; COLUMNS.len()]);

impl Figures {
    pub(crate) fn read(report: &Value) -> Self {
        Self(COLUMNS.each_ref().map(|column| {
            let mut numbers = column.pointers.iter();
            numbers.try_fold(column.scale, |product, pointer| {
                Some(product * report.pointer(pointer)?.as_f64()?)
            })
        }))
    }

    /// Returns the median of each column, independently of the others.
    pub(crate) fn medians(rounds: &[Self]) -> Self {
        let mut medians = Self::default();
        for (column, median) in medians.0.iter_mut().enumerate() {
            let values = rounds.iter().filter_map(|round| *round.0.get(column)?);
            *median = self::median(values.collect());
        }
        medians
    }

    /// Returns the figure by which contestants are compared.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.0.first().copied().flatten()
    }

    pub(crate) fn values(&self) -> &[Option<f64>] {
        &self.0
    }

    /// Returns a cell for each column.
    pub(crate) fn shown(&self) -> Vec<String> {
        let figures = self.0.iter().zip(&COLUMNS);
        let shown = figures.map(|(value, column)| match value {
            Some(value) => grouped(&format!("{value:.*}", column.digits)),
            None => "-".to_owned(),
        });
        shown.collect()
    }

    /// Returns a line of progress.
    pub(crate) fn in_short(&self) -> String {
        let mut cells = self.shown().into_iter();
        let mut next = || cells.next().unwrap_or_default();
        format!("{:>9} spans/CPU-s  {:>6} us/span", next(), next())
    }
}

/// Returns the middle value, or the mean of the two middle values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(*upper, *lower))
}

/// Adds thousands separators before the decimal point.
fn grouped(figure: &str) -> String {
    let (whole, rest) = figure.split_at(figure.find('.').unwrap_or(figure.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Counts that must be right in every round. They are summed, not averaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) duplicated: u64,
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    pub(crate) unanswered: u64,
    pub(crate) health_checks_sent: u64,
    pub(crate) health_checks_accepted: u64,
    pub(crate) health_checks_delivered: u64,
}

impl Counts {
    pub(crate) fn read(report: &Value) -> Self {
        let items = report.get("items");
        let count = |key| items.and_then(|items| items.get(key)?.as_u64());
        let refused = items.and_then(|items| items.get("refused")?.as_object());
        let refused = refused.map(|refused| refused.values().filter_map(Value::as_u64).sum());
        Self {
            lost: count("lost").unwrap_or(0),
            late: count("late").unwrap_or(0),
            duplicated: count("duplicated").unwrap_or(0),
            rejected: count("rejected").unwrap_or(0),
            refused: refused.unwrap_or(0),
            unanswered: count("unanswered").unwrap_or(0),
            health_checks_sent: count("health_checks_sent").unwrap_or(0),
            health_checks_accepted: count("health_checks_accepted").unwrap_or(0),
            health_checks_delivered: count("health_checks_delivered").unwrap_or(0),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.late += other.late;
        self.duplicated += other.duplicated;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.health_checks_sent += other.health_checks_sent;
        self.health_checks_accepted += other.health_checks_accepted;
        self.health_checks_delivered += other.health_checks_delivered;
    }
}

/// Returns the average number of bytes that a span gained: its size on arrival minus the size of a
/// sent span that is no health check.
pub(crate) fn added_bytes(report: &Value) -> Option<f64> {
    let arrived = report.get("backend_bytes_per_item")?.as_f64()?;
    let sent = report.pointer("/load/bytes_per_item_without_health_checks")?;
    Some(arrived - sent.as_f64()?)
}

/// The report's own verdict on its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// True if something went through, all of it in time, and the collector ended well.
    pub(crate) is_ok: bool,
    /// True if generator and backend did not cost several times less than the collector.
    pub(crate) is_doubtful: bool,
}

impl Verdict {
    pub(crate) fn read(report: &Value) -> Self {
        let says = |pointer, word| report.pointer(pointer).and_then(Value::as_bool) == Some(word);
        Self {
            is_ok: says("/verdict/ok", true),
            is_doubtful: says("/verdict/bed_is_cheap", false),
        }
    }
}

#[cfg(test)]
mod tests;
