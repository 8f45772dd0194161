//! Counts the frames that a client sends beside its requests.
//!
//! hyper and h2 bound what a frame can make them keep. They do not bound how often a client may
//! make them answer a PING, apply SETTINGS or throw away a request. This costs the client nothing,
//! and us the time of a core.

use std::time::Duration;

use tokio::time::Instant;

/// The length of a frame's header.
const HEADER: usize = 9;

/// The allowance that a client may spend at once. The most expensive honest moment is a deadline
/// that passes for all requests of a connection: 100 resets.
const ALLOWANCE: u32 = 2000;

/// The allowance that comes back each second: enough for 50 pings, more than any client sends to
/// estimate the bandwidth, or for 25 requests that are given up.
const PER_SECOND: u32 = 200;

/// The allowance that each request brings, for its window updates and a few empty frames.
const PER_REQUEST: u32 = 8;

/// The age from which a request that is given up is no flood, because it has cost its client
/// something: under overload, all requests of a connection may be given up each second, when their
/// deadline passes.
const YOUNG: Duration = Duration::from_millis(100);

/// The frame that a client has begun to send and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnfinishedFrame {
    /// None: the stream is between two frames.
    None,
    /// Headers, in one frame or several.
    Headers,
    /// Any other frame.
    Other,
}

/// The error that the client sends too many frames that are of no use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flood;

/// Follows the frames of one direction.
#[derive(Debug, Default)]
pub(crate) struct FrameTracker {
    header: [u8; HEADER],
    seen: usize,
    payload: usize,
}

#[derive(Clone, Copy, Debug)]
struct FrameHeader {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl FrameTracker {
    /// Skips `bytes` up to the end of the next frame's header, and returns that header.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHeader> {
        let (_, rest) = bytes.split_at_checked(self.payload).unwrap_or((bytes, &[]));
        self.payload -= bytes.len() - rest.len();
        *bytes = rest;
        while let [byte, rest @ ..] = *bytes {
            *bytes = rest;
            if let Some(slot) = self.header.get_mut(self.seen) {
                *slot = *byte;
            }
            self.seen += 1;
            if self.seen == HEADER {
                self.seen = 0;
                let [a, b, c, kind, flags, stream @ ..] = self.header;
                let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
                self.payload = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
                let len = self.payload;
                return Some(FrameHeader {
                    len,
                    kind,
                    flags,
                    stream,
                });
            }
        }
        None
    }

    /// Skips `bytes`.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while self.next(&mut bytes).is_some() {}
    }

    /// Returns true if a frame may begin here.
    pub(crate) fn is_between(&self) -> bool {
        self.seen == 0 && self.payload == 0
    }

    fn is_in_payload(&self) -> bool {
        self.payload > 0
    }
}

/// Counts the frames that one client sends.
#[derive(Debug)]
pub(crate) struct FloodGuard {
    boundary: FrameTracker,
    is_headers: bool,
    /// True if headers have begun and go on in further frames.
    is_block_open: bool,
    /// The number of frames that have begun; those of one block of headers count as one.
    number: u64,
    ages: RequestAges,
    allowance: u32,
    since: Instant,
}

impl FloodGuard {
    pub(crate) fn new() -> Self {
        Self {
            boundary: FrameTracker::default(),
            is_headers: false,
            is_block_open: false,
            number: 0,
            ages: RequestAges::new(),
            allowance: ALLOWANCE,
            since: Instant::now(),
        }
    }

    /// Counts the frames in these bytes.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        while let Some(head) = self.boundary.next(&mut bytes) {
            self.count(head)?;
        }
        Ok(())
    }

    /// Returns the kind of frame that has begun and has not ended.
    pub(crate) fn unfinished(&self) -> UnfinishedFrame {
        if self.is_block_open || (self.is_headers && self.boundary.is_in_payload()) {
            UnfinishedFrame::Headers
        } else if self.boundary.is_between() {
            UnfinishedFrame::None
        } else {
            UnfinishedFrame::Other
        }
    }

    /// Returns the number of that frame. It changes when a frame ends, or its kind becomes known.
    pub(crate) fn number(&self) -> u64 {
        // A frame's header that is still incomplete comes after the frame that was counted last.
        2 * self.number + u64::from(!self.is_block_open && !self.boundary.is_in_payload())
    }

    fn count(&mut self, head: FrameHeader) -> Result<(), Flood> {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const CONTINUATION: u8 = 9;
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        if !self.is_block_open {
            self.number += 1;
        }
        self.is_headers = matches!(head.kind, HEADERS | CONTINUATION);
        if self.is_headers {
            self.is_block_open = head.flags & END_HEADERS == 0;
        }
        let price = match head.kind {
            HEADERS => {
                self.ages.begun(head.stream);
                self.allowance = self.allowance.saturating_add(PER_REQUEST).min(ALLOWANCE);
                0
            }
            DATA if head.len > 0 || head.flags & END_STREAM != 0 => 0,
            // A request was thrown away. That costs the allowance that it brought, and as much
            // again if it is young.
            RST_STREAM if self.ages.is_young(head.stream) => 2 * PER_REQUEST,
            RST_STREAM => PER_REQUEST,
            // SETTINGS make h2 visit every stream.
            SETTINGS => 2 * PER_REQUEST,
            PING | DATA | CONTINUATION => 4,
            // WINDOW_UPDATE, PRIORITY, and unknown frames.
            _ => 1,
        };
        if price > self.allowance {
            self.refill();
        }
        self.allowance = self.allowance.checked_sub(price).ok_or(Flood)?;
        Ok(())
    }

    /// Gives back allowance for the time since the last call. It is only called when too little is
    /// left, so that the clock is not read for every frame.
    fn refill(&mut self) {
        let elapsed = self.since.elapsed().min(Duration::from_secs(60));
        self.since = Instant::now();
        let back = elapsed.as_millis() * u128::from(PER_SECOND) / 1000;
        let back = u32::try_from(back).unwrap_or(ALLOWANCE);
        self.allowance = self.allowance.saturating_add(back).min(ALLOWANCE);
    }
}

/// Knows which requests are young. Their numbers grow, so three of them are enough.
#[derive(Debug)]
struct RequestAges {
    /// The highest number so far; `came` is when it came.
    highest: u32,
    came: Instant,
    /// The highest number before `since`.
    before: u32,
    since: Instant,
    /// The number up to which no request is young.
    old: u32,
}

impl RequestAges {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            highest: 0,
            came: now,
            before: 0,
            since: now,
            old: 0,
        }
    }

    fn begun(&mut self, stream: u32) {
        let now = Instant::now();
        self.look(now);
        self.highest = self.highest.max(stream);
        self.came = now;
    }

    fn is_young(&mut self, stream: u32) -> bool {
        self.look(Instant::now());
        stream > self.old
    }

    fn look(&mut self, now: Instant) {
        if now.duration_since(self.came) >= YOUNG {
            self.old = self.highest;
        } else if now.duration_since(self.since) >= YOUNG {
            self.old = self.before;
        } else {
            return;
        }
        self.before = self.highest;
        self.since = now;
    }
}

#[cfg(test)]
mod tests;
