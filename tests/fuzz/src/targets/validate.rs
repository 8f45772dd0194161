//! Any bytes as a request are accepted and counted as by prost, or are harmless if refused. The
//! accepted part is valid as a whole, and consists of the spans that are valid by themselves.

use prost::Message;
use spandrel_wire::{
    Edits, Invalid, InvalidUtf8, Limits, Output, Signal, count, remove_invalid_items,
    single_trace_part, splice, split_by_size, split_by_trace, validate,
};

use super::oracle;
use crate::dice::Dice;
use crate::edit::kept;
use crate::ids::{are_valid, raw_spans, spoil};
use crate::mess::mess_up;
use crate::metrics::metrics;
use crate::reading::read_all;
use crate::replies::rules;
use crate::requests::{logs, traces};

/// Runs one input. Its first byte decides the signal, whether the rest is a request or choices for
/// making one, and whether ids in that are made invalid.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let signal = oracle::signal(first & 0x7f);
    if *first < 0x80 {
        check(signal, rest);
    } else {
        let spoilt = *first >= 0xc0;
        check(signal, &made(signal, spoilt, Dice::new(rest.to_vec())));
    }
}

/// Makes a request with a few bytes changed.
fn made(signal: Signal, spoilt: bool, mut dice: Dice) -> Vec<u8> {
    let mut mess = dice.fork(300);
    let mut changes = dice.fork(12);
    let mut request = match signal {
        Signal::Traces => {
            let mut bad = dice.fork(if spoilt { 400 } else { 0 });
            let mut request = traces(&mut dice);
            if spoilt {
                spoil(&mut bad, &mut request);
            }
            mess_up(&mut mess, &request.encode_to_vec())
        }
        Signal::Metrics => metrics(&mut dice).encode_to_vec(),
        Signal::Logs => logs(&mut dice).encode_to_vec(),
    };
    for _ in 0..changes.roll(4) {
        let place = changes.roll(request.len());
        if let Some(byte) = request.get_mut(place) {
            *byte = changes.byte();
        }
    }
    request
}

fn check(signal: Signal, request: &[u8]) {
    let items = count(signal, request);
    let strict = validate(signal, request, &Limits::default());
    match (
        validate(signal, request, &Limits::NONE),
        oracle::counts(signal, request),
    ) {
        (Ok(summary), Some(expected)) => {
            let counts = [summary.resources, summary.scopes, summary.items];
            assert_eq!(counts, expected);
            assert_eq!(items, summary.items);
            assert!(strict.is_err() || strict == Ok(summary));
        }
        (Err(refused), Some(_)) => {
            assert!(is_known(&refused), "{refused}, but not by prost");
            assert!(strict.is_err());
        }
        (Ok(_), None) => panic!("accepted what prost refuses"),
        (Err(_), None) => assert!(strict.is_err()),
    }
    check_removal(signal, request);
    let parts = split_by_size(signal, request, 2).unwrap_or_default();
    assert_eq!(parts.iter().map(|part| part.items).sum::<usize>(), items);
    if signal == Signal::Traces {
        read_all(request);
        split_by_trace(request, 3);
        single_trace_part(request, 3);
        let verdicts: Vec<u8> = request.iter().take(items).map(|byte| byte % 3).collect();
        if verdicts.len() == items {
            splice(request, &verdicts, Edits::default(), &rules(items)).unwrap();
        }
    }
}

/// Checks that the accepted part needs no second check, for any fault in the request, and that
/// everything else is counted as refused. If prost accepts the whole, only items with invalid ids
/// are refused.
fn check_removal(signal: Signal, request: &[u8]) {
    let by_prost = oracle::counts(signal, request).is_some();
    for invalid_utf8 in [InvalidUtf8::Replace, InvalidUtf8::Reject] {
        let cleaned = match remove_invalid_items(signal, request, &Limits::NONE, invalid_utf8) {
            Ok(cleaned) => cleaned,
            Err(refused) => {
                let is_nested = matches!(refused, Invalid::TooDeep { .. });
                assert!(!by_prost || is_nested, "{refused}");
                return;
            }
        };
        let left = match &cleaned.output {
            Output::Unchanged => request,
            Output::Nothing => &[],
            Output::Request(left) => left,
        };
        assert!(left.len() <= request.len() + request.len() / 8 + (1 << 17));
        let summary = validate(signal, left, &Limits::NONE).unwrap();
        assert_eq!((summary.items, summary.invalid_spans), (cleaned.items, 0));
        let all = cleaned.items + cleaned.refused.count;
        assert_eq!(all, count(signal, request));
        assert!(cleaned.refused.to_string().len() < 4096);
        let again = remove_invalid_items(signal, left, &Limits::NONE, InvalidUtf8::Reject).unwrap();
        assert_eq!(
            (again.items, again.output),
            (cleaned.items, Output::Unchanged)
        );
        let is_strict = validate(signal, request, &Limits::NONE)
            .is_ok_and(|summary| summary.invalid_spans == 0);
        assert_eq!(is_strict, cleaned.output == Output::Unchanged);
        let nested = validate(signal, request, &Limits::NONE);
        let is_nested = matches!(nested, Err(Invalid::TooDeep { .. }));
        if by_prost && !is_nested && signal == Signal::Traces {
            check_spans(request, left, &cleaned.output);
        }
    }
}

/// Checks the accepted part of a request that prost accepts. It equals prost's result without the
/// spans whose ids are invalid, and each of the other spans is unchanged, byte for byte.
fn check_spans(request: &[u8], left: &[u8], kept_bytes: &Output) {
    let spans = raw_spans(request);
    let verdicts: Vec<u8> = spans
        .iter()
        .map(|span| u8::from(!are_valid(span)))
        .collect();
    let valid = spans.iter().filter(|span| are_valid(span));
    assert!(raw_spans(left).iter().eq(valid));
    let decoded = oracle::traces(request).unwrap();
    let expected = match kept_bytes {
        Output::Nothing => <_>::default(),
        Output::Unchanged | Output::Request(_) => kept(decoded, &verdicts),
    };
    // Compared as bytes, because a NaN is not equal to itself.
    let decoded = oracle::traces(left).unwrap();
    assert_eq!(decoded.encode_to_vec(), expected.encode_to_vec());
}

/// Returns true if only this crate refuses it: ids of a wrong length, or nesting that is too deep
/// at a place that prost counts in another way.
fn is_known(refused: &Invalid) -> bool {
    matches!(refused, Invalid::WrongId { .. } | Invalid::TooDeep { .. })
}
