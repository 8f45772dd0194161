//! What the mark of a record says of it to the next process (see
//! [`Unfinished::attempts`](crate::journal::Unfinished)).

/// How far the tries of a record came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// So many tries failed in the stages, or ended the process there. What is marked by nobody has
    /// none: whatever was in flight when a process ended shares that end with all the rest.
    Failures(u8),
    /// It came through the stages in so many processes, and was not finished when they ended: held,
    /// or in a queue.
    Through(u8),
    /// It is on trial. If it is alone, this is the so-manieth trial alone in a row.
    Trial(u8),
    /// It waits for a trial, after so many trials alone in which the process ended. Found at a start,
    /// it says that a process has ended without it.
    Waits(u8),
}

/// After it came through the stages in so many processes that ended, it may be what ends them.
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
            // 1 is what the log says itself of what may have been in flight.
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

    /// Marks are read as they were written, and what the log says by itself counts for nothing.
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
