use serde_json::Value;

use super::setup::{Served, request, until};

const CHANGE: &str = "change asked for at the admin API";

/// A request in JSON and an upload reach the control as they were sent.
#[tokio::test]
async fn swaps_reach_the_control() {
    let served = Served::unix().await;
    let digest = "ab".repeat(32);
    let json = format!(
        r#"{{"module":"/tag.wasm","sha256":"{digest}","config":{{"team":"x"}},"canary":10}}"#
    );
    let path = "/v1/stages/wasm%2Ftag/swap";
    let (code, body) = served
        .post(path, "application/json; charset=utf-8", json.as_bytes())
        .await;
    assert_eq!(code, 200, "{body}");
    let report: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(report["outcome"], "published");
    let upload = format!("{path}?shadow=true&sha256={digest}&config=%7B%22team%22%3A%22y%22%7D");
    let (code, body) = served.post(&upload, "application/wasm", b"\0asm").await;
    assert_eq!(code, 200, "{body}");
    // An empty request means the stage's own file, read again.
    let (code, _, _) = served.ask("POST", path).await;
    assert_eq!(code, 200);

    let asked = served.fake.asked.lock().expect("not poisoned");
    let [
        (by, first, None),
        (_, second, Some(module)),
        (_, third, None),
    ] = asked.as_slice()
    else {
        panic!("{asked:?}");
    };
    assert_eq!(by, "wasm/tag by admin");
    let first = first.as_ref().expect("a request");
    assert_eq!(first.module.as_deref(), Some("/tag.wasm"));
    assert_eq!(first.sha256.as_ref(), Some(&digest));
    assert_eq!(first.canary, Some(10.0));
    let second = second.as_ref().expect("a request");
    assert!(second.shadow);
    assert_eq!(second.config, Some(serde_json::json!({ "team": "y" })));
    assert_eq!(module, b"\0asm");
    assert_eq!(third.as_ref().expect("a request").module, None);
}

/// Each command has its path, and its report is the answer.
#[tokio::test]
async fn commands_are_answered() {
    let served = Served::tcp().await;
    for (word, outcome) in [
        ("rollback", "rolled back"),
        ("promote", "promoted"),
        ("cancel", "cancelled"),
    ] {
        let (code, _, body) = served
            .ask("POST", &format!("/v1/stages/wasm%2Ftag/{word}"))
            .await;
        let report: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((code, &report["outcome"]), (200, &Value::from(outcome)));
    }
    let (code, _, body) = served.ask("POST", "/v1/reload").await;
    assert_eq!(code, 200);
    assert!(body.contains("another config"), "{body}");
}

/// The code of the answer depends on the control's reason, and the reason is the answer's text.
#[tokio::test]
async fn refusals_have_their_code() {
    let served = Served::unix().await;
    for (stage, code, says) in [
        ("bad", 422, "it traps in configure"),
        ("busy", 409, "another swap is under way"),
        ("none", 404, "there is none before it"),
        ("late", 503, "the collector is stopping"),
    ] {
        let path = format!("/v1/stages/wasm%2F{stage}/rollback");
        let (got, _, body) = served.ask("POST", &path).await;
        assert_eq!(got, code, "{body}");
        assert!(body.contains(says), "{body}");
    }
}

