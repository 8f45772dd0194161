//! Adds attributes (team, tier, environment, ...) to spans and resources by service name.
//!
//! The table is looked at once for each resource, and what it says is written once for each batch,
//! however many spans there are.

mod table;

use spandrel_guest::prelude::*;

use table::{Row, Rows, Table};

/// The plugin: a table of services, and where its tags go.
#[derive(Debug)]
pub struct TagByService {
    table: Table,
    target: Target,
    overwrite: bool,
}

/// The stage's `config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What each service is tagged with. A name without `*` is that service; one with `*` is a
    /// pattern. A service's own row comes first, then the pattern that says most about its name.
    #[serde(default)]
    services: Rows,
    /// What services without a row are tagged with.
    #[serde(default)]
    default: Row,
    /// What is tagged: resources are the cheapest, and what most backends group by.
    #[serde(default)]
    target: Target,
    /// Whether a tag replaces an attribute that came with the span or the resource.
    #[serde(default)]
    overwrite: bool,
}

/// What is tagged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The resource: once for all its spans.
    #[default]
    Resource,
    /// Every span.
    Span,
    /// Both.
    Both,
}

impl Plugin for TagByService {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, String> {
        if config.services.is_empty() && config.default.is_empty() {
            return Err("nothing to tag: give `services`, `default`, or both".to_owned());
        }
        Ok(Self {
            table: Table::new(config.services, config.default),
            target: config.target,
            overwrite: config.overwrite,
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        for resource in batch.resources() {
            let row = self.table.row(resource.service_name());
            if self.target != Target::Span {
                self.tag_resource(resource, row);
            }
            if self.target != Target::Resource {
                self.tag_spans(batch, resource, row);
            }
        }
    }
}

impl TagByService {
    fn tag_resource(&self, resource: Resource<'_>, row: &Row) {
        for (key, value) in row {
            if self.overwrite || is_free(resource.attribute(key)) {
                resource.set_attribute(key, value);
            }
        }
    }

    fn tag_spans(&self, batch: &Batch, resource: Resource<'_>, row: &Row) {
        let tags: Vec<(&str, Prepared<'_>)> = row
            .iter()
            .map(|(key, value)| (key.as_str(), batch.prepare(key, value)))
            .collect();
        for span in resource.spans() {
            for (key, tag) in &tags {
                if self.overwrite || is_free(span.attribute(key)) {
                    span.set(*tag);
                }
            }
        }
    }
}

/// An attribute without a value says nothing that should stay.
fn is_free(came: Option<Value<'_>>) -> bool {
    came.is_none_or(Value::is_empty)
}

export!(TagByService);

#[cfg(test)]
mod tests;
