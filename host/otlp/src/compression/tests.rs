use super::inflate::KEPT;
use super::*;

/// Inflates with the room given in pieces of `room`, and the input in pieces of `piece`.
fn inflate(
    compression: Compression,
    wire: &[u8],
    piece: usize,
    room: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut inflater = Inflater::new(compression)
        .expect("memory")
        .expect("compressed");
    let mut out = Vec::new();
    for piece in wire.chunks(piece) {
        let mut input = piece;
        loop {
            out.reserve_exact(room);
            inflater.step(&mut input, &mut out)?;
            if input.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
    }
    inflater.finish().map(|()| out)
}

fn sample(len: usize) -> Bytes {
    (0..len)
        .map(|at| u8::try_from((at / 7 * at) % 251).expect("below 251"))
        .collect()
}

/// A compressed message inflates to the same bytes, whatever pieces it arrives in.
#[tokio::test]
async fn a_message_survives_the_round_trip() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Deflate] {
        for len in [0, 1, 1000, STEP - 1, 3 * STEP + 17] {
            let message = sample(len);
            let wire = compression.compress(message.clone()).await.expect("memory");
            for (piece, room) in [(1 << 20, 1 << 20), (1000, 64 * 1024), (70_001, 1000)] {
                let out = inflate(compression, &wire, piece, room).expect("sound");
                assert_eq!(out, message, "{compression:?} {len} {piece} {room}");
            }
        }
    }
}

/// A message of several members or frames is their concatenation, as other servers read it.
#[tokio::test]
async fn members_add_up() {
    for compression in [Compression::Gzip, Compression::Zstd] {
        let half = compression.compress(sample(5000)).await.expect("memory");
        let out = inflate(compression, &[half.clone(), half].concat(), 900, 4096);
        assert_eq!(out, Ok([sample(5000), sample(5000)].concat()));
    }
}

/// Nothing may follow a zlib stream, not even another one.
#[tokio::test]
async fn zlib_has_no_members() {
    let wire = Compression::Deflate.compress(sample(5000)).await;
    let wire = wire.expect("memory");
    let out = inflate(
        Compression::Deflate,
        &[wire.clone(), wire].concat(),
        900,
        4096,
    );
    assert_eq!(out, Err(InflateError::Corrupt));
}

/// HTTP names encodings in any case, and by their old names.
#[test]
fn content_encodings_have_names() {
    for (name, compression) in [
        ("GZip", Some(Compression::Gzip)),
        (" x-gzip ", Some(Compression::Gzip)),
        ("zstd", Some(Compression::Zstd)),
        ("deflate", Some(Compression::Deflate)),
        ("zlib", Some(Compression::Deflate)),
        ("identity", Some(Compression::None)),
        ("", Some(Compression::None)),
        ("br", None),
        ("gzip, gzip", None),
    ] {
        assert_eq!(
            Compression::of_content(name.as_bytes()),
            compression,
            "{name}"
        );
    }
}

/// No prefix of a compressed message is taken for the whole message, and no garbage for a message.
#[tokio::test]
async fn broken_messages_are_told() {
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Deflate] {
        let wire = compression.compress(sample(5000)).await.expect("memory");
        for len in 1..wire.len() {
            let out = inflate(compression, &wire[..len], 4096, 4096);
            assert_eq!(out, Err(InflateError::Truncated), "{compression:?} {len}");
        }
        let garbage = inflate(compression, b"this is neither of them", 4096, 4096);
        assert_eq!(garbage, Err(InflateError::Corrupt));
        let trailed = [&wire[..], b"and garbage after it"].concat();
        assert_eq!(
            inflate(compression, &trailed, 4096, 4096),
            Err(InflateError::Corrupt)
        );
    }
}

/// A zstd frame may not ask for more window than every decoder must have.
#[test]
fn a_huge_zstd_window_is_refused() {
    // Magic number, a descriptor without single segment, and a window of 2^27 bytes.
    let frame = [
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0x00,
        (27 - 10) << 3,
        0x01,
        0x00,
        0x00,
    ];
    assert_eq!(
        inflate(Compression::Zstd, &frame, 64, 4096),
        Err(InflateError::Corrupt)
    );
}

/// The memory leased for a zstd decoder covers all that it takes, except its window.
#[tokio::test]
async fn the_state_of_zstd_is_covered() {
    // Several blocks of the largest size, so that every buffer reaches its full size.
    let message = sample(3 * STEP);
    let wire = Compression::Zstd.compress(message.clone()).await;
    let wire = wire.expect("memory");
    let mut context = zstd::zstd_safe::DCtx::create();
    let mut out = Vec::with_capacity(STEP);
    let mut input = InBuffer::around(&wire);
    let mut output = OutBuffer::around(&mut out);
    context
        .decompress_stream(&mut output, &mut input)
        .expect("sound");
    let window = message.len();
    let taken = context.sizeof();
    assert!(taken > window, "{taken}: the window is in it");
    assert!(
        taken - window <= state_bytes(Compression::Zstd, 0),
        "{taken}"
    );
}

/// A reused decoder has forgotten what came before, even if that was cut off or garbage.
#[tokio::test]
async fn a_decoder_is_used_again() {
    let message = sample(3 << 20);
    let wire = Compression::Zstd.compress(message.clone()).await;
    let wire = wire.expect("memory");
    let (whole, half) = (&wire[..], &wire[..wire.len() / 2]);
    for other in [half, b"no zstd at all", &[], whole] {
        drop(inflate(Compression::Zstd, other, 1000, 64 * 1024));
        for _ in 0..2 * KEPT {
            let out = inflate(Compression::Zstd, whole, 4096, 64 * 1024);
            assert_eq!(out.as_deref(), Ok(&message[..]));
        }
    }
}
