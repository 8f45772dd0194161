//! Reads one request: exactly one gRPC message, inflated, within the limits.
//!
//! What it costs is leased before it is allocated, and only for bytes that arrived: a sender that
//! announces 64 MiB and sends nothing holds nothing. A compressed message is inflated once all of it
//! is there, a few at a time, so that slow senders keep no decoder.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::budget::{Lease, SWOLLEN_LIMIT, unswollen};
use super::stats::ReceiverStats;
use crate::compression::{Compression, Inflater, NotInflated, state_bytes};
use crate::prefix::PrefixReader;
use crate::status::Unread;

/// A message of one frame is taken as it lies when it is at least this long. It keeps the buffer
/// alive that the connection read it into, so a short one is copied out instead.
const WORTH_KEEPING: usize = 64 * 1024;

/// The least that a buffer is made for.
const LEAST_BUFFER: usize = 4 * 1024;

/// A bomb of this size is given all the room there is for one at once: its buffer then grows as its
/// pages are touched, and is not copied into a larger one, for which both would have to be there.
const BOMB: usize = 8 << 20;

/// How fast a sender must be, after a start, to keep memory that others lack: a modem's worth. Those
/// who send nothing would otherwise have all of it, for as long as a request may take.
const LEAST_PER_SECOND: u128 = 16 * 1024;
const SLOW_START: Duration = Duration::from_secs(2);

/// How often it is looked at who is too slow.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Output inflated between two points where other tasks may run: about a millisecond.
const STEP: usize = 512 * 1024;

/// Reads the only message of a request body, of at most `limit` bytes.
pub(crate) async fn read<B>(
    mut body: B,
    compression: Compression,
    limit: usize,
    lease: &mut Lease,
    stats: &ReceiverStats,
) -> Result<Bytes, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut prefix = PrefixReader::default();
    let mut message = None;
    let mut pace = Pace::default();
    while let Some(frame) = pace.next(&mut body, lease).await? {
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        stats.received(data.len());
        pace.came += data.len();
        if message.is_none() {
            let Some(prefix) = prefix
                .take(&mut data)
                .map_err(|_| Unread::Malformed("gRPC message with an unknown flag"))?
            else {
                continue;
            };
            message = Some(Message::new(prefix, compression, limit)?);
        }
        if let Some(message) = &mut message {
            message.push(data, lease).await?;
        }
    }
    match message {
        Some(message) => message.finish(lease).await,
        None => Err(Unread::Malformed("request without a message")),
    }
}

/// How fast the sender is: the time that was spent in waiting for it, and what came.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    came: usize,
}

impl Pace {
    /// The next frame, unless the sender is slow and others lack what it holds.
    async fn next<B>(&mut self, body: &mut B, lease: &Lease) -> Result<Option<Frame<Bytes>>, Unread>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut frame = body.frame();
        // The clock is only looked at when there is a wait.
        let ready = (&mut frame).now_or_never();
        if let Some(frame) = ready {
            return frame.transpose().map_err(|_| Unread::Gone);
        }
        loop {
            let begun = Instant::now();
            let came = timeout(LOOK_EVERY, &mut frame).await;
            self.waited += begun.elapsed();
            if self.is_slow() && lease.is_missed() {
                return Err(Unread::Busy);
            }
            if let Ok(frame) = came {
                return frame.transpose().map_err(|_| Unread::Gone);
            }
        }
    }

    fn is_slow(&self) -> bool {
        let least = self.waited.as_millis() * LEAST_PER_SECOND / 1000;
        self.waited >= SLOW_START && u128::try_from(self.came).is_ok_and(|came| came < least)
    }
}

