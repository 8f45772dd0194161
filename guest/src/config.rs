//! The stage's `config`, read into the plugin's type.

use serde::de::DeserializeOwned;

/// Reads the JSON. A stage without a config has the same as one with an empty map.
pub(crate) fn parse<C: DeserializeOwned>(json: &str) -> Result<C, String> {
    let json = match json.trim() {
        "" | "null" => "{}",
        given => given,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let what = without_place(&error.into_inner());
        match path.as_str() {
            "." | "" => what,
            _ => format!("{path}: {what}"),
        }
    })
}

/// The operator wrote YAML: line and column of the JSON made of it would mislead.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) if error.line() > 0 => text.get(..end).unwrap_or(&text).to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        routes: Vec<Route>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        exact: String,
    }

    /// An operator sees which key is wrong, and why, in the terms of what they wrote.
    #[test]
    fn errors_name_the_path() {
        let wrong_type = parse::<Config>(r#"{"routes":[{"exact":"/a"},{"exact":3}]}"#);
        assert_eq!(
            wrong_type.unwrap_err(),
            "routes[1].exact: invalid type: integer `3`, expected a string"
        );
        let right = parse::<Config>(r#"{"routes":[{"exact":"/a"}]}"#).unwrap();
        assert_eq!(right.routes[0].exact, "/a");
        let unknown = parse::<Config>(r#"{"rutes":[]}"#);
        assert_eq!(
            unknown.unwrap_err(),
            "rutes: unknown field `rutes`, expected `routes`"
        );
    }

    /// A stage without `config` gets its plugin's defaults.
    #[test]
    fn no_config_is_an_empty_one() {
        for json in ["", "null", "{}"] {
            let config = parse::<Config>(json).unwrap();
            assert!(config.routes.is_empty());
        }
    }

    /// A missing key is reported with the path of the map that lacks it.
    #[test]
    fn missing_keys_are_named() {
        let missing = parse::<Config>(r#"{"routes":[{}]}"#);
        assert_eq!(missing.unwrap_err(), "routes[0]: missing field `exact`");
    }
}
