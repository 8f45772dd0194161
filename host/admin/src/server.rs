//! The admin API: HTTP and JSON under `/v1`, on a listener of its own. It shows the stages, and
//! passes changes on to `Control`.
//!
//! Anybody who reaches it can run code in the collector, so it is closed by default: a unix socket
//! that only the collector's own user can open, or an address with a bearer token. A change goes on
//! when the client that asked for it hangs up, and leaves one line in the log either way.

mod admission;
mod audit;
mod change;
mod history;
mod query;
mod route;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, header};
use hyper::body::Incoming;
use serde::Serialize;
use spandrel_collector::control::Control;
use spandrel_collector::report::ErrorView;
use spandrel_config::extension::Admin;
use spandrel_config::net::{Endpoint, Listen};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use self::admission::{Admission, Peer};
use self::audit::UnauthorizedLog;
use self::change::Changes;
use self::history::HistoryReader;
use self::route::{ReadRequest, Route};
use crate::bind_error::BindError;
use crate::socket::{self, SocketFile};
use crate::token::Token;
use crate::web::{self, Accept, Answer};

/// The most connections: enough for a few people and their scripts. More wait until one ends.
const MAX_CONNECTIONS: usize = 16;
/// The most requests that wait for events. They are fewer than the connections, so that a change
/// always finds a place.
const MAX_WATCHERS: usize = 8;
/// The largest module that can be sent. Plugins are far smaller, and only one upload is in memory
/// at a time.
pub(crate) const MAX_UPLOAD: usize = 64 << 20;
/// The largest JSON request: a plugin's configuration, and nothing else that is long.
const MAX_JSON: usize = 1 << 20;

/// The admin API with its socket, before it serves anybody.
#[derive(Debug)]
pub struct Listener {
    listener: AdminSocket,
    admission: Admission,
    endpoint: Endpoint,
    /// Removes the socket when it is dropped.
    _file: Option<SocketFile>,
}

/// Reads the token, without listening.
///
/// # Errors
/// The problem with the token.
pub fn check(settings: &Admin) -> Result<(), BindError> {
    let token = settings.token_file.as_deref().map(Token::read);
    token.transpose().map(drop)
}

impl Listener {
    /// Reads the token and binds the socket. Must be called inside the runtime.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn bind(settings: &Admin) -> Result<Self, BindError> {
        let token = match &settings.token_file {
            Some(path) => Some(Token::read(path)?),
            None => None,
        };
        let endpoint = settings
            .endpoint
            .clone()
            .unwrap_or_else(|| Endpoint::Unix(socket::default_path()));
        match endpoint {
            Endpoint::Unix(path) => {
                let (listener, file) = socket::bind(&path).await?;
                Ok(Self {
                    listener: AdminSocket::Unix(listener),
                    admission: Admission::new(token, None),
                    endpoint: Endpoint::Unix(path),
                    _file: Some(file),
                })
            }
            Endpoint::Tcp(listen) => {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::AddrInUse => BindError::InUse(listen.to_string()),
                    _ => BindError::Listen {
                        endpoint: listen.to_string(),
                        source,
                    },
                };
                let listener = spandrel_otlp::receiver::listen(&listen.to_string()).await;
                let listener = listener.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                Ok(Self {
                    listener: AdminSocket::Tcp(listener),
                    admission: Admission::new(token, Some(listen.host.clone())),
                    endpoint: Endpoint::Tcp(Listen {
                        host: address.ip().to_string(),
                        port: address.port(),
                    }),
                    _file: None,
                })
            }
        }
    }

    /// Returns the endpoint it listens on. Port 0 is replaced by the port in use.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the address with the port in use; `None` for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            AdminSocket::Tcp(listener) => listener.local_addr().ok(),
            AdminSocket::Unix(_) => None,
        }
    }

    /// Serves until the future is dropped; then the socket is removed. Changes that are under way
    /// end, and leave their line in the log, as long as the control's task answers them.
    pub async fn serve(self, control: Control) {
        let Self {
            listener,
            admission,
            endpoint: _,
            _file,
        } = self;
        let api = Arc::new(Api {
            control,
            admission,
            unauthorized: UnauthorizedLog::default(),
            changes: Changes::new(),
            history: HistoryReader::new(),
        });
        let answer = move |peer: Arc<Peer>, request| {
            let api = Arc::clone(&api);
            async move { api.answer(&peer, request).await }
        };
        web::serve(&listener, MAX_CONNECTIONS, answer).await;
    }
}

