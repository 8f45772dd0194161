//! The first bytes of a connection: a client of HTTP/2 begins with the same 24 ones.
//!
//! hyper waits for them for as long as it takes, and no keepalive is sent before. So they are read
//! here, within a time, and handed to hyper again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose client was seen to begin with the preface.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    /// How much of the preface was handed on.
    told: usize,
    stream: T,
}

impl<T: AsyncRead + Unpin> Opened<T> {
    /// Reads the preface; an error says that the client is not one of HTTP/2.
    pub(crate) async fn new(mut stream: T) -> io::Result<Self> {
        let mut seen = [0; PREFACE.len()];
        stream.read_exact(&mut seen).await?;
        if seen == PREFACE {
            Ok(Self { told: 0, stream })
        } else {
            let kind = io::ErrorKind::InvalidData;
            Err(io::Error::new(kind, "the client does not speak HTTP/2"))
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Opened<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = PREFACE.get(self.told..).unwrap_or_default();
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, _) = rest.split_at(rest.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.told += now.len();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Opened<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
