//! Reads one request: exactly one gRPC message, or a whole body, inflated, within the limits.
//!
//! The cost of a request is leased before it is allocated, and only for bytes that arrived: a
//! sender that announces 64 MiB and sends nothing holds nothing. A compressed message is inflated
//! once all of it is there, a few at a time, so that slow senders keep no decoder.

mod inflation;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use super::front::Lease;
use super::stats::ReceiverStats;
use crate::compression::Compression;
use crate::prefix::PrefixReader;
use crate::status::RequestError;
use inflation::Inflation;

/// The least length at which a message of one frame is taken without a copy. It keeps the buffer
/// alive that the connection read it into, so a shorter one is copied out instead.
const WORTH_KEEPING: usize = 64 * 1024;

/// The smallest buffer that is made, in bytes.
const MIN_BUFFER: usize = 4 * 1024;

/// The bytes per second that a sender must reach, after a start, to keep memory that others lack: a
/// modem's worth. Senders that send nothing would otherwise have all of it, for as long as a
/// request may take.
const MIN_BYTES_PER_SECOND: u128 = 16 * 1024;
const SLOW_START: Duration = Duration::from_secs(2);

/// The interval between two checks whether the sender is too slow.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The body of a request: hyper's, or a test's.
pub(crate) trait RequestBody:
    Body<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static
{
}

impl<B> RequestBody for B where
    B: Body<Data = Bytes, Error: Error + Send + Sync> + Send + Unpin + 'static
{
}

/// The way in which a body has the request in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One gRPC message with its prefix.
    Message,
    /// The whole body, of this length if it was announced.
    Body {
        /// The number of bytes.
        length: Option<usize>,
    },
}

/// Reads the request of a body, of at most `limit` bytes.
pub(crate) async fn read<B>(
    mut body: B,
    framing: Framing,
    compression: Compression,
    limit: usize,
    lease: &mut Lease,
    stats: &ReceiverStats,
) -> Result<Bytes, RequestError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut prefix = PrefixReader::default();
    let mut message = match framing {
        Framing::Message => None,
        Framing::Body { length } => Some(IncomingMessage::body(length, compression, limit)?),
    };
    let mut pace = Pace::default();
    while let Some(frame) = pace.next(&mut body, lease).await? {
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        stats.count_received(data.len());
        pace.came += data.len();
        if message.is_none() {
            let Some(prefix) = prefix
                .take(&mut data)
                .map_err(|_| RequestError::Malformed("gRPC message with an unknown flag"))?
            else {
                continue;
            };
            message = Some(IncomingMessage::new(prefix, compression, limit)?);
        }
        if let Some(message) = &mut message {
            message.push(data, lease).await?;
        }
    }
    match message {
        Some(message) => message.finish(lease).await,
        None => Err(RequestError::Malformed("request without a message")),
    }
}

/// The pace of the sender: the time that was spent waiting for it, and the bytes that came.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    came: usize,
}

impl Pace {
    /// Returns the next frame. Fails if the sender is slow and others lack what it holds.
    async fn next<B>(
        &mut self,
        body: &mut B,
        lease: &Lease,
    ) -> Result<Option<Frame<Bytes>>, RequestError>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut frame = body.frame();
        // The clock is only read when there is a wait.
        let ready = (&mut frame).now_or_never();
        if let Some(frame) = ready {
            return frame.transpose().map_err(|_| RequestError::Gone);
        }
        loop {
            let begun = Instant::now();
            let came = timeout(LOOK_EVERY, &mut frame).await;
            self.waited += begun.elapsed();
            if self.is_slow() && lease.is_missed() {
                return Err(RequestError::Busy);
            }
            if let Ok(frame) = came {
                return frame.transpose().map_err(|_| RequestError::Gone);
            }
        }
    }

    fn is_slow(&self) -> bool {
        let least = self.waited.as_millis() * MIN_BYTES_PER_SECOND / 1000;
        self.waited >= SLOW_START && u128::try_from(self.came).is_ok_and(|came| came < least)
    }
}

