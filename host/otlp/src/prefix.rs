//! The five bytes before a gRPC message: whether it is compressed, and its length.

use bytes::{Buf, Bytes};

/// How long a prefix is.
pub(crate) const LENGTH: usize = 5;

/// What the prefix of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Whether the message is compressed, by the encoding that the headers name.
    pub(crate) compressed: bool,
    /// The length of the message on the wire.
    pub(crate) length: usize,
}

/// The flag is neither 0 nor 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownFlag;

impl Prefix {
    /// The prefix as it goes on the wire; none when the message is longer than a prefix can say.
    pub(crate) fn encode(self) -> Option<Bytes> {
        let length = u32::try_from(self.length).ok()?;
        let [a, b, c, d] = length.to_be_bytes();
        Some(Bytes::copy_from_slice(&[
            u8::from(self.compressed),
            a,
            b,
            c,
            d,
        ]))
    }

    fn decode([flag, length @ ..]: [u8; LENGTH]) -> Result<Self, UnknownFlag> {
        let compressed = match flag {
            0 => false,
            1 => true,
            _ => return Err(UnknownFlag),
        };
        // Lossless: `usize` has at least 32 bits wherever this runs, and the limit on messages is
        // far below what it can hold.
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        Ok(Self { compressed, length })
    }
}

/// Collects a prefix, wherever the frames cut it.
#[derive(Debug, Default)]
pub(crate) struct PrefixReader {
    seen: Vec<u8>,
}

impl PrefixReader {
    /// Takes from the front of `data` what the prefix still lacks; some when it is complete.
    pub(crate) fn take(&mut self, data: &mut Bytes) -> Result<Option<Prefix>, UnknownFlag> {
        let lacking = LENGTH.saturating_sub(self.seen.len());
        let mut front = data.split_to(lacking.min(data.len()));
        while front.has_remaining() {
            self.seen.push(front.get_u8());
        }
        match <[u8; LENGTH]>::try_from(self.seen.as_slice()) {
            Ok(bytes) => Prefix::decode(bytes).map(Some),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prefix means the same however the frames cut it, and what follows it is left alone.
    #[test]
    fn a_prefix_is_read_across_frames() {
        let prefix = Prefix {
            compressed: true,
            length: 0x0102_0304,
        };
        let mut wire = prefix.encode().expect("fits").to_vec();
        wire.extend_from_slice(b"body");
        for cut in 0..wire.len() {
            let mut first = Bytes::copy_from_slice(&wire[..cut]);
            let mut second = Bytes::copy_from_slice(&wire[cut..]);
            let mut reader = PrefixReader::default();
            let found = match reader.take(&mut first).expect("known flag") {
                Some(found) => found,
                None => reader
                    .take(&mut second)
                    .expect("known flag")
                    .expect("complete"),
            };
            assert_eq!(found, prefix, "cut at {cut}");
            assert_eq!([first, second].concat(), b"body", "cut at {cut}");
        }
    }

    /// A flag that gRPC does not know is an error, not a guess.
    #[test]
    fn an_unknown_flag_is_refused() {
        let mut data = Bytes::from_static(&[2, 0, 0, 0, 0]);
        assert_eq!(PrefixReader::default().take(&mut data), Err(UnknownFlag));
    }
}
