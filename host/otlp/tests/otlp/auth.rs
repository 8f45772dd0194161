//! Authentication with tokens and passwords over real connections.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use spandrel_otlp::auth::{Bearer, ClientAuth, Htpasswd, Login, ServerAuth, TextSource, Tokens};
use spandrel_otlp::exporter::{ExporterConfig, GrpcExporter};
use spandrel_otlp::receiver::{BindError, GrpcConfig, Receiver};
use spandrel_pipeline::exporter::Outcome;
use tokio::time::timeout;
use tonic::Code;

use crate::authority::{attempt, replace};
use crate::collector::{Collector, Sink, config};
use crate::raw::{Body, Client, TRACES, answer, framed, full, request};
use crate::round_trip::{patient, spans};

const LONG: Duration = Duration::from_secs(60);

fn bearer(tokens: Tokens) -> Bearer {
    Bearer {
        header: "authorization".to_owned(),
        scheme: "Bearer".to_owned(),
        tokens,
    }
}

fn in_file(path: &Path) -> Bearer {
    bearer(Tokens::File(path.to_owned()))
}

fn asking(auth: ServerAuth) -> GrpcConfig {
    GrpcConfig {
        auth: Some(auth),
        ..config()
    }
}

fn exporter(url: &str, auth: ClientAuth) -> GrpcExporter {
    let config = ExporterConfig {
        auth: Some(auth),
        ..patient(url)
    };
    GrpcExporter::new(&config).expect("a good config")
}

fn export() -> Request<Body> {
    request(TRACES, None, full(framed(0, &spans(3).encode_to_vec())))
}

fn with(mut request: Request<Body>, credentials: &str) -> Request<Body> {
    let value = credentials.parse().expect("a value");
    request.headers_mut().insert("authorization", value);
    request
}

