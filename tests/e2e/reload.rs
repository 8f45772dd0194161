//! A new configuration for a running collector: only the requested parts change, the other parts
//! are not touched, and nothing is lost meanwhile.

mod edits;
mod pieces;
mod plan;
mod shown;
mod site;

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::log::Line;
use spandrel_tests::until::until;
use tokio::net::TcpListener;

use plan::{Joined, Plan, Stage};
use shown::Shown;
use site::{NOT_RELOADED, Site, judge};

const TAG: &str = "{ default: { team: core } }";

/// Makes a plan with two stages: one that tags and one that drops duplicates.
fn with_stages(backend: &Backend) -> Result<Plan> {
    let mut plan = Plan::new(&backend.endpoint());
    plan.stage(
        "wasm/tag",
        Stage::new(artifacts::plugin("tag-by-service")?, TAG),
    );
    let dups = Stage::new(artifacts::plugin("drop-duplicates")?, "{ window: 30s }");
    plan.stage("wasm/dups", dups);
    let probes = Stage::new(artifacts::plugin("drop-health-checks")?, "{}");
    plan.stage("wasm/probes", probes);
    traces(&mut plan, &["wasm/tag", "wasm/dups"]);
    Ok(plan)
}

/// Sets the pipeline `traces` to go through these stages.
fn traces(plan: &mut Plan, stages: &[&str]) {
    plan.pipeline(
        "traces",
        Joined::new(&["otlp"], &["otlp_grpc"]).through(stages),
    );
}

/// Stages are added, moved, reconfigured, given another policy and removed while spans pass. The
/// admin API shows each step, other generations keep their numbers, the connection stays, and
/// nothing is lost.
#[tokio::test]
async fn stages_change_under_traffic() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = with_stages(&backend)?;
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 101).await?;
    let mut before = Shown::look(&site.admin, &plan).await?;
    type Edit = fn(&mut Plan);
    let edits: [(&str, Edit); 6] = [
        ("stage wasm/probes added", |plan| {
            traces(plan, &["wasm/probes", "wasm/tag", "wasm/dups"]);
        }),
        ("pipeline traces has other stages", |plan| {
            traces(plan, &["wasm/dups", "wasm/tag", "wasm/probes"]);
        }),
        ("stage wasm/tag reconfigured", |plan| {
            plan.processors.get_mut("wasm/tag").unwrap().config =
                "{ default: { team: other } }".to_owned();
        }),
        ("stage wasm/dups has other policies", |plan| {
            plan.processors.get_mut("wasm/dups").unwrap().on_fault = "drop";
        }),
        ("stage wasm/probes reconfigured", |plan| {
            plan.processors.get_mut("wasm/probes").unwrap().memory_mib = 32;
        }),
        ("stage wasm/dups removed", |plan| {
            traces(plan, &["wasm/probes", "wasm/tag"]);
        }),
    ];
    for (said, edit) in edits {
        edit(&mut plan);
        traffic.goes_on().await?;
        let changes = site.reload(&plan).await?;
        ensure!(
            changes.iter().any(|line| line == said),
            "no {said:?} in {changes:?}"
        );
        let after = Shown::look(&site.admin, &plan).await?;
        after.follows(&before).context(said)?;
        before = after;
    }
    assert_eq!(before.number("wasm/tag"), 2);
    assert!(site.reload(&plan).await?.is_empty());
    traffic.goes_on().await?;
    assert_eq!(traffic.connections(), 1);
    let sent = traffic.stop().await?;
    let ended = site.collector.stop().await?;
    let ledger = judge(&ended, &[sent], &backend)?;
    assert_eq!(ledger.dropped, 0, "{ledger:?}");
    Ok(())
}

