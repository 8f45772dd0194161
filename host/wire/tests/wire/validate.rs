//! Validate accepts what prost accepts, with the documented exceptions.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{Invalid, Limits, Signal, Summary, count, validate, write_bytes, write_nested};

use crate::cases::{cases, dice};
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::metrics::{metrics, points};
use crate::requests::{logs, traces};

/// Returns a valid request of each signal.
fn requests(dice: &mut Dice) -> [(Signal, Vec<u8>); 3] {
    let mut mess = dice.fork(300);
    let traces = traces(&mut dice.fork(1500)).encode_to_vec();
    [
        (Signal::Traces, mess_up(&mut mess, &traces)),
        (
            Signal::Metrics,
            metrics(&mut dice.fork(1500)).encode_to_vec(),
        ),
        (Signal::Logs, logs(dice).encode_to_vec()),
    ]
}

/// Returns the resources, scopes and items that prost counts in a request; `None` if it refuses it.
fn by_prost(signal: Signal, bytes: &[u8]) -> Option<[usize; 3]> {
    match signal {
        Signal::Traces => {
            let entries = ExportTraceServiceRequest::decode(bytes)
                .ok()?
                .resource_spans;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_spans);
            let items = scopes().map(|scope| scope.spans.len()).sum();
            Some([entries.len(), scopes().count(), items])
        }
        Signal::Metrics => {
            let entries = ExportMetricsServiceRequest::decode(bytes)
                .ok()?
                .resource_metrics;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_metrics);
            let items = scopes().flat_map(|scope| &scope.metrics).map(points).sum();
            Some([entries.len(), scopes().count(), items])
        }
        Signal::Logs => {
            let entries = ExportLogsServiceRequest::decode(bytes).ok()?.resource_logs;
            let scopes = || entries.iter().flat_map(|entry| &entry.scope_logs);
            let items = scopes().map(|scope| scope.log_records.len()).sum();
            Some([entries.len(), scopes().count(), items])
        }
    }
}

fn counts(summary: &Summary) -> [usize; 3] {
    [summary.resources, summary.scopes, summary.items]
}

proptest! {
    #![proptest_config(cases())]

    /// A request that prost encodes is accepted and counted as prost counts it, whatever unusual
    /// form it has.
    #[test]
    fn accepts_and_counts_requests(mut dice in dice(4000)) {
        for (signal, request) in requests(&mut dice) {
            let expected = by_prost(signal, &request).unwrap();
            let summary = validate(signal, &request, &Limits::default()).unwrap();
            prop_assert_eq!(counts(&summary), expected);
            prop_assert_eq!(count(signal, &request), expected[2]);
        }
    }

    /// Broken requests are refused exactly when prost refuses them, or for an id of a wrong length.
    #[test]
    fn refuses_as_prost_does(mut dice in dice(4000), seed in dice(60)) {
        for (signal, mut request) in requests(&mut dice) {
            break_it(&mut seed.clone(), &mut request);
            let expected = by_prost(signal, &request);
            match (validate(signal, &request, &Limits::NONE), expected) {
                (Ok(summary), Some(expected)) => {
                    prop_assert_eq!(counts(&summary), expected);
                    prop_assert_eq!(count(signal, &request), expected[2]);
                }
                (Err(refused), Some(_)) => {
                    prop_assert!(matches!(refused, Invalid::WrongId { .. }), "{refused}");
                }
                (Ok(_), None) => prop_assert!(false, "accepted what prost refuses"),
                (Err(_), None) => {}
            }
        }
    }
}

/// Changes, inserts, removes or repeats a few bytes.
fn break_it(dice: &mut Dice, request: &mut Vec<u8>) {
    for _ in 0..=dice.roll(4) {
        if request.is_empty() {
            return;
        }
        let at = dice.roll(request.len());
        match dice.roll(6) {
            0 => request[at] ^= 1 << (dice.byte() % 8),
            1 => request[at] = dice.byte(),
            2 => request.insert(at, dice.byte()),
            3 => drop(request.remove(at)),
            4 => request.truncate(at),
            _ => {
                let end = (at + dice.roll(20)).min(request.len());
                let copy = request[at..end].to_vec();
                request.extend(copy);
            }
        }
    }
}

/// The offset in an error is where the error is.
#[test]
fn errors_name_the_place() {
    let said = |bytes: &[u8]| {
        let refused = validate(Signal::Traces, bytes, &Limits::default());
        refused.unwrap_err().to_string()
    };
    assert_eq!(said(&[0x0a, 5]), "malformed request at byte 1");
    assert_eq!(
        said(&[0x0a, 2, 0x1a, 9]),
        "malformed resource spans at byte 3"
    );
    assert_eq!(
        said(&[0x0a, 7, 0x12, 5, 0x12, 3, 0x2a, 1, 0xff]),
        "text in span that is not UTF-8 at byte 8"
    );
    assert_eq!(said(&[0x00, 0]), "malformed request at byte 1");
    assert_eq!(said(&[0x0c]), "malformed request at byte 1");
}

/// One byte that is not text is found in keys and values of every length, wherever it is.
#[test]
fn no_bad_byte_is_overlooked() {
    for (len, key_len) in (1..70).flat_map(|len| [(len, 3), (3, len)]) {
        let request = |broken: Option<usize>| {
            let mut texts = vec![b'x'; key_len + len];
            if let Some(byte) = broken.and_then(|at| texts.get_mut(at)) {
                *byte = 0xff;
            }
            let (key, value) = texts.split_at(key_len);
            let mut request = Vec::new();
            write_nested(&mut request, 1, |resource_spans| {
                write_nested(resource_spans, 1, |resource| {
                    write_nested(resource, 1, |attribute| {
                        write_bytes(attribute, 1, key);
                        write_nested(attribute, 2, |any| write_bytes(any, 1, value));
                    });
                });
            });
            validate(Signal::Traces, &request, &Limits::default())
        };
        assert!(request(None).is_ok());
        for at in 0..key_len + len {
            assert!(request(Some(at)).is_err(), "{key_len} + {len}, at {at}");
        }
    }
}
