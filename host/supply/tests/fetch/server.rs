//! Tests of HTTP servers: content is what is pinned, within limits of size and time, and the
//! content fetched before is found when the server is down.

use std::time::Duration;

use spandrel_supply::FetchSettings;

use crate::setup::{allowing, at, fetch, oci, pinned, signed, words};
use crate::site::{Site, ok};

const MODULE: &[u8] = b"\0asm and so on";

/// Pinned bytes arrive over TLS, with a private authority.
#[tokio::test]
async fn pinned_bytes_come_over_tls() {
    let site = Site::secure().await;
    site.file("/p.wasm", MODULE);
    let (settings, names) = allowing(&site);
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    let fetched = fetch(&settings, &names, &wanted).await.expect("fetched");
    assert_eq!(fetched.module, MODULE);
    assert!(!fetched.is_stale);
    let stranger = FetchSettings {
        ca_file: None,
        ..settings
    };
    let error = fetch(&stranger, &names, &wanted)
        .await
        .expect_err("unknown authority");
    let words = words(&error, &site);
    assert!(
        words.starts_with("cannot connect to `plugins.example`") && words.contains("UnknownIssuer"),
        "{words}"
    );
}

/// Other bytes than the pinned ones are refused, and not kept.
#[tokio::test]
async fn other_bytes_are_refused() {
    let site = Site::plain().await;
    let directory = tempfile::tempdir().expect("a directory");
    site.file("/p.wasm", b"something else");
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    };
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("other bytes");
    assert_eq!(
        words(&error, &site),
        format!(
            "`http://plugins.example/p.wasm` has {}, and {} is asked for: publish that, or pin the other one",
            oci(b"something else"),
            oci(MODULE)
        )
    );
    let kept = std::fs::read_dir(directory.path()).expect("listed").count();
    assert_eq!(kept, 0);
}

/// No more than the limit is read, whether a body states its length, comes in chunks or does
/// neither.
#[tokio::test]
async fn a_body_past_the_limit_is_not_taken() {
    let site = Site::plain().await;
    site.file("/told", &[7; 2000]);
    site.page("/chunked", |_| {
        let chunk = [b"400\r\n".as_slice(), &[7; 1024], b"\r\n"].concat();
        [
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".as_slice(),
            &chunk.repeat(4),
        ]
        .concat()
    });
    site.page("/untold", |_| {
        [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &[7; 100_000]].concat()
    });
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        module_bytes: 1500,
        ..settings
    };
    for path in ["/told", "/chunked", "/untold"] {
        let wanted = pinned(at(&site, path), MODULE);
        let error = fetch(&settings, &names, &wanted)
            .await
            .expect_err("too large");
        let expected = format!(
            "`http://plugins.example{path}` is larger than 1500 bytes: build it in release mode and strip it"
        );
        assert_eq!(words(&error, &site), expected);
    }
}

/// A fetch from a server that never ends its body, or never answers, ends at the time limit.
#[tokio::test]
async fn slow_servers_end_at_the_time_limit() {
    let site = Site::plain().await;
    site.page("/body", |_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nit begins...".to_vec()
    });
    site.page("/head", |_| b"HTTP/1.1 200 OK\r\nx: ...".to_vec());
    site.page("/nothing", |_| b"...".to_vec());
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        timeout: Duration::from_millis(300),
        ..settings
    };
    for path in ["/body", "/head", "/nothing"] {
        let wanted = pinned(at(&site, path), MODULE);
        let error = fetch(&settings, &names, &wanted)
            .await
            .expect_err("too slow");
        assert!(error.is_unreachable());
        assert!(
            words(&error, &site).contains("did not come within 300 ms"),
            "{error}"
        );
    }
}