/// A body that is not a valid request never reaches the control. The answer names the key.
#[tokio::test]
async fn bad_bodies_are_refused() {
    let served = Served::unix().await;
    let json = "application/json";
    for (query, kind, body, code, says) in [
        ("", json, "{", 400, "no request"),
        ("", json, "{} {}", 400, "no request"),
        ("", json, r#"{"modul":"a"}"#, 400, "unknown field `modul`"),
        ("", json, r#"{"canary":"10"}"#, 400, "`canary`"),
        ("", json, r#"{"canary":200}"#, 400, "`canary`"),
        ("", json, r#"{"sha256":"12"}"#, 400, "`sha256`"),
        ("?canary=10", json, "{}", 400, "`canary`"),
        ("?module=a", "application/wasm", "x", 400, "`module`"),
        ("?colour=a", "application/wasm", "x", 400, "`colour`"),
        ("", "application/wasm", "", 400, "empty"),
        ("", "text/plain", "{}", 415, "application/wasm"),
        (
            "",
            "application/x-www-form-urlencoded",
            "a",
            415,
            "application/json",
        ),
    ] {
        let path = format!("/v1/stages/wasm%2Ftag/swap{query}");
        let (got, answer) = served.post(&path, kind, body.as_bytes()).await;
        assert_eq!(got, code, "{body}: {answer}");
        assert!(answer.contains(says), "{body}: {answer}");
    }
    let (code, body) = served
        .post("/v1/stages/wasm%2Ftag/rollback", json, b"{}")
        .await;
    assert_eq!(code, 400, "{body}");
    assert!(served.fake.asked.lock().expect("not poisoned").is_empty());
}

/// Each change leaves one line in the log with the client, the change and the outcome, whether it
/// was done or not. Reading leaves none.
#[tokio::test]
async fn changes_leave_one_line() {
    let served = Served::unix().await;
    served.ask("GET", "/v1/stages").await;
    assert_eq!(served.log.lines_with(CHANGE).len(), 0);
    served.ask("POST", "/v1/stages/wasm%2Ftag/swap").await;
    served.ask("POST", "/v1/stages/wasm%2Fbad/swap").await;
    served.ask("POST", "/v1/stages/wasm%2Fx/promote").await;
    served.ask("POST", "/v1/reload").await;
    let lines = served.log.lines_with(CHANGE);
    let [done, refused, unknown, reload] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    let user = rustix::process::geteuid().as_raw();
    let who = format!("who=uid {user} pid {}", std::process::id());
    for line in &lines {
        assert!(line.contains(" INFO ") && line.contains(&who), "{line}");
        assert!(line.contains("elapsed_ms="), "{line}");
    }
    assert!(
        done.contains("stage=wasm/tag what=\"swap\" outcome=\"published\""),
        "{done}"
    );
    assert!(refused.contains("stage=wasm/bad"), "{refused}");
    assert!(
        refused.contains("refused: it traps in configure"),
        "{refused}"
    );
    assert!(unknown.contains("what=\"promote\""), "{unknown}");
    assert!(unknown.contains("refused: there is no stage"), "{unknown}");
    assert!(
        reload.contains("what=\"reload\" outcome=\"1 changes\""),
        "{reload}"
    );
}

/// A change goes on when its client hangs up, and the log has the outcome.
#[tokio::test]
async fn a_change_outlives_its_connection() {
    let served = Served::unix().await;
    {
        let asked = served.ask("POST", "/v1/stages/wasm%2Fslow/swap");
        let begun = until("the swap has begun", || {
            !served.fake.asked.lock().expect("not poisoned").is_empty()
        });
        tokio::select! {
            _ = asked => panic!("it waits"),
            () = begun => {}
        }
    }
    assert_eq!(served.log.lines_with(CHANGE).len(), 0);
    served.fake.go.notify_one();
    until("the line is there", || {
        served.log.lines_with(CHANGE).len() == 1
    })
    .await;
    assert!(served.log.lines_with(CHANGE)[0].contains("outcome=\"published\""));
}

/// Only one upload is in memory at a time. The next client is told to try again.
#[tokio::test]
async fn uploads_come_one_at_a_time() {
    let served = Served::unix().await;
    let upload = |stage: &str| {
        request("POST", &format!("/v1/stages/wasm%2F{stage}/swap"))
            .header("content-type", "application/wasm")
            .body("x".into())
            .expect("a request")
    };
    let second = async {
        until("the swap has begun", || {
            !served.fake.asked.lock().expect("not poisoned").is_empty()
        })
        .await;
        let (code, _, body) = served.send(upload("tag")).await;
        assert_eq!(code, 409, "{body}");
        served.fake.go.notify_one();
    };
    let ((code, _, _), ()) = tokio::join!(served.send(upload("slow")), second);
    assert_eq!(code, 200);
    let (code, _, _) = served.send(upload("tag")).await;
    assert_eq!(code, 200);
}
