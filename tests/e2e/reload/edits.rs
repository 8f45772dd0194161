//! Random edits of a configuration under traffic.
//!
//! The short form takes 20 steps; `SPANDREL_EDITS=500 cargo test -p spandrel-tests --test e2e
//! random_edits` is the long one. `SPANDREL_SEED` chooses other edits.

#![expect(
    clippy::unwrap_used,
    reason = "what is drawn from is never empty, and a test fails by panicking"
)]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::Ended;
use spandrel_tests::until::say;

use super::plan::{Joined, Plan, Stage};
use super::shown::Shown;
use super::site::{Sent, Site, Traffic, judge};

/// The parts that stages may be made of: a name, a plugin or guest, and configs for it.
const STAGES: [(&str, &str, [&str; 2]); 7] = [
    (
        "wasm/probes",
        "drop-health-checks",
        ["{}", "{ keep_errors: false }"],
    ),
    (
        "wasm/dups",
        "drop-duplicates",
        ["{ window: 30s }", "{ window: 40s }"],
    ),
    (
        "wasm/tag",
        "tag-by-service",
        [
            "{ default: { team: a } }",
            "{ default: { team: b }, target: both }",
        ],
    ),
    (
        "wasm/keep",
        "keep-interesting-traces",
        [
            "{ ratio: 0.5, settle: 50ms, timeout: 200ms }",
            "{ ratio: 0.8, settle: 20ms, timeout: 100ms }",
        ],
    ),
    ("wasm/unchanged", "unchanged", ["{}", "{ other: 1 }"]),
    ("wasm/stateful", "stateful", ["{}", "{ other: 1 }"]),
    ("wasm/hold_all", "hold_all", ["{}", "{ other: 1 }"]),
];
/// The stages that hold spans. A pipeline that answers after the export cannot have them.
const HOLDING: [&str; 2] = ["wasm/keep", "wasm/hold_all"];
const PIPELINES: [&str; 3] = ["traces", "traces/b", "traces/c"];
const RECEIVERS: [&str; 2] = ["otlp", "otlp/b"];
/// The exporters that pipelines beside `traces` may name. The exporter of `traces` belongs to it
/// alone.
const EXPORTERS: [&str; 3] = ["otlp_grpc/b", "debug", "file"];

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// Makes a plan with everything that may be named, and a pipeline that names a little of it.
fn first(backend: &Backend, other: &Backend) -> Result<Plan> {
    let mut plan = Plan::new(&backend.endpoint());
    plan.service.push_str("  shards: 2\n");
    plan.receiver("otlp/b", "");
    plan.exporter(
        "otlp_grpc/b",
        &format!("{{ endpoint: \"{}\" }}", other.endpoint()),
    );
    plan.exporter("debug", "{}");
    plan.exporter("file", "{ path: out.jsonl }");
    for (name, made_of, [config, _]) in STAGES {
        let module = match artifacts::PLUGINS.contains(&made_of) {
            true => artifacts::plugin(made_of)?,
            false => artifacts::guest(made_of)?,
        };
        plan.stage(name, Stage::new(module, config));
    }
    // A stage that holds and drops, until an edit removes it.
    let joined = Joined::new(&["otlp"], &["otlp_grpc"]).through(&["wasm/keep"]);
    plan.pipeline("traces", joined);
    Ok(plan)
}

/// Makes one random edit and returns its description. The plan is valid again afterwards.
fn edit(plan: &mut Plan, ends: (&str, &str), random: &mut StdRng) -> String {
    let what = edit_any(plan, ends, random);
    for joined in plan.pipelines.values_mut() {
        if joined.stages.iter().any(|name| HOLDING.contains(&&**name)) {
            joined.ack_on = "queue";
        }
    }
    what
}

