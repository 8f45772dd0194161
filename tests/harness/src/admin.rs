//! A client of the collector's admin API, used like an operator's script: one request at a time
//! over the unix socket, with JSON answers.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::until::until;

/// A client. Each request has a connection of its own, so clones can send requests at the same
/// time.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

/// An HTTP answer, successful or not.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Value,
}

/// The result of a swap, a rollback, a promotion or a cancellation.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The outcome, in a word or two.
    pub outcome: String,
    /// The generation that the report is about.
    pub generation: u64,
    /// The generation that ran before.
    pub previous: u64,
    /// The SHA-256 of the module.
    pub sha256: String,
    /// The result for the state.
    pub state: String,
    /// The time from the request to the end.
    pub elapsed_ms: u64,
    /// The longest pause of a shard.
    pub pause_us: u64,
}

/// One line of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// The number of the event; it counts up.
    pub sequence: u64,
    /// The stage.
    pub stage: String,
    /// The generation.
    pub generation: u64,
    /// The kind of the event.
    pub event: String,
    /// The one who asked for it.
    pub by: String,
    /// The reason, or the result for the state.
    pub detail: String,
}

/// The counts of all items of a pipeline.
#[derive(Clone, Debug, Deserialize)]
pub struct Books {
    /// Items that senders offered.
    pub received: u64,
    /// Items that were refused to their sender.
    pub refused: u64,
    /// Items that were dropped with a reason.
    pub dropped: u64,
    /// Items that were passed on to exporters.
    pub forwarded: u64,
    /// Items inside that wait for a verdict.
    pub held: u64,
    /// Items inside that are on their way.
    pub in_flight: u64,
    /// True if everything is accounted for at this moment.
    pub balanced: bool,
}

impl Answer {
    /// Reads a successful answer.
    ///
    /// # Errors
    /// Returns the collector's refusal, or the error of an answer that cannot be read.
    pub fn ok<T: DeserializeOwned>(self) -> Result<T> {
        ensure!(self.code == 200, "{}: {}", self.code, self.body);
        serde_json::from_value(self.body.clone()).with_context(|| self.body.to_string())
    }

    /// Returns the message of a refusal with this code.
    ///
    /// # Errors
    /// Returns an error if the code is another one.
    pub fn refusal(self, code: u16) -> Result<String> {
        ensure!(
            self.code == code,
            "{} instead of {code}: {}",
            self.code,
            self.body
        );
        let error = self.body.get("error").and_then(Value::as_str);
        error
            .map(str::to_owned)
            .context("a refusal without `error`")
    }
}

impl Admin {
    /// Makes a client of the collector that listens at this endpoint (`unix:PATH`).
    ///
    /// # Errors
    /// Returns an error if the endpoint is no unix socket.
    pub fn new(endpoint: &str) -> Result<Self> {
        let socket = endpoint.strip_prefix("unix:");
        let socket = socket.with_context(|| format!("{endpoint:?} is no unix socket"))?;
        Ok(Self {
            socket: PathBuf::from(socket),
        })
    }

