use super::*;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let len = u32::try_from(payload).expect("short").to_be_bytes();
    let mut frame = [&len[1..], &[kind, flags, 0, 0, 0, 1]].concat();
    frame.resize(HEADER + payload, 0);
    frame
}

/// Returns how many of these frames are let through, one by one, at most `most`.
fn let_through(frames: &mut FloodGuard, kind: u8, flags: u8, payload: usize, most: usize) -> usize {
    let one = frame(kind, flags, payload);
    (0..most).take_while(|_| frames.read(&one).is_ok()).count()
}

/// The frame that has begun is known, and frames are counted once, however the bytes are cut.
#[tokio::test(start_paused = true)]
async fn cuts_do_not_matter() {
    let headers = frame(1, 0, 100);
    let wire = [headers, frame(9, 4, 3), frame(0, 1, 20_000)].concat();
    for piece in [1, 7, 9, 10, 5000, wire.len()] {
        let mut frames = FloodGuard::new();
        for (at, piece) in wire.chunks(piece).enumerate() {
            frames.read(piece).expect("few");
            if at == 0 && piece.len() < 100 {
                let begun = if piece.len() < HEADER {
                    UnfinishedFrame::Other
                } else {
                    UnfinishedFrame::Headers
                };
                assert_eq!(frames.unfinished(), begun, "{}", piece.len());
            }
        }
        assert_eq!(frames.unfinished(), UnfinishedFrame::None);
        assert_eq!(frames.allowance, ALLOWANCE - 4, "{piece}");
    }
}

/// Headers that go on in another frame are still headers in between.
#[tokio::test(start_paused = true)]
async fn an_open_block_is_seen() {
    let mut frames = FloodGuard::new();
    frames.read(&frame(1, 0, 10)).expect("one");
    assert_eq!(frames.unfinished(), UnfinishedFrame::Headers);
    frames.read(&frame(9, 4, 10)).expect("one");
    assert_eq!(frames.unfinished(), UnfinishedFrame::None);
}

/// A flood is ended soon. Requests, with the frames that belong to them, never are.
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
        let through = let_through(&mut FloodGuard::new(), kind, flags, 0, 10_000);
        assert!((100..=2000).contains(&through), "{name}: {through}");
    }
    let mut resets = FloodGuard::new();
    let round = [frame(1, 5, 20), frame(3, 0, 4)].concat();
    let through = (0..10_000).take_while(|_| resets.read(&round).is_ok());
    assert!((100..=500).contains(&through.count()));

    let mut good = FloodGuard::new();
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

/// A hundred requests each second that are given up at their deadline, as under overload, are no
/// flood, however long it lasts. Requests that are given up at once are a flood, and so is giving
/// up the same request again and again.
#[tokio::test(start_paused = true)]
async fn deadlines_are_no_flood() {
    let of = |kind, flags, payload, stream: u32| {
        let mut frame = frame(kind, flags, payload);
        frame[5..HEADER].copy_from_slice(&stream.to_be_bytes());
        frame
    };
    for wait in [YOUNG, Duration::from_secs(1)] {
        let mut frames = FloodGuard::new();
        for round in 0..600 {
            let streams = || (0..100).map(move |one| (round * 100 + one) * 2 + 1);
            for stream in streams() {
                frames.read(&of(1, 5, 60, stream)).expect("a request");
            }
            tokio::time::advance(wait).await;
            for stream in streams() {
                frames.read(&of(3, 0, 4, stream)).expect("given up");
            }
        }
        let last = of(3, 0, 4, 1);
        let again = (0..10_000).take_while(|_| frames.read(&last).is_ok());
        assert!((100..=500).contains(&again.count()));
    }
    let mut frames = FloodGuard::new();
    let at_once = (0..10_000).take_while(|stream| {
        let stream = stream * 2 + 1;
        let round = [of(1, 5, 60, stream), of(3, 0, 4, stream)].concat();
        frames.read(&round).is_ok()
    });
    assert!((100..=500).contains(&at_once.count()));
}

/// A little of everything is always allowed: the allowance comes back with time.
#[tokio::test(start_paused = true)]
async fn the_allowance_comes_back() {
    let mut frames = FloodGuard::new();
    assert!(let_through(&mut frames, 6, 0, 0, 10_000) < 1000);
    tokio::time::advance(Duration::from_secs(1)).await;
    let pings = let_through(&mut frames, 6, 0, 0, 10_000);
    assert_eq!(pings, 50);
}
