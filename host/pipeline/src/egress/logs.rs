//! The exporters' logs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::lock;
use super::spill::Spill;
use crate::journal::{Journal, Log};

/// The exporters' logs, in a durable pipeline.
#[derive(Debug)]
pub(super) struct Logs {
    journal: Arc<dyn Journal>,
    /// The opened logs, by the exporter's name.
    open: Mutex<BTreeMap<String, Arc<dyn Log>>>,
    /// The logs that are or were in use, by the exporter's name: their content is in the books.
    pub(super) spills: Mutex<BTreeMap<String, Arc<Spill>>>,
}

impl Logs {
    pub(super) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            open: Mutex::default(),
            spills: Mutex::default(),
        }
    }

    /// Returns the log of an exporter. Reads and writes files if it is not open yet.
    pub(super) fn open(&self, exporter: &str) -> io::Result<Arc<dyn Log>> {
        if let Some(log) = lock(&self.open).get(exporter) {
            return Ok(Arc::clone(log));
        }
        let log = self.journal.egress(exporter)?;
        lock(&self.open).insert(exporter.to_owned(), Arc::clone(&log));
        Ok(log)
    }
}
