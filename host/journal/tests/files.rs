//! The journal on real files.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use spandrel_journal::{Options, Store};
use spandrel_pipeline::journal::{Journal, Log};
use std::sync::Arc;

async fn append(log: &Arc<dyn Log>, bytes: Vec<u8>, items: u64) -> u64 {
    log.append(Bytes::from(bytes), items).await.expect("room")
}

/// What was acknowledged and not finished is there again, with its bytes, whether the journal was
/// closed or not; what is finished is not.
#[tokio::test]
async fn unfinished_records_are_there_again() {
    for well in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (store, recovered) = Store::open(Options::new(dir.path())).unwrap();
        assert!(recovered.ended_well());
        let log = store.ingress();
        for number in 0..100_u64 {
            let bytes = vec![u8::try_from(number).unwrap(); 1000];
            assert_eq!(append(&log, bytes, number).await, number);
        }
        for number in (0..100).filter(|number| number % 3 != 0) {
            log.finish(number);
        }
        log.set_attempts(vec![(3, 2)]).await.unwrap();
        if well {
            store.close().unwrap();
        }
        drop((log, store));
        let (store, recovered) = Store::open(Options::new(dir.path())).unwrap();
        assert_eq!(recovered.ended_well(), well);
        assert_eq!(recovered.lost(), 0);
        let log = store.ingress();
        assert_eq!(log.first_new(), 100);
        let unfinished = log.unfinished(0, 1000);
        assert_eq!(unfinished.len(), 34);
        for (found, number) in unfinished.iter().zip((0..100).step_by(3)) {
            assert_eq!((found.record, found.items), (number, number));
            let tried = if number == 3 { 2 } else { u8::from(!well) };
            assert_eq!(found.attempts, tried);
            let bytes = log.read(number).await.unwrap();
            assert_eq!(bytes, vec![u8::try_from(number).unwrap(); 1000]);
        }
        assert!(log.read(1).await.is_err());
        assert_eq!(append(&log, vec![1], 1).await, 100);
    }
}
