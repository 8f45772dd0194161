//! A chain on a projection gives the same result as on the batch: declared parts read the same, and
//! one splice at the end equals one after each reply.

use prost::Message;
use spandrel_wire::{
    Attributes, Edits, Limits, Output, Projection, Reads, Rules, Signal, Traces, count, splice,
    validate,
};

use super::oracle;
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::replies::{changes, encode, garbage, reads, rules, verdicts};
use crate::requests::traces;

/// Runs one input. Its first byte decides whether the rest is a request or choices for making one.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut dice = Dice::new(rest.to_vec());
    let reads = reads(&mut dice.fork(40));
    let mut replies = dice.fork(1500);
    let request = if first % 2 == 0 {
        rest[rest.len() / 2..].to_vec()
    } else {
        let mut mess = dice.fork(300);
        let request = traces(&mut dice).encode_to_vec();
        mess_up(&mut mess, &request)
    };
    if validate(Signal::Traces, &request, &Limits::NONE).is_ok() {
        chain(&request, &reads, &mut replies);
    }
}

fn counts(request: &[u8]) -> [usize; 3] {
    let decoded = oracle::traces(request).unwrap();
    let entries = decoded.resource_spans.iter();
    let scopes = entries.map(|entry| entry.scope_spans.len()).sum();
    [
        count(Signal::Traces, request),
        decoded.resource_spans.len(),
        scopes,
    ]
}

fn chain(request: &[u8], reads: &Reads, replies: &mut Dice) {
    let mut projection = Projection::new(request, reads.clone());
    let mut whole = request.to_vec();
    reads_alike(&whole, projection.bytes(), reads);
    for _ in 0..4 {
        let mut reply = replies.fork(400);
        let counts = counts(&whole);
        let verdicts = verdicts(&mut reply, counts[0]);
        let (words, blob) = if reply.once_in(8) {
            garbage(&mut reply)
        } else {
            encode(&changes(&mut reply, counts))
        };
        let edits = Edits {
            words: &words,
            blob: &blob,
        };
        let rules = Rules {
            holds: false,
            ..rules(counts[0])
        };
        let before = projection.clone();
        let spliced = splice(&whole, &verdicts, edits, &rules);
        match (spliced, projection.apply(&verdicts, edits, &rules)) {
            (Ok(spliced), Ok(applied)) => {
                assert_eq!(spliced.kept_items, applied.kept_items);
                assert_eq!(spliced.dropped, applied.dropped);
                match spliced.output {
                    Output::Unchanged => {}
                    Output::Request(bytes) => whole = bytes,
                    Output::Nothing => {
                        assert_eq!(projection.splice(request), Output::Nothing);
                        return;
                    }
                }
            }
            (Err(spliced), Err(applied)) => {
                assert_eq!(spliced, applied);
                assert_eq!(before.bytes(), projection.bytes());
            }
            (spliced, applied) => panic!("{spliced:?} but {applied:?}"),
        }
        reads_alike(&whole, projection.bytes(), reads);
        match projection.splice(request) {
            Output::Unchanged => assert_eq!(request, whole),
            Output::Request(bytes) => assert_eq!(oracle::traces(&bytes), oracle::traces(&whole)),
            Output::Nothing => panic!("items were left"),
        }
    }
}

/// Checks that every declared part reads the same in both, and that the projection counts the same.
fn reads_alike(request: &[u8], projected: &[u8], reads: &Reads) {
    let before = validate(Signal::Traces, request, &Limits::NONE).unwrap();
    let after = validate(Signal::Traces, projected, &Limits::NONE).unwrap();
    assert_eq!(
        (before.items, before.resources, before.scopes),
        (after.items, after.resources, after.scopes)
    );
    let spans = Traces::new(request)
        .spans()
        .zip(Traces::new(projected).spans());
    for (before, after) in spans {
        assert_eq!(
            (before.index, before.resource_index, before.scope_index),
            (after.index, after.resource_index, after.scope_index)
        );
        assert_eq!(
            all(before.resource_spans.resource().attributes()),
            all(after.resource_spans.resource().attributes())
        );
        assert_eq!(
            all(before.scope_spans.scope().attributes()),
            all(after.scope_spans.scope().attributes())
        );
        let (before, after) = (before.span, after.span);
        for key in reads.keys() {
            assert_eq!(
                format!("{:?}", before.attribute(key)),
                format!("{:?}", after.attribute(key))
            );
        }
        if reads.fields() {
            assert_eq!(before.trace_id(), after.trace_id());
            assert_eq!(before.span_id(), after.span_id());
            assert_eq!(before.name(), after.name());
            assert_eq!(before.kind(), after.kind());
            assert_eq!(before.status(), after.status());
            assert_eq!(before.duration(), after.duration());
        }
    }
}

/// Returns the attributes as texts, because a NaN value is not equal to itself.
fn all(attributes: Attributes<'_>) -> Vec<String> {
    attributes
        .map(|attribute| format!("{attribute:?}"))
        .collect()
}
