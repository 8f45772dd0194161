//! Adds attributes (team, tier, environment, ...) to spans and resources by service name.
//!
//! The table is looked up once for each resource, and its tags are written once for each batch, for
//! any number of spans.

mod table;

use spandrel_guest::prelude::*;

use table::{Row, Rows, Table};

/// The plugin: a table of services, and the place for its tags.
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
    /// The tags of each service. A name without `*` is that service; one with `*` is a pattern. A
    /// service's own row comes first, then the pattern that is most specific to its name.
    #[serde(default)]
    services: Rows,
    /// The tags of services without a row.
    #[serde(default)]
    default: Row,
    /// The place of the tags. Resources are the cheapest, and most backends group by them.
    #[serde(default)]
    target: Target,
    /// If true, a tag replaces an attribute that came with the span or the resource.
    #[serde(default)]
    overwrite: bool,
}

/// The place of the tags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The resource, once for all its spans.
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

/// Returns true if a tag may be set: there was no attribute, or one without a value, which has no
/// information to keep.
fn is_free(came: Option<Value<'_>>) -> bool {
    came.is_none_or(Value::is_empty)
}

export!(TagByService);

#[cfg(test)]
mod tests;
