//! The files of one pipeline's quarantine, for the collector and for commands that work without
//! one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use spandrel_pipeline::journal::Poison;
use spandrel_wire::Signal;

use crate::error_chain::in_one_line;
use crate::quarantine::entry;
use crate::report::QuarantinedView;
use crate::time_text::rfc3339;

/// The name of the folder, inside the folder of the pipeline.
pub(crate) const NAME: &str = "quarantine";
/// The most batches of one pipeline that are kept: more than anybody looks at one by one.
const MOST: usize = 1_000;
/// The most bytes of these batches, so that a faulty plugin does not fill the disk.
const MOST_BYTES: u64 = 1 << 30;
/// A number that distinguishes batches of the same millisecond.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The files of one pipeline's quarantine.
#[derive(Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Returns a folder that exists.
    pub(crate) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes the folder if need be, and removes partial files of a process that was killed.
    pub(crate) fn make(dir: &Path) -> io::Result<Self> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            if let Some(around) = dir.parent() {
                sync(around)?;
            }
        }
        for file in fs::read_dir(dir)? {
            let path = file?.path();
            if path.extension() == Some(OsStr::new("tmp")) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self::at(dir.to_owned()))
    }

    /// Returns the folders of all pipelines in the folder that the configuration calls `dir`.
    pub fn all_in(dir: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for pipeline in fs::read_dir(dir)? {
            let dir = pipeline?.path().join(NAME);
            if dir.is_dir() {
                all.push(Self::at(dir));
            }
        }
        Ok(all)
    }

    /// Returns the number of batches in it, and their bytes.
    pub(crate) fn fill(&self) -> io::Result<(usize, u64)> {
        let mut fill = (0, 0);
        for file in self.files()? {
            let (_, path) = file?;
            fill.0 += 1;
            fill.1 += fs::metadata(path)?.len();
        }
        Ok(fill)
    }

    fn files(&self) -> io::Result<impl Iterator<Item = io::Result<(String, PathBuf)>>> {
        let files = fs::read_dir(&self.dir)?;
        Ok(files.filter_map(|file| {
            let path = match file {
                Ok(file) => file.path(),
                Err(error) => return Some(Err(error)),
            };
            let id = path.file_name()?.to_str()?.strip_suffix(".json")?;
            is_id(id).then(|| Ok((id.to_owned(), path.clone())))
        }))
    }

    /// Writes a batch durably. Returns its id.
    pub(crate) fn put(&self, poison: &Poison) -> io::Result<String> {
        let (batches, bytes) = self.fill()?;
        if batches >= MOST || bytes >= MOST_BYTES {
            return Err(io::Error::other(format!(
                "the quarantine {} is full, with {batches} batches of {bytes} bytes; look at them with `spandrel quarantine ls`, and replay or drop some",
                self.dir.display()
            )));
        }
        let (id, path) = self.unused();
        let partial = path.with_extension("tmp");
        let written = write(&partial, &entry::line(&id, poison))
            .and_then(|()| fs::rename(&partial, &path))
            .and_then(|()| sync(&self.dir));
        if written.is_err() {
            // A partial file that cannot be removed now is removed at the next start.
            drop(fs::remove_file(&partial));
        }
        written.map(|()| id)
    }

    /// Returns an unused name that sorts by time.
    fn unused(&self) -> (String, PathBuf) {
        loop {
            let now = rfc3339(SystemTime::now());
            let now: String = now.chars().filter(|c| !matches!(c, '-' | ':')).collect();
            let number = NUMBER.fetch_add(1, Ordering::Relaxed) % 10_000;
            let id = format!("{now}-{number:04}");
            let path = self.path(&id);
            if !path.exists() {
                return (id, path);
            }
        }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.json"))
    }

    /// Returns the batches in it, oldest first. A file that is not a batch is listed with its
    /// fault.
    pub(crate) fn list(&self) -> io::Result<Vec<QuarantinedView>> {
        let mut all = Vec::new();
        for file in self.files()? {
            let (id, path) = file?;
            let mut head = Vec::new();
            let read = File::open(path).and_then(|file| {
                let mut head_of_file = file.take(entry::HEAD_BYTES);
                head_of_file.read_to_end(&mut head)
            });
            let about = match read {
                Ok(_) => entry::about(&head).map_err(|error| in_one_line(&error)),
                // It was replayed or dropped just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Err(error.to_string()),
            };
            let about = about.unwrap_or_else(|error| QuarantinedView {
                reason: format!("the file cannot be read: {error}"),
                ..QuarantinedView::default()
            });
            all.push(QuarantinedView { id, ..about });
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Returns true if a batch is here.
    pub fn has(&self, id: &str) -> bool {
        is_id(id) && self.path(id).is_file()
    }

    /// Returns a batch's file as it is.
    pub fn text(&self, id: &str) -> io::Result<String> {
        fs::read_to_string(self.checked(id)?)
    }

    /// Returns the request of a batch.
    pub(crate) fn request(&self, id: &str) -> io::Result<(Signal, Bytes)> {
        let line = fs::read(self.checked(id)?)?;
        entry::request(&line).map_err(|error| io::Error::other(in_one_line(&error)))
    }

    /// Removes a batch durably.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        fs::remove_file(self.checked(id)?)?;
        sync(&self.dir)
    }

    fn checked(&self, id: &str) -> io::Result<PathBuf> {
        if is_id(id) {
            Ok(self.path(id))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// Returns true if a text can be an id. A text that leads out of the folder cannot.
fn is_id(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn write(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(line)?;
    file.sync_data()
}

/// Makes renames and removals in a folder durable.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
