use serde_json::{Value as Json, json};
use spandrel_guest::testing::{TestBatch, TestHost};

use super::DropHealthChecks;

fn host(config: &Json) -> TestHost<DropHealthChecks> {
    TestHost::configure(config).unwrap()
}

/// Without any config the checks of common platforms are dropped, and nothing else.
#[test]
fn the_defaults_know_common_checks() {
    let checks = TestBatch::new()
        .service("shop")
        .span("by route", |span| span.attribute("http.route", "/healthz"))
        .span("by path", |span| {
            span.attribute("url.path", "/actuator/health/db")
        })
        .span("by target", |span| {
            span.attribute("http.target", "/readyz?verbose")
        })
        .span("by agent", |span| {
            span.attribute("user_agent.original", "kube-probe/1.33")
        })
        .span("by old agent", |span| {
            span.attribute("http.user_agent", "GoogleHC/1.0")
        })
        .span("grpc.health.v1.Health/Check", |span| span);
    let outcome = host(&json!({})).process(&checks);
    assert_eq!(outcome.kept(), Vec::<&str>::new());

    let work = TestBatch::new()
        .service("shop")
        .span("GET /", |span| span.attribute("http.route", "/"))
        .span("GET /healthzoo", |span| {
            span.attribute("http.route", "/healthzoo")
        })
        .span("agent", |span| {
            span.attribute("user_agent.original", "Mozilla/5.0 kube-probe/1")
        })
        .span("grpc.health.v2", |span| span);
    let outcome = host(&json!({})).process(&work);
    assert!(outcome.is_untouched());
    assert_eq!(outcome.kept().len(), 4);
}

/// A list in the config takes the place of its default; the other lists stay.
#[test]
fn lists_replace_their_defaults() {
    let mut host = host(&json!({ "routes": ["/ping", "/internal/*", "/*/up"] }));
    let batch = TestBatch::new()
        .service("shop")
        .span("exact", |span| span.attribute("http.route", "/ping"))
        .span("prefix", |span| {
            span.attribute("http.route", "/internal/metrics")
        })
        .span("glob", |span| span.attribute("http.route", "/v1/up"))
        .span("no longer", |span| span.attribute("http.route", "/healthz"))
        .span("other list", |span| {
            span.attribute("user_agent.original", "kube-probe/1.33")
        });
    let outcome = host.process(&batch);
    assert_eq!(
        outcome.dropped("health_check"),
        ["exact", "prefix", "glob", "other list"]
    );
    assert_eq!(outcome.kept(), ["no longer"]);
}

/// Names and any attribute can be conditions.
#[test]
fn names_and_attributes_are_conditions() {
    let mut host = host(&json!({
        "names": ["probe *"],
        "attributes": { "synthetics.type": ["uptime"] },
    }));
    let batch = TestBatch::new()
        .service("shop")
        .span("probe db", |span| span)
        .span("browser", |span| {
            span.attribute("synthetics.type", "uptime")
        })
        .span("purchase", |span| {
            span.attribute("synthetics.type", "journey")
        });
    let outcome = host.process(&batch);
    assert_eq!(outcome.dropped("health_check"), ["probe db", "browser"]);
    assert_eq!(outcome.kept(), ["purchase"]);
}

/// A check that failed is what somebody will look for: it stays unless told otherwise.
#[test]
fn failed_checks_stay_unless_told_otherwise() {
    let batch = TestBatch::new()
        .service("shop")
        .span("GET /healthz", |span| {
            span.attribute("http.route", "/healthz")
                .error("database is down")
        });
    assert_eq!(host(&json!({})).process(&batch).kept(), ["GET /healthz"]);
    let outcome = host(&json!({ "keep_errors": false })).process(&batch);
    assert_eq!(outcome.dropped("health_check"), ["GET /healthz"]);
}

/// A config under which nothing can match is refused.
#[test]
fn empty_conditions_are_refused() {
    let config = json!({ "routes": [], "names": [], "user_agents": [] });
    assert_eq!(
        TestHost::<DropHealthChecks>::configure(config).unwrap_err(),
        "no conditions are left: every list is empty"
    );
}
