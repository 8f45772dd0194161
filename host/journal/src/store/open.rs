//! Opens a journal: the lock, the directories, the logs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::dir_names::{from_dir_name, to_dir_name};
use crate::options::{Options, Sync};
use crate::recovery::{OpenError, RecoveredLog, recover};
use crate::resources::Resources;
use crate::segments::Segments;
use crate::vfs::{Lock, LockError, Vfs, ensure_dir};

/// An open journal without threads.
pub(crate) struct OpenJournal {
    /// The parts that its logs share.
    pub(crate) resources: Resources,
    /// The log of accepted batches.
    pub(crate) ingress: RecoveredLog,
    /// The logs of exporters, by their names.
    pub(crate) egress: BTreeMap<String, RecoveredLog>,
    /// The lock of the directory.
    pub(super) lock: Box<dyn Lock>,
}

impl OpenJournal {
    /// Locks the directory of a journal, and reads all logs in it.
    pub(crate) fn new(vfs: Arc<dyn Vfs>, options: Options) -> Result<Self, OpenError> {
        let resources = Resources::new(vfs, options);
        let dir = &resources.options.dir;
        let lock = lock(&*resources.vfs, dir)?;
        let ingress = open_log(&resources, None)?;
        let mut egress = BTreeMap::new();
        for exporter in exporters(&*resources.vfs, &dir.join("egress"))? {
            let log = open_log(&resources, Some(&exporter))?;
            egress.insert(exporter, log);
        }
        Ok(Self {
            resources,
            ingress,
            egress,
            lock,
        })
    }
}

/// Opens the log of this exporter, or the ingress log if there is none.
pub(crate) fn open_log(
    resources: &Resources,
    exporter: Option<&str>,
) -> Result<RecoveredLog, OpenError> {
    let options = &resources.options;
    let (name, dir, reserved, sync) = match exporter {
        None => (
            "ingress".into(),
            options.dir.join("ingress"),
            options.reserved_bytes(),
            options.sync,
        ),
        Some(exporter) => {
            let name = format!("egress/{exporter}");
            let dir = options.dir.join("egress").join(to_dir_name(exporter));
            // The ingress record that it comes from is finished then, and may have been synced.
            (name, dir, 0, Sync::Group)
        }
    };
    let options = Options {
        sync,
        ..Options::clone(options)
    };
    let resources = Resources {
        options: Arc::new(options),
        ..resources.clone()
    };
    let segments = Segments::new(resources, name, dir, reserved);
    recover(segments, exporter.map(str::to_owned))
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
