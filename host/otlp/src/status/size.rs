//! Backends that refuse a request because it is too long, and what they would take. There is no
//! field for it, so this reads the words of the servers that there are.

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How long a request was, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Length {
    /// Before compression.
    pub(crate) plain: usize,
    /// As it was sent.
    pub(crate) sent: usize,
}

/// The limit that a backend says with its refusal, in bytes before compression; none inside when it
/// says none. None when its refusal is not of the size.
pub(super) fn refused(status: &Status, length: Length) -> Option<Option<usize>> {
    let text = status.message().to_ascii_lowercase();
    let is_size = match status.code() {
        // gRPC's code for it, which OTLP has for a backend that is busy, too: with RetryInfo then.
        Code::ResourceExhausted => status.get_details_retry_info().is_none() && is_of_size(&text),
        // What tonic's servers say.
        Code::OutOfRange => is_of_size(&text),
        // What proxies make of 413, and older gRPC in Java of its own limit.
        Code::Unknown | Code::Internal | Code::Unavailable => is_of_transport(&text),
        _ => false,
    };
    is_size.then(|| limit(&text, length))
}

/// Whether an answer of HTTP says so.
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

fn limit(text: &str, length: Length) -> Option<usize> {
    let (found, limit) = figures(text)?;
    if limit == 0 {
        return None;
    }
    // Some look at the bytes as they were sent: then the limit before compression is as much higher.
    // Others stop to read one byte behind their limit, and say that they found no more.
    let is_sent = found == Some(length.sent) && length.sent < length.plain;
    if is_sent && !text.contains("decompress") {
        let plain = length.plain as u128 * limit as u128 / length.sent.max(1) as u128;
        return usize::try_from(plain).ok();
    }
    Some(limit)
}

/// What was found, if it is said, and what is allowed.
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

/// The number that a text begins with.
fn number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    text.get(..end.unwrap_or(text.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    const SIX: Length = Length {
        plain: 6_291_456,
        sent: 600_000,
    };

    /// The words of servers that name their limit. Go reads one byte more than it takes; 600,000 of 400,000
    /// is the compressed length, a tenth of the plain one.
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

    /// The words of servers that name none.
    const SAY_NO_LIMIT: &[(Code, &str)] = &[
        (
            Code::ResourceExhausted,
            "Received message exceeds the maximum configured message size.",
        ),
        (Code::Unknown, "Payload Too Large"),
        (Code::Unknown, "HTTP status 413 Payload Too Large"),
    ];

    /// The words of servers, with what is learned from them.
    #[test]
    fn the_words_of_servers_are_known() {
        let with = SAY_THE_LIMIT.iter().map(|said| (said, Some(4_194_304)));
        let without = SAY_NO_LIMIT.iter().map(|said| (said, None));
        for ((code, words), limit) in with.chain(without) {
            let found = refused(&Status::new(*code, *words), SIX);
            assert_eq!(found, Some(limit), "{words}");
        }
    }

    /// What is not of the size of a request teaches nothing.
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
