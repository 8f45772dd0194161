//! Directories and their entries.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Call, Inode, Node, SimDisk, SimFile, SimLock};
use crate::vfs::{File, Lock, LockError, Vfs};

impl Vfs for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let call = Call::CreateDir(path.to_path_buf());
        tree.enter(&call)?;
        if tree.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        tree.now.insert(path.to_path_buf(), Node::Dir);
        tree.pending.push((path.to_path_buf(), Some(Node::Dir)));
        tree.done(&call);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let tree = self.tree();
        if tree.now.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = tree.now.keys().filter(|path| path.parent() == Some(dir));
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(inside.map(name).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree();
        let call = Call::Create(path.to_path_buf());
        tree.enter(&call)?;
        if tree.now.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = tree.inodes.len();
        tree.inodes.push(Inode::default());
        let node = Node::File(inode);
        tree.now.insert(path.to_path_buf(), node.clone());
        tree.pending.push((path.to_path_buf(), Some(node)));
        tree.done(&call);
        drop(tree);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            path: path.to_path_buf(),
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree();
        tree.enter(&Call::Open(path.to_path_buf()))?;
        let inode = tree.file(path)?;
        drop(tree);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            inode,
            path: path.to_path_buf(),
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let call = Call::Remove(path.to_path_buf());
        tree.enter(&call)?;
        tree.file(path)?;
        tree.now.remove(path);
        tree.pending.push((path.to_path_buf(), None));
        tree.done(&call);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let call = Call::SyncDir(dir.to_path_buf());
        tree.enter(&call)?;
        let pending = std::mem::take(&mut tree.pending);
        for (path, node) in pending {
            if path.parent() != Some(dir) {
                tree.pending.push((path, node));
                continue;
            }
            match node {
                Some(node) => drop(tree.durable.insert(path, node)),
                None => {
                    // No entry leads to its content any more.
                    if let Some(Node::File(inode)) = tree.durable.remove(&path) {
                        tree.inodes[inode] = Inode::default();
                    }
                }
            }
        }
        tree.done(&call);
        Ok(())
    }

    fn lock(&self, _path: &Path) -> Result<Box<dyn Lock>, LockError> {
        Ok(Box::new(SimLock))
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.tree().seconds)
    }

    fn salt(&self) -> u64 {
        let mut tree = self.tree();
        tree.salts += 1;
        tree.salts.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
