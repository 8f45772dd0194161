//! One export request: headers, then the prefix, then the batch itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use spandrel_wire::Signal;
use tonic::metadata::{Ascii, Binary, MetadataKey, MetadataMap, MetadataValue};

use super::{ExporterConfig, ExporterError};
use crate::compression::Compression;
use crate::prefix::Prefix;

/// Returns the headers that every request has. The config may not set those of the protocol.
pub(crate) fn headers(config: &ExporterConfig) -> Result<HeaderMap, ExporterError> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &config.headers {
        let lower = name.to_ascii_lowercase();
        add(&mut metadata, &lower, value.reveal()).map_err(|reason| ExporterError::Header {
            name: name.clone(),
            reason,
        })?;
    }
    let mut headers = metadata.into_headers();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    if let Some(timeout) = timeout_header(config) {
        headers.insert("grpc-timeout", timeout);
    }
    let agent = HeaderValue::from_str(&config.user_agent);
    headers.insert(
        header::USER_AGENT,
        agent.map_err(|_| ExporterError::Header {
            name: header::USER_AGENT.to_string(),
            reason: "its value has characters outside of visible ASCII",
        })?,
    );
    if let Some(encoding) = config.compression.name() {
        headers.insert("grpc-encoding", encoding);
    }
    Ok(headers)
}

fn add(metadata: &mut MetadataMap, name: &str, value: &str) -> Result<(), &'static str> {
    const NOT_A_NAME: &str = "not a header name";
    let of_the_protocol = ["content-type", "te", "user-agent", "host", "connection"];
    if of_the_protocol.contains(&name) || name.starts_with("grpc-") {
        return Err("the protocol sets it");
    }
    if name.ends_with("-bin") {
        let key: MetadataKey<Binary> = name.parse().map_err(|_| NOT_A_NAME)?;
        let mut value = MetadataValue::from_bytes(value.as_bytes());
        value.set_sensitive(true);
        metadata.append_bin(key, value);
    } else {
        let key: MetadataKey<Ascii> = name.parse().map_err(|_| NOT_A_NAME)?;
        let mut value: MetadataValue<Ascii> = value
            .parse()
            .map_err(|_| "its value has characters outside of visible ASCII")?;
        value.set_sensitive(true);
        metadata.append(key, value);
    }
    Ok(())
}

/// Returns the `grpc-timeout` header. gRPC accepts at most eight digits; a timeout too long for
/// milliseconds needs no header.
fn timeout_header(config: &ExporterConfig) -> Option<HeaderValue> {
    let millis = config.timeout.as_millis();
    if millis >= 100_000_000 {
        return None;
    }
    HeaderValue::from_maybe_shared(Bytes::from(format!("{millis}m"))).ok()
}

/// The URIs of requests, by signal.
#[derive(Clone, Debug)]
pub(crate) struct Paths([Uri; 3]);

impl Paths {
    pub(crate) fn new(origin: &Uri) -> Self {
        let path = |signal: Signal| {
            let mut parts = origin.clone().into_parts();
            parts.path_and_query = Some(PathAndQuery::from_static(signal.export_path()));
            // An origin has a scheme and a host.
            Uri::from_parts(parts).unwrap_or_default()
        };
        Self(Signal::ALL.map(path))
    }

    fn of(&self, signal: Signal) -> Uri {
        let [traces, metrics, logs] = &self.0;
        match signal {
            Signal::Traces => traces.clone(),
            Signal::Metrics => metrics.clone(),
            Signal::Logs => logs.clone(),
        }
    }
}

/// Returns the request; `None` if the message is too long for its prefix.
pub(crate) fn export(
    paths: &Paths,
    headers: HeaderMap,
    signal: Signal,
    compression: Compression,
    message: Bytes,
) -> Option<Request<Chunks>> {
    let prefix = Prefix {
        compressed: compression != Compression::None,
        length: message.len(),
    };
    let chunks = [Some(prefix.encode()?), Some(message)];
    let mut request = Request::new(Chunks(chunks));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = paths.of(signal);
    *request.headers_mut() = headers;
    Some(request)
}

/// The body of a request: the prefix, then the message without a copy.
#[derive(Debug)]
pub(crate) struct Chunks([Option<Bytes>; 2]);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let chunk = self.0.iter_mut().find_map(Option::take);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.0.iter().flatten().map(Bytes::len).sum::<usize>();
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header values are secrets: neither the settings nor the headers made of them print one.
    #[test]
    fn header_values_are_never_printed() {
        let mut config = ExporterConfig::new("http://a:1");
        config.headers = vec![
            ("authorization".to_owned(), "Bearer hunter2".into()),
            ("token-bin".to_owned(), "hunter2".into()),
        ];
        let made = headers(&config).expect("valid");
        let encoded = made.get("token-bin").expect("made").as_bytes().to_vec();
        let encoded = String::from_utf8(encoded).expect("base64");
        let text = format!("{config:?} {made:?}");
        for name in ["authorization", "token-bin"] {
            assert!(text.contains(name), "{text}");
        }
        for secret in ["hunter2", &encoded] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
