//! The share of traces that a canary gets.

/// A share of all traces, selected by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

/// The number of parts of the whole. A share is counted in hundredths of a percent: nobody asks for
/// a finer one, and it would not show.
const WHOLE: u16 = 10_000;

impl Share {
    /// Makes a share of this many percent, above 0 and up to 100; `None` for anything else.
    pub fn from_percent(percent: f64) -> Option<Self> {
        if !(percent > 0.0 && percent <= 100.0) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 10,000 by the check above"
        )]
        let parts = (percent * 100.0).round() as u16;
        Some(Self(parts.clamp(1, WHOLE)))
    }

    /// Returns the share in percent.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Returns true if the trace with this id is in the share. A larger share contains every trace
    /// of a smaller one.
    pub(crate) fn has(self, trace_id: &[u8]) -> bool {
        // The id is hashed in another form than for picking the shard, so that every shard has its
        // share.
        let part = spandrel_wire::shard_of(&turned(trace_id), usize::from(WHOLE));
        part < usize::from(self.0)
    }
}

/// Returns the id with its bytes and bits in reverse order, combined with a constant by XOR: its
/// hash is independent of the hash of the id.
fn turned(trace_id: &[u8]) -> [u8; 16] {
    let mut turned = [0x5a; 16];
    for (to, from) in turned.iter_mut().zip(trace_id.iter().rev()) {
        *to ^= from.reverse_bits();
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A share of a tenth has about a tenth of the traces on every shard, whatever makes the ids,
    /// and a larger share contains the traces of a smaller one.
    #[test]
    fn every_shard_has_its_share() {
        let share = Share::from_percent(10.0).expect("a share");
        let larger = Share::from_percent(25.0).expect("a share");
        for spread in [1_u128, 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835] {
            let mut counts = [(0_u32, 0_u32); 4];
            for number in 1..=40_000_u128 {
                let id = number.wrapping_mul(spread).to_be_bytes();
                let (in_share, all) = &mut counts[spandrel_wire::shard_of(&id, 4)];
                *all += 1;
                *in_share += u32::from(share.has(&id));
                assert!(!share.has(&id) || larger.has(&id));
            }
            for (in_share, all) in counts {
                let percent = f64::from(in_share) * 100.0 / f64::from(all);
                assert!((8.5..11.5).contains(&percent), "{percent} % of {all}");
            }
        }
    }

    /// Only valid shares can be made.
    #[test]
    fn shares_are_checked() {
        for bad in [0.0, -1.0, 100.1, f64::NAN] {
            assert_eq!(Share::from_percent(bad), None);
        }
        assert_eq!(Share::from_percent(100.0).map(Share::percent), Some(100.0));
        assert!(Share::from_percent(0.001).is_some_and(|share| share.percent() > 0.0));
        assert!(Share::from_percent(100.0).is_some_and(|all| all.has(&[7; 16]) && all.has(&[])));
    }
}
