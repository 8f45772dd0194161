//! A client of the admin API, with one connection for each request.

mod error;
mod stage_name;
#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use spandrel_collector::report::{ErrorView, StageView, SwapRequest};
use spandrel_config::net::Endpoint;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use self::error::ClientError;
use crate::server::MAX_UPLOAD;
use crate::socket;
use crate::token;

/// The time limit for connecting. On the same machine or the next one it takes far less.
const CONNECT: Duration = Duration::from_secs(5);
/// The time limit for reads. Views are answered at once, and events after 20 s at the latest.
const READ: Duration = Duration::from_secs(30);
/// The time limit for a change. It compiles and probes, and may wait for other changes; the
/// collector limits each of these steps.
const CHANGE: Duration = Duration::from_secs(600);
/// The longest signature that fits in the head of a request. A signature has some 400 bytes.
const LONGEST_SIGNATURE: u64 = 4 << 10;
/// The longest answer that is read. A history is far shorter.
const LONGEST: usize = 64 << 20;

/// A client of one collector.
#[derive(Debug)]
pub struct Client {
    /// The endpoints to try; the first one with a listener is used.
    endpoints: Vec<Endpoint>,
    token: Option<String>,
}

impl Client {
    /// Makes a client of the collector whose admin API listens on `endpoint`, with the token in
    /// `token_file`. Values that are not given are looked up in the environment (`SPANDREL_ADMIN`,
    /// `SPANDREL_ADMIN_TOKEN_FILE`), and then has the extension's own default.
    ///
    /// # Errors
    /// A variable is wrong, or the token cannot be read.
    pub fn new(
        endpoint: Option<Endpoint>,
        token_file: Option<PathBuf>,
    ) -> Result<Self, ClientError> {
        Self::with(endpoint, token_file, |name| std::env::var(name).ok())
    }

    fn with(
        endpoint: Option<Endpoint>,
        token_file: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        let named = match (endpoint, set("SPANDREL_ADMIN")) {
            (Some(endpoint), _) => Some(endpoint),
            (None, Some(text)) => {
                let endpoint = Endpoint::parse(&text);
                Some(endpoint.map_err(|instead| {
                    ClientError::Usage(format!("SPANDREL_ADMIN is `{text}`; {instead}"))
                })?)
            }
            (None, None) => None,
        };
        let default = || socket::candidates().into_iter().map(Endpoint::Unix);
        let file = token_file.or_else(|| set("SPANDREL_ADMIN_TOKEN_FILE").map(PathBuf::from));
        let token = match file {
            Some(path) => {
                let token = token::contents(&path);
                Some(token.map_err(|source| ClientError::File { path, source })?)
            }
            None => None,
        };
        Ok(Self {
            endpoints: named.map_or_else(|| default().collect(), |named| vec![named]),
            token,
        })
    }

    /// Finds a stage by its name or a part of it.
    pub async fn stage(&self, named: &str) -> Result<String, ClientError> {
        let stages: Vec<StageView> = understood(&self.get("/v1/stages").await?)?;
        let names: Vec<&str> = stages.iter().map(|stage| stage.stage.as_str()).collect();
        let found = stage_name::find(named, &names);
        found.map_err(|error| ClientError::Refused { code: 404, error })
    }

    /// Reads a view.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub async fn get(&self, path: &str) -> Result<String, ClientError> {
        self.ask(Method::GET, path, None, Bytes::new(), READ).await
    }

    /// Asks for a change that needs no body.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub async fn post(&self, path: &str) -> Result<String, ClientError> {
        self.ask(Method::POST, path, None, Bytes::new(), CHANGE)
            .await
    }

    /// Asks for a swap. With an upload the request is in the query.
    pub async fn swap(
        &self,
        path: &str,
        request: &SwapRequest,
        upload: Option<Vec<u8>>,
    ) -> Result<String, ClientError> {
        let (path, kind, body) = match upload {
            Some(module) => (
                format!("{path}?{}", query(request)),
                "application/wasm",
                module,
            ),
            None => {
                let json = serde_json::to_vec(request).map_err(ClientError::NotUnderstood)?;
                (path.to_owned(), "application/json", json)
            }
        };
        self.ask(Method::POST, &path, Some(kind), body.into(), CHANGE)
            .await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
        patience: Duration,
    ) -> Result<String, ClientError> {
        let (endpoint, stream) = self.connect().await?;
        let host = match endpoint {
            Endpoint::Unix(_) => "localhost".to_owned(),
            Endpoint::Tcp(listen) => listen.to_string(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| ClientError::Usage(format!("this cannot be asked: {error}")))?;
        let answer = timeout(patience, exchange(stream, request)).await;
        let (code, text) = answer.map_err(|_| ClientError::Late(patience.as_secs()))??;
        if (200..300).contains(&code) {
            return Ok(text);
        }
        let said = serde_json::from_str::<ErrorView>(&text);
        let error = said.map_or_else(
            |_| format!("{endpoint} answers {code}, and is no admin API of a collector"),
            |view| view.error,
        );
        let hint = if code == 401 && self.token.is_none() {
            ": name it with --token-file or SPANDREL_ADMIN_TOKEN_FILE"
        } else {
            ""
        };
        Err(ClientError::Refused {
            code,
            error: format!("{error}{hint}"),
        })
    }

    async fn connect(&self) -> Result<(&Endpoint, Box<dyn Stream>), ClientError> {
        for endpoint in &self.endpoints {
            let connected = timeout(CONNECT, connect(endpoint)).await;
            let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            match connected {
                Ok(stream) => return Ok((endpoint, stream)),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                    ) => {}
                Err(source) => {
                    return Err(ClientError::Connect {
                        endpoint: endpoint.to_string(),
                        source,
                    });
                }
            }
        }
        let all: Vec<String> = self.endpoints.iter().map(Endpoint::to_string).collect();
        Err(ClientError::NobodyListens(all.join(" or ")))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Checks the owner of a socket: a token or a module must not go to a socket that another user may
/// have created.
fn check_owner(path: &Path) -> std::io::Result<()> {
    let owner = std::fs::symlink_metadata(path)?.uid();
    let us = rustix::process::geteuid().as_raw();
    // The superuser may use anybody's collector.
    if owner == us || owner == 0 || us == 0 {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "the socket belongs to user {owner}, you are {us}"
    )))
}

