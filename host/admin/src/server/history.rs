//! The history, and waiting for the next event.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Api, query, refused, shown};
use crate::web::Answer;

/// The interval of looks for news, short enough for somebody who watches.
const POLL: Duration = Duration::from_millis(200);

impl Api {
    pub(super) async fn history(&self, stage: Option<&str>, query: Option<&str>) -> Answer {
        let since = match query::since(query) {
            Ok(since) => since,
            Err(why) => return refused(400, why),
        };
        if let Some(stage) = stage
            && !self.knows(stage)
        {
            return self.no_stage(stage);
        }
        let views = self.control.status();
        let end = Instant::now() + since.wait;
        let mut events = views.history(stage, since.after);
        if events.is_empty() && !since.wait.is_zero() {
            let Ok(_place) = self.watchers.try_acquire() else {
                let why = "too many are waiting for news already; ask again without `wait`";
                return refused(503, why.to_owned());
            };
            while events.is_empty() && Instant::now() < end {
                sleep_until(end.min(Instant::now() + POLL)).await;
                events = views.history(stage, since.after);
            }
        }
        shown(&events)
    }
}