fn edit_any(plan: &mut Plan, ends: (&str, &str), random: &mut StdRng) -> String {
    match random.random_range(0..9) {
        0 => reconfigure(plan, random),
        1 => policies(plan, random),
        2 => {
            let name = *RECEIVERS.choose(random).unwrap();
            let streams: u32 = random.random_range(50..53);
            plan.receiver(name, &format!("max_concurrent_streams: {streams}"));
            format!("{name} has {streams} streams")
        }
        3 => {
            let size: u32 = random.random_range(1..4) * 10_000;
            let (name, endpoint) = *[("otlp_grpc", ends.0), ("otlp_grpc/b", ends.1)]
                .choose(random)
                .unwrap();
            let queue = format!("sending_queue: {{ sizer: items, queue_size: {size} }}");
            plan.exporter(name, &format!("{{ endpoint: \"{endpoint}\", {queue} }}"));
            format!("{name} has a queue of {size}")
        }
        4 => come_or_go(plan, random),
        5 => reroute(plan, random),
        _ => restage(plan, random),
    }
}

/// Picks one of the pipelines.
fn pick<'a>(plan: &'a mut Plan, random: &mut StdRng) -> (String, &'a mut Joined) {
    let names: Vec<String> = plan.pipelines.keys().cloned().collect();
    let name = names.choose(random).unwrap().clone();
    let joined = plan.pipelines.get_mut(&name).unwrap();
    (name, joined)
}

fn reconfigure(plan: &mut Plan, random: &mut StdRng) -> String {
    let (name, _, configs) = STAGES.choose(random).unwrap();
    let stage = plan.processors.get_mut(*name).unwrap();
    if random.random_ratio(1, 4) {
        stage.memory_mib = 96 - stage.memory_mib % 64;
        return format!("{name} has {} MiB", stage.memory_mib);
    }
    (*configs.choose(random).unwrap()).clone_into(&mut stage.config);
    format!("{name} has the config {}", stage.config)
}

fn policies(plan: &mut Plan, random: &mut StdRng) -> String {
    let (name, ..) = STAGES.choose(random).unwrap();
    let stage = plan.processors.get_mut(*name).unwrap();
    stage.on_fault = ["pass", "drop", "refuse"].choose(random).unwrap();
    stage.held_items = random.random_range(20..23) * 1000;
    format!(
        "{name} has the policies {}, {}",
        stage.on_fault, stage.held_items
    )
}

fn come_or_go(plan: &mut Plan, random: &mut StdRng) -> String {
    let name = *PIPELINES[1..].choose(random).unwrap();
    if plan.pipelines.remove(name).is_some() {
        return format!("{name} goes");
    }
    let receiver = *RECEIVERS.choose(random).unwrap();
    let exporter = *EXPORTERS.choose(random).unwrap();
    plan.pipeline(name, Joined::new(&[receiver], &[exporter]));
    format!("{name} comes")
}

/// Changes receivers, exporters, batching or the time of the answer of one pipeline. `traces` keeps
/// its receiver and its exporter.
fn reroute(plan: &mut Plan, random: &mut StdRng) -> String {
    let (name, joined) = pick(plan, random);
    let is_first = name == PIPELINES[0];
    match random.random_range(0..4) {
        0 => joined.batch = !joined.batch,
        1 if !is_first => joined.ack_on = ["queue", "export"].choose(random).unwrap(),
        2 if !is_first => toggle(&mut joined.receivers, RECEIVERS.choose(random).unwrap()),
        _ => toggle(&mut joined.exporters, EXPORTERS.choose(random).unwrap()),
    }
    format!("{name} is joined as {joined:?}")
}

/// Adds a name, or removes it if others are left.
fn toggle(names: &mut Vec<String>, name: &str) {
    match names.iter().position(|known| known == name) {
        None => names.push(name.to_owned()),
        Some(place) if names.len() > 1 => drop(names.remove(place)),
        Some(_) => {}
    }
}

fn restage(plan: &mut Plan, random: &mut StdRng) -> String {
    let (name, joined) = pick(plan, random);
    let stages = &mut joined.stages;
    let (stage, ..) = STAGES.choose(random).unwrap();
    match stages.iter().position(|known| known == stage) {
        _ if random.random_ratio(1, 4) => stages.shuffle(random),
        Some(place) => drop(stages.remove(place)),
        None => {
            let place = random.random_range(0..=stages.len());
            stages.insert(place, (*stage).to_owned());
        }
    }
    format!("{name} has the stages {stages:?}")
}

/// The clients: one for each receiver, as long as the receiver is there.
#[derive(Default)]
struct Crowd {
    /// The running clients, each with its number of connections at the last check.
    at_work: BTreeMap<&'static str, (Traffic, u64)>,
    /// The results for `otlp`, which is always there.
    sent: Vec<Sent>,
}

