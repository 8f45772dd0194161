//! Tests of the rules for where the collector may be made to go: hosts that are listed, at
//! addresses that are public or listed, and nowhere else, whoever asks for it.

use std::sync::atomic::Ordering;

use spandrel_supply::{Credentials, FetchSettings, HostPort, RemoteSource};

use crate::setup::{allowing, at, fetch, pinned, words};
use crate::site::{NAME, Site};

const MODULE: &[u8] = b"\0asm and so on";

fn other(name: &str, site: &Site) -> HostPort {
    HostPort {
        host: name.to_owned(),
        port: Some(site.address.port()),
    }
}

/// A host that is not listed is not asked, nor another port of one that is. A host is asked without
/// TLS only if that is listed.
#[tokio::test]
async fn only_listed_hosts_are_asked() {
    let site = Site::plain().await;
    site.file("/p.wasm", MODULE);
    let (settings, names) = allowing(&site);
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    let nobody = FetchSettings {
        insecure_hosts: Vec::new(),
        ..settings.clone()
    };
    let error = fetch(&nobody, &names, &wanted)
        .await
        .expect_err("not listed");
    assert_eq!(
        words(&error, &site),
        "`plugins.example` is not one of the hosts that plugins may come from: \
         add it to `service::plugins::allowed_hosts`"
    );
    let secure = FetchSettings {
        allowed_hosts: settings.insecure_hosts.clone(),
        insecure_hosts: Vec::new(),
        ..settings.clone()
    };
    let error = fetch(&secure, &names, &wanted).await.expect_err("no TLS");
    assert_eq!(
        words(&error, &site),
        "`plugins.example` may not be asked without TLS: write https, \
         or add it to `service::plugins::insecure_hosts`"
    );
    let elsewhere = RemoteSource::parse(&format!("http://{NAME}:81/p.wasm")).expect("an address");
    let error = fetch(&settings, &names, &pinned(elsewhere, MODULE)).await;
    assert!(
        error
            .expect_err("another port")
            .to_string()
            .contains("is not one of the hosts")
    );
    assert_eq!(site.asked().len(), 1);
}

/// A name that leads into the private network is refused, however the address is written. The
/// connection goes to the address that was checked, not to what the name server says next.
#[tokio::test]
async fn private_addresses_are_refused() {
    let site = Site::plain().await;
    site.file("/p.wasm", MODULE);
    let (settings, names) = allowing(&site);
    let strict = FetchSettings {
        allow_private: Vec::new(),
        ..settings.clone()
    };
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    for address in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "fd00::1",
        "100.64.0.1",
    ] {
        names.set(NAME, &[&[address]]);
        let error = fetch(&strict, &names, &wanted).await.expect_err(address);
        let words = words(&error, &site);
        assert!(
            words.contains("which is not a public address") && words.contains("allow_private"),
            "{words}"
        );
        assert!(!error.is_unreachable());
    }
    // If a name has several addresses, only those that may be asked are asked.
    names.set(NAME, &[&["10.0.0.1", "127.0.0.1"]]);
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    // A second lookup would lead elsewhere; there is none.
    names.set(NAME, &[&["127.0.0.1"], &["169.254.169.254"]]);
    let before = names.looks.load(Ordering::Relaxed);
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    assert_eq!(names.looks.load(Ordering::Relaxed), before + 1);
    // An address in place of a name follows the same rules.
    let literal = FetchSettings {
        insecure_hosts: vec![other("127.0.0.1", &site)],
        ..strict
    };
    let text = format!("http://{}/p.wasm", site.address);
    let wanted = pinned(RemoteSource::parse(&text).expect("an address"), MODULE);
    let error = fetch(&literal, &names, &wanted).await.expect_err("private");
    assert!(
        error.to_string().contains("not a public address"),
        "{error}"
    );
}

/// Two redirects are followed, on listed hosts at public or listed addresses, and never away from
/// TLS.
#[tokio::test]
async fn redirects_are_under_the_same_rules() {
    let site = Site::plain().await;
    site.file("/p.wasm", MODULE);
    let port = site.address.port();
    site.redirect("/once", "/p.wasm");
    site.redirect("/twice", &format!("http://{NAME}:{port}/once"));
    site.redirect("/thrice", "/twice");
    site.redirect("/circle", "/circle");
    site.redirect("/away", &format!("http://elsewhere.example:{port}/p.wasm"));
    site.redirect("/inside", &format!("http://inside.example:{port}/p.wasm"));
    site.redirect("/metadata", "http://169.254.169.254/latest/meta-data/");
    site.redirect("/file", "file:///etc/passwd");
    let (mut settings, names) = allowing(&site);
    names.set("elsewhere.example", &[&["127.0.0.1"]]);
    names.set("inside.example", &[&["10.0.0.1"]]);
    settings.insecure_hosts.push(other("inside.example", &site));
    for path in ["/once", "/twice"] {
        let wanted = pinned(at(&site, path), MODULE);
        assert!(fetch(&settings, &names, &wanted).await.is_ok(), "{path}");
    }
    for (path, said) in [
        ("/thrice", "more than two redirects"),
        ("/circle", "more than two redirects"),
        ("/away", "`elsewhere.example` is not one of the hosts"),
        (
            "/inside",
            "`inside.example` is at 10.0.0.1, which is not a public address",
        ),
        ("/metadata", "`169.254.169.254` is not one of the hosts"),
        ("/file", "a redirect without a good address"),
    ] {
        let wanted = pinned(at(&site, path), MODULE);
        let error = fetch(&settings, &names, &wanted).await.expect_err(path);
        assert!(
            words(&error, &site).contains(said),
            "{path}: {}",
            words(&error, &site)
        );
    }
    let secure = Site::secure().await;
    secure.redirect("/p.wasm", &format!("http://{NAME}:{port}/p.wasm"));
    let (mut settings, names) = allowing(&secure);
    settings.insecure_hosts.push(other(NAME, &site));
    let wanted = pinned(at(&secure, "/p.wasm"), MODULE);
    let error = fetch(&settings, &names, &wanted)
        .await
        .expect_err("away from TLS");
    assert!(
        error.to_string().contains("a redirect from https to http"),
        "{error}"
    );
}

/// A password is sent to its host, over TLS, and not to where that host redirects.
#[tokio::test]
async fn a_password_stays_with_its_host() {
    let (site, next) = (Site::secure().await, Site::plain().await);
    site.file("/p.wasm", MODULE);
    let (mut settings, names) = allowing(&site);
    settings.credentials = vec![
        Credentials {
            host: other(NAME, &site),
            username: "user".to_owned(),
            password: "marker-secret".to_owned(),
        },
        Credentials {
            host: other(NAME, &next),
            username: "user".to_owned(),
            password: "other-secret".to_owned(),
        },
    ];
    let wanted = pinned(at(&site, "/p.wasm"), MODULE);
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    // `dXNlcjptYXJrZXItc2VjcmV0` is `user:marker-secret`.
    assert!(
        site.asked()[0].contains("authorization: basic dxnlcjptyxjrzxitc2vjcmv0"),
        "{:?}",
        site.asked()
    );
    assert!(!format!("{settings:?}").contains("secret"));
    // Without TLS no password is sent.
    next.file("/p.wasm", MODULE);
    settings.insecure_hosts.push(other(NAME, &next));
    let wanted = pinned(at(&next, "/p.wasm"), MODULE);
    assert!(fetch(&settings, &names, &wanted).await.is_ok());
    assert!(
        next.asked()
            .iter()
            .all(|head| !head.contains("authorization")),
        "{:?}",
        next.asked()
    );
}
