//! Headers that are sent with every request or response.

use spandrel_otlp::secret::Secret;

use crate::key::Form;
use crate::problem::Problem;
use crate::text::section::Section;
use crate::text::tree::Value;

/// Reads the names and values of a section, for names that may be sent.
pub(super) fn read(
    section: Section<'_>,
    may_be_sent: impl Fn(&str) -> bool,
) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    section.ask("HEADER", || (Form::Text("secret text"), None));
    let problems = section.problems();
    for (entry, path) in section.into_named(&[]) {
        let Some(text) = entry.node.text() else {
            if entry.node.value == Value::Reported {
                continue;
            }
            let what = format!("expected text, found {}", entry.node.value.kind());
            problems.add(Problem::at(&entry.node.at, path, what));
            continue;
        };
        let name = http::HeaderName::from_bytes(entry.key.as_bytes());
        let value = http::HeaderValue::from_str(text);
        match (name, value) {
            (Ok(name), Ok(_)) if may_be_sent(name.as_str()) => {
                headers.push((name.as_str().to_owned(), text.into()));
            }
            (Ok(_), Err(_)) => {
                // The value itself stays out of the message: it may be a secret.
                let problem =
                    Problem::at(&entry.node.at, path, "the value cannot be sent in a header");
                problems.add(problem.instead("write visible ASCII characters"));
            }
            _ => {
                let problem =
                    Problem::at(&entry.at, path, "this is not a name that a header may have");
                problems.add(problem.instead("write letters, digits and `-`"));
            }
        }
    }
    headers
}