/// An exporter is added, changed and removed beside one that stays. Each has what its ledger says,
/// and the one that stays has everything.
#[tokio::test]
async fn exporters_change_under_traffic() -> Result<()> {
    let (backend, other) = (Backend::start().await?, Backend::start().await?);
    let mut plan = Plan::new(&backend.endpoint());
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 102).await?;
    let mut before = Shown::look(&site.admin, &plan).await?;
    let both = Joined::new(&["otlp"], &["otlp_grpc", "otlp_grpc/b"]);
    let b = |more: &str| format!("{{ endpoint: \"{}\", {more} }}", other.endpoint());
    plan.exporter("otlp_grpc/b", &b("timeout: 10s"));
    plan.pipeline("traces", both.clone());
    let mut changed = plan.clone();
    changed.exporter(
        "otlp_grpc/b",
        &b("compression: zstd, sending_queue: { queue_size: 500 }"),
    );
    let mut batched = changed.clone();
    batched.pipelines.get_mut("traces").unwrap().batch = true;
    let mut without = changed.clone();
    without.pipeline("traces", Joined::new(&["otlp"], &["otlp_grpc"]));
    for (said, plan) in [
        ("exporter otlp_grpc/b added", plan),
        ("exporter otlp_grpc/b changed", changed),
        ("pipeline traces has other exporters", batched),
        ("exporter otlp_grpc/b removed", without),
    ] {
        traffic.goes_on().await?;
        let changes = site.reload(&plan).await?;
        ensure!(
            changes.iter().any(|line| line == said),
            "no {said:?} in {changes:?}"
        );
        let after = Shown::look(&site.admin, &plan).await?;
        after.follows(&before).context(said)?;
        before = after;
        traffic.goes_on().await?;
    }
    assert_eq!(traffic.connections(), 1);
    let sent = traffic.stop().await?;
    let ended = site.collector.stop().await?;
    let ledger = judge(&ended, &[sent], &backend)?;
    let beside = ended.ledger_of("traces", "otlp_grpc/b")?;
    beside.check()?;
    assert_eq!(beside.exported, other.totals().spans);
    assert!(beside.missed > 0 && beside.exported > 0, "{beside:?}");
    assert_eq!(beside.received, ledger.received);
    assert_eq!(other.taken().duplicates(), 0);
    Ok(())
}

/// A receiver is added, changed at the same port and removed. Clients of another receiver keep
/// their connection; those of the changed one lose nothing.
#[tokio::test]
async fn receivers_change_under_traffic() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = Plan::new(&backend.endpoint());
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 103).await?;
    let both = Joined::new(&["otlp", "otlp/b"], &["otlp_grpc"]);
    plan.receiver("otlp/b", "");
    plan.pipeline("traces", both);
    site.reload(&plan).await?;
    let port = site.listening("otlp/b", 1).await?;
    let beside = site.traffic("otlp/b", 104).await?;
    beside.goes_on().await?;
    for (count, streams) in [(2, 50), (3, 60), (4, 70)] {
        plan.receiver("otlp/b", &format!("max_concurrent_streams: {streams}"));
        let changes = site.reload(&plan).await?;
        assert_eq!(changes, ["receiver otlp/b changed"]);
        assert_eq!(site.listening("otlp/b", count).await?, port);
        beside.goes_on().await?;
    }
    let sent_beside = beside.stop().await?;
    plan.pipeline("traces", Joined::new(&["otlp"], &["otlp_grpc"]));
    site.reload(&plan).await?;
    let closed = || async { Client::connect(&port).await.is_err().then_some(()) };
    until("the port to be closed", closed).await?;
    traffic.goes_on().await?;
    assert_eq!(traffic.connections(), 1);
    let sent = traffic.stop().await?;
    let ended = site.collector.stop().await?;
    judge(&ended, &[sent, sent_beside], &backend)?;
    Ok(())
}

