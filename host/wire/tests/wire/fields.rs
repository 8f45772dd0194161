//! Tests of spans without some of their fields, and of attributes that are searched for together.

use opentelemetry_proto::tonic::trace::v1::Span as Decoded;
use proptest::prelude::*;
use prost::Message;
use spandrel_wire::{Keys, Span, Traces, retain_fields};

use crate::cases::{cases, dice};
use crate::mess::mess_up;
use crate::requests::traces;

/// Removes the fields from a decoded span.
fn without(mut span: Decoded, numbers: &[u32]) -> Decoded {
    for number in numbers {
        match number {
            1 => span.trace_id.clear(),
            2 => span.span_id.clear(),
            3 => span.trace_state.clear(),
            4 => span.parent_span_id.clear(),
            5 => span.name.clear(),
            6 => span.kind = 0,
            7 => span.start_time_unix_nano = 0,
            8 => span.end_time_unix_nano = 0,
            9 => span.attributes.clear(),
            10 => span.dropped_attributes_count = 0,
            11 => span.events.clear(),
            12 => span.dropped_events_count = 0,
            13 => span.links.clear(),
            14 => span.dropped_links_count = 0,
            15 => span.status = None,
            16 => span.flags = 0,
            _ => {}
        }
    }
    span
}

proptest! {
    #![proptest_config(cases())]

    /// Fields are removed wherever they stand and however often; all others stay, byte for byte.
    #[test]
    fn fields_are_taken_out(mut dice in dice(3000)) {
        let mut mess = dice.fork(500);
        let mut choice = dice.fork(20);
        let request = mess_up(&mut mess, &traces(&mut dice).encode_to_vec());
        for placed in Traces::new(&request).spans() {
            let numbers = choice.list(4, |dice| u32::from(dice.byte() % 18));
            let mut bytes = placed.span.bytes().to_vec();
            let decoded = Decoded::decode(&*bytes).unwrap();
            let mut kept = 0;
            retain_fields(&mut bytes, |_, content| { kept += content.len(); true });
            prop_assert_eq!(&*bytes, placed.span.bytes());
            prop_assert!(kept <= bytes.len());
            retain_fields(&mut bytes, |number, _| !numbers.contains(&number));
            let left = Decoded::decode(&*bytes).unwrap();
            prop_assert_eq!(left, without(decoded, &numbers));
            let len = bytes.len();
            retain_fields(&mut bytes, |number, _| !numbers.contains(&number));
            prop_assert_eq!(bytes.len(), len);
        }
    }

    /// Attributes that are searched for together are the same as those that are searched for one by
    /// one.
    #[test]
    fn attributes_are_selected(mut dice in dice(3000)) {
        let mut mess = dice.fork(500);
        let mut choice = dice.fork(60);
        let keys = Keys::new(choice.list(5, |dice| dice.key()));
        let request = mess_up(&mut mess, &traces(&mut dice).encode_to_vec());
        for placed in Traces::new(&request).spans() {
            let span: Span<'_> = placed.span;
            let expected: Vec<_> = span
                .attributes()
                .filter_map(|attribute| {
                    let place = keys.as_slice().iter().position(|key| key == attribute.key)?;
                    Some((place, format!("{:?}", attribute.value)))
                })
                .collect();
            let selected = span.attributes().select(&keys);
            let selected: Vec<_> = selected.map(|(at, value)| (at, format!("{value:?}"))).collect();
            prop_assert_eq!(selected, expected);
        }
    }
}
