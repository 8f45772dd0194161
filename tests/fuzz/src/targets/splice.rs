//! For any reply to any valid request, the splice of the bytes has the same effect as editing the
//! objects, items are accounted for, and unknown fields survive.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use spandrel_wire::{
    Assembler, Edits, Limits, Output, Signal, Splice, Verdict, check_item_edits, count, splice,
    validate,
};

use super::oracle;
use crate::dice::Dice;
use crate::edit::{Change, edit_span, edited, flat, kept};
use crate::mess::mess_up;
use crate::replies::{changes, encode, item_changes, rules, verdicts};
use crate::requests::traces;

/// Runs one input. Its first byte decides whether the rest is a request, which also decides the
/// reply, or choices for both.
pub(crate) fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else {
        return;
    };
    let mut dice = Dice::new(rest.to_vec());
    let mut reply = dice.fork(500);
    let request = if first % 2 == 0 {
        let taken = rest.len() / 3;
        rest[taken.min(500)..].to_vec()
    } else {
        let mut mess = dice.fork(300);
        let request = traces(&mut dice).encode_to_vec();
        mess_up(&mut mess, &request)
    };
    if validate(Signal::Traces, &request, &Limits::NONE).is_err() {
        return;
    }
    check(&request, &mut reply);
}

fn check(request: &[u8], reply: &mut Dice) {
    let decoded = oracle::traces(request).unwrap();
    let scopes = decoded
        .resource_spans
        .iter()
        .map(|entry| entry.scope_spans.len());
    let items = count(Signal::Traces, request);
    let counts = [items, decoded.resource_spans.len(), scopes.sum()];
    let said = verdicts(reply, items);
    let asked = changes(reply, counts);
    let (words, blob) = encode(&asked);
    let edits = Edits {
        words: &words,
        blob: &blob,
    };
    let spliced = splice(request, &said, edits, &rules(items)).unwrap();
    books_balance(&spliced, &said, items);
    let whole = edited(decoded, &asked);
    let expected = kept(whole.clone(), &said);
    match &spliced.output {
        Output::Unchanged => assert!(asked.is_empty() && spliced.kept_items == items),
        Output::Nothing => assert_eq!(spliced.kept_items, 0),
        Output::Request(bytes) => {
            let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
            assert_eq!(decoded, expected);
            let summary = validate(Signal::Traces, bytes, &Limits::NONE).unwrap();
            assert_eq!(summary.items, spliced.kept_items);
        }
    }
    if said.iter().all(|verdict| *verdict == 0) && asked.is_empty() {
        assert_eq!(spliced.output, Output::Unchanged);
    }
    release(&spliced, &whole, &said, reply);
}

fn books_balance(spliced: &Splice, said: &[u8], items: usize) {
    let of = |verdict: Verdict| {
        let byte = verdict.to_byte();
        said.iter().filter(|said| **said == byte).count()
    };
    let held = spliced.held.as_ref().map_or(0, |held| held.len());
    assert_eq!(held, of(Verdict::Hold));
    let mut dropped = 0;
    for (byte, count) in &spliced.dropped {
        let count = usize::try_from(*count).unwrap();
        assert_eq!(count, of(Verdict::from_byte(*byte)));
        dropped += count;
    }
    assert_eq!(items, spliced.kept_items + held + dropped);
}

/// Checks that a held span comes out as it would have been passed on, with the edits of its
/// release.
fn release(spliced: &Splice, whole: &ExportTraceServiceRequest, said: &[u8], reply: &mut Dice) {
    let Some(held) = &spliced.held else {
        return;
    };
    let asked: Vec<Change> = item_changes(reply, held.len());
    let (words, blob) = encode(&asked);
    let edits = Edits {
        words: &words,
        blob: &blob,
    };
    check_item_edits(edits, held.len(), &Limits::default()).unwrap();
    let ordered = edits.ordered();
    let edits = Edits {
        words: &ordered,
        blob: &blob,
    };
    let mut assembler = Assembler::new();
    for position in 0..held.len() {
        let index = u32::try_from(position).unwrap();
        assembler
            .push(held, position, edits.of_item(index))
            .unwrap();
    }
    let (bytes, items) = assembler.finish();
    assert_eq!(items, held.len());
    let summary = validate(Signal::Traces, &bytes, &Limits::NONE).unwrap();
    assert_eq!(summary.items, items);
    let mut verdict = said.iter();
    let mut expected = flat(whole);
    expected.retain(|_| verdict.next() == Some(&1));
    for (index, item) in (0..).zip(&mut expected) {
        for change in asked.iter().filter(|change| change.index == index) {
            edit_span(&mut item.span, change);
        }
    }
    assert_eq!(flat(&oracle::traces(&bytes).unwrap()), expected);
}
