//! Requests that change something: reads the body, asks the control, logs the outcome.

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use spandrel_collector::control::Control;
use spandrel_collector::refusal::Refusal;
use spandrel_collector::report::SwapRequest;
use spandrel_collector::stage::Watch;
use spandrel_collector::trigger::Trigger;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::admission::Peer;
use super::audit::Audit;
use super::route::{ChangeKind, ChangeRequest};
use super::{MAX_JSON, MAX_UPLOAD, query, refused, route, shown};
use crate::web::Answer;

/// The time limit for a body. A slow one holds a connection, and for an upload the only upload
/// permit. The limit is enough for the largest body at 1 MiB per second.
const BODY_TIMEOUT: Duration = Duration::from_secs(64);

/// A module that came with the request, and the permit to have it in memory.
type Upload = (Vec<u8>, OwnedSemaphorePermit);

/// Answers requests for changes.
pub(super) struct Changes {
    /// The changes that are under way. They outlive the connection that asked for them.
    tasks: TaskTracker,
    /// Allows one upload in memory at a time.
    uploads: Arc<Semaphore>,
}

impl Changes {
    pub(super) fn new() -> Self {
        Self {
            tasks: TaskTracker::new(),
            uploads: Arc::new(Semaphore::new(1)),
        }
    }

    /// Makes the change that a request asks for.
    pub(super) async fn answer(
        &self,
        control: &Control,
        peer: &Peer,
        asked: ChangeRequest,
        request: Request<Incoming>,
    ) -> Answer {
        let audit = Audit::begin(peer, &asked);
        let (swap, upload) = match self.understand(control, &asked, request).await {
            Ok(understood) => understood,
            Err(answer) => {
                audit.end(&format!("refused: {}", answer.1));
                return answer.into();
            }
        };
        let control = control.clone();
        let done = self.tasks.spawn(async move {
            let (outcome, answer) = perform(&control, asked, swap, upload).await;
            audit.end(&outcome);
            answer
        });
        // The task ends early only with the runtime.
        done.await
            .unwrap_or_else(|_| refused(503, Refusal::Draining.to_string()))
    }

    async fn understand(
        &self,
        control: &Control,
        asked: &ChangeRequest,
        request: Request<Incoming>,
    ) -> Result<(SwapRequest, Option<Upload>), Rejection> {
        let of_stage = !matches!(asked.what, ChangeKind::Reload | ChangeKind::Quarantine(_));
        if of_stage {
            let found = route::find_stage(control.status(), &asked.name);
            found.map_err(|why| Rejection(404, why))?;
        }
        let query = request.uri().query();
        if asked.what != ChangeKind::Swap {
            let swap = match asked.what {
                ChangeKind::Promote => query::promotion(query),
                _ => query::nothing(query).map(|()| SwapRequest::default()),
            };
            let swap = swap.map_err(Rejection::bad)?;
            query::check(&swap).map_err(Rejection::bad)?;
            if !request.body().is_end_stream() {
                let why = format!("`{}` takes no body; send it without", asked.what.label());
                return Err(Rejection::bad(why));
            }
            return Ok((swap, None));
        }
        let understood = match content_type(request.headers()).as_deref() {
            Some("application/wasm") => {
                let swap = query::swap(query).map_err(Rejection::bad)?;
                let place = Arc::clone(&self.uploads).try_acquire_owned();
                let place = place.map_err(|_| {
                    Rejection(
                        409,
                        "another upload is under way: try again when it is done".to_owned(),
                    )
                })?;
                let module = read(request.into_body(), MAX_UPLOAD).await?;
                if module.is_empty() {
                    return Err(Rejection::bad(
                        "the body is empty; send the module's bytes".to_owned(),
                    ));
                }
                (swap, Some((module, place)))
            }
            Some("application/json") => {
                query::nothing(query).map_err(Rejection::bad)?;
                let json = read(request.into_body(), MAX_JSON).await?;
                (from_json(&json)?, None)
            }
            None if request.body().is_end_stream() => {
                query::nothing(query).map_err(Rejection::bad)?;
                (SwapRequest::default(), None)
            }
            _ => {
                let why = "send application/json, or the module itself as application/wasm";
                return Err(Rejection(415, why.to_owned()));
            }
        };
        query::check(&understood.0).map_err(Rejection::bad)?;
        Ok(understood)
    }
}

/// A refusal before the control was asked: the code and the reason.
struct Rejection(u16, String);

impl Rejection {
    fn bad(why: String) -> Self {
        Self(400, why)
    }
}

impl From<Rejection> for Answer {
    fn from(Rejection(code, why): Rejection) -> Self {
        refused(code, why)
    }
}

async fn perform(
    control: &Control,
    asked: ChangeRequest,
    swap: SwapRequest,
    upload: Option<Upload>,
) -> (String, Answer) {
    let ChangeRequest { what, name: stage } = asked;
    let report = match what {
        ChangeKind::Swap => {
            let (module, _place) = upload.unzip();
            control.swap(stage, swap, module, Trigger::Admin).await
        }
        ChangeKind::Rollback => control.rollback(stage).await,
        ChangeKind::Promote => control.promote(stage, Watch::of(&swap)).await,
        ChangeKind::Cancel => control.cancel(stage).await,
        ChangeKind::Reload => {
            return match control.reload(Trigger::Admin).await {
                Ok(report) => {
                    let outcome = format!("{} changes", report.changes.len());
                    (outcome, shown(&report))
                }
                Err(refusal) => not_done(&refusal),
            };
        }
        ChangeKind::Quarantine(action) => {
            let id = (!stage.is_empty()).then_some(stage);
            return match control.quarantine(action, id).await {
                Ok(report) => {
                    let outcome = format!("{} done, {} kept", report.done.len(), report.kept.len());
                    (outcome, shown(&report))
                }
                Err(refusal) => not_done(&refusal),
            };
        }
    };
    match report {
        Ok(report) => (report.outcome.clone(), shown(&report)),
        Err(refusal) => not_done(&refusal),
    }
}

pub(super) fn not_done(refusal: &Refusal) -> (String, Answer) {
    let code = match refusal {
        Refusal::NotFound(_) => 404,
        Refusal::Bad(_) => 422,
        Refusal::Conflict(_) => 409,
        Refusal::Draining => 503,
    };
    let why = refusal.to_string();
    (format!("refused: {why}"), refused(code, why))
}

/// Returns the media type without its parameters.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next()?;
    Some(kind.trim().to_ascii_lowercase())
}

/// Reads the whole body.
async fn read(body: Incoming, most: usize) -> Result<Vec<u8>, Rejection> {
    let too_large = || {
        let why = format!("the body is larger than {} MiB", most >> 20);
        Rejection(413, why)
    };
    // A client that announces a body that is too large gets the answer before it sends the body.
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => {
            let mut body = body.aggregate();
            let mut bytes = vec![0; body.remaining()];
            body.copy_to_slice(&mut bytes);
            Ok(bytes)
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Rejection::bad(format!("the body ended early: {error}"))),
        Err(_) => {
            let why = format!("the body did not come within {} s", BODY_TIMEOUT.as_secs());
            Err(Rejection(408, why))
        }
    }
}

fn from_json(json: &[u8]) -> Result<SwapRequest, Rejection> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let request = serde_path_to_error::deserialize(&mut reader);
    let request = request.map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match path.as_str() {
            "." | "?" => Rejection::bad(format!("the body is no request: {cause}")),
            key => Rejection::bad(format!("`{key}`: {cause}")),
        }
    })?;
    reader
        .end()
        .map_err(|error| Rejection::bad(format!("the body is no request: {error}")))?;
    Ok(request)
}
