//! Reads one record.

use std::io;

use bytes::{Buf, Bytes};
use spandrel_pipeline::journal::RecordError;

use super::{RecordEntry, Segment, Segments};
use crate::format::record::{HEADER, RecordHeader, payload_checksum};
use crate::vfs::File;

/// The most places at which a record is looked for. Each failure of the disk moves a record once at
/// most.
const MAX_PLACES: usize = 8;

/// Returns the payload of a record that is not finished.
pub(crate) fn read_record(segments: &Segments, lsn: u64) -> Result<Bytes, RecordError> {
    // A record that is moved while it is read is read at its new place.
    for _ in 0..MAX_PLACES {
        let Some((entry, segment)) = locate(segments, lsn) else {
            return Err(RecordError::Damaged { record: lsn });
        };
        let found = segments
            .file(entry.segment, &segment)
            .and_then(|file| read(&*file, lsn, entry, segment.salt));
        if locate(segments, lsn).is_none_or(|(now, _)| now != entry) {
            continue;
        }
        return match found {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                segments.counters().damaged(1);
                tracing::error!(log = segments.name, record = lsn, "journal record damaged");
                Err(RecordError::Damaged { record: lsn })
            }
            Err(error) => Err(RecordError::Failed(error)),
        };
    }
    Err(RecordError::Failed(io::ErrorKind::Interrupted.into()))
}

fn locate(segments: &Segments, lsn: u64) -> Option<(RecordEntry, Segment)> {
    let index = segments.index();
    let (entry, segment) = index.locate(lsn)?;
    Some((entry, segment.clone()))
}

/// Returns the payload, if it is what was written.
fn read(file: &dyn File, lsn: u64, entry: RecordEntry, salt: u64) -> io::Result<Option<Bytes>> {
    let length = HEADER + u64::from(entry.length);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    match file.read_at(&mut bytes, entry.offset) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = Bytes::from(bytes);
    let header = RecordHeader::decode(&bytes, salt);
    bytes.advance(usize::try_from(HEADER).unwrap_or_default());
    let good = header.is_some_and(|header| {
        let same = header.lsn == lsn && header.length == entry.length;
        same && header.checksum == payload_checksum(salt, lsn, &bytes)
    });
    Ok(good.then_some(bytes))
}
