//! Bytes that are not a request do no harm.

use proptest::prelude::*;
use spandrel_wire::{
    Assembler, Edits, Limits, Signal, count, single_trace_part, splice, split_by_size,
    split_by_trace, validate,
};

use crate::cases::{cases, dice};
use crate::reading::read_all;
use crate::replies::{garbage, rules};

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

proptest! {
    #![proptest_config(cases())]

    /// Nothing panics or hangs on any bytes, not even code that is made for valid requests only.
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(weighted_byte(), 0..300), mut dice in dice(200)) {
        for signal in SIGNALS {
            drop(validate(signal, &bytes, &Limits::default()));
            let items = count(signal, &bytes);
            let parts = split_by_size(signal, &bytes, 2).unwrap_or_default();
            prop_assert_eq!(parts.iter().map(|part| part.items).sum::<usize>(), items);
        }
        read_all(&bytes);
        split_by_trace(&bytes, 3);
        single_trace_part(&bytes, 3);
        let items = count(Signal::Traces, &bytes);
        let (words, blob) = garbage(&mut dice);
        let verdicts: Vec<u8> = (0..items).map(|_| dice.byte() % 3).collect();
        let edits = Edits { words: &words, blob: &blob };
        drop(splice(&bytes, &[], edits, &rules(items)));
        let spliced = splice(&bytes, &verdicts, Edits::default(), &rules(items)).unwrap();
        if let Some(held) = spliced.held {
            let mut assembler = Assembler::new();
            for position in 0..held.len() {
                assembler.push(&held, position, Edits::default()).unwrap();
            }
            prop_assert_eq!(count(Signal::Traces, &assembler.finish().0), held.len());
        }
    }
}

/// Makes bytes that are often the key of a known field, or a short length.
fn weighted_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        prop::sample::select(vec![
            0x0a, 0x12, 0x1a, 0x4a, 0x5a, 0x6a, 0x7a, 0x2a, 0x32, 0x0b, 0x0c
        ]),
        0_u8..20,
    ]
}
