//! The bytes of a log's files: segments with their records, and checkpoints.
//!
//! Records are numbered. The number of a record is its *LSN* (log sequence number).

pub(crate) mod checkpoint;
pub(crate) mod finished;
pub(crate) mod record;
pub(crate) mod segment;

/// The smallest unit that a disk writes whole.
pub(crate) const SECTOR: u64 = 512;

/// The bound of all LSNs, so that sums of two do not overflow. At a million a second, reaching
/// it takes 290,000 years.
const MAX_LSN: u64 = u64::MAX >> 1;

/// The layout that this code writes.
const VERSION: u32 = 1;

/// Reads little-endian numbers one after the other.
struct FieldReader<'a>(&'a [u8]);

impl FieldReader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// The meaning of bytes that may have been written as a `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodeResult<T> {
    /// Nothing was written there.
    Blank,
    /// The bytes are not as they were written.
    Damaged,
    /// They have a layout that this code does not know.
    Newer(u32),
    /// They are good.
    Good(T),
}
