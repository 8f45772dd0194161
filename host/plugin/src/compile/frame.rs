//! The messages between the collector and the process that compiles for it: one request, one reply,
//! in the byte order of the machine that both run on.

use std::io::{self, Read, Write};

use spandrel_supply::Digest;

const REQUEST: &[u8; 16] = b"spandrel-work-1\n";
const REPLY: &[u8; 16] = b"spandrel-done-1\n";
/// The length of a reply before its payload.
pub(super) const REPLY_BYTES: usize = 16 + 32 + 8 + 8;
/// The longest text about a component that does not compile.
const REFUSAL_BYTES: usize = 4096;

/// The limits that the process sets for itself, and the length of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompileRequest {
    pub(super) memory_bytes: u64,
    pub(super) cpu_seconds: u64,
    pub(super) threads: u64,
    pub(super) background: bool,
    /// The length of the component's bytes, which follow.
    pub(super) length: u64,
}

impl CompileRequest {
    pub(super) fn header(&self) -> Vec<u8> {
        let words = [
            self.memory_bytes,
            self.cpu_seconds,
            self.threads,
            u64::from(self.background),
            self.length,
        ];
        let words: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
        [REQUEST.as_slice(), &words].concat()
    }

    pub(super) fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut magic = [0; 16];
        input.read_exact(&mut magic)?;
        if magic != *REQUEST {
            return Err(io::Error::other("this is not a request of the collector"));
        }
        Ok(Self {
            memory_bytes: word(input)?,
            cpu_seconds: word(input)?,
            threads: word(input)?,
            background: word(input)? != 0,
            length: word(input)?,
        })
    }
}

fn word(input: &mut impl Read) -> io::Result<u64> {
    let mut word = [0; 8];
    input.read_exact(&mut word)?;
    Ok(u64::from_ne_bytes(word))
}

/// The kind of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// The payload is compiled code.
    Code,
    /// The payload is the reason why the component does not compile.
    Refusal,
}

/// The beginning of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompileReply {
    /// The engine that the code fits: a digest of its version and settings.
    pub(super) engine: Digest,
    pub(super) kind: ReplyKind,
    /// The length of the payload, which follows.
    pub(super) length: u64,
}

impl CompileReply {
    pub(super) fn write(
        output: &mut impl Write,
        engine: Digest,
        done: Result<&[u8], &str>,
    ) -> io::Result<()> {
        let (kind, payload) = match done {
            Ok(code) => (0_u64, code),
            Err(why) => (
                1,
                why.as_bytes()
                    .get(..REFUSAL_BYTES)
                    .unwrap_or(why.as_bytes()),
            ),
        };
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        output.write_all(REPLY)?;
        output.write_all(engine.as_bytes())?;
        output.write_all(&kind.to_ne_bytes())?;
        output.write_all(&length.to_ne_bytes())?;
        output.write_all(payload)?;
        output.flush()
    }

    pub(super) fn parse(header: [u8; REPLY_BYTES]) -> Option<Self> {
        let mut rest = header.strip_prefix(REPLY)?;
        let (engine, words) = rest.split_first_chunk::<32>()?;
        rest = words;
        let kind = match word(&mut rest).ok()? {
            0 => ReplyKind::Code,
            1 => ReplyKind::Refusal,
            _ => return None,
        };
        Some(Self {
            engine: Digest::from(*engine),
            kind,
            length: word(&mut rest).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that was written is read back the same.
    #[test]
    fn both_ways_say_the_same() {
        let request = CompileRequest {
            memory_bytes: 1 << 31,
            cpu_seconds: 120,
            threads: 2,
            background: true,
            length: 7,
        };
        let read = CompileRequest::read(&mut request.header().as_slice());
        assert_eq!(read.expect("a request"), request);
        assert!(CompileRequest::read(&mut [7; 200].as_slice()).is_err());
        for (done, kind, payload) in [
            (Ok(b"code".as_slice()), ReplyKind::Code, b"code".as_slice()),
            (Err("why"), ReplyKind::Refusal, b"why"),
        ] {
            let mut written = Vec::new();
            CompileReply::write(&mut written, Digest::from([5; 32]), done).expect("written");
            let (header, rest) = written.split_first_chunk().expect("a header");
            let reply = CompileReply::parse(*header).expect("a reply");
            assert_eq!((reply.engine, reply.kind), (Digest::from([5; 32]), kind));
            assert_eq!(rest, payload);
            assert_eq!(reply.length, rest.len() as u64);
        }
        assert_eq!(CompileReply::parse([0; REPLY_BYTES]), None);
    }
}
