//! A plugin's configuration in the form that may be shown: without anything that may be a secret.

use std::collections::BTreeSet;

use serde_json::Value;
use spandrel_config::json::pointer;

/// The text that replaces a value, as in the OpenTelemetry Collector.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// Parts of keys whose values are secrets by their name, in lower case and without `_`, `-` and
/// `.`.
const TELLING: [&str; 19] = [
    "accesskey",
    "apikey",
    "authorization",
    "bearer",
    "clientkey",
    "connectionstring",
    "cookie",
    "credential",
    "encryptionkey",
    "hashkey",
    "hmac",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "salt",
    "secret",
    "signingkey",
    "token",
];

/// Returns the configuration with these values replaced: those that came from a variable or the
/// command line (`hidden`, as JSON pointers), those under a key that names a secret, and addresses
/// with a password or a query.
pub(crate) fn redacted(config: &Value, hidden: &BTreeSet<String>) -> Value {
    redact(config, hidden, "")
}

fn redact(value: &Value, hidden: &BTreeSet<String>, at: &str) -> Value {
    if hidden.contains(at) && !value.is_null() {
        return REDACTED.into();
    }
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            let shown =
                items.map(|(index, item)| redact(item, hidden, &pointer(at, &index.to_string())));
            Value::Array(shown.collect())
        }
        Value::Object(members) => {
            let shown = members.iter().map(|(key, value)| {
                let shown = match is_telling(key) && is_some(value) {
                    true => REDACTED.into(),
                    false => redact(value, hidden, &pointer(at, key)),
                };
                (key.clone(), shown)
            });
            Value::Object(shown.collect())
        }
        Value::String(text) if text.contains("://") && text.contains(['@', '?']) => REDACTED.into(),
        other => other.clone(),
    }
}

/// Returns true if the value can be a secret. A boolean reveals nothing, whatever its key is.
fn is_some(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(_))
}

fn is_telling(key: &str) -> bool {
    let key: String = key
        .chars()
        .filter(|letter| !matches!(letter, '_' | '-' | '.'))
        .flat_map(char::to_lowercase)
        .collect();
    TELLING.iter().any(|part| key.contains(part))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A value that may be a secret is not shown, whatever its type is. The rest is shown
    /// unchanged.
    #[test]
    fn secrets_are_not_shown() {
        let config = json!({
            "team": "core", "keys": ["user.email"], "max": 5, "token_required": true,
            "password": 4711, "Api-Key": { "of": "x" }, "nested": [{ "client_secret": "s" }],
            "backend": "https://ada:pw@host/", "page": "https://host/?sig=1", "plain": "https://host/",
            "from_env": "v", "list": ["a", "v"], "none": null,
        });
        let hidden = ["/from_env", "/list/1", "/none"].map(str::to_owned);
        let shown = redacted(&config, &hidden.into());
        let expected = json!({
            "team": "core", "keys": ["user.email"], "max": 5, "token_required": true,
            "password": REDACTED, "Api-Key": REDACTED, "nested": [{ "client_secret": REDACTED }],
            "backend": REDACTED, "page": REDACTED, "plain": "https://host/",
            "from_env": REDACTED, "list": ["a", REDACTED], "none": null,
        });
        assert_eq!(shown, expected);
        let all = BTreeSet::from([String::new()]);
        assert_eq!(redacted(&config, &all), json!(REDACTED));
    }
}
