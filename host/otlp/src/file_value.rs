//! Values made from files, and made again when the files change: certificates, tokens, password
//! files. Content that cannot be used leaves the last good value in force.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// The most bytes of one file. All authorities that a browser trusts take a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The time between two reads that must agree before new content comes into force. A program that
/// writes a file in place takes less, and half of a token would be taken for a token.
const SETTLE: Duration = Duration::from_millis(100);

/// The number of consecutive reads that may disagree before the file is left to the next time.
const MAX_READS: u32 = 10;

/// The reason why files cannot be used. Messages never show the content of the files.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("cannot read {what} from {}", path.display())]
    Unreadable {
        /// The content that was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content does not serve its purpose.
    #[error("cannot use {what} of {}", path.display())]
    Unusable {
        /// The content that was expected.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No file names authorities, and the system has none.
    #[error("the system trusts no authority; name a file of their certificates in `tls::ca_file`")]
    NoSystemAuthorities,
}

impl FileError {
    pub(crate) fn unusable(
        what: &'static str,
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unusable {
            what,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// The files as they were read at one moment.
pub(crate) struct Files(Vec<(PathBuf, io::Result<Zeroizing<Vec<u8>>>)>);

impl Files {
    fn read(paths: &[PathBuf]) -> Self {
        let read = |path: &PathBuf| (path.clone(), read(path).map(Zeroizing::new));
        Self(paths.iter().map(read).collect())
    }

    /// Returns the bytes of one of the files. `what` names the content for errors.
    pub(crate) fn get(&self, path: &Path, what: &'static str) -> Result<&[u8], FileError> {
        let unreadable = |source| FileError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        };
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes),
            // An `io::Error` cannot be cloned; its kind and text can.
            Some((_, Err(error))) => {
                Err(unreadable(io::Error::new(error.kind(), error.to_string())))
            }
            None => Err(unreadable(io::ErrorKind::NotFound.into())),
        }
    }

    /// Returns the text of one of the files. `what` names the content for errors.
    pub(crate) fn text(&self, path: &Path, what: &'static str) -> Result<&str, FileError> {
        let bytes = self.get(path, what)?;
        // The standard library's error says where the text is invalid and does not show it, so it
        // may be printed.
        std::str::from_utf8(bytes).map_err(|source| FileError::unusable(what, path, source))
    }

    /// Returns a digest that changes whenever a file changes, appears, or disappears.
    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (_, read) in &self.0 {
            match read {
                Ok(bytes) => {
                    digest.update([1]);
                    digest.update(Sha256::digest(bytes.as_slice()));
                }
                Err(error) => {
                    digest.update([0]);
                    digest.update(error.to_string());
                }
            }
        }
        digest.finalize().into()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a named pipe would wait for somebody to write to it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// The kind of content that the files have, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ContentKind {
    /// Certificates, their keys and authorities.
    Certificate,
    /// Tokens and passwords.
    Credentials,
}

type Make<T> = Box<dyn Fn(&Files) -> Result<T, FileError> + Send + Sync>;

/// A value made from files. [`FileValue::current`] returns the value in force; a caller may keep it
/// for as long as it needs it.
pub(crate) struct FileValue<T> {
    shared: Arc<WatchedContent<T>>,
    /// The task that watches the files. It ends when this value is dropped.
    _watch: JoinSet<Infallible>,
}

struct WatchedContent<T> {
    kind: ContentKind,
    /// The endpoint of the receiver or the backend, for the log.
    endpoint: String,
    paths: Vec<PathBuf>,
    make: Make<T>,
    current: RwLock<Arc<T>>,
    known: Mutex<KnownContent>,
}

/// The content that was read: the digest of the content in force, and content that is bad.
struct KnownContent {
    in_force: [u8; 32],
    bad: Option<BadContent>,
}

/// Content that cannot be used.
struct BadContent {
    digest: [u8; 32],
    /// True once the error was logged. It is logged when the content is found for the second time,
    /// and only once: certificate and key are two files, and the first find may fall between the
    /// two writes.
    is_logged: bool,
}

impl<T> fmt::Debug for FileValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileValue")
            .field("paths", &self.shared.paths)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> FileValue<T> {
    /// Makes the value from the files as they are now, and reads them again each time `every`
    /// has passed. Must be called inside the runtime.
    pub(crate) fn new(
        kind: ContentKind,
        endpoint: &str,
        paths: Vec<PathBuf>,
        every: Duration,
        make: impl Fn(&Files) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let files = Files::read(&paths);
        let value = make(&files)?;
        let is_watched = !paths.is_empty();
        let shared = Arc::new(WatchedContent {
            kind,
            endpoint: endpoint.to_owned(),
            paths,
            make: Box::new(make),
            current: RwLock::new(Arc::new(value)),
            known: Mutex::new(KnownContent {
                in_force: files.digest(),
                bad: None,
            }),
        });
        let mut tasks = JoinSet::new();
        if is_watched {
            tasks.spawn(watch(Arc::clone(&shared), every));
        }
        Ok(Self {
            shared,
            _watch: tasks,
        })
    }

    /// Returns the value in force.
    pub(crate) fn current(&self) -> Arc<T> {
        self.shared.current()
    }

    /// Reads the files again now, which takes a moment longer if they have changed. Returns true if a
    /// new value came into force.
    pub(crate) async fn read_again(&self) -> bool {
        read_until_settled(&self.shared).await
    }
}

async fn watch<T: Send + Sync + 'static>(
    shared: Arc<WatchedContent<T>>,
    every: Duration,
) -> Infallible {
    loop {
        sleep(every).await;
        read_until_settled(&shared).await;
    }
}

