use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::setup::{Served, TOKEN};

async fn ask(served: &Served, headers: &[(&str, &str)]) -> (u16, Option<String>) {
    let mut request = Request::get("/v1/stages");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let (code, headers, _) = served.send(request).await;
    let challenge = headers.get(header::WWW_AUTHENTICATE);
    let challenge = challenge.map(|value| value.to_str().expect("text").to_owned());
    (code, challenge)
}

/// On an address only clients that know the token are answered. Others learn what is missing.
#[tokio::test]
async fn the_token_is_asked_for() {
    let served = Served::tcp().await;
    let right = format!("Bearer {TOKEN}");
    let lower = format!("bearer {TOKEN}");
    for value in [right.as_str(), lower.as_str()] {
        let got = ask(&served, &[("host", "localhost"), ("authorization", value)]).await;
        assert_eq!(got, (200, None), "{value}");
    }
    let half = right.strip_suffix("s").expect("its end");
    let longer = format!("{right}x");
    for value in ["", "Bearer", "Bearer ", "Basic abc", half, &longer, TOKEN] {
        let got = ask(&served, &[("host", "localhost"), ("authorization", value)]).await;
        assert_eq!(got, (401, Some("Bearer".to_owned())), "{value}");
    }
    let got = ask(&served, &[("host", "localhost")]).await;
    assert_eq!(got, (401, Some("Bearer".to_owned())));
    assert!(served.log.lines().iter().all(|line| !line.contains(TOKEN)));
}

/// A page in a browser is not answered, whether it is honest about its origin or not.
#[tokio::test]
async fn pages_are_not_answered() {
    let token = format!("Bearer {TOKEN}");
    let served = Served::tcp().await;
    for host in [
        "localhost",
        "localhost:13134",
        "127.0.0.1:1",
        "[::1]:1",
        "LOCALHOST",
    ] {
        let got = ask(&served, &[("host", host), ("authorization", &token)]).await;
        assert_eq!(got.0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:13134",
        "localhost.evil.example",
        "",
        "[::1",
    ] {
        let got = ask(&served, &[("host", host), ("authorization", &token)]).await;
        assert_eq!(got.0, 403, "{host}");
    }
    let both = [
        ("host", "localhost"),
        ("host", "evil.example"),
        ("authorization", &token),
    ];
    assert_eq!(ask(&served, &both).await.0, 403);
    for served in [served, Served::unix().await] {
        let page = [
            ("host", "localhost"),
            ("origin", "http://localhost"),
            ("authorization", &token),
        ];
        assert_eq!(ask(&served, &page).await.0, 403);
    }
}

/// A client that can open the socket needs no token, and may send any host.
#[tokio::test]
async fn the_socket_is_enough() {
    let served = Served::unix().await;
    assert_eq!(ask(&served, &[("host", "spandrel")]).await.0, 200);
}

/// Many clients that are not admitted cause one line in the log.
#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let served = Served::tcp().await;
    for _ in 0..5 {
        assert_eq!(ask(&served, &[("host", "localhost")]).await.0, 401);
    }
    let lines = served.log.lines_with("not admitted to the admin API");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("who=127.0.0.1:"), "{lines:?}");
}