/// Garbage, a body that is cut off, and one that is compressed are refused.
#[tokio::test]
async fn bad_answers_are_refused() {
    let site = Site::plain().await;
    site.page("/garbage", |_| vec![0xff; 5000]);
    site.page("/cut", |_| {
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all".to_vec()
    });
    site.page("/gzip", |_| {
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_vec()
    });
    site.page("/heads", |_| {
        [
            b"HTTP/1.1 200 OK\r\n".as_slice(),
            &b"x: y\r\n".repeat(500),
            b"\r\n",
        ]
        .concat()
    });
    let (settings, names) = allowing(&site);
    for (path, said) in [
        ("/garbage", "broke"),
        ("/cut", "broke"),
        ("/gzip", "compressed"),
        ("/heads", "broke"),
        ("/missing", "is answered with 404: check the name"),
    ] {
        let wanted = pinned(at(&site, path), MODULE);
        let error = fetch(&settings, &names, &wanted).await.expect_err("bad");
        assert!(
            words(&error, &site).contains(said),
            "{path}: {}",
            words(&error, &site)
        );
    }
}

/// A pinned module is asked for once and found when the server is gone, unless the kept file is
/// damaged.
#[tokio::test]
async fn what_is_pinned_is_kept() {
    let mut site = Site::plain().await;
    let directory = tempfile::tempdir().expect("a directory");
    site.file("/p.wasm", MODULE);
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    };
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    for _ in 0..2 {
        let fetched = fetch(&settings, &names, &wanted).await.expect("fetched");
        assert_eq!(fetched.module, MODULE);
    }
    assert_eq!(site.asked().len(), 1);
    site.close().await;
    let fetched = fetch(&settings, &names, &wanted).await.expect("kept");
    assert_eq!(fetched.module, MODULE);
    for entry in std::fs::read_dir(directory.path()).expect("listed") {
        std::fs::write(entry.expect("an entry").path(), b"damaged").expect("written");
    }
    let error = fetch(&settings, &names, &wanted).await.expect_err("gone");
    assert!(error.is_unreachable(), "{error}");
}

/// A signed module is asked for each time, with its signature; when the server is down, both are
/// what they were before.
#[tokio::test]
async fn what_is_signed_is_asked_for_each_time() {
    let mut site = Site::plain().await;
    let directory = tempfile::tempdir().expect("a directory");
    site.file("/p.wasm?v=1", MODULE);
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    };
    let wanted = signed(at(&site, "/p.wasm?v=1"));
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("no signature");
    assert!(
        error
            .to_string()
            .contains("p.wasm.minisig` is answered with 404"),
        "{error}"
    );
    for version in [b"one".as_slice(), b"two"] {
        site.file("/p.wasm?v=1", version);
        site.file("/p.wasm.minisig?v=1", &[b"signature of ", version].concat());
        let fetched = fetch(&settings, &names, &wanted).await.expect("fetched");
        assert_eq!(fetched.module, version);
    }
    // A server in trouble counts as down; one that says that there is nothing is believed.
    site.page("/p.wasm?v=1", |_| {
        b"HTTP/1.1 503 Later\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    assert!(
        fetch(&settings, &names, &wanted)
            .await
            .expect("kept")
            .is_stale
    );
    site.page("/p.wasm?v=1", |_| {
        b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    assert!(fetch(&settings, &names, &wanted).await.is_err());
    site.close().await;
    let fetched = fetch(&settings, &names, &wanted).await.expect("kept");
    assert_eq!(
        (&fetched.module[..], fetched.is_stale),
        (b"two".as_slice(), true)
    );
    assert_eq!(
        fetched.signature.as_deref(),
        Some(b"signature of two".as_slice())
    );
}

/// A success other than 200 is not taken as one.
#[tokio::test]
async fn only_a_whole_answer_counts() {
    let site = Site::plain().await;
    site.page("/part", |_| {
        let part = String::from_utf8(ok(b"part")).expect("text");
        part.replace("200 OK", "206 Partial Content").into_bytes()
    });
    let (settings, names) = allowing(&site);
    let wanted = pinned(at(&site, "/part"), b"part");
    let error = fetch(&settings, &names, &wanted).await.expect_err("a part");
    assert!(error.to_string().contains("answered with 206"), "{error}");
}
