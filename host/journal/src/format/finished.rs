//! The set of finished records: all below a low watermark, and ranges above it.

use std::collections::BTreeMap;

/// A set of record numbers that becomes contiguous from below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    low: u64,
    /// The start and the end (exclusive) of each range above `low`; no two touch.
    above: BTreeMap<u64, u64>,
}

impl Finished {
    /// Makes a set of all numbers below `low`.
    pub(crate) fn below(low: u64) -> Self {
        Self {
            low,
            above: BTreeMap::new(),
        }
    }

    /// Returns the first number that is not in the set.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    /// Returns the ranges above the first number that is not in the set.
    pub(crate) fn ranges(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.above.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let range = self.above.range(..=number).next_back();
        number < self.low || range.is_some_and(|(_, end)| number < *end)
    }

    pub(crate) fn insert(&mut self, number: u64) {
        self.insert_range(number, number.saturating_add(1));
    }

    pub(crate) fn insert_range(&mut self, start: u64, end: u64) {
        let (mut start, mut end) = (start.max(self.low), end);
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
        if start == self.low {
            self.low = end;
        } else {
            self.above.insert(start, end);
        }
    }

    /// Returns the ranges below `until` that are not in the set.
    pub(crate) fn gaps(&self, until: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut from = self.low;
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
    use super::Finished;
    use proptest::prelude::*;

    proptest! {
        /// The set is the same in whatever order numbers come, and its ranges do not touch.
        #[test]
        fn ranges_are_the_set(ranges in prop::collection::vec((0_u64..64, 0_u64..8), 0..40)) {
            let mut finished = Finished::default();
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
            prop_assert!(!finished.contains(finished.low()));
            let mut last = finished.low();
            for (start, end) in finished.ranges() {
                prop_assert!(last < start && start < end);
                last = end;
            }
            for (start, end) in finished.gaps(80) {
                prop_assert!((start..end).all(|number| !model[usize::try_from(number).unwrap()]));
                finished.insert_range(start, end);
            }
            prop_assert_eq!(finished.low(), 80);
        }
    }
}
