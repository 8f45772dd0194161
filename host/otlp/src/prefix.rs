//! The five bytes before a gRPC message: a flag for compression, and the length.

use bytes::{Buf, Bytes};

/// The length of a prefix in bytes.
pub(crate) const LENGTH: usize = 5;

/// The content of the prefix of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// True if the message is compressed, by the encoding that the headers name.
    pub(crate) compressed: bool,
    /// The length of the message on the wire.
    pub(crate) length: usize,
}

/// The error of a flag that is neither 0 nor 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownFlag;

impl Prefix {
    /// Returns the prefix as it goes on the wire; `None` if the message is too long for a prefix.
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

/// Collects the bytes of a prefix, which frames may cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct PrefixReader {
    seen: Vec<u8>,
}

impl PrefixReader {
    /// Takes the missing bytes of the prefix from the front of `data`. Returns the prefix once it
    /// is complete.
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

    /// A prefix is read correctly wherever the frames cut it, and the bytes after it are left
    /// alone.
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
