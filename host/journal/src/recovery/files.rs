//! The files of a log, and the contents of their headers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::OpenError;
use crate::checkpointer::SLOTS;
use crate::checkpointer::slot::{Slot, slot_name};
use crate::format::checkpoint::{self, Checkpoint};
use crate::format::{Head, MAX_PAYLOAD, SECTOR, SegmentHeader};
use crate::segments::{Ready, Shared};
use crate::vfs::{File, ensure_dir};

/// The largest checkpoint that is believed, in bytes: a million ranges.
const MAX_SLOT: u64 = 64 << 20;

pub(crate) struct Files {
    /// The best checkpoint of the slots: the good one with the highest generation.
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) slots: [Slot; SLOTS],
    /// Segments with a good header, in the order of their use.
    pub(crate) segments: Vec<Live>,
    /// Segments without a header.
    pub(crate) spare: Vec<Spare>,
    /// Headers and checkpoints that are not as they were written.
    pub(crate) damaged: u64,
    /// Segments whose headers the disk cannot read. They are left as they are.
    pub(crate) unread: u64,
    /// True if a checkpoint is not as it was written. After a power failure this is normal for
    /// those that were not synced.
    torn_slot: bool,
}

pub(crate) struct Live {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn File>,
    pub(crate) length: u64,
}

pub(crate) struct Spare {
    pub(crate) ready: Ready,
    pub(crate) length: u64,
}

impl Files {
    pub(crate) fn read(shared: &Shared) -> Result<Self, OpenError> {
        let dir = &shared.dir;
        let io = |what: &'static str| {
            move |source| OpenError::Io {
                what,
                path: dir.clone(),
                source,
            }
        };
        ensure_dir(&*shared.vfs, dir).map_err(io("make the directory"))?;
        // A process may have made entries here and died before they were durable.
        shared.vfs.sync_dir(dir).map_err(io("sync the directory"))?;
        let names = shared.vfs.list(dir).map_err(io("list the directory"))?;
        let mut files = Self {
            checkpoint: None,
            slots: std::array::from_fn(|slot| Slot::new(dir.join(slot_name(slot)), None, 0)),
            segments: Vec::new(),
            spare: Vec::new(),
            damaged: 0,
            unread: 0,
            torn_slot: false,
        };
        let slots: Vec<String> = (0..SLOTS).map(slot_name).collect();
        for (slot, name) in slots.iter().enumerate() {
            if names.contains(name) {
                files.read_slot(shared, slot, &dir.join(name))?;
            }
        }
        let ids = names.iter().filter_map(|name| {
            let digits = name.strip_prefix("segment-")?;
            u64::from_str_radix(digits, 16).ok()
        });
        for id in ids {
            files.read_segment(shared, id)?;
        }
        files.segments.sort_by_key(|live| live.header.order);
        if files.checkpoint.is_none() && !files.segments.is_empty() && files.torn_slot {
            files.damaged += 1;
        }
        Ok(files)
    }

    fn read_slot(&mut self, shared: &Shared, slot: usize, path: &Path) -> Result<(), OpenError> {
        let io = |source| OpenError::Io {
            what: "open a checkpoint",
            path: path.to_path_buf(),
            source,
        };
        let file = shared.vfs.open(path).map_err(io)?;
        let length = file.len().map_err(io)?;
        shared.quota.count(length);
        shared.grew(length);
        let wanted = usize::try_from(length.min(MAX_SLOT)).unwrap_or_default();
        let mut bytes = vec![0; wanted];
        let found = match file.read_at(&mut bytes, 0) {
            Ok(()) => Checkpoint::decode(&bytes),
            Err(_) => checkpoint::Slot::Damaged,
        };
        let file = match found {
            checkpoint::Slot::Newer(version) => {
                let path = path.to_path_buf();
                return Err(OpenError::Newer { path, version });
            }
            checkpoint::Slot::Good(found) => {
                let best = self.checkpoint.as_ref();
                if best.is_none_or(|best| best.generation < found.generation) {
                    self.checkpoint = Some(found);
                }
                Some(file)
            }
            checkpoint::Slot::Blank => None,
            checkpoint::Slot::Damaged => {
                self.torn_slot = true;
                None
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Slot::new(path.to_path_buf(), file, length);
        }
        Ok(())
    }

    fn read_segment(&mut self, shared: &Shared, id: u64) -> Result<(), OpenError> {
        let path = shared.segment_path(id);
        let io = |source| OpenError::Io {
            what: "open a segment",
            path: path.clone(),
            source,
        };
        let file = shared.vfs.open(&path).map_err(io)?;
        let length = file.len().map_err(io)?;
        shared.quota.count(length);
        shared.grew(length);
        let mut state = shared.state();
        state.next_id = state.next_id.max(id.saturating_add(1));
        drop(state);
        let heads = [Some(0), length.checked_sub(SECTOR)].map(|offset| head(&*file, offset));
        let unread = heads.iter().any(Option::is_none);
        let heads = heads.map(|head| head.unwrap_or(Head::Blank));
        let damaged = heads.iter().filter(|head| **head == Head::Damaged).count();
        self.damaged += u64::try_from(damaged).unwrap_or_default();
        let mut best: Option<SegmentHeader> = None;
        for found in heads {
            match found {
                Head::Newer(version) => return Err(OpenError::Newer { path, version }),
                // A file that was copied over another has a header with another number.
                Head::Good(header) if header.id == id && header.size < MAX_PAYLOAD * 2 => {
                    let newer = best.is_none_or(|best| best.order < header.order);
                    best = if newer { Some(header) } else { best };
                }
                Head::Good(_) | Head::Blank | Head::Damaged => {}
            }
        }
        match best {
            Some(header) => self.segments.push(Live {
                header,
                file,
                length,
            }),
            // Its content is unknown. The next start may be able to read it.
            None if unread => self.unread += 1,
            None => self.spare.push(Spare {
                ready: Ready { id, file },
                length,
            }),
        }
        Ok(())
    }
}

/// Reads a header. A sector that does not exist counts as blank; `None` if the disk cannot read it.
fn head(file: &dyn File, offset: Option<u64>) -> Option<Head> {
    let mut sector = [0; 512];
    match offset.map(|offset| file.read_at(&mut sector, offset)) {
        Some(Ok(())) => Some(SegmentHeader::decode(&sector)),
        Some(Err(error)) if error.kind() != io::ErrorKind::UnexpectedEof => None,
        _ => Some(Head::Blank),
    }
}
