//! The reference of the configuration: every key with its form, its default and its meaning. The
//! forms and defaults are those that the readers ask for, so they are what the checks hold.

mod meanings;
#[cfg(test)]
mod page;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::schema::schema;
use crate::check;
use crate::key::Key;
use crate::problem::{Location, Problems};
use crate::text::tree::{Node, Value};
use crate::text::yaml;

/// A configuration that has every section.
const SKELETON: &str = include_str!("reference/skeleton.yaml");

/// Returns all keys by their paths, in which names that operators choose are replaced.
fn keys() -> BTreeMap<String, Key> {
    let source = Arc::from("skeleton");
    // A test reads every key that the code asks for, so the skeleton is valid.
    let root = yaml::parse(&source, SKELETON)
        .unwrap_or_else(|_| Node::new(Location::start(&source), Value::Null));
    let problems = Problems::noting();
    check::check(&root, &problems);
    problems.into_keys().into_all()
}
