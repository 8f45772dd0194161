//! What a health check looks like.

use std::collections::BTreeMap;

use serde::Deserialize;
use spandrel_guest::Span;

use crate::pattern::Pattern;

/// Routes of common frameworks' and platforms' checks.
const ROUTES: [&str; 10] = [
    "/healthz",
    "/healthz/*",
    "/livez",
    "/readyz",
    "/health",
    "/health/*",
    "/actuator/health",
    "/actuator/health/*",
    "/-/healthy",
    "/-/ready",
];
/// The gRPC health protocol, as instrumentations name its calls.
const NAMES: [&str; 2] = ["grpc.health.v1.Health/*", "/grpc.health.v1.Health/*"];
/// Those who check: Kubernetes, the load balancers of AWS and Google, Route 53, Consul.
const USER_AGENTS: [&str; 5] = [
    "kube-probe/*",
    "ELB-HealthChecker/*",
    "GoogleHC/*",
    "Amazon-Route53-Health-Check-Service*",
    "Consul Health Check",
];

/// Where a route stands: newest convention first.
const ROUTE_KEYS: [&str; 3] = ["http.route", "url.path", "http.target"];
const USER_AGENT_KEYS: [&str; 2] = ["user_agent.original", "http.user_agent"];

/// The stage's `config`. Patterns are exact, or have a `*` for any run of characters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes or paths (`http.route`, `url.path`, `http.target` up to its query).
    #[serde(default = "routes")]
    routes: Vec<String>,
    /// Span names.
    #[serde(default = "names")]
    names: Vec<String>,
    /// User agents (`user_agent.original`, `http.user_agent`).
    #[serde(default = "user_agents")]
    user_agents: Vec<String>,
    /// Any other attributes, by key.
    #[serde(default)]
    attributes: BTreeMap<String, Vec<String>>,
    /// Whether a health check that failed is kept.
    #[serde(default = "yes")]
    pub(crate) keep_errors: bool,
}

fn routes() -> Vec<String> {
    ROUTES.map(str::to_owned).to_vec()
}

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

fn user_agents() -> Vec<String> {
    USER_AGENTS.map(str::to_owned).to_vec()
}

fn yes() -> bool {
    true
}

/// The conditions in the shape in which spans are compared with them.
#[derive(Debug)]
pub(crate) struct Conditions {
    names: Vec<Pattern>,
    attributes: Vec<Condition>,
}

/// What one attribute may be.
#[derive(Debug)]
struct Condition {
    key: String,
    /// Whether the attribute may carry a query that is not compared.
    is_path: bool,
    patterns: Vec<Pattern>,
}

impl Conditions {
    pub(crate) fn new(config: Config) -> Result<Self, String> {
        let routes = compile(config.routes);
        let user_agents = compile(config.user_agents);
        let routes = ROUTE_KEYS.map(|key| (key.to_owned(), true, routes.clone()));
        let user_agents = USER_AGENT_KEYS.map(|key| (key.to_owned(), false, user_agents.clone()));
        let others = config.attributes.into_iter();
        let others = others.map(|(key, patterns)| (key, false, compile(patterns)));
        let all = routes.into_iter().chain(user_agents).chain(others);
        let conditions = Self {
            names: compile(config.names),
            attributes: all
                .filter(|(_, _, patterns)| !patterns.is_empty())
                .map(|(key, is_path, patterns)| Condition {
                    key,
                    is_path,
                    patterns,
                })
                .collect(),
        };
        if conditions.names.is_empty() && conditions.attributes.is_empty() {
            return Err("no conditions are left: every list is empty".to_owned());
        }
        Ok(conditions)
    }

    /// Whether any condition matches. Attributes are asked for by key, so that the host learns which
    /// ones this plugin reads and need not hand over the others.
    pub(crate) fn match_span(&self, span: &Span<'_>) -> bool {
        let attribute_matches = |condition: &Condition| {
            let text = span.attribute_str(&condition.key);
            text.is_some_and(|text| condition.matches(text))
        };
        self.attributes.iter().any(attribute_matches)
            || !self.names.is_empty() && any(&self.names, span.name())
    }
}

impl Condition {
    fn matches(&self, text: &str) -> bool {
        match text.split_once('?') {
            Some((path, _query)) if self.is_path => any(&self.patterns, path),
            _ => any(&self.patterns, text),
        }
    }
}

fn compile(patterns: Vec<String>) -> Vec<Pattern> {
    patterns.into_iter().map(Pattern::from).collect()
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}