/// A listener on a unix socket or an address.
#[derive(Debug)]
enum AdminSocket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Accept for AdminSocket {
    type Stream = tokio_util::either::Either<UnixStream, TcpStream>;
    type Peer = Peer;

    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::of_unix(&stream);
                Ok((Self::Stream::Left(stream), peer))
            }
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let peer = Peer::of_tcp(&stream, address);
                Ok((Self::Stream::Right(stream), peer))
            }
        }
    }
}

/// The server's shared state, which answers requests.
struct Api {
    control: Control,
    admission: Admission,
    unauthorized: UnauthorizedLog,
    changes: Changes,
    history: HistoryReader,
}

impl Api {
    async fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer {
        if let Err(error) = self.admission.check(peer, request.headers()) {
            self.unauthorized.note(peer, &error);
            return error.answer();
        }
        let route = match Route::of(request.uri().path()) {
            Ok(route) => route,
            Err(why) => return refused(404, why),
        };
        let method = request.method();
        match route {
            Route::ReadRequest(read) if matches!(*method, Method::GET | Method::HEAD) => {
                self.read(read, request.uri().query()).await
            }
            Route::Change(asked) if *method == Method::POST => {
                let control = &self.control;
                self.changes.answer(control, peer, asked, request).await
            }
            Route::ReadRequest(_) => refused(405, "only GET is answered here".to_owned())
                .with(header::ALLOW, "GET, HEAD"),
            Route::Change(_) => {
                refused(405, "only POST is answered here".to_owned()).with(header::ALLOW, "POST")
            }
        }
    }

    async fn read(&self, read: ReadRequest, query: Option<&str>) -> Answer {
        if let ReadRequest::History(stage) = &read {
            let status = self.control.status();
            return self.history.answer(status, stage.as_deref(), query).await;
        }
        if let Err(why) = query::nothing(query) {
            return refused(400, why);
        }
        let status = self.control.status();
        match read {
            ReadRequest::Pipelines => shown(&status.pipelines()),
            ReadRequest::Stages => shown(&status.stages()),
            ReadRequest::Stage(name) => match route::find_stage(status, &name) {
                Ok(stage) => shown(&stage),
                Err(why) => refused(404, why),
            },
            ReadRequest::Shadow(name) => {
                match (status.shadow(&name), route::find_stage(status, &name)) {
                    (Some(shadow), _) => shown(&shadow),
                    (None, Err(why)) => refused(404, why),
                    (None, Ok(_)) => refused(
                        404,
                        format!(
                            "stage `{name}` has no shadow; begin one with a swap that says `shadow`"
                        ),
                    ),
                }
            }
            ReadRequest::Ledger => {
                let pipelines = status.pipelines().into_iter();
                let ledgers = pipelines.map(|pipeline| (pipeline.name, pipeline.ledger));
                shown(&ledgers.collect::<std::collections::BTreeMap<_, _>>())
            }
            ReadRequest::Quarantine(id) => self.quarantine(id).await,
            ReadRequest::Version => {
                shown(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }))
            }
            // Answered before this match, because it may wait.
            ReadRequest::History(_) => Answer::not_found(),
        }
    }

    async fn quarantine(&self, id: Option<String>) -> Answer {
        let quarantines = self.control.quarantines();
        let found = match id {
            Some(id) => quarantines
                .show(id)
                .await
                .map(|line| Answer::json(200, line)),
            None => quarantines.list().await.map(|all| shown(&all)),
        };
        found.unwrap_or_else(|refusal| change::not_done(&refusal).1)
    }
}

/// Returns a view as an answer.
fn shown(view: &impl Serialize) -> Answer {
    match serde_json::to_string(view) {
        Ok(mut json) => {
            json.push('\n');
            Answer::json(200, json)
        }
        Err(error) => refused(500, format!("the answer cannot be written: {error}")),
    }
}

/// Returns an answer that is not a 2xx.
fn refused(code: u16, error: String) -> Answer {
    let view = ErrorView { error };
    let mut json = serde_json::to_string(&view).unwrap_or_default();
    json.push('\n');
    Answer::json(code, json)
}
