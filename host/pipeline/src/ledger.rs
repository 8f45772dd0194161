//! The ledger: an exact account of every item of a pipeline, at any moment.
//!
//! It is double entry: items stand in an [`Account`] and leave it only into another account or into
//! an end, under one lock, once per batch (never once per item). A [`Tally`] is the handle on some
//! items. A tally that is dropped without a posting books its items as refused, as journaled or as
//! abandoned, so no code path, not even a cancelled task, can lose an item without the ledger
//! knowing.

mod books;
mod bypass;
mod exporter;
mod figure;
mod reason;
mod row;
mod stage;
mod tally;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use spandrel_wire::Signal;

pub use self::books::{Books, Overflow};
pub use self::bypass::Bypass;
pub use self::exporter::ExporterBooks;
pub use self::figure::{Figure, Side, Unit};
pub use self::reason::{FullPart, Reason};
pub use self::row::LedgerRow;
pub use self::stage::{Column, CpuSamples, GenerationBooks, StageBooks};
pub use self::tally::{Account, Tally};
pub(crate) use self::tally::{End, Source, StageVisit};
use crate::completion::Guard;
use crate::journal::{Loss, UnfinishedRecord};

/// The books of one pipeline. They are cheap to share; read them with [`Ledger::books`].
#[derive(Debug)]
pub struct Ledger {
    pipeline: String,
    signal: Signal,
    books: Mutex<Books>,
    /// The number of times that the stages were changed.
    changes: AtomicU64,
}

impl Ledger {
    /// Opens empty books with one column for each exporter. Stages open their own.
    pub fn new(
        pipeline: impl Into<String>,
        signal: Signal,
        exporters: impl IntoIterator<Item = String>,
    ) -> Arc<Self> {
        let books = Books {
            exporters: exporters.into_iter().map(ExporterBooks::new).collect(),
            ..Books::default()
        };
        Arc::new(Self {
            pipeline: pipeline.into(),
            signal,
            books: Mutex::new(books),
            changes: AtomicU64::new(0),
        })
    }

