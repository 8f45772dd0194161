//! The tables of status codes: the codes that senders get, over gRPC and over HTTP, and the meaning of
//! those that backends send.
//!
//! OTLP gives the codes a meaning of its own: the code alone tells a sender whether to send the
//! same bytes again. A wrong code either loses data or makes a sender repeat a request for ever.

mod backend;
mod http_refusal;
mod sender;
mod size;

pub(crate) use backend::{not_grpc, outcome};
pub(crate) use http_refusal::HttpRefusal;
pub(crate) use sender::{RequestError, denied, invalid, partial_success, refused, request_error};
pub(crate) use size::RequestLength;

/// The most characters of a message. gRPC messages travel in one header, and OTLP wants them short.
const MAX_MESSAGE_CHARS: usize = 512;

/// Returns the text as one line of bounded length without control characters, fit for a header and
/// for a log.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARS)
        .collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests;