    /// Sends a request with a body of this media type.
    ///
    /// # Errors
    /// Returns an error if there is no HTTP answer.
    pub async fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let kind = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Type: {kind}\r\n")
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // The collector may refuse a request, and close, before it has read the whole body.
        let sent = stream.write_all(body).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer).await;
        if answer.is_empty() {
            sent.and(read).context("no answer")?;
        }
        let answer = String::from_utf8(answer)?;
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            bail!("{method} {path} answered {answer:?}");
        };
        let code = head.split(' ').nth(1).context("no status line")?.parse()?;
        Ok(Answer {
            code,
            body: serde_json::from_str(body).with_context(|| format!("{path}: {answer}"))?,
        })
    }

    /// Returns the JSON at a path.
    ///
    /// # Errors
    /// Returns an error if the request is refused or the JSON has another form.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask("GET", path, "", b"").await?.ok()
    }

    /// Asks for a swap of a stage (`wasm/NAME`), with the request's JSON.
    ///
    /// # Errors
    /// Returns an error if there is no answer.
    pub async fn ask_swap(&self, stage: &str, request: &Value) -> Result<Answer> {
        let path = format!("/v1/stages/{}/swap", encoded(stage));
        let body = request.to_string();
        self.ask("POST", &path, "application/json", body.as_bytes())
            .await
    }

    /// Swaps a stage to this module.
    ///
    /// # Errors
    /// Returns an error if the swap is refused.
    pub async fn swap(&self, stage: &str, module: &Path) -> Result<Report> {
        let request = json!({ "module": module });
        self.ask_swap(stage, &request).await?.ok()
    }

    /// Uploads a module and asks for a swap of a stage to it. `query` is the part after the `?`.
    ///
    /// # Errors
    /// Returns an error if there is no answer.
    pub async fn upload(&self, stage: &str, query: &str, module: &[u8]) -> Result<Answer> {
        let path = format!("/v1/stages/{}/swap?{query}", encoded(stage));
        self.ask("POST", &path, "application/wasm", module).await
    }

    /// Asks for `rollback`, `promote` or `cancel` of a stage.
    ///
    /// # Errors
    /// Returns an error if there is no answer.
    pub async fn ask_to(&self, what: &str, stage: &str) -> Result<Answer> {
        let path = format!("/v1/stages/{}/{what}", encoded(stage));
        self.ask("POST", &path, "", b"").await
    }

    /// Returns the view of a stage.
    ///
    /// # Errors
    /// Returns an error if there is no such stage.
    pub async fn stage(&self, stage: &str) -> Result<Value> {
        self.get(&format!("/v1/stages/{}", encoded(stage))).await
    }

    /// Returns the number of a stage's running generation.
    ///
    /// # Errors
    /// Returns an error if there is no such stage.
    pub async fn running(&self, stage: &str) -> Result<u64> {
        let view = self.stage(stage).await?;
        let number = view.pointer("/running/number").and_then(Value::as_u64);
        number.with_context(|| view.to_string())
    }

    /// Returns the history of all stages, oldest first.
    ///
    /// # Errors
    /// Returns an error if the history is not served.
    pub async fn history(&self) -> Result<Vec<Event>> {
        self.get("/v1/history").await
    }

    /// Waits for an event of this kind of a stage, newer than `after`.
    ///
    /// # Errors
    /// Returns an error if there is none in time; the message shows the history.
    pub async fn wait_for(&self, stage: &str, kind: &str, after: u64) -> Result<Event> {
        let what = format!("{kind:?} of {stage}");
        let found = until(&what, || async {
            let history = self.history().await.ok()?;
            history
                .into_iter()
                .find(|event| event.stage == stage && event.event == kind && event.sequence > after)
        });
        match found.await {
            Ok(event) => Ok(event),
            Err(error) => Err(error.context(format!("{:?}", self.history().await))),
        }
    }

    /// Returns the view of a pipeline, with its ledger.
    ///
    /// # Errors
    /// Returns an error if there is no such pipeline.
    pub async fn pipeline(&self, name: &str) -> Result<Value> {
        let all: Vec<Value> = self.get("/v1/pipelines").await?;
        let named = |view: &Value| view.get("name").and_then(Value::as_str) == Some(name);
        all.into_iter().find(named).context("no such pipeline")
    }

    /// Returns the counts of the pipeline `traces`.
    ///
    /// # Errors
    /// Returns an error if they are not served.
    pub async fn books(&self) -> Result<Books> {
        let view = self.pipeline("traces").await?;
        let ledger = view.get("ledger").cloned().unwrap_or_default();
        Ok(serde_json::from_value(ledger)?)
    }
}

/// Encodes the name of a stage as one part of a path.
fn encoded(stage: &str) -> String {
    stage.replace('/', "%2F")
}
