//! The output file. If its path leads to another file, lines go to that one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use spandrel_config::exporter::file::Rotation;

use crate::file::exporter::backups;

/// The longest partial line that is searched for at the end of a file: the longest request, in
/// JSON, which needs up to six bytes for one.
const LONGEST_LINE: u64 = 512 << 20;

/// A file that is opened for appending, so that the end of the file is the right one even after
/// others truncate it or write to it.
#[derive(Debug)]
pub(crate) struct Output {
    path: PathBuf,
    file: File,
    /// Device and inode of the file; `None` for a pipe or a terminal, which cannot be truncated.
    identity: Option<(u64, u64)>,
    /// True if part of a line is at the end and could not be removed.
    is_torn: bool,
}

impl Output {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        open(path, None)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the content of the file.
    pub(crate) fn empty(&mut self) -> io::Result<()> {
        if self.identity.is_some() {
            self.file.set_len(0)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Writes a line with its line feed, or nothing.
    pub(crate) fn write(&mut self, line: &[u8], rotation: Option<&Rotation>) -> io::Result<()> {
        self.follow()?;
        if let Some(rotation) = rotation {
            self.rotate(rotation, line.len())?;
        }
        if self.is_torn {
            // The partial line at the end becomes a line of its own.
            self.append(b"\n")?;
            self.is_torn = false;
        }
        self.append(line)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self.file.sync_all() {
            // A pipe or a terminal has nothing to sync.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced,
        }
    }

    /// Opens the path again if it leads to another file, or to none, because the file was moved or
    /// deleted.
    pub(crate) fn follow(&mut self) -> io::Result<()> {
        let Some(identity) = self.identity else {
            return Ok(());
        };
        let mode = match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == identity => return Ok(()),
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.mode(),
            Err(error) => return Err(error),
        };
        *self = open(&self.path, mode)?;
        tracing::info!(path = %self.path.display(), "file was moved or deleted, another one is written to");
        Ok(())
    }

    /// Returns the permissions of the file, for the next one.
    fn mode(&self) -> Option<u32> {
        Some(self.file.metadata().ok()?.mode() & 0o7777)
    }

    /// Rotates the file if a line of this length would make it too long.
    fn rotate(&mut self, rotation: &Rotation, bytes: usize) -> io::Result<()> {
        if self.identity.is_none() {
            return Ok(());
        }
        let length = self.file.metadata()?.len();
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        // A line that is too long even alone gets a file of its own.
        if length == 0 || length.saturating_add(bytes) <= rotation.max_bytes {
            return Ok(());
        }
        let mode = self.mode();
        let backup = backups::put_aside(&self.path)?;
        *self = open(&self.path, mode)?;
        tracing::info!(
            path = %self.path.display(), backup = %backup.display(), bytes = length,
            "file rotated"
        );
        self.clean_up(rotation);
        Ok(())
    }

    /// Removes the backups that are too many or too old.
    pub(crate) fn clean_up(&self, rotation: &Rotation) {
        if self.identity.is_some() {
            backups::clean_up(&self.path, rotation);
        }
    }

    /// Appends all of it, or removes the part that was written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = match self.identity {
            Some(_) => Some(self.file.metadata()?.len()),
            None => None,
        };
        let (written, error) = write_all(&mut self.file, bytes);
        let Some(error) = error else {
            return Ok(());
        };
        if written > 0 && !before.is_some_and(|before| self.take_back(before, written)) {
            self.is_torn = true;
        }
        Err(error)
    }

    /// Removes the bytes that were written. Does nothing if the file was changed by others
    /// meanwhile: then the place where those bytes begin is not known.
    fn take_back(&self, before: u64, written: usize) -> bool {
        let end = before.checked_add(u64::try_from(written).unwrap_or(u64::MAX));
        let now = self.file.metadata().map(|found| found.len());
        now.is_ok_and(|now| Some(now) == end) && self.file.set_len(before).is_ok()
    }
}

/// Writes until all is written or an error occurs. Returns the number of bytes written, and the
/// error.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// Opens and locks a file, and repairs its end. A new file gets this mode.
fn open(path: &Path, mode: Option<u32>) -> io::Result<Output> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    if let Some(mode) = mode {
        options.mode(mode);
    }
    let file = options.open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::other("another process writes to it; stop that one or choose another path")
        }
        TryLockError::Error(error) => error,
    })?;
    let found = file.metadata()?;
    let identity = found.is_file().then(|| (found.dev(), found.ino()));
    let mut output = Output {
        path: path.to_owned(),
        file,
        identity,
        is_torn: false,
    };
    if identity.is_some() {
        output.mend(found.len());
    }
    Ok(output)
}

impl Output {
    /// Removes a partial line at the end, which a process left that was killed while writing it.
    /// Any other text at the end stays, and becomes a line of its own.
    fn mend(&mut self, length: u64) {
        match half_line(&self.path, length) {
            Ok(None) => {}
            Ok(Some(start)) if self.file.set_len(start).is_ok() => {
                tracing::warn!(
                    path = %self.path.display(), bytes = length - start,
                    "file ended in half a line, which is removed"
                );
            }
            // The end cannot be read, or is something else.
            Ok(Some(_)) | Err(_) => self.is_torn = true,
        }
    }
}

/// Returns the start of the partial line at the end of a file of this length; `None` if the last
/// line is complete.
///
/// # Errors
/// The file cannot be read, or its end is not a partial line of OTLP/JSON.
fn half_line(path: &Path, length: u64) -> io::Result<Option<u64>> {
    const BLOCK: u64 = 64 << 10;
    if length == 0 {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    if last == [b'\n'] {
        return Ok(None);
    }
    let mut block = Vec::new();
    let mut end = length;
    let start = loop {
        let from = end.saturating_sub(BLOCK);
        block.resize(usize::try_from(end - from).unwrap_or(0), 0);
        file.read_exact_at(&mut block, from)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            break from + at as u64 + 1;
        }
        if from == 0 {
            break 0;
        }
        if length - from > LONGEST_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        end = from;
    };
    file.seek(SeekFrom::Start(start))?;
    let tail = BufReader::new(&mut file);
    let is_whole = serde_json::from_reader::<_, serde::de::IgnoredAny>(tail).is_ok();
    let mut head = vec![
        0;
        BEGINS
            .len()
            .min(usize::try_from(length - start).unwrap_or(0))
    ];
    file.read_exact_at(&mut head, start)?;
    if is_whole || !BEGINS.starts_with(&head) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(start))
}

/// The start of every line that the exporter writes.
const BEGINS: &[u8] = br#"{"resource"#;
