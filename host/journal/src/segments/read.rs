//! Reads one record.

use std::io;

use bytes::{Buf, Bytes};
use spandrel_pipeline::journal::Unreadable;

use crate::counters::add;
use crate::format::{RECORD, RecordHeader, payload_checksum};
use crate::segments::{Entry, Shared};

/// Returns the bytes of a record that is not finished.
pub(crate) fn record(shared: &Shared, number: u64) -> Result<Bytes, Unreadable> {
    // A record that is moved while it is read is read at its new place. Each failure of the disk
    // moves a record once at most.
    for _ in 0..8 {
        let Some((entry, segment)) = place(shared, number) else {
            return Err(Unreadable::Damaged { record: number });
        };
        let found = shared
            .opened(entry.segment, &segment)
            .and_then(|file| read(&*file, number, entry, segment.salt));
        if place(shared, number).is_none_or(|(now, _)| now != entry) {
            continue;
        }
        return match found {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                add(&shared.counted.damaged, 1);
                tracing::error!(log = shared.name, record = number, "journal record damaged");
                Err(Unreadable::Damaged { record: number })
            }
            Err(error) => Err(Unreadable::Failed(error)),
        };
    }
    Err(Unreadable::Failed(io::ErrorKind::Interrupted.into()))
}

fn place(shared: &Shared, number: u64) -> Option<(Entry, crate::segments::Segment)> {
    let state = shared.state();
    let entry = *state.records.get(&number)?;
    let segment = state.segments.get(&entry.segment)?.clone();
    Some((entry, segment))
}

/// Returns the payload, if it is what was written.
fn read(
    file: &dyn crate::vfs::File,
    number: u64,
    entry: Entry,
    salt: u64,
) -> io::Result<Option<Bytes>> {
    let length = RECORD + u64::from(entry.length);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    match file.read_at(&mut bytes, entry.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = Bytes::from(bytes);
    let header = RecordHeader::decode(&bytes, salt);
    bytes.advance(usize::try_from(RECORD).unwrap_or_default());
    let good = header.is_some_and(|header| {
        let same = header.number == number && header.length == entry.length;
        same && header.checksum == payload_checksum(salt, number, &bytes)
    });
    Ok(good.then_some(bytes))
}
