//! The directories from which the system reports events.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use crate::watch::symlink_chain::symlink_chain;
use crate::watch::wake_signal::WakeSignal;

/// A directory's identity, device and inode, because another directory may get the same name.
type Identity = (u64, u64);

/// The watches of the file system, as far as the system supports them.
#[derive(Debug)]
pub(crate) struct Directories {
    wake_signal: Arc<WakeSignal>,
    system: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
    has_warned: bool,
}

impl Directories {
    /// Watches nothing yet. If the system cannot watch, it warns, and only the poll finds changes.
    pub(crate) fn new(wake_signal: Arc<WakeSignal>) -> Self {
        let pending = Arc::clone(&wake_signal);
        let system = notify::recommended_watcher(move |event| wake(&pending, &event));
        let mut directories = Self {
            wake_signal,
            system: None,
            watched: BTreeMap::new(),
            has_warned: false,
        };
        match system {
            Ok(system) => directories.system = Some(system),
            Err(error) => directories.warn(&error),
        }
        directories
    }

    /// Watches the directories on which these files depend now, and no others.
    pub(crate) fn follow<'a>(&mut self, files: impl IntoIterator<Item = &'a PathBuf>) {
        let mut matter: BTreeSet<PathBuf> = files
            .into_iter()
            .flat_map(|file| symlink_chain(file))
            .collect();
        let parents: BTreeSet<PathBuf> = matter
            .iter()
            .filter_map(|path| path.parent())
            .map(Path::to_owned)
            .collect();
        // The removal of a directory is reported under the directory's own name.
        matter.extend(parents.iter().cloned());
        self.wake_signal.listen_for(matter);
        let wanted: BTreeMap<PathBuf, Identity> = parents
            .into_iter()
            .filter_map(|path| {
                let metadata = fs::metadata(&path).ok()?;
                Some((path, (metadata.dev(), metadata.ino())))
            })
            .collect();
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(path, identity)| wanted.get(*path) != Some(identity))
            .map(|(path, _)| path.clone())
            .collect();
        for path in gone {
            self.watched.remove(&path);
            if let Some(system) = &mut self.system {
                // The watch of a removed directory is gone with it.
                system.unwatch(&path).unwrap_or_default();
            }
        }
        for (path, identity) in wanted {
            if !self.watched.contains_key(&path) {
                self.watch(path, identity);
            }
        }
    }

    fn watch(&mut self, path: PathBuf, identity: Identity) {
        let Some(system) = &mut self.system else {
            return;
        };
        match system.watch(&path, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(path, identity);
            }
            Err(error) => self.warn(&error),
        }
    }

    fn warn(&mut self, error: &notify::Error) {
        if !self.has_warned {
            self.has_warned = true;
            warn!(
                error = error as &dyn std::error::Error,
                "the system does not tell of changed files, they are polled: \
                 see fs.inotify.max_user_watches and max_user_instances"
            );
        }
    }
}

/// Wakes the thread for events that may mean other content, but not for reads, which this process makes
/// itself.
fn wake(wake_signal: &WakeSignal, event: &notify::Result<Event>) {
    let Ok(event) = event else {
        return wake_signal.touch([]);
    };
    let is_written = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    };
    if is_written {
        // An event without paths means that others were lost.
        wake_signal.touch(event.paths.iter().map(PathBuf::as_path));
    }
}
