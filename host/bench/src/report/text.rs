//! Writes the report for people.

use std::fmt::Write as _;

use super::{BedEnd, CHEAP_FACTOR, Report, Yardstick};

/// The escape sequences of a terminal.
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Returns a report as lines for people, with colour if that is wanted.
pub(super) fn write(report: &Report, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    // Writing to a string does not fail.
    write_report(report, &mut out, &paint).unwrap_or_default();
    out
}

fn write_report(report: &Report, out: &mut String, paint: &Paint) -> std::fmt::Result {
    write_load(report, out)?;
    write_items(report, out, paint)?;
    write_collector(report, out, paint)?;
    let latency = &report.latency_ms;
    writeln!(
        out,
        "latency      p50 {:.1} ms, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1}",
        latency.p50, latency.p90, latency.p99, latency.p999, latency.max
    )?;
    write_end(out, paint, "generator", &report.generator)?;
    write_end(out, paint, "backend", &report.backend)?;
    if let Some(bytes) = report.backend_bytes_per_item {
        writeln!(out, "             {bytes:.0} bytes an item arrived")?;
    }
    if let Some(yardstick) = &report.yardstick {
        write_yardstick(out, paint, yardstick)?;
    }
    for remark in &report.verdict.remarks {
        writeln!(
            out,
            "{}",
            paint.with(YELLOW, &format!("note         {remark}"))
        )?;
    }
    let verdict = if report.verdict.ok {
        paint.with(GREEN, "ok")
    } else {
        paint.with(RED, "failed")
    };
    write!(out, "verdict      {verdict}")
}

fn write_load(report: &Report, out: &mut String) -> std::fmt::Result {
    let load = &report.load;
    let rate = load.rate.map_or_else(
        || "as fast as it goes".to_owned(),
        |rate| format!("{} a second", grouped(rate)),
    );
    writeln!(
        out,
        "load         {}, {rate}: batches of {}, {} connections x {} in flight, {:.0} bytes an item, compression {}",
        load.signal,
        load.batch,
        load.connections,
        load.in_flight,
        load.bytes_per_item,
        load.compression,
    )?;
    writeln!(
        out,
        "             {} services, {} attributes, {:.0} % health checks, {:.0} % duplicates; the backend's window is {} KiB, its frames {} KiB",
        load.services,
        load.attributes,
        load.health_checks * 100.0,
        load.duplicates * 100.0,
        load.backend_window >> 10,
        load.backend_frame >> 10,
    )
}

fn write_items(report: &Report, out: &mut String, paint: &Paint) -> std::fmt::Result {
    let items = &report.items;
    writeln!(
        out,
        "items        {} sent, {} accepted in {:.2} s: {} a second",
        grouped(items.sent),
        grouped(items.accepted),
        report.elapsed_s,
        grouped(whole(report.items_per_second)),
    )?;
    let lost = format!("{} lost", grouped(items.lost));
    let lost = if items.lost > 0 {
        paint.with(RED, &lost)
    } else {
        lost
    };
    writeln!(
        out,
        "             {} delivered, {lost}; {} of {} health checks, {} of {} duplicates",
        grouped(items.delivered),
        grouped(items.health_checks_delivered),
        grouped(items.health_checks_sent),
        grouped(items.duplicates_delivered),
        grouped(items.duplicates_sent),
    )?;
    let refused: Vec<String> = items
        .refused
        .iter()
        .map(|(status, items)| format!("{} refused ({status})", grouped(*items)))
        .collect();
    let others = [
        (items.late, "delivered after the clocks were read"),
        (items.rejected, "rejected by a partial success"),
        (items.unanswered, "never answered"),
        (items.duplicated, "delivered more often than sent"),
        (items.delivered_unaccepted, "delivered without an OK"),
        (items.foreign, "arrived that are not of this run"),
        (items.malformed_messages, "messages that are no OTLP"),
        (items.reconnects, "times a connection was opened again"),
    ];
    let others = others.iter().filter(|(count, _)| *count > 0);
    let others = others.map(|(count, what)| format!("{} {what}", grouped(*count)));
    for line in refused.into_iter().chain(others) {
        writeln!(out, "             {}", paint.with(YELLOW, &line))?;
    }
    Ok(())
}

