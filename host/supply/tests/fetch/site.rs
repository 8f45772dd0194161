//! A server that answers each path as it is told, in plain HTTP/1.1 or with TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// The host name of the tests' servers.
pub(crate) const NAME: &str = "plugins.example";

/// Makes the answer for a path from the head of the request.
type Page = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

#[derive(Default)]
struct Pages {
    pages: Mutex<BTreeMap<String, Page>>,
    /// The heads of all requests.
    asked: Mutex<Vec<String>>,
}

pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// The file with its own authority, if it speaks TLS.
    pub(crate) ca_file: Option<PathBuf>,
    pages: Arc<Pages>,
    tasks: JoinSet<()>,
    _directory: tempfile::TempDir,
}

impl Site {
    /// Starts a server without TLS.
    pub(crate) async fn plain() -> Self {
        Self::start(None, None, tempfile::tempdir().expect("a directory")).await
    }

    /// Starts a server with TLS, whose certificate is for [`NAME`].
    pub(crate) async fn secure() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, cert.pem()).expect("written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(Some(acceptor), Some(ca_file), directory).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        ca_file: Option<PathBuf>,
        directory: tempfile::TempDir,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let pages = Arc::new(Pages::default());
        let mut tasks = JoinSet::new();
        let served = Arc::clone(&pages);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, pages) = (tls.clone(), Arc::clone(&served));
                connections.spawn(async move {
                    match tls {
                        None => answer(stream, &pages).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, &pages).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            ca_file,
            pages,
            tasks,
            _directory: directory,
        }
    }

    /// Answers a path with what this function makes of the request's head.
    pub(crate) fn page(&self, path: &str, page: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) {
        let mut pages = self.pages.pages.lock().expect("not poisoned");
        pages.insert(path.to_owned(), Box::new(page));
    }

    /// Answers a path with these bytes.
    pub(crate) fn file(&self, path: &str, bytes: &[u8]) {
        let answer = ok(bytes);
        self.page(path, move |_| answer.clone());
    }

    /// Answers a path with a redirect.
    pub(crate) fn redirect(&self, path: &str, location: &str) {
        let answer =
            format!("HTTP/1.1 307 Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        self.page(path, move |_| answer.clone().into_bytes());
    }

    /// Returns the heads of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.pages.asked.lock().expect("not poisoned").clone()
    }

    /// Stops the server: no connection is answered any more.
    pub(crate) async fn close(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Returns a whole answer with these bytes.
pub(crate) fn ok(bytes: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
    [head.as_bytes(), bytes].concat()
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, pages: &Pages) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head)
        .expect("a head")
        .to_ascii_lowercase();
    let path = head.split(' ').nth(1).expect("a path").to_owned();
    pages.asked.lock().expect("not poisoned").push(head.clone());
    let answer = {
        let pages = pages.pages.lock().expect("not poisoned");
        let missing = || b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec();
        pages.get(&path).map_or_else(missing, |page| page(&head))
    };
    // An answer that ends like this stays open for ever, without another byte.
    let (sent, is_endless) = match answer.strip_suffix(b"...") {
        Some(sent) => (sent, true),
        None => (answer.as_slice(), false),
    };
    // The write fails if the client has enough and does not read the rest.
    if stream.write_all(sent).await.is_ok() && is_endless {
        std::future::pending::<()>().await;
    }
    stream.shutdown().await.unwrap_or_default();
}
