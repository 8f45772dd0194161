//! The connection to the backend, by the Collector's rules for endpoints and TLS.

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use http::uri::Scheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{ClientTls, ExporterConfig, ExporterError};

/// Attempts that may wait for the connection; the pipeline has its own limit, far below.
const WAITING_ATTEMPTS: usize = 1024;

/// The endpoint as it is shown, and its connection, which is made on first use.
pub(crate) fn connect_lazily(config: &ExporterConfig) -> Result<(String, Channel), ExporterError> {
    let bad_endpoint = || ExporterError::Endpoint {
        endpoint: config.endpoint.clone(),
    };
    let uri = uri(&config.endpoint, config.tls.insecure).ok_or_else(bad_endpoint)?;
    let shown = uri.to_string().trim_end_matches('/').to_owned();
    let connection = |source| ExporterError::Connection {
        endpoint: config.endpoint.clone(),
        source,
    };
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let mut endpoint = Endpoint::from(uri)
        .user_agent(config.user_agent.clone())
        .map_err(connection)?
        .connect_timeout(config.timeout)
        .buffer_size(WAITING_ATTEMPTS);
    if let Some(keepalive) = config.keepalive {
        endpoint = endpoint
            .http2_keep_alive_interval(keepalive.time)
            .keep_alive_timeout(keepalive.timeout)
            .keep_alive_while_idle(keepalive.permit_without_stream);
    }
    if secure {
        endpoint = with_tls(endpoint, &config.tls, connection)?;
    }
    Ok((shown, endpoint.connect_lazy()))
}

/// A scheme decides by itself; without one it is TLS, unless the config says insecure.
fn uri(endpoint: &str, insecure: bool) -> Option<Uri> {
    let uri: Uri = if endpoint.contains("://") {
        endpoint.parse().ok()?
    } else {
        let scheme = if insecure { "http" } else { "https" };
        format!("{scheme}://{endpoint}").parse().ok()?
    };
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let named = uri.host().is_some_and(|host| !host.is_empty());
    (known && bare && named).then_some(uri)
}

fn with_tls(
    endpoint: Endpoint,
    tls: &ClientTls,
    connection: impl Fn(tonic::transport::Error) -> ExporterError,
) -> Result<Endpoint, ExporterError> {
    let mut config = ClientTlsConfig::new();
    if let Some(name) = &tls.server_name_override {
        config = config.domain_name(name.clone());
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => {
            config = config.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        (None, None) => {}
        _ => {
            let message = "`cert_file` and `key_file` are needed together";
            return Err(ExporterError::TlsSettings(message));
        }
    }
    if tls.insecure_skip_verify {
        let verifier = Arc::new(AnyBackend::new());
        return endpoint
            .tls_config_with_verifier(config, verifier)
            .map_err(connection);
    }
    config = match &tls.ca_file {
        Some(file) => config.ca_certificate(Certificate::from_pem(read(file)?)),
        None => config.with_native_roots(),
    };
    endpoint.tls_config(config).map_err(connection)
}

fn read(path: &PathBuf) -> Result<Vec<u8>, ExporterError> {
    std::fs::read(path).map_err(|source| ExporterError::File {
        path: path.clone(),
        source,
    })
}

/// `insecure_skip_verify`: any certificate will do, as long as the peer has its key.
#[derive(Debug)]
struct AnyBackend {
    provider: CryptoProvider,
}

impl AnyBackend {
    fn new() -> Self {
        Self {
            provider: crypto::ring::default_provider(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The Collector's rules: a scheme decides, and without one it is TLS unless told otherwise.
    #[test]
    fn the_scheme_decides_about_tls() {
        for (endpoint, insecure, shown) in [
            ("http://backend:4317", false, Some("http://backend:4317/")),
            ("https://backend:4317", true, Some("https://backend:4317/")),
            ("backend:4317", false, Some("https://backend:4317/")),
            ("backend:4317", true, Some("http://backend:4317/")),
            ("[::1]:4317", true, Some("http://[::1]:4317/")),
            ("ftp://backend:21", false, None),
            ("http://backend:4317/v1/traces", false, None),
            ("", false, None),
            ("http://", false, None),
        ] {
            let found = uri(endpoint, insecure).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), shown, "{endpoint}");
        }
    }
}
