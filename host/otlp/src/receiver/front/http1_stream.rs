//! The bytes of a connection of HTTP/1.1, and a watch on them.
//!
//! hyper bounds what it keeps of a request, and answers what is malformed. It does not bound the
//! time that the head of a request may take apart from that between two requests, nor the requests
//! that a client may send without reading an answer; and it ends a connection at once whose client is
//! still sending, so that the client never sees why.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use super::deadline::Deadline;
use super::preface::FirstBytes;

/// The most bytes of the head of a request: as many as on a connection of HTTP/2.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// The time that a client may go on sending what nobody reads, and the bytes of it that are thrown
/// away: a socket that is closed with bytes unread resets the connection, and the answer is lost.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;

/// The answers to clients whose request has no end of its head, which hyper never sees.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";
const TOO_LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    connection: close\r\ncontent-length: 0\r\n\r\n";

/// The stream of a connection that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1Stream<T> {
    first: FirstBytes,
    activity: Activity,
    /// The number of requests that had begun when `head` was zero.
    begun: u64,
    /// The bytes that came of the head of the next request.
    head: usize,
    head_limit: Duration,
    write_limit: Duration,
    unread: Deadline,
    unwritten: Deadline,
    gate: WriteGate,
    linger: Option<Linger>,
    stream: T,
}

/// The wait for a client that is still sending.
#[derive(Debug)]
struct Linger {
    limit: Pin<Box<Sleep>>,
    passed: usize,
}

/// Shut while the client does not take what it was sent. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteGate(Arc<AtomicBool>);

impl WriteGate {
    /// Resolves when the client has taken what it was sent. Must be awaited by the task of the
    /// connection, which wakes when that happens.
    pub(crate) async fn open(&self) {
        std::future::poll_fn(|_context| {
            if self.0.load(Ordering::Relaxed) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    fn is_shut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn shut(&self, is_shut: bool) {
        self.0.store(is_shut, Ordering::Relaxed);
    }
}

impl<T> Http1Stream<T> {
    /// Wraps a stream of which these bytes were read, on a connection with these requests.
    pub(crate) fn new(
        first: FirstBytes,
        stream: T,
        activity: Activity,
        [head_limit, write_limit]: [Duration; 2],
    ) -> Self {
        Self {
            first,
            activity,
            begun: 0,
            head: 0,
            head_limit,
            write_limit,
            unread: Deadline::default(),
            unwritten: Deadline::default(),
            gate: WriteGate::default(),
            linger: None,
            stream,
        }
    }

    /// Returns the gate that is shut while the client does not take what it was sent.
    pub(crate) fn gate(&self) -> WriteGate {
        self.gate.clone()
    }
}

impl<T: AsyncWrite + Unpin> Http1Stream<T> {
    /// Tells the client why its connection ends, if that can be said at once.
    fn end(&mut self, answer: &[u8], kind: io::ErrorKind, context: &mut Context<'_>) -> io::Error {
        if !self.gate.is_shut() {
            let _unsaid = Pin::new(&mut self.stream).poll_write(context, answer);
            let _unsaid = Pin::new(&mut self.stream).poll_flush(context);
        }
        kind.into()
    }

    /// Keeps the deadline for writes, after an attempt to write.
    fn wrote<R>(
        &mut self,
        attempt: Poll<io::Result<R>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<R>> {
        if attempt.is_pending() {
            self.gate.shut(true);
            self.unwritten.check(0, self.write_limit, context)?;
        } else {
            self.unwritten.clear();
            if self.gate.is_shut() {
                self.gate.shut(false);
                // The next request waits behind the gate, in the same task.
                context.waker().wake_by_ref();
            }
        }
        attempt
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Http1Stream<T> {
    /// Counts bytes that came while no request was open.
    fn count_head(&mut self, came: usize) {
        self.head = self.head.saturating_add(came);
    }

    /// Throws away what the client still sends, for a while.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            limit: Box::pin(sleep(LINGER_LIMIT)),
            passed: 0,
        });
        let mut bytes = [0; 8192];
        while linger.passed < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    linger.passed += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.limit.as_mut().poll(context),
            }
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Http1Stream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let (begun, is_open) = this.activity.begun();
        if begun != this.begun {
            this.begun = begun;
            this.head = 0;
        }
        let first = this.first.hand_on(buffer);
        if first > 0 {
            this.count_head(first);
            return Poll::Ready(Ok(()));
        }
        // A read that came before brought as much as a head may have, and there was no request in it.
        if !is_open && this.head >= HEAD_BYTES {
            let kind = io::ErrorKind::QuotaExceeded;
            return Poll::Ready(Err(this.end(TOO_LARGE, kind, context)));
        }
        let before = buffer.filled().len();
        if Pin::new(&mut this.stream)
            .poll_read(context, buffer)?
            .is_pending()
        {
            if is_open || this.head == 0 {
                this.unread.clear();
            } else if this.unread.check(begun, this.head_limit, context).is_err() {
                let kind = io::ErrorKind::TimedOut;
                return Poll::Ready(Err(this.end(TOO_LATE, kind, context)));
            }
            return Poll::Pending;
        }
        if !is_open {
            this.count_head(buffer.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http1Stream<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(attempt, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.stream).poll_flush(context);
        self.wrote(attempt, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        if this.activity.is_abandoned() {
            ready!(this.poll_linger(context));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.wrote(attempt, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
