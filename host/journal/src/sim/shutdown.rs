//! Tests of threads that end before their time, or hang.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Duration;

use spandrel_pipeline::journal::{AppendError, Journal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::deferred_sync::{syncs, writes};
use super::disk::{Call, SimDisk};
use super::payload::payload;
use super::rig::options;
use crate::store::Store;

/// After a panic in the thread that writes, at a write, a sync or an allocation, senders that wait
/// are told, later ones are refused, and requests for a checkpoint and the close end, too.
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
                assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
            }
            // The checkpointer may still write a checkpoint, or not.
            drop(log.set_attempts(vec![(0, 1)]).await);
        };
        let ended = timeout(Duration::from_secs(60), ends).await;
        assert!(ended.is_ok(), "somebody waits for ever");
        assert!(store.close().is_err());
    }
}

/// A closed log does not start again without its threads: the caller gets an error.
#[tokio::test]
async fn a_closed_log_does_not_start() {
    let (store, _) = Store::open_on(Arc::new(SimDisk::new()), options()).unwrap();
    assert!(store.egress("backend").is_ok());
    store.close().unwrap();
    assert!(store.egress("backend").is_err());
}

/// Neither the close nor the drop waits for a disk that does not answer, and the close says which
/// logs were not closed. When the disk answers again, what was begun ends well by itself.
#[tokio::test]
async fn nobody_waits_for_a_disk_that_hangs() {
    let which: [fn(&Call) -> bool; 2] = [writes, syncs];
    for which in which {
        let disk = SimDisk::new();
        let files = Arc::new(disk.clone());
        let there = Arc::downgrade(&files);
        let (store, _) = Store::open_on(files, options()).unwrap();
        let log = store.ingress();
        log.append(payload(0, 100), 1).await.unwrap();
        let (answer, answers) = sync_channel::<()>(0);
        let (hanging, mut hangs) = mpsc::channel(1);
        disk.faults(Some(Box::new(move |call| {
            // The call ends when the sender is gone.
            if which(call) {
                hanging.try_send(()).ok();
                answers.recv().ok();
            }
            None
        })));
        let mut waits = JoinSet::from_iter([log.append(payload(1, 100), 1)]);
        let hung = timeout(Duration::from_secs(60), hangs.recv()).await;
        assert_eq!(hung, Ok(Some(())), "the writer does not come to the disk");
        let began = Instant::now();
        let error = store.close_within(Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(error.to_string().contains("ingress"), "{error}");
        let refused = log.append(payload(2, 100), 1).await;
        assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
        drop((store, log));
        assert!(began.elapsed() < Duration::from_secs(10));
        drop(answer);
        assert_eq!(waits.join_next().await.unwrap().unwrap().unwrap(), 1);
        while there.strong_count() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        disk.faults(None);
        let (store, recovered) = Store::open_on(Arc::new(disk), options()).unwrap();
        assert!(recovered.ended_well());
        assert_eq!(store.ingress().fill().records, 2);
    }
}

/// A log that is being opened on a disk that does not answer blocks neither those who look at the
/// journal nor the close, which names it. It is opened once, and not at all after the close.
#[test]
fn a_log_that_hangs_while_it_is_opened_is_waited_for_by_nobody_else() {
    for closes in [false, true] {
        let disk = SimDisk::new();
        let files = Arc::new(disk.clone());
        let there = Arc::downgrade(&files);
        let (store, _) = Store::open_on(files, options()).unwrap();
        let (begun, begins) = channel();
        let (answer, answers) = sync_channel::<()>(0);
        disk.faults(Some(Box::new(move |call| {
            if matches!(call, Call::CreateDir(path) if path.ends_with("egress")) {
                begun.send(()).unwrap();
                answers.recv().ok();
            }
            None
        })));
        let open = || {
            let store = Arc::clone(&store);
            thread::spawn(move || store.egress("new"))
        };
        let first = open();
        begins.recv().unwrap();
        let second = open();
        let (looked, looks) = channel();
        let looking = Arc::clone(&store);
        thread::spawn(move || {
            looked
                .send((looking.counters(), looking.orphans()))
                .unwrap();
        });
        let patience = Duration::from_secs(10);
        looks.recv_timeout(patience).expect("a look that waits");
        if closes {
            let (closed, closes) = channel();
            let closing = Arc::clone(&store);
            thread::spawn(move || closed.send(closing.close_within(Duration::from_millis(100))));
            let closed = closes.recv_timeout(patience).expect("a close that waits");
            let error = closed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(error.to_string().contains("egress/new"), "{error}");
            assert!(second.join().unwrap().is_err(), "the close ends the wait");
            assert!(there.strong_count() > 0);
            drop(answer);
            assert!(first.join().unwrap().is_err(), "nobody would end it");
        } else {
            drop(answer);
            let logs = [first, second].map(|opening| opening.join().unwrap().unwrap());
            assert!(Arc::ptr_eq(&logs[0], &logs[1]));
            store.close().unwrap();
        }
        drop(store);
        while there.strong_count() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let (store, recovered) = Store::open_on(Arc::new(disk), options()).unwrap();
        assert!(closes || recovered.ended_well());
        assert!(store.egress("new").is_ok());
    }
}
