//! Opens a journal: the lock, the directories, the logs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::dir_names::{from_dir_name, to_dir_name};
use crate::checkpointer::Keeper;
use crate::counters::{Counted, Quiet, Quota};
use crate::options::{Options, Sync};
use crate::recovery::{OpenError, RecoveredLog, recover};
use crate::segments::{Shared, State};
use crate::vfs::{Lock, LockError, Vfs, ensure_dir};

/// A log that was read.
pub(crate) type Read = (Arc<Shared>, Keeper, RecoveredLog);

/// An open journal without threads.
pub(crate) struct Opened {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) options: Arc<Options>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) ingress: Read,
    pub(crate) egress: BTreeMap<String, Read>,
    pub(super) lock: Box<dyn Lock>,
}

impl Opened {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, options: Options) -> Result<Self, OpenError> {
        let options = Arc::new(options);
        let lock = lock(&*vfs, &options.dir)?;
        let quota = Arc::new(Quota::new(options.max_bytes));
        let counted = Arc::new(Counted::default());
        let parts = Parts {
            vfs: &vfs,
            options: &options,
            quota: &quota,
            counted: &counted,
        };
        let ingress = parts.log(None)?;
        let mut egress = BTreeMap::new();
        for exporter in exporters(&*vfs, &options.dir.join("egress"))? {
            let read = parts.log(Some(&exporter))?;
            egress.insert(exporter, read);
        }
        Ok(Self {
            vfs,
            options,
            quota,
            counted,
            ingress,
            egress,
            lock,
        })
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            vfs: &self.vfs,
            options: &self.options,
            quota: &self.quota,
            counted: &self.counted,
        }
    }
}

/// The parts that the logs of a journal share.
pub(crate) struct Parts<'a> {
    pub(crate) vfs: &'a Arc<dyn Vfs>,
    pub(crate) options: &'a Arc<Options>,
    pub(crate) quota: &'a Arc<Quota>,
    pub(crate) counted: &'a Arc<Counted>,
}

impl Parts<'_> {
    /// Opens the log of this exporter, or the ingress log if there is none.
    pub(crate) fn log(&self, exporter: Option<&str>) -> Result<Read, OpenError> {
        let dir = &self.options.dir;
        let (name, dir, reserved, sync) = match exporter {
            None => (
                "ingress".into(),
                dir.join("ingress"),
                self.options.reserved(),
                self.options.sync,
            ),
            Some(exporter) => {
                let name = format!("egress/{exporter}");
                let dir = dir.join("egress").join(to_dir_name(exporter));
                // The ingress record that it comes from is finished then, and may have been synced.
                (name, dir, 0, Sync::Group)
            }
        };
        let options = Options {
            sync,
            ..Options::clone(self.options)
        };
        let shared = Shared {
            vfs: Arc::clone(self.vfs),
            options: Arc::new(options),
            name,
            dir,
            reserved,
            quota: Arc::clone(self.quota),
            counted: Arc::clone(self.counted),
            quiet: Quiet::default(),
            quiet_refusals: Quiet::default(),
            state: Mutex::new(State::default()),
            prepared: Condvar::new(),
        };
        recover(shared, exporter.map(str::to_owned))
    }
}

fn lock(vfs: &dyn Vfs, dir: &Path) -> Result<Box<dyn Lock>, OpenError> {
    let io = |what, source| OpenError::Io {
        what,
        path: dir.to_path_buf(),
        source,
    };
    ensure_dir(vfs, dir).map_err(|error| io("make the directory", error))?;
    vfs.lock(&dir.join("lock")).map_err(|error| match error {
        LockError::Held { pid } => OpenError::Locked {
            path: dir.to_path_buf(),
            pid,
        },
        LockError::Io(source) => io("lock the directory", source),
    })
}

/// Returns the exporters that have an egress log.
fn exporters(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<String>, OpenError> {
    match vfs.list(dir) {
        Ok(names) => Ok(names
            .iter()
            .filter_map(|name| from_dir_name(name))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(OpenError::Io {
            what: "list the directory",
            path: dir.to_path_buf(),
            source,
        }),
    }
}
