use std::convert::Infallible;

use http_body::Frame;
use http_body_util::{Full, StreamBody};

use super::*;

use crate::compression::state_bytes;
use crate::receiver::front::{Budget, SWOLLEN_LIMIT, unswollen};

const LIMIT: usize = 256 * 1024;

/// Reads a message whose frames are these pieces, with memory for `budget` bytes.
async fn read_frames(
    wire: &[u8],
    piece: usize,
    compression: Compression,
    budget: usize,
) -> Result<Bytes, RequestError> {
    read_framed(Framing::Message, wire, piece, compression, budget).await
}

async fn read_framed(
    framing: Framing,
    wire: &[u8],
    piece: usize,
    compression: Compression,
    budget: usize,
) -> Result<Bytes, RequestError> {
    let frames = wire
        .chunks(piece)
        .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(piece))));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let budget = Budget::exactly(budget);
    let mut lease = budget.lease(1);
    read(
        body,
        framing,
        compression,
        LIMIT,
        &mut lease,
        &ReceiverStats::default(),
    )
    .await
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short");
    [&[flag][..], &length.to_be_bytes(), message].concat()
}

fn sample(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from(at * at % 253).expect("below 253"))
        .collect()
}

/// A message is read the same however frames cut it, compressed or not.
#[tokio::test]
async fn frames_do_not_matter() {
    for len in [0, 1, 5000, WORTH_KEEPING, LIMIT] {
        let message = sample(len);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bytes = Bytes::from(message.clone());
            let packed = compression.compress(bytes).await.expect("memory");
            let flag = u8::from(compression != Compression::None);
            let wire = framed(flag, &packed);
            for piece in [1 << 20, 16 * 1024, 7] {
                let read = read_frames(&wire, piece, compression, 1 << 30).await;
                let read = read.expect("sound");
                assert_eq!(read, message, "{compression:?} {len} {piece}");
                for length in [Some(packed.len()), None] {
                    let framing = Framing::Body { length };
                    let read = read_framed(framing, &packed, piece, compression, 1 << 30).await;
                    let read = read.expect("sound");
                    assert_eq!(read, message, "{compression:?} {len} {piece} {length:?}");
                }
            }
        }
    }
}

/// A message costs its own size, and the buffer that it is read into is never more than twice that.
#[tokio::test(start_paused = true)]
async fn a_message_is_read_within_its_budget() {
    let message = sample(LIMIT);
    let wire = framed(0, &message);
    let whole = read_frames(&wire, 1 << 20, Compression::None, LIMIT).await;
    assert_eq!(whole.expect("fits"), message);
    let pieces = read_frames(&wire, 1000, Compression::None, LIMIT).await;
    assert_eq!(pieces.expect("fits"), message);
    let small = read_frames(&wire, 1000, Compression::None, LIMIT - 1024).await;
    assert!(matches!(small, Err(RequestError::Busy)), "{small:?}");
}

/// A message that inflates beyond the limit is given up at the limit, not afterwards.
#[tokio::test(start_paused = true)]
async fn a_bomb_is_given_up_at_the_limit() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        for (len, fits) in [(LIMIT, true), (LIMIT + 1, false), (64 << 20, false)] {
            let zeros = Bytes::from(vec![0; len]);
            let packed = compression.compress(zeros).await.expect("memory");
            let wire = framed(1, &packed);
            // Room for the compressed bytes, the limit and the decoder, not for what the bomb would
            // take.
            let budget = packed.len() + LIMIT + 2048 + state_bytes(compression, LIMIT + 1);
            let read = read_frames(&wire, 1000, compression, budget).await;
            match read {
                Ok(bytes) => assert!(fits && bytes.len() == len, "{compression:?} {len}"),
                Err(RequestError::OverLimit { limit: LIMIT }) => {
                    assert!(!fits, "{compression:?} {len}")
                }
                Err(other) => panic!("{compression:?} {len}: {other:?}"),
            }
        }
    }
}

/// Everything that is not exactly one message is malformed, and is never an empty request.
#[tokio::test]
async fn what_is_not_one_message_is_malformed() {
    let gzip = Compression::Gzip
        .compress(Bytes::from_static(b"hello"))
        .await
        .expect("memory");
    let truncated = &gzip[..gzip.len() - 3];
    for (name, wire, compression) in [
        ("nothing", vec![], Compression::None),
        ("half a prefix", vec![0, 0], Compression::None),
        (
            "half a message",
            framed(0, b"hello")[..7].to_vec(),
            Compression::None,
        ),
        (
            "two messages",
            [framed(0, b"a"), framed(0, b"b")].concat(),
            Compression::None,
        ),
        ("flag", vec![7, 0, 0, 0, 0], Compression::None),
        (
            "compressed by nothing",
            framed(1, b"hello"),
            Compression::None,
        ),
        ("truncated", framed(1, truncated), Compression::Gzip),
        ("not gzip", framed(1, b"hello"), Compression::Gzip),
        ("not zstd", framed(1, b"hello"), Compression::Zstd),
    ] {
        let read = read_frames(&wire, 3, compression, 1 << 20).await;
        assert!(
            matches!(read, Err(RequestError::Malformed(_))),
            "{name}: {read:?}"
        );
    }
}

