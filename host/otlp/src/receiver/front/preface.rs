//! The first bytes of a connection, and a watch on those that follow.
//!
//! A client of HTTP/2 begins with the same 24 bytes. hyper waits for them without a limit, and
//! sends no keepalive before they came. So they are read here, within a time, and handed to hyper
//! again. The bytes that follow are watched for floods, for frames that do not end, and for a
//! client that does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::deadline::Deadline;
use super::flood::{FloodGuard, FrameTracker, UnfinishedFrame};
use super::wrong_protocol::{PREFACE, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The time that the headers of a request may take to arrive. They are a few hundred bytes, and
/// nothing of the request can be answered before they are there.
const HEADERS_LIMIT: Duration = Duration::from_secs(10);

/// The time that any other frame may take: as long as a whole request.
const FRAME_LIMIT: Duration = Duration::from_secs(30);

/// A GOAWAY with the highest stream that there can be, so that nothing counts as unread, and the
/// code 11, `ENHANCE_YOUR_CALM`.
const CALM: [u8; 17] = [
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 11,
];

/// The stream of a connection that began with the preface. It ends floods, frames that do not end,
/// and connections whose client does not read.
#[derive(Debug)]
pub(crate) struct GuardedStream<T> {
    /// The number of bytes of the preface that were handed on.
    told: usize,
    read: FloodGuard,
    written: FrameTracker,
    unread: Deadline,
    unwritten: Deadline,
    /// The time for which a client may take none of the bytes that we want to send.
    write_limit: Duration,
    stream: T,
}

/// The first bytes of a connection.
#[derive(Debug)]
pub(crate) enum Preface<T> {
    /// The preface of HTTP/2.
    Http2(GuardedStream<T>),
    /// The first bytes of a request of HTTP/1.
    Http1(FirstBytes, T),
    /// Another protocol, of which up to 24 bytes were read.
    Other(Protocol, T),
}

/// The first bytes of a connection, which were read to recognize its protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstBytes {
    bytes: [u8; PREFACE.len()],
    len: usize,
    /// The number of bytes that were handed on.
    told: usize,
}

impl FirstBytes {
    /// Hands on what was not handed on yet. Returns the number of bytes.
    pub(crate) fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) -> usize {
        let rest = self.bytes.get(self.told..self.len).unwrap_or_default();
        let (now, _) = rest.split_at(rest.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.told += now.len();
        now.len()
    }
}

impl<T: AsyncRead + Unpin> Preface<T> {
    /// Reads until the client's protocol is known. Returns an error if the stream ends before.
    /// `write_limit` is the time for which a client of HTTP/2 may take none of the bytes that it is
    /// sent.
    pub(crate) async fn read(mut stream: T, write_limit: Duration) -> io::Result<Self> {
        let mut first = [0; PREFACE.len()];
        let mut seen = 0;
        loop {
            let (known, rest) = first.split_at_mut(seen);
            match Protocol::of(known) {
                Some(Protocol::Http2) => {
                    return Ok(Self::Http2(GuardedStream::new(stream, write_limit)));
                }
                Some(Protocol::Http1) => {
                    let (bytes, len) = (first, seen);
                    let told = 0;
                    return Ok(Self::Http1(FirstBytes { bytes, len, told }, stream));
                }
                Some(other) => return Ok(Self::Other(other, stream)),
                None => {}
            }
            match stream.read(rest).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => seen += more,
            }
        }
    }
}

impl<T> GuardedStream<T> {
    /// Wraps a stream whose preface was read.
    fn new(stream: T, write_limit: Duration) -> Self {
        Self {
            told: 0,
            write_limit,
            read: FloodGuard::new(),
            written: FrameTracker::default(),
            unread: Deadline::default(),
            unwritten: Deadline::default(),
            stream,
        }
    }

