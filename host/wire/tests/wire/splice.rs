//! A splice equals decoding, editing and encoding.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{BadReply, Edits, Limits, Output, Signal, Verdict, count, splice, validate};

use crate::cases::{cases, dice};
use crate::dice::Dice;
use crate::edit::{Change, edited, kept};
use crate::mess::{Level, UNKNOWN, fields, mess_up};
use crate::replies::{changes, encode, garbage, rules, verdicts};
use crate::requests::traces;

/// A request, as bytes and as objects, and a reply to it.
pub(crate) struct Case {
    pub(crate) request: Vec<u8>,
    pub(crate) decoded: ExportTraceServiceRequest,
    pub(crate) items: usize,
    pub(crate) verdicts: Vec<u8>,
    pub(crate) changes: Vec<Change>,
}

impl Case {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        let (mut reply, mut mess) = (dice.fork(500), dice.fork(300));
        let request = traces(dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let decoded = ExportTraceServiceRequest::decode(&request[..]).unwrap();
        let scopes = decoded
            .resource_spans
            .iter()
            .map(|entry| entry.scope_spans.len());
        let items = count(Signal::Traces, &request);
        let counts = [items, decoded.resource_spans.len(), scopes.sum()];
        Self {
            verdicts: verdicts(&mut reply, items),
            changes: changes(&mut reply, counts),
            request,
            decoded,
            items,
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    /// Verdicts and edits on the bytes give the same result as on the decoded objects, every item
    /// is accounted for, and the result is valid.
    #[test]
    fn equals_decode_edit_encode(mut dice in dice(3000)) {
        let case = Case::new(&mut dice);
        let (words, blob) = encode(&case.changes);
        let edits = Edits { words: &words, blob: &blob };
        let spliced = splice(&case.request, &case.verdicts, edits, &rules(case.items)).unwrap();

        let expected = kept(edited(case.decoded.clone(), &case.changes), &case.verdicts);
        let of = |verdict: Verdict| {
            case.verdicts.iter().filter(|byte| **byte == verdict.to_byte()).count()
        };
        let dropped: u64 = spliced.dropped.iter().map(|(_, count)| count).sum();
        prop_assert_eq!(spliced.held.as_ref().map_or(0, |held| held.len()), of(Verdict::Hold));
        for (byte, count) in &spliced.dropped {
            prop_assert_eq!(usize::try_from(*count).unwrap(), of(Verdict::from_byte(*byte)));
        }
        prop_assert_eq!(
            case.items,
            spliced.kept_items + of(Verdict::Hold) + usize::try_from(dropped).unwrap()
        );
        match &spliced.output {
            Output::Unchanged => {
                prop_assert!(case.changes.is_empty());
                prop_assert_eq!(spliced.kept_items, case.items);
            }
            Output::Nothing => prop_assert_eq!(spliced.kept_items, 0),
            Output::Request(bytes) => {
                let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
                prop_assert_eq!(&decoded, &expected);
                let summary = validate(Signal::Traces, bytes, &Limits::default()).unwrap();
                prop_assert_eq!(summary.items, spliced.kept_items);
            }
        }
    }

    /// Fields that this version does not know are passed on as they came, at every level that
    /// stays.
    #[test]
    fn unknown_fields_survive(mut dice in dice(3000)) {
        let mut case = Case::new(&mut dice);
        case.changes.retain(|change| change.operation.number() != 5);
        let (words, blob) = encode(&case.changes);
        let edits = Edits { words: &words, blob: &blob };
        let spliced = splice(&case.request, &case.verdicts, edits, &rules(case.items)).unwrap();
        if let Output::Request(bytes) = &spliced.output {
            let edits_attributes = !case.changes.is_empty();
            prop_assert_eq!(
                unknown(bytes, &[], edits_attributes),
                unknown(&case.request, &case.verdicts, edits_attributes)
            );
        }
    }

    /// An entry without a change is passed on byte by byte as it came, overlong lengths included.
    #[test]
    fn untouched_entries_are_copied(mut dice in dice(3000)) {
        let mut case = Case::new(&mut dice);
        let entries = |bytes: &[u8]| -> Vec<Vec<u8>> {
            fields(bytes).iter().map(|field| field.raw.to_vec()).collect()
        };
        // Only the first item changes, so everything but its entry stays.
        case.changes.retain(|change| change.operation.number() <= 5 && change.index == 0);
        if case.changes.is_empty() {
            return Ok(());
        }
        let (words, blob) = encode(&case.changes);
        let edits = Edits { words: &words, blob: &blob };
        let spliced = splice(&case.request, &[], edits, &rules(case.items)).unwrap();
        let Output::Request(bytes) = spliced.output else { panic!("edited, but not written") };
        let (before, after) = (entries(&case.request), entries(&bytes));
        prop_assert_eq!(before.len(), after.len());
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        prop_assert!(changed.count() <= 1);
    }

    /// Any reply of a plugin gives a valid request or the place where the reply is wrong, and never
    /// a panic.
    #[test]
    fn any_reply_is_spliced_or_refused(mut dice in dice(3000)) {
        let mut garbled = dice.fork(300);
        let case = Case::new(&mut dice);
        let dice = &mut garbled;
        let (mut words, blob) = if dice.once_in(2) {
            encode(&case.changes)
        } else {
            garbage(dice)
        };
        if let Some(word) = words.last_mut() {
            *word = word.wrapping_add(u32::from(dice.byte() % 3));
        }
        let verdicts = if dice.once_in(2) { case.verdicts } else { dice.bytes(case.items * 2) };
        let edits = Edits { words: &words, blob: &blob };
        match splice(&case.request, &verdicts, edits, &rules(case.items)) {
            Ok(spliced) => {
                if let Output::Request(bytes) = spliced.output {
                    let summary = validate(Signal::Traces, &bytes, &Limits::default()).unwrap();
                    prop_assert_eq!(summary.items, spliced.kept_items);
                }
            }
            Err(bad) => prop_assert!(!bad.to_string().contains('\n')),
        }
    }
}

/// An unknown field, and the level of its message.
type Unknown = (Level, Vec<u8>);

/// Returns the unknown fields of what stays. Those inside attributes count only if nothing is
/// edited.
fn unknown(request: &[u8], verdicts: &[u8], edited: bool) -> Vec<Unknown> {
    let mut seen = Vec::new();
    let mut item = 0;
    collect(
        request,
        Level::Request,
        verdicts,
        edited,
        &mut item,
        &mut seen,
    );
    seen.sort();
    seen
}

/// Collects the unknown fields of a message. Returns true if any span in it was kept, or none came.
fn collect(
    message: &[u8],
    level: Level,
    verdicts: &[u8],
    edited: bool,
    item: &mut usize,
    seen: &mut Vec<Unknown>,
) -> bool {
    let (mut came, mut kept) = (false, false);
    for field in fields(message) {
        if field.number >= UNKNOWN {
            seen.push((level, field.raw.to_vec()));
        }
        let Some(inside) = level.inside(field.number) else {
            continue;
        };
        if edited && matches!(inside, Level::KeyValue | Level::Status) {
            continue;
        }
        let stays = if inside == Level::Span {
            *item += 1;
            verdicts.get(*item - 1).is_none_or(|verdict| *verdict == 0)
        } else {
            true
        };
        let before = *item;
        let mut fields = Vec::new();
        let stays = collect(field.body, inside, verdicts, edited, item, &mut fields) && stays;
        let has_spans = inside == Level::Span || *item > before;
        came |= has_spans;
        kept |= has_spans && stays;
        if stays {
            seen.extend(fields);
        }
    }
    kept || !came
}

/// A reply that says nothing costs nothing: the batch is passed on as it is.
#[test]
fn silence_keeps_all() {
    let spliced = splice(b"", &[], Edits::default(), &rules(0)).unwrap();
    assert_eq!(spliced.output, Output::Unchanged);
    let span = [0x0a, 4, 0x12, 2, 0x12, 0];
    let spliced = splice(&span, &[0], Edits::default(), &rules(1)).unwrap();
    assert_eq!(spliced.output, Output::Unchanged);
    assert_eq!(spliced.held, None);
}

/// The error says where a reply is wrong.
#[test]
fn bad_replies_name_the_place() {
    let request = [0x0a, 4, 0x12, 2, 0x12, 0];
    let said = |verdicts: &[u8], words: &[u32], blob: &[u8]| {
        let mut rules = rules(1);
        rules.holds = false;
        splice(&request, verdicts, Edits { words, blob }, &rules)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(said(&[0; 5], &[], b""), "verdicts: 5 bytes for 1 items");
    assert_eq!(
        said(&[1], &[], b""),
        "verdict of item 0: hold from a plugin that does not hold"
    );
    assert_eq!(
        said(&[5], &[], b""),
        "verdict of item 0: drop reason 3 of 3"
    );
    assert_eq!(
        said(&[], &[0, 0, 0], b""),
        "edits: 3 words, not four for each"
    );
    assert_eq!(said(&[], &[10, 0, 0, 0], b""), "edit 0: operation 10");
    assert_eq!(
        said(&[], &[2, 0, 0, 0, 2, 900, 0, 0], b""),
        "edit 1: item 900 of 1"
    );
    assert_eq!(said(&[], &[6, 1, 0, 0], b""), "edit 0: resource 1 of 1");
    assert_eq!(said(&[], &[8, 3, 0, 0], b""), "edit 0: scope 3 of 1");
    assert_eq!(
        said(&[], &[2, 0, 3, 2], b"name"),
        "edit 0: 2 bytes at 3 of a blob of 4"
    );
    assert_eq!(
        said(&[], &[0, 0, 0, 1], b"\x0a"),
        "edit 0: snippet is not a KeyValue"
    );
    assert_eq!(
        said(&[], &[2, 0, 0, 1], b"\xff"),
        "edit 0: snippet is not a name"
    );
    assert_eq!(
        said(&[], &[3, 0, u32::MAX, 0], b""),
        "edit 0: snippet is not a kind's number"
    );
}

/// A few words that point to one large snippet again and again do not make a huge batch.
#[test]
fn growth_is_limited() {
    let request = [0x0a, 4, 0x12, 2, 0x12, 0];
    let name = vec![b'x'; 1 << 20];
    let words: Vec<u32> = (0..65).flat_map(|_| [2, 0, 0, 1 << 20]).collect();
    let edits = Edits {
        words: &words,
        blob: &name,
    };
    let bad = splice(&request, &[], edits, &rules(1)).unwrap_err();
    assert_eq!(bad, BadReply::Growth { limit: 64 << 20 });
}

/// Very many edits of one span cost no more than their length.
#[test]
fn many_edits_of_one_span() {
    let request = [0x0a, 4, 0x12, 2, 0x12, 0];
    let mut words = Vec::new();
    let mut blob = Vec::new();
    for number in 0..100_000 {
        let offset = blob.len();
        spandrel_wire::write_key_value(&mut blob, &format!("key{number}"), "value");
        let len = u32::try_from(blob.len() - offset).unwrap();
        words.extend([0, 0, u32::try_from(offset).unwrap(), len]);
    }
    let edits = Edits {
        words: &words,
        blob: &blob,
    };
    let spliced = splice(&request, &[], edits, &rules(1)).unwrap();
    let Output::Request(bytes) = spliced.output else {
        panic!("edited, but not written")
    };
    let decoded = ExportTraceServiceRequest::decode(&bytes[..]).unwrap();
    let span = &decoded.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!(span.attributes.len(), 100_000);
    assert_eq!(span.attributes[99_999].key, "key99999");
}