async fn connect(endpoint: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
    Ok(match endpoint {
        Endpoint::Unix(path) => {
            check_owner(path)?;
            Box::new(UnixStream::connect(path).await?)
        }
        Endpoint::Tcp(listen) => {
            let host = match listen.host.as_str() {
                "" => "localhost",
                host => host,
            };
            Box::new(TcpStream::connect((host, listen.port)).await?)
        }
    })
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, String), ClientError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ClientError::Broken)?;
    let answered = async {
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        // A body that was cut off is not valid JSON, and is reported as that.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Ok((code, String::from_utf8_lossy(&body).into_owned()))
    };
    let mut connection = std::pin::pin!(connection);
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection ends first if the whole answer has arrived.
        _ = &mut connection => answered.await,
    }
    .map_err(ClientError::Broken)
}

/// Returns a stage's path in the API.
pub fn path(stage: &str, rest: &str) -> String {
    format!("/v1/stages/{}{rest}", encoded(stage))
}

/// Encodes a name as one part of a path.
pub fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

fn query(request: &SwapRequest) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(digest) = &request.sha256 {
        query.append_pair("sha256", digest);
    }
    if let Some(signature) = &request.signature {
        query.append_pair("signature", signature);
    }
    if let Some(config) = &request.config {
        query.append_pair("config", &config.to_string());
    }
    if let Some(share) = request.canary {
        query.append_pair("canary", &share.to_string());
    }
    for (key, is_set) in [
        ("dry_run", request.dry_run),
        ("shadow", request.shadow),
        ("no_probation", request.no_probation),
        ("expect_drops", request.expect_drops),
    ] {
        if is_set {
            query.append_pair(key, "true");
        }
    }
    query.finish()
}

/// Reads the module to send.
pub fn module(path: &Path) -> Result<Vec<u8>, ClientError> {
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_UPLOAD as u64 {
        let what = format!("{} is larger than {} MiB", path.display(), MAX_UPLOAD >> 20);
        return Err(ClientError::Usage(what));
    }
    std::fs::read(path).map_err(failed)
}

/// Reads the text of a module's signature from this file, or from the one beside the module, if
/// there is one.
pub fn signature(file: Option<&Path>, module: &Path) -> Result<Option<String>, ClientError> {
    let beside = spandrel_supply::signature::beside(module);
    let path = match file {
        Some(path) => path,
        None if beside.is_file() => &beside,
        None => return Ok(None),
    };
    let failed = |source| ClientError::File {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > LONGEST_SIGNATURE {
        let what = format!("{} is no signature: it is too large", path.display());
        return Err(ClientError::Usage(what));
    }
    std::fs::read_to_string(path).map(Some).map_err(failed)
}

/// Returns an absolute path, because the collector has another working directory.
pub fn absolute(path: &Path) -> Result<String, ClientError> {
    let absolute = std::path::absolute(path).map_err(|source| ClientError::File {
        path: path.to_owned(),
        source,
    })?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| ClientError::Usage(format!("the path {} is not UTF-8", path.display())))
}

/// Reads an answer.
///
/// # Errors
/// It is another version's.
pub fn understood<T: DeserializeOwned>(json: &str) -> Result<T, ClientError> {
    serde_json::from_str(json).map_err(ClientError::NotUnderstood)
}
