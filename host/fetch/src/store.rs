//! A store on disk of content that was fetched before, so that a start works while the source is
//! down.
//!
//! Content is a file named by its sha256, which is checked when it is read. Each request has a
//! record, a file named by the sha256 of the request's name. A record holds the digests of
//! everything that was good the last time. It is written at once, so that parts of two releases do
//! not mix. A record is believed without a check, so the directory must belong to this user. A file
//! that cannot be kept costs a warning.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;

use crate::digest::Digest;

/// The number of files that are kept; the oldest are removed. 256: three for each plugin of a large
/// config, and its earlier generations.
const FILES: usize = 256;
/// The bytes that are kept in all files together: a module has some 300 KiB, a large one 64 MiB.
const ALL_BYTES: u64 = 1 << 30;
/// The largest record in bytes: two digests with their names, and room.
const RECORD_BYTES: u64 = 1024;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Store {
    directory: PathBuf,
    limit_bytes: u64,
}

impl Store {
    /// Opens a store in this directory, and makes the directory if it is missing. Returns `None` if
    /// it cannot be made, is not this user's, or others may write to it.
    pub(crate) fn open(directory: &Path, limit_bytes: u64) -> Option<Self> {
        let opened = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| fs::metadata(directory))
            .and_then(|metadata| {
                let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
                let is_closed = metadata.mode() & 0o022 == 0;
                let wrong = "it must belong to this user, and nobody else may write to it";
                (is_ours && is_closed)
                    .then_some(())
                    .ok_or_else(|| io::Error::other(wrong))
            });
        match opened {
            Ok(()) => Some(Self {
                directory: directory.to_owned(),
                limit_bytes,
            }),
            Err(error) => {
                tracing::warn!(
                    directory = %directory.display(),
                    error = &error as &dyn std::error::Error,
                    "plugins that are fetched are not kept"
                );
                None
            }
        }
    }

    /// Returns the content with this digest. A file with another digest is damaged and removed.
    pub(crate) fn content(&self, digest: Digest) -> Option<Bytes> {
        let path = self.content_path(digest);
        if !path.exists() {
            return None;
        }
        let bytes = read(&path, self.limit_bytes).filter(|bytes| Digest::of(bytes) == digest);
        let Some(bytes) = bytes else {
            tracing::warn!(file = %path.display(), "a plugin that was kept is damaged, fetching it again");
            fs::remove_file(&path).unwrap_or_default();
            return None;
        };
        // The oldest files are removed first, and this one is in use.
        if let Ok(file) = OpenOptions::new().append(true).open(&path) {
            file.set_modified(SystemTime::now()).unwrap_or_default();
        }
        Some(bytes.into())
    }

    /// Returns the digests that were good under this name the last time. There are none if the name
    /// is unknown or its record damaged.
    pub(crate) fn recorded(&self, name: &str) -> Vec<Digest> {
        let record = read(&self.name_path(name), RECORD_BYTES);
        let record = record.and_then(|record| String::from_utf8(record).ok());
        let digests = record.and_then(|record| record.lines().map(Digest::parse).collect());
        digests.unwrap_or_default()
    }

    /// Keeps content under its digest.
    pub(crate) fn keep(&self, bytes: &[u8], digest: Digest) {
        let path = self.content_path(digest);
        if !path.exists() {
            self.put(&path, bytes);
        }
    }

    /// Records the digests that are good under this name.
    pub(crate) fn record(&self, name: &str, parts: &[Digest]) {
        let lines: Vec<String> = parts.iter().map(ToString::to_string).collect();
        self.put(&self.name_path(name), lines.join("\n").as_bytes());
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        let written = self.write(path, bytes);
        if let Err(error) = written.and_then(|()| self.evict()) {
            tracing::warn!(
                file = %path.display(),
                error = &error as &dyn std::error::Error,
                "a plugin that was fetched is not kept"
            );
        }
    }

    fn content_path(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}.content", digest.hex()))
    }

    fn name_path(&self, name: &str) -> PathBuf {
        let name = Digest::of(name.as_bytes()).hex();
        self.directory.join(format!("{name}.last"))
    }

    /// Writes a file beside `path` and renames it, so that a reader sees all of a file or none of
    /// it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            fs::remove_file(&temporary).unwrap_or_default();
        }
        written
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            files.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        // This puts the newest first.
        files.sort_by(|a, b| b.cmp(a));
        let mut bytes = 0_u64;
        for (index, (_, length, path)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(length);
            if index >= FILES || bytes > ALL_BYTES {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Returns all of a file, if it has no more than `limit_bytes`.
fn read(path: &Path, limit_bytes: u64) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .ok()?;
    (u64::try_from(bytes.len()).unwrap_or(u64::MAX) <= limit_bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn files(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).expect("listed");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    /// Kept content is found by its digest, a record by its name, and only this user can read both.
    #[test]
    fn what_was_kept_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new/modules");
        let store = Store::open(&path, 100).expect("a store");
        let (digest, other) = (Digest::of(b"content"), Digest::of(b"other"));
        assert_eq!(store.content(digest), None);
        store.keep(b"content", digest);
        store.record("oci://a/b:c", &[digest, other]);
        let again = Store::open(&path, 100).expect("a store");
        assert_eq!(
            again.content(digest).as_deref(),
            Some(b"content".as_slice())
        );
        assert_eq!(again.recorded("oci://a/b:c"), [digest, other]);
        assert_eq!(again.recorded("oci://a/b:d"), []);
        for file in files(&path) {
            let mode = fs::metadata(&file).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }

    /// A damaged file is not returned, and a damaged record says nothing.
    #[test]
    fn a_damaged_file_is_not_taken() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), 100).expect("a store");
        let digest = Digest::of(b"content");
        for damaged in [b"contenu".as_slice(), b"", &[7; 1000]] {
            store.keep(b"content", digest);
            let path = store.content_path(digest);
            fs::write(&path, damaged).expect("written");
            assert_eq!(store.content(digest), None);
            assert!(!path.exists(), "{} bytes", damaged.len());
        }
        store.record("name", &[digest]);
        let cut = format!("{digest}\nsha256:12");
        for damaged in ["sha256:12", &cut, "\u{0}", &"x".repeat(2000)] {
            fs::write(store.name_path("name"), damaged).expect("written");
            assert_eq!(store.recorded("name"), [], "{damaged}");
        }
    }

    /// A directory that others may write to is not used.
    #[test]
    fn a_directory_open_to_others_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("set");
        assert!(Store::open(directory.path(), 100).is_none());
    }

    /// The oldest files are removed.
    #[test]
    fn the_oldest_files_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path(), 100).expect("a store");
        for number in 0..300_u64 {
            let file = File::create(directory.path().join(format!("{number}.content")));
            let time = SystemTime::now() - Duration::from_secs(1000 - number);
            file.expect("made").set_modified(time).expect("set");
        }
        store.keep(b"content", Digest::of(b"content"));
        assert_eq!(files(directory.path()).len(), FILES);
        assert!(!directory.path().join("44.content").exists());
        assert!(directory.path().join("45.content").exists());
        assert!(store.content(Digest::of(b"content")).is_some());
    }
}
