//! The mark of a record: a byte in the log (see
//! [`UnfinishedRecord::attempts`](crate::journal::UnfinishedRecord)) that tells the next process how
//! many tries of the record failed in the stages, or ended the process there.
//!
//! 0 and 1 are no failure: the log itself writes 1 for a record that may have been in flight when a
//! process ended, and such a record shares that end with all others. From 2 on, the mark is the
//! number of failures plus one.

/// The first of the marks that earlier versions wrote for records that had come through the stages.
/// They kept a history of these records, which is not read any more: no try in the stages has failed.
const CAME_THROUGH: u8 = 0x40;

/// Returns the number of failures that a mark stands for.
pub(crate) fn failures_of(mark: u8) -> u8 {
    match mark {
        CAME_THROUGH.. => 0,
        count => count.saturating_sub(1),
    }
}

/// Returns the mark for this number of failures.
pub(super) fn mark_of(failures: u8) -> u8 {
    failures.saturating_add(1).min(CAME_THROUGH - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number of failures is read as it was written, and the log's own marks count for nothing.
    #[test]
    fn failures_come_back() {
        for failures in 0..=62 {
            assert_eq!(failures_of(mark_of(failures)), failures);
        }
        assert_eq!(failures_of(mark_of(200)), 62);
        assert_eq!([0, 1].map(failures_of), [0, 0]);
    }

    /// The marks that earlier versions wrote for failures count, and those for records that had come
    /// through the stages (0x40 and above) do not.
    #[test]
    fn marks_of_earlier_versions_are_read() {
        assert_eq!([2, 3, 4].map(failures_of), [1, 2, 3]);
        assert!((0x40..=0xff).all(|mark| failures_of(mark) == 0));
    }
}
