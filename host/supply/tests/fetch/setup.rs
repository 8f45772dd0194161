//! The setup that each test starts from.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use spandrel_supply::fetch::resolve::Resolve;
use spandrel_supply::{
    Digest, FetchError, FetchRequest, FetchSettings, FetchedModule, Fetcher, HostPort, Network,
    RemoteSignature, RemoteSource,
};

use crate::site::{NAME, Site};

/// A resolver for tests: each lookup takes the next answer, and the last one stays.
#[derive(Debug, Default)]
pub(crate) struct Names {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    pub(crate) looks: AtomicUsize,
}

impl Names {
    pub(crate) fn set(&self, host: &str, answers: &[&[&str]]) {
        let parsed = answers.iter().rev().map(|answer| {
            let addresses = answer.iter().map(|text| text.parse().expect("an address"));
            addresses.collect()
        });
        let mut all = self.answers.lock().expect("not poisoned");
        all.insert(host.to_owned(), parsed.collect());
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut all = self.answers.lock().expect("not poisoned");
        let answer = all.get_mut(host).map(|answers| match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop().unwrap_or_default(),
        });
        let answer = answer.ok_or_else(|| io::Error::other("no such name"));
        Box::pin(std::future::ready(answer))
    }
}

/// Returns settings that let a test ask its site, and the names for it.
pub(crate) fn allowing(site: &Site) -> (FetchSettings, Arc<Names>) {
    let names = Arc::new(Names::default());
    names.set(NAME, &[&["127.0.0.1"]]);
    let host = HostPort {
        host: NAME.to_owned(),
        port: Some(site.address.port()),
    };
    let (allowed_hosts, insecure_hosts) = match site.ca_file {
        Some(_) => (vec![host], Vec::new()),
        None => (Vec::new(), vec![host]),
    };
    let settings = FetchSettings {
        allowed_hosts,
        insecure_hosts,
        allow_private: vec![Network::parse("127.0.0.0/8").expect("a range")],
        ca_file: site.ca_file.clone(),
        ..FetchSettings::default()
    };
    (settings, names)
}

/// Returns the address of a path at a site.
pub(crate) fn at(site: &Site, path: &str) -> RemoteSource {
    let scheme = if site.ca_file.is_some() {
        "https"
    } else {
        "http"
    };
    let text = format!("{scheme}://{NAME}:{}{path}", site.address.port());
    RemoteSource::parse(&text).expect("an address")
}

/// Returns the digest of these bytes in the notation of registries.
pub(crate) fn oci(bytes: &[u8]) -> String {
    format!("sha256:{}", Digest::of(bytes))
}

/// Asks for a module of this source, pinned to these bytes.
pub(crate) fn pinned(source: RemoteSource, bytes: &[u8]) -> FetchRequest {
    FetchRequest {
        source,
        sha256: Some(Digest::of(bytes)),
        signature: None,
    }
}

/// Asks for a module of this source that is known by its signature alone.
pub(crate) fn signed(source: RemoteSource) -> FetchRequest {
    FetchRequest {
        source,
        sha256: None,
        signature: Some(RemoteSignature::Beside),
    }
}

/// Fetches a module and says that it proved to be good.
pub(crate) async fn fetch(
    settings: &FetchSettings,
    names: &Arc<Names>,
    wanted: &FetchRequest,
) -> Result<FetchedModule, FetchError> {
    let fetched = fetch_only(settings, names, wanted).await?;
    fetched.clone().keep().await;
    Ok(fetched)
}

/// Fetches a module without saying that it proved to be good.
pub(crate) async fn fetch_only(
    settings: &FetchSettings,
    names: &Arc<Names>,
    wanted: &FetchRequest,
) -> Result<FetchedModule, FetchError> {
    let names = Arc::clone(names) as Arc<dyn Resolve>;
    let fetcher = Fetcher::with_resolver(settings.clone(), names).expect("a fetcher");
    fetcher.fetch(wanted).await
}

/// Returns the words of an error and of its causes, without ports.
pub(crate) fn words(error: &FetchError, site: &Site) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words.replace(&format!(":{}", site.address.port()), "")
}
