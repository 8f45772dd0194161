//! `remove_invalid_items` removes the items in which something is wrong, or mends them, and changes
//! nothing else.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Invalid, InvalidUtf8, Limits, Output, Signal, ValidItems, count, remove_invalid_items,
    validate, write_bytes, write_nested, write_text,
};

use crate::cases::{cases, dice};
use crate::edit::kept;
use crate::faults::Marked;
use crate::ids::{are_valid, has_wrong_length, raw_spans, spoil};
use crate::mess::mess_up;
use crate::requests::{logs, traces};

/// Returns what is left of a request.
fn left<'a>(request: &'a [u8], cleaned: &'a ValidItems) -> &'a [u8] {
    match &cleaned.output {
        Output::Unchanged => request,
        Output::Nothing => &[],
        Output::Request(left) => left,
    }
}

fn cleaned(request: &[u8]) -> ValidItems {
    by(Signal::Traces, request, InvalidUtf8::Replace).unwrap()
}

fn by(signal: Signal, request: &[u8], invalid_utf8: InvalidUtf8) -> Result<ValidItems, Invalid> {
    remove_invalid_items(signal, request, &Limits::default(), invalid_utf8)
}

proptest! {
    #![proptest_config(cases())]

    /// The rest of a request equals prost's objects without the spans whose ids are invalid. Each
    /// span in it is byte for byte what it was, the counts are exact, and a second removal finds
    /// nothing.
    #[test]
    fn leaves_what_is_valid(mut dice in dice(4000)) {
        let (mut bad, mut mess) = (dice.fork(400), dice.fork(300));
        let mut request = traces(&mut dice);
        spoil(&mut bad, &mut request);
        let request = mess_up(&mut mess, &request.encode_to_vec());
        let spans = raw_spans(&request);
        let verdicts: Vec<u8> = spans.iter().map(|span| u8::from(!are_valid(span))).collect();

        let cleaned = cleaned(&request);
        let left = left(&request, &cleaned);
        let decoded = ExportTraceServiceRequest::decode(&request[..]).unwrap();
        let is_some = cleaned.items > 0 || verdicts.is_empty();
        let expected = if is_some { kept(decoded, &verdicts) } else { <_>::default() };
        prop_assert_eq!(ExportTraceServiceRequest::decode(left).unwrap(), expected);
        let valid: Vec<Vec<u8>> = spans.iter().filter(|span| are_valid(span)).cloned().collect();
        prop_assert_eq!(&raw_spans(left), &valid);
        prop_assert_eq!((cleaned.items, cleaned.refused.count), (valid.len(), spans.len() - valid.len()));
        prop_assert_eq!(cleaned.output == Output::Unchanged, cleaned.refused.is_empty());
        let again = self::cleaned(left);
        prop_assert_eq!((again.items, again.output), (valid.len(), Output::Unchanged));

        // `validate`, which removes nothing, finds the same spans invalid, unless it refuses the
        // whole request for an id of a wrong length.
        match validate(Signal::Traces, &request, &Limits::default()) {
            Ok(summary) => prop_assert_eq!(summary.invalid_spans, cleaned.refused.count),
            Err(_) => prop_assert!(spans.iter().any(|span| has_wrong_length(span))),
        }
    }

    /// Log records need no ids.
    #[test]
    fn leaves_logs_alone(mut dice in dice(2000)) {
        let request = logs(&mut dice).encode_to_vec();
        let cleaned = by(Signal::Logs, &request, InvalidUtf8::Reject).unwrap();
        prop_assert!(cleaned.refused.is_empty());
        prop_assert_eq!(cleaned.output, Output::Unchanged);
    }

    /// An error inside an item costs that item, or is mended. An error in a resource, a scope or a
    /// metric costs what is under it. The rest is what prost has without these.
    #[test]
    fn faults_cost_their_item(mut dice in dice(4000)) {
        for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
            let marked = Marked::new(signal, &mut dice.fork(1300));
            let request = marked.spoilt();
            for invalid_utf8 in [InvalidUtf8::Replace, InvalidUtf8::Reject] {
                let (expected, items, refused) = marked.left(invalid_utf8);
                let cleaned = by(signal, &request, invalid_utf8).unwrap();
                prop_assert_eq!((cleaned.items, cleaned.refused.count), (items, refused));
                prop_assert_eq!(items + refused, count(signal, &request));
                let left = left(&request, &cleaned);
                let summary = validate(signal, left, &Limits::default()).unwrap();
                prop_assert_eq!((summary.items, summary.invalid_spans), (items, 0));
                if cleaned.output != Output::Nothing {
                    let expected = expected.encode();
                    prop_assert_eq!(marked.decoded(left), expected);
                }
                let is_mended = invalid_utf8 == InvalidUtf8::Replace && marked.cuts() > 0;
                prop_assert!(cleaned.replaced.is_empty() || is_mended);
                prop_assert!(cleaned.replaced.count <= marked.cuts());
                prop_assert!(refused == 0 || !cleaned.refused.to_string().is_empty());
            }
        }
    }
}

