//! Answers requests for the history, and lets them wait for the next event.

use std::time::Duration;

use spandrel_collector::status::Status;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::{MAX_WATCHERS, query, refused, route, shown};
use crate::web::Answer;

/// The interval of looks for events, short enough for somebody who watches.
const POLL: Duration = Duration::from_millis(200);

/// Answers requests for the history. Some of them wait for the next event.
pub(super) struct HistoryReader {
    watchers: Semaphore,
}

impl HistoryReader {
    pub(super) fn new() -> Self {
        Self {
            watchers: Semaphore::new(MAX_WATCHERS),
        }
    }

    /// Returns the events of a stage, or of all, as an answer.
    pub(super) async fn answer(
        &self,
        status: &Status,
        stage: Option<&str>,
        query: Option<&str>,
    ) -> Answer {
        let since = match query::since(query) {
            Ok(since) => since,
            Err(why) => return refused(400, why),
        };
        if let Some(stage) = stage
            && let Err(why) = route::find_stage(status, stage)
        {
            return refused(404, why);
        }
        let end = Instant::now() + since.wait;
        let mut events = status.history(stage, since.after);
        if events.is_empty() && !since.wait.is_zero() {
            let Ok(_place) = self.watchers.try_acquire() else {
                let why = "too many are waiting for events already; ask again without `wait`";
                return refused(503, why.to_owned());
            };
            while events.is_empty() && Instant::now() < end {
                sleep_until(end.min(Instant::now() + POLL)).await;
                events = status.history(stage, since.after);
            }
        }
        shown(&events)
    }
}
