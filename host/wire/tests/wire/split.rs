//! Split and merge keep every item, once, where it belongs.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{
    Limits, Part, Signal, count, merge, shard_of, single_trace_part, split_by_size, split_by_trace,
    split_traces, validate,
};

use crate::cases::{cases, dice};
use crate::edit::{Flat, flat};
use crate::mess::mess_up;
use crate::requests::{logs, traces};

pub(crate) fn spans(bytes: &[u8]) -> Vec<Flat> {
    flat(&ExportTraceServiceRequest::decode(bytes).unwrap())
}

/// Checks that parts are valid requests, and that their number of items is right.
pub(crate) fn check(signal: Signal, parts: &[Part]) {
    for part in parts {
        let summary = validate(signal, &part.bytes, &Limits::default()).unwrap();
        assert_eq!(summary.items, part.items);
    }
}

proptest! {
    #![proptest_config(cases())]

    /// If a request is split by trace, each shard gets exactly the spans of its traces, in order,
    /// in their resource and scope. A request for one shard is recognised without splitting it.
    #[test]
    fn by_trace(mut dice in dice(3000), shards in 1_usize..6) {
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let parts = split_by_trace(&request, shards).expect("small headers");
        check(Signal::Traces, &parts);
        for shard in 0..shards {
            let mut expected = spans(&request);
            expected.retain(|item| shard_of(&item.span.trace_id, shards) == shard);
            let part = parts.iter().find(|part| part.shard == shard);
            prop_assert_eq!(part.map_or(Vec::new(), |part| spans(&part.bytes)), expected);
        }
        match single_trace_part(&request, shards) {
            Some(shard) => prop_assert!(parts.iter().all(|part| part.shard == shard)),
            None => prop_assert!(parts.len() > 1),
        }
    }

    /// If a request is split by a function of trace ids, each part has exactly the spans of its
    /// traces, in order, in their resource and scope. For a request of one part, the number of the
    /// part is returned and nothing is copied.
    #[test]
    fn by_what_is_said_of_traces(mut dice in dice(3000), modulus in 1_usize..5) {
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let part_of = |id: &[u8]| id.iter().map(|byte| usize::from(*byte)).sum::<usize>() % modulus;
        let of = |part: usize| {
            let mut expected = spans(&request);
            expected.retain(|item| part_of(&item.span.trace_id) == part);
            expected
        };
        match split_traces(&request, part_of) {
            Ok(part) => prop_assert_eq!(of(part), spans(&request)),
            Err(parts) => {
                let parts = parts.expect("small headers");
                check(Signal::Traces, &parts);
                prop_assert!(parts.len() > 1);
                prop_assert!(parts.is_sorted_by_key(|part| part.shard));
                for part in 0..modulus {
                    let found = parts.iter().find(|found| found.shard == part);
                    prop_assert_eq!(found.map_or(Vec::new(), |found| spans(&found.bytes)), of(part));
                }
            }
        }
    }

    /// If a request is split by size, the parts have all items in order and none has more than the
    /// limit; merged again, they are what came.
    #[test]
    fn by_size(mut dice in dice(3000), most in 1_usize..8) {
        let mut mess = dice.fork(500);
        let request = traces(&mut dice).encode_to_vec();
        let request = mess_up(&mut mess, &request);
        let parts = split_by_size(Signal::Traces, &request, most).expect("small headers");
        check(Signal::Traces, &parts);
        let items = count(Signal::Traces, &request);
        prop_assert!(parts.iter().all(|part| (1..=most).contains(&part.items)));
        prop_assert_eq!(parts.len(), items.div_ceil(most));
        let split: Vec<Flat> = parts.iter().flat_map(|part| spans(&part.bytes)).collect();
        prop_assert_eq!(&split, &spans(&request));
        let merged = merge(parts.iter().map(|part| &part.bytes[..]));
        prop_assert_eq!(&spans(&merged), &split);
    }

    /// Log records are split as spans are.
    #[test]
    fn logs_by_size(mut dice in dice(2000), most in 1_usize..8) {
        let request = logs(&mut dice).encode_to_vec();
        let parts = split_by_size(Signal::Logs, &request, most).expect("small headers");
        check(Signal::Logs, &parts);
        prop_assert!(parts.iter().all(|part| (1..=most).contains(&part.items)));
        let records = |bytes: &[u8]| -> Vec<_> {
            let request = ExportLogsServiceRequest::decode(bytes).unwrap();
            let entries = request.resource_logs.into_iter().flat_map(|entry| {
                let resource = entry.resource;
                entry.scope_logs.into_iter().map(move |scope| (resource.clone(), scope))
            });
            entries.flat_map(|(resource, scope)| {
                scope.log_records.into_iter().map(move |record| {
                    (resource.clone(), scope.scope.clone(), scope.schema_url.clone(), record)
                })
            }).collect()
        };
        let split: Vec<_> = parts.iter().flat_map(|part| records(&part.bytes)).collect();
        prop_assert_eq!(split, records(&request));
    }
}

/// Ids that count upwards, and ids that differ in one half only, spread over all shards.
#[test]
fn shards_are_even() {
    for place in [0, 7, 8, 15] {
        let mut counts = [0_u32; 8];
        for number in 0..=255 {
            let mut id = [0; 16];
            id[place] = number;
            counts[shard_of(&id, 8)] += 1;
        }
        assert!(
            counts.iter().all(|count| (12..=55).contains(count)),
            "{place}: {counts:?}"
        );
    }
    assert_eq!(shard_of(&[], 8), 0);
    assert_eq!(shard_of(&[1; 16], 0), 0);
}

/// One resource of many megabytes in front of many small spans is not copied into each part.
#[test]
fn a_large_resource_is_not_repeated_without_end() {
    let mut request = ExportTraceServiceRequest::decode(spans_of(1000).as_slice()).unwrap();
    let resource = request.resource_spans[0].resource.get_or_insert_default();
    resource
        .attributes
        .push(opentelemetry_proto::tonic::common::v1::KeyValue {
            key: "x".repeat(8 << 20),
            ..Default::default()
        });
    let request = request.encode_to_vec();
    assert_eq!(split_by_size(Signal::Traces, &request, 10), None);
    assert_eq!(split_by_trace(&request, 64), None);
    assert_eq!(
        split_by_size(Signal::Traces, &request, 500).unwrap().len(),
        2
    );
}

pub(crate) fn spans_of(items: u64) -> Vec<u8> {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    let span = |id: u64| Span {
        trace_id: (u128::from(id) + 1).to_be_bytes().to_vec(),
        span_id: (id + 1).to_be_bytes().to_vec(),
        ..Span::default()
    };
    let spans = (0..items).map(span).collect();
    let scope_spans = vec![ScopeSpans {
        spans,
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}
