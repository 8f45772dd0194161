//! What is made of files, and made again when their content changes: certificates, tokens, password
//! files. What cannot be used leaves in force what is.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tracing::{info, warn};
use zeroize::Zeroizing;

/// The most bytes of one file: all authorities that a browser trusts are a quarter of it.
const LONGEST: u64 = 1 << 20;

/// Between two reads that must agree before new content comes into force: what writes a file in
/// place does so in less, and half of a token is a token, too.
const SETTLE: Duration = Duration::from_millis(100);

/// So many reads may disagree, one after the other, before the file is left to the next look.
const MOST_READS: u32 = 10;

/// Why files cannot be used. What is in them stays out of the messages.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("cannot read {what} from {}", path.display())]
    Unreadable {
        /// What should be there.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it does not serve its purpose.
    #[error("cannot use {what} of {}", path.display())]
    Unusable {
        /// What.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
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

    /// The bytes of one of the files, which are `what`.
    pub(crate) fn get(&self, path: &Path, what: &'static str) -> Result<&[u8], FileError> {
        let unreadable = |source| FileError::Unreadable {
            what,
            path: path.to_owned(),
            source,
        };
        match self.0.iter().find(|(known, _)| known == path) {
            Some((_, Ok(bytes))) => Ok(bytes),
            // An error cannot be cloned; what it says can.
            Some((_, Err(error))) => {
                Err(unreadable(io::Error::new(error.kind(), error.to_string())))
            }
            None => Err(unreadable(io::ErrorKind::NotFound.into())),
        }
    }

    /// The text of one of the files, which is `what`.
    pub(crate) fn text(&self, path: &Path, what: &'static str) -> Result<&str, FileError> {
        let bytes = self.get(path, what)?;
        // The error of the standard library would say where, not what: that is fit to print.
        std::str::from_utf8(bytes).map_err(|source| FileError::unusable(what, path, source))
    }

    /// Something else whenever a file has another content, is there again or gone.
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
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// What the files are, for the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Certificates, their keys and authorities.
    Certificate,
    /// Tokens and passwords.
    Credentials,
}

type Make<T> = Box<dyn Fn(&Files) -> Result<T, FileError> + Send + Sync>;

/// A value made of files. New users take what is in force now, with [`Reread::current`]; who has
/// taken it keeps it for as long as he needs it.
pub(crate) struct Reread<T> {
    inner: Arc<Inner<T>>,
    /// Ends with it.
    _watch: JoinSet<Infallible>,
}

struct Inner<T> {
    kind: Kind,
    /// Of the receiver or the backend, for the log.
    endpoint: String,
    paths: Vec<PathBuf>,
    make: Make<T>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
}

/// The contents that were looked at.
struct Seen {
    in_force: [u8; 32],
    bad: Option<Bad>,
}

/// Content that cannot be used.
struct Bad {
    digest: [u8; 32],
    /// Certificate and key are two files: what was found between the writing of the one and of the
    /// other is no news. So it is said when it is found for the second time, and once.
    said: bool,
}

impl<T> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reread")
            .field("paths", &self.inner.paths)
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reread<T> {
    /// Makes the value of the files as they are now, and looks at them again `every` so often. To
    /// be called inside the runtime.
    pub(crate) fn new(
        kind: Kind,
        endpoint: &str,
        paths: Vec<PathBuf>,
        every: Duration,
        make: impl Fn(&Files) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let files = Files::read(&paths);
        let value = make(&files)?;
        let is_watched = !paths.is_empty();
        let inner = Arc::new(Inner {
            kind,
            endpoint: endpoint.to_owned(),
            paths,
            make: Box::new(make),
            current: RwLock::new(Arc::new(value)),
            seen: Mutex::new(Seen {
                in_force: files.digest(),
                bad: None,
            }),
        });
        let mut tasks = JoinSet::new();
        if is_watched {
            tasks.spawn(watch(Arc::clone(&inner), every));
        }
        Ok(Self {
            inner,
            _watch: tasks,
        })
    }

    /// What is in force.
    pub(crate) fn current(&self) -> Arc<T> {
        self.inner.current()
    }

    /// Looks at the files now. Takes a moment longer when they have changed. Returns whether
    /// something else is in force.
    pub(crate) async fn look(&self) -> bool {
        look(&self.inner).await
    }
}

async fn watch<T: Send + Sync + 'static>(inner: Arc<Inner<T>>, every: Duration) -> Infallible {
    loop {
        sleep(every).await;
        look(&inner).await;
    }
}

/// Reads the files until two reads agree, and takes what they say.
async fn look<T: Send + Sync + 'static>(inner: &Arc<Inner<T>>) -> bool {
    let mut last = None;
    for _ in 0..MOST_READS {
        let reading = Arc::clone(inner);
        // It fails only with the runtime.
        match spawn_blocking(move || reading.look(last)).await {
            Ok(Look::Unsettled(digest)) => last = Some(digest),
            Ok(Look::Changed) => return true,
            Ok(Look::Same) | Err(_) => return false,
        }
        sleep(SETTLE).await;
    }
    false
}

/// What one read found.
enum Look {
    /// Nothing that comes into force.
    Same,
    /// Something else than the read before.
    Unsettled([u8; 32]),
    /// Something else is in force now.
    Changed,
}

impl<T> Inner<T> {
    fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files once, after a read that found `last`.
    fn look(&self, last: Option<[u8; 32]>) -> Look {
        let files = Files::read(&self.paths);
        let digest = files.digest();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if digest == seen.in_force {
            seen.bad = None;
            return Look::Same;
        }
        if let Some(bad) = &seen.bad
            && bad.digest == digest
            && bad.said
        {
            return Look::Same;
        }
        if last != Some(digest) {
            return Look::Unsettled(digest);
        }
        match (self.make)(&files) {
            Ok(value) => {
                seen.in_force = digest;
                seen.bad = None;
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                self.say_reloaded();
                Look::Changed
            }
            Err(error) => {
                let said = seen.bad.as_ref().is_some_and(|bad| bad.digest == digest);
                seen.bad = Some(Bad { digest, said });
                if said {
                    self.say_bad(&error);
                }
                Look::Same
            }
        }
    }

    fn say_reloaded(&self) {
        let endpoint = &self.endpoint;
        match self.kind {
            Kind::Certificate => info!(%endpoint, "certificate reloaded"),
            Kind::Credentials => info!(%endpoint, "credentials reloaded"),
        }
    }

    fn say_bad(&self, error: &FileError) {
        let endpoint = &self.endpoint;
        let error = error as &dyn std::error::Error;
        match self.kind {
            Kind::Certificate => {
                warn!(%endpoint, error, "new certificate cannot be used, the old one stays in force");
            }
            Kind::Credentials => {
                warn!(%endpoint, error, "new credentials cannot be used, the old ones stay in force");
            }
        }
    }
}

#[cfg(test)]
mod tests;
