//! For any text, reading JSON ends with an error or with a valid request of bounded size. Every
//! valid request comes back from its JSON, and what serde writes is read as prost reads it.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use spandrel_wire::json::{from_protobuf, to_protobuf};
use spandrel_wire::{InvalidUtf8, Limits, Signal, validate};

use super::oracle;
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::metrics::metrics;
use crate::requests::{logs, traces};

/// Runs one input. Its first byte selects the signal, and decides whether the rest is a text, a
/// request, or choices for a request.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let signal = oracle::signal(*first);
    match first / 3 % 4 {
        0 | 1 => text(signal, rest),
        2 => request(signal, rest),
        _ => choices(signal, Dice::new(rest.to_vec())),
    }
}

fn text(signal: Signal, text: &[u8]) {
    let replaced = read(signal, text, InvalidUtf8::Replace);
    let rejected = read(signal, text, InvalidUtf8::Reject);
    match (replaced, rejected) {
        (Some(request), Some(same)) => {
            assert_eq!(request, same);
            round_trip(signal, &request);
        }
        (Some(request), None) => round_trip(signal, &request),
        (None, rejected) => assert_eq!(rejected, None),
    }
}

/// Reads a text as a request, and checks what is promised for every text.
fn read(signal: Signal, text: &[u8], invalid_utf8: InvalidUtf8) -> Option<Vec<u8>> {
    let limits = Limits {
        depth: 8,
        ..Limits::NONE
    };
    let mut out = vec![0xff];
    let read = to_protobuf(signal, text, &limits, invalid_utf8, &mut out);
    assert_eq!(out.first(), Some(&0xff));
    let request = out.split_off(1);
    match read {
        Ok(replaced) => {
            validate(signal, &request, &limits).unwrap();
            assert!(request.len() <= 4 * text.len());
            assert!(replaced.is_empty() || invalid_utf8 == InvalidUtf8::Replace);
            Some(request)
        }
        Err(error) => {
            assert!(request.is_empty());
            assert!(error.offset() <= text.len());
            assert!(error.to_string().len() < 12_000);
            None
        }
    }
}

fn request(signal: Signal, request: &[u8]) {
    if validate(signal, request, &Limits::NONE).is_ok() {
        round_trip(signal, request);
    }
}

/// Checks that a valid request comes back from its JSON.
fn round_trip(signal: Signal, request: &[u8]) {
    let text = printed(signal, request);
    serde_json::from_slice::<serde_json::Value>(&text).unwrap();
    let mut again = Vec::new();
    let limits = Limits::NONE;
    to_protobuf(signal, &text, &limits, InvalidUtf8::Reject, &mut again).unwrap();
    assert_eq!(printed(signal, &again), text);
    // A NaN loses the bits that tell it from others.
    let has_nan = text.windows(5).any(|word| word == b"\"NaN\"");
    if !has_nan && let Some(meaning) = by_prost(signal, request) {
        assert_eq!(by_prost(signal, &again), Some(meaning));
    }
}

fn printed(signal: Signal, request: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    from_protobuf(signal, request, &mut text).unwrap();
    assert!(text.len() <= 2 + 16 * request.len());
    text
}

/// Returns the bytes that prost writes for what it reads; none if it refuses the request, which may
/// be deeper than it goes.
fn by_prost(signal: Signal, request: &[u8]) -> Option<Vec<u8>> {
    Some(match signal {
        Signal::Traces => oracle::traces(request)?.encode_to_vec(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(request)
            .ok()?
            .encode_to_vec(),
        Signal::Logs => ExportLogsServiceRequest::decode(request)
            .ok()?
            .encode_to_vec(),
    })
}

fn choices(signal: Signal, mut dice: Dice) {
    let mut mess = dice.fork(300);
    let (bytes, json) = match signal {
        Signal::Traces => {
            let request = traces(&mut dice);
            let bytes = request.encode_to_vec();
            round_trip(signal, &mess_up(&mut mess, &bytes));
            (bytes, serde_json::to_vec(&request).unwrap())
        }
        Signal::Metrics => {
            let request = metrics(&mut dice);
            (
                request.encode_to_vec(),
                serde_json::to_vec(&request).unwrap(),
            )
        }
        Signal::Logs => {
            let request = logs(&mut dice);
            (
                request.encode_to_vec(),
                serde_json::to_vec(&request).unwrap(),
            )
        }
    };
    let mut read = Vec::new();
    let limits = Limits::NONE;
    to_protobuf(signal, &json, &limits, InvalidUtf8::Reject, &mut read).unwrap();
    assert_eq!(by_prost(signal, &read).unwrap(), bytes);
    assert_eq!(read.len(), bytes.len());
    round_trip(signal, &bytes);
}