    /// Returns the stream behind its preface.
    pub(crate) fn into_inner(self) -> T {
        self.stream
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for GuardedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = PREFACE.get(this.told..).unwrap_or_default();
        if !rest.is_empty() {
            let (now, _) = rest.split_at(rest.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.told += now.len();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        if Pin::new(&mut this.stream)
            .poll_read(context, buffer)?
            .is_pending()
        {
            let limit = match this.read.unfinished() {
                UnfinishedFrame::None => None,
                UnfinishedFrame::Headers => Some(HEADERS_LIMIT),
                UnfinishedFrame::Other => Some(FRAME_LIMIT),
            };
            match limit {
                Some(limit) => this.unread.check(this.read.number(), limit, context)?,
                None => this.unread.clear(),
            }
            return Poll::Pending;
        }
        let came = buffer.filled().get(before..).unwrap_or_default();
        if this.read.read(came).is_err() {
            return Poll::Ready(Err(this.calm(context)));
        }
        // Each frame that begins has its own deadline. A connection as a whole has none, even if a
        // frame is always under way: on a slow one, hardly a read ends where a frame does.
        this.unread.keep(this.read.number());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> GuardedStream<T> {
    /// Tells the client why its connection ends, if that can be said at once.
    fn calm(&mut self, context: &mut Context<'_>) -> io::Error {
        if self.written.is_between() {
            // A client that floods may not read, either.
            let _unsaid = Pin::new(&mut self.stream).poll_write(context, &CALM);
            let _unsaid = Pin::new(&mut self.stream).poll_flush(context);
        }
        io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "the client floods the connection with frames that are no requests",
        )
    }

    /// Keeps the deadline for writes, after an attempt to write.
    fn wrote(
        &mut self,
        attempt: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if attempt.is_pending() {
            self.unwritten.check(0, self.write_limit, context)?;
        } else {
            self.unwritten.clear();
        }
        attempt
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for GuardedStream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let attempt = Pin::new(&mut this.stream).poll_write(context, bytes);
        let written = ready!(this.wrote(attempt, context))?;
        this.written.pass(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let attempt = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        let written = ready!(this.wrote(attempt, context))?;
        let mut rest = written;
        for bytes in bytes {
            let now = rest.min(bytes.len());
            this.written.pass(bytes.get(..now).unwrap_or_default());
            rest -= now;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    const WRITE_LIMIT: Duration = Duration::from_secs(30);

    async fn opened(ahead: usize) -> (DuplexStream, GuardedStream<DuplexStream>) {
        let (mut client, server) = duplex(ahead);
        client.write_all(&PREFACE).await.expect("room");
        let Preface::Http2(mut opened) = Preface::read(server, WRITE_LIMIT)
            .await
            .expect("the preface")
        else {
            panic!("not recognized");
        };
        let mut seen = [0; PREFACE.len()];
        opened.read_exact(&mut seen).await.expect("the preface");
        assert_eq!(seen, PREFACE);
        (client, opened)
    }

    /// Headers that drip are given up after their time, however often a byte comes. A connection on
    /// which nothing has begun may be quiet for as long as it likes.
    #[tokio::test(start_paused = true)]
    async fn headers_have_a_time() {
        let (mut client, mut server) = opened(1024).await;
        let begun = Instant::now();
        let ended = async {
            let mut bytes = [0; 100];
            loop {
                if let Err(error) = server.read(&mut bytes).await {
                    return error;
                }
            }
        };
        let drip = async {
            sleep(HEADERS_LIMIT * 100).await;
            let head = [0, 1, 0, 1, 0, 0, 0, 0, 1];
            for byte in head.into_iter().chain([0; 100]) {
                client.write_all(&[byte]).await.expect("room");
                sleep(Duration::from_secs(1)).await;
            }
        };
        let error = tokio::select! {
            error = ended => error,
            () = drip => panic!("not ended"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = begun.elapsed() - HEADERS_LIMIT * 100;
        // They are known to be headers once the frame's header is complete; until then it is any
        // frame.
        assert!(took <= FRAME_LIMIT, "{took:?}");
    }

    /// A slow connection that is never between two frames when we look goes on for as long as its
    /// frames do: headers after headers, requests after requests.
    #[tokio::test(start_paused = true)]
    async fn a_slow_connection_goes_on() {
        let (mut client, mut server) = opened(1 << 20).await;
        let head = [0, 0, 100, 1, 4, 0, 0, 0, 1];
        let data = [0, 0, 100, 0, 1, 0, 0, 0, 1];
        let request = [&head[..], &[0; 100], &data, &[0; 100]].concat();
        let wire = request.repeat(100);
        let served = async {
            let mut bytes = [0; 1000];
            let mut left = wire.len();
            while left > 0 {
                left -= server.read(&mut bytes).await.expect("no error");
            }
        };
        let drip = async {
            // Every cut is inside a frame.
            let (first, rest) = wire.split_at(50);
            client.write_all(first).await.expect("room");
            for piece in rest.chunks(109) {
                sleep(HEADERS_LIMIT / 2).await;
                client.write_all(piece).await.expect("room");
            }
        };
        tokio::join!(served, drip);
    }

    /// A client that floods is told so in one frame, and its connection ends.
    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told() {
        let (mut client, mut server) = opened(1 << 20).await;
        let pings = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].repeat(10_000);
        client.write_all(&pings).await.expect("room");
        let mut bytes = vec![0; 1 << 20];
        let error = server.read(&mut bytes).await.expect_err("a flood");
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        drop(server);
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.expect("closed");
        assert_eq!(told, CALM);
    }

    /// A client that reads nothing is given up after a time.
    #[tokio::test(start_paused = true)]
    async fn a_client_must_read() {
        let (_client, mut server) = opened(64).await;
        let begun = Instant::now();
        let error = server.write_all(&[0; 100]).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), WRITE_LIMIT);
    }
}
