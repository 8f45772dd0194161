//! The parts that all logs of a journal share.

use std::sync::Arc;

use crate::counters::LiveCounters;
use crate::options::Options;
use crate::quota::Quota;
use crate::vfs::Vfs;

/// The parts that all logs of a journal share. A clone shares them, too.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    /// The files.
    pub(crate) vfs: Arc<dyn Vfs>,
    /// The options of the journal.
    pub(crate) options: Arc<Options>,
    /// The room on the disk.
    pub(crate) quota: Arc<Quota>,
    /// The counters, all logs together.
    pub(crate) counters: Arc<LiveCounters>,
}

impl Resources {
    /// Makes the parts of a journal with these options.
    pub(crate) fn new(vfs: Arc<dyn Vfs>, options: Options) -> Self {
        Self {
            vfs,
            quota: Arc::new(Quota::new(options.max_bytes)),
            counters: Arc::default(),
            options: Arc::new(options),
        }
    }
}
