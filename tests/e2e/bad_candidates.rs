//! A collection of bad candidates, each tried on a live collector under steady traffic. Each is
//! refused or rolled back, with a message that names the reason. No span is lost or altered beyond
//! the fault policy, and the earlier generation runs on.
//!
//! `SPANDREL_STRICT=1` limits every answer and every rollback to a second; machines of CI get more.

mod neighbours;
mod traffic;
mod watched;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use spandrel_tests::admin::Admin;
use spandrel_tests::artifacts::guest;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::until::{PATIENCE, say};
use tokio::time::Instant;

use traffic::Traffic;

const STAGE: &str = "wasm/stage";

/// Returns the longest time from the evidence to the answer.
fn prompt() -> Duration {
    let is_strict = std::env::var_os("SPANDREL_STRICT").is_some();
    Duration::from_secs(if is_strict { 1 } else { 10 })
}

/// A collector whose stage runs a plugin that counts items, and has a state to carry.
struct Site {
    backend: Backend,
    collector: Collector,
    admin: Admin,
    setup: Setup,
}

impl Site {
    async fn open(keys: &str) -> Result<Self> {
        let backend = Backend::start().await?;
        backend.keep();
        let keys = format!("on_fault: pass{keys}");
        let config = Config::new(backend.endpoint()).stage("stage", &guest("stateful")?, &keys);
        let setup = Setup::new(&config.yaml())?.admin();
        let collector = Collector::start(&setup).await?;
        let admin = collector.admin()?;
        Ok(Self {
            backend,
            collector,
            admin,
            setup,
        })
    }

    async fn traffic(&self) -> Result<Traffic> {
        Traffic::start(&self.collector.address("otlp")?, 91).await
    }

    /// Stops, and checks that everything arrived unchanged, except as many spans as the ledger
    /// counts as dropped. Returns that number.
    async fn close(self, traffic: Traffic) -> Result<u64> {
        let sent = traffic.stop().await?;
        let ended = self.collector.stop().await?;
        ended.expect_code(0)?;
        let ledger = ended.ledger("traces")?;
        ledger.check()?;
        ensure!(ledger.received == sent.len() as u64, "{ledger:?}");
        let missing = sent.missing_at(&self.backend)?;
        ensure!(missing == ledger.dropped, "{missing} missing, {ledger:?}");
        Ok(missing)
    }
}

/// A candidate that cannot work is refused before it has seen a span of the traffic, with the
/// reason. The running generation continues and keeps its number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_work_is_refused() -> Result<()> {
    let site = Site::open("").await?;
    let traffic = site.traffic().await?;
    traffic.flows().await?;
    let mut table = "\nrefused candidates\n".to_owned();
    for (name, request, reasons) in files(&site.setup)?.into_iter().chain(misbuilt()?) {
        let began = Instant::now();
        let answer = site.admin.ask_swap(STAGE, &request).await?;
        let took = began.elapsed();
        let reason = answer.refusal(422).context(name)?;
        table.push_str(&format!("  {name:<24} {:>6} ms\n", took.as_millis()));
        for word in reasons {
            ensure!(
                reason.contains(word),
                "{name}: {word:?} is not in {reason:?}"
            );
        }
        ensure!(took < prompt(), "{name}: answered after {took:?}");
        ensure!(site.admin.running(STAGE).await? == 1, "{name} is running");
    }
    say(&table);
    let history = site.admin.history().await?;
    let refused = history.iter().filter(|event| event.event == "refused");
    ensure!(refused.count() == 14, "{history:?}");
    ensure!(site.close(traffic).await? == 0, "spans were lost");
    Ok(())
}

