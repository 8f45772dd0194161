//! Sift = take out the spans whose ids are invalid, and nothing else.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Kept, Limits, Sifted, Signal, sift, validate, write_bytes, write_nested, write_text,
};

use crate::cases::{cases, dice};
use crate::edit::kept;
use crate::ids::{are_valid, has_wrong_length, raw_spans, spoil};
use crate::mess::mess_up;
use crate::requests::{logs, traces};

/// What is left of a request.
fn left<'a>(request: &'a [u8], sifted: &'a Sifted) -> &'a [u8] {
    match &sifted.kept {
        Kept::All => request,
        Kept::Nothing => &[],
        Kept::Some(left) => left,
    }
}

fn sifted(request: &[u8]) -> Sifted {
    sift(Signal::Traces, request, &Limits::default()).unwrap()
}

proptest! {
    #![proptest_config(cases())]

    /// What is left is what prost's objects are without the spans whose ids are invalid; each span in
    /// it is byte for byte what it was; the counts are exact; and what is left needs no second look.
    #[test]
    fn leaves_what_is_valid(mut dice in dice(4000)) {
        let (mut bad, mut mess) = (dice.fork(400), dice.fork(300));
        let mut request = traces(&mut dice);
        spoil(&mut bad, &mut request);
        let request = mess_up(&mut mess, &request.encode_to_vec());
        let spans = raw_spans(&request);
        let verdicts: Vec<u8> = spans.iter().map(|span| u8::from(!are_valid(span))).collect();

        let sifted = sifted(&request);
        let left = left(&request, &sifted);
        let decoded = ExportTraceServiceRequest::decode(&request[..]).unwrap();
        let is_some = sifted.items > 0 || verdicts.is_empty();
        let expected = if is_some { kept(decoded, &verdicts) } else { <_>::default() };
        prop_assert_eq!(ExportTraceServiceRequest::decode(left).unwrap(), expected);
        let valid: Vec<Vec<u8>> = spans.iter().filter(|span| are_valid(span)).cloned().collect();
        prop_assert_eq!(&raw_spans(left), &valid);
        prop_assert_eq!((sifted.items, sifted.invalid_spans), (valid.len(), spans.len() - valid.len()));
        prop_assert_eq!(sifted.kept == Kept::All, sifted.invalid_spans == 0);
        let again = self::sifted(left);
        prop_assert_eq!((again.items, again.kept), (valid.len(), Kept::All));

        // Whoever takes nothing out says of the same spans that they are invalid, unless the whole
        // is refused for an id of a wrong length.
        match validate(Signal::Traces, &request, &Limits::default()) {
            Ok(summary) => prop_assert_eq!(summary.invalid_spans, sifted.invalid_spans),
            Err(_) => prop_assert!(spans.iter().any(|span| has_wrong_length(span))),
        }
    }

    /// Log records need no ids.
    #[test]
    fn leaves_logs_alone(mut dice in dice(2000)) {
        let request = logs(&mut dice).encode_to_vec();
        let sifted = sift(Signal::Logs, &request, &Limits::default()).unwrap();
        prop_assert_eq!((sifted.invalid_spans, sifted.kept), (0, Kept::All));
    }
}

/// A request with one span.
fn one(build: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut request = Vec::new();
    write_nested(&mut request, 1, |entry| {
        write_nested(entry, 2, |scope| write_nested(scope, 2, &build));
    });
    request
}

/// Each way in which an id can be wrong, and those that look wrong and are not.
#[test]
fn ids_are_judged_one_by_one() {
    let judge = |name: &str, is_valid: bool, more: &dyn Fn(&mut Vec<u8>)| {
        let request = one(|span| {
            write_bytes(span, 1, &[7; 16]);
            write_bytes(span, 2, &[8; 8]);
            write_text(span, 5, "GET /cart");
            more(span);
        });
        let sifted = sifted(&request);
        assert_eq!(sifted.items == 1, is_valid, "{name}");
        assert_eq!(sifted.items + sifted.invalid_spans, 1, "{name}");
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
    // One half of it is enough.
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
    // The last of several counts, but a wrong length is one wherever it stands.
    judge("zero, then another", true, &|span| {
        write_bytes(span, 2, &[0; 8]);
        write_bytes(span, 2, &[9; 8]);
    });
    judge("a short one, then another", false, &|span| {
        write_bytes(span, 2, &[9; 7]);
        write_bytes(span, 2, &[9; 8]);
    });
    let bare = sifted(&one(|span| write_text(span, 5, "GET /cart")));
    assert_eq!((bare.invalid_spans, bare.kept), (1, Kept::Nothing));
}
