//! Held items are released as they would have been passed on.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Assembler, BadReply, Edits, HeldItems, Limits, Signal, check_item_edits, count, splice,
    validate,
};

use crate::cases::{cases, dice};
use crate::dice::Dice;
use crate::edit::{Change, Flat, edit_span, edited, flat};
use crate::replies::{encode, item_changes, rules};
use crate::splice::Case;

/// Holds some items of a batch. Returns them, and the same items as objects.
fn hold(dice: &mut Dice) -> Option<(HeldItems, Vec<(u32, Flat)>)> {
    let case = Case::new(dice);
    let (words, blob) = encode(&case.changes);
    let edits = Edits {
        words: &words,
        blob: &blob,
    };
    let spliced = splice(&case.request, &case.verdicts, edits, &rules(case.items)).unwrap();
    let expected = (0..)
        .zip(flat(&edited(case.decoded, &case.changes)))
        .zip(&case.verdicts)
        .filter(|(_, verdict)| **verdict == 1)
        .map(|(item, _)| item)
        .collect();
    Some((spliced.held?, expected))
}

/// Assembles held items, with changes of them.
fn assembled(sets: &[(HeldItems, Vec<(u32, Flat)>)], changes: &[Change]) -> Vec<Flat> {
    let (words, blob) = encode(changes);
    let released = Edits {
        words: &words,
        blob: &blob,
    };
    let items: usize = sets.iter().map(|(held, _)| held.len()).sum();
    check_item_edits(released, items, &Limits::default()).unwrap();
    let ordered = released.ordered();
    let ordered = Edits {
        words: &ordered,
        blob: &blob,
    };
    let mut assembler = Assembler::new();
    for (held, _) in sets {
        for position in 0..held.len() {
            let index = u32::try_from(assembler.items()).unwrap();
            assembler
                .push(held, position, ordered.of_item(index))
                .unwrap();
        }
    }
    let (bytes, pushed) = assembler.finish();
    assert_eq!(pushed, items);
    assert_eq!(count(Signal::Traces, &bytes), items);
    validate(Signal::Traces, &bytes, &Limits::default()).unwrap();
    flat(&ExportTraceServiceRequest::decode(&bytes[..]).unwrap())
}

proptest! {
    #![proptest_config(cases())]

    /// Items held from several batches come out in the order asked for, each in its resource and
    /// scope, with the edits of the hold and of the release.
    #[test]
    fn assemble_gives_back_what_was_held(mut dice in dice(6000)) {
        let mut release = dice.fork(300);
        let sets: Vec<_> = (0..3).filter_map(|_| hold(&mut dice.fork(2000))).collect();
        let items: usize = sets.iter().map(|(held, _)| held.len()).sum();
        let changes = item_changes(&mut release, items);
        let expected = sets.iter().flat_map(|(_, items)| items.iter().map(|(_, item)| item));
        let expected: Vec<Flat> = (0..)
            .zip(expected.cloned())
            .map(|(index, mut item)| {
                for change in changes.iter().filter(|change| change.index == index) {
                    edit_span(&mut item.span, change);
                }
                item
            })
            .collect();
        prop_assert_eq!(assembled(&sets, &changes), expected);
    }

    /// A held item is found by the number it had in its batch, before and after others are freed,
    /// and freeing gives memory back.
    #[test]
    fn retain_keeps_the_others(mut dice in dice(3000)) {
        let mut answers = dice.fork(100);
        let Some((mut held, mut expected)) = hold(&mut dice) else { return Ok(()) };
        let answers: Vec<bool> = (0..held.len()).map(|_| answers.once_in(2)).collect();
        let before = held.size();
        held.retain(|position| answers[position]);
        let mut answer = answers.iter();
        expected.retain(|_| *answer.next().unwrap());
        prop_assert!(held.size() <= before);
        if answers.contains(&false) {
            prop_assert!(held.size() < before);
        }
        let indices: Vec<u32> = expected.iter().map(|(index, _)| *index).collect();
        prop_assert_eq!(held.indices().collect::<Vec<_>>(), indices);
        for (position, (index, item)) in expected.iter().enumerate() {
            prop_assert_eq!(held.position(*index), Some(position));
            let span = Message::decode(held.span(position)).unwrap();
            prop_assert_eq!(&item.span, &span);
        }
        prop_assert_eq!(held.is_empty(), expected.is_empty());
        let items: Vec<Flat> = expected.iter().map(|(_, item)| item.clone()).collect();
        prop_assert_eq!(assembled(&[(held, expected)], &[]), items);
    }
}

/// An emission may edit items only, and only those that it forwards.
#[test]
fn emission_edits_are_checked() {
    let check = |words: &[u32]| {
        let edits = Edits { words, blob: b"x" };
        check_item_edits(edits, 2, &Limits::default()).map_err(|bad| bad.to_string())
    };
    assert_eq!(check(&[1, 1, 0, 1]), Ok(()));
    assert_eq!(check(&[1, 2, 0, 1]), Err("edit 0: item 2 of 2".to_owned()));
    assert_eq!(check(&[7, 0, 0, 1]), Err("edit 0: operation 7".to_owned()));
    let mut assembler = Assembler::new();
    let bad = assembler
        .push(&HeldItems::default(), 0, Edits::default())
        .unwrap_err();
    assert_eq!(
        bad,
        BadReply::NotHeld {
            position: 0,
            held: 0
        }
    );
}
