//! The bytes of a checkpoint.

use crc32c::crc32c_append;

use super::{MAX_NUMBER, Reader, VERSION};
use crate::format::finished::Finished;

const MAGIC: [u8; 8] = *b"spandCHK";

/// The smallest size of a slot: a page.
pub(crate) const SLOT: usize = 4096;

/// The state of a log that is not in its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The number of the checkpoint: of two, the higher one is valid.
    pub(crate) generation: u64,
    /// True if the log was closed after it.
    pub(crate) clean: bool,
    /// All records below this number were acknowledged, or given up.
    pub(crate) next: u64,
    /// The records that are finished.
    pub(crate) finished: Finished,
    /// Records below this number were tried at least once, unless `attempts` says otherwise.
    pub(crate) tried_below: u64,
    /// The number of attempts for these records.
    pub(crate) attempts: Vec<(u64, u8)>,
}

/// The state of a slot's bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Nothing was written there.
    Blank,
    /// The bytes are not a checkpoint as written.
    Damaged,
    /// The checkpoint has a layout that this code does not know.
    Newer(u32),
    /// The checkpoint is good.
    Good(Checkpoint),
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let ranges = self.finished.ranges();
        let length = 80 + 16 * (ranges.len() + self.attempts.len());
        let mut body = Vec::with_capacity(length.next_multiple_of(SLOT));
        body.extend(VERSION.to_le_bytes());
        body.extend(u32::from(self.clean).to_le_bytes());
        let counts = [ranges.len(), self.attempts.len()].map(|n| u64::try_from(n).unwrap_or(0));
        let fields = [
            self.generation,
            self.next,
            self.finished.low(),
            self.tried_below,
        ];
        for field in fields.into_iter().chain(counts) {
            body.extend(field.to_le_bytes());
        }
        for (start, end) in ranges {
            body.extend(start.to_le_bytes());
            body.extend(end.to_le_bytes());
        }
        for (number, attempts) in &self.attempts {
            body.extend(number.to_le_bytes());
            body.extend(u64::from(*attempts).to_le_bytes());
        }
        let mut slot = Vec::with_capacity(body.capacity());
        slot.extend(MAGIC);
        slot.extend(u64::from(crc32c_append(0, &body)).to_le_bytes());
        slot.append(&mut body);
        slot.resize(slot.len().next_multiple_of(SLOT), 0);
        slot
    }

    pub(crate) fn decode(slot: &[u8]) -> Slot {
        if slot.iter().all(|byte| *byte == 0) {
            return Slot::Blank;
        }
        decode(slot).unwrap_or(Slot::Damaged)
    }
}

fn decode(slot: &[u8]) -> Option<Slot> {
    let mut reader = Reader(slot);
    if reader.array()? != MAGIC {
        return None;
    }
    let checksum = reader.u64()?;
    let body = reader.0;
    let version = reader.u32()?;
    let clean = reader.u32()? == 1;
    let generation = reader.u64()?;
    let next = reader.u64()?;
    let low = reader.u64()?;
    let tried_below = reader.u64()?;
    let ranges = usize::try_from(reader.u64()?).ok()?;
    let attempts = usize::try_from(reader.u64()?).ok()?;
    let length = ranges.checked_add(attempts)?.checked_mul(16)?;
    let length = length.checked_add(56)?;
    if checksum != u64::from(crc32c_append(0, body.get(..length)?)) {
        return None;
    }
    if version != VERSION {
        return Some(Slot::Newer(version));
    }
    if [generation, next, low].iter().any(|n| *n >= MAX_NUMBER) || low > next {
        return None;
    }
    let mut finished = Finished::below(low);
    for _ in 0..ranges {
        let (start, end) = (reader.u64()?, reader.u64()?);
        finished.insert_range(start, end.min(next));
    }
    let attempts = (0..attempts)
        .map(|_| {
            let (number, attempts) = (reader.u64()?, reader.u64()?);
            Some((number, u8::try_from(attempts).unwrap_or(u8::MAX)))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Slot::Good(Checkpoint {
        generation,
        clean,
        next,
        finished,
        tried_below,
        attempts,
    }))
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, Slot};
    use crate::format::finished::Finished;

    /// A checkpoint is decoded as it was encoded, and every flipped bit is noticed.
    #[test]
    fn checkpoints_are_read_as_written() {
        let mut finished = Finished::below(5);
        finished.insert_range(7, 9);
        let checkpoint = Checkpoint {
            generation: 3,
            clean: true,
            next: 20,
            finished,
            tried_below: 4,
            attempts: vec![(5, 2), (6, 0)],
        };
        let slot = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&slot), Slot::Good(checkpoint));
        assert_eq!(Checkpoint::decode(&[0; 4096]), Slot::Blank);
        for at in 0..16 + 56 + 3 * 16 {
            let mut flipped = slot.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Checkpoint::decode(&flipped), Slot::Damaged, "{at}");
        }
    }
}
