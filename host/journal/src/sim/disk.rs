//! Simulated files that forget what was not synced.

mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::vfs::{File, Lock};

const SECTOR: usize = 512;

/// A call to the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    CreateDir(PathBuf),
    Create(PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    Open(PathBuf),
    Write(PathBuf, u64, usize),
    Allocate(PathBuf, u64),
    Sync(PathBuf),
    Read(PathBuf),
}

impl Call {
    /// Returns true if the call changes something.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Open(_) | Self::Read(_))
    }

    /// Returns true if the call needs room on the disk.
    pub(crate) fn grows(&self) -> bool {
        matches!(
            self,
            Self::CreateDir(_) | Self::Create(_) | Self::Write(..) | Self::Allocate(..)
        )
    }
}

/// Decides which calls fail.
pub(crate) type Faults = Box<dyn FnMut(&Call) -> Option<io::ErrorKind> + Send>;

/// Sees each call that was done.
pub(crate) type Watch = Box<dyn FnMut(&Call) + Send>;

/// Simulated files. A clone shares them.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Tree>>);

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("SimDisk")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

#[derive(Clone, Default)]
struct Inode {
    /// The content that the system shows.
    now: Vec<u8>,
    /// The content on the disk.
    durable: Vec<u8>,
    /// The writes since the last sync, in order.
    pending: Vec<(usize, Vec<u8>)>,
    sync_failed: bool,
}

#[derive(Default)]
struct Tree {
    inodes: Vec<Inode>,
    now: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Changes of entries that are not durable, in order. `None` is a removal.
    pending: Vec<(PathBuf, Option<Node>)>,
    calls: u64,
    changes: u64,
    crash_at: Option<u64>,
    dead: bool,
    faults: Option<Faults>,
    watch: Option<Watch>,
    salts: u64,
    seconds: u64,
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", self.path.display())
    }
}

#[derive(Debug)]
struct SimLock;

impl Lock for SimLock {}

impl SimDisk {
    pub(crate) fn new() -> Self {
        let mut tree = Tree::default();
        tree.now.insert("/".into(), Node::Dir);
        tree.durable = tree.now.clone();
        tree.seconds = 1_800_000_000;
        Self(Arc::new(Mutex::new(tree)))
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap()
    }

    /// Switches the machine off after this many further changes.
    pub(crate) fn crash_after(&self, changes: u64) {
        let mut tree = self.tree();
        tree.crash_at = Some(tree.changes + changes);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.tree().dead
    }

    pub(crate) fn faults(&self, faults: Option<Faults>) {
        self.tree().faults = faults;
    }

    pub(crate) fn watch(&self, watch: Watch) {
        self.tree().watch = Some(watch);
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.tree().seconds += seconds;
    }

    /// Sets the clock, to seconds since 1970.
    pub(crate) fn set(&self, seconds: u64) {
        self.tree().seconds = seconds;
    }

    /// Returns the content of all files.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let tree = self.tree();
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::File(inode) => Some((path.clone(), tree.inodes[*inode].now.clone())),
            Node::Dir => None,
        };
        tree.now.iter().filter_map(file).collect()
    }

    /// Flips a bit of a file.
    pub(crate) fn flip(&self, path: &Path, at: usize) {
        let mut tree = self.tree();
        let inode = tree.file(path).unwrap();
        tree.inodes[inode].now[at] ^= 1;
    }

    /// Cuts the power. For each thing that is not durable, `choose` gets the number of its changes
    /// and returns how many of them reached the disk.
    pub(crate) fn lose_power(&self, choose: &mut dyn FnMut(usize) -> usize) {
        let mut tree = self.tree();
        let pending = std::mem::take(&mut tree.pending);
        let paths: BTreeSet<PathBuf> = pending.iter().map(|(path, _)| path.clone()).collect();
        for path in paths {
            let changes: Vec<&Option<Node>> = pending
                .iter()
                .filter(|(changed, _)| *changed == path)
                .map(|(_, node)| node)
                .collect();
            let kept = choose(changes.len());
            match kept.checked_sub(1).map(|last| changes[last].clone()) {
                None => {}
                Some(None) => drop(tree.durable.remove(&path)),
                Some(Some(node)) => drop(tree.durable.insert(path, node)),
            }
        }
        // An entry in a directory that does not exist does not exist either.
        let durable = tree.durable.clone();
        tree.durable
            .retain(|path, _| path.parent().is_none_or(|dir| durable.contains_key(dir)));
        tree.now = tree.durable.clone();
        for inode in &mut tree.inodes {
            inode.settle(choose);
            inode.now = inode.durable.clone();
            inode.sync_failed = false;
        }
        tree.revive();
    }

    /// Kills the process: what it wrote stays.
    pub(crate) fn kill(&self) {
        let mut tree = self.tree();
        tree.revive();
        // Another process does not know of the failed sync, and is not told.
        for inode in &mut tree.inodes {
            inode.sync_failed = false;
        }
    }
}

