//! The conditions that identify a health check.

use std::collections::BTreeMap;

use spandrel_guest::{Keys, Span, Value, url_path};

use crate::config::Config;
use crate::pattern::Pattern;

/// The attributes that contain a route or a path, by the current and the earlier conventions.
const ROUTE_KEYS: [&str; 5] = [
    "http.route",
    "url.path",
    "http.target",
    "url.full",
    "http.url",
];
const USER_AGENT_KEYS: [&str; 3] = ["user_agent.original", "http.user_agent", "user_agent"];

/// Keys that were renamed: a condition on one is also a condition on the other.
const RENAMED: [[&str; 2]; 8] = [
    ["http.method", "http.request.method"],
    ["http.status_code", "http.response.status_code"],
    ["http.url", "url.full"],
    ["http.scheme", "url.scheme"],
    ["http.client_ip", "client.address"],
    ["http.user_agent", "user_agent.original"],
    ["net.host.name", "server.address"],
    ["net.peer.ip", "network.peer.address"],
];

/// The conditions, in the form in which spans are compared with them.
#[derive(Debug)]
pub(crate) struct Conditions {
    names: Vec<Pattern>,
    keys: Keys,
    /// The conditions, in the order of the keys.
    attributes: Vec<Condition>,
}

/// The patterns for one attribute.
#[derive(Debug, Default)]
struct Condition {
    /// Patterns for the path in its value.
    paths: Vec<Pattern>,
    /// Patterns for its value.
    values: Vec<Pattern>,
}

impl Conditions {
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let mut by_key: BTreeMap<&str, Condition> = BTreeMap::new();
        let mut add = |key, patterns: &[Pattern]| {
            let condition = by_key.entry(key).or_default();
            condition.values.extend_from_slice(patterns);
        };
        let user_agents = compile(&config.user_agents);
        for key in USER_AGENT_KEYS {
            add(key, &user_agents);
        }
        add("rpc.service", &compile(&config.rpc_services));
        // Since 2025 the method contains its service as a prefix.
        let methods = config.rpc_services.iter();
        let methods: Vec<_> = methods.map(|service| format!("{service}/*")).collect();
        add("rpc.method", &compile(&methods));
        for (key, patterns) in &config.attributes {
            let patterns = compile(patterns);
            let renamed = RENAMED.iter().find(|pair| pair.contains(&key.as_str()));
            match renamed {
                Some(pair) => pair.iter().for_each(|key| add(key, &patterns)),
                None => add(key, &patterns),
            }
        }
        let routes = compile(&config.routes);
        for key in ROUTE_KEYS {
            by_key.entry(key).or_default().paths.clone_from(&routes);
        }
        by_key.retain(|_, condition| !condition.is_empty());
        let conditions = Self {
            names: compile(&config.names),
            keys: Keys::new(by_key.keys().copied()),
            attributes: by_key.into_values().collect(),
        };
        if conditions.names.is_empty() && conditions.attributes.is_empty() {
            return Err("no conditions are left: every list is empty".to_owned());
        }
        Ok(conditions)
    }

    /// Returns true if any condition matches. Attributes are looked up by key, in one walk: so the
    /// host learns which ones this plugin reads and need not hand over the others.
    pub(crate) fn match_span(&self, span: &Span<'_>) -> bool {
        span.select(&self.keys)
            .any(|(key, value)| self.attributes.get(key).is_some_and(|it| it.matches(value)))
            || !self.names.is_empty() && any(&self.names, span.name())
    }
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.values.is_empty()
    }

    fn matches(&self, value: Value<'_>) -> bool {
        self.values.iter().any(|it| it.matches_value(value))
            || !self.paths.is_empty() && value.as_str().is_some_and(|text| self.matches_path(text))
    }

    /// Returns true if the path matches. Frameworks differ in whether a path ends with a slash, so
    /// it is also tried without one.
    fn matches_path(&self, text: &str) -> bool {
        let path = url_path(text);
        any(&self.paths, path)
            || path
                .strip_suffix('/')
                .is_some_and(|path| any(&self.paths, path))
    }
}

fn compile(patterns: &[String]) -> Vec<Pattern> {
    patterns.iter().cloned().map(Pattern::from).collect()
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}
