//! The name of an item: the run that sent it, its kind, and its number.
//!
//! The eight bytes travel as the span id (traces, logs) or as the value (metrics), so that the
//! backend recognizes each item by a look at eight bytes.

/// The limit on the numbers of the items of one run: its bitmap at the backend then takes 256 MiB.
pub(crate) const MAX_ITEMS: u64 = 1 << 31;

const NUMBER_BITS: u32 = 40;
const KIND_BITS: u32 = 8;

/// The number of neighbours that share a trace.
pub(crate) const ITEMS_PER_TRACE: u64 = 8;

/// The kind of an item: it says what a collector may do with it, and whether it is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemKind {
    /// True if a collector under test may drop it.
    pub(crate) is_health_check: bool,
    /// True if it is sent before the measured part of the run.
    pub(crate) is_warm_up: bool,
}

/// The name of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ItemName {
    pub(crate) run: u16,
    pub(crate) kind: ItemKind,
    pub(crate) number: u64,
}

impl ItemName {
    pub(crate) fn bits(self) -> u64 {
        let kind = u64::from(self.kind.is_health_check) | (u64::from(self.kind.is_warm_up) << 1);
        (u64::from(self.run) << (NUMBER_BITS + KIND_BITS)) | (kind << NUMBER_BITS) | self.number
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        let [run_high, run_low, kind, ..] = bits.to_be_bytes();
        Self {
            run: u16::from_be_bytes([run_high, run_low]),
            kind: ItemKind {
                is_health_check: kind & 1 != 0,
                is_warm_up: kind & 2 != 0,
            },
            number: bits & ((1 << NUMBER_BITS) - 1),
        }
    }
}

/// Returns the id of the trace that an item belongs to. Ids are spread evenly, and never zero.
pub(crate) fn trace_id(run: u16, number: u64) -> [u8; 16] {
    let seed = (u64::from(run) << NUMBER_BITS) | (number / ITEMS_PER_TRACE);
    let high = mixed(seed | (1 << 63));
    let low = mixed(high);
    ((u128::from(high) << 64) | u128::from(low) | 1).to_be_bytes()
}

/// Applies the last steps of splitmix64: each bit of the input changes half of the output's.
fn mixed(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name survives its way through eight bytes.
    #[test]
    fn names_are_read_back() {
        for (is_health_check, is_warm_up) in [(false, false), (true, false), (false, true)] {
            let name = ItemName {
                run: 0xbeef,
                kind: ItemKind {
                    is_health_check,
                    is_warm_up,
                },
                number: 0x12_3456_789a,
            };
            assert_eq!(ItemName::from_bits(name.bits()), name);
        }
    }

    /// Neighbours share a trace, and the ids of other traces have nothing in common with its id.
    #[test]
    fn traces_are_spread() {
        assert_eq!(trace_id(7, 16), trace_id(7, 23));
        let (one, other) = (trace_id(7, 23), trace_id(7, 24));
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 6, "{one:?} {other:?}");
        assert_ne!(one, trace_id(8, 23));
    }
}
