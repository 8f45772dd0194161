//! A configuration that was read, with all of its problems. Some parts may be good while others are
//! not. `validate` looks into the good parts as well, so that all problems are reported at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use spandrel_plugin::artifact::Digest;

use super::Config;
use crate::check;
use crate::component::Components;
use crate::component::exporter::Exporter;
use crate::component::processor::{ProcessorKind, Wasm};
use crate::component::receiver::Receiver;
use crate::id::Id;
use crate::plugins::Plugins;
use crate::problem::{ConfigError, Location, Problem, Problems, in_order};
use crate::service::Service;
use crate::text::env;
use crate::text::source::{self, Sources};
use crate::text::tree::{Node, Value, child};

/// A configuration that was read, with all of its problems.
#[derive(Debug)]
pub struct Examined {
    root: Node,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    files: Vec<(PathBuf, Digest)>,
    /// `None` if something is wrong with it.
    service: Option<Service>,
    /// `None` if a source could not be read.
    components: Option<Components>,
}

impl Examined {
    /// Reads, merges, expands and checks. Variables are looked up in the process' environment.
    pub fn read(sources: &Sources) -> Self {
        Self::read_with(sources, &|name| std::env::var(name).ok())
    }

    /// Does the same as [`Examined::read`] with another environment.
    pub fn read_with(sources: &Sources, environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let problems = Problems::default();
        let mut files = Vec::new();
        let root = source::read(sources, environment, &mut files, &problems);
        let mut examined = Self {
            root,
            problems: problems.into_list(),
            warnings: Vec::new(),
            files,
            service: None,
            components: None,
        };
        // A source that could not be read would cause dozens of missing references.
        if examined.problems.is_empty() {
            let problems = Problems::default();
            env::expand(&mut examined.root, "", environment, &problems);
            let checked = check::check(&examined.root, &problems);
            let mut warnings = problems.take_warnings();
            let placed = checked.warnings.into_iter();
            warnings.extend(placed.map(|warning| examined.placed(warning)));
            examined.warnings = in_order(warnings);
            examined.problems = problems.into_list();
            examined.service = checked.service;
            examined.components = Some(checked.components);
        }
        examined
    }

    /// Returns the configuration if nothing is wrong with it.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        ConfigError::of(self.problems)?;
        let service = self.service.ok_or_else(|| ConfigError {
            problems: vec![Problem::nowhere(
                "service",
                "the configuration is incomplete",
            )],
        })?;
        Ok(Config {
            service,
            warnings: self.warnings,
            files: self.files,
        })
    }

    /// Returns the problems, in the order of the configuration.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Returns warnings about settings that are accepted but do not do what the operator may think.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Returns the service; `None` if something is wrong with it.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// Returns the settings for all plugins; `None` if the text could not be read at all.
    pub fn plugins(&self) -> Option<&Arc<Plugins>> {
        self.components.as_ref().map(|all| &all.plugins)
    }

    /// Returns the plugins that pipelines name and whose own section is good.
    pub fn stages(&self) -> BTreeMap<Id, Arc<Wasm>> {
        let components = self.components.iter();
        let used = components.flat_map(|all| all.processors.used(&self.root));
        let wasm = used.filter_map(|(id, processor)| match &processor.kind {
            ProcessorKind::Wasm(wasm) => Some((id.clone(), Arc::clone(wasm))),
            ProcessorKind::Batch(_) | ProcessorKind::MemoryLimiter(_) => None,
        });
        wasm.collect()
    }

    /// Returns the receivers that pipelines name and whose own section is good.
    pub fn receivers(&self) -> Vec<Arc<Receiver>> {
        let components = self.components.iter();
        let used = components.flat_map(|all| all.receivers.used(&self.root));
        used.map(|(_, receiver)| Arc::clone(receiver)).collect()
    }

    /// Returns the exporters that pipelines name and whose own section is good.
    pub fn exporters(&self) -> Vec<Arc<Exporter>> {
        let components = self.components.iter();
        let used = components.flat_map(|all| all.exporters.used(&self.root));
        used.map(|(_, exporter)| Arc::clone(exporter)).collect()
    }

    /// Returns a problem that was found later with a location: that of the key that its path names,
    /// or of the closest key around it.
    pub fn placed(&self, problem: Problem) -> Problem {
        Problem {
            at: place(&self.root, &problem.path),
            ..problem
        }
    }

    /// Returns true if a key of this path is written.
    pub fn has(&self, path: &[&str]) -> bool {
        let found = path
            .iter()
            .try_fold(&self.root, |node, key| child(node, key));
        found.is_some()
    }
}

/// Returns the location of the value at a path, or of the last key on the path that exists.
fn place(root: &Node, path: &str) -> Option<Location> {
    let (mut node, mut rest) = (root, path);
    let mut at = None;
    while !rest.is_empty() {
        let step = match &node.value {
            // A key may itself contain the separator.
            Value::Map(entries) => entries.iter().find_map(|entry| {
                let rest = after(rest, &entry.key)?;
                Some((&entry.node, &entry.at, rest))
            }),
            Value::List(items) => items.iter().enumerate().find_map(|(index, item)| {
                let rest = after(rest, &index.to_string())?;
                Some((item, &item.at, rest))
            }),
            Value::Null | Value::Scalar(_) | Value::Reported => None,
        };
        let Some((found, key_at, after)) = step else {
            return at;
        };
        (node, rest, at) = (found, after, Some(key_at.clone()));
    }
    Some(node.at.clone())
}

/// Returns the part of a path after this key.
fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(key)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix("::")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml;

    /// A path leads to its value. A path that does not exist leads to its last key that does.
    #[test]
    fn a_path_has_its_place() {
        let source = "a:\n  b::c: { d: [x, y] }\n  e:\n";
        let root = yaml::parse(&"test".into(), source).expect("valid");
        for (path, line, column) in [
            ("a::b::c", 2, 9),
            ("a::b::c::d::1", 2, 18),
            ("a::b::c::d::7", 2, 11),
            ("a::b::c::f", 2, 3),
            ("a::e::f", 3, 3),
        ] {
            let at = place(&root, path).expect("a place");
            assert_eq!((at.line, at.column), (line, column), "{path}");
        }
        assert_eq!(place(&root, "z"), None);
    }
}