/// A pipeline is added, gets the same spans as the one beside it, and is removed: it is drained,
/// its ledger is in the log, and the other one is not affected.
#[tokio::test]
async fn pipelines_come_and_go_under_traffic() -> Result<()> {
    let (backend, other) = (Backend::start().await?, Backend::start().await?);
    let mut plan = with_stages(&backend)?;
    let site = Site::start(&plan).await?;
    let alone = plan.clone();
    let traffic = site.traffic("otlp", 105).await?;
    let before = Shown::look(&site.admin, &plan).await?;
    let b = format!("{{ endpoint: \"{}\" }}", other.endpoint());
    plan.exporter("otlp_grpc/b", &b);
    let hold = Stage::new(artifacts::guest("hold_all")?, "{}");
    plan.stage("wasm/hold", hold);
    let joined = Joined::new(&["otlp"], &["otlp_grpc/b"]).through(&["wasm/hold", "wasm/tag"]);
    plan.pipeline("traces/b", joined);
    site.reload(&plan).await?;
    let with_both = Shown::look(&site.admin, &plan).await?;
    with_both.follows(&before)?;
    traffic.goes_on().await?;
    site.reload(&alone).await?;
    Shown::look(&site.admin, &alone)
        .await?
        .follows(&with_both)?;
    traffic.goes_on().await?;
    let drained =
        |line: &Line| line.message() == "ledger" && line.text("pipeline") == Some("traces/b");
    let drained = site
        .collector
        .wait_for("the ledger of traces/b", drained)
        .await?;
    assert_eq!(drained.count("exported"), Some(other.totals().spans));
    assert_eq!(
        drained
            .fields()
            .iter()
            .find(|(name, _)| name == "balanced")
            .unwrap()
            .1,
        "true"
    );
    assert!(other.totals().spans > 0);
    assert_eq!(traffic.connections(), 1);
    let sent = traffic.stop().await?;
    judge(&site.collector.stop().await?, &[sent], &backend)?;
    Ok(())
}

/// Returns configurations that must be refused, with words that the refusal contains.
fn bad_configurations(plan: &Plan, in_use: &str) -> Result<Vec<(String, Vec<String>)>> {
    let good = plan.yaml();
    let with = |edit: fn(&mut Plan) -> Result<()>| -> Result<String> {
        let mut plan = plan.clone();
        edit(&mut plan)?;
        Ok(plan.yaml())
    };
    let tagged = good
        .lines()
        .position(|line| line.contains("  wasm/tag:"))
        .context("no tag")?
        + 1;
    Ok(vec![
        (format!("{good}  }}\n"), vec!["spandrel.yaml:".to_owned()]),
        (
            good.replace("on_fault: pass", "on_falt: pass"),
            vec![
                format!("spandrel.yaml:{tagged}:"),
                "on_falt".to_owned(),
                "on_fault".to_owned(),
            ],
        ),
        (
            with(|plan| {
                let new = artifacts::root().join("README.md");
                plan.stage("wasm/probes", Stage::new(new, "{}"));
                traces(plan, &["wasm/probes", "wasm/tag"]);
                Ok(())
            })?,
            vec!["wasm/probes".to_owned(), "README.md".to_owned()],
        ),
        (
            with(|plan| {
                let new = Stage::new(artifacts::guest("trap_in_configure")?, "{}");
                plan.stage("wasm/tag", new);
                Ok(())
            })?,
            vec!["wasm/tag".to_owned(), "configure".to_owned()],
        ),
        (
            with(|plan| {
                plan.stage("wasm/tag", Stage::new(artifacts::guest("trap")?, "{}"));
                Ok(())
            })?,
            vec!["wasm/tag".to_owned(), "probe".to_owned()],
        ),
        (
            // The rest of it would work, but the stages stay as they were.
            with(|plan| {
                traces(plan, &["wasm/probes", "wasm/tag"]);
                plan.receiver("otlp/b", "");
                let joined = plan.pipelines.get_mut("traces").context("no traces")?;
                joined.receivers.push("otlp/b".to_owned());
                Ok(())
            })?
            .replace(
                "otlp/b: { protocols: { grpc: { endpoint: 127.0.0.1:0",
                &format!("otlp/b: {{ protocols: {{ grpc: {{ endpoint: \"{in_use}\""),
            ),
            vec!["otlp/b".to_owned(), in_use.to_owned()],
        ),
    ])
}

