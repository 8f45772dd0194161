//! Checks everything that `validate` can check without listening and without leaving anything written: it
//! reads certificates, makes exporters, and compiles, instantiates and configures plugins.

use std::fmt;

use spandrel_config::Config;
use spandrel_config::examine::Examined;
use spandrel_config::problem::{ConfigError, Problem};

use crate::plugins::{Plugin, check};
use crate::{durable, exporters, receivers};

/// A report of what was checked and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    receivers: Vec<String>,
    processors: Vec<String>,
    plugins: Vec<Plugin>,
    exporters: Vec<String>,
    extensions: Vec<String>,
    pipelines: Vec<String>,
}

/// Examines everything that could be read, even if other parts have problems. `found` is what the
/// caller has found in parts that it makes itself.
///
/// # Errors
/// All problems, in the order of the configuration.
pub async fn examine(examined: Examined, mut found: Vec<Problem>) -> Result<Report, ConfigError> {
    found.extend(receivers::check(&examined.receivers()));
    found.extend(exporters::check(&examined.exporters()));
    found.extend(examined.service().into_iter().flat_map(durable::check));
    let (plugins, refused) = check(&examined).await;
    found.extend(refused);
    let placed = found.into_iter().map(|problem| examined.placed(problem));
    let mut problems: Vec<Problem> = examined.problems().to_vec();
    problems.extend(placed);
    ConfigError::of(problems)?;
    Ok(Report::of(&examined.into_config()?, plugins))
}

impl Report {
    fn of(config: &Config, plugins: Vec<Plugin>) -> Self {
        let mut report = Self {
            receivers: Vec::new(),
            processors: Vec::new(),
            plugins,
            exporters: Vec::new(),
            extensions: Vec::new(),
            pipelines: Vec::new(),
        };
        let service = &config.service;
        for receiver in config.receivers() {
            report.receivers.push(receiver.id.to_string());
        }
        for exporter in config.exporters() {
            report.exporters.push(exporter.id.to_string());
        }
        for extension in &service.extensions {
            report.extensions.push(extension.id.to_string());
        }
        for pipeline in &service.pipelines {
            report.pipelines.push(pipeline.id.to_string());
            for processor in &pipeline.processors {
                let name = processor.to_string();
                if !report.processors.contains(&name) {
                    report.processors.push(name);
                }
            }
        }
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the configuration is good")?;
        row(f, "receivers", &self.receivers)?;
        row(f, "processors", &self.processors)?;
        for plugin in &self.plugins {
            writeln!(f, "  {plugin}")?;
        }
        row(f, "exporters", &self.exporters)?;
        row(f, "extensions", &self.extensions)?;
        row(f, "pipelines", &self.pipelines)
    }
}

fn row(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    let count = names.len();
    match names {
        [] => writeln!(f, "{what:<10}  {count}"),
        names => writeln!(f, "{what:<10}  {count}: {}", names.join(", ")),
    }
}
