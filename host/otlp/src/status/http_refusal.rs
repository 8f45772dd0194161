//! The answers of OTLP/HTTP to requests that are refused: the HTTP status, the headers, and the
//! `google.rpc.Status` that the body is.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::one_line;

/// A request that is refused over HTTP.
#[derive(Debug)]
pub(crate) struct HttpRefusal {
    code: StatusCode,
    status: Status,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl From<Status> for HttpRefusal {
    fn from(status: Status) -> Self {
        let hint = status.get_details_retry_info();
        let wait = hint.and_then(|hint| hint.retry_delay).map(seconds);
        let headers = wait.map(|wait| (header::RETRY_AFTER, HeaderValue::from(wait)));
        Self {
            code: http_code(status.code()),
            status,
            headers: headers.into_iter().collect(),
        }
    }
}

impl HttpRefusal {
    /// Refuses a request with this HTTP status for good, in these words.
    pub(crate) fn new(code: StatusCode, rpc: Code, words: &str) -> Self {
        Self {
            code,
            status: Status::new(rpc, one_line(words)),
            headers: Vec::new(),
        }
    }

    /// Adds a header to the answer.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn into_headers(self) -> Vec<(HeaderName, HeaderValue)> {
        self.headers
    }

    /// Returns the `google.rpc.Status` as protobuf.
    pub(crate) fn protobuf(&self) -> Vec<u8> {
        let status = &self.status;
        if !status.details().is_empty() {
            // The details of gRPC are the whole message.
            return status.details().to_vec();
        }
        let none = ErrorDetails::default();
        let whole = Status::with_error_details(status.code(), status.message(), none);
        whole.details().to_vec()
    }

    /// Returns the `google.rpc.Status` as JSON.
    pub(crate) fn json(&self) -> Vec<u8> {
        const TYPE: &str = "type.googleapis.com/google.rpc";
        let details = self.status.get_error_details();
        let mut any = Vec::new();
        if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
            let delay = delay.as_secs_f64();
            any.push(format!(
                r#"{{"@type":"{TYPE}.RetryInfo","retryDelay":"{delay:.3}s"}}"#
            ));
        }
        if let Some(bad) = details.bad_request() {
            let violations = bad.field_violations.iter().map(|violation| {
                let (field, why) = (quoted(&violation.field), quoted(&violation.description));
                format!(r#"{{"field":{field},"description":{why}}}"#)
            });
            let violations: Vec<_> = violations.collect();
            let violations = violations.join(",");
            any.push(format!(
                r#"{{"@type":"{TYPE}.BadRequest","fieldViolations":[{violations}]}}"#
            ));
        }
        let (code, message) = (i32::from(self.status.code()), self.status.message());
        let message = quoted(message);
        let details = if any.is_empty() {
            String::new()
        } else {
            format!(r#","details":[{}]"#, any.join(","))
        };
        format!(r#"{{"code":{code},"message":{message}{details}}}"#).into_bytes()
    }
}

/// Returns the HTTP status of a request that is refused with this code. Clients send a request again
/// after 429, 502, 503 and 504 only, and SDKs in use drop it after 429 (the one for Python does), so
/// whoever is to come again is told 503.
fn http_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // A body that broke off or is malformed; who gave up does not hear it.
        Code::InvalidArgument | Code::Cancelled => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unimplemented | Code::NotFound => StatusCode::NOT_FOUND,
        // Only what is too long or has too many items is refused with this code.
        Code::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unavailable | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the whole seconds of a hint, rounded up: who comes earlier is refused again.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Returns a text as a string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in one_line(text).chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::{RequestError, request_error};
    use super::*;

    /// A refusal that may be repeated is 503 with whole seconds, never fewer than the hint.
    #[test]
    fn a_hint_is_rounded_up() {
        for (wait, seconds) in [(1000, 1..=2), (1001, 2..=2), (20_000, 20..=30)] {
            let wait = Duration::from_millis(wait);
            let refusal = HttpRefusal::from(request_error(&RequestError::Busy, Some(wait)));
            assert_eq!(refusal.code(), 503);
            let headers = refusal.into_headers();
            let [(name, value)] = headers.as_slice() else {
                panic!("{headers:?}");
            };
            assert_eq!(name, header::RETRY_AFTER);
            let told: u64 = value.to_str().expect("text").parse().expect("a number");
            assert!(seconds.contains(&told), "{told} for {wait:?}");
        }
    }

    /// Quotes and backslashes of a client's own text do not break the answer.
    #[test]
    fn texts_are_quoted() {
        let refusal = HttpRefusal::new(StatusCode::NOT_FOUND, Code::Unimplemented, "a\"b\\c\nd");
        let json = String::from_utf8(refusal.json()).expect("text");
        assert_eq!(json, r#"{"code":12,"message":"a\"b\\c d"}"#);
    }
}
