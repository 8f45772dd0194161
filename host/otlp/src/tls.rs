//! The parts of TLS that the receiver and the exporter share: versions, and certificates in PEM.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedProtocolVersion, version};

use crate::file_value::{FileError, Files};

/// The default interval between two looks at certificates. It is well inside the time for which the
/// old and the new certificate are both valid at a renewal.
pub const REREAD_INTERVAL: Duration = Duration::from_secs(10);

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, the lowest version that is supported.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

/// The range of TLS versions that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// The lowest version.
    pub min: TlsVersion,
    /// The highest version; not below `min`.
    pub max: TlsVersion,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            min: TlsVersion::V1_2,
            max: TlsVersion::V1_3,
        }
    }
}

impl TlsVersions {
    /// Returns the versions for rustls; only `min` if `max` is below `min`.
    pub(crate) fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        const V1_2: [&SupportedProtocolVersion; 1] = [&version::TLS12];
        const V1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
        match (self.min, self.max) {
            (TlsVersion::V1_2, TlsVersion::V1_3) => &BOTH,
            (TlsVersion::V1_2, TlsVersion::V1_2) => &V1_2,
            (TlsVersion::V1_3, _) => &V1_3,
        }
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

/// Returns all certificates of a file; at least one.
pub(crate) fn certificates(
    files: &Files,
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(files.get(path, what)?)
        .collect::<Result<_, _>>()
        .map_err(|source| FileError::unusable(what, path, source))?;
    if found.is_empty() {
        return Err(FileError::unusable(what, path, pem::Error::NoItemsFound));
    }
    Ok(found)
}

/// Returns the private key of a file.
pub(crate) fn key(files: &Files, path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let what = "a private key";
    PrivateKeyDer::from_pem_slice(files.get(path, what)?)
        .map_err(|source| FileError::unusable(what, path, source))
}

/// Adds the authorities of a file to those that are trusted.
pub(crate) fn trust(
    roots: &mut RootCertStore,
    files: &Files,
    path: &Path,
) -> Result<(), FileError> {
    let what = "an authority's certificate";
    for authority in certificates(files, path, what)? {
        roots
            .add(authority)
            .map_err(|source| FileError::unusable(what, path, source))?;
    }
    Ok(())
}
