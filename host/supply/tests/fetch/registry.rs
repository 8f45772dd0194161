//! Tests of registries: the pull of the distribution specification, with tokens, digests and
//! redirects to other stores.

use spandrel_supply::{
    Credentials, Digest, FetchRequest, FetchSettings, HostPort, RemoteSignature, RemoteSource,
};

use crate::setup::{allowing, fetch, oci, signed, words};
use crate::site::{NAME, Site, ok};

const MODULE: &[u8] = b"\0asm and so on";
const SIGNATURE: &[u8] = b"a signature";

/// A manifest of a module with its signature.
fn manifest(module: &[u8]) -> Vec<u8> {
    let layer = |kind: &str, bytes: &[u8], title: &str| {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.title":"{title}"}}}}"#,
            oci(bytes),
            bytes.len()
        )
    };
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[{},{}]}}"#,
        oci(b"{}"),
        layer("application/wasm", module, "p.wasm"),
        layer("application/octet-stream", SIGNATURE, "p.wasm.minisig"),
    )
    .into_bytes()
}

fn blob(bytes: &[u8]) -> String {
    format!("/v2/team/p/blobs/{}", oci(bytes))
}

/// A registry that has the artifact `team/p:1`.
fn publish(site: &Site) {
    let manifest = manifest(MODULE);
    site.file("/v2/team/p/manifests/1", &manifest);
    site.file(
        &format!("/v2/team/p/manifests/{}", oci(&manifest)),
        &manifest,
    );
    site.file(&blob(MODULE), MODULE);
    site.file(&blob(SIGNATURE), SIGNATURE);
}

fn reference(site: &Site, rest: &str) -> RemoteSource {
    let text = format!("oci://{NAME}:{}/team/p{rest}", site.address.port());
    RemoteSource::parse(&text).expect("a reference")
}

/// A manifest's digest leads to the module, and a layer's title to the signature; both are kept.
#[tokio::test]
async fn a_digest_leads_to_the_module() {
    let mut site = Site::secure().await;
    let directory = tempfile::tempdir().expect("a directory");
    publish(&site);
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    };
    let digest = oci(&manifest(MODULE));
    let wanted = FetchRequest {
        source: reference(&site, &format!(":1@{digest}")),
        sha256: Some(Digest::of(MODULE)),
        signature: Some(RemoteSignature::Beside),
    };
    let fetched = fetch(&settings, &names, &wanted).await.expect("fetched");
    assert_eq!(fetched.module, MODULE);
    assert_eq!(fetched.signature.as_deref(), Some(SIGNATURE));
    assert_eq!(site.asked().len(), 3);
    site.close().await;
    let again = fetch(&settings, &names, &wanted).await.expect("kept");
    assert_eq!(again, fetched);
    let other = FetchRequest {
        sha256: Some(Digest::of(b"other")),
        ..wanted
    };
    assert!(fetch(&settings, &names, &other).await.is_err());
}

/// A tag is asked for each time, and the artifact that it led to is found when the registry is
/// down.
#[tokio::test]
async fn a_tag_leads_where_it_led_before() {
    let mut site = Site::plain().await;
    let directory = tempfile::tempdir().expect("a directory");
    publish(&site);
    let (settings, names) = allowing(&site);
    let settings = FetchSettings {
        store: Some(directory.path().to_owned()),
        ..settings
    };
    let wanted = signed(reference(&site, ":1"));
    let fetched = fetch(&settings, &names, &wanted).await.expect("fetched");
    assert_eq!((&fetched.module[..], fetched.is_stale), (MODULE, false));
    site.close().await;
    let fetched = fetch(&settings, &names, &wanted).await.expect("kept");
    assert_eq!((&fetched.module[..], fetched.is_stale), (MODULE, true));
    assert_eq!(fetched.signature.as_deref(), Some(SIGNATURE));
}

