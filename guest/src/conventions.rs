//! Reads what OpenTelemetry's semantic conventions express in more than one way: names that were
//! changed, numbers that some senders write as texts, and failures that are recorded outside of the
//! status.

use spandrel_wire::{StatusCode, Value};

use crate::batch::Span;
use crate::reads::Keys;

/// The attributes, besides the status, that can report a failure.
const SIGNS: [&str; 6] = [
    "http.response.status_code",
    "http.status_code",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "error.type",
    "error",
];

/// The gRPC status codes that the conventions call server errors, by number and name.
const GRPC_ERRORS: [(i64, &str); 6] = [
    (2, "UNKNOWN"),
    (4, "DEADLINE_EXCEEDED"),
    (12, "UNIMPLEMENTED"),
    (13, "INTERNAL"),
    (14, "UNAVAILABLE"),
    (15, "DATA_LOSS"),
];

thread_local! {
    static SIGN_KEYS: Keys = Keys::new(SIGNS);
}

impl Span<'_> {
    /// Returns true if the work of the span failed. The status decides; if it is not set, the
    /// attributes do: an HTTP status from 500 on, a gRPC server error, `error.type`, or the `error`
    /// of Zipkin, Jaeger and Envoy. A status of "ok" is the developer's decision and overrides the
    /// attributes.
    ///
    /// Many proxies and older libraries set no status. Events are not looked at: see
    /// [`has_exception`](Self::has_exception).
    pub fn has_failed(&self) -> bool {
        match self.status().code {
            StatusCode::Error => true,
            StatusCode::Ok => false,
            StatusCode::Unset => SIGN_KEYS.with(|keys| {
                self.select(keys)
                    .any(|(sign, value)| says_failed(sign, value))
            }),
        }
    }

    /// Returns true if an exception left the span: it has an `exception` event that does not say
    /// `exception.escaped: false`.
    pub fn has_exception(&self) -> bool {
        self.events().any(|event| {
            event.name() == "exception"
                && event
                    .attribute("exception.escaped")
                    .is_none_or(|escaped| escaped != Value::Bool(false))
        })
    }
}

/// Returns true if this attribute says that the work failed. `sign` is its index in [`SIGNS`].
fn says_failed(sign: usize, value: Value<'_>) -> bool {
    match sign {
        0 | 1 => whole_number(value).is_some_and(|status| (500..600).contains(&status)),
        2 | 3 => {
            let number = whole_number(value);
            GRPC_ERRORS
                .iter()
                .any(|(code, name)| number == Some(*code) || value == *name)
        }
        4 => value.as_str().is_some_and(|kind| !kind.is_empty()),
        _ => match value {
            Value::Bool(flag) => flag,
            // Zipkin writes the error message here.
            Value::Str(text) => !matches!(text, "" | "false" | "False" | "FALSE" | "0"),
            Value::Int(number) => number != 0,
            _ => false,
        },
    }
}

/// Returns a whole number that the sender may have written as a text or as a float.
fn whole_number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Str(text) => text.trim().parse().ok(),
        #[expect(clippy::cast_possible_truncation, reason = "what is cut off is seen")]
        Value::Double(number) => Some(number as i64).filter(|whole| *whole as f64 == number),
        _ => None,
    }
}

/// Returns the path in a URL, a request target or a route: without scheme, host, query and
/// fragment.
///
/// ```
/// use spandrel_guest::url_path;
/// assert_eq!(url_path("https://shop:8443/healthz?full=1"), "/healthz");
/// assert_eq!(url_path("/healthz#top"), "/healthz");
/// assert_eq!(url_path("http://shop"), "/");
/// ```
pub fn url_path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !target.starts_with('/') && is_scheme(scheme) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            match rest.get(end..) {
                Some(path) if path.starts_with('/') => path,
                _ => "/",
            }
        }
        _ => target,
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path.get(..end).unwrap_or(path)
}

fn is_scheme(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests;
