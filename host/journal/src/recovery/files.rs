//! The files of a log, and the contents of their headers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use crate::checkpointer::file::{CheckpointFile, FILES, file_name};
use crate::format::checkpoint::Checkpoint;
use crate::format::record::MAX_PAYLOAD;
use crate::format::segment::SegmentHeader;
use crate::format::{DecodeResult, SECTOR};
use crate::segments::{FreeSegment, Segments};
use crate::vfs::{File, ensure_dir};

/// The largest checkpoint that is believed, in bytes: a million ranges.
const MAX_CHECKPOINT: u64 = 64 << 20;

/// The files of a log.
pub(super) struct LogFiles {
    /// The best checkpoint: the good one with the highest generation.
    checkpoint: Option<Checkpoint>,
    checkpoint_files: [CheckpointFile; FILES],
    /// Segments with a good header, in the order of their use.
    segments: Vec<SegmentFile>,
    /// Segments without a header.
    blank: Vec<BlankFile>,
    /// Headers and checkpoints that are not as they were written.
    damaged_headers: u64,
    /// Segments whose headers the disk cannot read. They are left as they are.
    unread: u64,
    /// True if a checkpoint is not as it was written. After a power failure this is normal for
    /// those that were not synced.
    has_torn_checkpoint: bool,
}

/// A segment with a good header.
pub(super) struct SegmentFile {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn File>,
    pub(super) length: u64,
}

/// A file of a segment that has no header.
pub(super) struct BlankFile {
    pub(super) segment: FreeSegment,
    pub(super) length: u64,
}

