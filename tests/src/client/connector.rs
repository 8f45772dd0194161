//! Connects, and counts how often.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::transport::Uri;

/// Makes the connections of one client.
#[derive(Clone, Debug, Default)]
pub(super) struct Connector {
    made: Arc<AtomicU64>,
}

impl Connector {
    /// Connections so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let made = Arc::clone(&self.made);
        Box::pin(async move {
            let address = to.authority().map(ToString::to_string).unwrap_or_default();
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            made.fetch_add(1, Ordering::AcqRel);
            Ok(TokioIo::new(stream))
        })
    }
}
