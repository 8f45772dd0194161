//! Tests with real files in a real directory. Tests of events poll once an hour; tests of the poll
//! have no events.

mod pieces;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spandrel_plugin::artifact::Digest;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::watch::{Pace, Watcher};

/// A time longer than any report takes.
const LONG: Duration = Duration::from_secs(20);

const EVENTS: Pace = Pace {
    quiet: Duration::from_millis(50),
    settle: Duration::from_millis(50),
    patience: Duration::from_secs(10),
    poll: Duration::from_secs(3600),
};

const POLL: Pace = Pace {
    quiet: Duration::from_millis(20),
    settle: Duration::from_millis(20),
    patience: Duration::from_secs(10),
    poll: Duration::from_millis(50),
};

/// Returns a file without the digest of what was read of it.
fn unknown(path: PathBuf) -> (PathBuf, Option<Digest>) {
    (path, None)
}

/// A watched file, and another one in a directory of its own. A report of the other one shows a
/// test that its earlier changes were seen.
struct WatchedFolder {
    _directory: tempfile::TempDir,
    root: PathBuf,
    watcher: Watcher,
    reports: mpsc::Receiver<PathBuf>,
    marks: u32,
}

impl WatchedFolder {
    /// Watches `file` in a directory made by `prepare`.
    async fn new(pace: Pace, file: &str, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a real path");
        fs::create_dir(root.join("marks")).expect("made");
        prepare(&root);
        let files = [root.join(file), root.join("marks/mark")];
        let (watcher, reports) = Watcher::start_at(pace, files.map(unknown));
        let mut bench = Self {
            _directory: directory,
            root,
            watcher,
            reports,
            marks: 0,
        };
        bench.ready(pace).await;
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("written");
    }

    async fn next(&mut self) -> PathBuf {
        let report = timeout(LONG, self.reports.recv()).await;
        report.expect("a report in time").expect("it watches")
    }

    /// Returns the next report of another file than the mark, because reports of marks may come
    /// late.
    async fn next_file(&mut self) -> PathBuf {
        let mark = self.path("marks/mark");
        loop {
            let report = self.next().await;
            if report != mark {
                return report;
            }
        }
    }

    /// Checks that the next report is of this file.
    async fn expect(&mut self, name: &str) {
        assert_eq!(self.next_file().await, self.path(name));
    }

    /// Checks that nothing is reported of what happened so far: the next report is of a change made
    /// now.
    async fn expect_nothing(&mut self) {
        self.mark();
        assert_eq!(self.next().await, self.path("marks/mark"));
    }

    fn mark(&mut self) {
        self.marks += 1;
        self.write("marks/new", &self.marks.to_string());
        fs::rename(self.path("marks/new"), self.path("marks/mark")).expect("renamed");
    }

    /// Waits until the files were read for the first time. Only then another mark is a change.
    async fn ready(&mut self, pace: Pace) {
        // Long enough for a report, because another mark would delay it.
        let pause = Duration::from_millis(500) + 2 * pace.settle;
        self.mark();
        while timeout(pause, self.reports.recv()).await.is_err() {
            self.mark();
        }
    }
}

fn file(content: &'static str) -> impl FnOnce(&Path) {
    move |root| fs::write(root.join("a"), content).expect("written")
}

/// A file that is written in place is reported, but not if the same content is written again.
#[tokio::test]
async fn a_write_in_place_is_reported() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    bench.write("a", "2");
    bench.expect("a").await;
    bench.write("a", "2");
    bench.expect_nothing().await;
    bench.write("a", "1");
    bench.expect("a").await;
}

/// A file that is replaced by a rename is reported, each time.
#[tokio::test]
async fn an_atomic_rename_is_reported() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    for content in ["2", "3", "4"] {
        bench.write("a.new", content);
        fs::rename(bench.path("a.new"), bench.path("a")).expect("renamed");
        bench.expect("a").await;
    }
}

/// An update of a Kubernetes ConfigMap is reported: a new directory, and a link that is replaced.
#[tokio::test]
async fn a_config_map_update_is_reported() {
    let update = |root: &Path, version: &str, content: &str| {
        let data = root.join(format!("..{version}"));
        fs::create_dir(&data).expect("made");
        fs::write(data.join("a"), content).expect("written");
        symlink(format!("..{version}"), root.join("..data_tmp")).expect("linked");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("renamed");
    };
    let mut bench = WatchedFolder::new(EVENTS, "a", |root| {
        update(root, "1", "one");
        symlink("..data/a", root.join("a")).expect("linked");
    })
    .await;
    update(&bench.root, "2", "two");
    fs::remove_dir_all(bench.path("..1")).expect("removed");
    bench.expect("a").await;
    update(&bench.root, "3", "two");
    fs::remove_dir_all(bench.path("..2")).expect("removed");
    bench.expect_nothing().await;
    update(&bench.root, "4", "four");
    bench.expect("a").await;
}

/// A file that goes and comes back unchanged is not reported. One that comes back different is.
#[tokio::test]
async fn a_file_that_comes_back_is_compared_with_what_it_was() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    fs::remove_file(bench.path("a")).expect("removed");
    bench.expect_nothing().await;
    bench.write("a", "1");
    bench.expect_nothing().await;
    fs::remove_file(bench.path("a")).expect("removed");
    bench.expect_nothing().await;
    bench.write("a", "2");
    bench.expect("a").await;
}