/// A registry cannot return another manifest or layer than those whose digests are asked for.
#[tokio::test]
async fn other_content_is_refused() {
    let site = Site::plain().await;
    publish(&site);
    let (settings, names) = allowing(&site);
    let digest = oci(&manifest(MODULE));
    site.file(
        &format!("/v2/team/p/manifests/{digest}"),
        &manifest(b"other"),
    );
    let wanted = FetchRequest {
        source: reference(&site, &format!("@{digest}")),
        sha256: None,
        signature: None,
    };
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("another manifest");
    assert!(
        error
            .to_string()
            .contains(&format!("{digest} is asked for")),
        "{error}"
    );
    publish(&site);
    site.file(&blob(MODULE), b"\0asm and s0 on");
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("another layer");
    assert!(
        error
            .to_string()
            .contains(&format!("{} is asked for", oci(MODULE))),
        "{error}"
    );
    site.file(&blob(MODULE), &[7; 5000]);
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("a longer layer");
    assert!(
        error.to_string().contains("is larger than 14 bytes"),
        "{error}"
    );
    let small = FetchSettings {
        module_bytes: 10,
        ..settings
    };
    let error = fetch(&small, &names, &wanted).await.expect_err("too large");
    assert!(
        error.to_string().contains("is larger than 10 bytes"),
        "{error}"
    );
}

