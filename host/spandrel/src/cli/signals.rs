//! Signals of the system to the process: the first SIGTERM or SIGINT drains, the second aborts;
//! SIGHUP reads the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

/// Counts requests to stop from its creation on.
pub(super) struct Signals {
    seen: watch::Receiver<Seen>,
    hang_ups: watch::Receiver<u32>,
    /// The task that listens. It ends when this value is dropped.
    _listener: JoinSet<()>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    count: u32,
    last: &'static str,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. Must be called inside the runtime.
    pub(super) fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hang_up = signal(SignalKind::hangup())?;
        let (seen, receiver) = watch::channel(Seen::default());
        let (hung_up, hang_ups) = watch::channel(0);
        let mut listener = JoinSet::new();
        listener.spawn(count(terminate, interrupt, hang_up, seen, hung_up));
        Ok(Self {
            seen: receiver,
            hang_ups,
            _listener: listener,
        })
    }

    /// Resolves at the first signal, with its name.
    pub(super) async fn first(&mut self) -> &'static str {
        nth(self.seen.clone(), 1).await
    }

    /// Returns the count of SIGHUPs.
    pub(super) fn hang_ups(&self) -> watch::Receiver<u32> {
        self.hang_ups.clone()
    }

    /// Returns two futures, for the first signal and the second.
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
        // The listener ends only with the process.
        Err(_) => std::future::pending().await,
    }
}

async fn count(
    mut terminate: Signal,
    mut interrupt: Signal,
    mut hang_up: Signal,
    seen: watch::Sender<Seen>,
    hung_up: watch::Sender<u32>,
) {
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hang_up.recv() => {
                info!(signal = "SIGHUP", "Received signal from OS");
                hung_up.send_modify(|count| *count = count.wrapping_add(1));
                continue;
            }
        };
        seen.send_modify(|seen| {
            seen.count = seen.count.saturating_add(1);
            seen.last = name;
        });
    }
}