/// Reads the files until two reads agree, and then uses their content.
async fn read_until_settled<T: Send + Sync + 'static>(shared: &Arc<WatchedContent<T>>) -> bool {
    let mut last = None;
    for _ in 0..MAX_READS {
        let reading = Arc::clone(shared);
        // This fails only when the runtime ends.
        match spawn_blocking(move || reading.read_once(last)).await {
            Ok(ReadResult::Unsettled(digest)) => last = Some(digest),
            Ok(ReadResult::Changed) => return true,
            Ok(ReadResult::Same) | Err(_) => return false,
        }
        sleep(SETTLE).await;
    }
    false
}

/// The result of one read.
enum ReadResult {
    /// No new content comes into force.
    Same,
    /// The content differs from that of the read before; this is its digest.
    Unsettled([u8; 32]),
    /// A new value came into force.
    Changed,
}

impl<T> WatchedContent<T> {
    fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Reads the files once, after a read that found `last`.
    fn read_once(&self, last: Option<[u8; 32]>) -> ReadResult {
        let files = Files::read(&self.paths);
        let digest = files.digest();
        let mut known = self.known.lock();
        if digest == known.in_force {
            known.bad = None;
            return ReadResult::Same;
        }
        if let Some(bad) = &known.bad
            && bad.digest == digest
            && bad.is_logged
        {
            return ReadResult::Same;
        }
        if last != Some(digest) {
            return ReadResult::Unsettled(digest);
        }
        match (self.make)(&files) {
            Ok(value) => {
                known.in_force = digest;
                known.bad = None;
                *self.current.write() = Arc::new(value);
                self.log_reloaded();
                ReadResult::Changed
            }
            Err(error) => {
                let is_logged = known.bad.as_ref().is_some_and(|bad| bad.digest == digest);
                known.bad = Some(BadContent { digest, is_logged });
                if is_logged {
                    self.log_bad(&error);
                }
                ReadResult::Same
            }
        }
    }

    fn log_reloaded(&self) {
        let endpoint = &self.endpoint;
        match self.kind {
            ContentKind::Certificate => info!(%endpoint, "certificate reloaded"),
            ContentKind::Credentials => info!(%endpoint, "credentials reloaded"),
        }
    }

    fn log_bad(&self, error: &FileError) {
        let endpoint = &self.endpoint;
        let error = error as &dyn std::error::Error;
        match self.kind {
            ContentKind::Certificate => {
                warn!(%endpoint, error, "new certificate cannot be used, the old one stays in force");
            }
            ContentKind::Credentials => {
                warn!(%endpoint, error, "new credentials cannot be used, the old ones stay in force");
            }
        }
    }
}

#[cfg(test)]
mod tests;