type Candidate = (&'static str, Value, &'static [&'static str]);

/// Returns the files that are no plugin at all, or not the right one, and the text that the message
/// must contain.
fn files(setup: &Setup) -> Result<Vec<Candidate>> {
    let file = |name: &str, bytes: &[u8]| -> Result<Value> {
        let path = setup.file(name);
        std::fs::write(&path, bytes)?;
        Ok(json!({ "module": path }))
    };
    let whole = std::fs::read(guest("unchanged")?)?;
    let (half, _) = whole.split_at(whole.len() / 2);
    let huge = setup.file("huge.wasm");
    std::fs::File::create(&huge)?.set_len(100 << 20)?;
    let wrong = json!({ "module": guest("unchanged")?, "sha256": "ab".repeat(32) });
    Ok(vec![
        (
            "no file",
            json!({ "module": "nowhere.wasm" }),
            &["cannot read", "nowhere.wasm"],
        ),
        (
            "no WebAssembly",
            file("text.wasm", b"fn main() {}\n")?,
            &["not a WebAssembly component"],
        ),
        (
            "core module",
            file("core.wasm", b"\0asm\x01\0\0\0")?,
            &["core WebAssembly module", "wasm32-wasip2"],
        ),
        ("half a file", file("half.wasm", half)?, &["damaged"]),
        (
            "100 MiB",
            json!({ "module": huge }),
            &["larger than 64 MiB"],
        ),
        ("wrong digest", wrong, &["sha256", "abababab"]),
    ])
}

/// Returns the candidates that are built as plugins, and do not work here.
fn misbuilt() -> Result<Vec<Candidate>> {
    let built = |name: &str| -> Result<Value> { Ok(json!({ "module": guest(name)? })) };
    Ok(vec![
        (
            "another world",
            built("missing_export")?,
            &["does not export", "plugin"],
        ),
        (
            "unknown import",
            built("import_unknown")?,
            &["imports", "acme:files/disk"],
        ),
        (
            "newer contract",
            built("other_version")?,
            &["spandrel:plugin@0.9", "0.1"],
        ),
        (
            "traps in configure",
            built("trap_in_configure")?,
            &["`configure`", "trap"],
        ),
        (
            "loops in configure",
            built("loop_in_configure")?,
            &["`configure`", "deadline"],
        ),
        (
            "memory bomb",
            built("memory_bomb_in_configure")?,
            &["`configure`", "memory"],
        ),
        (
            "traps in restore",
            built("trap_in_restore")?,
            &["running generation's state", "trap"],
        ),
        (
            "traps on spans",
            built("trap_on_spans")?,
            &["last real batch", "trap"],
        ),
    ])
}

/// A candidate whose fault a probe cannot find, and the expected result.
struct Late {
    name: &'static str,
    guest: &'static str,
    config: Value,
    /// Returns true if the figures show the fault. It is called with those of the running
    /// generation.
    shows: fn(&Value) -> bool,
    /// The reason in the history.
    reason: &'static str,
    /// True if it drops spans that it should not.
    drops: bool,
}

fn number(figures: &Value, key: &str) -> u64 {
    figures.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn late() -> [Late; 5] {
    let fails: fn(&Value) -> bool = |figures| number(figures, "faults") > 0;
    let late = |name, guest, config, reason| Late {
        name,
        guest,
        config,
        shows: fails,
        reason,
        drops: false,
    };
    [
        late(
            "first real batch",
            "trap_on_spans",
            json!({}),
            "calls failed",
        ),
        late(
            "the thousandth",
            "trap_on_the_thousandth",
            json!({ "call": 1000 }),
            "calls failed",
        ),
        late(
            "bad reply later",
            "bad_reply_later",
            json!({ "call": 50 }),
            "calls failed",
        ),
        Late {
            shows: |figures| number(figures, "dropped") >= 250,
            drops: true,
            ..late("drops everything", "drop_everything", json!({}), "drops ")
        },
        Late {
            shows: |figures| number(figures, "calls") >= 20,
            ..late("slow", "slow", json!({ "ms": 20 }), "times as long")
        },
    ]
}

/// A generation that fails at work is rolled back within a second of the evidence, with the reason:
/// at the first real batch, at the thousandth, with bad replies, by dropping everything, by being
/// slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fails_at_work_is_rolled_back() -> Result<()> {
    let mut table = "\nrolled back candidates, ms from the evidence, spans lost\n".to_owned();
    for late in late() {
        let name = late.name;
        let (took, lost) = roll_back(&late).await.context(name)?;
        table.push_str(&format!("  {name:<24} {:>6} {lost:>6}\n", took.as_millis()));
        ensure!(took < prompt(), "{name}: rolled back after {took:?}");
        ensure!(late.drops || lost == 0, "{name}: {lost} spans lost");
    }
    say(&table);
    Ok(())
}

async fn roll_back(late: &Late) -> Result<(Duration, u64)> {
    // A call that is slow because the machine is busy must not be a fault.
    let site = Site::open(", limits: { call_deadline: 10s }").await?;
    let module = guest(late.guest)?;
    let request = json!({ "module": module, "config": late.config });
    // Before the first batch there is none to probe with, so a candidate that fails on any batch
    // gets through.
    let is_first = late.guest == "trap_on_spans";
    let early = if is_first {
        None
    } else {
        let traffic = site.traffic().await?;
        traffic.flows().await?;
        Some(traffic)
    };
    let answer = site.admin.ask_swap(STAGE, &request).await?;
    ensure!(answer.code == 200, "{answer:?}");
    let traffic = match early {
        Some(traffic) => traffic,
        None => site.traffic().await?,
    };
    let took = from_evidence(&site.admin, late).await;
    let took = took.with_context(|| site.collector.log().tail())?;
    ensure!(site.admin.running(STAGE).await? == 1, "not as before");
    let lost = site.close(traffic).await?;
    Ok((took, lost))
}

/// Waits for the rollback. Returns the time from the evidence to the rollback.
async fn from_evidence(admin: &Admin, late: &Late) -> Result<Duration> {
    let mut evident = None;
    let began = Instant::now();
    loop {
        let view = admin.stage(STAGE).await?;
        let running = view.pointer("/running/number").and_then(Value::as_u64);
        let figures = view.pointer("/running/figures").cloned();
        if running == Some(1) {
            break;
        }
        if evident.is_none() && figures.is_some_and(|figures| (late.shows)(&figures)) {
            evident = Some(Instant::now());
        }
        ensure!(began.elapsed() < PATIENCE, "not rolled back: {view}");
    }
    let took = evident.map_or(Duration::ZERO, |evident| evident.elapsed());
    let event = admin.wait_for(STAGE, "rolled back", 0).await?;
    let right = event.by == "probation" && event.detail.contains(late.reason);
    ensure!(right, "{event:?}");
    Ok(took)
}

/// A state that is refused, or cannot be written, is no reason to refuse a swap: it is reported,
/// and the plugin starts without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_not_carried_is_told() -> Result<()> {
    let site = Site::open("").await?;
    let traffic = site.traffic().await?;
    traffic.flows().await?;
    for (name, says) in [
        ("refuse_state", "not carried: this state is not for me"),
        ("trap_in_snapshot", "carried"),
        ("stateful", "not carried"),
    ] {
        let report = site.admin.swap(STAGE, &guest(name)?).await.context(name)?;
        ensure!(report.outcome == "published", "{name}: {report:?}");
        ensure!(report.state.starts_with(says), "{name}: {report:?}");
    }
    ensure!(site.close(traffic).await? == 0, "spans were lost");
    Ok(())
}
