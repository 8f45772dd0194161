//! `service::telemetry`: the collector's own logs and metrics.

use crate::component::net::Listen;
use crate::problem::Problem;
use crate::text::section::Section;
use crate::text::tree::{Value, join};

/// The settings of the collector's own logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// The lowest level of log lines that are written.
    pub level: Level,
    /// The format of log lines.
    pub encoding: Encoding,
    /// The address that serves `/metrics`; `None` if metrics are off.
    pub metrics: Option<Listen>,
}

/// A level of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Events of each call.
    Trace,
    /// Events of each batch.
    Debug,
    /// Events in the life of the process.
    Info,
    /// A part is degraded, but the collector goes on.
    Warn,
    /// A problem on which somebody must act.
    Error,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// For people.
    Console,
    /// One JSON object for each line.
    Json,
}

pub(crate) fn read(section: &Section<'_>) -> Telemetry {
    let logs = section.section("logs");
    let levels = [
        ("trace", Level::Trace),
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    let telemetry = Telemetry {
        level: logs.choice("level", Level::Info, &levels),
        encoding: logs.choice(
            "encoding",
            Encoding::Console,
            &[("console", Encoding::Console), ("json", Encoding::Json)],
        ),
        metrics: read_metrics(&section.section("metrics")),
    };
    logs.not_offered(
        "sampling",
        "remove it: repeated lines are limited where they are made",
    );
    logs.not_offered("processors", "remove it: log lines go to stderr only");
    logs.not_offered("initial_fields", "remove it");
    logs.not_offered("output_paths", "remove it: log lines go to stderr");
    section.not_offered("traces", "remove it: spandrel makes no traces of itself");
    section.not_offered(
        "resource",
        "remove it, and let what scrapes /metrics add labels",
    );
    telemetry
}

/// Reads the Collector's `readers`. Only the one that Prometheus pulls from is offered.
fn read_metrics(section: &Section<'_>) -> Option<Listen> {
    let levels = [("none", 0), ("basic", 1), ("normal", 2), ("detailed", 3)];
    let level = section.choice("level", 2, &levels);
    if matches!(level, 1 | 3) {
        section.warn_key(
            "level",
            "there is one level of detail here: all metrics, or none",
            "write normal or none",
        );
    }
    let level = level > 0;
    section.not_offered(
        "address",
        "write it as `readers: [{ pull: { exporter: { prometheus: { host, port } } } }]`",
    );
    section.not_offered("views", "remove it");
    let default = || Listen {
        host: "127.0.0.1".to_owned(),
        port: 8888,
    };
    let Some(node) = section.node("readers") else {
        return level.then(default);
    };
    let Value::List(readers) = &node.value else {
        section.wrong_key(
            "readers",
            format!("expected a list, found {}", node.value.kind()),
            "write `- pull: ...`",
        );
        return None;
    };
    let path = join(section.path(), "readers");
    let mut listen = None;
    for (index, reader) in readers.iter().enumerate() {
        let path = join(&path, &index.to_string());
        let reader = Section::new(reader, path, section.problems());
        reader.not_offered("periodic", "use `pull` and let a scraper fetch /metrics");
        if index > 0 {
            let problem = Problem::at(reader.at(), reader.path(), "a second reader is not offered");
            section.problems().add(problem.instead("keep one"));
        }
        let pull = reader.section("pull");
        let exporter = pull.section("exporter");
        let prometheus = exporter.section("prometheus");
        let host = prometheus
            .string("host")
            .unwrap_or_else(|| "localhost".to_owned());
        let port = prometheus.integer("port", 8888, 0..=u16::MAX);
        prometheus.without_meaning(
            &[
                "without_scope_info",
                "without_type_suffix",
                "without_units",
                "with_resource_constant_labels",
            ],
            "metrics have one form here: names with units and `_total`, no scope, no resource",
        );
        listen.get_or_insert(Listen { host, port });
    }
    listen.filter(|_| level)
}
