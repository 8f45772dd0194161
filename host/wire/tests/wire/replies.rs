//! The reads of arbitrary plugins, and their replies: verdicts and edits, right and wrong.

use prost::Message;
use spandrel_wire::{Limits, Operation, Reads, Rules};

use crate::dice::Dice;
use crate::edit::Change;
use crate::mess::{Level, mess_up_as};
use crate::requests::{key_value, span, status};

/// The number of reasons that the plugin of these tests has.
pub(crate) const REASONS: u8 = 3;

pub(crate) fn rules(items: usize) -> Rules {
    Rules {
        items,
        reasons: usize::from(REASONS),
        holds: true,
        limits: Limits::default(),
    }
}

/// Returns the parts of every span that a plugin reads.
pub(crate) fn reads(dice: &mut Dice) -> Reads {
    let mut reads = Reads::new();
    if dice.once_in(2) {
        reads.add_fields();
    }
    for key in dice.list(3, Dice::key) {
        reads.add_key(&key);
    }
    reads
}

/// Returns verdicts for this many items, or none at all.
pub(crate) fn verdicts(dice: &mut Dice, items: usize) -> Vec<u8> {
    if dice.once_in(4) {
        return Vec::new();
    }
    let keeps_most = dice.once_in(2);
    (0..items)
        .map(|_| match dice.byte() % 8 {
            4 => 1,
            5 => 2 + dice.byte() % REASONS,
            6 => 255,
            7 if !keeps_most => 2,
            _ => 0,
        })
        .collect()
}

/// Returns changes of this many items, resources and scopes, in any order.
pub(crate) fn changes(dice: &mut Dice, [items, resources, scopes]: [usize; 3]) -> Vec<Change> {
    let most = if dice.once_in(20) { 60 } else { 12 };
    let mut changes = dice.few(most, |dice| change(dice, [items, resources, scopes]));
    changes.retain(|change| match change.operation.number() {
        0..=5 => items > 0,
        6 | 7 => resources > 0,
        _ => scopes > 0,
    });
    if items > 1 && dice.once_in(3) {
        // A plugin mostly does to all spans what it does to one.
        let first = |change: &&Change| change.index == 0 && change.operation.number() <= 5;
        let first: Vec<Change> = changes.iter().filter(first).cloned().collect();
        for index in 1..u32::try_from(items).unwrap() {
            changes.extend(
                first
                    .iter()
                    .cloned()
                    .map(|change| Change { index, ..change }),
            );
        }
    }
    if dice.once_in(2) {
        changes.sort_by_key(|change| change.index);
    }
    changes
}

/// Returns changes of items alone.
pub(crate) fn item_changes(dice: &mut Dice, items: usize) -> Vec<Change> {
    changes(dice, [items, 0, 0])
}

/// The operations to choose from. Attributes are edited most.
const OPERATIONS: [Operation; 15] = [
    Operation::UpsertAttribute,
    Operation::UpsertAttribute,
    Operation::UpsertAttribute,
    Operation::UpsertAttribute,
    Operation::DeleteAttribute,
    Operation::DeleteAttribute,
    Operation::SetName,
    Operation::SetKind,
    Operation::SetStatus,
    Operation::Replace,
    Operation::UpsertResourceAttribute,
    Operation::UpsertResourceAttribute,
    Operation::DeleteResourceAttribute,
    Operation::UpsertScopeAttribute,
    Operation::DeleteScopeAttribute,
];

fn change(dice: &mut Dice, [items, resources, scopes]: [usize; 3]) -> Change {
    let operation = OPERATIONS[dice.roll(OPERATIONS.len())];
    let count = match operation.number() {
        0..=5 => items,
        6 | 7 => resources,
        _ => scopes,
    };
    // Half of the changes have the first target.
    let index = if dice.once_in(2) { dice.roll(count) } else { 0 };
    let index = u32::try_from(index).unwrap();
    let snippet = match operation {
        Operation::UpsertAttribute
        | Operation::UpsertResourceAttribute
        | Operation::UpsertScopeAttribute => {
            let bytes = key_value(dice).encode_to_vec();
            mess_up_as(dice, &bytes, Level::KeyValue)
        }
        Operation::SetStatus => status(dice).encode_to_vec(),
        Operation::Replace => {
            let bytes = span(dice).encode_to_vec();
            mess_up_as(dice, &bytes, Level::Span)
        }
        Operation::SetKind => Vec::new(),
        Operation::SetName => dice.text().into_bytes(),
        _ => dice.key().into_bytes(),
    };
    Change {
        operation,
        index,
        snippet,
        kind: u32::from(dice.byte() % 7),
    }
}

/// Encodes changes as they cross the boundary. Equal snippets stand in the blob once.
pub(crate) fn encode(changes: &[Change]) -> (Vec<u32>, Vec<u8>) {
    let mut words = Vec::new();
    let mut blob: Vec<u8> = Vec::new();
    for change in changes {
        let (offset, len) = if change.operation == Operation::SetKind {
            (change.kind, 0)
        } else {
            let len = change.snippet.len();
            let known = (len > 0)
                .then(|| {
                    blob.windows(len)
                        .position(|window| window == change.snippet)
                })
                .flatten();
            let offset = known.unwrap_or_else(|| {
                blob.extend_from_slice(&change.snippet);
                blob.len() - len
            });
            (u32::try_from(offset).unwrap(), u32::try_from(len).unwrap())
        };
        words.extend([change.operation.number(), change.index, offset, len]);
    }
    (words, blob)
}

/// Returns words and a blob that mean nothing, or almost something.
pub(crate) fn garbage(dice: &mut Dice) -> (Vec<u32>, Vec<u8>) {
    let words = dice.list(24, |dice| match dice.byte() % 8 {
        7 => u32::MAX,
        6 => u32::try_from(dice.word() & 0xffff_ffff).unwrap(),
        _ => u32::from(dice.byte() % 12),
    });
    let mut blob = key_value(dice).encode_to_vec();
    blob.extend(dice.bytes(20));
    (words, blob)
}
