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
    routes: Vec<Pattern>,
    attributes: Vec<(String, Vec<Pattern>)>,
}

impl Conditions {
    pub(crate) fn new(config: Config) -> Result<Self, String> {
        let mut attributes: Vec<_> = config
            .attributes
            .into_iter()
            .map(|(key, patterns)| (key, compile(patterns)))
            .collect();
        let user_agents = compile(config.user_agents);
        for key in USER_AGENT_KEYS {
            attributes.push((key.to_owned(), user_agents.clone()));
        }
        attributes.retain(|(_, patterns)| !patterns.is_empty());
        let conditions = Self {
            names: compile(config.names),
            routes: compile(config.routes),
            attributes,
        };
        if conditions.names.is_empty()
            && conditions.routes.is_empty()
            && conditions.attributes.is_empty()
        {
            return Err("no conditions are left: every list is empty".to_owned());
        }
        Ok(conditions)
    }

    /// Whether any condition matches.
    pub(crate) fn match_span(&self, span: &Span<'_>) -> bool {
        any(&self.names, span.name())
            || self.match_route(span)
            || self.attributes.iter().any(|(key, patterns)| {
                span.attribute_str(key)
                    .is_some_and(|text| any(patterns, text))
            })
    }

    fn match_route(&self, span: &Span<'_>) -> bool {
        !self.routes.is_empty()
            && ROUTE_KEYS.iter().any(|key| {
                span.attribute_str(key).is_some_and(|route| {
                    let path = route.split('?').next().unwrap_or(route);
                    any(&self.routes, path)
                })
            })
    }
}

fn compile(patterns: Vec<String>) -> Vec<Pattern> {
    patterns.into_iter().map(Pattern::from).collect()
}

fn any(patterns: &[Pattern], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}
