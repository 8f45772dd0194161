//! The client asks an admin API on real sockets.

use spandrel_collector::error_chain::in_one_line;
use spandrel_collector::report::SwapReport;

use super::*;
use crate::server::tests::setup::{Served, TOKEN};

fn client(served: &Served) -> Client {
    Client::with(Some(served.endpoint.clone()), None, |_| None).expect("a good place")
}

fn text(error: &ClientError) -> String {
    in_one_line(error)
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
    let path = path(&stage, "/swap");
    let module = Some(b"\0asm".to_vec());
    let json = client.swap(&path, &request, module).await.expect("done");
    let report: SwapReport = understood(&json).expect("a report");
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
    let refused = refused.expect_err("it is bad");
    assert_eq!(text(&refused), "it traps in configure");
    let unknown = client.stage("tags").await.expect_err("unknown");
    assert_eq!(
        text(&unknown),
        "there is no stage `tags`; did you mean `tag`?"
    );
    let unread = || ClientError::Refused {
        code: 422,
        error: "cannot read /a.wasm".to_owned(),
    };
    assert!(text(&unread().after_path(true)).contains("--upload"));
    assert!(!text(&unread().after_path(false)).contains("--upload"));
}

/// The token comes from the environment or the command line. Without one the remedy is shown.
#[tokio::test]
async fn the_token_is_sent() {
    let served = Served::tcp().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    let refused = client(&served).get("/v1/stages").await;
    let refused = refused.expect_err("no token");
    assert!(text(&refused).contains("--token-file"), "{refused}");
    let client =
        Client::with(Some(served.endpoint.clone()), Some(file.clone()), |_| None).expect("good");
    client.get("/v1/stages").await.expect("admitted");
    let environment = |name: &str| match name {
        "SPANDREL_ADMIN" => Some(served.endpoint.to_string()),
        "SPANDREL_ADMIN_TOKEN_FILE" => Some(file.display().to_string()),
        _ => None,
    };
    let client = Client::with(None, None, environment).expect("good");
    client.get("/v1/stages").await.expect("admitted");
}

/// If nobody listens, the error names the endpoint and what may be wrong. A bad variable is named,
/// too.
#[tokio::test]
async fn nobody_is_told_from_bad_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    let endpoint = Endpoint::Unix(folder.path().join("admin.sock"));
    let client = Client::with(Some(endpoint.clone()), None, |_| None).expect("good");
    let nobody = client.get("/v1/stages").await.expect_err("nobody");
    let expected = format!(
        "no collector is listening on {endpoint}: is it running, with the `admin` extension?"
    );
    assert_eq!(text(&nobody), expected);
    let bad = |name: &str| (name == "SPANDREL_ADMIN").then(|| "localhost".to_owned());
    let bad = Client::with(None, None, bad).expect_err("it is bad");
    assert!(
        in_one_line(&bad).contains("SPANDREL_ADMIN is `localhost`; write unix:PATH"),
        "{bad}"
    );
}
