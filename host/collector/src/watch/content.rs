//! The content of a file, as far as needed to detect a change.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use spandrel_plugin::artifact::{Digest, MAX_BYTES};

/// The age below which a file's times prove nothing: it may change once more within the same tick
/// of the file system's clock (some have seconds) without a new time.
const CLOCK_STEP: Duration = Duration::from_secs(3);

/// A mark that distinguishes one content from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The sha256 of the content.
    Digest(Digest),
    /// The stamp of a file that is too large for a plugin. Nobody needs its digest to refuse it.
    Large(Stamp),
}

/// Metadata that changes, at the latest after a tick of the clock, whenever a file is written or
/// replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads files, except those whose stamp proves that they did not change.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    settled: HashMap<PathBuf, (Stamp, Content)>,
}

impl Reader {
    /// Returns the content of a file; `None` if it cannot be read, or is not a file.
    pub(crate) fn read(&mut self, path: &Path) -> Option<Content> {
        // Opening a named pipe would wait for somebody to write to it.
        let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let stamp = Stamp::of(&metadata);
        if let Some((settled, content)) = self.settled.get(path)
            && *settled == stamp
        {
            return Some(*content);
        }
        let (stamp, content, is_settled) = read(path).ok()?;
        if is_settled {
            self.settled.insert(path.to_owned(), (stamp, content));
        } else {
            self.settled.remove(path);
        }
        Some(content)
    }

    /// Forgets files.
    pub(crate) fn forget(&mut self, which: impl Fn(&Path) -> bool) {
        self.settled.retain(|path, _| !which(path));
    }
}

/// Returns the stamp, the content, and true if the stamp will show the next change.
fn read(path: &Path) -> std::io::Result<(Stamp, Content, bool)> {
    let now = SystemTime::now();
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let stamp = Stamp::of(&metadata);
    let last = metadata.modified()?.max(changed(&metadata));
    let is_settled = now.duration_since(last).is_ok_and(|age| age >= CLOCK_STEP);
    let mut bytes = Vec::new();
    if metadata.len() <= MAX_BYTES {
        file.take(MAX_BYTES.saturating_add(1))
            .read_to_end(&mut bytes)?;
    }
    let is_large =
        metadata.len() > MAX_BYTES || u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES;
    let content = if is_large {
        Content::Large(stamp)
    } else {
        Content::Digest(Digest::of(&[&bytes]))
    };
    Ok((stamp, content, is_settled))
}

fn changed(metadata: &Metadata) -> SystemTime {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
