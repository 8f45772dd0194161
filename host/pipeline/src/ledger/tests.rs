use std::collections::BTreeSet;
use std::time::SystemTime;

use super::tally::End;
use super::*;
use crate::completion::Guard;

const COLUMN: Column = Column {
    stage: 0,
    generation: 1,
};

fn ledger() -> Arc<Ledger> {
    let exporters = ["otlp".to_owned(), "debug".to_owned()];
    let ledger = Ledger::new("traces", Signal::Traces, exporters);
    ledger.open("wasm/a", 1, &["health".to_owned()]);
    ledger
}

/// The books balance after every single step of a batch's life, whatever becomes of its items.
#[test]
fn balances_at_every_step() {
    let ledger = ledger();
    let check = || assert!(ledger.books().is_balanced(), "{ledger}");
    let mut tally = ledger.receive(10);
    check();
    tally.transfer(Account::Chain);
    check();
    tally.drop_items(COLUMN, Reason::Plugin(0), 3);
    check();
    let mut held = tally.split(2);
    held.transfer(Account::Held(0));
    check();
    let mut queued = tally.forward(0..2);
    check();
    queued.remove(0).settle(End::Sent { rejected: 1 });
    check();
    queued.remove(0).settle(End::Expired);
    check();
    held.transfer(Account::Chain);
    drop(held);
    check();
    let books = ledger.books();
    assert!(books.is_settled());
    assert_eq!(books.abandoned(), 2);
    assert_eq!(
        books.stages[0].dropped().collect::<Vec<_>>(),
        [("health", 3)]
    );
    assert_eq!(
        (books.exporters[0].sent, books.exporters[0].rejected),
        (4, 1)
    );
    assert_eq!(books.exporters[1].expired, 5);
}

/// Items whose sender was never answered are the sender's: a lost request counts as refused.
#[test]
fn unanswered_is_refused() {
    let ledger = ledger();
    drop(ledger.receive(7));
    let books = ledger.books();
    assert_eq!((books.refused, books.abandoned()), (7, 0));
    assert!(books.is_balanced() && books.is_settled());
}

/// A cancelled export is abandoned by its own exporter only, and fails the batch's guard.
#[tokio::test]
async fn a_cancelled_export_is_abandoned() {
    let ledger = ledger();
    let (guard, completed) = Guard::new();
    let mut tally = ledger.receive(4);
    tally.guard(guard);
    tally.transfer(Account::Chain);
    let mut queued = tally.forward(0..2);
    drop(queued.remove(1));
    queued.remove(0).settle(End::Sent { rejected: 0 });
    let books = ledger.books();
    assert_eq!(
        (books.exporters[0].abandoned, books.exporters[1].abandoned),
        (0, 4)
    );
    assert!(books.is_balanced());
    assert_eq!(completed.await, Ok(crate::completion::BatchEnd::Failed));
}

/// An exporter that comes later, or goes, answers for the items that entered its queue. An exporter
/// that is there all the time answers for all items, and the books do not balance if it was left
/// out.
#[test]
fn exporters_come_and_go() {
    let ledger = ledger();
    let forward = |items, exporters: &[usize]| {
        let mut tally = ledger.receive(items);
        tally.transfer(Account::Chain);
        tally
            .forward(exporters.iter().copied())
            .into_iter()
            .for_each(|tally| tally.settle(End::Sent { rejected: 0 }));
    };
    forward(10, &[0, 1]);
    assert_eq!(ledger.change_exporters(&["otlp", "file"]), [0, 2]);
    // Admitted before the change.
    forward(5, &[0, 1]);
    forward(3, &[0, 2]);
    assert_eq!(ledger.change_exporters(&["otlp", "debug"]), [0, 1]);
    forward(1, &[0, 1]);
    let books = ledger.books();
    assert!(books.is_balanced() && books.is_settled(), "{ledger}");
    let of = |of: fn(&Books, &ExporterBooks) -> u64| {
        let columns = books.exporters.iter();
        columns.map(|column| of(&books, column)).collect::<Vec<_>>()
    };
    assert_eq!(of(|_, column| column.sent), [19, 16, 3]);
    assert_eq!(of(Books::missed), [0, 3, 16]);
    forward(1, &[1]);
    assert!(!ledger.books().is_balanced(), "{ledger}");
}

