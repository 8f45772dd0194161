//! The byte format of a handover: numbers in little endian, lists and texts behind their length.

use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};

use super::{Handover, HeldHandover, Owner, StageHandover};
use crate::plugin::State;

/// The version of the format. It changes with the format; bytes of another version are not read.
const VERSION: u32 = 1;

/// The owners of held items, as flags. No flag is the instance that got the items first.
const NOBODY: u32 = 1;
const SECOND_INSTANCE: u32 = 2;

/// Encodes a handover, in several parts, so that no request is copied.
pub(super) fn encode(handover: &Handover) -> Vec<Bytes> {
    let mut out = Writer::default();
    out.word(VERSION);
    out.number(handover.next);
    out.count(handover.shards.len());
    for row in &handover.shards {
        out.count(row.len());
        row.iter().for_each(|stage| out.stage(stage));
    }
    out.cut();
    out.parts
}

/// Decodes a handover; `None` if the bytes are not what `encode` writes.
pub(super) fn decode(bytes: Bytes) -> Option<Handover> {
    let mut from = Reader(bytes);
    if from.word()? != VERSION {
        return None;
    }
    let next = from.number()?;
    let shards = from.list(|from| from.list(Reader::stage))?;
    from.0.is_empty().then_some(Handover { next, shards })
}

#[derive(Default)]
struct Writer {
    parts: Vec<Bytes>,
    open: Vec<u8>,
}

impl Writer {
    fn word(&mut self, word: u32) {
        self.open.extend_from_slice(&word.to_le_bytes());
    }

    fn number(&mut self, number: u64) {
        self.open.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    fn text(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.open.extend_from_slice(bytes);
    }

    fn cut(&mut self) {
        if !self.open.is_empty() {
            self.parts.push(Bytes::from(std::mem::take(&mut self.open)));
        }
    }

    fn stage(&mut self, stage: &StageHandover) {
        self.text(stage.name.as_bytes());
        self.number(stage.last_ticket);
        self.number(stage.evicted_below);
        match &stage.state {
            None => self.word(0),
            Some(state) => {
                self.word(1);
                self.word(state.version);
                self.text(&state.bytes);
            }
        }
        self.count(stage.held.len());
        stage.held.iter().for_each(|held| self.held(held));
    }

    fn held(&mut self, held: &HeldHandover) {
        self.number(held.ticket);
        self.number(held.first);
        self.word(match held.owner {
            Owner::Instance => 0,
            Owner::Nobody => NOBODY,
            Owner::SecondInstance => SECOND_INSTANCE,
        });
        self.number(u64::try_from(held.age.as_millis()).unwrap_or(u64::MAX));
        let since = held
            .written
            .map(|written| written.duration_since(SystemTime::UNIX_EPOCH));
        let nanos = since.map(|since| since.unwrap_or_default().as_nanos());
        self.number(nanos.map_or(u64::MAX, |nanos| u64::try_from(nanos).unwrap_or(u64::MAX)));
        self.count(held.records.len());
        held.records.iter().for_each(|record| self.number(*record));
        self.count(held.indices.len());
        held.indices.iter().for_each(|index| self.word(*index));
        self.count(held.request.len());
        self.cut();
        self.parts.push(held.request.clone());
    }
}

struct Reader(Bytes);

impl Reader {
    fn word(&mut self) -> Option<u32> {
        self.0.try_get_u32_le().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.0.try_get_u64_le().ok()
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let len = usize::try_from(self.number()?).ok()?;
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    /// Reads a list. It grows as it is read, so a false length takes no memory.
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| read(self)).collect()
    }

    fn stage(&mut self) -> Option<StageHandover> {
        let name = String::from_utf8(self.bytes()?.to_vec()).ok()?;
        let (last_ticket, evicted_below) = (self.number()?, self.number()?);
        let state = match self.word()? {
            0 => None,
            1 => Some(State {
                version: self.word()?,
                bytes: self.bytes()?.to_vec(),
            }),
            _ => return None,
        };
        Some(StageHandover {
            name,
            state,
            last_ticket,
            evicted_below,
            held: self.list(Self::held)?,
        })
    }

    fn held(&mut self) -> Option<HeldHandover> {
        let (ticket, first) = (self.number()?, self.number()?);
        let owner = match self.word()? {
            flags if flags & NOBODY > 0 => Owner::Nobody,
            flags if flags & SECOND_INSTANCE > 0 => Owner::SecondInstance,
            _ => Owner::Instance,
        };
        let age = Duration::from_millis(self.number()?);
        let written = match self.number()? {
            u64::MAX => None,
            nanos => Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)),
        };
        Some(HeldHandover {
            ticket,
            first,
            owner,
            age,
            written,
            records: self.list(Self::number)?,
            indices: self.list(Self::word)?,
            request: self.bytes()?,
        })
    }
}
