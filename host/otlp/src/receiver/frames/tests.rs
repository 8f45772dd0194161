use super::*;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let len = u32::try_from(payload).expect("short").to_be_bytes();
    let mut frame = [&len[1..], &[kind, flags, 0, 0, 0, 1]].concat();
    frame.resize(HEADER + payload, 0);
    frame
}

/// How many of these frames are let through, one by one, at most this many.
fn let_through(frames: &mut Frames, kind: u8, flags: u8, payload: usize, most: usize) -> usize {
    let one = frame(kind, flags, payload);
    (0..most).take_while(|_| frames.read(&one).is_ok()).count()
}

/// However it is cut, what was begun is known, and frames are counted once.
#[tokio::test(start_paused = true)]
async fn cuts_do_not_matter() {
    let headers = frame(1, 0, 100);
    let wire = [headers, frame(9, 4, 3), frame(0, 1, 20_000)].concat();
    for piece in [1, 7, 9, 10, 5000, wire.len()] {
        let mut frames = Frames::new();
        for (at, piece) in wire.chunks(piece).enumerate() {
            frames.read(piece).expect("few");
            if at == 0 && piece.len() < 100 {
                let begun = if piece.len() < HEADER {
                    Begun::Frame
                } else {
                    Begun::Headers
                };
                assert_eq!(frames.begun(), begun, "{}", piece.len());
            }
        }
        assert_eq!(frames.begun(), Begun::Nothing);
        assert_eq!(frames.allowance, ALLOWANCE - 4, "{piece}");
    }
}

/// Headers that go on in another frame are still headers in between.
#[tokio::test(start_paused = true)]
async fn an_open_block_is_seen() {
    let mut frames = Frames::new();
    frames.read(&frame(1, 0, 10)).expect("one");
    assert_eq!(frames.begun(), Begun::Headers);
    frames.read(&frame(9, 4, 10)).expect("one");
    assert_eq!(frames.begun(), Begun::Nothing);
}

/// Floods end, and soon; requests never do, with what belongs to them.
#[tokio::test(start_paused = true)]
async fn floods_end() {
    for (kind, flags, name) in [
        (6, 0, "PING"),
        (4, 0, "SETTINGS"),
        (0, 0, "empty DATA"),
        (2, 0, "PRIORITY"),
        (8, 0, "WINDOW_UPDATE"),
        (99, 0, "unknown"),
    ] {
        let through = let_through(&mut Frames::new(), kind, flags, 0, 10_000);
        assert!((100..=2000).contains(&through), "{name}: {through}");
    }
    let mut resets = Frames::new();
    let round = [frame(1, 5, 20), frame(3, 0, 4)].concat();
    let through = (0..10_000).take_while(|_| resets.read(&round).is_ok());
    assert!((100..=500).contains(&through.count()));

    let mut good = Frames::new();
    let request = [
        frame(1, 4, 60),
        frame(0, 1, 9000),
        frame(8, 0, 4),
        frame(8, 0, 4),
    ]
    .concat();
    for _ in 0..100_000 {
        good.read(&request).expect("requests");
    }
}

/// A little of everything is always allowed: the allowance comes back with time.
#[tokio::test(start_paused = true)]
async fn the_allowance_comes_back() {
    let mut frames = Frames::new();
    assert!(let_through(&mut frames, 6, 0, 0, 10_000) < 1000);
    tokio::time::advance(Duration::from_secs(1)).await;
    let pings = let_through(&mut frames, 6, 0, 0, 10_000);
    assert_eq!(pings, 50);
}
