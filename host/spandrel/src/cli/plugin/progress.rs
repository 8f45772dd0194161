//! Shows the progress of a wait, if stderr is a terminal.

use std::time::Duration;

use spandrel_admin::client::{self, Client, ClientError, understood};
use spandrel_collector::report::StageView;
use tokio::time::{Instant, interval};

use super::{is_terminal, to_stderr};

/// The interval at which the line is rewritten: often enough to look alive.
const EVERY: Duration = Duration::from_millis(500);

/// A wait for the collector.
pub(super) struct Waiting {
    what: String,
    /// The stage whose phase is shown.
    stage: Option<String>,
}

impl Waiting {
    pub(super) fn new(what: String, stage: Option<String>) -> Self {
        Self { what, stage }
    }

    /// Waits for `work`. On a terminal, a line on stderr shows the phase and the time until then.
    pub(super) async fn show<T>(
        self,
        client: &Client,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        if !is_terminal() {
            return work.await;
        }
        let done = tokio::select! {
            done = work => done,
            never = self.tell(client) => match never {},
        };
        to_stderr("\r\x1b[K");
        done
    }

    async fn tell(&self, client: &Client) -> std::convert::Infallible {
        let began = Instant::now();
        let mut every = interval(EVERY);
        // Work that takes less time than that needs no line.
        every.tick().await;
        loop {
            every.tick().await;
            let phase = self.phase(client).await;
            let phase = phase.map(|phase| format!(": {phase}")).unwrap_or_default();
            let seconds = began.elapsed().as_secs_f64();
            to_stderr(&format!("\r\x1b[K{}{phase}, {seconds:.1} s", self.what));
        }
    }

    /// Returns the phase; `None` if it cannot be read, because the work itself reports what is
    /// wrong.
    async fn phase(&self, client: &Client) -> Option<String> {
        let path = client::path(self.stage.as_ref()?, "");
        let json = client.get(&path).await.ok()?;
        understood::<StageView>(&json).ok()?.swap
    }
}
