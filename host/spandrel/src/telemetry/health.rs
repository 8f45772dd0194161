//! The liveness and readiness of the collector, as probes ask for them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::control::api::StageView;
use crate::web::{Answer, Asked};

/// Alive from its creation; ready only between [`Health::ready`] and [`Health::stopping`].
#[derive(Debug, Default)]
pub struct Health {
    ready_since: Mutex<Option<(SystemTime, Instant)>>,
}

impl Health {
    /// Notes that everything is up.
    pub fn ready(&self) {
        *self.lock() = Some((SystemTime::now(), Instant::now()));
    }

    /// Notes that the drain has begun.
    pub fn stopping(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.ready_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the answer to a probe. `status_path` is the path of the Collector's own answer.
    /// `stages` returns the state of the stages, which only readiness depends on: a stage that lets
    /// items pass is no reason to restart the process, which is what probes of the Collector's path
    /// commonly do.
    pub(crate) fn answer(
        &self,
        asked: Asked<'_>,
        status_path: &str,
        stages: impl FnOnce() -> Vec<StageView>,
    ) -> Answer {
        let since = *self.lock();
        let code = if since.is_some() { 200 } else { 503 };
        if asked.path == status_path {
            return Answer::json(code, status(since));
        }
        match asked.path {
            "/livez" => Answer::text(200, "ok\n"),
            "/readyz" => readiness(since.is_some(), asked.has("verbose"), &stages()),
            _ => Answer::not_found(),
        }
    }
}

/// Returns the answer of `/readyz`, with reasons for `?verbose`, in the form of Kubernetes' own
/// components.
fn readiness(runs: bool, is_verbose: bool, stages: &[StageView]) -> Answer {
    let fails = |stage: &&StageView| stage.bypassing && stage.bypass_fails_readiness;
    let failing = stages.iter().find(fails);
    let is_ready = runs && failing.is_none();
    let code = if is_ready { 200 } else { 503 };
    if !is_verbose {
        return Answer::text(
            code,
            match failing {
                _ if !runs => "not ready\n".to_owned(),
                None => "ok\n".to_owned(),
                Some(stage) => format!("not ready: items pass stage {} unjudged\n", stage.stage),
            },
        );
    }
    let mut text = match runs {
        true => "[+]pipelines ok\n".to_owned(),
        false => "[-]pipelines starting or stopping\n".to_owned(),
    };
    for stage in stages {
        let mark = match (stage.bypassing, fails(&stage)) {
            (false, _) => "[+]",
            (true, false) => "[!]",
            (true, true) => "[-]",
        };
        text.push_str(&format!("{mark}stage {} ", stage.stage));
        text.push_str(&match (stage.bypassing, stage.running.figures.bypassed) {
            (false, 0) => "ok\n".to_owned(),
            (false, items) => format!("ok, {items} items passed it unjudged before\n"),
            (true, items) => format!(
                "bypassed: {items} items passed it unjudged (on_fault: {})\n",
                stage.on_fault
            ),
        });
    }
    text.push_str(match is_ready {
        true => "readyz check passed\n",
        false => "readyz check failed\n",
    });
    Answer::text(code, text)
}

/// Returns the answer of the Collector's `health_check` extension.
fn status(since: Option<(SystemTime, Instant)>) -> String {
    let (status, up_since, uptime) = match since {
        Some((wall, started)) => (
            "Server available",
            rfc3339(wall),
            format!("{:?}", started.elapsed()),
        ),
        // This is Go's zero time.
        None => (
            "Server not available",
            "0001-01-01T00:00:00Z".to_owned(),
            String::new(),
        ),
    };
    format!(r#"{{"status":"{status}","upSince":"{up_since}","uptime":"{uptime}"}}"#)
}

/// Formats a moment in UTC, to the millisecond.
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

/// Returns year, month and day of a day since 1970-01-01. Years are counted from March, so that the
/// leap day is the last of its year.
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

    /// A probe succeeds only between "everything is up" and the first step of the drain.
    #[test]
    fn ready_only_while_running() {
        let health = Health::default();
        let code = |path| {
            let asked = Asked { path, query: None };
            health.answer(asked, "/", Vec::new).code
        };
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

    /// A stage that lets items pass is reported, and fails readiness if the configuration asks for
    /// that. The Collector's own answer and liveness do not depend on it.
    #[test]
    fn a_bypassed_stage_is_told_of() {
        let health = Health::default();
        health.ready();
        let mut stage = StageView {
            stage: "wasm/redact".to_owned(),
            on_fault: "pass".to_owned(),
            bypassing: true,
            ..StageView::default()
        };
        stage.running.figures.bypassed = 554;
        let ask = |stage: &StageView, path, query| {
            let asked = Asked { path, query };
            health.answer(asked, "/", || vec![stage.clone()])
        };
        let verbose = ask(&stage, "/readyz", Some("verbose"));
        assert_eq!(
            (verbose.code, verbose.body()),
            (
                200,
                "[+]pipelines ok\n\
                 [!]stage wasm/redact bypassed: 554 items passed it unjudged (on_fault: pass)\n\
                 readyz check passed\n"
            )
        );
        assert_eq!(ask(&stage, "/readyz", None).code, 200);
        stage.bypass_fails_readiness = true;
        let refused = ask(&stage, "/readyz", None);
        assert_eq!(
            (refused.code, refused.body()),
            (503, "not ready: items pass stage wasm/redact unjudged\n")
        );
        let verbose = ask(&stage, "/readyz", Some("a=b&verbose=1"));
        assert!(verbose.code == 503 && verbose.body().contains("[-]stage wasm/redact"));
        for path in ["/", "/livez"] {
            assert_eq!(ask(&stage, path, None).code, 200, "{path}");
        }
        stage.bypassing = false;
        assert_eq!(ask(&stage, "/readyz", None).code, 200);
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
