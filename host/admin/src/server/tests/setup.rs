//! A fake control, and a client that sends exactly what it is told to send.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use spandrel_collector::control::{Command, Control};
use spandrel_collector::quarantine::Quarantine;
use spandrel_collector::refusal::Refusal;
use spandrel_collector::report::{
    EventView, PipelineView, ReloadReport, StageView, SwapReport, SwapRequest,
};
use spandrel_collector::status::{PipelineStatus, Snapshot, Status};
use spandrel_config::extension::Admin;
use spandrel_config::net::{Endpoint, Listen};
use spandrel_pipeline::ledger::Ledger;
use spandrel_pipeline::stage::Comparison;
use spandrel_wire::Signal;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::server::Listener;

pub(crate) const TOKEN: &str = "a-token-of-enough-bytes";

/// A request to the fake control: one line, the swap request and the upload.
pub(crate) type ChangeRequest = (String, Option<SwapRequest>, Option<Vec<u8>>);

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) status: Arc<Status>,
    pub(crate) asked: Mutex<Vec<ChangeRequest>>,
    /// Changes of `wasm/slow` wait for this.
    pub(crate) go: Notify,
}

/// The stages, each named for the outcome of its changes.
const STAGES: [&str; 6] = [
    "wasm/tag",
    "wasm/bad",
    "wasm/busy",
    "wasm/none",
    "wasm/late",
    "wasm/slow",
];

/// Returns what the fake shows, with one pipeline that has this quarantine.
pub(crate) fn snapshot(quarantine: Option<Quarantine>) -> Snapshot {
    let pipeline = PipelineStatus {
        view: PipelineView {
            name: "traces".to_owned(),
            stages: STAGES.map(str::to_owned).to_vec(),
            ..PipelineView::default()
        },
        ledger: Ledger::new("traces", Signal::Traces, []),
        queues: Arc::new(Vec::new),
        journal: None,
        quarantine,
    };
    let stage = |name: &str| StageView {
        stage: name.to_owned(),
        ..StageView::default()
    };
    Snapshot {
        pipelines: vec![pipeline],
        stages: STAGES.map(stage).to_vec(),
        ..Snapshot::default()
    }
}

impl Fake {
    pub(crate) fn event(&self, stage: &str) {
        self.status.add(EventView {
            stage: stage.to_owned(),
            ..EventView::default()
        });
    }

    async fn outcome(&self, what: &str, stage: String) -> Result<SwapReport, Refusal> {
        match stage.as_str() {
            "wasm/bad" => return Err(Refusal::Bad("it traps in configure".to_owned())),
            "wasm/busy" => return Err(Refusal::Conflict("another swap is under way".to_owned())),
            "wasm/none" => return Err(Refusal::NotFound("there is none before it".to_owned())),
            "wasm/late" => return Err(Refusal::Draining),
            "wasm/slow" => self.go.notified().await,
            _ => {}
        }
        Ok(SwapReport {
            stage,
            outcome: what.to_owned(),
            ..SwapReport::default()
        })
    }

    async fn work(self: Arc<Self>, mut commands: mpsc::Receiver<Command>) {
        let note = |asked: ChangeRequest| self.asked.lock().expect("not poisoned").push(asked);
        while let Some(command) = commands.recv().await {
            let (what, stage, reply) = match command {
                Command::Swap {
                    stage,
                    request,
                    upload,
                    by,
                    reply,
                } => {
                    note((
                        format!("{} by {}", stage, by.label()),
                        Some(request),
                        upload,
                    ));
                    ("published", stage, reply)
                }
                Command::Rollback { stage, reply } => ("rolled back", stage, reply),
                Command::Promote { stage, reply, .. } => ("promoted", stage, reply),
                Command::Cancel { stage, reply } => ("cancelled", stage, reply),
                Command::Reload { by, reply } => {
                    note((format!("reload by {}", by.label()), None, None));
                    let changes = vec!["stage wasm/tag: another config".to_owned()];
                    let report = ReloadReport {
                        changes,
                        left: Vec::new(),
                        elapsed_ms: 1,
                        ..ReloadReport::default()
                    };
                    // The client may be gone.
                    reply.send(Ok(report)).unwrap_or_default();
                    continue;
                }
            };
            let outcome = self.outcome(what, stage).await;
            reply.send(outcome).unwrap_or_default();
        }
    }
}

/// An admin API that serves until it is dropped.
pub(crate) struct Served {
    pub(crate) fake: Arc<Fake>,
    pub(crate) endpoint: Endpoint,
    pub(crate) log: Log,
    _tasks: JoinSet<()>,
    _folder: TempDir,
    _logging: DefaultGuard,
}

impl Served {
    /// Starts one on a unix socket, without a token.
    pub(crate) async fn unix() -> Self {
        Self::start(|folder| Admin {
            endpoint: Some(Endpoint::Unix(folder.join("admin.sock"))),
            token_file: None,
        })
        .await
    }

    /// Starts one on a port of the loopback, with [`TOKEN`].
    pub(crate) async fn tcp() -> Self {
        Self::start(|folder| Admin {
            endpoint: Some(Endpoint::Tcp(Listen {
                host: "127.0.0.1".to_owned(),
                port: 0,
            })),
            token_file: Some(folder.join("token")),
        })
        .await
    }

    async fn start(settings: impl FnOnce(PathBuf) -> Admin) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), TOKEN).expect("written");
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(false)
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let settings = settings(folder.path().to_owned());
        let listener = Listener::bind(&settings).await.expect("bound");
        let port = listener.address().map(|address| address.port());
        assert_ne!(port, Some(0), "it is the one that port 0 became");
        let fake = Arc::new(Fake::default());
        fake.status.publish(snapshot(None));
        let seen = Comparison {
            compared: 7,
            ..Comparison::default()
        };
        fake.status.set_shadow("wasm/tag", (1, 2), seen);
        let (control, commands) = Control::new(Arc::clone(&fake.status));
        let mut tasks = JoinSet::new();
        let endpoint = listener.endpoint().clone();
        tasks.spawn(fake.clone().work(commands.0));
        tasks.spawn(fake.clone().work(commands.1));
        tasks.spawn(listener.serve(control));
        Self {
            fake,
            endpoint,
            log,
            _tasks: tasks,
            _folder: folder,
            _logging: logging,
        }
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> tokio_util::either::Either<UnixStream, TcpStream> {
        use tokio_util::either::Either;
        match &self.endpoint {
            Endpoint::Unix(path) => {
                Either::Left(UnixStream::connect(path).await.expect("listened on"))
            }
            Endpoint::Tcp(listen) => {
                let stream = TcpStream::connect(listen.to_string()).await;
                Either::Right(stream.expect("listened on"))
            }
        }
    }

    /// Sends a request as it is, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> (u16, HeaderMap, String) {
        let stream = TokioIo::new(self.connect().await);
        let handshake = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, connection) = handshake.expect("HTTP");
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(body.to_vec()).expect("text");
        (head.status.as_u16(), head.headers, body)
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&self, method: &str, path: &str) -> (u16, HeaderMap, String) {
        self.send(
            request(method, path)
                .body(Full::default())
                .expect("a request"),
        )
        .await
    }

    pub(crate) async fn post(&self, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let request = request("POST", path)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::from(body.to_vec()))
            .expect("a request");
        let (code, _, body) = self.send(request).await;
        (code, body)
    }
}

/// Returns a request with the headers that every client sends, and the token.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
}

/// The log output of this test.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("not poisoned");
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn lines_with(&self, word: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| line.contains(word));
        lines
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Lets other tasks run until `so` is true. Panics after a million attempts.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..1_000_000 {
        if so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}