/// Makes a request with one span.
fn one(build: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut request = Vec::new();
    write_nested(&mut request, 1, |entry| {
        write_nested(entry, 2, |scope| write_nested(scope, 2, &build));
    });
    request
}

/// Each way in which an id can be wrong is found, and ids that look wrong and are not are let in.
#[test]
fn ids_are_judged_one_by_one() {
    let judge = |name: &str, is_valid: bool, more: &dyn Fn(&mut Vec<u8>)| {
        let request = one(|span| {
            write_bytes(span, 1, &[7; 16]);
            write_bytes(span, 2, &[8; 8]);
            write_text(span, 5, "GET /cart");
            more(span);
        });
        let cleaned = cleaned(&request);
        assert_eq!(cleaned.items == 1, is_valid, "{name}");
        assert_eq!(cleaned.items + cleaned.refused.count, 1, "{name}");
    };
    let link = |id: u32, bytes: &'static [u8]| {
        move |span: &mut Vec<u8>| write_nested(span, 13, |link| write_bytes(link, id, bytes))
    };
    judge("nothing more", true, &|_| {});
    judge("trace id empty", false, &|span| write_bytes(span, 1, b""));
    judge("trace id of 15", false, &|span| {
        write_bytes(span, 1, &[7; 15])
    });
    judge("trace id of 17", false, &|span| {
        write_bytes(span, 1, &[7; 17])
    });
    judge("trace id of 8", false, &|span| {
        write_bytes(span, 1, &[7; 8])
    });
    judge("trace id zero", false, &|span| {
        write_bytes(span, 1, &[0; 16])
    });
    judge("span id empty", false, &|span| write_bytes(span, 2, b""));
    judge("span id of 7", false, &|span| write_bytes(span, 2, &[7; 7]));
    judge("span id of 16", false, &|span| {
        write_bytes(span, 2, &[7; 16])
    });
    judge("span id zero", false, &|span| write_bytes(span, 2, &[0; 8]));
    judge("a parent", true, &|span| write_bytes(span, 4, &[7; 8]));
    judge("parent empty", true, &|span| write_bytes(span, 4, b""));
    judge("parent zero", true, &|span| write_bytes(span, 4, &[0; 8]));
    judge("parent of 9", false, &|span| write_bytes(span, 4, &[7; 9]));
    judge("link without ids", true, &link(3, b"state"));
    judge("link to a zero trace", true, &link(1, &[0; 16]));
    judge("link to a trace id of 8", false, &link(1, &[7; 8]));
    judge("link to a span id of 16", false, &link(2, &[7; 16]));
    // One half of it that is not zero is enough.
    let halves = |at: usize| {
        move |span: &mut Vec<u8>| {
            let mut id = [0; 16];
            id[at] = 1;
            write_bytes(span, 1, &id);
            write_bytes(span, 2, &id[at / 8 * 8..][..8]);
        }
    };
    judge("all but the first half zero", true, &halves(0));
    judge("all but the second half zero", true, &halves(15));
    // The last of several counts, but a wrong length counts wherever it stands.
    judge("zero, then another", true, &|span| {
        write_bytes(span, 2, &[0; 8]);
        write_bytes(span, 2, &[9; 8]);
    });
    judge("a short one, then another", false, &|span| {
        write_bytes(span, 2, &[9; 7]);
        write_bytes(span, 2, &[9; 8]);
    });
    let bare = cleaned(&one(|span| write_text(span, 5, "GET /cart")));
    assert_eq!((bare.refused.count, bare.output), (1, Output::Nothing));
}