impl LogFiles {
    /// Reads the checkpoints and the headers of all segments.
    pub(super) fn read(segments: &Segments) -> Result<Self, OpenError> {
        let dir = segments.dir();
        let io = |what: &'static str| {
            move |source| OpenError::Io {
                what,
                path: dir.to_path_buf(),
                source,
            }
        };
        ensure_dir(segments.vfs(), dir).map_err(io("make the directory"))?;
        // A process may have made entries here and died before they were durable.
        segments
            .vfs()
            .sync_dir(dir)
            .map_err(io("sync the directory"))?;
        let names = segments.vfs().list(dir).map_err(io("list the directory"))?;
        let mut files = Self {
            checkpoint: None,
            checkpoint_files: std::array::from_fn(|place| {
                CheckpointFile::new(dir.join(file_name(place)), None, 0)
            }),
            segments: Vec::new(),
            blank: Vec::new(),
            damaged_headers: 0,
            unread: 0,
            has_torn_checkpoint: false,
        };
        for place in 0..FILES {
            let name = file_name(place);
            if names.contains(&name) {
                files.read_checkpoint(segments, place, &dir.join(name))?;
            }
        }
        let ids = names.iter().filter_map(|name| {
            let digits = name.strip_prefix("segment-")?;
            u64::from_str_radix(digits, 16).ok()
        });
        for id in ids {
            files.read_header(segments, id)?;
        }
        files.segments.sort_by_key(|found| found.header.order);
        let has_segments = !files.segments.is_empty();
        if files.checkpoint.is_none() && has_segments && files.has_torn_checkpoint {
            files.damaged_headers += 1;
        }
        Ok(files)
    }

    /// Returns the best checkpoint.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.clone()
    }

    /// Returns the segments with a good header, in the order of their use.
    pub(super) fn segments(&self) -> &[SegmentFile] {
        &self.segments
    }

    /// Returns the number of headers and checkpoints that are not as they were written.
    pub(super) fn damaged_headers(&self) -> u64 {
        self.damaged_headers
    }

    /// Returns the number of segments whose headers the disk cannot read.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Returns true if there was no log here.
    pub(super) fn is_new(&self) -> bool {
        self.segments.is_empty() && self.checkpoint.is_none() && self.damaged_headers == 0
    }

    /// Returns the files of the checkpoints, and the segments without a header.
    pub(super) fn into_parts(self) -> ([CheckpointFile; FILES], Vec<BlankFile>) {
        (self.checkpoint_files, self.blank)
    }

    fn read_checkpoint(
        &mut self,
        segments: &Segments,
        place: usize,
        path: &Path,
    ) -> Result<(), OpenError> {
        let io = |source| OpenError::Io {
            what: "open a checkpoint",
            path: path.to_path_buf(),
            source,
        };
        let file = segments.vfs().open(path).map_err(io)?;
        let length = file.len().map_err(io)?;
        segments.add_bytes(length);
        let wanted = usize::try_from(length.min(MAX_CHECKPOINT)).unwrap_or_default();
        let mut bytes = vec![0; wanted];
        let found = match file.read_at(&mut bytes, 0) {
            Ok(()) => Checkpoint::decode(&bytes),
            Err(_) => DecodeResult::Damaged,
        };
        let file = match found {
            DecodeResult::Newer(version) => {
                let path = path.to_path_buf();
                return Err(OpenError::Newer { path, version });
            }
            DecodeResult::Good(found) => {
                let best = self.checkpoint.as_ref();
                if best.is_none_or(|best| best.generation < found.generation) {
                    self.checkpoint = Some(found);
                }
                Some(file)
            }
            DecodeResult::Blank => None,
            DecodeResult::Damaged => {
                self.has_torn_checkpoint = true;
                None
            }
        };
        if let Some(at) = self.checkpoint_files.get_mut(place) {
            *at = CheckpointFile::new(path.to_path_buf(), file, length);
        }
        Ok(())
    }

    fn read_header(&mut self, segments: &Segments, id: u64) -> Result<(), OpenError> {
        let path = segments.path(id);
        let io = |source| OpenError::Io {
            what: "open a segment",
            path: path.clone(),
            source,
        };
        let file = segments.vfs().open(&path).map_err(io)?;
        let length = file.len().map_err(io)?;
        segments.add_bytes(length);
        segments.free().note_id(id);
        let sectors = [Some(0), length.checked_sub(SECTOR)];
        let headers = sectors.map(|offset| decode_sector(&*file, offset));
        let unread = headers.iter().any(Option::is_none);
        let headers = headers.map(|header| header.unwrap_or(DecodeResult::Blank));
        let damaged = headers
            .iter()
            .filter(|found| **found == DecodeResult::Damaged);
        self.damaged_headers += u64::try_from(damaged.count()).unwrap_or_default();
        let mut best: Option<SegmentHeader> = None;
        for found in headers {
            match found {
                DecodeResult::Newer(version) => return Err(OpenError::Newer { path, version }),
                // A file that was copied over another has a header with another number.
                DecodeResult::Good(header) if header.id == id && header.size < MAX_PAYLOAD * 2 => {
                    let newer = best.is_none_or(|best| best.order < header.order);
                    best = if newer { Some(header) } else { best };
                }
                DecodeResult::Good(_) | DecodeResult::Blank | DecodeResult::Damaged => {}
            }
        }
        match best {
            Some(header) => self.segments.push(SegmentFile {
                header,
                file,
                length,
            }),
            // Its content is unknown. The next start may be able to read it.
            None if unread => self.unread += 1,
            None => self.blank.push(BlankFile {
                segment: FreeSegment { id, file },
                length,
            }),
        }
        Ok(())
    }
}

/// Reads a header. A sector that does not exist counts as blank; `None` if the disk cannot read it.
fn decode_sector(file: &dyn File, offset: Option<u64>) -> Option<DecodeResult<SegmentHeader>> {
    let mut sector = [0; 512];
    match offset.map(|offset| file.read_at(&mut sector, offset)) {
        Some(Ok(())) => Some(SegmentHeader::decode(&sector)),
        Some(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => None,
        _ => Some(DecodeResult::Blank),
    }
}