fn write_collector(report: &Report, out: &mut String, paint: &Paint) -> std::fmt::Result {
    let collector = &report.collector;
    if let Some(cost) = &report.cost {
        let main = format!(
            "{} items per CPU-second",
            grouped(whole(cost.items_per_cpu_second))
        );
        writeln!(
            out,
            "collector    {}, {:.3} us an item ({:.0} % user, {:.0} % system), {:.2} cores busy",
            paint.with(BOLD, &main),
            cost.us_per_item,
            cost.user_share * 100.0,
            cost.system_share * 100.0,
            cost.cores,
        )?;
    } else {
        writeln!(
            out,
            "collector    its cost is not known: name its process with --pid"
        )?;
    }
    let mib = |bytes: Option<u64>| bytes.map(|bytes| format!("{} MiB", bytes >> 20));
    let parts = [
        ("idle", mib(collector.idle_bytes)),
        ("peak", mib(collector.peak_bytes)),
        (
            "ready after",
            collector.ready_ms.map(|ms| format!("{ms:.0} ms")),
        ),
        (
            "stopped after",
            collector.stop_ms.map(|ms| format!("{ms:.0} ms")),
        ),
        ("with", collector.exit.clone()),
    ];
    let parts = parts
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let line: Vec<String> = parts.collect();
    if !line.is_empty() {
        writeln!(out, "             {}", line.join(", "))?;
    }
    if let Some(faults) = collector.faults.filter(|faults| *faults > 0) {
        let failed = format!("{} calls of plugins failed", grouped(faults));
        writeln!(out, "             {}", paint.with(RED, &failed))?;
    }
    Ok(())
}

fn write_end(out: &mut String, paint: &Paint, name: &str, end: &BedEnd) -> std::fmt::Result {
    let compared = match end.times_less {
        Some(times) if times >= CHEAP_FACTOR => {
            format!(", {times:.1} times less than the collector")
        }
        Some(times) => paint.with(
            YELLOW,
            &format!(", only {times:.1} times less than the collector: not several times"),
        ),
        None => String::new(),
    };
    writeln!(
        out,
        "{name:<12} {:.3} us an item{compared}",
        end.us_per_item
    )
}

fn write_yardstick(out: &mut String, paint: &Paint, yardstick: &Yardstick) -> std::fmt::Result {
    writeln!(
        out,
        "yardstick    {} items per CPU-second, {:.3} us an item, {} a second, p99 {:.1} ms{}",
        grouped(whole(yardstick.items_per_cpu_second)),
        yardstick.us_per_item,
        grouped(whole(yardstick.items_per_second)),
        yardstick.latency_ms.p99,
        yardstick
            .peak_bytes
            .map_or_else(String::new, |bytes| format!(", peak {} MiB", bytes >> 20)),
    )?;
    if let Some(ratio) = yardstick.ratio {
        let line = format!("the collector is at {:.0} % of it", ratio * 100.0);
        writeln!(out, "             {}", paint.with(BOLD, &line))?;
    }
    Ok(())
}

/// Colours text if its field is true.
struct Paint(bool);

impl Paint {
    fn with(&self, colour: &str, text: &str) -> String {
        if self.0 {
            format!("{colour}{text}{PLAIN}")
        } else {
            text.to_owned()
        }
    }
}

/// Returns 1234567 as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and far below 2^64; the conversion saturates"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits are grouped, so that numbers can be read at a glance.
    #[test]
    fn digits_are_grouped() {
        let numbers = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in numbers {
            assert_eq!(grouped(number), text);
        }
    }
}
