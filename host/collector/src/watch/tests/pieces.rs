//! Tests of files that are written in pieces, and of several files that change together.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use crate::watch::tests::{EVENTS, Pace, WatchedFolder, file, unknown};

/// A pace whose rests are far longer than the pauses of these tests.
const SLOW: Pace = Pace {
    settle: Duration::from_secs(2),
    ..EVENTS
};

/// Pauses like a writer who is not done.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// A file that is written in pieces with pauses is reported once, when all of it is there.
#[tokio::test]
async fn pieces_are_one_report() {
    for poll in [EVENTS.poll, Duration::from_millis(50)] {
        let mut bench = WatchedFolder::new(Pace { poll, ..SLOW }, "a", file("0")).await;
        let mut file = fs::File::create(bench.path("a")).expect("made");
        for piece in ["one ", "two ", "three"] {
            file.write_all(piece.as_bytes()).expect("written");
            pause().await;
        }
        bench.expect("a").await;
        let content = fs::read_to_string(bench.path("a")).expect("read");
        assert_eq!(content, "one two three");
        bench.expect_nothing().await;
    }
}

/// If several files change together, none is reported before the last one was written.
#[tokio::test]
async fn files_that_change_together_are_reported_together() {
    let mut bench = WatchedFolder::new(SLOW, "a", file("0")).await;
    let files = ["a", "b", "marks/mark"].map(|name| unknown(bench.path(name)));
    bench.watcher.set(files);
    bench.expect_nothing().await;
    bench.write("a", "1");
    // Without the rule the first file would be reported in this time.
    for _ in 0..10 {
        pause().await;
        bench.write("b", "more");
        bench.write("b", "1");
    }
    let mark = bench.path("marks/mark");
    while let Ok(report) = bench.reports.try_recv() {
        assert_eq!(report, mark, "reported too early");
    }
    let mut reported = [bench.next_file().await, bench.next_file().await];
    reported.sort();
    assert_eq!(reported, [bench.path("a"), bench.path("b")]);
}

/// A file that is written without a rest does not hold up another one for ever.
#[tokio::test]
async fn a_file_without_a_rest_holds_up_nobody() {
    let pace = Pace {
        patience: Duration::from_secs(3),
        ..SLOW
    };
    let mut bench = WatchedFolder::new(pace, "a", file("0")).await;
    let files = ["a", "b", "marks/mark"].map(|name| unknown(bench.path(name)));
    bench.watcher.set(files);
    bench.expect_nothing().await;
    bench.write("a", "1");
    let mut number = 0;
    let reported = loop {
        number += 1;
        bench.write("b", &number.to_string());
        pause().await;
        let mark = bench.path("marks/mark");
        match bench.reports.try_recv() {
            Ok(report) if report != mark => break report,
            _ => assert!(number < 60, "not reported"),
        }
    };
    assert_eq!(reported, bench.path("a"));
}
