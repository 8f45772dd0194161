//! The formats of requests, by their content type.

use http::{HeaderMap, HeaderValue, header};

/// The format of a request and of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

impl Format {
    /// Returns the format that the headers name; `None` if it is none of OTLP's. Parameters such as
    /// a charset have no meaning in either, and upper and lower case do not matter.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
        let end = kind.iter().position(|byte| *byte == b';');
        let kind = kind.get(..end.unwrap_or(kind.len()))?.trim_ascii();
        if kind.eq_ignore_ascii_case(b"application/x-protobuf") {
            Some(Self::Protobuf)
        } else if kind.eq_ignore_ascii_case(b"application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// Returns true if the headers are those of a call of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = kind.and_then(|kind| kind.get(..GRPC.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
    }

    /// The type alone decides, whatever its case and its parameters.
    #[test]
    fn the_type_decides() {
        for (kind, format) in [
            ("application/x-protobuf", Some(Format::Protobuf)),
            ("Application/X-Protobuf ; q=1", Some(Format::Protobuf)),
            ("application/json", Some(Format::Json)),
            ("application/JSON; charset=utf-8", Some(Format::Json)),
            ("application/json;v=1", Some(Format::Json)),
            ("application/jsonp", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(Format::of(&typed(kind)), format, "{kind}");
        }
        assert_eq!(Format::of(&HeaderMap::new()), None);
        assert!(is_grpc(&typed("application/grpc+proto")));
        assert!(!is_grpc(&typed("application/json")));
    }
}
