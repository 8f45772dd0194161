//! The same table over HTTP/1.1 and HTTP/2.

use ::http::{Request, Version};
use http_body_util::BodyExt;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::Code;

use super::sites::{At, Sites};
use super::{Told, rows};
use crate::http::wire::{self, Answer, PROTOBUF, post};
use crate::raw::{self, Body, LOGS, TRACES, full};

/// A row of the table as it is sent over HTTP.
struct HttpRow {
    name: &'static str,
    at: At,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    told: Told,
}

impl HttpRow {
    /// Returns a row without the framing of gRPC; `None` for a row that is about the framing.
    async fn new((name, at, request, told): rows::Row) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.expect("whole").to_bytes();
        let (prefix, message) = body.split_at_checked(5)?;
        let length = u32::try_from(message.len()).expect("short");
        if prefix[1..] != length.to_be_bytes() {
            return None;
        }
        let encoding = head.headers.get("grpc-encoding");
        let mut headers = vec![("content-type", PROTOBUF.to_owned())];
        match (prefix[0], encoding) {
            (0, _) => {}
            (1, Some(encoding)) => {
                let encoding = encoding.to_str().expect("text");
                headers.push(("content-encoding", encoding.to_owned()));
            }
            _ => return None,
        }
        if let Some(token) = head.headers.get("authorization") {
            headers.push(("authorization", token.to_str().expect("text").to_owned()));
        }
        let path = match head.uri.path() {
            TRACES => "/v1/traces",
            LOGS => "/v1/logs",
            path if path.contains("MetricsService") => "/v1/metrics",
            other => other,
        };
        Some(Self {
            name,
            at,
            path: path.to_owned(),
            headers,
            body: message.to_vec(),
            told,
        })
    }

    fn code(&self) -> u16 {
        match self.told {
            Told::Whole | Told::But(_) => 200,
            Told::Later(_) => 503,
            Told::Never(Code::InvalidArgument) => 400,
            Told::Never(Code::Unauthenticated) => 401,
            Told::Never(Code::ResourceExhausted) => 413,
            Told::Never(Code::Unimplemented) if self.name == "brotli" => 415,
            Told::Never(Code::Unimplemented) => 404,
            Told::Never(other) => panic!("{other:?}"),
        }
    }

    fn over_http1(&self) -> Vec<u8> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        post(&self.path, &headers, &self.body)
    }

    fn over_http2(&self) -> Request<Body> {
        let mut request = Request::post(format!("http://collector{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.version(Version::HTTP_2);
        request.body(full(self.body.clone())).expect("a request")
    }

    fn check(&self, answer: &Answer) {
        let name = self.name;
        assert_eq!(answer.code, self.code(), "{name}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some(PROTOBUF), "{name}");
        let wait = answer.header("retry-after");
        let wait = wait.map(|wait| wait.parse::<u64>().expect("whole seconds"));
        assert_eq!(
            wait.is_some(),
            matches!(self.told, Told::Later(_)),
            "{name}"
        );
        assert!(wait.is_none_or(|wait| (1..=30).contains(&wait)), "{name}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(
            challenge,
            (answer.code == 401).then_some("Bearer"),
            "{name}"
        );
        match self.told {
            Told::Whole => assert_eq!(answer.body, b"", "{name}"),
            Told::But(spans) => {
                let response = ExportTraceServiceResponse::decode(&answer.body[..]);
                let partial = response.expect("a response").partial_success;
                let partial = partial.expect("a partial success");
                assert_eq!(partial.rejected_spans, spans, "{name}");
                assert!(partial.error_message.contains(" refused: "), "{name}");
            }
            Told::Later(code) | Told::Never(code) => {
                let status = tonic_types::pb::Status::decode(&answer.body[..]);
                let status = status.expect("a status");
                assert_eq!(status.code, i32::from(code), "{name}");
                assert!((1..512).contains(&status.message.len()), "{name}");
                let details = matches!(code, Code::InvalidArgument | Code::Unavailable)
                    && !matches!(name, "quarantined" | "refused by the backend");
                assert_eq!(status.details.is_empty(), !details, "{name}: {status:?}");
            }
        }
    }
}

/// Every kind of request gets over HTTP the status that OTLP gives it: 503 with a time in whole seconds
/// if it may be sent again, and otherwise a status that no client repeats. The body is a response or a
/// `google.rpc.Status` in the format of the request. A connection outlives every answer.
#[tokio::test]
async fn every_request_has_its_http_status() {
    let sites = Sites::open().await;
    let mut checked = 0;
    for row in rows::all() {
        let Some(row) = HttpRow::new(row).await else {
            continue;
        };
        let at = sites.http(row.at);
        let mut client = wire::Client::connect(at).await;
        let answer = client.call(&row.over_http1()).await;
        row.check(&answer);
        if answer.header("connection").is_none() {
            let again = client.call(&row.over_http1()).await;
            assert_eq!(again.code, row.code(), "{}", row.name);
        } else {
            // Its sender had more to send than is waited for.
            assert!(row.body.len() > 4 << 20, "{}", row.name);
        }
        let mut client = raw::Client::connect(at).await;
        let answer = client.call(row.over_http2()).await;
        row.check(&Answer {
            code: answer.http,
            headers: answer.headers,
            body: answer.body.to_vec(),
        });
        client.send.ready().await.expect(row.name);
        checked += 1;
    }
    assert!(checked > 40, "{checked} rows");
    let books = sites.open.pipeline.ledger().books();
    assert!(books.is_balanced(), "{books}");
}

/// Requests in JSON are accepted, refused in part and refused as a whole like those in protobuf, and
/// answered in JSON.
#[tokio::test]
async fn json_is_answered_in_json() {
    let sites = Sites::open().await;
    let mut client = wire::Client::connect(sites.http(At::Open)).await;
    let span = |id: &str| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"{id}","name":"GET /cart"}}]}}]}}]}}"#
        )
    };
    let (whole, partly) = (span("EEE19B7EC3C1B174"), span(""));
    let cut = whole.strip_suffix("}]}").expect("whole");
    for (body, code, start) in [
        (whole.as_str(), 200, "{}"),
        ("{}", 200, "{}"),
        ("", 400, r#"{"code":3,"message":""#),
        (
            partly.as_str(),
            200,
            r#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"1 spans refused: "#,
        ),
        (cut, 400, r#"{"code":3,"message":""#),
        ("[]", 400, r#"{"code":3,"message":""#),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":[]}]}]}]}"#,
            400,
            r#"{"code":3,"message":"resourceSpans[0].scopeSpans[0].spans[0].kind: "#,
        ),
    ] {
        let kind = [("content-type", "application/json; charset=utf-8")];
        let answer = client
            .call(&post("/v1/traces", &kind, body.as_bytes()))
            .await;
        assert_eq!(answer.code, code, "{body}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(wire::JSON), "{body}");
        assert!(
            answer.text().starts_with(start),
            "{body}: {}",
            answer.text()
        );
        let violation = r#""details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","#;
        assert_eq!(
            answer.text().contains(violation),
            code == 400,
            "{}",
            answer.text()
        );
    }
    let books = sites.open.pipeline.ledger().books();
    assert!(books.is_balanced(), "{books}");
    assert_eq!((books.received, books.invalid_items), (2, 1));
}
