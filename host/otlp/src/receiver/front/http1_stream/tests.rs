use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::Instant;

use super::super::activity::Purpose;
use super::super::preface::Preface;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);

async fn opened(ahead: usize, activity: &Activity) -> (DuplexStream, Http1Stream<DuplexStream>) {
    let (mut client, server) = duplex(ahead);
    client.write_all(b"GET ").await.expect("room");
    let Preface::Http1(first, stream) = Preface::read(server, LIMIT).await.expect("a method")
    else {
        panic!("not recognized");
    };
    let mut stream = Http1Stream::new(first, stream, activity.clone(), [LIMIT; 2]);
    let mut seen = [0; 4];
    stream.read_exact(&mut seen).await.expect("the first bytes");
    assert_eq!(&seen, b"GET ");
    (client, stream)
}

/// A head that never ends is given up after its time or its bytes, however it drips, and the client is
/// told.
#[tokio::test(start_paused = true)]
async fn a_head_has_an_end() {
    for (piece, answer, kind) in [
        (1, TOO_LATE, io::ErrorKind::TimedOut),
        (1 << 10, TOO_LARGE, io::ErrorKind::QuotaExceeded),
    ] {
        let activity = Activity::new();
        let (mut client, mut stream) = opened(1 << 20, &activity).await;
        let begun = Instant::now();
        let drip = async {
            loop {
                if client.write_all(&vec![b'a'; piece]).await.is_err() {
                    return;
                }
                sleep(LIMIT / 50).await;
            }
        };
        let read = async {
            let mut bytes = vec![0; 8192];
            loop {
                if let Err(error) = stream.read(&mut bytes).await {
                    return error.kind();
                }
            }
        };
        let ended = tokio::select! {
            ended = read => ended,
            () = drip => panic!("not ended"),
        };
        assert_eq!(ended, kind);
        assert!(begun.elapsed() <= LIMIT * 2, "{:?}", begun.elapsed());
        drop(stream);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("closed");
        assert_eq!(told, answer);
    }
}

/// The bytes of a body have no limit here, and neither has the time between two requests.
#[tokio::test(start_paused = true)]
async fn a_body_is_no_head() {
    let activity = Activity::new();
    let (mut client, mut stream) = opened(1 << 20, &activity).await;
    let request = activity.begin(Purpose::Export);
    let body = vec![0; HEAD_BYTES * 4];
    client.write_all(&body).await.expect("room");
    let mut seen = vec![0; body.len()];
    stream.read_exact(&mut seen).await.expect("a body");
    drop(request);
    let mut byte = [0];
    let waited = tokio::time::timeout(LIMIT * 100, stream.read(&mut byte)).await;
    assert!(waited.is_err(), "{waited:?}");
}

/// The gate is shut while the client does not take what it was sent, and open again when it does. A
/// client that takes nothing is given up.
#[tokio::test(start_paused = true)]
async fn the_gate_follows_the_client() {
    let activity = Activity::new();
    let (mut client, mut stream) = opened(64, &activity).await;
    let gate = stream.gate();
    let mut taken = [0; 100];
    let (sent, read) = tokio::join!(stream.write_all(&[0; 100]), async {
        sleep(LIMIT / 2).await;
        let was_shut = gate.is_shut();
        client.read_exact(&mut taken).await.map(|_| was_shut)
    });
    sent.expect("taken");
    assert!(read.expect("whole"), "shut while it waited");
    assert!(!gate.is_shut());
    let begun = Instant::now();
    let error = stream.write_all(&[0; 100]).await.expect_err("full");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed(), LIMIT);
}

/// A client that still sends is read for a while after the answer, so that it gets that; others are not
/// waited for.
#[tokio::test(start_paused = true)]
async fn an_abandoned_client_is_read_for_a_while() {
    for is_abandoned in [false, true] {
        let activity = Activity::new();
        let (mut client, mut stream) = opened(64, &activity).await;
        if is_abandoned {
            activity.abandon();
        }
        let begun = Instant::now();
        let (ended, ()) = tokio::join!(stream.shutdown(), async {
            drop(client.write_all(&[0; 64]).await);
        });
        ended.expect("ended");
        let expected = if is_abandoned {
            LINGER_LIMIT
        } else {
            Duration::ZERO
        };
        assert_eq!(begun.elapsed(), expected);
    }
}
