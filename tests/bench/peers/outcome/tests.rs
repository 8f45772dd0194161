use super::*;
use crate::contestant::Job;

fn outcome(job: Job) -> Outcome {
    Outcome::new(Contestant {
        name: "it".to_owned(),
        job,
        command: Vec::new(),
        config: None,
    })
}

fn report(health_checks_delivered: u64, lost: u64) -> Value {
    json!({
        "items": {
            "lost": lost,
            "refused": {},
            "health_checks_sent": 20,
            "health_checks_accepted": 20,
            "health_checks_delivered": health_checks_delivered,
        },
        "verdict": { "ok": lost == 0, "bed_is_cheap": true },
    })
}

/// A contestant that skips the job, or does it unasked, is marked and fails the run.
#[test]
fn the_job_is_checked() {
    for (job, delivered, remark) in [
        (Job::PassThrough, 20, None),
        (Job::Job2, 0, None),
        (Job::FiveTimes, 0, None),
        (
            Job::PassThrough,
            0,
            Some("20 of 20 health checks were dropped"),
        ),
        (
            Job::Job2,
            20,
            Some("20 of 20 health checks were not dropped"),
        ),
        (
            Job::Twice,
            1,
            Some("1 of 20 health checks were not dropped"),
        ),
    ] {
        let mut outcome = outcome(job);
        outcome.add(report(delivered, 0));
        assert_eq!(outcome.is_good(), remark.is_none(), "{job} {delivered}");
        let remarks: Vec<String> = remark.map(str::to_owned).into_iter().collect();
        assert_eq!(outcome.remarks(), remarks);
    }
}

/// A single round with a loss is remembered, even among many good ones.
#[test]
fn losses_are_remembered() {
    let mut outcome = outcome(Job::Job2);
    for lost in [0, 3, 0] {
        outcome.add(report(0, lost));
    }
    assert!(!outcome.is_good());
    assert_eq!(outcome.remarks(), ["3 lost", "rounds failed: 1"]);
}

/// Scripts get the medians by name, the remarks, and every report unchanged.
#[test]
fn scripts_get_everything() {
    let mut outcome = outcome(Job::Job2);
    outcome.add(report(0, 0));
    let text = json(
        &[outcome],
        &Arguments::default(),
        &["other: get it".to_owned()],
    );
    let whole: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(whole["rounds"], 5);
    assert_eq!(whole["left_out"][0], "other: get it");
    let contestant = &whole["contestants"][0];
    assert_eq!(contestant["collector"], "it");
    assert_eq!(contestant["job"], "job-2");
    assert_eq!(contestant["good"], true);
    assert_eq!(contestant["medians"]["spans_per_cpu_second"], Value::Null);
    assert_eq!(contestant["reports"][0], report(0, 0));
}

/// Spans that arrive without the attributes of the job are noticed, in any round.
#[test]
fn attributes_are_missed() {
    for (job, arrived, is_good) in [
        (Job::Job2, 690.0, true),
        (Job::Job2, 655.0, false),
        (Job::FiveTimes, 690.0, false),
        (Job::FiveTimes, 850.0, true),
        (Job::PassThrough, 640.0, true),
    ] {
        let mut outcome = outcome(job);
        for arrived in [arrived, 900.0] {
            let mut report = report(if job.drops() { 0 } else { 20 }, 0);
            report["load"] = json!({ "bytes_per_item_without_health_checks": 650.0 });
            report["backend_bytes_per_item"] = json!(arrived);
            outcome.add(report);
        }
        assert_eq!(outcome.is_good(), is_good, "{job} {arrived}");
        let is_told = outcome
            .remarks()
            .contains(&"added no attributes".to_owned());
        assert_eq!(is_told, !is_good);
    }
}

/// Missing health checks are noticed even if something was refused, which is reported as well.
#[test]
fn refusals_hide_nothing() {
    let mut outcome = outcome(Job::PassThrough);
    let mut some = report(10, 0);
    some["items"]["refused"] = json!({ "UNAVAILABLE": 25 });
    some["items"]["health_checks_accepted"] = json!(15);
    outcome.add(some);
    assert!(!outcome.is_good());
    assert_eq!(
        outcome.remarks(),
        ["25 refused", "5 of 15 health checks were dropped"]
    );
}