/// Discards a body, or at most about `most` bytes of it. Returns true if that was all of it.
pub(crate) async fn discard<B: Body<Data = Bytes> + Unpin>(mut body: B, most: usize) -> bool {
    let mut left = most;
    loop {
        let passed = match body.frame().await {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => return false,
            None => return true,
        };
        match left.checked_sub(passed) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
}

/// A message that is still arriving.
struct IncomingMessage {
    /// The number of bytes that are still to come; the most that may come if the length is not known.
    lacking: usize,
    /// True if the length was announced.
    is_announced: bool,
    payload: Payload,
    /// The compression of the bytes that arrive.
    compression: Compression,
    limit: usize,
}

enum Payload {
    /// The whole message in one frame.
    Whole(Bytes),
    Parts(Vec<u8>),
}

impl IncomingMessage {
    fn new(
        prefix: crate::prefix::Prefix,
        compression: Compression,
        limit: usize,
    ) -> Result<Self, RequestError> {
        // A message that is over the limit before it is inflated is so afterwards, or should not be
        // compressed.
        if prefix.length > limit {
            return Err(RequestError::OverLimit { limit });
        }
        let compression = match compression {
            // No bytes at all are an empty message, whatever the flag says.
            _ if !prefix.compressed || prefix.length == 0 => Compression::None,
            Compression::None => {
                return Err(RequestError::Malformed(
                    "compressed message without grpc-encoding",
                ));
            }
            compression => compression,
        };
        Ok(Self {
            lacking: prefix.length,
            is_announced: true,
            payload: Payload::Parts(Vec::new()),
            compression,
            limit,
        })
    }

    /// Creates the message of a whole body.
    fn body(
        length: Option<usize>,
        compression: Compression,
        limit: usize,
    ) -> Result<Self, RequestError> {
        if length.is_some_and(|length| length > limit) {
            return Err(RequestError::OverLimit { limit });
        }
        Ok(Self {
            lacking: length.unwrap_or(limit),
            is_announced: length.is_some(),
            payload: Payload::Parts(Vec::new()),
            compression,
            limit,
        })
    }

    async fn push(&mut self, data: Bytes, lease: &mut Lease) -> Result<(), RequestError> {
        if data.is_empty() {
            return Ok(());
        }
        let Some(lacking) = self.lacking.checked_sub(data.len()) else {
            return Err(if self.is_announced {
                RequestError::Malformed("request with more than one message")
            } else {
                RequestError::OverLimit { limit: self.limit }
            });
        };
        // A compressed message is inflated at once, so it may keep the buffer meanwhile.
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

    async fn finish(self, lease: &mut Lease) -> Result<Bytes, RequestError> {
        if self.lacking > 0 && self.is_announced {
            return Err(RequestError::Malformed(
                "request that ends inside its message",
            ));
        }
        let sent = match self.payload {
            Payload::Whole(bytes) => bytes,
            Payload::Parts(out) => shrunk(out),
        };
        // A body of no bytes is an empty request, whatever its encoding.
        if self.compression == Compression::None || sent.is_empty() {
            return Ok(sent);
        }
        lease.decoder().await?;
        let inflation = Inflation {
            sent: &sent,
            compression: self.compression,
            lease,
        };
        let inflated = shrunk(inflation.run(self.limit).await?);
        lease.inflated(inflated.len());
        Ok(inflated)
    }
}

/// Returns a capacity for `needed` bytes at least, twice the present length at best, `most` at
/// most.
fn roomy(out: &[u8], needed: usize, most: usize) -> usize {
    let twice = out.len().saturating_mul(2);
    twice.max(needed).max(MIN_BUFFER).min(most)
}

/// Returns the message without the capacity that it did not need, which a pipeline could not see.
fn shrunk(mut out: Vec<u8>) -> Bytes {
    if out.capacity() - out.len() > out.len() / 4 {
        out.shrink_to_fit();
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests;
