//! Watches files for changed content: modules and configuration.
//!
//! It watches directories, not files, so that it notices a file that is replaced by a rename, or by
//! a symbolic link on the way to it (as Kubernetes does with a ConfigMap). System events only
//! wake the thread that watches. A path is reported when the sha256 of its content differs from the last one, and two
//! reads agree, with time between them in which nothing was written: a file may be written in
//! pieces, and the first piece may look complete. A poll runs as well, for file systems without
//! events, for directories that come later, and for missed events.
//!
//! All of it runs on a thread of its own, because reading files blocks.

mod content;
mod directories;
mod symlink_chain;
mod wake_signal;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spandrel_supply::Digest;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use self::content::{Content, Reader};
use self::directories::Directories;
use self::wake_signal::WakeSignal;

/// The number of reports that wait to be taken: 16 are more files than change at a time. A report
/// that finds no room comes later.
const REPORTS: usize = 16;

/// The intervals of looks.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The time from the last event to the first read. 300 ms: many writes cause one read.
    quiet: Duration,
    /// The time from that read to the one that must agree with it, with no event in between. 700
    /// ms: with `quiet`, nobody has written for a second, and somebody who waits does not notice.
    settle: Duration,
    /// The time after which an unchanged file is reported although other watched files are still
    /// being written: a file that keeps changing must not hold up the rest. 10 s: anybody who
    /// writes several files for one change is done by then.
    patience: Duration,
    /// The time between two polls. 10 s: soon enough for somebody who waits, and next to no work.
    poll: Duration,
}

const PACE: Pace = Pace {
    quiet: Duration::from_millis(300),
    settle: Duration::from_millis(700),
    patience: Duration::from_secs(10),
    poll: Duration::from_secs(10),
};

/// Watches files until it is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    wake_signal: Arc<WakeSignal>,
}

impl Watcher {
    /// Watches these files. If a file comes with the digest of what was read of it, later content
    /// is compared with that, or else with its content at the first look. A file that does not
    /// exist yet is reported when it does.
    pub(crate) fn start(
        files: impl IntoIterator<Item = (PathBuf, Option<Digest>)>,
    ) -> (Self, mpsc::Receiver<PathBuf>) {
        Self::start_at(PACE, files)
    }

    fn start_at(
        pace: Pace,
        files: impl IntoIterator<Item = (PathBuf, Option<Digest>)>,
    ) -> (Self, mpsc::Receiver<PathBuf>) {
        let (reports, reported) = mpsc::channel(REPORTS);
        let wake_signal = Arc::new(WakeSignal::default());
        let watcher = Self {
            wake_signal: Arc::clone(&wake_signal),
        };
        watcher.set(files);
        let watch = Watch {
            pace,
            files: BTreeMap::new(),
            reader: Reader::default(),
            directories: Directories::new(Arc::clone(&wake_signal)),
            wake_signal,
            reports,
            touched_at: None,
            quiet_at: None,
            again_at: None,
            poll_at: Instant::now() + pace.poll,
        };
        let thread = std::thread::Builder::new().name("file-watch".to_owned());
        if let Err(error) = thread.spawn(move || watch.run()) {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot start the thread that watches files, changes are not seen"
            );
        }
        (watcher, reported)
    }

    /// Watches these files from now on. Files that are watched already keep their state.
    pub(crate) fn set(&self, files: impl IntoIterator<Item = (PathBuf, Option<Digest>)>) {
        self.wake_signal.set(files.into_iter().collect());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.wake_signal.stop();
    }
}

/// The state of one file.
#[derive(Debug, Default)]
struct KnownFile {
    /// The content that was reported, or was there from the start; `None` if the file did not
    /// exist.
    known: Option<Content>,
    /// A different content, and the time since which the file has had it.
    other: Option<(Content, Instant)>,
}

/// The state of the thread.
struct Watch {
    pace: Pace,
    files: BTreeMap<PathBuf, KnownFile>,
    reader: Reader,
    directories: Directories,
    wake_signal: Arc<WakeSignal>,
    reports: mpsc::Sender<PathBuf>,
    /// The time of the last write, as far as the system reports it.
    touched_at: Option<Instant>,
    /// The time at which it has been quiet for long enough after a change.
    quiet_at: Option<Instant>,
    /// The time of the next look at changed files.
    again_at: Option<Instant>,
    poll_at: Instant,
}

impl Watch {
    fn run(mut self) {
        loop {
            let next = [self.quiet_at, self.again_at]
                .into_iter()
                .flatten()
                .fold(self.poll_at, Instant::min);
            let pending = self.wake_signal.wait(next);
            if pending.stop || self.reports.is_closed() {
                return;
            }
            if let Some(files) = pending.files {
                self.keep(files);
            }
            let now = Instant::now();
            if pending.touched {
                self.touched_at = Some(now);
                self.quiet_at = Some(now + self.pace.quiet);
            }
            let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if is_due(self.quiet_at) || is_due(self.again_at) || self.poll_at <= now {
                self.quiet_at = self.quiet_at.filter(|at| *at > now);
                self.again_at = None;
                self.poll_at = now + self.pace.poll;
                self.look();
            }
        }
    }

    /// Watches `files` and no others. A new file without a digest is read now, for later
    /// comparison. A new file with a digest may have changed since, and is looked at soon.
    fn keep(&mut self, files: BTreeMap<PathBuf, Option<Digest>>) {
        self.files.retain(|path, _| files.contains_key(path));
        let new = files
            .into_iter()
            .filter(|(path, _)| !self.files.contains_key(path))
            .collect::<Vec<_>>();
        for (path, _) in &new {
            self.files.insert(path.clone(), KnownFile::default());
        }
        // Follow the directories first, so that a change after the read wakes the thread.
        self.directories.follow(self.files.keys());
        for (path, digest) in new {
            let known = match digest {
                Some(digest) => {
                    self.quiet_at = Some(Instant::now() + self.pace.quiet);
                    Some(Content::Digest(digest))
                }
                None => self.reader.read(&path),
            };
            if let Some(seen) = self.files.get_mut(&path) {
                seen.known = known;
            }
        }
        self.reader.forget(|path| !self.files.contains_key(path));
    }

    /// Reads the files that may have changed, and reports those that have and are complete.
    fn look(&mut self) {
        self.directories.follow(self.files.keys());
        let Pace {
            settle, patience, ..
        } = self.pace;
        let touched_at = self.touched_at;
        for (path, seen) in &mut self.files {
            // A file that cannot be read does not count as changed, whatever the reason: it may
            // come back.
            let content = self.reader.read(path);
            let Some(content) = content.filter(|content| seen.known.as_ref() != Some(content))
            else {
                seen.other = None;
                continue;
            };
            let now = Instant::now();
            let since = match seen.other {
                Some((other, since)) if other == content => since,
                _ => now,
            };
            // Writes to other files count, too, because one change may consist of several files.
            let quiet_since = touched_at.map_or(since, |at| at.max(since));
            let complete_at = (quiet_since + settle).min(since + patience);
            if complete_at <= now && self.reports.try_send(path.clone()).is_ok() {
                seen.known = Some(content);
                seen.other = None;
                continue;
            }
            seen.other = Some((content, since));
            // A report that found no room is tried again after a while.
            let at = complete_at.max(now + settle / 8);
            self.again_at = Some(self.again_at.map_or(at, |other| other.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
