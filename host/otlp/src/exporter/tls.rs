//! TLS of the exporter: rustls with ring. Each connection uses the certificates and authorities
//! that are in force when it is made.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ClientTls;
use crate::file_value::{ContentKind, FileError, FileValue, Files};
use crate::tls;

/// The only protocol that is offered.
const ALPN: &[u8] = b"h2";

/// Secures connections to the backend.
pub(crate) struct Tls {
    name: ServerName<'static>,
    certificates: FileValue<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new(
        settings: &ClientTls,
        name: ServerName<'static>,
        endpoint: &str,
    ) -> Result<Self, FileError> {
        let files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
        let paths = files.into_iter().flatten().cloned().collect();
        let every = settings.reload_interval;
        let settings = settings.clone();
        let make = move |files: &Files| client(&settings, files);
        Ok(Self {
            name,
            certificates: FileValue::new(ContentKind::Certificate, endpoint, paths, every, make)?,
        })
    }

    /// Makes the TLS handshake on a stream.
    ///
    /// # Errors
    /// The backend cannot prove who it is, or does not speak HTTP/2.
    pub(crate) async fn connect<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.certificates.current();
        let stream = TlsConnector::from(config)
            .connect(self.name.clone(), stream)
            .await?;
        if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other(
                "the backend does not speak HTTP/2 over TLS",
            ));
        }
        Ok(stream)
    }
}

fn client(settings: &ClientTls, files: &Files) -> Result<ClientConfig, FileError> {
    let provider = tls::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(settings.versions.supported())
        .map_err(|source| FileError::unusable("TLS versions", "".as_ref(), source))?;
    let builder = if settings.insecure_skip_verify {
        let verifier = Arc::new(AnyBackend { provider });
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(authorities(settings, files)?)
    };
    let mut config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert_file), Some(key_file)) => {
            let certificates = tls::certificates(files, cert_file, "a certificate")?;
            let key = tls::key(files, key_file)?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|source| FileError::unusable("the certificate", cert_file, source))?
        }
        // One of them without the other was refused before.
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn authorities(settings: &ClientTls, files: &Files) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = &settings.ca_file {
        tls::trust(&mut roots, files, file)?;
    }
    if settings.ca_file.is_none() || settings.include_system_ca_certs_pool {
        // Some systems have a few certificates that cannot be parsed.
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
    }
    if roots.is_empty() {
        return Err(FileError::NoSystemAuthorities);
    }
    Ok(roots)
}

/// The verifier for `insecure_skip_verify`: any certificate is accepted, if the peer has its key.
#[derive(Debug)]
struct AnyBackend {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyBackend {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