/// Another directory under the same name is watched in its place. Its files are reported, by events
/// as long as its parent exists, or by the poll.
#[tokio::test]
async fn a_replaced_directory_is_followed() {
    let mut bench = WatchedFolder::new(POLL, "d/a", |root| {
        fs::create_dir(root.join("d")).expect("made");
        fs::write(root.join("d/a"), "1").expect("written");
    })
    .await;
    for content in ["2", "3"] {
        fs::create_dir(bench.path("new")).expect("made");
        bench.write("new/a", content);
        fs::rename(bench.path("d"), bench.path("old")).expect("renamed");
        fs::rename(bench.path("new"), bench.path("d")).expect("renamed");
        fs::remove_dir_all(bench.path("old")).expect("removed");
        bench.expect("d/a").await;
    }
    bench.write("d/a", "4");
    bench.expect("d/a").await;
}

/// A directory may be missing at first: the file is reported when it comes.
#[tokio::test]
async fn a_directory_may_come_later() {
    let mut bench = WatchedFolder::new(POLL, "later/deep/a", |_| {}).await;
    fs::create_dir_all(bench.path("later/deep")).expect("made");
    bench.expect_nothing().await;
    bench.write("later/deep/a", "1");
    bench.expect("later/deep/a").await;
}

/// Writes in quick succession cause few reports, and the last report comes after the last write.
#[tokio::test]
async fn quick_writes_are_few_reports() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("0")).await;
    for number in 1..=100 {
        bench.write("a", &number.to_string());
    }
    bench.expect("a").await;
    let mut reports = 1;
    bench.write("marks/mark", "the end");
    while bench.next().await == bench.path("a") {
        reports += 1;
    }
    assert!(reports < 20, "{reports} reports");
    // The content was reported, so writing it again is no change.
    bench.write("a", "100");
    bench.expect_nothing().await;
}

/// Files can be added and removed while others go on.
#[tokio::test]
async fn the_files_can_be_changed() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    bench.write("b", "1");
    let mark = bench.path("marks/mark");
    bench
        .watcher
        .set([bench.path("b"), mark.clone()].map(unknown));
    bench.expect_nothing().await;
    bench.write("a", "2");
    bench.expect_nothing().await;
    bench.write("b", "2");
    bench.expect("b").await;
    bench
        .watcher
        .set([bench.path("a"), bench.path("b"), mark].map(unknown));
    bench.expect_nothing().await;
    bench.write("a", "3");
    bench.expect("a").await;
}

/// A file that is too large for a plugin is reported, too, so that its refusal is reported.
#[tokio::test]
async fn a_huge_file_is_reported() {
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    let grow = |path: PathBuf, bytes| {
        let file = fs::File::create(path).expect("made");
        file.set_len(bytes).expect("a hole");
    };
    grow(bench.path("a"), 100 << 20);
    bench.expect("a").await;
    grow(bench.path("a"), 101 << 20);
    bench.expect("a").await;
}

/// A report that finds no room is kept for later, file by file, without being counted twice.
#[tokio::test]
async fn reports_that_have_no_room_come_later() {
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let mut bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    let files = || {
        let names = names.iter().map(String::as_str);
        names
            .chain(["marks/mark"])
            .map(|name| bench.path(name))
            .collect::<Vec<_>>()
    };
    bench.watcher.set(files().into_iter().map(unknown));
    bench.expect_nothing().await;
    for name in &names {
        bench.write(name, "1");
    }
    let mut reported: Vec<PathBuf> = Vec::new();
    for _ in &names {
        let report = bench.next().await;
        reported.push(report);
    }
    reported.sort();
    reported.dedup();
    assert_eq!(reported.len(), names.len());
    bench.expect_nothing().await;
}

/// The thread ends when its owner is dropped.
#[tokio::test]
async fn it_ends_with_its_owner() {
    let bench = WatchedFolder::new(EVENTS, "a", file("1")).await;
    let WatchedFolder {
        watcher,
        mut reports,
        ..
    } = bench;
    drop(watcher);
    let end = timeout(LONG, reports.recv()).await;
    assert_eq!(end.expect("in time"), None);
}

/// Later content is compared with what was read of a file before it was watched: a change in
/// between is not missed, and the same content is no change.
#[tokio::test]
async fn a_change_before_the_first_look_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().canonicalize().expect("a real path");
    let [same, other] = ["same", "other"].map(|name| root.join(name));
    fs::write(&same, "read").expect("written");
    fs::write(&other, "changed since").expect("written");
    let read = Some(Digest::of(&[b"read"]));
    let files = [(same.clone(), read), (other.clone(), read)];
    let (_watcher, mut reports) = Watcher::start_at(EVENTS, files);
    let reported = timeout(LONG, reports.recv()).await.expect("a report");
    assert_eq!(reported, Some(other));
    fs::write(&same, "changed").expect("written");
    let reported = timeout(LONG, reports.recv()).await.expect("a report");
    assert_eq!(reported, Some(same));
}
