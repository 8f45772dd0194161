//! The set of finished records: all below a low watermark, and ranges above it.

use std::collections::BTreeMap;

/// A set of LSNs that becomes contiguous from below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FinishedSet {
    low_watermark: u64,
    /// The start and the end (exclusive) of each range above the low watermark; no two touch.
    above: BTreeMap<u64, u64>,
}

impl FinishedSet {
    /// Makes a set of all LSNs below this low watermark.
    pub(crate) fn below(low_watermark: u64) -> Self {
        Self {
            low_watermark,
            above: BTreeMap::new(),
        }
    }

    /// Returns the first LSN that is not in the set.
    pub(crate) fn low_watermark(&self) -> u64 {
        self.low_watermark
    }

    /// Returns the ranges above the low watermark.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.above.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn contains(&self, lsn: u64) -> bool {
        let range = self.above.range(..=lsn).next_back();
        lsn < self.low_watermark || range.is_some_and(|(_, end)| lsn < *end)
    }

    pub(crate) fn insert(&mut self, lsn: u64) {
        self.insert_range(lsn, lsn.saturating_add(1));
    }

    pub(crate) fn insert_range(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start.max(self.low_watermark), end);
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.above.range(..start).next_back()
            && before_end >= start
        {
            self.above.remove(&before);
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.above.range(start..=end).next() {
            self.above.remove(&next);
            end = end.max(next_end);
        }
        if start == self.low_watermark {
            self.low_watermark = end;
        } else {
            self.above.insert(start, end);
        }
    }

    /// Returns the ranges below `until` that are not in the set.
    pub(crate) fn gaps(&self, until: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = self.low_watermark;
        for (&start, &end) in &self.above {
            gaps.push((from.min(until), start.min(until)));
            from = end;
        }
        gaps.push((from.min(until), until));
        gaps.retain(|(start, end)| start < end);
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::FinishedSet;
    use proptest::prelude::*;

    proptest! {
        /// The set is the same in whatever order LSNs come, and its ranges do not touch.
        #[test]
        fn ranges_are_the_set(ranges in prop::collection::vec((0_u64..64, 0_u64..8), 0..40)) {
            let mut finished = FinishedSet::default();
            let mut model = [false; 80];
            for (start, length) in ranges {
                finished.insert_range(start, start + length);
                for number in start..start + length {
                    model[usize::try_from(number).unwrap()] = true;
                }
            }
            for (number, is_in) in (0_u64..).zip(model) {
                prop_assert_eq!(finished.contains(number), is_in);
            }
            prop_assert!(!finished.contains(finished.low_watermark()));
            let mut last = finished.low_watermark();
            for (start, end) in finished.ranges() {
                prop_assert!(last < start && start < end);
                last = end;
            }
            for (start, end) in finished.gaps(80) {
                prop_assert!((start..end).all(|number| !model[usize::try_from(number).unwrap()]));
                finished.insert_range(start, end);
            }
            prop_assert_eq!(finished.low_watermark(), 80);
        }
    }
}