impl Crowd {
    /// Starts and stops clients with their receivers. A client of an unchanged receiver must keep
    /// its connection.
    async fn follow(&mut self, site: &Site, before: &Plan, plan: &Plan, seed: u64) -> Result<()> {
        for name in RECEIVERS {
            match (plan.listens(name), self.at_work.remove(name)) {
                (true, known) => {
                    let is_same = before.receivers.get(name) == plan.receivers.get(name);
                    let (traffic, connections) = match known {
                        Some(known) => known,
                        None => (site.traffic(name, seed).await?, 1),
                    };
                    traffic.goes_on().await.context(name)?;
                    let now = traffic.connections();
                    ensure!(
                        !is_same || now == connections,
                        "{name} has not changed, and closed a connection"
                    );
                    self.at_work.insert(name, (traffic, now));
                }
                (false, Some((traffic, _))) => drop(traffic.stop().await?),
                (false, None) => {}
            }
        }
        Ok(())
    }

    async fn leave(mut self) -> Result<Vec<Sent>> {
        for (name, (traffic, _)) in std::mem::take(&mut self.at_work) {
            let sent = traffic.stop().await?;
            if name == RECEIVERS[0] {
                self.sent.push(sent);
            }
        }
        Ok(self.sent)
    }
}

/// After each random edit the collector runs exactly the configuration. The generations,
/// connections and queues of unedited parts are the same. At the end the ledger of every pipeline
/// is exact, including removed ones. Every span that the permanent pipeline accepted is at its
/// backend, or was dropped by a plugin and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_edits_change_what_they_say() -> Result<()> {
    let (steps, seed) = (number("SPANDREL_EDITS", 20), number("SPANDREL_SEED", 1));
    let mut random = StdRng::seed_from_u64(seed);
    let (backend, other) = (Backend::start().await?, Backend::start().await?);
    let mut plan = first(&backend, &other)?;
    let site = Site::start(&plan).await?;
    let mut crowd = Crowd::default();
    crowd.follow(&site, &plan, &plan, seed).await?;
    let mut before = Shown::look(&site.admin, &plan).await?;
    let (one, two) = (backend.endpoint(), other.endpoint());
    for step in 1..=steps {
        let earlier = plan.clone();
        let edits: Vec<String> = (0..random.random_range(1..=3))
            .map(|_| edit(&mut plan, (&one, &two), &mut random))
            .collect();
        let done = async {
            let changes = site.reload(&plan).await?;
            ensure!(
                plan != earlier || changes.is_empty(),
                "nothing was edited, and changed: {changes:?}"
            );
            let after = Shown::look(&site.admin, &plan).await?;
            after.follows(&before)?;
            crowd
                .follow(&site, &earlier, &plan, seed << 16 | step)
                .await?;
            anyhow::Ok(after)
        };
        let done = done.await.with_context(|| {
            let log = site.collector.log().tail();
            format!(
                "step {step} of seed {seed}: {edits:#?}\n{}\n{log}",
                plan.yaml()
            )
        });
        before = done?;
    }
    let sent = crowd.leave().await?;
    let ended = site.collector.stop().await?;
    let ledger = judge(&ended, &sent, &backend).with_context(|| ended.log.tail())?;
    judge_others(&ended, &other).with_context(|| format!("seed {seed}"))?;
    say(&format!("{steps} steps of edits: {ledger:?}"));
    Ok(())
}

/// Checks that every printed ledger is exact, and that the second backend has their sum.
fn judge_others(ended: &Ended, other: &Backend) -> Result<()> {
    let mut exported = 0;
    for line in ended.log.lines() {
        if line.message() != "ledger" {
            continue;
        }
        let ledger = spandrel_tests::ledger::Ledger::read(&line).context("no ledger")?;
        ledger.check().with_context(|| line.raw.clone())?;
        ensure!(ledger.abandoned == 0, "{}", line.raw);
        if line.text("exporter") == Some("otlp_grpc/b") {
            exported += ledger.exported;
        }
    }
    let taken = other.totals().spans;
    ensure!(
        exported == taken,
        "the other backend has {taken}, the ledgers say {exported}"
    );
    Ok(())
}
