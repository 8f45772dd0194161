use serde_json::{Value as Json, json};
use spandrel_guest::Value;
use spandrel_guest::testing::{TestBatch, TestHost};

use super::DropHealthChecks;

fn host(config: &Json) -> TestHost<DropHealthChecks> {
    TestHost::configure(config).unwrap()
}

/// With an empty config the checks of common platforms are dropped, and nothing else.
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

/// A whole URL, a query, a fragment and a slash at the end do not hide a path. A path in a query
/// does not count.
#[test]
fn paths_are_seen_in_urls() {
    let mut host = host(&json!({}));
    let checks = [
        ("url.full", "https://10.0.0.7:8443/healthz"),
        ("url.full", "http://user:pw@[::1]/readyz/?verbose#top"),
        ("http.url", "http://shop/actuator/health/db?x=/cart"),
        ("http.target", "http://shop/livez"),
        ("http.target", "/health?"),
        ("url.path", "/livez/"),
        ("http.route", "/-/ready/"),
        ("http.url", "http://shop:50051/grpc.health.v1.Health/Check"),
    ];
    let work = [
        ("url.full", "http://shop/cart?next=http://shop/healthz"),
        ("http.url", "http://healthz/cart"),
        ("http.url", "http://healthz"),
        ("url.path", "/cart/healthz"),
        ("http.target", "/cart?/healthz"),
        ("url.path", "/"),
        ("url.query", "/healthz"),
    ];
    let batch = |attributes: &[(&str, &str)]| {
        attributes
            .iter()
            .fold(TestBatch::new().service("shop"), |batch, (key, value)| {
                batch.span(value, |span| span.attribute(key, *value))
            })
    };
    // The first batch is whole; the others are projections.
    for _ in 0..3 {
        assert_eq!(host.process(&batch(&checks)).kept(), Vec::<&str>::new());
        assert_eq!(host.process(&batch(&work)).kept().len(), work.len());
    }
}

/// The health protocol of gRPC is recognized by service and method, for any name of the span.
#[test]
fn rpc_services_are_seen() {
    let batch = TestBatch::new()
        .service("shop")
        .span("Recv.grpc.health.v1.Health.Check", |span| {
            span.attribute("rpc.service", "grpc.health.v1.Health")
                .attribute("rpc.method", "Check")
        })
        .span("health", |span| {
            span.attribute("rpc.method", "grpc.health.v1.Health/Watch")
        })
        .span("agent of Envoy", |span| {
            span.attribute("user_agent", "kube-probe/1.33")
        })
        .span("shop.Cart/Check", |span| {
            span.attribute("rpc.service", "shop.Cart")
                .attribute("rpc.method", "shop.Cart/Check")
        });
    let outcome = host(&json!({})).process(&batch);
    assert_eq!(outcome.kept(), ["shop.Cart/Check"]);
    let none = json!({ "rpc_services": [], "names": [], "routes": [] });
    let outcome = host(&none).process(&batch);
    assert_eq!(outcome.dropped("health_check"), ["agent of Envoy"]);
}

/// A pattern matches a value by its text. A number, a boolean and a text are the same to an
/// operator, with or without quotes, and a list matches by any of its values.
#[test]
fn values_of_any_type_are_compared() {
    let batch = TestBatch::new()
        .service("shop")
        .span("number", |span| span.attribute("code", 200))
        .span("text", |span| span.attribute("code", "200"))
        .span("float", |span| span.attribute("code", 200.0))
        .span("list of numbers", |span| span.attribute("code", [100, 200]))
        .span("list of texts", |span| span.attribute("code", ["200", "x"]))
        .span("boolean", |span| span.attribute("probe", true))
        .span("text of a boolean", |span| span.attribute("probe", "true"))
        .span("list of booleans", |span| {
            span.attribute("probe", [false, true])
        })
        .span("other number", |span| span.attribute("code", 2_000))
        .span("other float", |span| span.attribute("code", 200.5))
        .span("other list", |span| span.attribute("code", [20, 0]))
        .span("other boolean", |span| span.attribute("probe", [false]))
        .span("nothing", |span| span.attribute("code", Value::Empty));
    for config in [
        r#"{ "attributes": { "code": ["200"], "probe": ["true"] } }"#,
        r#"{ "attributes": { "code": [200], "probe": [true] } }"#,
    ] {
        let mut host = TestHost::<DropHealthChecks>::configure(config).unwrap();
        for _ in 0..3 {
            assert_eq!(
                host.process(&batch).kept(),
                [
                    "other number",
                    "other float",
                    "other list",
                    "other boolean",
                    "nothing"
                ],
                "{config}"
            );
        }
    }
}

/// A condition on a renamed key also applies to its other name.
#[test]
fn renamed_keys_are_the_same() {
    let spans = |batch: TestBatch, method: &str| {
        ["http.method", "http.request.method"]
            .into_iter()
            .fold(batch, |batch, key| {
                batch.span(key, |span| span.attribute(key, method))
            })
    };
    for key in ["http.method", "http.request.method"] {
        let mut host = host(&json!({ "attributes": { key: ["OPTIONS"] } }));
        let outcome = host.process(&spans(TestBatch::new().service("shop"), "OPTIONS"));
        assert_eq!(outcome.dropped("health_check").len(), 2, "{key}");
        let outcome = host.process(&spans(TestBatch::new().service("shop"), "GET"));
        assert_eq!(outcome.kept().len(), 2, "{key}");
    }
}

/// A check also counts as failed if only its HTTP status or an `error` attribute says so and the
/// span's status is not set.
#[test]
fn failures_without_a_status_stay() {
    let check = |name: &str, key: &str, batch: TestBatch| {
        batch.span(name, |span| {
            let span = span.attribute("url.path", "/healthz");
            match key {
                "" => span.attribute("http.response.status_code", 200),
                "error" => span.attribute(key, true),
                key => span.attribute(key, 503),
            }
        })
    };
    let mut batch = TestBatch::new().service("shop");
    for (name, key) in [
        ("new", "http.response.status_code"),
        ("old", "http.status_code"),
        ("tag", "error"),
        ("fine", ""),
    ] {
        batch = check(name, key, batch);
    }
    let mut host = host(&json!({}));
    for _ in 0..3 {
        let outcome = host.process(&batch);
        assert_eq!(outcome.kept(), ["new", "old", "tag"]);
        assert_eq!(outcome.dropped("health_check"), ["fine"]);
    }
}

/// A list in the config replaces its default; the other lists stay.
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

/// A failed check is kept by default, because somebody will look for it.
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

/// A config with no conditions is refused.
#[test]
fn empty_conditions_are_refused() {
    let config = json!({ "routes": [], "names": [], "rpc_services": [], "user_agents": [] });
    assert_eq!(
        TestHost::<DropHealthChecks>::configure(config).unwrap_err(),
        "no conditions are left: every list is empty"
    );
}
