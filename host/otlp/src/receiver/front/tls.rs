//! TLS of the receiver: rustls with ring, and certificates that are read again.

use std::path::Path;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::file_value::{ContentKind, FileError, FileValue, Files};
use crate::receiver::settings::ServerTls;
use crate::tls;

/// The TLS settings by which connections are accepted. Each connection uses those in force when it
/// comes, sessions included: a client that would not be let in any more cannot resume one.
#[derive(Debug)]
pub(crate) struct Certificates(FileValue<ServerConfig>);

impl Certificates {
    pub(crate) fn read(settings: &ServerTls, endpoint: &str) -> Result<Self, FileError> {
        let mut paths = vec![settings.cert_file.clone(), settings.key_file.clone()];
        paths.extend(settings.client_ca_file.clone());
        let every = settings.reload_interval;
        let settings = settings.clone();
        let make = move |files: &Files| server(&settings, files);
        FileValue::new(ContentKind::Certificate, endpoint, paths, every, make).map(Self)
    }

    /// Returns the settings for one more connection.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.current()
    }
}

fn server(settings: &ServerTls, files: &Files) -> Result<ServerConfig, FileError> {
    let (cert_file, key_file) = (&settings.cert_file, &settings.key_file);
    let certificates = tls::certificates(files, cert_file, "a certificate")?;
    let key = tls::key(files, key_file)?;
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(settings.versions.supported())
        .map_err(|source| FileError::unusable("TLS versions", cert_file, source))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(verifier(files, file)?),
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|source| FileError::unusable("the certificate", cert_file, source))?;
    // The second is for clients that offer nothing else: they get a connection and, on it, an
    // answer in words. A client that offers both speaks the first.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Returns a verifier that lets in clients with a certificate of one of these authorities.
fn verifier(files: &Files, file: &Path) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    tls::trust(&mut roots, files, file)?;
    let what = "the authorities' certificates";
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build();
    verifier
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|source| FileError::unusable(what, file, source))
}
