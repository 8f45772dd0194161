//! What the system asks of the process: the first SIGTERM or SIGINT drains, the second aborts.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

/// Counts requests to stop from the moment it is made.
pub(super) struct Signals {
    seen: watch::Receiver<Seen>,
    /// Ends with this value.
    _listener: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    count: u32,
    last: &'static str,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. To be called inside the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hang_up = signal(SignalKind::hangup())?;
        let (seen, receiver) = watch::channel(Seen::default());
        let mut listener = JoinSet::new();
        listener.spawn(count(terminate, interrupt, hang_up, seen));
        Ok(Self {
            seen: receiver,
            _listener: listener,
        })
    }

    /// Resolves at the first signal, with its name.
    pub(super) async fn first(&mut self) -> &'static str {
        nth(self.seen.clone(), 1).await
    }

    /// Two futures: the first signal and the second.
    pub(super) fn stop_and_abort(
        &self,
    ) -> (
        impl Future<Output = &'static str> + use<>,
        impl Future<Output = &'static str> + use<>,
    ) {
        (nth(self.seen.clone(), 1), nth(self.seen.clone(), 2))
    }
}

async fn nth(mut seen: watch::Receiver<Seen>, count: u32) -> &'static str {
    let reached = seen.wait_for(|seen| seen.count >= count).await;
    match reached.map(|seen| seen.last) {
        Ok(name) => name,
        // The listener is gone only when the process is.
        Err(_) => std::future::pending().await,
    }
}

async fn count(
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hang_up: Signal,
    seen: watch::Sender<Seen>,
) {
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hang_up.recv() => {
                warn!("SIGHUP does nothing in this version; restart to change the configuration");
                continue;
            }
        };
        seen.send_modify(|seen| {
            seen.count = seen.count.saturating_add(1);
            seen.last = name;
        });
    }
}
