use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use spandrel_pipeline::exporter::{Outcome, Refuses};
use spandrel_pipeline::journal::AppendError;
use spandrel_pipeline::refused::Refused;
use spandrel_wire::{Invalid, Limits, Signal};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::backend::from_http;
use super::*;
use crate::auth::AuthError;

fn retry_after_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Every refusal has its code, which decides whether the sender sends the same bytes again. Only
/// UNAVAILABLE carries a RetryInfo.
#[test]
fn every_refusal_has_its_code() {
    let two = Duration::from_secs(2);
    let stage = || "redact".to_owned();
    let malformed = Invalid::Malformed {
        what: "span id",
        offset: 7,
    };
    let over_limit = Invalid::OverLimit {
        what: "items",
        limit: 9,
    };
    let untaken = |why: RequestError| request_error(&why, None);
    let over = RequestError::OverLimit { limit: 4 };
    let bad = RequestError::Malformed("x");
    let crowded = request_error(&RequestError::Crowded, Some(two));
    let draining = untaken(RequestError::Draining);
    let turned_down = |why: Refused| refused(&why);
    let table = [
        (untaken(bad), Code::InvalidArgument, None),
        (untaken(over), Code::ResourceExhausted, None),
        (untaken(RequestError::Busy), Code::Unavailable, Some(RETRY)),
        (draining, Code::Unavailable, Some(RETRY)),
        (crowded, Code::Unavailable, Some(two)),
        (untaken(RequestError::Slow), Code::DeadlineExceeded, None),
        (untaken(RequestError::Gone), Code::Cancelled, None),
        (
            turned_down(Refused::Invalid(malformed)),
            Code::InvalidArgument,
            None,
        ),
        (
            turned_down(Refused::Invalid(over_limit)),
            Code::ResourceExhausted,
            None,
        ),
        (
            turned_down(Refused::Full { retry_after: two }),
            Code::Unavailable,
            Some(two),
        ),
        (
            turned_down(Refused::Draining),
            Code::Unavailable,
            Some(RETRY),
        ),
        (
            turned_down(Refused::Fault {
                stage: stage(),
                retry_after: two,
            }),
            Code::Unavailable,
            Some(two),
        ),
        (
            turned_down(Refused::Quarantined {
                stage: stage(),
                attempts: 3,
            }),
            Code::InvalidArgument,
            None,
        ),
    ];
    for (status, code, after) in table {
        assert_eq!(status.code(), code, "{status:?}");
        assert!(is_told(&status, after), "{status:?}");
        assert!(!status.message().is_empty(), "{status:?}");
    }
}

/// Returns true if the sender is told to come back after this time and up to half as much more, or
/// is told no time where none is expected.
fn is_told(status: &Status, after: Option<Duration>) -> bool {
    match (retry_after_of(status), after) {
        (Some(told), Some(after)) => told >= after && told <= after * 3 / 2,
        (told, after) => told == after,
    }
}

/// Senders that are refused together, for whatever reason, are not told to come back together, not
/// even with the longest wait.
#[test]
fn nobody_comes_back_with_others() {
    let longest = Duration::from_secs(20);
    let at = |of: &dyn Fn() -> Status| {
        let told = (0..100).map(|_| retry_after_of(&of()).expect("a time"));
        let told: std::collections::BTreeSet<_> = told.collect();
        assert!(told.len() > 90, "{told:?}");
        let spread = *told.last().expect("many") - *told.first().expect("many");
        assert!(spread > RETRY / 5);
    };
    at(&|| request_error(&RequestError::Crowded, Some(longest)));
    at(&|| request_error(&RequestError::Draining, None));
    at(&|| denied(AuthError::Busy));
    at(&|| refused(&Refused::Draining));
    let retry_after = longest;
    at(&|| refused(&Refused::Full { retry_after }));
    let source = AppendError::Full { what: "the disk" };
    let unwritten = Refused::Unwritten {
        retry_after,
        source,
    };
    at(&|| refused(&unwritten));
}

