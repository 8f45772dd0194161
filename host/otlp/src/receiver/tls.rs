//! TLS of the receiver: rustls with ring, TLS 1.2 and 1.3, HTTP/2 only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, crypto};

use super::ServerTls;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM, or has nothing of the kind in it.
    #[error("cannot read {what} from {}", path.display())]
    File {
        /// What should be there.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<pem::Error>,
    },
    /// The certificates do not serve their purpose.
    #[error("cannot use {what} of {}", path.display())]
    Unusable {
        /// What.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How to accept TLS connections with these files.
pub(crate) fn server(files: &ServerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let certificates = certificates(&files.cert_file, "a certificate")?;
    let key = PrivateKeyDer::from_pem_file(&files.key_file)
        .map_err(|source| unreadable("a private key", &files.key_file, source))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| unusable("TLS versions", &files.cert_file, source))?;
    let builder = match &files.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(verifier(file, provider)?),
    };
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|source| unusable("the certificate", &files.cert_file, source))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Lets in who has a certificate of one of these authorities.
fn verifier(
    file: &Path,
    provider: Arc<crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file, "an authority's certificate")? {
        roots
            .add(authority)
            .map_err(|source| unusable("an authority's certificate", file, source))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|source| unusable("the authorities' certificates", file, source))?;
    Ok(verifier)
}

/// All certificates of a file; at least one.
fn certificates(file: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|source| unreadable(what, file, source))?;
    if found.is_empty() {
        return Err(unreadable(what, file, pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn unreadable(what: &'static str, path: &Path, source: pem::Error) -> TlsError {
    TlsError::File {
        what,
        path: path.to_owned(),
        source: Box::new(source),
    }
}

fn unusable(
    what: &'static str,
    path: &Path,
    source: impl std::error::Error + Send + Sync + 'static,
) -> TlsError {
    TlsError::Unusable {
        what,
        path: path.to_owned(),
        source: Box::new(source),
    }
}
