//! A configuration that is written in pieces takes effect when it is complete.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::Collector;
use spandrel_tests::log::Line;
use spandrel_tests::until::until;
use tokio::time::sleep;

use super::plan::{Joined, Plan};
use super::shown::Shown;
use super::site::{NOT_RELOADED, RELOADED, Site, judge};

/// Makes a plan with logs and traces, in this order: without its last line the file is a valid
/// configuration without traces.
fn logs_and_traces(backend: &Backend) -> Plan {
    let mut plan = Plan::new(&backend.endpoint());
    plan.pipeline("logs", Joined::new(&["otlp"], &["otlp_grpc"]));
    plan
}

/// Splits the file before the pipelines for traces.
fn cut(plan: &Plan) -> Result<(String, String)> {
    let yaml = plan.yaml();
    let at = yaml.find("    traces: ").context("no traces")?;
    let (head, tail) = yaml.split_at(at);
    Ok((head.to_owned(), tail.to_owned()))
}

fn said(collector: &Collector, message: &str) -> Vec<Line> {
    let mut lines = collector.log().lines();
    lines.retain(|line| line.message() == message);
    lines
}

/// A configuration that is written in two pieces under traffic is loaded once and whole. No sender
/// is refused meanwhile, and one line says what it added, removed and changed.
#[tokio::test]
async fn two_pieces_are_one_configuration() -> Result<()> {
    let (backend, other) = (Backend::start().await?, Backend::start().await?);
    let mut plan = logs_and_traces(&backend).watched();
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 131).await?;
    traffic.goes_on().await?;
    let b = format!("{{ endpoint: \"{}\" }}", other.endpoint());
    plan.exporter("otlp_grpc/b", &b);
    plan.receiver("otlp", "max_concurrent_streams: 70");
    plan.pipeline("traces/b", Joined::new(&["otlp"], &["otlp_grpc/b"]));
    plan.pipelines.remove("logs");
    plan.pipeline("metrics", Joined::new(&["otlp"], &["otlp_grpc"]));
    let (head, tail) = cut(&plan)?;
    let mut file = File::create(site.file())?;
    file.write_all(head.as_bytes())?;
    sleep(Duration::from_millis(400)).await;
    file.write_all(tail.as_bytes())?;
    drop(file);
    site.collector.wait_for_message(RELOADED).await?;
    Shown::look(&site.admin, &plan).await?;
    traffic.goes_on().await?;
    let reloads = said(&site.collector, RELOADED);
    assert_eq!(reloads.len(), 1, "{reloads:?}");
    let names = |field| reloads.first().and_then(|line| line.text(field));
    assert_eq!(
        names("added"),
        Some("exporter otlp_grpc/b, pipeline metrics, pipeline traces/b")
    );
    assert_eq!(names("removed"), Some("pipeline logs"));
    assert_eq!(names("changed"), Some("receiver otlp"));
    assert!(said(&site.collector, NOT_RELOADED).is_empty());
    let sent = traffic.stop().await?;
    judge(&site.collector.stop().await?, &[sent], &backend)?;
    Ok(())
}

/// A reload request that comes while the file is being written waits until it is complete.
#[tokio::test]
async fn an_order_waits_for_the_last_piece() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = logs_and_traces(&backend);
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 132).await?;
    plan.pipeline("metrics", Joined::new(&["otlp"], &["otlp_grpc"]));
    let (head, tail) = cut(&plan)?;
    std::fs::write(site.file(), head)?;
    let mut file = OpenOptions::new().append(true).open(site.file())?;
    site.collector.hang_up()?;
    // It has a thread of its own, so that no piece is late while others are busy here.
    let writer = std::thread::spawn(move || {
        for piece in tail.as_bytes().chunks(tail.len().div_ceil(30)) {
            std::thread::sleep(Duration::from_millis(10));
            file.write_all(piece)?;
        }
        std::io::Result::Ok(())
    });
    site.collector.wait_for_message(RELOADED).await?;
    writer.join().expect("the writer did not panic")?;
    Shown::look(&site.admin, &plan).await?;
    let reloads = said(&site.collector, RELOADED);
    let names = |field| reloads.first().and_then(|line| line.text(field));
    assert_eq!(names("added"), Some("pipeline metrics"));
    assert_eq!(names("removed"), None);
    let sent = traffic.stop().await?;
    judge(&site.collector.stop().await?, &[sent], &backend)?;
    Ok(())
}

/// After a refused file, the next good one is loaded.
#[tokio::test]
async fn a_bad_file_can_be_good_again() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = logs_and_traces(&backend).watched();
    let site = Site::start(&plan).await?;
    let good = plan.yaml();
    for round in 1..=2 {
        site.write(&format!("{good}  }}\n"))?;
        let again = || async { (said(&site.collector, NOT_RELOADED).len() >= round).then_some(()) };
        until("a refusal", again).await?;
        plan.pipeline(
            &format!("metrics/{round}"),
            Joined::new(&["otlp"], &["otlp_grpc"]),
        );
        site.reload_by(&plan, |_| Ok(())).await?;
        Shown::look(&site.admin, &plan).await?;
    }
    site.collector.stop().await?.expect_code(0)?;
    Ok(())
}
