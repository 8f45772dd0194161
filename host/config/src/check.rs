//! Turns the raw tree into checked values, in one place. The result has no wrong value in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::auth::Authenticators;
use super::exporter::{self, Exporter};
use super::extension::{self, Extension};
use super::foreign;
use super::id::Id;
use super::plugins::{self, Plugins};
use super::problem::{Problem, Problems};
use super::processor::{self, Processor};
use super::receiver::{self, Receiver};
use super::section::Section;
use super::service::{self, Service};
use super::suggest::closest;
use super::tree::{Node, Value, child};
use super::warnings;

/// Components by id; `None` for one that has problems of its own.
pub(crate) type Named<T> = BTreeMap<Id, Option<Arc<T>>>;

/// Everything that is configured, even if no pipeline names it.
#[derive(Debug)]
pub(crate) struct Components {
    pub(crate) receivers: Named<Receiver>,
    pub(crate) processors: Named<Processor>,
    pub(crate) exporters: Named<Exporter>,
    pub(crate) extensions: Named<Extension>,
    pub(crate) plugins: Arc<Plugins>,
}

/// The result of checking a tree.
pub(crate) struct Checked {
    /// `None` if something is wrong with it.
    pub(crate) service: Option<Service>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) components: Components,
}

/// Checks the whole tree and notes all problems. The result is complete only if there are none.
pub(crate) fn check(root: &Node, problems: &Problems) -> Checked {
    let top = Section::new(root, String::new(), problems);
    let extensions = read_all(
        &top,
        "extensions",
        "extension",
        extension::KINDS,
        extension::read,
    );
    let authenticators = Authenticators::new(&extensions, root);
    let service = top.section("service");
    let plugins = plugins::read(&service.section("plugins"));
    let components = Components {
        receivers: read_all(
            &top,
            "receivers",
            "receiver",
            receiver::KINDS,
            |id, section| receiver::read(id, section, &authenticators),
        ),
        processors: read_all(
            &top,
            "processors",
            "processor",
            processor::KINDS,
            |id, section| processor::read(id, section, &plugins),
        ),
        exporters: read_all(
            &top,
            "exporters",
            "exporter",
            exporter::KINDS,
            |id, section| exporter::read(id, section, &authenticators),
        ),
        extensions,
        plugins: Arc::clone(&plugins),
    };
    top.not_offered(
        "connectors",
        "remove them, and name the exporters in each pipeline",
    );
    if !top.has("service") {
        top.wrong(
            "the section `service` is missing",
            "add `service: { pipelines: ... }`",
        );
        return Checked {
            service: None,
            warnings: Vec::new(),
            components,
        };
    }
    let service = service::read(&service, &components);
    let warnings = warnings::of(root, &components, service.as_ref());
    Checked {
        service,
        warnings,
        components,
    }
}

/// Returns the names that the pipelines list under this key, even if other parts of them are wrong.
/// For `extensions`, returns the names that the service lists.
pub(crate) fn names(root: &Node, key: &str) -> BTreeSet<String> {
    let Some(service) = child(root, "service") else {
        return BTreeSet::new();
    };
    let pipelines = child(service, "pipelines").map(|node| &node.value);
    let owners: Vec<&Node> = match (key, pipelines) {
        ("extensions", _) => vec![service],
        (_, Some(Value::Map(pipelines))) => pipelines.iter().map(|entry| &entry.node).collect(),
        _ => Vec::new(),
    };
    let lists = owners.into_iter().filter_map(|owner| child(owner, key));
    let names = lists.flat_map(|list| match &list.value {
        Value::List(items) => items.iter().filter_map(Node::text).collect(),
        _ => list.text().into_iter().collect::<Vec<_>>(),
    });
    names.map(str::to_owned).collect()
}

fn read_all<T>(
    top: &Section<'_>,
    key: &'static str,
    what: &str,
    kinds: &[&str],
    read: impl Fn(Id, &Section<'_>) -> Option<T>,
) -> Named<T> {
    let mut all = Named::new();
    let problems = top.problems();
    for (entry, path) in top.section(key).into_named() {
        let wrong = |what: String, instead: String| {
            problems.add(Problem::at(&entry.at, path.as_str(), what).instead(instead));
        };
        match Id::parse(&entry.key) {
            Ok(id) if kinds.contains(&id.kind()) => {
                let section = Section::named(entry, path, problems);
                all.insert(id.clone(), read(id, &section).map(Arc::new));
            }
            Ok(id) => {
                let instead = foreign::instead(what, id.kind()).map(str::to_owned);
                let instead = instead.unwrap_or_else(|| match closest(id.kind(), kinds) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{what} types: {}", kinds.join(", ")),
                });
                wrong(format!("unknown {what} type `{}`", id.kind()), instead);
                all.insert(id, None);
            }
            Err(instead) => wrong(format!("this is not the name of a {what}"), instead),
        }
    }
    all
}
