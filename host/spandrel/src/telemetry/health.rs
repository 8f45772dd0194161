//! Whether the collector is alive and ready, as probes ask for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::web::Answer;

/// Alive from its making; ready only between [`Health::ready`] and [`Health::stopping`].
#[derive(Debug, Default)]
pub struct Health {
    ready_since: Mutex<Option<(SystemTime, Instant)>>,
}

impl Health {
    /// Everything is up.
    pub fn ready(&self) {
        *self.lock() = Some((SystemTime::now(), Instant::now()));
    }

    /// The drain has begun.
    pub fn stopping(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.ready_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a probe; `status_path` is where the Collector's own answer is.
    pub(crate) fn answer(&self, path: &str, status_path: &str) -> Answer {
        let since = *self.lock();
        let code = if since.is_some() { 200 } else { 503 };
        if path == status_path {
            return Answer::json(code, status(since));
        }
        match path {
            "/livez" => Answer::text(200, "ok\n"),
            "/readyz" if since.is_some() => Answer::text(200, "ok\n"),
            "/readyz" => Answer::text(503, "not ready\n"),
            _ => Answer::not_found(),
        }
    }
}

/// What the Collector's `health_check` extension answers.
fn status(since: Option<(SystemTime, Instant)>) -> String {
    let (status, up_since, uptime) = match since {
        Some((wall, started)) => (
            "Server available",
            rfc3339(wall),
            format!("{:?}", started.elapsed()),
        ),
        // Go's zero time.
        None => (
            "Server not available",
            "0001-01-01T00:00:00Z".to_owned(),
            String::new(),
        ),
    };
    format!(r#"{{"status":"{status}","upSince":"{up_since}","uptime":"{uptime}"}}"#)
}

/// A moment in UTC, to the millisecond.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let since_epoch = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
        since_epoch.subsec_millis(),
    )
}

/// Year, month and day of a day since 1970-01-01. Years are counted from March, so that the leap
/// day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A probe is told yes only between "everything is up" and the first step of the drain.
    #[test]
    fn ready_only_while_running() {
        let health = Health::default();
        let code = |path| health.answer(path, "/").code;
        assert_eq!(
            (code("/"), code("/livez"), code("/readyz")),
            (503, 200, 503)
        );
        health.ready();
        assert_eq!(
            (code("/"), code("/livez"), code("/readyz")),
            (200, 200, 200)
        );
        health.stopping();
        assert_eq!(
            (code("/"), code("/livez"), code("/readyz")),
            (503, 200, 503)
        );
        assert_eq!(code("/other"), 404);
    }

    /// Dates are right across leap days and centuries.
    #[test]
    fn moments_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_210_096, "2024-02-29T12:34:56.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), text);
        }
    }
}