/// A bad configuration changes nothing, and both the requester and the log get the reason: file,
/// line and column if it cannot be read, otherwise the name of the part that does not work.
#[tokio::test]
async fn a_bad_configuration_changes_nothing() -> Result<()> {
    let backend = Backend::start().await?;
    let plan = with_stages(&backend)?;
    let site = Site::start(&plan).await?;
    let traffic = site.traffic("otlp", 106).await?;
    let before = Shown::look(&site.admin, &plan).await?;
    let taken = TcpListener::bind("127.0.0.1:0").await?;
    let in_use = taken.local_addr()?.to_string();
    let bad = bad_configurations(&plan, &in_use)?;
    for (yaml, words) in bad {
        let why = site.refusal(&yaml).await?;
        for word in words {
            ensure!(why.contains(&word), "no {word:?} in {why:?}");
        }
        let first = why.lines().next().unwrap_or_default().to_owned();
        let told = |line: &Line| {
            line.message() == NOT_RELOADED
                && line
                    .text("error")
                    .is_some_and(|error| error.contains(&first))
        };
        site.collector
            .wait_for("word of it in the log", told)
            .await?;
        Shown::look(&site.admin, &plan)
            .await?
            .follows(&before)
            .context(why)?;
        traffic.goes_on().await?;
    }
    let history = site.admin.history().await?;
    let mut refused = history.iter().filter(|event| event.event == "refused");
    ensure!(refused.all(|event| event.by == "admin"), "{history:?}");
    // SIGHUP finds the good configuration again, and nothing to do.
    site.reload_by(&plan, spandrel_tests::collector::Collector::hang_up)
        .await?;
    Shown::look(&site.admin, &plan).await?.follows(&before)?;
    assert_eq!(traffic.connections(), 1);
    let sent = traffic.stop().await?;
    judge(&site.collector.stop().await?, &[sent], &backend)?;
    Ok(())
}

/// Changes that need a restart are named, and the rest of the configuration takes effect.
#[tokio::test]
async fn what_needs_a_restart_is_said() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = with_stages(&backend)?;
    let site = Site::start(&plan).await?;
    let before = Shown::look(&site.admin, &plan).await?;
    plan.service.push_str("  shards: 7\n");
    traces(&mut plan, &["wasm/tag"]);
    let changes = site.reload(&plan).await?;
    let said = "service::shards: not changed, that takes a restart";
    assert!(changes.iter().any(|line| line == said), "{changes:?}");
    Shown::look(&site.admin, &plan).await?.follows(&before)?;
    let told = |line: &Line| line.text("part") == Some("service::shards");
    site.collector
        .wait_for("word of it in the log", told)
        .await?;
    site.collector.stop().await?.expect_code(0)?;
    Ok(())
}

/// SIGHUP alone triggers a reload, and so does a file that an editor has replaced.
#[tokio::test]
async fn a_signal_or_a_changed_file_is_enough() -> Result<()> {
    let backend = Backend::start().await?;
    let mut plan = with_stages(&backend)?;
    let site = Site::start(&plan).await?;
    traces(&mut plan, &["wasm/tag"]);
    site.reload_by(&plan, spandrel_tests::collector::Collector::hang_up)
        .await?;
    Shown::look(&site.admin, &plan).await?;
    site.collector.stop().await?.expect_code(0)?;

    plan = plan.watched();
    let site = Site::start(&plan).await?;
    traces(&mut plan, &["wasm/dups", "wasm/tag"]);
    site.reload_by(&plan, |_| Ok(())).await?;
    Shown::look(&site.admin, &plan).await?;
    site.collector.stop().await?.expect_code(0)?;
    Ok(())
}
