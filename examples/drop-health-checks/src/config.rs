//! The stage's `config`, and its defaults.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Routes of common frameworks' and platforms' checks, and the gRPC health protocol as a path.
const ROUTES: [&str; 11] = [
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
    "/grpc.health.v1.Health/*",
];
/// The gRPC health protocol, as instrumentations name the spans of its calls.
const NAMES: [&str; 2] = ["grpc.health.v1.Health/*", "/grpc.health.v1.Health/*"];
const RPC_SERVICES: [&str; 1] = ["grpc.health.v1.Health"];
/// The senders of health checks: Kubernetes, the load balancers of AWS and Google, Route 53,
/// Consul.
const USER_AGENTS: [&str; 5] = [
    "kube-probe/*",
    "ELB-HealthChecker/*",
    "GoogleHC/*",
    "Amazon-Route53-Health-Check-Service*",
    "Consul Health Check",
];

/// The stage's `config`. Patterns are exact, or contain a `*` for any run of characters. A number
/// or a boolean without quotes is also a pattern: its text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Routes or paths. They are compared with `http.route`, `url.path`, `http.target`, and the
    /// paths of `url.full` and `http.url`.
    #[serde(default = "routes")]
    pub(crate) routes: Vec<String>,
    /// Span names.
    #[serde(default = "names")]
    pub(crate) names: Vec<String>,
    /// RPC services (`rpc.service`, or the part before the last `/` of `rpc.method`).
    #[serde(default = "rpc_services")]
    pub(crate) rpc_services: Vec<String>,
    /// User agents (`user_agent.original`, `http.user_agent`, and Envoy's `user_agent`).
    #[serde(default = "user_agents")]
    pub(crate) user_agents: Vec<String>,
    /// Patterns for any other attributes, by key. A list matches if one of its values does.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
    /// If true, a health check that failed is kept.
    #[serde(default = "yes")]
    pub(crate) keep_errors: bool,
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn routes() -> Vec<String> {
    owned(ROUTES)
}

fn names() -> Vec<String> {
    owned(NAMES)
}

fn rpc_services() -> Vec<String> {
    owned(RPC_SERVICES)
}

fn user_agents() -> Vec<String> {
    owned(USER_AGENTS)
}

fn yes() -> bool {
    true
}