impl Tree {
    fn revive(&mut self) {
        self.dead = false;
        self.crash_at = None;
    }

    /// Returns an error if the call is not to be done.
    fn enter(&mut self, call: &Call) -> io::Result<()> {
        self.calls += 1;
        if self.dead {
            return Err(io::Error::other("the machine is off"));
        }
        if call.changes() {
            self.changes += 1;
            if self.crash_at.is_some_and(|at| self.changes > at) {
                self.dead = true;
                return Err(io::Error::other("the machine is off"));
            }
        }
        if let Some(mut faults) = self.faults.take() {
            let fault = faults(call);
            self.faults = Some(faults);
            if let Some(kind) = fault {
                return Err(kind.into());
            }
        }
        Ok(())
    }

    fn done(&mut self, call: &Call) {
        if let Some(mut watch) = self.watch.take() {
            watch(call);
            self.watch = Some(watch);
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.now.get(path) {
            Some(Node::File(inode)) => Ok(*inode),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        apply(&mut self.now, offset, bytes);
        self.pending.push((offset, bytes.to_vec()));
    }

    /// Gives each sector the content that it had after some of its writes.
    fn settle(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let pending = std::mem::take(&mut self.pending);
        let mut sectors: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (offset, bytes) in &pending {
            let mut at = *offset;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                sectors.entry(at / SECTOR).or_default().push((at, now));
                at += now.len();
                rest = later;
            }
        }
        for writes in sectors.values() {
            let kept = choose(writes.len());
            for (at, bytes) in &writes[..kept] {
                apply(&mut self.durable, *at, bytes);
            }
        }
    }
}

fn apply(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.tree().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut tree = self.disk.tree();
        tree.enter(&Call::Read(self.path.clone()))?;
        let start = usize::try_from(offset).unwrap();
        let content = &tree.inodes[self.inode].now;
        let Some(found) = content.get(start..start + bytes.len()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        bytes.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut tree = self.disk.tree();
        let bytes = parts.concat();
        let call = Call::Write(self.path.clone(), offset, bytes.len());
        let start = usize::try_from(offset).unwrap();
        let entered = tree.enter(&call);
        // Any part of a write may be there when it fails: here, all but its end is.
        let written = if entered.is_ok() {
            bytes.len()
        } else {
            bytes.len() * 2 / 3
        };
        if !tree.dead || entered.is_ok() {
            tree.inodes[self.inode].write(start, &bytes[..written]);
        }
        entered?;
        tree.done(&call);
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut tree = self.disk.tree();
        let call = Call::Allocate(self.path.clone(), length);
        tree.enter(&call)?;
        let zeros = vec![0; usize::try_from(length).unwrap()];
        tree.inodes[self.inode].write(0, &zeros);
        tree.done(&call);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut tree = self.disk.tree();
        let call = Call::Sync(self.path.clone());
        let entered = tree.enter(&call);
        let inode = self.inode;
        assert!(
            !tree.inodes[inode].sync_failed,
            "a second sync after a failure: {call:?}"
        );
        match &entered {
            Ok(()) => {
                let inode = &mut tree.inodes[inode];
                inode.pending.clear();
                inode.durable = inode.now.clone();
            }
            Err(_) if tree.dead => {}
            Err(_) => {
                // The system goes on showing what it showed. Half of it is not on the disk, and
                // nothing will bring it there.
                let mut odd = false;
                let mut choose = |changes: usize| {
                    odd = !odd;
                    if odd { changes } else { 0 }
                };
                let inode = &mut tree.inodes[inode];
                inode.settle(&mut choose);
                inode.sync_failed = true;
            }
        }
        entered?;
        tree.done(&call);
        Ok(())
    }
}
