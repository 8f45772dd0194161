//! Clients that speak another protocol than the port. Their first bytes tell which. They get an
//! answer in words if that protocol can carry one.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// The bytes that a client of HTTP/2 begins with.
pub(crate) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of a TLS handshake.
pub(crate) const TLS: u8 = 0x16;

/// The longest method that is waited for, in bytes. The longest of HTTP's own has seven letters.
const MAX_METHOD_BYTES: usize = 16;

/// The time that a client may take to read its answer, and the bytes that it still sends which are
/// read meanwhile: a socket that is closed with bytes unread resets the connection, and the answer
/// is lost.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
const FAREWELL_BYTES: usize = 4 << 20;

/// The protocol that the first bytes of a connection belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http2,
    Http1,
    Tls,
    Unknown,
}

impl Protocol {
    /// Recognizes a protocol by its first bytes; `None` if more of them are needed. At most 24 are.
    pub(crate) fn of(first: &[u8]) -> Option<Self> {
        if first.len() < PREFACE.len() && PREFACE.starts_with(first) {
            return None;
        }
        if first.starts_with(&PREFACE) {
            return Some(Self::Http2);
        }
        if first.first() == Some(&TLS) {
            return Some(Self::Tls);
        }
        let letters = first.iter().take_while(|byte| byte.is_ascii_uppercase());
        let letters = letters.count();
        match first.get(letters) {
            Some(b' ') if letters > 0 => Some(Self::Http1),
            None if letters < MAX_METHOD_BYTES => None,
            _ => Some(Self::Unknown),
        }
    }
}

/// The way in which a client missed this port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongProtocol {
    /// HTTP/1.x to a port of gRPC.
    Http1,
    /// HTTP/2, but not gRPC, to a port of gRPC.
    NotGrpc,
    /// gRPC to a port of HTTP.
    Grpc,
    /// TLS to a port without TLS.
    Tls,
    /// HTTP/1.x without TLS to a port with TLS.
    PlainHttp1,
    /// HTTP/2 without TLS to a port with TLS.
    PlainHttp2,
    /// TLS to a port with TLS, but the two did not agree.
    Handshake,
    /// Bytes of no protocol that is known here.
    Unknown,
}

impl WrongProtocol {
    /// The number of kinds.
    pub(crate) const KINDS: usize = 8;

    /// Every kind, in the order of its numbers.
    pub(crate) const ALL: [Self; Self::KINDS] = [
        Self::Http1,
        Self::NotGrpc,
        Self::Grpc,
        Self::Tls,
        Self::PlainHttp1,
        Self::PlainHttp2,
        Self::Handshake,
        Self::Unknown,
    ];

    /// Returns the kind of a client that spoke this to a port with or without TLS; `None` if it may
    /// go on. HTTP/1.1 may go on where the port `takes_http1`.
    pub(crate) fn new(spoke: Protocol, has_tls: bool, takes_http1: bool) -> Option<Self> {
        match (spoke, has_tls) {
            (Protocol::Http2, false) | (Protocol::Tls, true) => None,
            (Protocol::Http1, false) if takes_http1 => None,
            (Protocol::Http2, true) => Some(Self::PlainHttp2),
            (Protocol::Http1, true) => Some(Self::PlainHttp1),
            (Protocol::Http1, false) => Some(Self::Http1),
            (Protocol::Tls, false) => Some(Self::Tls),
            (Protocol::Unknown, _) => Some(Self::Unknown),
        }
    }

