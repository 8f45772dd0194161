//! The components of one kind by their ids, and the names that refer to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{foreign, names};
use crate::id::Id;
use crate::problem::{Location, Problem};
use crate::suggest::closest;
use crate::text::section::Section;
use crate::text::tree::Node;

/// All configured components of one kind, such as all receivers.
#[derive(Debug)]
pub(crate) struct Catalog<T> {
    /// The word for one of them, such as `receiver`.
    noun: &'static str,
    /// Their key at the top of the configuration, such as `receivers`.
    key: &'static str,
    /// `None` for a component that has problems of its own.
    all: BTreeMap<Id, Option<Arc<T>>>,
}

/// A component that a list names, with the place of the name; `None` if its own problems are
/// reported already.
pub(crate) type Reference<'a, T> = (Option<Arc<T>>, &'a Location);

impl<T> Catalog<T> {
    /// Reads all components under a key, such as `receivers`. `types` are the types that can be
    /// configured.
    pub(crate) fn read(
        top: &Section<'_>,
        key: &'static str,
        types: &'static [&'static str],
        read: impl Fn(Id, &Section<'_>) -> Option<T>,
    ) -> Self {
        let noun = key.trim_end_matches('s');
        let mut all = BTreeMap::new();
        let problems = top.problems();
        for (entry, path) in top.section(key).into_named() {
            let wrong = |what: String, instead: String| {
                problems.add(Problem::at(&entry.at, path.as_str(), what).instead(instead));
            };
            match Id::parse(&entry.key) {
                Ok(id) if types.contains(&id.kind()) => {
                    let section = Section::named(entry, path, problems);
                    all.insert(id.clone(), read(id, &section).map(Arc::new));
                }
                Ok(id) => {
                    let instead = foreign::instead(noun, id.kind()).map(str::to_owned);
                    let instead = instead.unwrap_or_else(|| match closest(id.kind(), types) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("{noun} types: {}", types.join(", ")),
                    });
                    wrong(format!("unknown {noun} type `{}`", id.kind()), instead);
                    all.insert(id, None);
                }
                Err(instead) => wrong(format!("this is not the name of a {noun}"), instead),
            }
        }
        Self { noun, key, all }
    }

    /// Returns the key of these components at the top of the configuration.
    pub(crate) fn key(&self) -> &'static str {
        self.key
    }

    /// Returns the component of this name; `None` if there is none, or `Some(None)` if it has
    /// problems of its own.
    pub(crate) fn get(&self, name: &str) -> Option<(&Id, Option<&Arc<T>>)> {
        let found = self.all.iter().find(|(id, _)| id.as_str() == name);
        found.map(|(id, component)| (id, component.as_ref()))
    }

    /// Returns the components without problems.
    pub(crate) fn good(&self) -> impl Iterator<Item = &Arc<T>> {
        self.all.values().flatten()
    }

    /// Returns the components without problems that the service names.
    pub(crate) fn used(&self, root: &Node) -> impl Iterator<Item = (&Id, &Arc<T>)> {
        let names = names::listed(root, self.key);
        let used = self.all.iter();
        used.filter(move |(id, _)| names.contains(id.as_str()))
            .filter_map(|(id, component)| Some((id, component.as_ref()?)))
    }

    /// Returns the ids of components that the service does not name.
    pub(crate) fn unused(&self, root: &Node) -> impl Iterator<Item = &Id> {
        let names = names::listed(root, self.key);
        let ids = self.all.keys();
        ids.filter(move |id| !names.contains(id.as_str()))
    }

    /// Returns the components that a list names, in its order.
    pub(crate) fn references<'a>(
        &self,
        section: &Section<'a>,
        key: &'static str,
    ) -> Vec<Reference<'a, T>> {
        let mut seen: Vec<&str> = Vec::new();
        let mut references = Vec::new();
        for (name, node) in section.texts(key) {
            if seen.contains(&name) {
                let what = format!("references {} more than once", self.shown(name, node));
                let problem = Problem::at(&node.at, section.path(), what);
                section.problems().add(problem.instead("name it once"));
                continue;
            }
            seen.push(name);
            references.push((self.resolve(section, name, node), &node.at));
        }
        references
    }

    /// Returns the component of this name, which a key of the section holds at `node`.
    pub(crate) fn resolve(&self, section: &Section<'_>, name: &str, node: &Node) -> Option<Arc<T>> {
        if let Some((_, component)) = self.get(name) {
            return component.cloned();
        }
        let (what, instead) = self.not_configured(name, node);
        let problem = Problem::at(&node.at, section.path(), what);
        section.problems().add(problem.instead(instead));
        None
    }

    /// Returns the problem of a name that nothing has, and its remedy.
    pub(crate) fn not_configured(&self, name: &str, node: &Node) -> (String, String) {
        let what = format!(
            "references {} which is not configured",
            self.shown(name, node)
        );
        let names: Vec<&str> = self.all.keys().map(Id::as_str).collect();
        let instead = match closest(name, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add it under `{}`", self.key),
        };
        (what, instead)
    }

    /// Returns the noun and the name. The name is left out if it may be a secret.
    fn shown(&self, name: &str, node: &Node) -> String {
        let noun = self.noun;
        if node.hidden {
            format!("this {noun}")
        } else {
            format!("{noun} \"{name}\"")
        }
    }
}
