//! A client of the collector's admin API, as an operator's script is one: a request at a time over
//! the unix socket, answers as JSON.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::until::until;

/// A client; each request has a connection of its own, so that clones can ask at the same time.
#[derive(Clone, Debug)]
pub struct Admin {
    socket: PathBuf,
}

/// An answer that is HTTP, good or bad.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Value,
}

/// What became of a swap, a rollback, a promotion, a cancellation.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// In a word or two.
    pub outcome: String,
    /// The generation that it is about.
    pub generation: u64,
    /// The generation that ran before.
    pub previous: u64,
    /// Of the module.
    pub sha256: String,
    /// What became of the state.
    pub state: String,
    /// From the request to the end.
    pub elapsed_ms: u64,
    /// The longest pause of a shard.
    pub pause_us: u64,
}

/// One line of the history.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// Counts up.
    pub sequence: u64,
    /// Of which stage.
    pub stage: String,
    /// Of which generation.
    pub generation: u64,
    /// What happened.
    pub event: String,
    /// Who asked for it.
    pub by: String,
    /// Why, or what became of the state.
    pub detail: String,
}

/// Where all items of a pipeline are.
#[derive(Clone, Debug, Deserialize)]
pub struct Books {
    /// Offered by senders.
    pub received: u64,
    /// Whose sender was told no.
    pub refused: u64,
    /// Let go with a reason.
    pub dropped: u64,
    /// On their way to exporters.
    pub forwarded: u64,
    /// Inside, waiting for a verdict.
    pub held: u64,
    /// Inside, on their way.
    pub in_flight: u64,
    /// Whether everything is accounted for at this moment.
    pub balanced: bool,
}

impl Answer {
    /// Reads a good answer.
    ///
    /// # Errors
    /// What the collector refused, or what cannot be read.
    pub fn ok<T: DeserializeOwned>(self) -> Result<T> {
        ensure!(self.code == 200, "{}: {}", self.code, self.body);
        serde_json::from_value(self.body.clone()).with_context(|| self.body.to_string())
    }

    /// The message of an answer that is a refusal with this code.
    ///
    /// # Errors
    /// When it is not.
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
    /// A client of the collector that listens at this endpoint (`unix:PATH`).
    ///
    /// # Errors
    /// When it is something else.
    pub fn new(endpoint: &str) -> Result<Self> {
        let socket = endpoint.strip_prefix("unix:");
        let socket = socket.with_context(|| format!("{endpoint:?} is no unix socket"))?;
        Ok(Self {
            socket: PathBuf::from(socket),
        })
    }

    /// Asks, with a body of this media type.
    ///
    /// # Errors
    /// When nobody answers in HTTP.
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
        // Who is refused early is answered before all is sent.
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

    /// What a path shows.
    ///
    /// # Errors
    /// When it is refused, or is something else.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask("GET", path, "", b"").await?.ok()
    }

    /// Asks for a swap of a stage (`wasm/NAME`), with the request's JSON.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask_swap(&self, stage: &str, request: &Value) -> Result<Answer> {
        let path = format!("/v1/stages/{}/swap", encoded(stage));
        let body = request.to_string();
        self.ask("POST", &path, "application/json", body.as_bytes())
            .await
    }

    /// Swaps a stage to this module.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn swap(&self, stage: &str, module: &Path) -> Result<Report> {
        let request = json!({ "module": module });
        self.ask_swap(stage, &request).await?.ok()
    }

    /// Sends a module to swap a stage to; `query` is what stands behind the `?`.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn upload(&self, stage: &str, query: &str, module: &[u8]) -> Result<Answer> {
        let path = format!("/v1/stages/{}/swap?{query}", encoded(stage));
        self.ask("POST", &path, "application/wasm", module).await
    }

    /// Asks for `rollback`, `promote` or `cancel` of a stage.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ask_to(&self, what: &str, stage: &str) -> Result<Answer> {
        let path = format!("/v1/stages/{}/{what}", encoded(stage));
        self.ask("POST", &path, "", b"").await
    }

    /// A stage as it is shown.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn stage(&self, stage: &str) -> Result<Value> {
        self.get(&format!("/v1/stages/{}", encoded(stage))).await
    }

    /// The number of the generation that runs in a stage.
    ///
    /// # Errors
    /// When the stage is not there.
    pub async fn running(&self, stage: &str) -> Result<u64> {
        let view = self.stage(stage).await?;
        let number = view.pointer("/running/number").and_then(Value::as_u64);
        number.with_context(|| view.to_string())
    }

    /// The history of all stages, oldest first.
    ///
    /// # Errors
    /// When it is not served.
    pub async fn history(&self) -> Result<Vec<Event>> {
        self.get("/v1/history").await
    }

    /// Waits for an event of this kind of a stage, newer than `after`.
    ///
    /// # Errors
    /// When there is none in time; the message shows the history.
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

    /// The books of a pipeline, and all that is shown with them.
    ///
    /// # Errors
    /// When there is no such pipeline.
    pub async fn pipeline(&self, name: &str) -> Result<Value> {
        let all: Vec<Value> = self.get("/v1/pipelines").await?;
        let named = |view: &Value| view.get("name").and_then(Value::as_str) == Some(name);
        all.into_iter().find(named).context("no such pipeline")
    }

    /// The books of the pipeline `traces`.
    ///
    /// # Errors
    /// When they are not served.
    pub async fn books(&self) -> Result<Books> {
        let view = self.pipeline("traces").await?;
        let ledger = view.get("ledger").cloned().unwrap_or_default();
        Ok(serde_json::from_value(ledger)?)
    }
}

/// A stage's name as one part of a path.
fn encoded(stage: &str) -> String {
    stage.replace('/', "%2F")
}
