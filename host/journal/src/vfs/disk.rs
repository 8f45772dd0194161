//! The real files.

use std::collections::hash_map::RandomState;
use std::fs::{self, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{File, Lock, LockError, Vfs};

/// The number of parts in one call: Linux takes 1024.
const MAX_PARTS: usize = 512;

/// Zeros are written in pieces of this size, so that other writes get their turn.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// The files of the system.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(fs::File);

#[derive(Debug)]
struct DiskLock {
    // The lock is held for as long as the file is open.
    _file: fs::File,
}

impl Lock for DiskLock {}

fn read_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

impl Vfs for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(
            read_write().create_new(true).open(path)?,
        )))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(DiskFile(read_write().open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, LockError> {
        let mut options = read_write();
        let opened = options.create(true).truncate(false).open(path);
        let mut file = opened.map_err(LockError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // A file that cannot be read names no process.
                let pid = file.read_to_string(&mut text).ok();
                let pid = pid.and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { pid });
            }
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        // The number is for a process that is refused. A full disk must not keep us from starting.
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = written {
            tracing::debug!(%error, "lock file does not name this process");
        }
        Ok(Box::new(DiskLock { _file: file }))
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn salt(&self) -> u64 {
        // The keys of the standard library's hasher are random.
        RandomState::new().build_hasher().finish()
    }
}

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut offset = offset;
        for parts in parts.chunks(MAX_PARTS) {
            let mut slices: Vec<IoSlice<'_>> =
                parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut left: &mut [IoSlice<'_>] = &mut slices;
            IoSlice::advance_slices(&mut left, 0);
            while !left.is_empty() {
                let written = match rustix::io::pwritev(&self.0, left, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => written,
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                };
                IoSlice::advance_slices(&mut left, written);
                offset += u64::try_from(written).unwrap_or(u64::MAX);
            }
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        // A full disk is noticed here, before anything is written. Where the file system does not
        // know this call, writing the zeros notices it.
        let flags = FallocateFlags::empty();
        match rustix::fs::fallocate(&self.0, flags, 0, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR | Errno::INVAL) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let mut offset = 0;
        while offset < length {
            let step = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let piece = ZEROS.get(..step).unwrap_or(&ZEROS);
            self.0.write_all_at(piece, offset)?;
            offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
