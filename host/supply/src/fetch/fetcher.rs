//! The fetcher. Pinned content comes from the store if it is there. Other content is requested, and
//! comes from the store if the source cannot be reached.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use crate::digest::Digest;
use crate::fetch::client::{Client, GetRequest};
use crate::fetch::error::{FetchError, FetchSetupError};
use crate::fetch::oci::{ArtifactLayers, MANIFEST_BYTES, Pull, check, whole};
use crate::fetch::resolve::{Resolve, SystemResolver};
use crate::fetch::settings::FetchSettings;
use crate::fetch::source::{Reference, RemoteSource, Url};
use crate::fetch::store::ModuleStore;

/// The largest signature in bytes: four lines, and a comment.
const SIGNATURE_BYTES: u64 = 64 << 10;

/// The place of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSignature {
    /// Beside the module: at its address with `.minisig` appended, or in a layer with such a title.
    Beside,
    /// At another address.
    Url(Url),
}

/// A request for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The source of the module.
    pub source: RemoteSource,
    /// The digest that the module must have.
    pub sha256: Option<Digest>,
    /// The place of its signature, if one is needed.
    pub signature: Option<RemoteSignature>,
}

/// A fetched module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedModule {
    /// The module. It has the digest that was asked for; the caller must check who signed it.
    pub module: Bytes,
    /// Its signature, if one was asked for and there is one.
    pub signature: Option<Bytes>,
    /// True if the source could not be reached, so that this is the release fetched before.
    pub is_stale: bool,
    /// The record under which all of its parts are found again.
    record: Option<ReleaseRecord>,
}

impl FetchedModule {
    /// Records this release as the one to use if the source cannot be reached. The caller does so
    /// once the release has proved to be good. Until then the store offers all of the release
    /// before: half of another release, or one whose signature does not fit, must not be all that a
    /// restart finds.
    pub async fn keep(self) {
        let Some(ReleaseRecord { store, name, parts }) = self.record else {
            return;
        };
        let keep = move || store.record(&name, &parts);
        // The task has no reason to panic, and content that is not kept is fetched again.
        tokio::task::spawn_blocking(keep).await.unwrap_or_default();
    }
}

/// The digests that a name stands for: first that of the module, or of the manifest that leads to
/// it, then that of the signature if the manifest does not lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReleaseRecord {
    store: Arc<ModuleStore>,
    name: String,
    parts: Vec<Digest>,
}

/// Fetches modules, and keeps them in a store.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    store: Option<Arc<ModuleStore>>,
}

