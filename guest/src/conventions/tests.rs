use spandrel_wire::{Status, StatusCode};

use super::*;
use crate::prelude::*;
use crate::testing::{TestBatch, TestHost, TestSpan};

/// A plugin that drops failed spans and spans that an exception left.
struct Judge;

impl Plugin for Judge {
    type Config = std::collections::BTreeMap<String, String>;

    fn manifest(&self) -> Manifest {
        Manifest::new().drop_reasons(&["failed", "exception"])
    }

    fn configure(_: Self::Config) -> Result<Self, String> {
        Ok(Self)
    }

    fn process(&mut self, batch: &mut Batch) {
        for span in batch.spans() {
            if span.has_failed() {
                span.drop(Reason(0));
            } else if span.has_exception() {
                span.drop(Reason(1));
            }
        }
    }
}

fn status(code: StatusCode) -> Status<'static> {
    Status { code, message: "" }
}

type Build = fn(TestSpan) -> TestSpan;

const FAILED: [Build; 15] = [
    |span| span.error("boom"),
    |span| span.attribute("http.response.status_code", 503),
    |span| span.attribute("http.status_code", 500),
    |span| span.attribute("http.status_code", "599"),
    |span| span.attribute("http.status_code", 502.0),
    |span| span.attribute("rpc.grpc.status_code", 14),
    |span| span.attribute("rpc.grpc.status_code", "2"),
    |span| span.attribute("rpc.response.status_code", "UNAVAILABLE"),
    |span| span.attribute("error.type", "java.io.IOException"),
    |span| span.attribute("error", true),
    |span| span.attribute("error", "true"),
    |span| span.attribute("error", "no route to host"),
    |span| span.attribute("error", 1),
    |span| span.attribute("http.route", "/").attribute("error", true),
    |span| {
        span.attribute("http.status_code", 200)
            .attribute("error", true)
    },
];

const FINE: [Build; 14] = [
    |span| span,
    |span| span.attribute("http.response.status_code", 499),
    |span| span.attribute("http.status_code", "404"),
    |span| span.attribute("http.status_code", 600),
    |span| span.attribute("http.status_code", 500.5),
    |span| span.attribute("http.status_code", "5xx"),
    |span| span.attribute("rpc.grpc.status_code", 0),
    |span| span.attribute("rpc.grpc.status_code", 5),
    |span| span.attribute("rpc.response.status_code", "OK"),
    |span| span.attribute("error.type", ""),
    |span| span.attribute("error", false),
    |span| span.attribute("error", "false"),
    |span| span.attribute("error", 0),
    // The developer set the status to "ok".
    |span| span.status(status(StatusCode::Ok)).attribute("error", true),
];

fn judged(builds: &[Build], reason: &str) -> usize {
    let mut host = TestHost::<Judge>::configure("{}").unwrap();
    let mut batch = TestBatch::new().service("shop");
    for (number, build) in builds.iter().enumerate() {
        batch = batch.span(&number.to_string(), build);
    }
    // The first batch is whole. The second is a projection, whose first miss is fetched. The third
    // is a projection with everything that the plugin reads.
    let dropped = [(); 3].map(|()| host.process(&batch).dropped(reason).len());
    assert_eq!(dropped, [dropped[0]; 3]);
    dropped[0]
}

/// A failure is seen wherever the conventions, new or old, or a proxy put it.
#[test]
fn failures_are_seen() {
    assert_eq!(judged(&FAILED, "failed"), FAILED.len());
    assert_eq!(judged(&FINE, "failed"), 0);
}

/// An exception that was handled inside of the span did not leave it.
#[test]
fn exceptions_are_seen() {
    let left: [Build; 2] = [
        |span| span.event("exception"),
        |span| {
            span.event_with("exception", |event| {
                event.attribute("exception.escaped", true)
            })
        },
    ];
    assert_eq!(judged(&left, "exception"), 2);
    let stayed: [Build; 2] = [
        |span| span.event("retry"),
        |span| {
            span.event_with("exception", |event| {
                event.attribute("exception.escaped", false)
            })
        },
    ];
    assert_eq!(judged(&stayed, "exception"), 0);
}

/// The path is found in every form of a URL, a target or a route.
#[test]
fn paths_are_found() {
    for (target, path) in [
        ("/healthz", "/healthz"),
        ("/healthz?full=1", "/healthz"),
        ("/healthz#a?b", "/healthz"),
        ("http://shop/healthz", "/healthz"),
        ("https://user:pw@[::1]:8443/a/b?c=http://d/e#f", "/a/b"),
        ("http://shop", "/"),
        ("http://shop?x=/healthz", "/"),
        ("/redirect?to=http://x/healthz", "/redirect"),
        ("/a://b/healthz", "/a://b/healthz"),
        ("grpc+tls://shop/x.Y/Z", "/x.Y/Z"),
        ("not a scheme://shop/healthz", "not a scheme://shop/healthz"),
        ("healthz/", "healthz/"),
        ("*", "*"),
        ("", ""),
    ] {
        assert_eq!(url_path(target), path, "{target}");
    }
}