    /// Returns the pipeline's name in the config.
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }

    /// Returns the signal that the pipeline carries.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Returns a consistent copy of the books, as they stand at this moment.
    pub fn books(&self) -> Books {
        self.books.lock().clone()
    }

    /// Makes one posting: a reader of the books sees all of `entry` at once.
    pub(crate) fn post(&self, entry: impl FnOnce(&mut Books)) {
        entry(&mut self.books.lock());
    }

    /// Returns the column of the stage with this name, and opens it if there is none, for postings
    /// of the generation with this number, whose manifest has these drop reasons.
    pub(crate) fn open(&self, stage: &str, generation: u64, reasons: &[String]) -> Column {
        let mut books = self.books.lock();
        let known = books.stages.iter().position(|column| column.name == stage);
        let place = known.unwrap_or_else(|| {
            books.stages.push(StageBooks::new(stage.to_owned()));
            books.stages.len() - 1
        });
        if let Some(column) = books.stages.get_mut(place) {
            column.open(generation, reasons);
        }
        Column {
            stage: place,
            generation,
        }
    }

    /// Books that the generation of this column does not run on a shard any more.
    pub(crate) fn close(&self, column: Column) {
        self.post_stage(column.stage, |books| books.close(column.generation));
    }

    /// Sets the stages that the pipeline has now, in order. New stages get a column.
    pub(crate) fn arrange<'a>(&self, stages: impl IntoIterator<Item = &'a str>) {
        let order: Vec<&str> = stages.into_iter().collect();
        self.post(|books| {
            for stage in &order {
                if !books.stages.iter().any(|column| column.name == *stage) {
                    books.stages.push(StageBooks::new((*stage).to_owned()));
                }
            }
            for column in &mut books.stages {
                column.position = order.iter().position(|stage| *stage == column.name);
            }
        });
    }

    /// Counts a change of the stages. Called when every shard has the order to become other stages.
    pub(crate) fn stages_changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Returns the number of changes so far. A batch that is offered to a shard after this was read
    /// is judged by the stages of that change, or of a later one.
    pub(crate) fn stage_changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Makes a posting in one stage's column.
    pub(crate) fn post_stage(&self, stage: usize, entry: impl FnOnce(&mut StageBooks)) {
        self.post(|books| {
            if let Some(column) = books.stages.get_mut(stage) {
                entry(column);
            }
        });
    }

    /// Returns the number of exporters that have a column.
    pub(crate) fn exporters(&self) -> usize {
        let books = self.books.lock();
        books.exporters.len()
    }

    /// Returns the columns of these exporters, by their names; a new name gets a new column. Marks
    /// the exporters that come or go as absent for a part of the time.
    pub(crate) fn change_exporters(&self, names: &[&str]) -> Vec<usize> {
        let mut columns = Vec::with_capacity(names.len());
        self.post(|books| {
            for column in &mut books.exporters {
                column.absent |= !names.contains(&column.name.as_str());
            }
            for name in names {
                let known = books
                    .exporters
                    .iter()
                    .position(|column| column.name == *name);
                columns.push(known.unwrap_or(books.exporters.len()));
                if known.is_none() {
                    let mut column = ExporterBooks::new((*name).to_owned());
                    column.absent = true;
                    books.exporters.push(column);
                }
            }
        });
        columns
    }

    /// Makes a posting in one exporter's column.
    pub(crate) fn post_exporter(&self, exporter: usize, entry: impl FnOnce(&mut ExporterBooks)) {
        self.post(|books| {
            if let Some(column) = books.exporters.get_mut(exporter) {
                entry(column);
            }
        });
    }

    /// Books items that came in with one valid request. If the tally is dropped as it is, they
    /// count as refused: no sender was told that they were accepted.
    pub(crate) fn receive(self: &Arc<Self>, items: u64) -> Tally {
        self.post(|books| {
            books.received += items;
            books.ingress += items;
        });
        Tally::new(Arc::clone(self), Account::Ingress, items)
    }

    /// Books items that came in and cannot go on, regardless of the rest of their request.
    pub(crate) fn refuse(&self, items: u64) {
        if items > 0 {
            self.post(|books| {
                books.received += items;
                books.refused += items;
            });
        }
    }

    /// Books items of a record of the ingress log that come through the stages again. `returned`
    /// says whether they went back to the journal in this process, or were there at its start.
    pub(crate) fn replay(self: &Arc<Self>, items: u64, returned: bool, guard: Guard) -> Tally {
        self.post(|books| {
            books.add_replayed(items, returned);
            books.chain += items;
        });
        let mut tally = Tally::new(Arc::clone(self), Account::Chain, items);
        tally.journal(guard);
        tally
    }

    /// Books the items that the ingress log has lost to damage.
    pub(crate) fn lose(&self, loss: Loss) {
        self.post(|books| {
            books.add_replayed(loss.items, false);
            books.damaged += loss.items;
            books.unknown_losses += loss.records + loss.doubtful;
        });
    }

    /// Books the items that an exporter's log has lost to damage.
    pub(crate) fn lose_recovered(&self, exporter: usize, loss: Loss) {
        self.post(|books| {
            books.unknown_losses += loss.records + loss.doubtful;
            if let Some(column) = books.exporters.get_mut(exporter) {
                column.recovered += loss.items;
                column.failed += loss.items;
            }
        });
    }

    /// Books items that were in an exporter's log at the start.
    pub(crate) fn recover(&self, exporter: usize, items: u64) {
        self.post_exporter(exporter, |column| {
            column.recovered += items;
            column.on_disk += items;
        });
    }

    /// Books items of a record of an exporter's log that are in its queue now.
    pub(crate) fn load(
        self: &Arc<Self>,
        exporter: usize,
        record: &UnfinishedRecord,
        guard: Guard,
    ) -> Tally {
        let items = record.items;
        self.post_exporter(exporter, |column| {
            column.on_disk = column.on_disk.saturating_sub(items);
            column.queued += items;
        });
        Tally::on_disk(Arc::clone(self), exporter, record, guard)
    }

    /// Books items that a plugin made. Their source is not complete before they are.
    pub(crate) fn create(self: &Arc<Self>, items: u64, source: Source) -> Tally {
        self.post(|books| {
            books.created += items;
            books.chain += items;
        });
        Tally::new(Arc::clone(self), Account::Chain, items).made_of(source)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pipeline, self.books())
    }
}

#[cfg(test)]
mod tests;
