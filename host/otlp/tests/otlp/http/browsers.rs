//! Pages of browsers that send requests from another origin.

use spandrel_otlp::auth::{Bearer, ServerAuth, Tokens};
use spandrel_otlp::receiver::{Cors, HttpConfig};

use super::wire::{Answer, Client, PROTOBUF, head, post};
use super::{http, start};
use crate::collector::Sink;

const SHOP: &str = "https://shop.example";

fn shops() -> HttpConfig {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    HttpConfig {
        cors: Some(Cors {
            allowed_origins: texts(&[SHOP, "https://*.pages.example"]),
            allowed_headers: texts(&["X-Tenant"]),
            exposed_headers: texts(&["retry-after"]),
            max_age: 600,
        }),
        ..http()
    }
}

fn preflight(origin: &str, headers: &str) -> Vec<u8> {
    let asks = ("access-control-request-method", "POST");
    let names = ("access-control-request-headers", headers);
    head("OPTIONS", "/v1/traces", &[("origin", origin), asks, names])
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

/// A page of an allowed origin may send what SDKs of browsers send, and reads the answer, even if that
/// is a refusal. Of another origin it may not. The preflight needs no credentials.
#[tokio::test]
async fn pages_of_allowed_origins_may_send() {
    let sink = Sink::open();
    let auth = Some(ServerAuth::Bearer(Bearer {
        header: "authorization".to_owned(),
        scheme: "Bearer".to_owned(),
        tokens: Tokens::Inline(vec!["swordfish".into()]),
    }));
    let config = HttpConfig { auth, ..shops() };
    let collector = start(config, &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let names = "content-type,x-tenant";
    for origin in [SHOP, "https://a.pages.example"] {
        let answer = client.call(&preflight(origin, names)).await;
        assert_eq!((answer.code, answer.body.len()), (204, 0));
        assert_eq!(allowed(&answer), Some(origin));
        for (name, value) in [
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", names),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{origin}");
        }
        let headers = [("content-type", PROTOBUF), ("origin", origin)];
        let refused = client.call(&post("/v1/traces", &headers, b"x")).await;
        assert_eq!((refused.code, allowed(&refused)), (401, Some(origin)));
        let token = ("authorization", "Bearer swordfish");
        let headers = [headers[0], headers[1], token];
        let taken = client.call(&post("/v1/traces", &headers, b"x")).await;
        assert_eq!((taken.code, allowed(&taken)), (200, Some(origin)));
        assert_eq!(
            taken.header("access-control-expose-headers"),
            Some("retry-after")
        );
        assert_eq!(taken.header("vary"), Some("origin"));
    }
    for origin in [
        "https://evil.example",
        "https://pages.example",
        "http://shop.example",
    ] {
        let answer = client.call(&preflight(origin, names)).await;
        assert_eq!((answer.code, allowed(&answer)), (204, None), "{origin}");
    }
    let answer = client.call(&preflight(SHOP, "content-type, x-other")).await;
    assert_eq!((answer.code, allowed(&answer)), (204, None));
    assert_eq!(sink.taken().len(), 2);
}

/// Without the setting there are no such answers: OPTIONS is a method like any other.
#[tokio::test]
async fn no_page_may_send_by_default() {
    let collector = start(http(), &Sink::open()).await;
    let mut client = Client::connect(collector.addr).await;
    let answer = client.call(&preflight(SHOP, "content-type")).await;
    assert_eq!((answer.code, allowed(&answer)), (405, None));
    let headers = [("content-type", PROTOBUF), ("origin", SHOP)];
    let answer = client.call(&post("/v1/traces", &headers, b"x")).await;
    assert_eq!((answer.code, allowed(&answer)), (200, None));
}