/// Makes every path of the registry ask for a token.
fn ask_for_token(site: &Site, realm: &str) {
    let manifest = manifest(MODULE);
    for (path, bytes) in [
        ("/v2/team/p/manifests/1".to_owned(), manifest.as_slice()),
        (blob(MODULE), MODULE),
        (blob(SIGNATURE), SIGNATURE),
    ] {
        let challenge = format!(
            "HTTP/1.1 401 Who\r\nwww-authenticate: Bearer realm=\"{realm}\",service=\"s&s\"\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = ok(bytes);
        site.page(&path, move |head| {
            match head.contains("authorization: bearer t0ken") {
                true => answer.clone(),
                false => challenge.clone().into_bytes(),
            }
        });
    }
    site.file(
        "/token?service=s%26s&scope=repository%3ateam%2fp%3apull",
        br#"{"token":"t0ken"}"#,
    );
}

/// A token is requested once for all of a pull, with the password of its registry.
#[tokio::test]
async fn a_token_is_got_once() {
    let site = Site::secure().await;
    let port = site.address.port();
    ask_for_token(&site, &format!("https://{NAME}:{port}/token"));
    let (mut settings, names) = allowing(&site);
    let wanted = signed(reference(&site, ":1"));
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    let tokens = || {
        site.asked()
            .iter()
            .filter(|head| head.starts_with("get /token"))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens().len(), 1);
    assert!(!tokens()[0].contains("authorization"), "{:?}", tokens());
    settings.credentials = vec![Credentials {
        host: HostPort {
            host: NAME.to_owned(),
            port: Some(port),
        },
        username: "user".to_owned(),
        password: "secret".to_owned(),
    }];
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    assert!(
        tokens()[1].contains("authorization: basic"),
        "{:?}",
        tokens()
    );
}

/// A registry cannot have a token made for another one. The password that is kept for the host that
/// issues tokens is not sent there, and the registry may not say what the token is for. The
/// registry's own password is sent there, but not without TLS.
#[tokio::test]
async fn a_registry_gets_no_token_of_another() {
    let (site, tokens, open) = (
        Site::secure().await,
        Site::secure().await,
        Site::plain().await,
    );
    let directory = tempfile::tempdir().expect("a directory");
    let authorities = [&site, &tokens].map(|site| {
        let file = site.ca_file.as_ref().expect("an authority");
        std::fs::read_to_string(file).expect("read")
    });
    let ca_file = directory.path().join("both.pem");
    std::fs::write(&ca_file, authorities.concat()).expect("written");
    let host = |site: &Site| HostPort {
        host: NAME.to_owned(),
        port: Some(site.address.port()),
    };
    let password = |site: &Site, username: &str| Credentials {
        host: host(site),
        username: username.to_owned(),
        password: "secret".to_owned(),
    };
    let realm = format!("https://{NAME}:{}/token", tokens.address.port());
    ask_for_token(&site, &realm);
    ask_for_token(&tokens, &realm);
    let (settings, names) = allowing(&site);
    let mut settings = FetchSettings {
        ca_file: Some(ca_file),
        allowed_hosts: vec![host(&site), host(&tokens)],
        insecure_hosts: vec![host(&open)],
        credentials: vec![password(&tokens, "theirs")],
        ..settings
    };
    let wanted = signed(reference(&site, ":1"));
    let shown = || tokens.asked().pop().expect("asked");
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    assert!(!shown().contains("authorization"), "{}", shown());
    settings.credentials.push(password(&site, "ours"));
    settings.credentials.push(password(&open, "open"));
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    // `b3Vyczpz` begins `ours:secret`.
    assert!(
        shown().contains("authorization: basic b3vyczpz"),
        "{}",
        shown()
    );
    let asked = tokens.asked().len();
    for more in ["?scope=repository:theirs:pull,push", "?a=b&sc%6Fpe=x"] {
        ask_for_token(&site, &format!("{realm}{more}"));
        let error = fetch(&settings, &names, &wanted).await.expect_err(more);
        assert!(error.to_string().contains("of its own choice"), "{error}");
    }
    assert_eq!(tokens.asked().len(), asked);
    let plain = format!("http://{NAME}:{}/token", open.address.port());
    for (registry, realm) in [(&site, &plain), (&open, &realm), (&open, &plain)] {
        ask_for_token(registry, realm);
        ask_for_token(&open, realm);
        let wanted = signed(reference(registry, ":1"));
        assert!(fetch(&settings, &names, &wanted).await.is_ok());
        let asked = [tokens.asked(), open.asked()].concat();
        let asked = asked.iter().filter(|head| head.starts_with("get /token"));
        let passwords = asked.filter(|head| head.contains("authorization: basic"));
        assert_eq!(passwords.count(), 1, "{realm}");
    }
}

/// A registry cannot send the collector to a host that is not listed, nor make it ask without end.
#[tokio::test]
async fn a_challenge_is_under_the_same_rules() {
    let site = Site::plain().await;
    let (settings, names) = allowing(&site);
    let wanted = signed(reference(&site, ":1"));
    for (realm, said) in [
        (
            "http://169.254.169.254/token",
            "`169.254.169.254` is not one of the hosts",
        ),
        (
            "https://auth.example/token",
            "`auth.example` is not one of the hosts",
        ),
        (
            "file:///token",
            "it does not say where tokens are given out",
        ),
    ] {
        ask_for_token(&site, realm);
        let error = fetch(&settings, &names, &wanted).await.expect_err(realm);
        assert!(words(&error, &site).contains(said), "{error}");
    }
    ask_for_token(
        &site,
        &format!("http://{NAME}:{}/token", site.address.port()),
    );
    site.file(
        "/token?service=s%26s&scope=repository%3ateam%2fp%3apull",
        br#"{"token":"stale"}"#,
    );
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("is answered with 401: check `service::plugins::credentials`"),
        "{error}"
    );
    site.page("/v2/team/p/manifests/1", |_| {
        b"HTTP/1.1 401 Who\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\n\r\n"
            .to_vec()
    });
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("a password");
    assert!(
        error.to_string().contains("it asks for a password"),
        "{error}"
    );
}

/// A token is not shown to the store that a registry redirects to.
#[tokio::test]
async fn a_token_stays_with_its_registry() {
    let (site, store) = (Site::plain().await, Site::plain().await);
    ask_for_token(
        &site,
        &format!("http://{NAME}:{}/token", site.address.port()),
    );
    store.file("/far", MODULE);
    site.redirect(
        &blob(MODULE),
        &format!("http://store.example:{}/far", store.address.port()),
    );
    let (mut settings, names) = allowing(&site);
    names.set("store.example", &[&["127.0.0.1"]]);
    settings.insecure_hosts.push(HostPort {
        host: "store.example".to_owned(),
        port: Some(store.address.port()),
    });
    let fetched = fetch(&settings, &names, &signed(reference(&site, ":1"))).await;
    assert_eq!(fetched.expect("fetched").module, MODULE);
    assert!(
        store
            .asked()
            .iter()
            .all(|head| !head.contains("authorization")),
        "{:?}",
        store.asked()
    );
}
