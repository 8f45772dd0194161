use serde_json::{Value as Json, json};
use spandrel_guest::Value;
use spandrel_guest::testing::{Outcome, TestBatch, TestHost};

use super::TagByService;

fn host(config: &Json) -> TestHost<TagByService> {
    TestHost::configure(config).unwrap()
}

fn team_of(outcome: &Outcome, span: &str) -> Option<String> {
    let resource = outcome.span(span).resource()?;
    resource.attribute_str("team").map(str::to_owned)
}

/// A service's own row is used before any pattern, and the most specific pattern before others. The
/// default row is used if nothing matches or there is no name at all.
#[test]
fn the_row_that_says_most_is_taken() {
    let mut host = host(&json!({
        "services": {
            "checkout": { "team": "payments" },
            "checkout-*": { "team": "payments-regional" },
            "*": { "team": "everyone" },
            "*-eu": { "team": "europe" },
        },
        "default": { "team": "nobody" },
    }));
    let batch = TestBatch::new()
        .service("checkout")
        .span("own row", |span| span)
        .service("checkout-eu")
        .span("longest pattern", |span| span)
        .service("search-eu")
        .span("longer pattern", |span| span)
        .service("cart")
        .span("any", |span| span);
    let outcome = host.process(&batch);
    assert_eq!(team_of(&outcome, "own row").unwrap(), "payments");
    assert_eq!(
        team_of(&outcome, "longest pattern").unwrap(),
        "payments-regional"
    );
    assert_eq!(team_of(&outcome, "longer pattern").unwrap(), "europe");
    assert_eq!(team_of(&outcome, "any").unwrap(), "everyone");
}

/// A service without a row gets the default row, or nothing if there is none.
#[test]
fn the_default_row_is_for_the_rest() {
    let batch = TestBatch::new()
        .service("cart")
        .span("named", |span| span)
        .resource()
        .span("nameless", |span| span);
    let with_default = json!({ "services": {}, "default": { "team": "nobody" } });
    let outcome = host(&with_default).process(&batch);
    assert_eq!(team_of(&outcome, "named").unwrap(), "nobody");
    assert_eq!(team_of(&outcome, "nameless").unwrap(), "nobody");

    let without = json!({ "services": { "checkout": { "team": "payments" } } });
    let outcome = host(&without).process(&batch);
    assert!(outcome.is_untouched());
}

/// A service without a name gets the default row and no pattern for names, also if the SDK wrote
/// `unknown_service` for it.
#[test]
fn services_without_a_name_are_nobodys() {
    let nameless = || {
        TestBatch::new()
            .resource()
            .span("none", |span| span)
            .service("")
            .span("empty", |span| span)
            .resource()
            .resource_attribute("service.name", Value::Empty)
            .span("no value", |span| span)
            .resource()
            .resource_attribute("service.name", 7)
            .span("a number", |span| span)
            .service("unknown_service")
            .span("unknown", |span| span)
            .service("unknown_service:mail-worker")
            .span("unknown process", |span| span)
    };
    let services = json!({ "*": { "team": "all" }, "*-worker": { "team": "platform" } });
    let config = json!({ "services": services, "default": { "team": "nobody" } });
    let outcome = host(&config).process(&nameless());
    for span in outcome.spans() {
        assert_eq!(
            team_of(&outcome, span.name()).unwrap(),
            "nobody",
            "{span:?}"
        );
    }
    let untagged = host(&json!({ "services": services })).process(&nameless());
    assert!(untagged.is_untouched());

    let meant = json!({
        "services": {
            "*": { "team": "all" },
            "unknown_service*": { "team": "a pattern" },
            "unknown_service": { "team": "its own" },
        },
    });
    let outcome = host(&meant).process(&nameless());
    assert_eq!(team_of(&outcome, "unknown").unwrap(), "its own");
    assert_eq!(team_of(&outcome, "unknown process").unwrap(), "a pattern");
    assert_eq!(team_of(&outcome, "none"), None);
}

/// A tag replaces an attribute without a value, because that has no information to keep.
#[test]
fn attributes_without_a_value_are_set() {
    let batch = TestBatch::new()
        .service("cart")
        .resource_attribute("team", Value::Empty)
        .span("GET /", |span| span.attribute("team", Value::Empty));
    let config = json!({ "target": "both", "default": { "team": "table" } });
    let outcome = host(&config).process(&batch);
    assert_eq!(
        outcome.span("GET /").after().attribute_str("team"),
        Some("table")
    );
    assert_eq!(team_of(&outcome, "GET /").as_deref(), Some("table"));
}

/// `target` selects what is tagged; the other part stays as it is.
#[test]
fn targets_are_told_apart() {
    let batch = TestBatch::new()
        .service("cart")
        .span("first", |span| span)
        .span("second", |span| span);
    for (target, on_resource, on_span) in [
        ("resource", true, false),
        ("span", false, true),
        ("both", true, true),
    ] {
        let config = json!({ "target": target, "default": { "tier": 1 } });
        let outcome = host(&config).process(&batch);
        for name in ["first", "second"] {
            let span = outcome.span(name);
            let tagged = Some(Value::Int(1));
            assert_eq!(
                span.resource().unwrap().attribute("tier") == tagged,
                on_resource
            );
            assert_eq!(
                span.after().attribute("tier") == tagged,
                on_span,
                "{target}"
            );
        }
    }
}

/// A service's own attributes stay, unless the operator wants them replaced.
#[test]
fn attributes_that_came_stay_unless_overwritten() {
    let batch = TestBatch::new()
        .service("cart")
        .resource_attribute("team", "its own")
        .span("GET /", |span| span.attribute("team", "its own"));
    for (overwrite, team) in [(false, "its own"), (true, "table")] {
        let config = json!({
            "target": "both", "overwrite": overwrite, "default": { "team": "table" },
        });
        let outcome = host(&config).process(&batch);
        let span = outcome.span("GET /");
        assert_eq!(span.after().attribute_str("team"), Some(team));
        assert_eq!(team_of(&outcome, "GET /").as_deref(), Some(team));
    }
}

/// Tags keep their type.
#[test]
fn tags_keep_their_type() {
    let config = json!({
        "default": { "text": "a", "whole": 7, "half": 0.5, "yes": true },
    });
    let outcome = host(&config).process(&TestBatch::new().service("cart").span("GET /", |s| s));
    let resource = outcome.span("GET /").resource().unwrap();
    assert_eq!(resource.attribute("text"), Some(Value::Str("a")));
    assert_eq!(resource.attribute("whole"), Some(Value::Int(7)));
    assert_eq!(resource.attribute("half"), Some(Value::Double(0.5)));
    assert_eq!(resource.attribute("yes"), Some(Value::Bool(true)));
}

/// A config that does nothing, or that is misspelt, is refused with its reason.
#[test]
fn useless_configs_are_refused() {
    let refused = |config: Json| TestHost::<TagByService>::configure(config).unwrap_err();
    assert_eq!(
        refused(json!({})),
        "nothing to tag: give `services`, `default`, or both"
    );
    assert_eq!(
        refused(json!({ "services": { "cart": { "team": [] } } })),
        "services.cart.team: expected a text, a number, true or false"
    );
    let misspelt = refused(json!({ "defaults": { "team": "a" } }));
    assert!(
        misspelt.starts_with("defaults: unknown field `defaults`"),
        "{misspelt}"
    );
}
