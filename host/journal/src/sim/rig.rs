//! A journal that a test drives step by step, with a record of what it promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::journal::AppendError;

use super::disk::SimDisk;
use super::payload::{identify, items, payload};
use crate::checkpointer::Checkpointer;
use crate::options::{Options, Sync};
use crate::recovery::{LogRecovery, OpenError};
use crate::segments::Segments;
use crate::segments::allocation::allocate_ahead;
use crate::segments::read::read_record;
use crate::store::{OpenJournal, open_log};
use crate::vfs::Vfs;
use crate::writer::{NewRecord, Writer};

/// The logs of a rig: the ingress log, and the egress log of one exporter.
pub(crate) const LOGS: usize = 2;

pub(crate) struct Log {
    pub(crate) segments: Arc<Segments>,
    pub(crate) writer: Writer,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) report: LogRecovery,
}

/// The batches that a log owes, by their records' numbers.
#[derive(Clone, Default)]
pub(crate) struct OwedRecords {
    /// Batches that were acknowledged and not finished: they must be there.
    pub(crate) records: BTreeMap<u64, u64>,
    /// Other batches that may be there: given to the log and not acknowledged, or finished.
    pub(crate) possible: BTreeSet<u64>,
    /// The highest number that was acknowledged.
    pub(crate) last: Option<u64>,
}

pub(crate) struct Rig {
    pub(crate) disk: SimDisk,
    pub(crate) logs: Vec<Log>,
    pub(crate) owed: Vec<OwedRecords>,
    next_id: u64,
}

pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8 << 10,
        max_bytes: 1 << 20,
        retry_after: Duration::ZERO,
        sync: Sync::Group,
        ..Options::new("/journal/traces")
    }
}

/// Opens the logs that are on the disk.
pub(crate) fn open(disk: &SimDisk, options: &Options) -> Result<Vec<Log>, OpenError> {
    let vfs: Arc<dyn Vfs> = Arc::new(disk.clone());
    let mut journal = OpenJournal::new(vfs, options.clone())?;
    let egress = match journal.egress.remove("backend") {
        Some(log) => log,
        None => open_log(&journal.resources, Some("backend"))?,
    };
    let logs = [journal.ingress, egress].into_iter();
    let logs = logs.map(|log| Log {
        writer: Writer::new(Arc::clone(&log.segments)),
        segments: log.segments,
        checkpointer: log.checkpointer,
        report: log.report,
    });
    Ok(logs.collect())
}

impl Rig {
    pub(crate) fn new(disk: SimDisk, options: &Options) -> Self {
        let logs = open(&disk, options).expect("an empty disk");
        Self {
            disk,
            logs,
            owed: vec![OwedRecords::default(); LOGS],
            next_id: 0,
        }
    }

    /// Appends batches of these lengths, as the commit thread does. Returns the number of refused
    /// ones.
    pub(crate) fn append(&mut self, log: usize, lengths: &[usize]) -> usize {
        let mut batches = Vec::new();
        for length in lengths {
            let payload = payload(self.next_id, *length);
            let items = items(self.next_id);
            batches.push((self.next_id, NewRecord { payload, items }));
            self.next_id += 1;
        }
        let mut refused = 0;
        let owed = &mut self.owed[log];
        owed.possible.extend(batches.iter().map(|(id, _)| *id));
        while !batches.is_empty() {
            let group: Vec<NewRecord> = batches.iter().map(|(_, batch)| batch.clone()).collect();
            let (count, written) = self.logs[log].writer.commit(&group);
            assert!((1..=group.len()).contains(&count), "{count}");
            for (place, (id, _)) in (0_u64..).zip(batches.drain(..count)) {
                match &written {
                    Ok(first) => {
                        owed.records.insert(first + place, id);
                        owed.possible.remove(&id);
                        owed.last = Some(first + place);
                    }
                    Err(error) => {
                        assert!(!matches!(error, AppendError::Closed));
                        refused += 1;
                    }
                }
            }
        }
        refused
    }

    pub(crate) fn finish(&mut self, log: usize, number: u64) {
        self.logs[log].segments.index().finish(number);
        let owed = &mut self.owed[log];
        if let Some(id) = owed.records.remove(&number) {
            owed.possible.insert(id);
        }
    }

    pub(crate) fn allocate(&mut self, log: usize) {
        let segments = &self.logs[log].segments;
        if segments.free().begin_allocation() {
            allocate_ahead(segments);
        }
    }

    /// Does what the checkpointer's thread does at its tick.
    pub(crate) fn tick(&mut self, log: usize) {
        let log = &mut self.logs[log];
        drop(log.checkpointer.write_unsynced());
        drop(log.checkpointer.retire_segments());
    }

    pub(crate) fn close(&mut self) {
        for log in &mut self.logs {
            let synced = log.writer.sync().is_ok();
            let closed = synced && log.checkpointer.write_synced(true).is_ok();
            assert!(closed || self.disk.is_dead());
        }
    }

    /// Opens the journal again: everything that is owed must be there, and nothing that is not
    /// possible.
    pub(crate) fn reopen(&mut self, options: &Options) {
        self.logs.clear();
        let logs = open(&self.disk, options);
        self.logs = logs.unwrap_or_else(|error| panic!("not opened: {error:?}"));
        for (log, owed) in self.logs.iter().zip(&mut self.owed) {
            assert_eq!(log.report.lost, 0, "false alarm: {:?}", log.report);
            assert_eq!(log.report.damaged_headers, 0, "{:?}", log.report);
            let found = contents(log);
            for (number, id) in &owed.records {
                assert_eq!(found.get(number), Some(id), "record {number} is lost");
            }
            for (number, id) in found {
                if owed.records.insert(number, id).is_none() {
                    assert!(owed.possible.remove(&id), "batch {id} is there twice");
                }
            }
            let next = log.segments.index().first_new_lsn();
            assert!(owed.last.is_none_or(|last| last < next), "a number twice");
        }
    }

    /// Checks that the files together are not larger than they may be.
    pub(crate) fn quota_holds(&self, options: &Options) {
        let files = self.disk.files();
        let inside = files
            .iter()
            .filter(|(path, _)| path.starts_with(Path::new("/journal")));
        let bytes: usize = inside.map(|(_, content)| content.len()).sum();
        // Checkpoints may be written whatever room there is.
        let slack = 8 * 8192;
        assert!(bytes as u64 <= options.max_bytes + slack, "{bytes} bytes");
    }
}

/// Returns the contents of a log, as a pipeline sees them.
pub(crate) fn contents(log: &Log) -> BTreeMap<u64, u64> {
    let unfinished = log.segments.index().unfinished(0, usize::MAX);
    let read = |record: &spandrel_pipeline::journal::UnfinishedRecord| {
        let bytes = read_record(&log.segments, record.record).expect("a record that is there");
        let id = identify(&bytes);
        assert_eq!(record.items, items(id));
        assert_eq!(record.bytes, bytes.len());
        (record.record, id)
    };
    let found: BTreeMap<u64, u64> = unfinished.iter().map(read).collect();
    let fill = log.segments.fill();
    assert_eq!(fill.records, found.len() as u64);
    assert_eq!(fill.items, found.values().map(|id| items(*id)).sum::<u64>());
    found
}