impl Fetcher {
    /// Creates a fetcher that resolves names as the system does.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn new(settings: FetchSettings) -> Result<Self, FetchSetupError> {
        Self::with_resolver(settings, Arc::new(SystemResolver))
    }

    /// Creates a fetcher with another resolver.
    ///
    /// # Errors
    /// Fails if TLS cannot be set up.
    pub fn with_resolver(
        settings: FetchSettings,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, FetchSetupError> {
        let limit = settings.module_bytes.max(MANIFEST_BYTES);
        let directory = settings.store.as_deref();
        let store = directory.and_then(|directory| ModuleStore::open(directory, limit));
        let tls = Arc::new(tls(settings.ca_file.as_deref())?);
        Ok(Self {
            client: Client {
                settings,
                resolver,
                tls,
            },
            store: store.map(Arc::new),
        })
    }

    /// Fetches a module, and its signature where one is needed.
    ///
    /// # Errors
    /// Fails if neither the source nor the store has content that fits.
    pub async fn fetch(&self, request: &FetchRequest) -> Result<FetchedModule, FetchError> {
        // A host that is no longer listed may not be used, not even from the store.
        self.client.settings.may_ask(&request.source)?;
        let limit = self.client.settings.timeout;
        let fetched = match &request.source {
            RemoteSource::Url(url) => timeout(limit, self.at_server(url, request)).await,
            RemoteSource::Oci(reference) => {
                timeout(limit, self.in_registry(reference, request)).await
            }
        };
        let fetched = fetched.unwrap_or_else(|_| {
            Err(FetchError::Time {
                name: request.source.to_string(),
                limit,
            })
        });
        match fetched {
            Err(error) if error.is_unreachable() => match self.stale(request).await {
                Some(fetched) => {
                    tracing::warn!(
                        module = %request.source,
                        error = &error as &dyn std::error::Error,
                        "a plugin's source cannot be reached, taking what it had before"
                    );
                    Ok(fetched)
                }
                None => Err(error),
            },
            fetched => fetched,
        }
    }

    async fn at_server(
        &self,
        url: &Url,
        request: &FetchRequest,
    ) -> Result<FetchedModule, FetchError> {
        let limit = self.client.settings.module_bytes;
        let module = match self.content(request.sha256).await {
            Some(module) => module,
            None => {
                let module = self.get(url, limit).await?;
                check(&url.to_string(), request.sha256, &module)?;
                self.keep(&module).await;
                module
            }
        };
        let signature = match &request.signature {
            None => None,
            Some(RemoteSignature::Url(url)) => Some(self.signature(url).await?),
            Some(RemoteSignature::Beside) => Some(self.signature(&beside(url)).await?),
        };
        let parts = std::iter::once(&module).chain(&signature).collect();
        Ok(FetchedModule {
            record: self.record(request, parts),
            module,
            signature,
            is_stale: false,
        })
    }

    async fn signature(&self, url: &Url) -> Result<Bytes, FetchError> {
        let signature = self.get(url, SIGNATURE_BYTES).await?;
        self.keep(&signature).await;
        Ok(signature)
    }

    fn record(&self, request: &FetchRequest, parts: Vec<&Bytes>) -> Option<ReleaseRecord> {
        Some(ReleaseRecord {
            store: Arc::clone(self.store.as_ref()?),
            name: name_of(request),
            parts: parts.into_iter().map(|part| Digest::of(part)).collect(),
        })
    }

    async fn in_registry(
        &self,
        reference: &Reference,
        request: &FetchRequest,
    ) -> Result<FetchedModule, FetchError> {
        let mut pull = Pull::new(&self.client, reference);
        let manifest = match self.content(reference.digest).await {
            Some(manifest) => manifest,
            None => {
                let manifest = pull.manifest().await?;
                self.keep(&manifest).await;
                manifest
            }
        };
        let artifact = artifact(reference, &manifest)?;
        let mut layers = Vec::with_capacity(2);
        let limits = [self.client.settings.module_bytes, SIGNATURE_BYTES];
        let signature = artifact
            .signature
            .filter(|_| request.signature == Some(RemoteSignature::Beside));
        for (layer, limit) in std::iter::once(artifact.module)
            .chain(signature)
            .zip(limits)
        {
            layers.push(match self.content(Some(layer.digest)).await {
                Some(layer) => layer,
                None => {
                    let bytes = pull.layer(&layer, limit).await?;
                    self.keep(&bytes).await;
                    bytes
                }
            });
        }
        let mut layers = layers.into_iter();
        let module = layers.next().unwrap_or_default();
        check(&reference.to_string(), request.sha256, &module)?;
        let apart = match &request.signature {
            Some(RemoteSignature::Url(url)) => Some(self.signature(url).await?),
            Some(RemoteSignature::Beside) | None => None,
        };
        let parts = std::iter::once(&manifest).chain(&apart).collect();
        let signature = apart.clone().or_else(|| layers.next());
        Ok(FetchedModule {
            record: self.record(request, parts),
            module,
            signature,
            is_stale: false,
        })
    }

    async fn get(&self, url: &Url, limit_bytes: u64) -> Result<Bytes, FetchError> {
        let password = self.client.settings.password(url);
        let request = GetRequest {
            url,
            accept: "application/wasm, */*",
            authorization: password.as_deref(),
            limit_bytes,
        };
        whole(url, self.client.get(request).await?)
    }

    /// Returns everything that was fetched before, if no part of it is missing.
    async fn stale(&self, request: &FetchRequest) -> Option<FetchedModule> {
        let store = Arc::clone(self.store.as_ref()?);
        let request = request.clone();
        let look = move || {
            let mut parts = store.recorded(&name_of(&request)).into_iter();
            let (first, apart) = (parts.next(), parts.next());
            let content = |digest: Option<Digest>| store.content(digest?);
            let (module, beside) = match &request.source {
                RemoteSource::Url(_) => (content(request.sha256.or(first))?, content(apart)),
                RemoteSource::Oci(reference) => {
                    let manifest = content(reference.digest.or(first))?;
                    let artifact = artifact(reference, &manifest).ok()?;
                    let signature = artifact.signature.map(|layer| layer.digest);
                    (
                        content(Some(artifact.module.digest))?,
                        content(apart.or(signature)),
                    )
                }
            };
            check("", request.sha256, &module).ok()?;
            let signature = match &request.signature {
                None => None,
                Some(_) => Some(beside?),
            };
            Some(FetchedModule {
                module,
                signature,
                is_stale: true,
                record: None,
            })
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    async fn content(&self, digest: Option<Digest>) -> Option<Bytes> {
        let (store, digest) = (Arc::clone(self.store.as_ref()?), digest?);
        let look = move || store.content(digest);
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Keeps fetched content under its digest.
    async fn keep(&self, bytes: &Bytes) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let bytes = bytes.clone();
        let keep = move || store.keep(&bytes, Digest::of(&bytes));
        // The task has no reason to panic, and content that is not kept is fetched again.
        tokio::task::spawn_blocking(keep).await.unwrap_or_default();
    }
}

/// Returns the name of a record: everything that identifies the request. For an address this
/// includes the query, which is not shown to people.
fn name_of(request: &FetchRequest) -> String {
    let whole = |url: &Url| format!("{url} {}", url.path);
    let source = match &request.source {
        RemoteSource::Url(url) => whole(url),
        RemoteSource::Oci(reference) => reference.to_string(),
    };
    let pinned = request.sha256.map(Digest::to_oci);
    let signature = match &request.signature {
        None => "none".to_owned(),
        Some(RemoteSignature::Beside) => "beside".to_owned(),
        Some(RemoteSignature::Url(url)) => whole(url),
    };
    format!("{source}\n{}\n{signature}", pinned.unwrap_or_default())
}

fn beside(url: &Url) -> Url {
    url.appended(".minisig")
}

fn artifact(reference: &Reference, manifest: &[u8]) -> Result<ArtifactLayers, FetchError> {
    ArtifactLayers::parse(manifest).map_err(|problem| FetchError::Answer {
        name: reference.to_string(),
        problem,
    })
}

/// Trusts the system's authorities, and those of a file.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, FetchSetupError> {
    let mut roots = RootCertStore::empty();
    // If the system has none, connections fail with an error that says why.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| FetchSetupError::Authorities {
                path: path.to_owned(),
                source,
            };
        let mut count = 0;
        let all = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.into()))?;
        for certificate in all {
            let certificate = certificate.map_err(|error| failed(error.into()))?;
            roots
                .add(certificate)
                .map_err(|error| failed(error.into()))?;
            count += 1;
        }
        if count == 0 {
            return Err(failed("there is none in it".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
