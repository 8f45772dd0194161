//! A lane of the generator, which sends one request after the other.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::write::GzEncoder;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use spandrel_wire::{PartialSuccess, Signal};

use super::{DueRequest, LoadPlan};
use crate::settings::Compression;
use crate::template::{PREFIX, PatchValues, Tally, now_ns};

/// A request that was answered with OK: its number, and the template that it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedRequest {
    pub(crate) request: u32,
    pub(crate) template: u8,
}

/// The results of requests.
#[derive(Debug, Default)]
pub(crate) struct CallResults {
    pub(crate) accepted: Vec<AcceptedRequest>,
    pub(crate) sent_tally: Tally,
    pub(crate) accepted_tally: Tally,
    /// Items that an OK took back: partial success.
    pub(crate) rejected: u64,
    /// The number of refused items, by the status that refused them.
    pub(crate) refused: BTreeMap<u8, u64>,
    /// Items without an answer: the connection broke, or time was up.
    pub(crate) unanswered: u64,
    pub(crate) message_bytes: u64,
    pub(crate) requests: u64,
    pub(crate) reconnects: u64,
}

impl CallResults {
    pub(crate) fn merge(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        self.sent_tally.add(other.sent_tally);
        self.accepted_tally.add(other.accepted_tally);
        self.rejected += other.rejected;
        for (code, items) in other.refused {
            *self.refused.entry(code).or_default() += items;
        }
        self.unanswered += other.unanswered;
        self.message_bytes += other.message_bytes;
        self.requests += other.requests;
        self.reconnects += other.reconnects;
    }
}

/// A request's bytes, which are patched in place and sent again.
#[derive(Debug)]
struct RequestCopy {
    template: usize,
    /// Shared with HTTP/2 while it is being sent.
    bytes: Bytes,
}

/// Sends requests, with one under way at a time.
#[derive(Debug)]
pub(crate) struct Lane {
    copies: Vec<RequestCopy>,
    next_copy: usize,
    head: Request<()>,
    pause: Duration,
}

/// The pause of a lane after a refusal. It doubles with each refusal in a row, as in SDKs. A load
/// of a fixed rate does not pause: its requests are due all the same.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

enum CallResult {
    Accepted { rejected: u64 },
    Refused(u8),
    TimedOut,
    Broken,
}

impl Lane {
    pub(crate) fn new(plan: &LoadPlan, templates: &[usize]) -> Self {
        let copies = templates.iter().filter_map(|template| {
            let bytes = plan.templates.get(*template)?.copy().freeze();
            Some(RequestCopy {
                template: *template,
                bytes,
            })
        });
        Self {
            copies: copies.collect(),
            next_copy: 0,
            head: head(plan.load.signal, plan.load.compression),
            pause: FIRST_PAUSE,
        }
    }

    /// Sends until the phase is over or the connection broke. Returns true with the answers if it
    /// broke.
    pub(crate) async fn run(
        mut self,
        plan: Arc<LoadPlan>,
        mut requests: SendRequest<Bytes>,
    ) -> (Self, CallResults, bool) {
        let mut answers = CallResults::default();
        while let Some(due) = plan.take_request() {
            if let Some(due_ns) = due.due_ns
                && !plan.wait(due_ns).await
            {
                break;
            }
            let (template, body, tally) = self.body(&plan, due);
            answers.requests += 1;
            answers.sent_tally.add(tally);
            answers.message_bytes += u64::try_from(body.len()).unwrap_or(0);
            let head = self.head.clone();
            let (returned, answer) = exchange(requests, head, body, plan.timeout).await;
            match answer {
                CallResult::Accepted { rejected } => {
                    answers.rejected += rejected;
                    answers.accepted_tally.add(tally);
                    plan.accepted.fetch_add(tally.items(), Ordering::Relaxed);
                    let request = u32::try_from(due.request).unwrap_or(u32::MAX);
                    let template = u8::try_from(template).unwrap_or(u8::MAX);
                    answers.accepted.push(AcceptedRequest { request, template });
                    self.pause = FIRST_PAUSE;
                }
                CallResult::Refused(code) => {
                    *answers.refused.entry(code).or_default() += tally.items();
                    if due.due_ns.is_none() {
                        tokio::time::sleep(self.pause).await;
                        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                    }
                }
                CallResult::TimedOut | CallResult::Broken => answers.unanswered += tally.items(),
            }
            plan.answered.fetch_add(tally.items(), Ordering::Relaxed);
            match returned {
                Some(returned) => requests = returned,
                None => return (self, answers, true),
            }
        }
        (self, answers, false)
    }

