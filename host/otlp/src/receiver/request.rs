//! Reads one request: exactly one gRPC message, inflated, within the limits.
//!
//! What it costs is leased before it is allocated, and only for bytes that arrived: a sender that
//! announces 64 MiB and sends nothing holds nothing.

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;

use super::budget::Lease;
use super::stats::ReceiverStats;
use crate::compression::{Compression, Inflater, NotInflated, state_bytes};
use crate::prefix::PrefixReader;
use crate::status::Unread;

/// A message of one frame is taken as it lies when it is at least this long. It keeps the buffer
/// alive that the connection read it into, so a short one is copied out instead.
const WORTH_KEEPING: usize = 64 * 1024;

/// The least that a buffer is made for.
const LEAST_BUFFER: usize = 4 * 1024;

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
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Unread::Gone);
        };
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        stats.received(data.len());
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
        Some(message) => message.finish(),
        None => Err(Unread::Malformed("request without a message")),
    }
}

/// A message that is still arriving.
struct Message {
    /// Bytes of it that are still to come.
    lacking: usize,
    payload: Payload,
}

enum Payload {
    /// All of it in one frame.
    Whole(Bytes),
    Plain(Vec<u8>),
    Inflated(Inflated),
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
        let payload = match compression {
            // Nothing at all is an empty message, whatever the flag says.
            _ if prefix.length == 0 => Payload::Whole(Bytes::new()),
            _ if !prefix.compressed => Payload::Plain(Vec::new()),
            Compression::None => {
                return Err(Unread::Malformed(
                    "compressed message without grpc-encoding",
                ));
            }
            compression => Payload::Inflated(Inflated {
                compression,
                inflater: None,
                out: Vec::new(),
                limit,
            }),
        };
        Ok(Self {
            lacking: prefix.length,
            payload,
        })
    }

    async fn push(&mut self, data: Bytes, lease: &mut Lease) -> Result<(), Unread> {
        if data.is_empty() {
            return Ok(());
        }
        let Some(lacking) = self.lacking.checked_sub(data.len()) else {
            return Err(Unread::Malformed("request with more than one message"));
        };
        match &mut self.payload {
            Payload::Whole(_) => {}
            Payload::Plain(out)
                if out.is_empty() && lacking == 0 && data.len() >= WORTH_KEEPING =>
            {
                lease.grow_to(data.len()).await?;
                self.payload = Payload::Whole(data);
            }
            Payload::Plain(out) => {
                let needed = out.len() + data.len();
                if needed > out.capacity() {
                    let most = out.len() + self.lacking;
                    make_room(out, needed, most, 0, lease).await?;
                }
                out.extend_from_slice(&data);
            }
            Payload::Inflated(inflated) => inflated.push(&data, lease).await?,
        }
        self.lacking = lacking;
        Ok(())
    }

    fn finish(self) -> Result<Bytes, Unread> {
        if self.lacking > 0 {
            return Err(Unread::Malformed("request that ends inside its message"));
        }
        match self.payload {
            Payload::Whole(bytes) => Ok(bytes),
            Payload::Plain(out) => Ok(kept(out)),
            Payload::Inflated(inflated) => {
                // Some of it arrived, or it would lack: there is an inflater.
                if let Some(inflater) = &inflated.inflater {
                    inflater.finish().map_err(|why| not_inflated(&why))?;
                }
                Ok(kept(inflated.out))
            }
        }
    }
}

struct Inflated {
    compression: Compression,
    /// Made when the first bytes arrive, and boxed to be as small as the other payloads until then.
    inflater: Option<Box<Inflater>>,
    out: Vec<u8>,
    limit: usize,
}

impl Inflated {
    async fn push(&mut self, mut input: &[u8], lease: &mut Lease) -> Result<(), Unread> {
        let state = state_bytes(self.compression);
        let inflater = match &mut self.inflater {
            Some(inflater) => inflater,
            none => {
                lease.grow_to(state).await?;
                let inflater = Inflater::new(self.compression).map_err(|_| Unread::Busy)?;
                let Some(inflater) = inflater else {
                    return Err(Unread::Malformed("message of no known encoding"));
                };
                none.insert(Box::new(inflater))
            }
        };
        // OTLP inflates to about ten times its size; the first room is for half of that.
        let mut room = self.out.len() + input.len().saturating_mul(5);
        let mut next_pause = self.out.len() + STEP;
        loop {
            if self.out.len() == self.out.capacity() {
                // One more than the limit, so that a message over it is seen to be.
                let most = self.limit.saturating_add(1);
                make_room(&mut self.out, room.min(most), most, state, lease).await?;
                room = 0;
            }
            inflater
                .step(&mut input, &mut self.out)
                .map_err(|why| not_inflated(&why))?;
            if self.out.len() > self.limit {
                return Err(Unread::OverLimit { limit: self.limit });
            }
            if input.is_empty() && self.out.len() < self.out.capacity() {
                return Ok(());
            }
            if self.out.len() >= next_pause {
                next_pause = self.out.len() + STEP;
                tokio::task::yield_now().await;
            } else {
                tokio::task::consume_budget().await;
            }
        }
    }
}

/// Leases and makes room for `needed` bytes at least, twice the present at best, `most` at most.
async fn make_room(
    out: &mut Vec<u8>,
    needed: usize,
    most: usize,
    beside: usize,
    lease: &mut Lease,
) -> Result<(), Unread> {
    let capacity = out
        .capacity()
        .saturating_mul(2)
        .max(needed)
        .max(LEAST_BUFFER)
        .min(most);
    lease.grow_to(capacity.saturating_add(beside)).await?;
    out.reserve_exact(capacity.saturating_sub(out.len()));
    Ok(())
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
