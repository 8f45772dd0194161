//! The end of a journal. It does not wait for ever: a thread that is in a call of the system on a
//! disk that does not answer cannot be ended, so it is left behind.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Orders;
use crate::log::DurableLog;
use crate::vfs::Lock;

/// What is to be ended, once.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) orders: Orders,
    pub(super) preparer: JoinHandle<()>,
    /// Given back last: until then nobody else may write these files.
    pub(super) lock: Box<dyn Lock>,
}

/// What is left when all logs have ended.
const FOLDER: &str = "the folder";

/// The names of the logs that have not ended.
#[derive(Clone, Debug, Default)]
struct Open(Arc<Mutex<Vec<String>>>);

impl Open {
    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ending {
    /// Ends it, in a thread of its own, and waits for that for so long. With `well` the next
    /// process is told so.
    pub(super) fn within(
        self,
        logs: Vec<Arc<DurableLog>>,
        well: bool,
        limit: Duration,
    ) -> io::Result<()> {
        // Whatever becomes of the disk, nobody waits for it from now on with something new.
        logs.iter().for_each(|log| log.close());
        let open = Open::default();
        let names = logs.iter().map(|log| log.shared.name.clone());
        open.names().extend(names.chain([FOLDER.to_owned()]));
        let (done, ended) = sync_channel(1);
        let seen = open.clone();
        let end = move || {
            // Who waited may have gone.
            drop(done.send(self.run(&logs, well, &seen)));
        };
        let thread = std::thread::Builder::new().name("journal-close".into());
        thread.spawn(end)?;
        match ended.recv_timeout(limit) {
            Ok(ended) => ended,
            Err(RecvTimeoutError::Timeout) => {
                let names = open.names().join(", ");
                let what = format!("the disk does not answer, not closed: {names}");
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(io::Error::other("a thread of the journal panicked"))
            }
        }
    }

    fn run(self, logs: &[Arc<DurableLog>], well: bool, open: &Open) -> io::Result<()> {
        let mut ended = Ok(());
        for log in logs {
            ended = ended.and(log.end(well));
            open.names().retain(|name| *name != log.shared.name);
        }
        // It ends by itself when it is gone already.
        drop(self.orders.0.send(None));
        drop(self.preparer.join());
        drop(self.lock);
        ended
    }
}
