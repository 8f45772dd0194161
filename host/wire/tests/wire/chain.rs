//! A chain on a projection equals the same chain on the batch.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Edits, Limits, Output, Projection, Reads, Rules, Signal, Traces, count, splice, validate,
};

use crate::cases::{cases, dice};
use crate::dice::Dice;
use crate::mess::mess_up;
use crate::replies::{changes, encode, garbage, reads, rules, verdicts};
use crate::requests::traces;

fn request(dice: &mut Dice) -> Vec<u8> {
    let mut mess = dice.fork(300);
    let request = traces(dice).encode_to_vec();
    mess_up(&mut mess, &request)
}

/// Checks that everything declared reads the same in both, that everything else is not there, and
/// that the projection counts the same.
fn reads_alike(request: &[u8], projected: &[u8], reads: &Reads) -> Result<(), TestCaseError> {
    let before = validate(Signal::Traces, request, &Limits::NONE).unwrap();
    let after = validate(Signal::Traces, projected, &Limits::NONE).unwrap();
    prop_assert_eq!(before.items, after.items);
    prop_assert_eq!(before.resources, after.resources);
    prop_assert_eq!(before.scopes, after.scopes);
    let spans = Traces::new(request)
        .spans()
        .zip(Traces::new(projected).spans());
    for (before, after) in spans {
        prop_assert_eq!(
            (before.index, before.resource_index, before.scope_index),
            (after.index, after.resource_index, after.scope_index)
        );
        let (resource, scope) = (before.resource_spans, before.scope_spans);
        prop_assert_eq!(resource.schema_url(), after.resource_spans.schema_url());
        prop_assert_eq!(scope.schema_url(), after.scope_spans.schema_url());
        prop_assert_eq!(scope.scope().name(), after.scope_spans.scope().name());
        prop_assert_eq!(scope.scope().version(), after.scope_spans.scope().version());
        let all = |attributes: spandrel_wire::Attributes<'_>| {
            attributes
                .map(|attribute| format!("{attribute:?}"))
                .collect::<Vec<_>>()
        };
        prop_assert_eq!(
            all(resource.resource().attributes()),
            all(after.resource_spans.resource().attributes())
        );
        prop_assert_eq!(
            all(scope.scope().attributes()),
            all(after.scope_spans.scope().attributes())
        );
        let (before, after) = (before.span, after.span);
        for key in reads.keys() {
            prop_assert_eq!(before.attribute(key), after.attribute(key));
        }
        let read = |read: &str| reads.keys().iter().any(|key| key == read);
        prop_assert!(after.attributes().all(|attribute| read(attribute.key)));
        if reads.fields() {
            prop_assert_eq!(before.trace_id(), after.trace_id());
            prop_assert_eq!(before.span_id(), after.span_id());
            prop_assert_eq!(before.parent_span_id(), after.parent_span_id());
            prop_assert_eq!(before.trace_state(), after.trace_state());
            prop_assert_eq!(before.name(), after.name());
            prop_assert_eq!(before.kind(), after.kind());
            prop_assert_eq!(before.start_time_unix_nano(), after.start_time_unix_nano());
            prop_assert_eq!(before.end_time_unix_nano(), after.end_time_unix_nano());
            prop_assert_eq!(before.flags(), after.flags());
            prop_assert_eq!(before.status(), after.status());
            prop_assert_eq!(
                before.dropped_attributes_count(),
                after.dropped_attributes_count()
            );
        }
    }
    Ok(())
}

fn decoded(bytes: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(bytes).unwrap()
}

fn counts(request: &[u8]) -> [usize; 3] {
    let decoded = decoded(request);
    let scopes = decoded
        .resource_spans
        .iter()
        .map(|entry| entry.scope_spans.len());
    [
        count(Signal::Traces, request),
        decoded.resource_spans.len(),
        scopes.sum(),
    ]
}

proptest! {
    #![proptest_config(cases())]

    /// The declared reads of a plugin are the same in the projection as in the batch, however odd
    /// its encoding, and the rest of its spans is left out.
    #[test]
    fn declared_reads_are_there(mut dice in dice(3000)) {
        let reads = reads(&mut dice.fork(40));
        let request = request(&mut dice);
        let projection = Projection::new(&request, reads.clone());
        prop_assert!(projection.is_unchanged());
        reads_alike(&request, projection.bytes(), &reads)?;
        for placed in Traces::new(projection.bytes()).spans() {
            let span = placed.span;
            prop_assert_eq!(span.events().count() + span.links().count(), 0);
            prop_assert!(reads.fields() || (span.name().is_empty() && span.trace_id().is_empty()));
        }
    }

    /// The replies of a chain, spliced once, give the same result as a splice after each of them.
    /// On the way, every plugin reads what it would read in the batch itself. A reply that is
    /// refused changes nothing, and is refused for the same reason.
    #[test]
    fn one_splice_equals_many(mut dice in dice(4000)) {
        let reads = reads(&mut dice.fork(40));
        let mut replies = dice.fork(1500);
        let request = request(&mut dice);
        let mut projection = Projection::new(&request, reads.clone());
        let mut whole = request.clone();
        for _ in 0..4 {
            let mut reply = replies.fork(400);
            let counts = counts(&whole);
            let items = counts[0];
            let verdicts = verdicts(&mut reply, items);
            let bad = reply.once_in(8);
            let (words, blob) = if bad {
                garbage(&mut reply)
            } else {
                encode(&changes(&mut reply, counts))
            };
            let edits = Edits { words: &words, blob: &blob };
            let rules = Rules { holds: false, ..rules(items) };
            let before = projection.clone();
            let (sequence, composed) = (
                splice(&whole, &verdicts, edits, &rules),
                projection.apply(&verdicts, edits, &rules),
            );
            match (sequence, composed) {
                (Ok(sequence), Ok(composed)) => {
                    prop_assert_eq!(sequence.kept_items, composed.kept_items);
                    prop_assert_eq!(sequence.dropped, composed.dropped);
                    match sequence.output {
                        Output::Unchanged => {}
                        Output::Request(bytes) => whole = bytes,
                        Output::Nothing => {
                            prop_assert_eq!(projection.splice(&request), Output::Nothing);
                            return Ok(());
                        }
                    }
                }
                (Err(sequence), Err(composed)) => {
                    prop_assert_eq!(sequence, composed);
                    prop_assert_eq!(before.bytes(), projection.bytes());
                }
                (sequence, composed) => prop_assert!(false, "{sequence:?} but {composed:?}"),
            }
            reads_alike(&whole, projection.bytes(), &reads)?;
            match projection.splice(&request) {
                Output::Unchanged => prop_assert_eq!(&request, &whole),
                Output::Request(bytes) => prop_assert_eq!(decoded(&bytes), decoded(&whole)),
                Output::Nothing => prop_assert!(false, "items were left"),
            }
        }
    }
}
