//! Watches files for other content: modules and configuration.
//!
//! Directories are watched, not files, so that a file that is replaced by a rename, or by a symbolic
//! link on the way to it (as Kubernetes does with a ConfigMap), is seen. What the system says only
//! rings a bell: a path is reported when the sha256 of its content differs from the last one, and
//! once two reads of it agree, with time between them in which nothing was written: a file may be
//! written in pieces, and the first piece may look complete. A poll goes on behind it, for file systems
//! that tell nothing, directories that come later, and events that were missed.
//!
//! All of it runs on a thread of its own, because reading files blocks.

mod bell;
mod content;
mod directories;
mod trail;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spandrel_plugin::artifact::Digest;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::warn;

use self::bell::Bell;
use self::content::{Content, Reader};
use self::directories::Directories;

/// Reports that wait to be taken. What has no room is reported later: 16 are more files than change
/// at a time.
const REPORTS: usize = 16;

/// How often is looked.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// From the last event to the first read. 300 ms: many writes are one read.
    quiet: Duration,
    /// From that read to the one that must agree with it, and no event in between. 700 ms: with
    /// `quiet` a second in which nobody wrote, and somebody who waits does not notice.
    settle: Duration,
    /// A file that stays the same for so long is reported although other watched files are still
    /// being written: one that never rests must not hold up the rest. 10 s: whoever writes several
    /// files for one change is done by then.
    patience: Duration,
    /// Between two polls. 10 s: soon enough for somebody who waits, and next to no work.
    poll: Duration,
}

const PACE: Pace = Pace {
    quiet: Duration::from_millis(300),
    settle: Duration::from_millis(700),
    patience: Duration::from_secs(10),
    poll: Duration::from_secs(10),
};

/// Watches as long as it lives.
#[derive(Debug)]
pub(crate) struct Watcher {
    bell: Arc<Bell>,
}

impl Watcher {
    /// Watches these files. With a file stands the digest of what was read of it, which later content
    /// is compared with; without one, what it contains when it is first looked at. A file that is not
    /// there yet is reported when it is.
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
        let bell = Arc::new(Bell::default());
        let watcher = Self {
            bell: Arc::clone(&bell),
        };
        watcher.set(files);
        let watch = Watch {
            pace,
            files: BTreeMap::new(),
            reader: Reader::default(),
            directories: Directories::new(Arc::clone(&bell)),
            bell,
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
                "no thread to watch files on, changes are not seen"
            );
        }
        (watcher, reported)
    }

    /// Watches these files from now on. Those that are watched already go on as they are.
    pub(crate) fn set(&self, files: impl IntoIterator<Item = (PathBuf, Option<Digest>)>) {
        self.bell.set(files.into_iter().collect());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.bell.stop();
    }
}

/// What is known of one file.
#[derive(Debug, Default)]
struct Seen {
    /// What was reported, or there from the start; none for a file that was not there.
    known: Option<Content>,
    /// Something else, and since when it has been that.
    other: Option<(Content, Instant)>,
}

/// The thread.
struct Watch {
    pace: Pace,
    files: BTreeMap<PathBuf, Seen>,
    reader: Reader,
    directories: Directories,
    bell: Arc<Bell>,
    reports: mpsc::Sender<PathBuf>,
    /// When something was last written, as far as the system tells.
    touched_at: Option<Instant>,
    /// When it will have been quiet for long enough, after a change.
    quiet_at: Option<Instant>,
    /// When what is different is looked at again.
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
            let rung = self.bell.wait(next);
            if rung.stop || self.reports.is_closed() {
                return;
            }
            if let Some(files) = rung.files {
                self.keep(files);
            }
            let now = Instant::now();
            if rung.touched {
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

    /// Watches `files` and no others. Of what is new and not known it is read now what it contains, to
    /// be compared with; what is known may have changed since, and is looked at soon.
    fn keep(&mut self, files: BTreeMap<PathBuf, Option<Digest>>) {
        self.files.retain(|path, _| files.contains_key(path));
        let new = files
            .into_iter()
            .filter(|(path, _)| !self.files.contains_key(path))
            .collect::<Vec<_>>();
        for (path, _) in &new {
            self.files.insert(path.clone(), Seen::default());
        }
        // First the directories: what changes after the file was read rings the bell.
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

    /// Reads what may have changed, and reports what has and is complete.
    fn look(&mut self) {
        self.directories.follow(self.files.keys());
        let Pace {
            settle, patience, ..
        } = self.pace;
        let touched_at = self.touched_at;
        for (path, seen) in &mut self.files {
            // What cannot be read is no other content, whatever the reason: it may come back.
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
            // Also what is written to another file: one change may be of several files.
            let quiet_since = touched_at.map_or(since, |at| at.max(since));
            let complete_at = (quiet_since + settle).min(since + patience);
            if complete_at <= now && self.reports.try_send(path.clone()).is_ok() {
                seen.known = Some(content);
                seen.other = None;
                continue;
            }
            seen.other = Some((content, since));
            // A report that has no room is tried again after another while.
            let at = complete_at.max(now + settle / 8);
            self.again_at = Some(self.again_at.map_or(at, |other| other.min(at)));
        }
    }
}

#[cfg(test)]
mod tests;
