use serde_json::Value;
use tokio::time::{Duration, Instant};

use super::setup::{Served, until};

/// Each view is answered as JSON, on both kinds of listener.
#[tokio::test]
async fn views_are_shown() {
    for served in [Served::unix().await, Served::tcp().await] {
        served.fake.event("wasm/tag");
        served.fake.event("wasm/bad");
        for (path, pointer, value) in [
            ("/v1/pipelines", "/0/name", Value::from("traces")),
            ("/v1/stages", "/1/stage", Value::from("wasm/bad")),
            ("/v1/stages/wasm%2Ftag", "/stage", Value::from("wasm/tag")),
            ("/v1/stages/wasm%2Ftag/shadow", "/compared", Value::from(7)),
            (
                "/v1/stages/wasm%2Fbad/history",
                "/0/sequence",
                Value::from(2),
            ),
            ("/v1/history", "/1/sequence", Value::from(2)),
            ("/v1/history?after=1", "/0/sequence", Value::from(2)),
            ("/v1/ledger", "/traces/received", Value::from(0)),
            ("/v1/version", "/version", env!("CARGO_PKG_VERSION").into()),
        ] {
            let (code, headers, body) = served.ask("GET", path).await;
            assert_eq!(
                (code, &headers["content-type"]),
                (200, &"application/json".parse().expect("a value")),
                "{path}"
            );
            let json: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(json.pointer(pointer), Some(&value), "{path}: {body}");
        }
    }
}

/// A request for an unknown path, or with a wrong method or key, is answered with a code and a
/// remedy.
#[tokio::test]
async fn wrong_questions_are_answered() {
    let served = Served::unix().await;
    for (method, path, code, says) in [
        ("GET", "/", 404, "/v1"),
        ("GET", "/v1/stage", 404, "/v1/stages"),
        (
            "GET",
            "/v1/stages/wasm%2Ftga",
            404,
            "did you mean `wasm/tag`?",
        ),
        ("GET", "/v1/stages/wasm%2Ftga/history", 404, "did you mean"),
        ("GET", "/v1/stages/wasm%2Ftga/shadow", 404, "did you mean"),
        ("GET", "/v1/stages/wasm%2Fbad/shadow", 404, "has no shadow"),
        ("GET", "/v1/stages?all=1", 400, "`all`"),
        ("GET", "/v1/history?after=x", 400, "`after`"),
        ("GET", "/v1/history?wait=1h", 400, "`wait`"),
        ("POST", "/v1/reload?now=1", 400, "`now`"),
        (
            "POST",
            "/v1/stages/wasm%2Ftga/rollback",
            404,
            "did you mean",
        ),
    ] {
        let (got, _, body) = served.ask(method, path).await;
        assert_eq!(got, code, "{method} {path}: {body}");
        let json: Value = serde_json::from_str(&body).expect("JSON");
        let error = json["error"].as_str().expect("an error");
        assert!(error.contains(says), "{method} {path}: {error}");
    }
    for (method, path, allow) in [
        ("POST", "/v1/stages", "GET, HEAD"),
        ("DELETE", "/v1/stages/wasm%2Ftag", "GET, HEAD"),
        ("GET", "/v1/reload", "POST"),
        ("PUT", "/v1/stages/wasm%2Ftag/swap", "POST"),
    ] {
        let (code, headers, _) = served.ask(method, path).await;
        assert_eq!(
            (code, headers["allow"].to_str().ok()),
            (405, Some(allow)),
            "{path}"
        );
    }
}

/// A client that watches gets events when there are any, and an empty answer when its time is over.
#[tokio::test(start_paused = true)]
async fn news_are_waited_for() {
    let served = Served::unix().await;
    let began = Instant::now();
    let (code, _, body) = served.ask("GET", "/v1/history?after=0&wait=3s").await;
    assert_eq!((code, body.as_str()), (200, "[]\n"));
    assert!(began.elapsed() >= Duration::from_secs(3));
    for _ in 0..4 {
        served.fake.event("wasm/bad");
    }
    let (answer, ()) = tokio::join!(
        served.ask("GET", "/v1/stages/wasm%2Ftag/history?after=4&wait=30s"),
        async {
            tokio::time::advance(Duration::from_secs(1)).await;
            served.fake.event("wasm/bad");
            served.fake.event("wasm/tag");
        }
    );
    let json: Value = serde_json::from_str(&answer.2).expect("JSON");
    assert_eq!(json[0]["sequence"], 6);
    assert_eq!(json.as_array().map(Vec::len), Some(1));
}

/// Clients that wait for events cannot take all places: the ninth is refused, and changes go on.
#[tokio::test(start_paused = true)]
async fn watchers_leave_room_for_changes() {
    let served = Served::unix().await;
    let watch = || served.ask("GET", "/v1/history?wait=30s");
    let nine = futures_util::future::join_all((0..9).map(|_| watch()));
    let reload = async {
        until("all watch", || true).await;
        served.ask("POST", "/v1/reload").await
    };
    let (watched, (code, _, _)) = tokio::join!(nine, reload);
    assert_eq!(code, 200);
    let refused = watched.iter().filter(|(code, _, _)| *code == 503).count();
    assert_eq!(refused, 1);
}