    /// Returns the next request's bytes: patched in place unless HTTP/2 still holds them.
    fn body(&mut self, plan: &LoadPlan, due: DueRequest) -> (usize, Bytes, Tally) {
        let nth = self.next_copy;
        self.next_copy = (nth + 1) % self.copies.len().max(1);
        let Some(copy) = self.copies.get_mut(nth) else {
            return (0, Bytes::new(), Tally::default());
        };
        let Some(template) = plan.templates.get(copy.template) else {
            return (0, Bytes::new(), Tally::default());
        };
        let taken = std::mem::take(&mut copy.bytes).try_into_mut();
        let mut bytes = taken.unwrap_or_else(|_| template.copy());
        let stamp = PatchValues {
            run: plan.run,
            is_warm_up: due.is_warm_up,
            first: due.request * plan.batch(),
            time: due.due_ns.unwrap_or_else(now_ns),
        };
        template.patch(&mut bytes, &stamp);
        copy.bytes = bytes.freeze();
        let body = match plan.load.compression {
            Compression::None => copy.bytes.clone(),
            Compression::Gzip => gzipped(&copy.bytes),
        };
        (copy.template, body, template.tally)
    }
}

fn head(signal: Signal, compression: Compression) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = Uri::builder()
        .scheme("http")
        .authority("bench")
        .path_and_query(signal.export_path())
        .build()
        .unwrap_or_default();
    let headers = head.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("user-agent", HeaderValue::from_static("spandrel-bench"));
    if compression == Compression::Gzip {
        headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    }
    head
}

/// Returns a gRPC message with its prefix, compressed. Speed matters more than size here, as for
/// SDKs.
fn gzipped(plain: &[u8]) -> Bytes {
    let message = plain.get(PREFIX..).unwrap_or_default();
    let mut encoder = GzEncoder::new(vec![0; PREFIX], flate2::Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(message).unwrap_or_default();
    let mut out = BytesMut::from(Bytes::from(encoder.finish().unwrap_or_default()));
    let length = u32::try_from(out.len().saturating_sub(PREFIX)).unwrap_or(u32::MAX);
    if let Some((prefix, _)) = out.split_at_mut_checked(PREFIX) {
        let [a, b, c, d] = length.to_be_bytes();
        prefix.copy_from_slice(&[1, a, b, c, d]);
    }
    out.freeze()
}

/// Makes one call. Returns the handle for the next request, unless the connection broke.
async fn exchange(
    requests: SendRequest<Bytes>,
    head: Request<()>,
    body: Bytes,
    timeout: Duration,
) -> (Option<SendRequest<Bytes>>, CallResult) {
    let Ok(mut requests) = requests.ready().await else {
        return (None, CallResult::Broken);
    };
    let Ok((response, mut stream)) = requests.send_request(head, false) else {
        return (None, CallResult::Broken);
    };
    if stream.send_data(body, true).is_err() {
        return (None, CallResult::Broken);
    }
    match tokio::time::timeout(timeout, answer(response)).await {
        Ok(Ok(answer)) => (Some(requests), answer),
        // The stream alone was reset: the next request finds out whether the connection lives.
        Ok(Err(error)) if error.is_reset() => (Some(requests), CallResult::Broken),
        Ok(Err(_)) => (None, CallResult::Broken),
        Err(_) => (Some(requests), CallResult::TimedOut),
    }
}

/// The time that an empty export may take if the collector is ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// Exports a request of no items. Returns true if it was answered with OK.
pub(super) async fn export_nothing(requests: SendRequest<Bytes>, signal: Signal) -> bool {
    let body = Bytes::from_static(&[0; PREFIX]);
    let head = head(signal, Compression::None);
    let (_, answer) = exchange(requests, head, body, READY_WITHIN).await;
    matches!(answer, CallResult::Accepted { .. })
}

/// The status that an answer without a readable status counts as: `UNKNOWN`.
const UNKNOWN: u8 = 2;

async fn answer(response: ResponseFuture) -> Result<CallResult, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    // An error may come without a body: its status is among the headers.
    if let Some(code) = status(&parts.headers) {
        return Ok(if code == 0 {
            CallResult::Accepted { rejected: 0 }
        } else {
            CallResult::Refused(code)
        });
    }
    let mut rejected = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        rejected += data.get(PREFIX..).map_or(0, rejected_items);
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(match status(&trailers) {
        Some(0) => CallResult::Accepted { rejected },
        Some(code) => CallResult::Refused(code),
        None => CallResult::Refused(UNKNOWN),
    })
}

/// Returns the number of items that a success took back.
fn rejected_items(response: &[u8]) -> u64 {
    PartialSuccess::decode(response).map_or(0, |partial| partial.rejected)
}

fn status(headers: &HeaderMap) -> Option<u8> {
    let value = headers.get("grpc-status")?;
    Some(value.to_str().ok()?.parse().unwrap_or(UNKNOWN))
}
