//! The liveness and readiness of the collector, as probes ask for them.

use std::time::SystemTime;

use spandrel_admin::web::{Answer, PageRequest};
use spandrel_collector::report::StageView;
use spandrel_collector::status::Status;
use spandrel_collector::time_text::rfc3339;
use tokio::time::Instant;

/// Returns the answer to a probe. `status_path` is the path of the Collector's own answer. Only
/// readiness depends on the stages: a stage that lets items pass is no reason to restart the
/// process, which is what probes of the Collector's path commonly do.
pub(crate) fn answer(status: &Status, asked: PageRequest<'_>, status_path: &str) -> Answer {
    let since = status.ready_since();
    let code = if since.is_some() { 200 } else { 503 };
    if asked.path == status_path {
        return Answer::json(code, collector_status(since));
    }
    match asked.path {
        "/livez" => Answer::text(200, "ok\n"),
        "/readyz" => readiness(since.is_some(), asked.has("verbose"), &status.stages()),
        _ => Answer::not_found(),
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
fn collector_status(since: Option<(SystemTime, Instant)>) -> String {
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

#[cfg(test)]
mod tests {
    use spandrel_collector::status::Snapshot;

    use super::*;

    /// A probe succeeds only between "everything is up" and the first step of the drain.
    #[test]
    fn ready_only_while_running() {
        let status = Status::default();
        let code = |path| {
            let asked = PageRequest { path, query: None };
            answer(&status, asked, "/").code
        };
        assert_eq!(
            (code("/"), code("/livez"), code("/readyz")),
            (503, 200, 503)
        );
        status.ready();
        assert_eq!(
            (code("/"), code("/livez"), code("/readyz")),
            (200, 200, 200)
        );
        status.stopping(std::time::Duration::ZERO);
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
        let status = Status::default();
        status.ready();
        let mut stage = StageView {
            stage: "wasm/redact".to_owned(),
            on_fault: "pass".to_owned(),
            bypassing: true,
            ..StageView::default()
        };
        stage.running.figures.bypassed = 554;
        let ask = |stage: &StageView, path, query| {
            let asked = PageRequest { path, query };
            status.publish(Snapshot {
                stages: vec![stage.clone()],
                ..Snapshot::default()
            });
            answer(&status, asked, "/")
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
}
