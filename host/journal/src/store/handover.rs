//! The data that one process leaves to the next beside the logs: a file that is written once and
//! read once.
//!
//! ```text
//! DIR/handover    a sector: magic, layout, length, checksum of the rest, checksum of its own; the rest
//! ```
//! The sector is written last, so a file that was not written to its end has none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::quota::Quota;
use crate::vfs::{File, Vfs};

const NAME: &str = "handover";
const MAGIC: [u8; 8] = *b"spandrl>";
const LAYOUT: u32 = 1;
/// The offset of the payload. The head has a page of its own, so that the disk does not have to
/// write both in one.
const PAYLOAD: u64 = 4096;
/// The bytes of the head: magic, layout, length, two checksums.
const HEAD: usize = 8 + 4 + 8 + 4 + 4;

/// The file of one journal.
#[derive(Debug)]
pub(super) struct HandoverFile {
    vfs: Arc<dyn Vfs>,
    quota: Arc<Quota>,
    dir: PathBuf,
}

impl HandoverFile {
    pub(super) fn new(vfs: Arc<dyn Vfs>, quota: Arc<Quota>, dir: &Path) -> Self {
        let dir = dir.to_owned();
        Self { vfs, quota, dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Writes these parts in place of the file that is there. They are durable when it returns.
    pub(super) fn put(&self, parts: &[Bytes]) -> io::Result<()> {
        self.remove()?;
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if !self.quota.reserve(PAYLOAD + length, 0) {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the journal has as many bytes as it may have (`max_bytes`)",
            ));
        }
        let written = self.write(parts, length);
        if written.is_err() {
            self.quota.release(PAYLOAD + length);
            // Without its head the file counts for nothing; the next process removes it.
            drop(self.remove());
        }
        written
    }

    fn write(&self, parts: &[Bytes], length: u64) -> io::Result<()> {
        let file = self.vfs.create(&self.path())?;
        let (mut offset, mut sum) = (PAYLOAD, 0);
        for part in parts {
            file.write_at(&[part.as_ref()], offset)?;
            offset += part.len() as u64;
            sum = crc32c::crc32c_append(sum, part);
        }
        file.sync_data()?;
        file.write_at(&[&head(length, sum)], 0)?;
        file.sync_data()?;
        self.vfs.sync_dir(&self.dir)
    }

    /// Reads the file and removes it, durably: it is there for one process.
    pub(super) fn take(&self) -> io::Result<Option<Bytes>> {
        let file = match self.vfs.open(&self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = read(&*file);
        drop(file);
        self.remove()?;
        read.map(Some)
    }

    fn remove(&self) -> io::Result<()> {
        match self.vfs.remove(&self.path()) {
            Ok(()) => self.vfs.sync_dir(&self.dir),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn head(length: u64, sum: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&LAYOUT.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&sum.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head
}

fn read(file: &dyn File) -> io::Result<Bytes> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file `handover` is damaged");
    let Some(length) = file.len()?.checked_sub(PAYLOAD) else {
        return Err(damaged());
    };
    let mut found = [0; HEAD];
    file.read_at(&mut found, 0)?;
    let mut payload = vec![0; usize::try_from(length).map_err(|_| damaged())?];
    file.read_at(&mut payload, PAYLOAD)?;
    if found.as_slice() == head(length, crc32c::crc32c(&payload)) {
        Ok(Bytes::from(payload))
    } else {
        Err(damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Disk;

    fn handover(dir: &Path, max_bytes: u64) -> HandoverFile {
        HandoverFile::new(Arc::new(Disk), Arc::new(Quota::new(max_bytes)), dir)
    }

    /// The data is there once, in whole, and the newest counts.
    #[test]
    fn it_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = handover(dir.path(), 1 << 20);
        assert_eq!(file.take().unwrap(), None);
        file.put(&[Bytes::from_static(b"older and longer")])
            .unwrap();
        let parts = [Bytes::from_static(b"one "), Bytes::from_static(b"two")];
        file.put(&parts).unwrap();
        assert_eq!(file.take().unwrap().as_deref(), Some(&b"one two"[..]));
        assert_eq!(file.take().unwrap(), None);
    }

    /// Any wrong byte and any missing end is noticed, and the file is gone afterwards.
    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = handover(dir.path(), 1 << 20);
        let path = dir.path().join(NAME);
        file.put(&[Bytes::from_static(b"what a plugin knows")])
            .unwrap();
        let good = std::fs::read(&path).unwrap();
        let head = (0..HEAD).chain(4096..good.len());
        for at in head {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, bad).unwrap();
            let error = file.take().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}");
            assert!(!path.exists());
        }
        for end in [0, 1, HEAD, 4095, 4096, good.len() - 1] {
            std::fs::write(&path, &good[..end]).unwrap();
            file.take().unwrap_err();
            assert!(!path.exists(), "{end}");
        }
    }

    /// Data that has no room is not written, and takes none.
    #[test]
    fn it_keeps_to_the_quota() {
        let dir = tempfile::tempdir().unwrap();
        let file = handover(dir.path(), 8192);
        let error = file.put(&[Bytes::from(vec![7; 4097])]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(file.take().unwrap(), None);
        file.put(&[Bytes::from(vec![7; 4096])]).unwrap();
    }
}
