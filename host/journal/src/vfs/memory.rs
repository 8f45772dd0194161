//! Files in memory, for recovery from arbitrary bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};

use super::{File, Lock, LockError, Vfs};

/// Files in memory, which never fail and never refuse a lock.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<Tree>>);

#[derive(Debug, Default)]
struct Tree {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    salts: u64,
}

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

#[derive(Debug)]
struct MemoryLock;

impl Lock for MemoryLock {}

impl Memory {
    /// Puts a file at this path, and makes the directories above it.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut tree = self.tree();
        tree.dirs
            .extend(path.ancestors().skip(1).map(Path::to_path_buf));
        let file = Arc::new(MemoryFile(Mutex::new(bytes.to_vec())));
        tree.files.insert(path.to_path_buf(), file);
    }

    /// Returns all files.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let tree = self.tree();
        let files = tree.files.iter();
        files
            .map(|(path, file)| (path.clone(), file.bytes().clone()))
            .collect()
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock()
    }
}

impl MemoryFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock()
    }
}

impl Vfs for Memory {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.tree().dirs.insert(path.to_path_buf()) {
            Ok(())
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree();
        if !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let paths = tree.files.keys().chain(&tree.dirs);
        let inside = paths.filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree();
        if tree.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::new(MemoryFile::default());
        tree.files.insert(path.to_path_buf(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        match self.tree().files.get(path) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn File>),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match self.tree().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _path: &Path) -> Result<Box<dyn Lock>, LockError> {
        Ok(Box::new(MemoryLock))
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn salt(&self) -> u64 {
        let mut tree = self.tree();
        tree.salts += 1;
        tree.salts.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.bytes().len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.bytes();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        let Some(found) = content.get(start..end) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut content = self.bytes();
        let mut start = usize::try_from(offset).unwrap_or(usize::MAX);
        for part in parts {
            let end = start.saturating_add(part.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            if let Some(place) = content.get_mut(start..end) {
                place.copy_from_slice(part);
            }
            start = end;
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut content = self.bytes();
        content.clear();
        content.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
