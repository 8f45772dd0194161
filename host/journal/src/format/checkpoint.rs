//! The bytes of a checkpoint.

use crc32c::crc32c_append;

use super::finished::FinishedSet;
use super::{DecodeResult, FieldReader, MAX_LSN, VERSION};

const MAGIC: [u8; 8] = *b"spandCHK";

/// The smallest size of a checkpoint: a page.
const PAGE: usize = 4096;

/// The state of a log that is not in its segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The number of the checkpoint: of two, the higher one is valid.
    pub(crate) generation: u64,
    /// True if the log was closed after it.
    pub(crate) clean: bool,
    /// The LSN of the next record: all below it were acknowledged, or given up.
    pub(crate) next_lsn: u64,
    /// The records that are finished.
    pub(crate) finished: FinishedSet,
    /// Records below this LSN were tried at least once, unless `attempts` says otherwise.
    pub(crate) tried_below: u64,
    /// The number of attempts for these records.
    pub(crate) attempts: Vec<(u64, u8)>,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let ranges = self.finished.ranges();
        let length = 80 + 16 * (ranges.len() + self.attempts.len());
        let mut body = Vec::with_capacity(length.next_multiple_of(PAGE));
        body.extend(VERSION.to_le_bytes());
        body.extend(u32::from(self.clean).to_le_bytes());
        let counts = [ranges.len(), self.attempts.len()].map(|n| u64::try_from(n).unwrap_or(0));
        let fields = [
            self.generation,
            self.next_lsn,
            self.finished.low_watermark(),
            self.tried_below,
        ];
        for field in fields.into_iter().chain(counts) {
            body.extend(field.to_le_bytes());
        }
        for (start, end) in ranges {
            body.extend(start.to_le_bytes());
            body.extend(end.to_le_bytes());
        }
        for (lsn, attempts) in &self.attempts {
            body.extend(lsn.to_le_bytes());
            body.extend(u64::from(*attempts).to_le_bytes());
        }
        let mut bytes = Vec::with_capacity(body.capacity());
        bytes.extend(MAGIC);
        bytes.extend(u64::from(crc32c_append(0, &body)).to_le_bytes());
        bytes.append(&mut body);
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> DecodeResult<Self> {
        if bytes.iter().all(|byte| *byte == 0) {
            return DecodeResult::Blank;
        }
        decode(bytes).unwrap_or(DecodeResult::Damaged)
    }
}

fn decode(bytes: &[u8]) -> Option<DecodeResult<Checkpoint>> {
    let mut reader = FieldReader(bytes);
    if reader.array()? != MAGIC {
        return None;
    }
    let checksum = reader.u64()?;
    let body = reader.0;
    let version = reader.u32()?;
    let clean = reader.u32()? == 1;
    let generation = reader.u64()?;
    let next_lsn = reader.u64()?;
    let low_watermark = reader.u64()?;
    let tried_below = reader.u64()?;
    let ranges = usize::try_from(reader.u64()?).ok()?;
    let attempts = usize::try_from(reader.u64()?).ok()?;
    let length = ranges.checked_add(attempts)?.checked_mul(16)?;
    let length = length.checked_add(56)?;
    if checksum != u64::from(crc32c_append(0, body.get(..length)?)) {
        return None;
    }
    if version != VERSION {
        return Some(DecodeResult::Newer(version));
    }
    if [generation, next_lsn, low_watermark]
        .iter()
        .any(|n| *n >= MAX_LSN)
        || low_watermark > next_lsn
    {
        return None;
    }
    let mut finished = FinishedSet::below(low_watermark);
    for _ in 0..ranges {
        let (start, end) = (reader.u64()?, reader.u64()?);
        finished.insert_range(start, end.min(next_lsn));
    }
    let attempts = (0..attempts)
        .map(|_| {
            let (lsn, attempts) = (reader.u64()?, reader.u64()?);
            Some((lsn, u8::try_from(attempts).unwrap_or(u8::MAX)))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(DecodeResult::Good(Checkpoint {
        generation,
        clean,
        next_lsn,
        finished,
        tried_below,
        attempts,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::finished::FinishedSet;
    use super::{Checkpoint, DecodeResult};

    /// A checkpoint is decoded as it was encoded, and every flipped bit is noticed.
    #[test]
    fn checkpoints_are_read_as_written() {
        let mut finished = FinishedSet::below(5);
        finished.insert_range(7, 9);
        let checkpoint = Checkpoint {
            generation: 3,
            clean: true,
            next_lsn: 20,
            finished,
            tried_below: 4,
            attempts: vec![(5, 2), (6, 0)],
        };
        let slot = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&slot), DecodeResult::Good(checkpoint));
        assert_eq!(Checkpoint::decode(&[0; 4096]), DecodeResult::Blank);
        for at in 0..16 + 56 + 3 * 16 {
            let mut flipped = slot.clone();
            flipped[at] ^= 0x10;
            assert_eq!(Checkpoint::decode(&flipped), DecodeResult::Damaged, "{at}");
        }
    }
}
