//! The ledger: where every item of a pipeline is, exactly, at any moment.
//!
//! Double entry: items stand in an [`Account`] and leave it only into another account or into an
//! end, under one lock, once a batch (never once an item). [`Tally`] is the handle on some items;
//! a tally that is destroyed without a word books its items as abandoned, so that no code path,
//! not even a cancelled task, can lose an item without the ledger knowing.

mod books;
mod tally;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use spandrel_wire::Signal;

pub use self::books::{Books, ExporterBooks, StageBooks};
pub(crate) use self::tally::End;
pub use self::tally::{Account, Reason, Tally};

/// The books of one pipeline. Cheap to share; read it with [`Ledger::books`].
#[derive(Debug)]
pub struct Ledger {
    pipeline: String,
    signal: Signal,
    books: Mutex<Books>,
}

impl Ledger {
    /// Opens empty books: one column for each stage (its name and its plugin's drop reasons) and
    /// one for each exporter.
    pub fn new(
        pipeline: impl Into<String>,
        signal: Signal,
        stages: impl IntoIterator<Item = (String, Vec<String>)>,
        exporters: impl IntoIterator<Item = String>,
    ) -> Arc<Self> {
        let books = Books {
            stages: stages
                .into_iter()
                .map(|(name, reasons)| StageBooks::new(name, reasons))
                .collect(),
            exporters: exporters.into_iter().map(ExporterBooks::new).collect(),
            ..Books::default()
        };
        Arc::new(Self {
            pipeline: pipeline.into(),
            signal,
            books: Mutex::new(books),
        })
    }

    /// The pipeline's name in the config.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// The signal that the pipeline carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// A consistent copy of the books, as they stand at this moment.
    pub fn books(&self) -> Books {
        self.books
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// One posting: everything in `entry` happens at once for whoever reads the books.
    pub(crate) fn post(&self, entry: impl FnOnce(&mut Books)) {
        entry(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A posting in one stage's column.
    pub(crate) fn post_stage(&self, stage: usize, entry: impl FnOnce(&mut StageBooks)) {
        self.post(|books| {
            if let Some(column) = books.stages.get_mut(stage) {
                entry(column);
            }
        });
    }

    /// A posting in one exporter's column.
    pub(crate) fn post_exporter(&self, exporter: usize, entry: impl FnOnce(&mut ExporterBooks)) {
        self.post(|books| {
            if let Some(column) = books.exporters.get_mut(exporter) {
                entry(column);
            }
        });
    }

    /// Items that came in with one valid request. Dropped as they are, they count as refused:
    /// nobody was told that they were accepted.
    pub(crate) fn receive(self: &Arc<Self>, items: u64) -> Tally {
        self.post(|books| {
            books.received += items;
            books.ingress += items;
        });
        Tally::new(Arc::clone(self), Account::Ingress, items)
    }

    /// Items that a plugin made.
    pub(crate) fn create(self: &Arc<Self>, items: u64) -> Tally {
        self.post(|books| {
            books.created += items;
            books.chain += items;
        });
        Tally::new(Arc::clone(self), Account::Chain, items)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pipeline, self.books())
    }
}

#[cfg(test)]
mod tests;