/// A length over the limit is refused by the prefix alone.
#[tokio::test]
async fn a_length_over_the_limit_is_not_waited_for() {
    let length = u32::try_from(LIMIT + 1).expect("short").to_be_bytes();
    let prefix = [&[0][..], &length].concat();
    let read = read_frames(&prefix, 5, Compression::None, 0).await;
    assert!(matches!(
        read,
        Err(RequestError::OverLimit { limit: LIMIT })
    ));
}

/// No decoder is made before its memory is leased, its window included.
#[tokio::test(start_paused = true)]
async fn a_decoder_is_leased_before_it_is_made() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = compression.compress(Bytes::from(sample(LIMIT))).await;
        let packed = packed.expect("memory");
        let wire = framed(1, &packed);
        let beside = state_bytes(compression, LIMIT);
        let all = LIMIT + beside + packed.len() + 8 * 1024;
        let read = read_frames(&wire, 1 << 20, compression, all).await;
        assert_eq!(read.expect("fits").len(), LIMIT);
        let lacks = all - beside / 2;
        let read = read_frames(&wire, 1 << 20, compression, lacks).await;
        assert!(matches!(read, Err(RequestError::Busy)), "{read:?}");
    }
}

/// An inflated message costs its own size: the compressed bytes and the decoder are given back.
#[tokio::test(start_paused = true)]
async fn an_inflated_message_costs_its_size() {
    let message = vec![7; 100 * 1024];
    let packed = Compression::Zstd.compress(Bytes::from(message)).await;
    let wire = framed(1, &packed.expect("memory"));
    let budget = Budget::exactly(1 << 20);
    let mut leases = Vec::new();
    for connection in 0..4 {
        let body = Full::new(Bytes::from(wire.clone()));
        let mut lease = budget.lease(connection);
        let stats = ReceiverStats::default();
        let read = read(
            body,
            Framing::Message,
            Compression::Zstd,
            LIMIT,
            &mut lease,
            &stats,
        )
        .await;
        assert_eq!(read.expect("fits").len(), 100 * 1024);
        leases.push(lease);
    }
}

/// Reads a body of this many bytes each 400 ms, after a start of 100 KiB. If `beside`, another
/// request wants all of the memory. Returns the result and the time it took, if there is one in
/// half a minute.
async fn read_slowly(drip: usize, beside: bool) -> Option<(Result<Bytes, RequestError>, Duration)> {
    let start = framed(0, &sample(LIMIT))[..100 << 10].to_vec();
    let frames = futures_util::stream::unfold(start, |next| async {
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(next))), vec![]))
    });
    let drips = futures_util::stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let drip = Bytes::from(vec![1; drip]);
        Some((Ok::<_, Infallible>(Frame::data(drip)), ()))
    });
    let body = futures_util::StreamExt::chain(futures_util::StreamExt::take(frames, 1), drips);
    let budget = Budget::exactly(1 << 20);
    let mut lease = budget.lease(1);
    let stats = ReceiverStats::default();
    let body = StreamBody::new(Box::pin(body));
    let reading = read(
        body,
        Framing::Message,
        Compression::None,
        LIMIT,
        &mut lease,
        &stats,
    );
    let begun = Instant::now();
    let wants = async {
        if !beside {
            return std::future::pending().await;
        }
        // This asks at moments when the other request does not ask for more.
        tokio::time::sleep(Duration::from_millis(45)).await;
        loop {
            let mut other = budget.lease(2);
            let granted = timeout(Duration::from_millis(10), other.grow_to(1 << 20)).await;
            assert!(granted.is_err(), "there is not so much");
            tokio::time::sleep(Duration::from_millis(490)).await;
        }
    };
    tokio::select! {
        read = reading => Some((read, begun.elapsed())),
        never = wants => never,
        () = tokio::time::sleep(Duration::from_secs(29)) => None,
    }
}

/// A sender that stalls, or drips, gives up its memory when others lack it, and only then; one that
/// is slow but gets on keeps it.
#[tokio::test(start_paused = true)]
async fn who_stalls_makes_room() {
    for drip in [0, 1] {
        assert!(read_slowly(drip, false).await.is_none(), "nobody lacks it");
        let (read, took) = read_slowly(drip, true).await.expect("given up");
        assert!(matches!(read, Err(RequestError::Busy)), "{read:?}");
        // 100 KiB are a little more than six seconds' worth.
        assert!((6..8).contains(&took.as_secs()), "{took:?}");
    }
    let (read, _) = read_slowly(7 << 10, true).await.expect("all of it came");
    assert!(
        matches!(read, Err(RequestError::Malformed(_))),
        "more than one"
    );
}

