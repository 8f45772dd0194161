//! The marks of records: what they tell the next process (see
//! [`Unfinished::attempts`](crate::journal::Unfinished)).

/// The progress of a record's tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The number of tries that failed in the stages, or ended the process there. A record without
    /// a mark has none: a batch that was in flight when a process ended shares that end with all
    /// the others.
    Failures(u8),
    /// The number of processes in which it came through the stages and was not finished when they
    /// ended: it was held, or in a queue.
    Through(u8),
    /// It is on trial. If it is alone, the number is that of consecutive trials alone, including
    /// this one.
    Trial(u8),
    /// It waits for a trial, after this number of trials alone in which the process ended. If this
    /// is found at a start, a process has ended without it.
    Waits(u8),
}

/// The number of processes that ended after it came through their stages, from which on it may be
/// the cause.
pub(super) const HAUNTED: u8 = 3;

const THROUGH: u8 = 0x40;
const TRIAL: u8 = 0x80;
const WAITS: u8 = 0xc0;
const COUNT: u8 = 0x3f;

impl From<u8> for Mark {
    fn from(byte: u8) -> Self {
        let count = byte & COUNT;
        match byte {
            WAITS.. => Self::Waits(count),
            TRIAL.. => Self::Trial(count),
            THROUGH.. => Self::Through(count),
            _ => Self::Failures(count.saturating_sub(1)),
        }
    }
}

impl From<Mark> for u8 {
    fn from(mark: Mark) -> Self {
        match mark {
            // The log itself uses 1 for a record that may have been in flight.
            Mark::Failures(count) => count.saturating_add(1).min(COUNT),
            Mark::Through(count) => THROUGH | count.min(COUNT),
            Mark::Trial(count) => TRIAL | count.min(COUNT),
            Mark::Waits(count) => WAITS | count.min(COUNT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marks are read as they were written, and the log's own mark counts for nothing.
    #[test]
    fn marks_are_bytes() {
        for mark in [
            Mark::Failures(0),
            Mark::Failures(3),
            Mark::Through(1),
            Mark::Through(63),
            Mark::Trial(0),
            Mark::Trial(2),
            Mark::Waits(1),
        ] {
            assert_eq!(Mark::from(u8::from(mark)), mark);
        }
        assert_eq!([0, 1].map(Mark::from), [Mark::Failures(0); 2]);
        assert_eq!(Mark::from(u8::from(Mark::Through(200))), Mark::Through(63));
    }
}
