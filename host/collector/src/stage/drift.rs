//! Drift: the differences between what a stage runs and what the configuration says, after somebody
//! swapped or rolled back.

use std::collections::BTreeSet;

use serde_json::Value;
use spandrel_config::json::pointer;

use crate::report::DriftView;
use crate::stage::Stage;
use crate::stage::loaded::ModuleSource;
use crate::stage::redact::redacted;

/// The most differences of one configuration that are reported: more than people change by hand.
/// The rest is left out.
const DIFFERENCES: usize = 20;

/// Returns all differences, the module first. Values that may be secrets are not shown.
pub(crate) fn drift(stage: &Stage) -> Vec<DriftView> {
    let mut found = Vec::new();
    found.extend(of_module(stage));
    let running = stage.running();
    if running.limits != stage.wasm().limits {
        found.push(DriftView {
            part: "limits".to_owned(),
            ..DriftView::default()
        });
    }
    let mut leaves = Vec::new();
    let (runs, wanted) = (running.config.value(), stage.wasm().config.value());
    compare(Some(&runs), Some(&wanted), String::new(), &mut leaves);
    if leaves.is_empty() {
        return found;
    }
    // A value that is a secret in one of them counts as a secret in the other, too.
    let hidden: BTreeSet<String> = running
        .hidden
        .union(&stage.wasm().hidden)
        .cloned()
        .collect();
    let shown = redacted(&runs, &hidden);
    let configured = redacted(&wanted, &hidden);
    found.extend(leaves.into_iter().map(|at| DriftView {
        running: value_at(&shown, &at),
        configured: value_at(&configured, &at),
        part: "config".to_owned(),
        at,
    }));
    found
}

/// Returns one line for the log and for people: the parts and places that differ.
pub(crate) fn in_words(drift: &[DriftView]) -> String {
    let parts = drift.iter().map(|it| match it.at.as_str() {
        "" => it.part.clone(),
        at => format!("{} {at}", it.part),
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn of_module(stage: &Stage) -> Option<DriftView> {
    let running = stage.running();
    let place = &stage.wasm().module.location;
    let is_of_place = matches!(&running.source, ModuleSource::Place(of) if of == place);
    let is_same = match stage.configured() {
        Some(configured) => running.module() == configured,
        // The module has not been read since the configuration names it.
        None => is_of_place,
    };
    if is_same || stage.is_missing() {
        return None;
    }
    let with_digest = |name: String, digest: Option<String>| match digest {
        Some(digest) => format!("{name}, sha256 {digest}"),
        None => name,
    };
    let name = running.source.name();
    Some(DriftView {
        part: "module".to_owned(),
        at: String::new(),
        running: Some(with_digest(name, Some(running.sha256())).into()),
        configured: Some(
            with_digest(
                place.to_string(),
                stage.configured().map(|digest| digest.to_string()),
            )
            .into(),
        ),
    })
}

/// Collects the places at which two values differ, as JSON pointers. Descends only while both
/// values are maps.
fn compare(one: Option<&Value>, other: Option<&Value>, at: String, found: &mut Vec<String>) {
    if one == other || found.len() >= DIFFERENCES {
        return;
    }
    let empty = serde_json::Map::new();
    let members = |value: Option<&Value>| match value {
        Some(Value::Object(members)) => Some(members.clone()),
        // An absent value counts as a map without members.
        None | Some(Value::Null) => Some(empty.clone()),
        Some(_) => None,
    };
    let (Some(left), Some(right)) = (members(one), members(other)) else {
        found.push(at);
        return;
    };
    let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    if keys.is_empty() {
        found.push(at);
        return;
    }
    for key in keys {
        compare(left.get(key), right.get(key), pointer(&at, key), found);
    }
}

/// Returns the value at a place. If a value above the place is redacted, returns that one. `None`
/// if there is nothing.
fn value_at(shown: &Value, at: &str) -> Option<Value> {
    let mut path = at;
    loop {
        match (shown.pointer(path), path.rsplit_once('/')) {
            (Some(value), _) if path == at => return Some(value.clone()),
            (Some(Value::String(text)), _) if text == crate::stage::redact::REDACTED => {
                return Some(text.as_str().into());
            }
            (Some(_), _) | (None, None) => return None,
            (None, Some((above, _))) => path = above,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each place at which two configurations differ is found, by its pointer. A list is one value.
    #[test]
    fn differences_are_found_where_they_are() {
        let one = json!({ "a": 1, "b": { "c": 2, "d/e": 3 }, "l": [1, 2], "n": {} });
        let other = json!({ "a": 1, "b": { "c": 4 }, "l": [1], "m": null, "n": null });
        let mut found = Vec::new();
        compare(Some(&one), Some(&other), String::new(), &mut found);
        assert_eq!(found, ["/b/c", "/b/d~1e", "/l", "/m", "/n"]);
        assert_eq!(value_at(&one, "/b/d~1e"), Some(json!(3)));
        assert_eq!(value_at(&other, "/b/d~1e"), None);
        let mut found = Vec::new();
        compare(Some(&one), Some(&json!(null)), String::new(), &mut found);
        assert_eq!(found, ["/a", "/b/c", "/b/d~1e", "/l", "/n"]);
    }
}