/// The parts of a batch that was merged from thousands hold one guard each, and parts that are
/// joined again do not hold it twice. Each of the thousands still completes with the last part.
#[tokio::test]
async fn guards_do_not_multiply() {
    let ledger = ledger();
    let mut merged = ledger.receive(1);
    let mut completed = Vec::new();
    for _ in 0..5000 {
        let mut tally = ledger.receive(1);
        let (guard, ends) = Guard::new();
        tally.guard(guard);
        completed.push(ends);
        merged.join(tally);
    }
    assert_eq!(merged.guards(), 5000);
    let parts: Vec<_> = (0..5001).map(|_| merged.split(1)).collect();
    assert!(parts.iter().all(|part| part.guards() == 1));
    let mut parts = parts.into_iter();
    let mut all = parts.next().expect("a part");
    parts.for_each(|part| all.join(part));
    assert_eq!((all.items(), all.guards()), (5001, 1));
    drop(merged);
    assert!(completed.iter_mut().all(|ends| ends.try_recv().is_err()));
    all.drop_all(COLUMN, Reason::Fault);
    for ends in completed {
        assert_eq!(ends.await, Ok(crate::completion::BatchEnd::Done));
    }
}

/// Items that a log has are not abandoned, whatever their account and however they were cut and
/// joined; the others are.
#[test]
fn what_a_log_has_is_not_abandoned() {
    let ledger = ledger();
    let check = || assert!(ledger.books().is_balanced(), "{ledger}");
    let mut tally = ledger.receive(10);
    tally.journal(Guard::new().0);
    tally.transfer(Account::Chain);
    tally.join(ledger.create(4, Source::default()));
    check();
    drop(tally.split(6));
    check();
    let books = ledger.books();
    assert_eq!((books.journaled, books.abandoned), (2, 4));
    tally.split(3).refuse();
    check();
    assert_eq!((ledger.books().journaled, ledger.books().refused), (5, 0));
    let again = ledger.replay(3, true, Guard::new().0);
    let mut queued = again.forward(0..2);
    check();
    queued.remove(0).spill();
    drop(queued);
    check();
    ledger.recover(0, 7);
    let record = UnfinishedRecord {
        record: 0,
        items: 6,
        bytes: 100,
        attempts: 0,
        written: SystemTime::UNIX_EPOCH,
    };
    let loaded = ledger.load(0, &record, Guard::new().0);
    check();
    drop(loaded);
    drop(tally);
    let books = ledger.books();
    assert!(books.is_balanced() && books.is_settled(), "{ledger}");
    let [one, other] = [&books.exporters[0], &books.exporters[1]];
    assert_eq!((one.recovered, one.on_disk, one.journaled), (7, 10, 0));
    assert_eq!((other.on_disk, other.journaled), (0, 3));
    assert_eq!(
        (books.journaled, books.returned, books.abandoned),
        (10, 3, 4)
    );
    assert_eq!(books.kept_on_disk(), 7 + 10 + 3);
    let text = ledger.to_string();
    assert!(
        text.contains("replayed 3") && text.contains("on disk 10"),
        "{text}"
    );
}

/// Each table of figures has no name and no metric twice, and the row of each exporter balances as
/// the books do.
#[test]
fn figures_are_told_apart() {
    let ledger = ledger();
    let mut tally = ledger.receive(10);
    tally.transfer(Account::Chain);
    tally.drop_items(COLUMN, Reason::Plugin(0), 3);
    tally.split(1).overflow(FullPart::Shards);
    let mut queued = tally.forward(0..2);
    queued.remove(0).settle(End::Sent { rejected: 1 });
    let books = ledger.books();
    assert!(books.is_balanced());
    for exporter in &books.exporters {
        let row = LedgerRow::new(&books, exporter);
        assert!(row.is_balanced(), "{row:?}");
        for table in [
            books.columns().to_vec(),
            exporter.columns().to_vec(),
            row.columns(),
        ] {
            let names: BTreeSet<_> = table.iter().map(|figure| figure.name).collect();
            assert_eq!(names.len(), table.len());
        }
    }
    let metrics = books
        .columns()
        .into_iter()
        .chain(books.exporters[0].columns());
    let metrics: Vec<_> = metrics.filter_map(|figure| figure.metric).collect();
    let told_apart: BTreeSet<_> = metrics.iter().collect();
    assert_eq!(told_apart.len(), metrics.len());
    drop(queued);
}
