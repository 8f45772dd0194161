//! Recognizes that a backend refuses a request because it is too long, and finds the limit that it
//! names. gRPC has no field for the limit, so this reads the messages of known servers.

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The length of a request, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestLength {
    /// The length before compression.
    pub(crate) plain: usize,
    /// The length as the request was sent.
    pub(crate) sent: usize,
}

/// Returns the limit that a backend names when it refuses a request for its size, in bytes before
/// compression; `Some(None)` if it names none. Returns `None` if it refuses for another reason.
pub(super) fn refused(status: &Status, length: RequestLength) -> Option<Option<usize>> {
    let text = status.message().to_ascii_lowercase();
    let is_size = match status.code() {
        // gRPC has this code for it. OTLP uses it for a busy backend as well, with RetryInfo then.
        Code::ResourceExhausted => status.get_details_retry_info().is_none() && is_of_size(&text),
        // Servers that use tonic send this code.
        Code::OutOfRange => is_of_size(&text),
        // Proxies turn a 413 into these, and older gRPC in Java sends them for its own limit.
        Code::Unknown | Code::Internal | Code::Unavailable => is_of_transport(&text),
        _ => false,
    };
    is_size.then(|| limit(&text, length))
}

/// Returns true if an HTTP answer refuses a request for its size.
pub(super) fn refused_by_http(status: StatusCode) -> bool {
    status == StatusCode::PAYLOAD_TOO_LARGE
}

fn is_of_size(text: &str) -> bool {
    const WORDS: &[&str] = &[
        // Go, C++, Python, Node.
        "larger than max",
        // tonic.
        "message length too large",
        "size limit",
        // Java and .NET.
        "exceeds maximum size",
        "exceeds the maximum configured message size",
        // Ours.
        "longer than",
        "too large",
        "too big",
        "too long",
    ];
    WORDS.iter().any(|words| text.contains(words)) || is_of_transport(text)
}

fn is_of_transport(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "payload too large",
        "content too large",
        "request entity too large",
        "http status 413",
        "grpc message exceeds maximum size",
        "message larger than max (",
    ];
    WORDS.iter().any(|words| text.contains(words))
}

fn limit(text: &str, length: RequestLength) -> Option<usize> {
    let (found, limit) = figures(text)?;
    if limit == 0 {
        return None;
    }
    // Some servers look at the bytes as they were sent; then the limit before compression is higher
    // in proportion. Others stop reading one byte behind their limit, and report only that many.
    let is_sent = found == Some(length.sent) && length.sent < length.plain;
    if is_sent && !text.contains("decompress") {
        let plain = length.plain as u128 * limit as u128 / length.sent.max(1) as u128;
        return usize::try_from(plain).ok();
    }
    Some(limit)
}

/// Returns the length that was found, if the text has it, and the limit.
fn figures(text: &str) -> Option<(Option<usize>, usize)> {
    let after = |words: &str| text.split_once(words).map(|(_, rest)| rest);
    // "(6291456 vs. 4194304)": Go, C++, Python, Node.
    if let Some((found, limit)) = text.split_once(" vs. ") {
        let found = found.rsplit_once('(').and_then(|(_, found)| number(found));
        return Some((found, number(limit)?));
    }
    // "found 6291456 bytes, the limit is: 4194304 bytes": tonic.
    if let Some(limit) = after("the limit is: ") {
        return Some((after("found ").and_then(number), number(limit)?));
    }
    // "size limit, of 4194304 bytes, exceeded while decompressing": tonic.
    if let Some(limit) = after("size limit, of ") {
        return Some((None, number(limit)?));
    }
    // "exceeds maximum size 4194304: 6291456": Java, whose second figure may be missing.
    if let Some(limit) = after("exceeds maximum size ") {
        let found = limit.split_once(": ").and_then(|(_, found)| number(found));
        return Some((found, number(limit)?));
    }
    // "longer than 4194304 bytes": ours.
    Some((None, number(after("longer than ")?)?))
}

/// Returns the number that a text begins with.
fn number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.get(..end.unwrap_or(text.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    const SIX: RequestLength = RequestLength {
        plain: 6_291_456,
        sent: 600_000,
    };

    /// The messages of servers that name their limit. Go reads one byte more than it accepts;
    /// 600,000 of 400,000 is the compressed length, a tenth of the plain one.
    const SAY_THE_LIMIT: &[(Code, &str)] = &[
        (
            Code::ResourceExhausted,
            "grpc: received message larger than max (6291456 vs. 4194304)",
        ),
        (
            Code::ResourceExhausted,
            "grpc: received message after decompression larger than max (6291456 vs. 4194304)",
        ),
        (
            Code::ResourceExhausted,
            "grpc: received message after decompression larger than max (4194305 vs. 4194304)",
        ),
        (
            Code::ResourceExhausted,
            "grpc: received message larger than max (600000 vs. 400000)",
        ),
        (
            Code::ResourceExhausted,
            "Received message larger than max (6291456 vs. 4194304)",
        ),
        (
            Code::ResourceExhausted,
            "CLIENT: Received message larger than max (6291456 vs. 4194304)",
        ),
        (
            Code::ResourceExhausted,
            "trying to send message larger than max (6291456 vs. 4194304)",
        ),
        (
            Code::OutOfRange,
            "Error, decoded message length too large: found 6291456 bytes, the limit is: 4194304 bytes",
        ),
        (
            Code::ResourceExhausted,
            "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message",
        ),
        (
            Code::ResourceExhausted,
            "gRPC message exceeds maximum size 4194304: 6291456",
        ),
        (
            Code::Internal,
            "gRPC message exceeds maximum size 4194304: 6291456",
        ),
        (
            Code::ResourceExhausted,
            "Decompressed gRPC message exceeds maximum size 4194304",
        ),
        (
            Code::ResourceExhausted,
            "request is longer than 4194304 bytes",
        ),
    ];

    /// The messages of servers that name no limit.
    const SAY_NO_LIMIT: &[(Code, &str)] = &[
        (
            Code::ResourceExhausted,
            "Received message exceeds the maximum configured message size.",
        ),
        (Code::Unknown, "Payload Too Large"),
        (Code::Unknown, "HTTP status 413 Payload Too Large"),
    ];

    /// The messages of known servers are recognized, with the limit that they name.
    #[test]
    fn the_words_of_servers_are_known() {
        let with = SAY_THE_LIMIT.iter().map(|said| (said, Some(4_194_304)));
        let without = SAY_NO_LIMIT.iter().map(|said| (said, None));
        for ((code, words), limit) in with.chain(without) {
            let found = refused(&Status::new(*code, *words), SIX);
            assert_eq!(found, Some(limit), "{words}");
        }
    }

    /// A refusal for another reason than the size gives no limit.
    #[test]
    fn other_refusals_are_not_of_the_size() {
        let words = "grpc: received message larger than max (6291456 vs. 4194304)";
        for (code, words) in [
            (Code::ResourceExhausted, "quota of the tenant is used up"),
            (Code::OutOfRange, "timestamp too far in the past"),
            (
                Code::InvalidArgument,
                "Log entry with size 388.3K exceeds maximum size of 256.0K",
            ),
            (Code::Internal, "value too large for column"),
            (Code::PermissionDenied, words),
        ] {
            assert_eq!(refused(&Status::new(code, words), SIX), None, "{words}");
        }
        let later = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
        let busy = Status::with_error_details(Code::ResourceExhausted, words, later);
        assert_eq!(refused(&busy, SIX), None);
    }
}