    /// Returns its name in the log and in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::NotGrpc => "HTTP/2 without gRPC",
            Self::Grpc => "gRPC",
            Self::Tls => "TLS",
            Self::PlainHttp1 => "HTTP/1.1 without TLS",
            Self::PlainHttp2 => "HTTP/2 without TLS",
            Self::Handshake => "TLS that failed",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the bytes that the client is sent, with these words, before its connection ends. A
    /// client of TLS gets plain text as well: it then says that this is no TLS, in words that are
    /// known for it ("first record does not look like a TLS handshake", "wrong version number"),
    /// while an alert would read like a TLS server that refuses the client's versions or certificate.
    fn answer(self, words: &str) -> Vec<u8> {
        match self {
            Self::Http1 | Self::PlainHttp1 | Self::Tls => format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{words}\n",
                words.len() + 1
            )
            .into_bytes(),
            Self::PlainHttp2 => goaway(words),
            Self::NotGrpc | Self::Grpc | Self::Handshake | Self::Unknown => Vec::new(),
        }
    }

    /// Tells a client in these words why its connection ends, and lets it read that. Bounded in time
    /// and in bytes.
    pub(crate) async fn farewell<T>(self, words: &str, mut stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = self.answer(words);
        if answer.is_empty() {
            return;
        }
        let told = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await?;
            let mut passed = 0;
            let mut bytes = [0; 4096];
            while passed < FAREWELL_BYTES {
                match stream.read(&mut bytes).await? {
                    0 => break,
                    more => passed += more,
                }
            }
            Ok::<_, std::io::Error>(())
        };
        // A client that does not listen has missed it.
        let _late_or_gone = timeout(FAREWELL_LIMIT, told).await;
    }
}

/// Returns SETTINGS, as every server begins, and GOAWAY with the code 12, `INADEQUATE_SECURITY`,
/// and a reason.
fn goaway(reason: &str) -> Vec<u8> {
    let [.., high, middle, low] = (reason.len() + 8).to_be_bytes();
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend([high, middle, low, 7, 0, 0, 0, 0, 0]);
    frames.extend([0, 0, 0, 0, 0, 0, 0, 12]);
    frames.extend_from_slice(reason.as_bytes());
    frames
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A protocol is recognized by as few bytes as it takes, and any bytes are recognized by the
    /// 24th.
    #[test]
    fn protocols_are_recognized() {
        let decided = |bytes: &[u8]| {
            (0..=bytes.len())
                .find_map(|len| Protocol::of(&bytes[..len]).map(|protocol| (protocol, len)))
        };
        let table: [(&[u8], _); 9] = [
            (&PREFACE, Some((Protocol::Http2, 24))),
            (b"POST /v1/traces HTTP/1.1", Some((Protocol::Http1, 5))),
            (b"PRI * HTTP/1.1\r\n\r\n", Some((Protocol::Http1, 12))),
            (b"GET / HTTP/1.0\r\n\r\n", Some((Protocol::Http1, 4))),
            (b"OPTIONS * HTTP/1.1", Some((Protocol::Http1, 8))),
            (&[TLS, 3, 1], Some((Protocol::Tls, 1))),
            (b"\0\0\0\0", Some((Protocol::Unknown, 1))),
            (b"AAAAAAAAAAAAAAAAAAAAAAAA", Some((Protocol::Unknown, 16))),
            (b" GET", Some((Protocol::Unknown, 1))),
        ];
        for (bytes, expected) in table {
            assert_eq!(decided(bytes), expected, "{}", bytes.escape_ascii());
        }
        for byte in 0..=u8::MAX {
            assert!(Protocol::of(&[byte; 24]).is_some(), "{byte}");
        }
    }

    /// A client that neither reads nor ends, or that sends without end, is left after its time or
    /// bytes.
    #[tokio::test(start_paused = true)]
    async fn a_farewell_ends() {
        let begun = Instant::now();
        let (_silent, server) = tokio::io::duplex(16);
        WrongProtocol::Http1.farewell("no", server).await;
        assert_eq!(begun.elapsed(), FAREWELL_LIMIT);
        let (client, server) = tokio::io::duplex(1 << 16);
        let (mut reads, mut writes) = tokio::io::split(client);
        let sending = async {
            let mut sent = 0;
            while writes.write_all(&[0; 1024]).await.is_ok() {
                sent += 1024;
            }
            sent
        };
        let mut answer = Vec::new();
        let (sent, read, ()) = tokio::join!(
            sending,
            reads.read_to_end(&mut answer),
            WrongProtocol::Tls.farewell("no certificate", server)
        );
        assert!((FAREWELL_BYTES..FAREWELL_BYTES + (1 << 18)).contains(&sent));
        read.expect("a whole answer");
        assert!(answer.ends_with(b"certificate\n"));
        assert_eq!(begun.elapsed(), FAREWELL_LIMIT);
    }
}
