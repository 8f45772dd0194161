//! Any bytes as a request: accepted and counted as prost does it, and harmless where they are not.
//! What is let in of it are prost's spans without those whose ids are invalid.

use prost::Message;
use spandrel_wire::{
    Edits, Invalid, Kept, Limits, Signal, count, sift, single_trace_part, splice, split_by_size,
    split_by_trace, validate,
};

use super::oracle;
use crate::dice::Dice;
use crate::edit::kept;
use crate::ids::{are_valid, has_wrong_length, raw_spans, spoil};
use crate::mess::mess_up;
use crate::metrics::metrics;
use crate::reading::read_all;
use crate::replies::rules;
use crate::requests::{logs, traces};

/// The first byte says the signal, whether the rest is a request or decides what is in one, and whether
/// ids in that are spoilt.
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

/// A request with a few bytes changed.
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
            assert!(is_known(request, &refused), "{refused}, but not by prost");
            assert!(strict.is_err());
        }
        (Ok(_), None) => panic!("accepted what prost refuses"),
        (Err(_), None) => assert!(strict.is_err()),
    }
    check_sift(signal, request);
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

/// What is let in is what prost makes of the request but for the spans whose ids are invalid, each of
/// the others byte for byte.
fn check_sift(signal: Signal, request: &[u8]) {
    let sifted = match sift(signal, request, &Limits::NONE) {
        Ok(sifted) => sifted,
        Err(refused) => {
            // An id in a span is no reason to refuse the whole.
            let is_of_span = matches!(
                &refused,
                Invalid::Malformed {
                    what: "span" | "link",
                    ..
                }
            );
            let by_prost = oracle::counts(signal, request).is_none();
            assert!(
                by_prost || !is_of_span && is_known(request, &refused),
                "{refused}"
            );
            return;
        }
    };
    if signal != Signal::Traces {
        assert_eq!((sifted.invalid_spans, sifted.kept), (0, Kept::All));
        return;
    }
    let spans = raw_spans(request);
    let verdicts: Vec<u8> = spans
        .iter()
        .map(|span| u8::from(!are_valid(span)))
        .collect();
    let valid: Vec<_> = spans.iter().filter(|span| are_valid(span)).collect();
    let counts = (sifted.items, sifted.invalid_spans);
    assert_eq!(counts, (valid.len(), spans.len() - valid.len()));
    let left = match &sifted.kept {
        Kept::All => request,
        Kept::Nothing => &[],
        Kept::Some(left) => left,
    };
    assert!(raw_spans(left).iter().eq(valid));
    let decoded = oracle::traces(request).unwrap();
    let expected = match sifted.kept {
        Kept::Nothing => <_>::default(),
        Kept::All | Kept::Some(_) => kept(decoded, &verdicts),
    };
    // As bytes: a number that is none is not equal to itself.
    let decoded = oracle::traces(left).unwrap();
    assert_eq!(decoded.encode_to_vec(), expected.encode_to_vec());
    let strict = validate(signal, request, &Limits::NONE);
    let wrong = spans.iter().any(|span| has_wrong_length(span));
    assert_eq!(strict.is_err(), wrong);
    if let Ok(summary) = strict {
        assert_eq!(summary.invalid_spans, sifted.invalid_spans);
    }
}

/// What only this crate refuses: ids of a wrong length, and what is nested too deep in a place that
/// prost counts in another way.
fn is_known(request: &[u8], refused: &Invalid) -> bool {
    let Invalid::Malformed { what, offset } = refused else {
        return true;
    };
    let (ids, len) = match *what {
        "span" => (&[(0x0a, 16), (0x12, 8), (0x22, 8)][..], &request[..*offset]),
        "link" => (&[(0x0a, 16), (0x12, 8)][..], &request[..*offset]),
        "log record" => (&[(0x4a, 16), (0x52, 8)][..], &request[..*offset]),
        "exemplar" => (&[(0x2a, 16), (0x22, 8)][..], &request[..*offset]),
        _ => return false,
    };
    // The length and the key before it may both be longer than they need to be, and what stands
    // before them may look like a part of them.
    varints_before(len).any(|(len, before)| {
        varints_before(before).any(|(key, _)| ids.iter().any(|id| id.0 == key && id.1 != len))
    })
}

/// The varints that may end here, and what stands before each.
fn varints_before(bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (1..=bytes.len().min(10)).map_while(|length| {
        let (before, varint) = bytes.split_at(bytes.len() - length);
        let (last, first) = varint.split_last()?;
        let continues = first.iter().all(|byte| *byte >= 0x80);
        let ends = *last < 0x80;
        let value = |sum: u64, byte: &u8| sum.unbounded_shl(7) | u64::from(byte & 0x7f);
        (continues && ends).then(|| (varint.iter().rev().fold(0, value), before))
    })
}
