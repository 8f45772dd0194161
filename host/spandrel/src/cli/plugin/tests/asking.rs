use std::path::PathBuf;

use super::super::*;
use crate::admin::tests::setup::{Served, TOKEN};

fn connection(endpoint: &Endpoint, token_file: Option<PathBuf>) -> Connection {
    Connection {
        admin: Some(endpoint.clone()),
        token_file,
        output: Output::Json,
    }
}

fn client(served: &Served) -> Client {
    let connection = connection(&served.endpoint, None);
    Client::with(&connection, |_| None).expect("a good place")
}

/// A swap sends the module or its path, each with the rest of the request.
#[tokio::test]
async fn swaps_are_asked_for() {
    let served = Served::unix().await;
    let client = client(&served);
    let request = SwapRequest {
        config: Some(serde_json::json!({ "a": "b&c" })),
        canary: Some(12.5),
        dry_run: true,
        ..SwapRequest::default()
    };
    let stage = client.stage("tag").await.expect("a stage");
    assert_eq!(stage, "wasm/tag");
    let path = client::path(&stage, "/swap");
    let module = Some(b"\0asm".to_vec());
    let json = client.swap(&path, &request, module).await.expect("done");
    let report: SwapReport = failure::understood(&json).expect("a report");
    assert_eq!(report.outcome, "published");
    client.swap(&path, &request, None).await.expect("done");
    let asked = served.fake.asked.lock().expect("not poisoned");
    let [(_, sent, Some(module)), (_, named, None)] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(module, b"\0asm");
    for got in [sent, named] {
        let got = got.as_ref().expect("a request");
        assert_eq!(got.config, request.config);
        assert_eq!(
            (got.canary, got.dry_run, got.shadow),
            (Some(12.5), true, false)
        );
    }
}

/// The reason for a refusal is shown in the collector's own words, with the remedy.
#[tokio::test]
async fn refusals_are_told() {
    let served = Served::unix().await;
    let client = client(&served);
    let refused = client.post("/v1/stages/wasm%2Fbad/rollback").await;
    let text = refused.expect_err("it is bad").text();
    assert_eq!(text, "spandrel: it traps in configure\n");
    let text = client.stage("tags").await.expect_err("unknown").text();
    assert_eq!(
        text,
        "spandrel: there is no stage `tags`; did you mean `tag`?\n"
    );
    let unread = || Failure::Refused {
        code: 422,
        error: "cannot read /a.wasm".to_owned(),
    };
    assert!(unread().after_path(true).text().contains("--upload"));
    assert!(!unread().after_path(false).text().contains("--upload"));
}

/// The token comes from the environment or the command line. Without one the remedy is shown.
#[tokio::test]
async fn the_token_is_sent() {
    let served = Served::tcp().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    let text = client(&served).get("/v1/stages").await;
    let text = text.expect_err("no token").text();
    assert!(text.contains("--token-file"), "{text}");
    let named = connection(&served.endpoint, Some(file.clone()));
    let client = Client::with(&named, |_| None).expect("good");
    client.get("/v1/stages").await.expect("admitted");
    let none = Connection {
        admin: None,
        token_file: None,
        output: Output::Text,
    };
    let environment = |name: &str| match name {
        "SPANDREL_ADMIN" => Some(served.endpoint.to_string()),
        "SPANDREL_ADMIN_TOKEN_FILE" => Some(file.display().to_string()),
        _ => None,
    };
    let client = Client::with(&none, environment).expect("good");
    client.get("/v1/stages").await.expect("admitted");
}

/// If nobody listens, the error names the endpoint and what may be wrong. A bad variable is named,
/// too.
#[tokio::test]
async fn nobody_is_told_from_bad_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = Endpoint::Unix(folder.path().join("admin.sock"));
    let client = Client::with(&connection(&endpoint, None), |_| None).expect("good");
    let text = client.get("/v1/stages").await.expect_err("nobody").text();
    let expected = format!(
        "spandrel: no collector is listening on {endpoint}: is it running, with the `admin` extension?\n"
    );
    assert_eq!(text, expected);
    let none = Connection {
        admin: None,
        token_file: None,
        output: Output::Text,
    };
    let bad = |name: &str| (name == "SPANDREL_ADMIN").then(|| "localhost".to_owned());
    let text = Client::with(&none, bad).err().expect("it is bad").text();
    assert!(
        text.contains("SPANDREL_ADMIN is `localhost`; write unix:PATH"),
        "{text}"
    );
}
