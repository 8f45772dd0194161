//! Certificates, made here, and an attempt to send over them.

use std::path::{Path, PathBuf};

use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use spandrel_otlp::exporter::{ClientTls, GrpcExporter};
use spandrel_otlp::receiver::{GrpcConfig, ServerTls};
use spandrel_pipeline::exporter::{Exporter, Outcome};
use spandrel_wire::Signal;
use tempfile::TempDir;

use crate::collector::config;
use crate::round_trip::spans;

/// An authority and the certificates that it signed, as files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("signed");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("written");
        Self { folder, issuer }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Returns the files of a certificate and its key for this name.
    pub(crate) fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        let cert_file = self.folder.path().join(format!("{name}.pem"));
        let key_file = self.folder.path().join(format!("{name}.key"));
        std::fs::write(&cert_file, certificate.pem()).expect("written");
        std::fs::write(&key_file, key.serialize_pem()).expect("written");
        (cert_file, key_file)
    }

    pub(crate) fn server(&self, name: &str, client_ca_file: Option<PathBuf>) -> GrpcConfig {
        let (cert_file, key_file) = self.sign(name);
        GrpcConfig {
            tls: Some(ServerTls {
                client_ca_file,
                ..ServerTls::new(cert_file, key_file)
            }),
            ..config()
        }
    }
}

pub(crate) fn trusting(authority: &Authority) -> ClientTls {
    ClientTls {
        ca_file: Some(authority.ca_file()),
        ..ClientTls::default()
    }
}

/// Exports one batch.
pub(crate) async fn attempt(exporter: &GrpcExporter) -> Outcome {
    let batch = spans(3).encode_to_vec();
    exporter.export(Signal::Traces, batch.into()).await
}

/// Replaces a file by new content in one step.
pub(crate) fn replace(file: &Path, with: impl AsRef<[u8]>) {
    let next = file.with_extension("next");
    std::fs::write(&next, with).expect("written");
    std::fs::rename(&next, file).expect("moved");
}

/// Replaces a file by a copy of another one in one step.
pub(crate) fn copy(from: &Path, file: &Path) {
    replace(file, std::fs::read(from).expect("readable"));
}