/// No sender is told to wait for more than the 30 s that the operators' page promises, including
/// the spread, whatever the pipeline, the receiver or a plugin's breaker asks for.
#[test]
fn nobody_is_sent_away_for_long() {
    let retry_after = Duration::from_secs(3600);
    let source = AppendError::Full { what: "the disk" };
    let stage = "redact".to_owned();
    let refusals = [
        Refused::Full { retry_after },
        Refused::Fault { stage, retry_after },
        Refused::Unwritten {
            retry_after,
            source,
        },
    ];
    for _ in 0..100 {
        let told = refusals.iter().map(refused);
        let unread = [RequestError::Busy, RequestError::Crowded]
            .map(|why| request_error(&why, Some(retry_after)));
        for status in told.chain(unread) {
            let wait = retry_after_of(&status).expect("a time");
            assert!(wait >= Duration::from_secs(20), "{status:?}");
            assert!(wait <= Duration::from_secs(30), "{status:?}");
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);

/// Values nested beyond the limit are bad data, whatever the limit; only amounts are a matter of
/// size.
#[test]
fn nesting_is_bad_data() {
    let mut value = AnyValue::default();
    for _ in 0..99 {
        let values = vec![value];
        value = AnyValue {
            value: Some(any_value::Value::ArrayValue(ArrayValue { values })),
        };
    }
    let attribute = KeyValue {
        key: "deep".to_owned(),
        value: Some(value),
        ..KeyValue::default()
    };
    let resource = Resource {
        attributes: vec![attribute],
        ..Resource::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            ..ResourceSpans::default()
        }],
    };
    let why = spandrel_wire::validate(Signal::Traces, &request.encode_to_vec(), &Limits::NONE)
        .expect_err("nested too deep");
    assert!(matches!(why, Invalid::TooDeep { .. }), "{why}");
    assert_eq!(
        refused(&Refused::Invalid(why)).code(),
        Code::InvalidArgument
    );
}

/// The answer to malformed bytes says where they are malformed, in its message and in a BadRequest
/// detail.
#[test]
fn malformed_says_where() {
    let status = refused(&Refused::Invalid(Invalid::Malformed {
        what: "span id",
        offset: 7,
    }));
    assert_eq!(status.message(), "malformed span id at byte 7");
    let details = status.get_details_bad_request().expect("a detail");
    let violation = details.field_violations.first().expect("a violation");
    assert_eq!(violation.description, "malformed span id at byte 7");
}

/// Only the codes of OTLP's list are worth another attempt, and RESOURCE_EXHAUSTED only from a
/// backend that names a time.
#[test]
fn only_retryable_codes_are_retried() {
    let retryable = [1, 4, 10, 11, 14, 15];
    for code in 1..=16 {
        let plain = Status::new(Code::from_i32(code), "no");
        let retried = matches!(
            outcome(&plain, "b", RequestLength::default()),
            Outcome::Retry { after: None, .. }
        );
        assert_eq!(retried, retryable.contains(&code), "{code}");

        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        let hinted = Status::with_error_details(Code::from_i32(code), "no", details);
        let after = match outcome(&hinted, "b", RequestLength::default()) {
            Outcome::Retry { after, .. } => after,
            _ => None,
        };
        let expected = retryable.contains(&code) || code == 8;
        assert_eq!(after.is_some(), expected, "{code}");
        assert_eq!(
            after.unwrap_or(Duration::from_secs(7)),
            Duration::from_secs(7)
        );
    }
}

/// Refusals of the batch, after which parts of it are worth an attempt, are told apart from
/// refusals of everything.
#[test]
fn refusals_of_everything_are_known() {
    let refuses = |outcome| match outcome {
        Outcome::Permanent { refuses, .. } => Some(refuses),
        _ => None,
    };
    for code in [2, 3, 5, 6, 7, 8, 9, 12, 13, 16] {
        let expected = match code {
            5 | 7 | 12 | 16 => Refuses::Everything,
            _ => Refuses::Batch,
        };
        let status = Status::new(Code::from_i32(code), "no");
        assert_eq!(
            refuses(outcome(&status, "b", RequestLength::default())),
            Some(expected),
            "{code}"
        );
    }
    for (http, expected) in [
        (200, Some(Refuses::Everything)),
        (400, Some(Refuses::Batch)),
        (401, Some(Refuses::Everything)),
        (403, Some(Refuses::Everything)),
        (404, Some(Refuses::Everything)),
        (413, Some(Refuses::Size { limit: None })),
        (500, Some(Refuses::Everything)),
        (503, None),
    ] {
        let status = http::StatusCode::from_u16(http).expect("a status");
        assert_eq!(refuses(not_grpc(status, "b")), expected, "{http}");
    }
}

/// Answers of proxies in between are mapped by gRPC's table.
#[test]
fn http_answers_are_mapped() {
    for (http, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (500, Code::Unknown),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
    ] {
        let http = http::StatusCode::from_u16(http).expect("a status");
        assert_eq!(from_http(http).code(), code, "{http}");
    }
}

/// A backend's message becomes one short line in our log, whatever it contains.
#[test]
fn a_backends_words_stay_in_one_line() {
    let status = Status::invalid_argument(format!("bad\n\u{1b}[31m{}", "x".repeat(9000)));
    let Outcome::Permanent { error, .. } = outcome(&status, "http://b:1", RequestLength::default())
    else {
        panic!("not permanent");
    };
    assert!(error.starts_with("http://b:1 answered INVALID_ARGUMENT: bad  [31mxxx"));
    assert!(error.chars().all(|c| !c.is_control()));
    assert!(error.len() <= MAX_MESSAGE_CHARS);
}
