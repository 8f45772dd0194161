//! The meaning of a backend's answer.

use http::StatusCode;
use spandrel_pipeline::exporter::{Outcome, Refuses};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::one_line;
use super::size::{self, RequestLength};

/// Returns the outcome of an attempt that the backend answered with an error.
pub(crate) fn outcome(status: &Status, endpoint: &str, length: RequestLength) -> Outcome {
    match size::refused(status, length) {
        Some(limit) => Outcome::Permanent {
            refuses: Refuses::Size { limit },
            error: line(status, endpoint),
        },
        None => told(status, endpoint, refuses(status.code())),
    }
}

/// Returns the outcome of an attempt whose answer is not gRPC's, from a proxy for example.
pub(crate) fn not_grpc(http: StatusCode, endpoint: &str) -> Outcome {
    let refuses = match http.as_u16() {
        // Malformed or not understood: a gateway says this of one request.
        400 | 422 => Refuses::Batch,
        _ if size::refused_by_http(http) => Refuses::Size { limit: None },
        _ => Refuses::Everything,
    };
    let status = match http {
        StatusCode::OK => Status::unknown("the answer has no grpc-status"),
        http => from_http(http),
    };
    told(&status, endpoint, refuses)
}

/// Returns what a backend refuses with a permanent code.
fn refuses(code: Code) -> Refuses {
    match code {
        // Credentials, their rights, or a service or tenant that does not exist: no batch is looked
        // at.
        Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented | Code::NotFound => {
            Refuses::Everything
        }
        // OTLP has INVALID_ARGUMENT for bad data. RESOURCE_EXHAUSTED may mean a message that is too
        // long, in words that are not known here. Stores that keep an order send
        // FAILED_PRECONDITION and ALREADY_EXISTS. A server sends INTERNAL and UNKNOWN when it
        // failed at something in the batch, or at anything else: the attempts are few compared with
        // what would be lost.
        _ => Refuses::Batch,
    }
}

fn told(status: &Status, endpoint: &str, refuses: Refuses) -> Outcome {
    let after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let error = line(status, endpoint);
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only a backend that names a time expects the request again.
        Code::ResourceExhausted => status.get_details_retry_info().is_some(),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Internal
        | Code::Unauthenticated => false,
    };
    if again {
        Outcome::Retry { after, error }
    } else {
        Outcome::Permanent { refuses, error }
    }
}

fn line(status: &Status, endpoint: &str) -> String {
    let name = name(status.code());
    one_line(&match status.message() {
        "" => format!("{endpoint} answered {name}"),
        message => format!("{endpoint} answered {name}: {message}"),
    })
}

/// Returns the code for an answer that is not gRPC's, from a proxy for example, by gRPC's own
/// table.
pub(super) fn from_http(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Status::new(code, format!("HTTP status {status}"))
}

/// Returns the name of a code as the OTLP specification writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
