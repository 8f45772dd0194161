//! A message that is being inflated. Its lease covers the bytes that were sent, the output, and a
//! decoder with its window.
//!
//! A message that inflates as telemetry does is inflated into a buffer that grows. One that swells
//! beyond that is measured first, without keeping the output, and inflated again when there is room
//! for exactly as much: bombs cost the time of one decoder, and its window.

use super::super::front::{Lease, SWOLLEN_LIMIT, unswollen};
use super::roomy;
use crate::compression::{Compression, InflateError, Inflater, state_bytes};
use crate::status::RequestError;

/// The bytes of output between two points where other tasks may run: about a millisecond.
const STEP: usize = 512 * 1024;

/// The size of the buffer into which a message is inflated while it is measured.
const SCRATCH: usize = 64 * 1024;

/// A message that is being inflated within its lease.
pub(super) struct Inflation<'a> {
    pub(super) sent: &'a [u8],
    pub(super) compression: Compression,
    pub(super) lease: &'a mut Lease,
}

impl Inflation<'_> {
    /// Returns the inflated message, if it has at most `limit` bytes.
    pub(super) async fn run(mut self, limit: usize) -> Result<Vec<u8>, RequestError> {
        let usual = unswollen(self.sent.len());
        // OTLP inflates to about ten times its size; the first room is for half of that.
        let first = self.sent.len().saturating_mul(5);
        if let Some(message) = self.inflate(first, usual.min(limit)).await? {
            return Ok(message);
        }
        if limit <= usual {
            return Err(RequestError::OverLimit { limit });
        }
        let size = self.measure(limit.min(SWOLLEN_LIMIT)).await?;
        self.lease.swell_to(size, self.sent.len())?;
        let message = self.inflate(size.saturating_add(1), size).await?;
        message.ok_or(RequestError::Malformed(CORRUPT))
    }

    /// Inflates the message into a buffer that is made for `first` bytes and grows. Returns `None`
    /// if the message has more than `most` bytes.
    async fn inflate(
        &mut self,
        first: usize,
        most: usize,
    ) -> Result<Option<Vec<u8>>, RequestError> {
        // One more than the limit, so that a message over it is noticed.
        let full = most.saturating_add(1);
        let (mut out, mut input) = (Vec::new(), self.sent);
        self.make_room(&mut out, first, full).await?;
        let mut inflater = self.inflater()?;
        let mut next_pause = STEP;
        loop {
            if out.len() == out.capacity() {
                self.make_room(&mut out, 0, full).await?;
            }
            inflater
                .step(&mut input, &mut out)
                .map_err(|why| not_inflated(&why))?;
            if out.len() > most {
                return Ok(None);
            }
            if input.is_empty() && out.len() < out.capacity() {
                inflater.finish().map_err(|why| not_inflated(&why))?;
                return Ok(Some(out));
            }
            pause(out.len(), &mut next_pause).await;
        }
    }

    /// Returns the length of the inflated message, if that is at most `limit` bytes.
    async fn measure(&mut self, limit: usize) -> Result<usize, RequestError> {
        let decoder = state_bytes(self.compression, limit);
        let all = self.sent.len().saturating_add(decoder + SCRATCH);
        self.lease.grow_to(all).await?;
        let (mut scratch, mut input) = (Vec::with_capacity(SCRATCH), self.sent);
        let mut inflater = self.inflater()?;
        let (mut size, mut next_pause) = (0, STEP);
        loop {
            scratch.clear();
            inflater
                .step(&mut input, &mut scratch)
                .map_err(|why| not_inflated(&why))?;
            size += scratch.len();
            if size > limit {
                return Err(RequestError::OverLimit { limit });
            }
            if input.is_empty() && scratch.len() < scratch.capacity() {
                inflater.finish().map_err(|why| not_inflated(&why))?;
                return Ok(size);
            }
            pause(size, &mut next_pause).await;
        }
    }

    fn inflater(&self) -> Result<Inflater, RequestError> {
        let inflater = Inflater::new(self.compression).map_err(|_| RequestError::Busy)?;
        inflater.ok_or(RequestError::Malformed("message of no known encoding"))
    }

    /// Leases room, and makes it.
    async fn make_room(
        &mut self,
        out: &mut Vec<u8>,
        needed: usize,
        most: usize,
    ) -> Result<(), RequestError> {
        let capacity = roomy(out, needed, most);
        let decoder = state_bytes(self.compression, capacity);
        let all = capacity
            .saturating_add(decoder)
            .saturating_add(self.sent.len());
        self.lease.grow_to(all).await?;
        out.reserve_exact(capacity.saturating_sub(out.len()));
        Ok(())
    }
}

/// Lets other tasks run, at least now and then.
async fn pause(done: usize, next: &mut usize) {
    if done >= *next {
        *next = done + STEP;
        tokio::task::yield_now().await;
    } else {
        tokio::task::consume_budget().await;
    }
}

const CORRUPT: &str = "compressed message: not in the encoding that the headers name";

fn not_inflated(why: &InflateError) -> RequestError {
    RequestError::Malformed(match why {
        InflateError::Corrupt => CORRUPT,
        InflateError::Truncated => "compressed message: it ends too early",
    })
}
