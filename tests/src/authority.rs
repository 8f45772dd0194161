//! A certificate authority for tests, which signs certificates for this machine.

use std::path::Path;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use spandrel_harness::client::SERVER_NAME;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// A certificate authority of a test.
#[derive(Debug)]
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes a new authority, which nobody trusts yet.
    ///
    /// # Errors
    /// Returns an error if there is no randomness.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// Writes a certificate for this machine, `cert.pem`, and its key, `key.pem`, into a folder.
    /// The key is written first: a new certificate without its key must not be loaded.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be written to.
    pub fn sign_into(&self, folder: &Path) -> Result<()> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
        let certificate = params.signed_by(&key, &self.0)?;
        replace(&folder.join("key.pem"), &key.serialize_pem())?;
        replace(&folder.join("cert.pem"), &certificate.pem())
    }

    /// Returns its own certificate, for clients that trust it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }
}

/// Its own certificate, for clients of this process that trust it.
impl AsRef<CertificateDer<'static>> for Authority {
    fn as_ref(&self) -> &CertificateDer<'static> {
        self.0.der()
    }
}

/// Replaces a file atomically.
///
/// # Errors
/// Returns an error if the folder cannot be written to.
pub fn replace(file: &Path, text: &str) -> Result<()> {
    let next = file.with_extension("next");
    std::fs::write(&next, text)?;
    std::fs::rename(next, file)?;
    Ok(())
}
