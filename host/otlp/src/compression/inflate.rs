//! One compressed message, inflated as its bytes arrive and never beyond the room it is given.

use std::io;
use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, GZIP_WINDOW_BITS, after};

/// What a decoder of gzip itself takes, beside what it has inflated: the window and the tables.
const GZIP_STATE_BYTES: usize = 64 * 1024;

/// The same for zstd: the context, and the buffers for a block on its way in and out. Its window
/// comes on top.
const ZSTD_STATE_BYTES: usize = 384 * 1024;

/// The largest window of a zstd frame, as a power of two: 8 MiB, what every decoder should support
/// by RFC 8878. Without it a frame of 20 bytes may ask for 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The most that a decoder itself takes, without its window and with it.
pub(crate) const MIN_STATE_BYTES: usize = ZSTD_STATE_BYTES;
pub(crate) const MAX_STATE_BYTES: usize = ZSTD_STATE_BYTES + (1 << ZSTD_WINDOW_LOG);

/// What the decoder of this encoding takes, beside room for `inflated` bytes; to be leased before
/// [`Inflater::new`]. Of a new window only the part that was inflated so far is touched; those that
/// are kept are counted twice while they are used, and not at all while they are not.
pub(crate) fn state_bytes(compression: Compression, inflated: usize) -> usize {
    match compression {
        Compression::None => 0,
        Compression::Gzip => GZIP_STATE_BYTES,
        Compression::Zstd => ZSTD_STATE_BYTES + inflated.min(1 << ZSTD_WINDOW_LOG),
    }
}

/// Why a message could not be inflated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotInflated {
    /// The bytes are not what their encoding says.
    Corrupt,
    /// The bytes end too early.
    Truncated,
}

/// Inflates one message of one or more gzip members or zstd frames.
pub(crate) struct Inflater {
    stream: Stream,
    /// Whether the bytes so far could be all of them.
    at_end: bool,
}

enum Stream {
    Gzip(Decompress),
    Zstd(Windowed),
}

/// A decoder of zstd, used again by others afterwards: its window of megabytes would otherwise be
/// allocated and touched anew for each request, and after many of them stay with the allocator.
struct Windowed(Option<Decoder<'static>>);

/// How many are kept while nobody uses them: with the largest window, 34 MiB.
pub(super) const KEPT: usize = 4;
static UNUSED: Mutex<Vec<Decoder<'static>>> = Mutex::new(Vec::new());

impl Windowed {
    fn new() -> io::Result<Self> {
        let kept = UNUSED.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if kept.is_some() {
            return Ok(Self(kept));
        }
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self(Some(decoder)))
    }
}

impl Drop for Windowed {
    fn drop(&mut self) {
        let Some(mut decoder) = self.0.take() else {
            return;
        };
        // Whatever was inflated, and however it ended: the next message begins anew.
        if decoder.reinit().is_err() {
            return;
        }
        let mut unused = UNUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() < KEPT {
            unused.push(decoder);
        }
    }
}

impl Inflater {
    /// For a message of this encoding; none for one that is not compressed.
    pub(crate) fn new(compression: Compression) -> io::Result<Option<Self>> {
        let stream = match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => Stream::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS)),
            Compression::Zstd => Stream::Zstd(Windowed::new()?),
        };
        let at_end = false;
        Ok(Some(Self { stream, at_end }))
    }

    /// Inflates from the front of `input` into the spare room of `out`, which is never grown, and
    /// leaves in `input` what did not fit. `input` may be empty: then what the decoder still has is
    /// written.
    pub(crate) fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), NotInflated> {
        let (lacking, filled) = (input.len(), out.len());
        if self.at_end && lacking > 0 {
            self.begin_again();
        }
        match &mut self.stream {
            Stream::Gzip(stream) => {
                let before = stream.total_in();
                let status = stream
                    .decompress_vec(input, out, FlushDecompress::None)
                    .map_err(|_| NotInflated::Corrupt)?;
                *input = after(input, stream.total_in() - before);
                self.at_end |= status == Status::StreamEnd;
            }
            Stream::Zstd(Windowed(stream)) => {
                let stream = stream.as_mut().ok_or(NotInflated::Corrupt)?;
                let mut buffer = InBuffer::around(input);
                let hint = stream
                    .run(&mut buffer, &mut OutBuffer::around_pos(out, filled))
                    .map_err(|_| NotInflated::Corrupt)?;
                let taken = buffer.pos();
                *input = input.get(taken..).unwrap_or_default();
                // A call with nothing to do hints at the next frame; the last one still ended.
                self.at_end |= hint == 0;
            }
        }
        let stuck = input.len() == lacking && out.len() == filled;
        if stuck && lacking > 0 && out.len() < out.capacity() {
            return Err(NotInflated::Corrupt);
        }
        Ok(())
    }

    /// To be asked when there is no more input.
    pub(crate) fn finish(&self) -> Result<(), NotInflated> {
        if self.at_end {
            Ok(())
        } else {
            Err(NotInflated::Truncated)
        }
    }

    /// Another gzip member follows, or another zstd frame, which the decoder begins by itself.
    fn begin_again(&mut self) {
        self.at_end = false;
        if let Stream::Gzip(stream) = &mut self.stream {
            *stream = Decompress::new_gzip(GZIP_WINDOW_BITS);
        }
    }
}
