//! Prometheus' text format, version 0.0.4: all samples of a metric are together, under its help and
//! its type.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::help::help;

#[derive(Debug, Default)]
pub(super) struct Text {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Debug)]
struct Metric {
    kind: &'static str,
    samples: String,
}

impl Text {
    pub(super) fn counter(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.sample("counter", name, labels, &value);
    }

    pub(super) fn gauge(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.sample("gauge", name, labels, &value);
    }

    /// Adds a summary of observed values: their sum and their count.
    pub(super) fn summary(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        sum: impl Display,
        count: u64,
    ) {
        self.part("summary", name, "_sum", labels, &sum);
        self.part("summary", name, "_count", labels, &count);
    }

    fn sample(
        &mut self,
        kind: &'static str,
        name: &str,
        labels: &[(&str, &str)],
        value: &dyn Display,
    ) {
        self.part(kind, name, "", labels, value);
    }

    /// Adds a sample whose name is that of its metric and `suffix`.
    fn part(
        &mut self,
        kind: &'static str,
        name: &str,
        suffix: &str,
        labels: &[(&str, &str)],
        value: &dyn Display,
    ) {
        let samples = String::new();
        let metric = self
            .metrics
            .entry(name.to_owned())
            .or_insert(Metric { kind, samples });
        let out = &mut metric.samples;
        out.push_str(name);
        out.push_str(suffix);
        for (index, (label, value)) in labels.iter().enumerate() {
            out.push(if index == 0 { '{' } else { ',' });
            out.push_str(label);
            out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    other => out.push(other),
                }
            }
            out.push('"');
        }
        if !labels.is_empty() {
            out.push('}');
        }
        // Writing to a String cannot fail.
        writeln!(out, " {value}").unwrap_or_default();
    }

    pub(super) fn finish(self) -> String {
        let mut out = String::new();
        for (name, metric) in self.metrics {
            if let Some(help) = help(&name) {
                writeln!(out, "# HELP {name} {help}").unwrap_or_default();
            }
            writeln!(out, "# TYPE {name} {}", metric.kind).unwrap_or_default();
            out.push_str(&metric.samples);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metric with a description has its help, and a sum is next to its count.
    #[test]
    fn a_summary_has_its_help() {
        let mut text = Text::default();
        text.summary(
            "spandrel_stage_swap_duration_seconds",
            &[("stage", "s")],
            1.5,
            3,
        );
        assert_eq!(
            text.finish(),
            "# HELP spandrel_stage_swap_duration_seconds Time that changes of a stage took, from the \
             request to the end, in seconds.\n\
             # TYPE spandrel_stage_swap_duration_seconds summary\n\
             spandrel_stage_swap_duration_seconds_sum{stage=\"s\"} 1.5\n\
             spandrel_stage_swap_duration_seconds_count{stage=\"s\"} 3\n"
        );
    }

    /// Samples of a metric are together, and labels cannot break out of their quotes.
    #[test]
    fn samples_stand_under_their_type() {
        let mut text = Text::default();
        text.counter("b_total", &[("stage", "x\"y\\z\n")], 1);
        text.gauge("a", &[], 1.5);
        text.counter("b_total", &[("stage", "s"), ("reason", "r")], 2);
        assert_eq!(
            text.finish(),
            "# TYPE a gauge\na 1.5\n# TYPE b_total counter\n\
             b_total{stage=\"x\\\"y\\\\z\\n\"} 1\nb_total{stage=\"s\",reason=\"r\"} 2\n"
        );
    }
}
