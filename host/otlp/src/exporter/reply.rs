//! The backend's answer: a status, and with OK a message that may count rejected items.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use spandrel_pipeline::exporter::{Outcome, Refuses};
use tonic::{Code, Status};

use crate::prefix::{self, PrefixReader};
use crate::status::{self, RequestLength};

/// The response of every OTLP service: the three differ only in the names of their fields.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

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
    let Some(reply) = decode(wire.clone()) else {
        // The backend has the batch. That it cannot say so clearly is worth a log line, not a
        // retry.
        return Outcome::Partial {
            rejected: 0,
            message: format!("{endpoint} answered OK with a response that is not OTLP's"),
        };
    };
    let partial = reply.partial_success.unwrap_or_default();
    let rejected = u64::try_from(partial.rejected).unwrap_or(0);
    if rejected == 0 && partial.message.is_empty() {
        return Outcome::Sent;
    }
    Outcome::Partial {
        rejected,
        message: status::one_line(&partial.message),
    }
}

/// Decodes a response. No message at all counts as an empty one.
fn decode(mut wire: Bytes) -> Option<ExportResponse> {
    if wire.is_empty() {
        return Some(ExportResponse::default());
    }
    let prefix = PrefixReader::default().take(&mut wire).ok()??;
    if prefix.compressed || prefix.length != wire.len() {
        return None;
    }
    ExportResponse::decode(wire).ok()
}
