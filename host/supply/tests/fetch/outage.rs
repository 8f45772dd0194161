//! Tests of the store while the source is down: it has all of one release, and only one that proved
//! to be good.

use spandrel_supply::{FetchRequest, FetchSettings, RemoteSignature, RemoteSource};

use crate::setup::{allowing, at, fetch, fetch_only, pinned, signed};
use crate::site::Site;

const FIRST: (&[u8], &[u8]) = (b"the first module", b"of the first");
const SECOND: (&[u8], &[u8]) = (b"the second module", b"of the second");

fn publish(site: &Site, (module, signature): (&[u8], &[u8])) {
    site.file("/p.wasm", module);
    site.file("/p.wasm.minisig", signature);
    site.file("/apart.minisig", signature);
}

fn kept_in(directory: &tempfile::TempDir, settings: FetchSettings) -> FetchSettings {
    FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    }
}

/// An outage in the middle of a rollout leaves the release before, module and signature. The next
/// module is there, but its signature is missing or does not fit.
#[tokio::test]
async fn an_outage_during_a_rollout_leaves_the_release_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut site = Site::plain().await;
    let (settings, names) = allowing(&site);
    let settings = kept_in(&directory, settings);
    let apart = |source: RemoteSource| {
        let RemoteSource::Url(url) = at(&site, "/apart.minisig") else {
            unreachable!("an address");
        };
        FetchRequest {
            signature: Some(RemoteSignature::Url(url)),
            ..signed(source)
        }
    };
    let both = [
        signed(at(&site, "/p.wasm")),
        apart(at(&site, "/p.wasm")),
        FetchRequest {
            sha256: pinned(at(&site, "/p.wasm"), FIRST.0).sha256,
            ..signed(at(&site, "/p.wasm"))
        },
    ];
    publish(&site, FIRST);
    for wanted in &both {
        fetch(&settings, &names, wanted).await.expect("fetched");
    }
    // The module is new. First there is no signature, then one that fits no key.
    site.file("/p.wasm", SECOND.0);
    for path in ["/p.wasm.minisig", "/apart.minisig"] {
        site.page(path, |_| {
            b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec()
        });
    }
    for wanted in &both {
        fetch_only(&settings, &names, wanted)
            .await
            .expect_err("half of a release");
    }
    publish(&site, SECOND);
    for wanted in &both {
        fetch_only(&settings, &names, wanted)
            .await
            .expect("fetched");
    }
    site.close().await;
    for wanted in &both {
        let found = fetch(&settings, &names, wanted).await.expect("kept");
        let found = (
            &found.module[..],
            found.signature.as_deref(),
            found.is_stale,
        );
        assert_eq!(found, (FIRST.0, Some(FIRST.1), true), "{wanted:?}");
    }
}

/// A release that proved to be good is found from then on; a request with another name finds
/// nothing.
#[tokio::test]
async fn what_proved_good_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut site = Site::plain().await;
    let (settings, names) = allowing(&site);
    let settings = kept_in(&directory, settings);
    let wanted = signed(at(&site, "/p.wasm"));
    for release in [FIRST, SECOND] {
        publish(&site, release);
        fetch(&settings, &names, &wanted).await.expect("fetched");
    }
    let other = signed(at(&site, "/p.wasm?channel=next"));
    site.close().await;
    let found = fetch(&settings, &names, &wanted).await.expect("kept");
    assert_eq!(
        (&found.module[..], found.signature.as_deref()),
        (SECOND.0, Some(SECOND.1))
    );
    assert!(fetch(&settings, &names, &other).await.is_err());
}