/// A message that inflates to less than a bomb does is read up to the limit, even if a buffer twice
/// as large would be a bomb's.
#[tokio::test]
async fn much_that_is_alike_is_no_bomb() {
    let mut random = 1_u32;
    let mut message = vec![0; 40 << 20];
    for chunk in message.chunks_mut(4096) {
        for byte in chunk.iter_mut().take(56) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = random.to_be_bytes()[0];
        }
    }
    let packed = Compression::Gzip
        .compress(Bytes::from(message.clone()))
        .await;
    let packed = packed.expect("memory");
    let ratio = message.len() / packed.len();
    assert!((41..64).contains(&ratio), "{ratio}");
    let wire = Bytes::from(framed(1, &packed));
    let body = StreamBody::new(futures_util::stream::iter([Ok::<_, Infallible>(
        Frame::data(wire),
    )]));
    let limit = 64 << 20;
    let budget = Budget::new(256 << 20, limit);
    let mut lease = budget.lease(1);
    let stats = ReceiverStats::default();
    let read = read(
        body,
        Framing::Message,
        Compression::Gzip,
        limit,
        &mut lease,
        &stats,
    )
    .await;
    assert!(read.expect("no bomb") == message);
}

/// A bomb is measured before room is made for it. One that is too long costs its decoder with the
/// window; one that fits costs its length besides. Neither is ever in memory in part.
#[tokio::test(start_paused = true)]
async fn a_bomb_is_measured_first() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let decoder = state_bytes(compression, SWOLLEN_LIMIT);
        let bomb = async |length: usize, budget: usize| {
            let packed = compression.compress(Bytes::from(vec![0; length]));
            let packed = packed.await.expect("memory");
            let budget = Budget::exactly(budget.max(unswollen(packed.len())) + packed.len());
            let mut lease = budget.lease(1);
            let body = Full::new(Bytes::from(framed(1, &packed)));
            let stats = ReceiverStats::default();
            read(
                body,
                Framing::Message,
                compression,
                64 << 20,
                &mut lease,
                &stats,
            )
            .await
        };
        let beside = decoder + (72 << 10);
        let long = bomb(SWOLLEN_LIMIT + 1, (4 << 20) + beside).await;
        let limit = SWOLLEN_LIMIT;
        assert!(matches!(long, Err(RequestError::OverLimit { limit: told }) if told == limit));
        let fits = bomb(SWOLLEN_LIMIT, SWOLLEN_LIMIT + beside).await;
        assert_eq!(fits.expect("room for it").len(), SWOLLEN_LIMIT);
        let lacks = bomb(SWOLLEN_LIMIT, SWOLLEN_LIMIT + decoder - (8 << 10)).await;
        assert!(matches!(lacks, Err(RequestError::Busy)), "{lacks:?}");
    }
    // A window of 8 MiB that there is no room for is not begun.
    let packed = Compression::Zstd.compress(Bytes::from(vec![0; 32 << 20]));
    let packed = packed.await.expect("memory");
    let budget = Budget::exactly(6 << 20);
    let mut lease = budget.lease(1);
    let body = Full::new(Bytes::from(framed(1, &packed)));
    let stats = ReceiverStats::default();
    let read = read(
        body,
        Framing::Message,
        Compression::Zstd,
        64 << 20,
        &mut lease,
        &stats,
    )
    .await;
    assert!(matches!(read, Err(RequestError::Busy)), "{read:?}");
}

/// A body of more bytes than the limit is refused as such: before anything of it is read if its
/// length was announced, and otherwise at the byte that is one too many.
#[tokio::test]
async fn a_body_has_a_limit() {
    for length in [Some(LIMIT + 1), None] {
        let framing = Framing::Body { length };
        let long = vec![0; LIMIT + 1];
        let read = read_framed(framing, &long, 1000, Compression::None, 1 << 30).await;
        let Err(RequestError::OverLimit { limit: LIMIT }) = read else {
            panic!("{length:?}: {read:?}");
        };
    }
}

/// A body without a byte is an empty request, whatever its headers say of an encoding.
#[tokio::test]
async fn an_empty_body_is_an_empty_request() {
    for length in [Some(0), None] {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let framing = Framing::Body { length };
            let read = read_framed(framing, b"", 1, compression, 1 << 20).await;
            assert_eq!(read.expect("empty"), Bytes::new());
        }
    }
}
