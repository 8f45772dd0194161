//! Any valid request, split and merged, has every item once, in order, in its resource and scope.

use spandrel_wire::{
    Limits, Part, Signal, merge, shard_of, single_trace_part, split_by_size, split_by_trace,
    validate,
};

use super::oracle;
use crate::dice::Dice;
use crate::edit::{Flat, flat};
use crate::mess::mess_up;
use crate::requests::traces;
use prost::Message;

/// Runs one input. Its first byte decides the number of parts; the second whether the rest is a
/// request or choices for making one.
pub(crate) fn run(input: &[u8]) {
    let [first, second, rest @ ..] = input else {
        return;
    };
    let most = 1 + usize::from(first % 7);
    if second % 2 == 0 {
        check(rest, most);
    } else {
        let mut dice = Dice::new(rest.to_vec());
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        check(&mess_up(&mut mess, &request), most);
    }
}

fn spans(bytes: &[u8]) -> Vec<Flat> {
    flat(&oracle::traces(bytes).unwrap())
}

fn check(request: &[u8], most: usize) {
    if validate(Signal::Traces, request, &Limits::NONE).is_err() {
        return;
    }
    let all = spans(request);
    if let Some(parts) = split_by_size(Signal::Traces, request, most) {
        are_valid(&parts);
        assert!(parts.iter().all(|part| (1..=most).contains(&part.items)));
        let split: Vec<Flat> = parts.iter().flat_map(|part| spans(&part.bytes)).collect();
        assert_eq!(split, all);
        let merged = merge(parts.iter().map(|part| &part.bytes[..]));
        assert_eq!(spans(&merged), all);
    }
    let Some(parts) = split_by_trace(request, most) else {
        return;
    };
    are_valid(&parts);
    for shard in 0..most {
        let mut expected = all.clone();
        expected.retain(|item| shard_of(&item.span.trace_id, most) == shard);
        let part = parts.iter().find(|part| part.shard == shard);
        let found = part.map_or(Vec::new(), |part| spans(&part.bytes));
        assert_eq!(found, expected);
    }
    match single_trace_part(request, most) {
        Some(shard) => assert!(parts.iter().all(|part| part.shard == shard)),
        None => assert!(parts.len() > 1),
    }
}

fn are_valid(parts: &[Part]) {
    for part in parts {
        let summary = validate(Signal::Traces, &part.bytes, &Limits::NONE).unwrap();
        assert_eq!(summary.items, part.items);
    }
}
