//! The job that collectors are compared by: it drops the spans that an attribute marks, and tags
//! the others by their service.
//!
//! One source serves two builds: the component, and the collector that has it compiled in.

use std::collections::HashMap;

use spandrel_guest::prelude::*;

const MARKED: Reason = Reason(0);

/// The plugin: the mark of spans to drop, and each service's tags.
#[derive(Debug)]
pub(crate) struct Job(Config);

/// The stage's `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The mark of a span to drop.
    drop: Mark,
    /// Attributes for the spans of each service.
    services: HashMap<String, Tags>,
    /// Attributes for the spans of every other service.
    default: Tags,
}

type Tags = HashMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    attribute: String,
    value: String,
}

impl Plugin for Job {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["marked"])
    }

    fn configure(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }

    fn process(&mut self, batch: &mut Batch) {
        let Config {
            drop,
            services,
            default,
        } = &self.0;
        for resource in batch.resources() {
            let service = resource.service_name().unwrap_or_default();
            let tags = services.get(service).unwrap_or(default);
            let tags: Vec<Prepared<'_>> = tags
                .iter()
                .map(|(key, value)| batch.prepare(key, value))
                .collect();
            for span in resource.spans() {
                if span.attribute_str(&drop.attribute) == Some(&drop.value) {
                    span.drop(MARKED);
                } else {
                    for tag in &tags {
                        span.set(*tag);
                    }
                }
            }
        }
    }
}
