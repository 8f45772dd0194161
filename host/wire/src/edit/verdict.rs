//! Verdicts: the decisions of a plugin on each item, and the rules for them.

use alloc::vec::Vec;

use crate::check::limits::Limits;
use crate::edit::bad_reply::BadReply;

/// The decision of a plugin on one item. It crosses the boundary as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The item is passed on.
    Keep,
    /// The host keeps the item until the plugin releases it.
    Hold,
    /// The item is dropped, for the plugin's reason with this index.
    Drop(u8),
    /// The item is dropped because the plugin lost its handle.
    Undisposed,
}

impl Verdict {
    /// The most reasons that a plugin may have.
    pub const REASONS: usize = 250;

    /// Returns the verdict of this byte. Every byte has one; the check against the
    /// plugin's manifest finds reasons that do not exist.
    #[inline]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Keep,
            1 => Self::Hold,
            255 => Self::Undisposed,
            reason => Self::Drop(reason - 2),
        }
    }

    /// Returns the byte of this verdict. Reasons from [`Verdict::REASONS`] on do not exist, and get
    /// a byte that no plugin may use, at most 254.
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

/// The rules of the host for a reply.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The number of items of the batch.
    pub items: usize,
    /// The number of reasons that the plugin's manifest names.
    pub reasons: usize,
    /// True if the plugin's manifest says that it holds.
    pub holds: bool,
    /// Limits on what edits add.
    pub limits: Limits,
}

/// The number of items with each verdict.
pub(crate) struct VerdictCounts {
    pub(crate) kept: usize,
    pub(crate) held: usize,
    /// The bytes of the verdicts that drop, with the number of items that got them.
    pub(crate) dropped: Vec<(u8, u64)>,
}

/// Checks verdicts and counts them.
pub(crate) fn count_verdicts(verdicts: &[u8], rules: &Rules) -> Result<VerdictCounts, BadReply> {
    let mut sum = VerdictCounts {
        kept: rules.items,
        held: 0,
        dropped: Vec::new(),
    };
    if verdicts.is_empty() {
        return Ok(sum);
    }
    if verdicts.len() != rules.items {
        return Err(BadReply::VerdictCount {
            verdicts: verdicts.len(),
            items: rules.items,
        });
    }
    if verdicts.iter().all(|verdict| *verdict == 0) {
        return Ok(sum);
    }
    let mut counts = [0_u32; 256];
    for verdict in verdicts {
        if let Some(count) = counts.get_mut(usize::from(*verdict)) {
            *count += 1;
        }
    }
    // The order is that of the bytes: keep, hold, the reasons that exist, undisposed. The rest are
    // drops for reasons that do not exist.
    let reasons = rules.reasons.min(Verdict::REASONS);
    let mut counts = counts.into_iter();
    let mut next = || usize::try_from(counts.next().unwrap_or(0)).unwrap_or(usize::MAX);
    sum.kept = next();
    sum.held = next();
    let mut known = sum.kept + sum.held;
    for byte in (2..=u8::MAX).take(reasons) {
        let count = next();
        known += count;
        if count > 0 {
            sum.dropped.push((byte, count as u64));
        }
    }
    let undisposed = usize::try_from(counts.next_back().unwrap_or(0)).unwrap_or(usize::MAX);
    if undisposed > 0 {
        sum.dropped.push((u8::MAX, undisposed as u64));
    }
    if sum.held > 0 && !rules.holds {
        let item = verdicts.iter().position(|verdict| *verdict == 1);
        return Err(BadReply::Hold {
            item: item.unwrap_or(0),
        });
    }
    if known + undisposed != verdicts.len() {
        return Err(unknown_reason(verdicts, reasons));
    }
    Ok(sum)
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
