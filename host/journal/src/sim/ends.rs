//! Threads that end before their time.

use std::sync::Arc;
use std::time::Duration;

use spandrel_pipeline::journal::{Journal, Unwritten};

use super::disk::{Call, SimDisk};
use super::payload::payload;
use super::rig::options;
use crate::store::Store;

/// A panic in the thread that writes, at a write or at a sync: whoever waits is told, whoever comes
/// later is refused, marks and the close end, too.
#[tokio::test]
async fn nobody_waits_for_a_thread_that_is_gone() {
    let which: [fn(&Call) -> bool; 3] = [
        |call| matches!(call, Call::Write(..)),
        |call| matches!(call, Call::Sync(_)),
        |call| matches!(call, Call::Allocate(..)),
    ];
    for which in which {
        let disk = SimDisk::new();
        let (store, _) = Store::open_on(Arc::new(disk.clone()), options()).unwrap();
        let log = store.ingress();
        disk.faults(Some(Box::new(move |call| {
            assert!(!which(call), "as the test wants it");
            None
        })));
        let ends = async {
            for _ in 0..2 {
                let refused = log.append(payload(0, 100), 1).await;
                assert!(matches!(refused, Err(Unwritten::Closed)), "{refused:?}");
            }
            // The keeper may write a checkpoint still, or not.
            drop(log.set_attempts(vec![(0, 1)]).await);
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ends).await;
        assert!(ended.is_ok(), "somebody waits for ever");
        assert!(store.close().is_err());
    }
}

/// After the close no log begins again without its threads: whoever asks is told.
#[tokio::test]
async fn a_closed_log_does_not_start() {
    let (store, _) = Store::open_on(Arc::new(SimDisk::new()), options()).unwrap();
    assert!(store.egress("backend").is_ok());
    store.close().unwrap();
    assert!(store.egress("backend").is_err());
}
