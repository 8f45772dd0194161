//! Verdicts: what a plugin says of each item.

use alloc::vec::Vec;

use crate::bad_reply::BadReply;
use crate::splice::Rules;

/// What a plugin says of one item. Crosses the boundary as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// The host keeps it until the plugin releases it.
    Hold,
    /// It is let go, for the plugin's reason with this index.
    Drop(u8),
    /// It is let go because the plugin lost its handle.
    Undisposed,
}

impl Verdict {
    /// Most reasons that a plugin may have.
    pub const REASONS: usize = 250;

    /// The verdict that this byte says. Every byte says one; whether the reason exists is checked
    /// against the plugin's manifest.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Keep,
            1 => Self::Hold,
            255 => Self::Undisposed,
            reason => Self::Drop(reason - 2),
        }
    }

    /// The byte that says this verdict. Reasons above [`Verdict::REASONS`] do not exist and become
    /// the last byte that no plugin may say.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Keep => 0,
            Self::Hold => 1,
            Self::Drop(reason @ ..=252) => reason + 2,
            Self::Drop(_) => 254,
            Self::Undisposed => 255,
        }
    }
}

/// How many items got which verdict.
pub(crate) struct Tally {
    pub(crate) kept: usize,
    pub(crate) held: usize,
    /// The bytes of the verdicts that drop, with how many items got them.
    pub(crate) dropped: Vec<(u8, u64)>,
}

/// Checks verdicts and counts them.
pub(crate) fn tally(verdicts: &[u8], rules: &Rules) -> Result<Tally, BadReply> {
    let mut tally = Tally {
        kept: rules.items,
        held: 0,
        dropped: Vec::new(),
    };
    if verdicts.is_empty() {
        return Ok(tally);
    }
    if verdicts.len() != rules.items {
        return Err(BadReply::VerdictCount {
            verdicts: verdicts.len(),
            items: rules.items,
        });
    }
    if verdicts.iter().all(|verdict| *verdict == 0) {
        return Ok(tally);
    }
    let mut counts = [0_u32; 256];
    for verdict in verdicts {
        if let Some(count) = counts.get_mut(usize::from(*verdict)) {
            *count += 1;
        }
    }
    // In order of byte: keep, hold, the reasons there are, undisposed. What is left over then is
    // drops for reasons that do not exist.
    let reasons = rules.reasons.min(Verdict::REASONS);
    let mut counts = counts.into_iter();
    let mut next = || usize::try_from(counts.next().unwrap_or(0)).unwrap_or(usize::MAX);
    tally.kept = next();
    tally.held = next();
    let mut known = tally.kept + tally.held;
    for byte in (2..=u8::MAX).take(reasons) {
        let count = next();
        known += count;
        if count > 0 {
            tally.dropped.push((byte, count as u64));
        }
    }
    let undisposed = usize::try_from(counts.next_back().unwrap_or(0)).unwrap_or(usize::MAX);
    if undisposed > 0 {
        tally.dropped.push((u8::MAX, undisposed as u64));
    }
    if tally.held > 0 && !rules.holds {
        let item = verdicts.iter().position(|verdict| *verdict == 1);
        return Err(BadReply::Hold {
            item: item.unwrap_or(0),
        });
    }
    if known + undisposed != verdicts.len() {
        return Err(unknown_reason(verdicts, reasons));
    }
    Ok(tally)
}

#[cold]
fn unknown_reason(verdicts: &[u8], reasons: usize) -> BadReply {
    let wrong = verdicts
        .iter()
        .zip(0..)
        .find_map(|(byte, item)| match Verdict::from_byte(*byte) {
            Verdict::Drop(reason) if usize::from(reason) >= reasons => Some((item, reason)),
            _ => None,
        });
    let (item, reason) = wrong.unwrap_or((0, u8::MAX));
    BadReply::Reason {
        item,
        reason,
        reasons,
    }
}
