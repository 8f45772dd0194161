//! `host/CONFIGURATION.md`: every key in a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::meanings::{self, Meaning};
use crate::key::{Form, Key, Treatment};
use crate::text::{duration, size};

/// The text before the tables.
const HEAD: &str = include_str!("head.txt");

/// The parts of `service` that have a table of their own.
const PARTS: [&str; 3] = [
    "service::pipelines",
    "service::plugins",
    "service::telemetry",
];

/// Returns the page.
pub(super) fn page(keys: &BTreeMap<String, Key>) -> String {
    let mut page = HEAD.to_owned();
    let meanings: Vec<Meaning> = meanings::all().collect();
    let mut groups: Vec<&str> = Vec::new();
    for meaning in &meanings {
        let group = group(&meaning.path);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for group in groups {
        let in_group = |path: &str| self::group(path) == group;
        let rows = meanings.iter().filter(|meaning| in_group(&meaning.path));
        write_group(&mut page, group, rows, keys);
        let others = keys.iter().filter(|(path, _)| in_group(path));
        write_others(&mut page, group, others);
    }
    page
}

/// Returns the heading under which a key stands.
fn group(path: &str) -> &str {
    let end = |separators: usize| {
        let mut ends = path.match_indices("::").map(|(at, _)| at);
        ends.nth(separators).unwrap_or(path.len())
    };
    if !path.contains("::") {
        return "";
    }
    let two = path.split_at(end(1)).0;
    let is_part = PARTS.contains(&two) && path != two;
    match path.starts_with("service::") && !is_part {
        true => "service",
        false => two,
    }
}

fn write_group<'a>(
    page: &mut String,
    group: &str,
    rows: impl Iterator<Item = &'a Meaning>,
    keys: &BTreeMap<String, Key>,
) {
    let title = match group {
        "" => "The top".to_owned(),
        group => format!("`{group}`"),
    };
    writeln!(page, "\n## {title}").unwrap_or_default();
    let head = "\n| key | type | default | range | meaning | in the Collector |\n\
                | --- | --- | --- | --- | --- | --- |";
    let mut has_head = false;
    for row in rows {
        let Meaning {
            path,
            in_collector,
            text,
        } = row;
        if path == group {
            let name = match *in_collector {
                "same" => "The Collector has it under the same name.".to_owned(),
                "none" => "The Collector does not have it.".to_owned(),
                other => format!("In the Collector: {other}."),
            };
            writeln!(page, "\n{text} {name}").unwrap_or_default();
            continue;
        }
        if !has_head {
            writeln!(page, "{head}").unwrap_or_default();
            has_head = true;
        }
        let unknown = Key::default();
        let key = keys.get(path).unwrap_or(&unknown);
        let name = below(path, group);
        let forms: Vec<String> = key.forms.iter().map(|form| form_of(form, name)).collect();
        let forms = unique(forms).join(", or ");
        let range = key
            .forms
            .iter()
            .map(range_of)
            .find(|range| !range.is_empty());
        let default = match (&key.default, key.is_required) {
            (Some(default), _) => match default.as_str() {
                Some(text) => format!("`{text}`"),
                None => format!("`{default}`"),
            },
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let forms = match forms.as_str() {
            "" => "map",
            forms => forms,
        };
        let range = range.unwrap_or_default();
        let row = format!("| `{name}` | {forms} | {default} | {range} | {text} | {in_collector} |");
        writeln!(
            page,
            "{}",
            row.replace("|  |", "| |").replace("|  |", "| |")
        )
        .unwrap_or_default();
    }
}

/// Writes the keys of the Collector that are refused or have no effect.
fn write_others<'a>(
    page: &mut String,
    group: &str,
    keys: impl Iterator<Item = (&'a String, &'a Key)>,
) {
    let mut refused = String::new();
    let mut without_effect = String::new();
    for (path, key) in keys {
        let name = below(path, group);
        match &key.treatment {
            Treatment::Read => {}
            Treatment::NoEffect(why) => {
                writeln!(without_effect, "- `{name}`: {why}").unwrap_or_default();
            }
            Treatment::Refused(instead) => {
                writeln!(refused, "- `{name}`: {instead}").unwrap_or_default();
            }
        }
    }
    if !refused.is_empty() {
        page.push_str("\nKeys of the Collector that are refused here, and the remedy:\n\n");
        page.push_str(&refused);
    }
    if !without_effect.is_empty() {
        page.push_str(
            "\nKeys of the Collector that have no effect here, with a warning that says why:\n\n",
        );
        page.push_str(&without_effect);
    }
}

/// Returns the part of a path after its group.
fn below<'a>(path: &'a str, group: &str) -> &'a str {
    let rest = path.strip_prefix(group).unwrap_or(path);
    rest.strip_prefix("::").unwrap_or(rest)
}

fn unique(forms: Vec<String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for form in forms {
        if !unique.contains(&form) {
            unique.push(form);
        }
    }
    unique
}

fn form_of(form: &Form, name: &str) -> String {
    match form {
        Form::Text(notation) => (*notation).to_owned(),
        Form::Words { words, .. } => format!("`{}`", words.join("`, `")),
        Form::Integer { .. } => format!("whole number{}", unit(name)),
        Form::Number { .. } => "number".to_owned(),
        Form::Boolean => "boolean".to_owned(),
        Form::Duration { .. } => "duration".to_owned(),
        Form::Size { .. } => "size".to_owned(),
        Form::Texts(notation) => format!("list ({notation})"),
        Form::Maps => "list of maps".to_owned(),
        Form::Map | Form::Names(_) => "map".to_owned(),
        Form::Any => "anything".to_owned(),
    }
}

/// Returns the unit that the name of a key says.
fn unit(name: &str) -> &'static str {
    let units = [
        ("_mib", " of MiB"),
        ("_megabytes", " of MiB"),
        ("_percentage", " of percent"),
        ("_days", " of days"),
    ];
    let found = units.into_iter().find(|(end, _)| name.ends_with(end));
    found.map_or("", |(_, unit)| unit)
}

fn range_of(form: &Form) -> String {
    match form {
        Form::Integer { least, most } => format!("{least} to {most}"),
        Form::Number { least, most } => format!("{least} to {most}"),
        Form::Size { least } => format!("at least {}", size::shown(*least)),
        Form::Duration {
            least,
            most,
            or_zero,
        } => {
            let zero = if *or_zero { "0s, or " } else { "" };
            let most = most.map(|most| format!(" to {}", duration::shown(most)));
            // Every duration is at least as long as time is counted; only more than that is worth
            // saying.
            match (*least > Duration::from_millis(1), &most) {
                (false, None) if *or_zero => String::new(),
                (false, None) => "longer than 0s".to_owned(),
                (_, Some(most)) => format!("{zero}{}{most}", duration::shown(*least)),
                (true, None) => format!("{zero}at least {}", duration::shown(*least)),
            }
        }
        Form::Text(_)
        | Form::Words { .. }
        | Form::Boolean
        | Form::Texts(_)
        | Form::Maps
        | Form::Map
        | Form::Names(_)
        | Form::Any => String::new(),
    }
}
