//! A store on disk of content that was fetched before, so that a start works while the source is
//! down.
//!
//! Content is a file named by its sha256, which is checked when it is read. Each request has a
//! record, a file named by the sha256 of the request's name. A record holds the digests of
//! everything that was good the last time. It is written at once, so that parts of two releases do
//! not mix. A record is believed without a check, so the directory must belong to this user. A file
//! that cannot be kept costs a warning.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use crate::digest::Digest;
use crate::private_dir::{PrivateDir, Quota};

/// The number of files that are kept; the oldest are removed. 256: three for each plugin of a large
/// config, and its earlier generations.
const FILES: usize = 256;
/// The extensions of content and of records.
const CONTENT: &str = "content";
const RECORD: &str = "last";
/// The quota for all files. 1 GiB: a module has some 300 KiB, a large one 64 MiB.
const QUOTA: Quota<'_> = Quota {
    extensions: &[CONTENT, RECORD],
    files: FILES,
    bytes: 1 << 30,
};
/// The largest record in bytes: two digests with their names, and room.
const RECORD_BYTES: u64 = 1024;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ModuleStore {
    directory: PrivateDir,
    limit_bytes: u64,
}

impl ModuleStore {
    /// Opens a store in this directory, and makes the directory if it is missing. Returns `None` if
    /// it cannot be made, is not this user's, or others may write to it.
    pub(crate) fn open(directory: &Path, limit_bytes: u64) -> Option<Self> {
        match PrivateDir::open(directory) {
            Ok(directory) => Some(Self {
                directory,
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
        let name = content_name(digest);
        let bytes = self.directory.read(&name, self.limit_bytes).transpose()?;
        let bytes = bytes.ok().filter(|bytes| Digest::of(bytes) == digest);
        let Some(bytes) = bytes else {
            let path = self.directory.file(&name);
            tracing::warn!(file = %path.display(), "a plugin that was kept is damaged, fetching it again");
            fs::remove_file(&path).unwrap_or_default();
            return None;
        };
        self.directory.touch(&name).unwrap_or_default();
        Some(bytes.into())
    }

    /// Returns the digests that were good under this name the last time. There are none if the name
    /// is unknown or its record damaged.
    pub(crate) fn recorded(&self, name: &str) -> Vec<Digest> {
        let record = self.directory.read(&record_name(name), RECORD_BYTES);
        let record = record.ok().flatten();
        let record = record.and_then(|record| String::from_utf8(record).ok());
        let digests = record.and_then(|record| record.lines().map(Digest::from_oci).collect());
        digests.unwrap_or_default()
    }

    /// Keeps content under its digest.
    pub(crate) fn keep(&self, bytes: &[u8], digest: Digest) {
        let name = content_name(digest);
        if !self.directory.file(&name).exists() {
            self.put(&name, bytes);
        }
    }

    /// Records the digests that are good under this name.
    pub(crate) fn record(&self, name: &str, parts: &[Digest]) {
        let lines: Vec<String> = parts.iter().map(|digest| digest.to_oci()).collect();
        self.put(&record_name(name), lines.join("\n").as_bytes());
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        if let Err(error) = self.directory.write(name, &[bytes], QUOTA) {
            tracing::warn!(
                file = %self.directory.file(name).display(),
                error = &error as &dyn std::error::Error,
                "a plugin that was fetched is not kept"
            );
        }
    }
}

fn content_name(digest: Digest) -> String {
    format!("{digest}.{CONTENT}")
}

fn record_name(name: &str) -> String {
    format!("{}.{RECORD}", Digest::of(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

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
        let store = ModuleStore::open(&path, 100).expect("a store");
        let (digest, other) = (Digest::of(b"content"), Digest::of(b"other"));
        assert_eq!(store.content(digest), None);
        store.keep(b"content", digest);
        store.record("oci://a/b:c", &[digest, other]);
        let again = ModuleStore::open(&path, 100).expect("a store");
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
        let store = ModuleStore::open(directory.path(), 100).expect("a store");
        let digest = Digest::of(b"content");
        for damaged in [b"contenu".as_slice(), b"", &[7; 1000]] {
            store.keep(b"content", digest);
            let path = store.directory.file(&content_name(digest));
            fs::write(&path, damaged).expect("written");
            assert_eq!(store.content(digest), None);
            assert!(!path.exists(), "{} bytes", damaged.len());
        }
        store.record("name", &[digest]);
        let cut = format!("{}\nsha256:12", digest.to_oci());
        for damaged in ["sha256:12", &cut, "\u{0}", &"x".repeat(2000)] {
            fs::write(store.directory.file(&record_name("name")), damaged).expect("written");
            assert_eq!(store.recorded("name"), [], "{damaged}");
        }
    }

    /// A directory that others may write to is not used.
    #[test]
    fn a_directory_open_to_others_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).expect("set");
        assert!(ModuleStore::open(directory.path(), 100).is_none());
    }

    /// The oldest files are removed.
    #[test]
    fn the_oldest_files_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = ModuleStore::open(directory.path(), 100).expect("a store");
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