/// Only a client that sends one of the tokens gets in. The others get UNAUTHENTICATED, which no
/// sender repeats; they are counted, and learn nothing of the token.
#[tokio::test]
async fn a_token_lets_in() {
    let sink = Sink::open();
    let tokens = Tokens::Inline(vec!["hunter2".into(), "swordfish".into()]);
    let collector =
        Collector::start_with(asking(ServerAuth::Bearer(bearer(tokens.clone()))), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    for credentials in ["", "Bearer", "Bearer hunter", "Basic hunter2", "hunter2"] {
        let answer = client.call(with(export(), credentials)).await;
        assert_eq!(answer.code(), Code::Unauthenticated, "{credentials}");
        assert!(!format!("{answer:?}").contains("hunter"), "{answer:?}");
    }
    assert_eq!(client.call(export()).await.code(), Code::Unauthenticated);
    assert_eq!(collector.stats.requests(16), 6);
    assert_eq!(sink.offers(), 0);
    for credentials in ["Bearer hunter2", "bearer swordfish"] {
        let answer = client.call(with(export(), credentials)).await;
        assert_eq!(answer.code(), Code::Ok);
    }
    let outcome = attempt(&exporter(
        &collector.url(),
        ClientAuth::Bearer(bearer(tokens)),
    ))
    .await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    assert_eq!(sink.taken().len(), 3);
}

/// A stranger is answered whether or not the bytes of its request come, and none of them are kept.
#[tokio::test]
async fn a_stranger_is_not_read() {
    let sink = Sink::open();
    let tokens = Tokens::Inline(vec!["hunter2".into()]);
    let collector = Collector::start_with(asking(ServerAuth::Bearer(bearer(tokens))), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let never = StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, std::convert::Infallible>,
    >());
    let answer = timeout(LONG, client.call(request(TRACES, None, never.boxed()))).await;
    assert_eq!(answer.expect("soon").code(), Code::Unauthenticated);
    assert_eq!(collector.stats.received_bytes(), 0);
}

/// Requests that are refused before they are read are nobody's mistake: however many they are, the
/// connection goes on, and a client that knows the token by then gets in on it.
#[tokio::test]
async fn strangers_keep_their_connection() {
    let sink = Sink::open();
    let tokens = Tokens::Inline(vec!["hunter2".into()]);
    let collector = Collector::start_with(asking(ServerAuth::Bearer(bearer(tokens))), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let body = framed(0, &vec![0; 40 << 10]);
    for _ in 0..50 {
        let calls = (0..50).map(|_| {
            let mut send = client.send.clone();
            let body = body.clone();
            async move {
                send.ready().await.expect("an open connection");
                let sent = send.send_request(request(TRACES, None, full(body)));
                answer(sent.await.expect("an answer")).await.code()
            }
        });
        for code in futures_util::future::join_all(calls).await {
            assert_eq!(code, Code::Unauthenticated);
        }
    }
    let admitted = client.call(with(export(), "Bearer hunter2")).await;
    assert_eq!(admitted.code(), Code::Ok);
}

/// Health probes have no credentials, and need none.
#[tokio::test]
async fn health_is_for_everybody() {
    let sink = Sink::open();
    let tokens = Tokens::Inline(vec!["hunter2".into()]);
    let collector = Collector::start_with(asking(ServerAuth::Bearer(bearer(tokens))), &sink).await;
    let mut client = Client::connect(collector.addr).await;
    let check = request("/grpc.health.v1.Health/Check", None, full(framed(0, b"")));
    assert_eq!(client.call(check).await.code(), Code::Ok);
}

/// A new token in the file lets in soon, and the old one no longer does. An exporter whose backend
/// knows the new token first reads its own file again in the same attempt.
#[tokio::test]
async fn tokens_are_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let [theirs, ours] = ["theirs", "ours"].map(|name| folder.path().join(name));
    for file in [&theirs, &ours] {
        std::fs::write(file, "first\n").expect("written");
    }
    let sink = Sink::open();
    let auth = ServerAuth::Bearer(in_file(&theirs));
    let collector = Collector::start_with(asking(auth), &sink).await;
    let exporter = exporter(&collector.url(), ClientAuth::Bearer(in_file(&ours)));
    assert!(matches!(attempt(&exporter).await, Outcome::Sent));

    let mut client = Client::connect(collector.addr).await;
    replace(&theirs, "second\n\nthird\n");
    let lets_in =
        async { while client.call(with(export(), "Bearer second")).await.code() != Code::Ok {} };
    timeout(LONG, lets_in)
        .await
        .expect("the file is read again");
    for (credentials, code) in [
        ("Bearer third", Code::Ok),
        ("Bearer first", Code::Unauthenticated),
        ("Bearer ", Code::Unauthenticated),
    ] {
        let answer = client.call(with(export(), credentials)).await;
        assert_eq!(answer.code(), code, "{credentials}");
    }
    replace(&ours, "second\n");
    let outcome = attempt(&exporter).await;
    assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
    // A token that nobody knows is refused for good.
    replace(&ours, "fourth\n");
    let refused = async { while matches!(attempt(&exporter).await, Outcome::Sent) {} };
    timeout(LONG, refused)
        .await
        .expect("the file is read again");
    let outcome = attempt(&exporter).await;
    let Outcome::Permanent { error, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(!error.contains("fourth"), "{error}");
}

/// Requests that are under way together when the token changes all go out again with the new one,
/// whichever of them finds it: none is lost.
#[tokio::test]
async fn a_new_token_is_for_all_under_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let [theirs, ours] = ["theirs", "ours"].map(|name| folder.path().join(name));
    for file in [&theirs, &ours] {
        std::fs::write(file, "first\n").expect("written");
    }
    let sink = Sink::open();
    let auth = ServerAuth::Bearer(in_file(&theirs));
    let collector = Collector::start_with(asking(auth), &sink).await;
    let exporter = exporter(&collector.url(), ClientAuth::Bearer(in_file(&ours)));
    let mut client = Client::connect(collector.addr).await;
    for token in ["second", "third"] {
        replace(&theirs, token);
        let credentials = format!("Bearer {token}");
        let lets_in =
            async { while client.call(with(export(), &credentials)).await.code() != Code::Ok {} };
        timeout(LONG, lets_in)
            .await
            .expect("the file is read again");
        replace(&ours, token);
        let all = (0..16).map(|_| attempt(&exporter));
        for outcome in futures_util::future::join_all(all).await {
            assert!(matches!(outcome, Outcome::Sent), "{outcome:?}");
        }
    }
}

/// A user with the right password gets in, in plain text or as bcrypt, also one that the file gets
/// later.
#[tokio::test]
async fn a_password_lets_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let [users, password] = ["htpasswd", "password"].map(|name| folder.path().join(name));
    let hash = bcrypt::hash("open sesame", 4).expect("hashed");
    std::fs::write(&users, format!("ada:{hash}\n")).expect("written");
    std::fs::write(&password, "open sesame\n").expect("written");
    let auth = ServerAuth::Basic(Htpasswd {
        file: Some(users.clone()),
        inline: Some("bob:builder".into()),
    });
    let sink = Sink::open();
    let collector = Collector::start_with(asking(auth), &sink).await;
    let login = |username: &str, password| {
        let username = TextSource::Inline(username.into());
        exporter(
            &collector.url(),
            ClientAuth::Basic(Login { username, password }),
        )
    };
    let ada = login("ada", TextSource::File(password));
    for _ in 0..3 {
        assert!(matches!(attempt(&ada).await, Outcome::Sent));
    }
    let bob = login("bob", TextSource::Inline("builder".into()));
    assert!(matches!(attempt(&bob).await, Outcome::Sent));
    let eve = login("eve", TextSource::Inline("open sesame".into()));
    let outcome = attempt(&eve).await;
    assert!(matches!(outcome, Outcome::Permanent { .. }), "{outcome:?}");

    replace(&users, "eve:apple\n");
    let mut client = Client::connect(collector.addr).await;
    let credentials = format!("Basic {}", BASE64_STANDARD.encode("eve:apple"));
    let lets_in =
        async { while client.call(with(export(), &credentials)).await.code() != Code::Ok {} };
    timeout(LONG, lets_in)
        .await
        .expect("the file is read again");
    let outcome = attempt(&ada).await;
    assert!(matches!(outcome, Outcome::Permanent { .. }), "{outcome:?}");
}

/// A receiver whose credentials cannot be used does not listen, and says which file it is.
#[tokio::test]
async fn bad_credentials_are_named() {
    let auth = ServerAuth::Bearer(in_file("no-such.token".as_ref()));
    let error = Receiver::bind(asking(auth).into())
        .await
        .expect_err("no file");
    let BindError::Auth { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("no-such.token"), "{source}");
}
