//! The backend's answer: a status, and with OK a message that may count rejected items.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use spandrel_pipeline::exporter::{Outcome, Refuses};
use spandrel_wire::PartialSuccess;
use tonic::{Code, Status};

use crate::prefix::{self, PrefixReader};
use crate::status::{self, RequestLength};

/// Reads the answer, of at most `limit` bytes, to a request of this length.
pub(crate) async fn read(
    response: Response<Incoming>,
    endpoint: &str,
    limit: usize,
    length: RequestLength,
) -> Outcome {
    let (head, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return outcome(&status, &Bytes::new(), endpoint, length);
    }
    if head.status != StatusCode::OK {
        return status::not_grpc(head.status, endpoint);
    }
    match collect(body, limit).await {
        Ok((message, trailers)) => match Status::from_header_map(&trailers) {
            Some(status) => outcome(&status, &message, endpoint, length),
            None => status::not_grpc(head.status, endpoint),
        },
        Err(outcome) => outcome.into_outcome(endpoint, limit),
    }
}

enum ReplyError {
    TooLong,
    Lost(hyper::Error),
}

impl ReplyError {
    fn into_outcome(self, endpoint: &str, limit: usize) -> Outcome {
        match self {
            // OTLP says not to retry. Parts are not sent either: the backend may have the whole
            // batch.
            Self::TooLong => Outcome::Permanent {
                refuses: Refuses::Everything,
                error: format!("{endpoint} answered with more than {limit} bytes"),
            },
            Self::Lost(error) => Outcome::Retry {
                after: None,
                error: status::one_line(&format!(
                    "answer of {endpoint} was lost: {}",
                    super::chain(&error)
                )),
            },
        }
    }
}

async fn collect(mut body: Incoming, limit: usize) -> Result<(Bytes, HeaderMap), ReplyError> {
    let mut wire = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(ReplyError::Lost)?.into_data() {
            Ok(data) => {
                if wire.len() + data.len() > limit.saturating_add(prefix::LENGTH) {
                    return Err(ReplyError::TooLong);
                }
                wire.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((Bytes::from(wire), trailers))
}

fn outcome(status: &Status, wire: &Bytes, endpoint: &str, length: RequestLength) -> Outcome {
    if status.code() != Code::Ok {
        return status::outcome(status, endpoint, length);
    }
    let Some(PartialSuccess { rejected, message }) = decode(wire.clone()) else {
        // The backend has the batch. That it cannot say so clearly is worth a log line, not a
        // retry.
        return Outcome::Partial {
            rejected: 0,
            message: format!("{endpoint} answered OK with a response that is not OTLP's"),
        };
    };
    if rejected == 0 && message.is_empty() {
        return Outcome::Sent;
    }
    Outcome::Partial {
        rejected,
        message: status::one_line(&message),
    }
}

/// Decodes a response. No message at all counts as an empty one.
fn decode(mut wire: Bytes) -> Option<PartialSuccess> {
    if wire.is_empty() {
        return Some(PartialSuccess::default());
    }
    let prefix = PrefixReader::default().take(&mut wire).ok()??;
    if prefix.compressed || prefix.length != wire.len() {
        return None;
    }
    PartialSuccess::decode(&wire)
}
