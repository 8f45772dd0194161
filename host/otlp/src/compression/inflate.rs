//! Inflates one compressed message as its bytes arrive, and never beyond the room it is given.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use parking_lot::Mutex;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::{Compression, GZIP_WINDOW_BITS, after};

/// The bytes that a gzip decoder itself takes, beside its output: the window and the tables.
const GZIP_STATE_BYTES: usize = 64 * 1024;

/// The bytes that a zstd decoder itself takes, beside its output: the context, and the buffers for
/// one block on its way in and out. Its window comes on top.
const ZSTD_STATE_BYTES: usize = 384 * 1024;

/// The largest window of a zstd frame, as a power of two: 8 MiB, which every decoder should support
/// by RFC 8878. Without this limit, a frame of 20 bytes may ask for 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The most bytes that a decoder itself takes: here without its window, below with it.
pub(crate) const MIN_STATE_BYTES: usize = ZSTD_STATE_BYTES;
pub(crate) const MAX_STATE_BYTES: usize = ZSTD_STATE_BYTES + (1 << ZSTD_WINDOW_LOG);

/// Returns the bytes that a decoder of this encoding takes, beside room for `inflated` bytes. They
/// must be leased before [`Inflater::new`]. Only the part of a new window that was inflated so far
/// is touched. Windows that are kept are counted twice while they are used, and not at all while
/// they are not.
pub(crate) fn state_bytes(compression: Compression, inflated: usize) -> usize {
    match compression {
        Compression::None => 0,
        Compression::Gzip | Compression::Deflate => GZIP_STATE_BYTES,
        Compression::Zstd => ZSTD_STATE_BYTES + inflated.min(1 << ZSTD_WINDOW_LOG),
    }
}

/// The reason why a message could not be inflated.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    /// The bytes are not valid in their encoding.
    Corrupt,
    /// The bytes end too early.
    Truncated,
}

/// Inflates one message of one or more gzip members or zstd frames.
pub(crate) struct Inflater {
    stream: Stream,
    /// True if the bytes so far could be the whole message.
    at_end: bool,
}

enum Stream {
    Gzip(Decompress),
    /// One zlib stream: the format has no members.
    Zlib(Decompress),
    Zstd(WindowDecoder),
}

/// A zstd decoder that is reused. Otherwise its window of megabytes would be allocated and touched
/// anew for each request, and after many requests that memory would stay with the allocator.
struct WindowDecoder(Option<Decoder<'static>>);

/// The number of unused decoders that are kept: 34 MiB with the largest window.
pub(super) const KEPT: usize = 4;
static UNUSED: Mutex<Vec<Decoder<'static>>> = Mutex::new(Vec::new());

impl WindowDecoder {
    fn new() -> io::Result<Self> {
        let kept = UNUSED.lock().pop();
        if kept.is_some() {
            return Ok(Self(kept));
        }
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
        Ok(Self(Some(decoder)))
    }
}

impl Drop for WindowDecoder {
    fn drop(&mut self) {
        let Some(mut decoder) = self.0.take() else {
            return;
        };
        // Resets the decoder for the next message, whatever it inflated and however that ended.
        if decoder.reinit().is_err() {
            return;
        }
        let mut unused = UNUSED.lock();
        if unused.len() < KEPT {
            unused.push(decoder);
        }
    }
}

impl Inflater {
    /// Creates an inflater for a message of this encoding; `None` if the encoding does not
    /// compress.
    pub(crate) fn new(compression: Compression) -> io::Result<Option<Self>> {
        let stream = match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => Stream::Gzip(Decompress::new_gzip(GZIP_WINDOW_BITS)),
            Compression::Deflate => Stream::Zlib(Decompress::new(true)),
            Compression::Zstd => Stream::Zstd(WindowDecoder::new()?),
        };
        let at_end = false;
        Ok(Some(Self { stream, at_end }))
    }

    /// Inflates from the front of `input` into the spare room of `out`, which never grows. Input
    /// that did not fit stays in `input`. If `input` is empty, the decoder writes the output that
    /// it still has.
    pub(crate) fn step(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), InflateError> {
        let (lacking, filled) = (input.len(), out.len());
        if self.at_end && lacking > 0 {
            self.begin_again()?;
        }
        match &mut self.stream {
            Stream::Gzip(stream) | Stream::Zlib(stream) => {
                let before = stream.total_in();
                let status = stream
                    .decompress_vec(input, out, FlushDecompress::None)
                    .map_err(|_| InflateError::Corrupt)?;
                *input = after(input, stream.total_in() - before);
                self.at_end |= status == Status::StreamEnd;
            }
            Stream::Zstd(WindowDecoder(stream)) => {
                let stream = stream.as_mut().ok_or(InflateError::Corrupt)?;
                let mut buffer = InBuffer::around(input);
                let hint = stream
                    .run(&mut buffer, &mut OutBuffer::around_pos(out, filled))
                    .map_err(|_| InflateError::Corrupt)?;
                let taken = buffer.pos();
                *input = input.get(taken..).unwrap_or_default();
                // A call without work returns a hint for the next frame although the last one
                // ended, so a set flag stays set.
                self.at_end |= hint == 0;
            }
        }
        let stuck = input.len() == lacking && out.len() == filled;
        if stuck && lacking > 0 && out.len() < out.capacity() {
            return Err(InflateError::Corrupt);
        }
        Ok(())
    }

    /// Checks that the message is complete. Must be called when there is no more input.
    pub(crate) fn finish(&self) -> Result<(), InflateError> {
        if self.at_end {
            Ok(())
        } else {
            Err(InflateError::Truncated)
        }
    }

    /// Prepares for another gzip member. A zstd decoder begins another frame by itself, and nothing
    /// may follow a zlib stream.
    fn begin_again(&mut self) -> Result<(), InflateError> {
        match &mut self.stream {
            Stream::Gzip(stream) => *stream = Decompress::new_gzip(GZIP_WINDOW_BITS),
            Stream::Zlib(_) => return Err(InflateError::Corrupt),
            Stream::Zstd(_) => {}
        }
        self.at_end = false;
        Ok(())
    }
}