/// Lets a body pass by, or this much of it.
pub(crate) async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, most: usize) {
    let mut left = most;
    while let Some(Ok(frame)) = body.frame().await {
        let passed = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(passed) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// A message that is still arriving.
struct Message {
    /// Bytes of it that are still to come.
    lacking: usize,
    payload: Payload,
    /// How what arrives is compressed.
    compression: Compression,
    limit: usize,
}

enum Payload {
    /// All of it in one frame.
    Whole(Bytes),
    Parts(Vec<u8>),
}

impl Message {
    fn new(
        prefix: crate::prefix::Prefix,
        compression: Compression,
        limit: usize,
    ) -> Result<Self, Unread> {
        // What is over the limit before it is inflated is so afterwards, or should not be.
        if prefix.length > limit {
            return Err(Unread::OverLimit { limit });
        }
        let compression = match compression {
            // Nothing at all is an empty message, whatever the flag says.
            _ if !prefix.compressed || prefix.length == 0 => Compression::None,
            Compression::None => {
                return Err(Unread::Malformed(
                    "compressed message without grpc-encoding",
                ));
            }
            compression => compression,
        };
        Ok(Self {
            lacking: prefix.length,
            payload: Payload::Parts(Vec::new()),
            compression,
            limit,
        })
    }

    async fn push(&mut self, data: Bytes, lease: &mut Lease) -> Result<(), Unread> {
        if data.is_empty() {
            return Ok(());
        }
        let Some(lacking) = self.lacking.checked_sub(data.len()) else {
            return Err(Unread::Malformed("request with more than one message"));
        };
        // What is inflated at once may keep the buffer meanwhile.
        let is_worth_keeping = data.len() >= WORTH_KEEPING || self.compression != Compression::None;
        match &mut self.payload {
            Payload::Whole(_) => {}
            Payload::Parts(out) if out.is_empty() && lacking == 0 && is_worth_keeping => {
                lease.grow_to(data.len()).await?;
                self.payload = Payload::Whole(data);
            }
            Payload::Parts(out) => {
                let needed = out.len() + data.len();
                if needed > out.capacity() {
                    let most = out.len() + self.lacking;
                    let capacity = roomy(out, needed, most);
                    lease.grow_to(capacity).await?;
                    out.reserve_exact(capacity.saturating_sub(out.len()));
                }
                out.extend_from_slice(&data);
            }
        }
        self.lacking = lacking;
        Ok(())
    }

    async fn finish(self, lease: &mut Lease) -> Result<Bytes, Unread> {
        if self.lacking > 0 {
            return Err(Unread::Malformed("request that ends inside its message"));
        }
        let sent = match self.payload {
            Payload::Whole(bytes) => bytes,
            Payload::Parts(out) => kept(out),
        };
        if self.compression == Compression::None {
            return Ok(sent);
        }
        lease.decoder().await?;
        let inflating = Inflating {
            sent: sent.len(),
            compression: self.compression,
            limit: self.limit,
            lease,
        };
        let inflated = kept(inflating.run(&sent).await?);
        lease.inflated(inflated.len());
        Ok(inflated)
    }
}

/// A message that is being inflated.
struct Inflating<'a> {
    sent: usize,
    compression: Compression,
    limit: usize,
    lease: &'a mut Lease,
}

impl Inflating<'_> {
    async fn run(mut self, mut input: &[u8]) -> Result<Vec<u8>, Unread> {
        // One more than the limit, so that a message over it is seen to be.
        let most = self.limit.saturating_add(1);
        let mut out = Vec::new();
        // OTLP inflates to about ten times its size; the first room is for half of that.
        let first = self.sent.saturating_mul(5).min(most);
        self.make_room(&mut out, first, most).await?;
        let inflater = Inflater::new(self.compression).map_err(|_| Unread::Busy)?;
        let Some(mut inflater) = inflater else {
            return Err(Unread::Malformed("message of no known encoding"));
        };
        let mut next_pause = STEP;
        loop {
            if out.len() == out.capacity() {
                self.make_room(&mut out, 0, most).await?;
            }
            inflater
                .step(&mut input, &mut out)
                .map_err(|why| not_inflated(&why))?;
            if out.len() > self.limit {
                return Err(Unread::OverLimit { limit: self.limit });
            }
            if input.is_empty() && out.len() < out.capacity() {
                inflater.finish().map_err(|why| not_inflated(&why))?;
                return Ok(out);
            }
            if out.len() >= next_pause {
                next_pause = out.len() + STEP;
                tokio::task::yield_now().await;
            } else {
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Leases and makes room, beside what was sent and the decoder with its window.
    async fn make_room(
        &mut self,
        out: &mut Vec<u8>,
        needed: usize,
        most: usize,
    ) -> Result<(), Unread> {
        let mut capacity = roomy(out, needed, most);
        let usual = unswollen(self.sent);
        if out.len() < usual {
            // Room is no content: it is swollen once there is more of it than usual.
            capacity = capacity.min(usual);
        } else if capacity > BOMB {
            self.limit = self.limit.min(SWOLLEN_LIMIT);
            capacity = most.min(self.limit.saturating_add(1));
        }
        self.lease.swell_to(capacity, self.sent)?;
        let decoder = state_bytes(self.compression, capacity);
        let all = capacity.saturating_add(decoder).saturating_add(self.sent);
        self.lease.grow_to(all).await?;
        out.reserve_exact(capacity.saturating_sub(out.len()));
        Ok(())
    }
}

/// Room for `needed` bytes at least, twice the present at best, `most` at most.
fn roomy(out: &[u8], needed: usize, most: usize) -> usize {
    let twice = out.len().saturating_mul(2);
    twice.max(needed).max(LEAST_BUFFER).min(most)
}

/// The message without the room it did not need, which a pipeline could not see.
fn kept(mut out: Vec<u8>) -> Bytes {
    if out.capacity() - out.len() > out.len() / 4 {
        out.shrink_to_fit();
    }
    Bytes::from(out)
}

fn not_inflated(why: &NotInflated) -> Unread {
    Unread::Malformed(match why {
        NotInflated::Corrupt => "compressed message: not what grpc-encoding says",
        NotInflated::Truncated => "compressed message: it ends too early",
    })
}

#[cfg(test)]
mod tests;
