//! Untrusted plugins do not run, no matter where they come from; and a compiler that uses too much
//! memory or time is ended.

mod remote;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use spandrel_tests::artifacts::{guest, plugin, sha256};
use spandrel_tests::backend::Backend;
use spandrel_tests::bomb;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::signing::Signer;
use spandrel_tests::until::until;

const STAGE: &str = "wasm/stage";

/// Copies the plugin into a folder of its own, so that signatures can be placed beside it.
fn copy(setup: &Setup, name: &str) -> Result<PathBuf> {
    let path = setup.file(&format!("{name}.wasm"));
    std::fs::copy(plugin(name)?, &path)?;
    Ok(path)
}

/// Returns a collector's config whose stage is this module and whose `service::plugins` are these.
fn config(backend: &str, module: &Path, plugins: &str) -> Config {
    let keys = "config: { window: 10m }, probation: { time: 300ms, batches: 3 }";
    Config::new(backend)
        .stage("stage", module, keys)
        .service(&format!("plugins: {{ {plugins} }}"))
}

/// With `require_signed`, a signed plugin runs. One that is unsigned, signed by another key, or
/// changed since is refused at the start, at a swap by path and at an upload, with the key and the
/// remedy.
#[tokio::test]
async fn only_signed_plugins_run() -> Result<()> {
    let backend = Backend::start().await?;
    let (ours, theirs) = (Signer::new(1)?, Signer::new(2)?);
    let files = Setup::bare()?;
    let module = copy(&files, "drop-duplicates")?;
    let plugins = format!("require_signed: true, trusted_keys: [{}]", ours.public());
    let setup =
        || anyhow::Ok(Setup::new(&config(&backend.endpoint(), &module, &plugins).yaml())?.admin());
    let refused = async |said: &str| -> Result<()> {
        let ended = Collector::spawn(&setup()?)?.wait().await?;
        ended.expect_code(1)?;
        let tail = ended.log.tail();
        ensure!(tail.contains(said), "no {said:?} in:\n{tail}");
        Ok(())
    };
    refused("it must be signed by key 0101010101010101, and there is no signature in").await?;
    theirs.sign_file(&module)?;
    refused("it is signed with key 0202020202020202, and must be with key 0101010101010101")
        .await?;
    ours.sign_file(&module)?;
    let collector = Collector::start(&setup()?).await?;
    let admin = collector.admin()?;
    let next = copy(&files, "drop-health-checks")?;
    let bytes = std::fs::read(&next)?;
    let by_path = admin
        .ask_swap(STAGE, &json!({ "module": next, "config": {} }))
        .await?;
    let why = by_path.refusal(422)?;
    ensure!(why.contains("there is no signature in"), "{why}");
    let why = admin
        .upload(STAGE, "config=%7B%7D", &bytes)
        .await?
        .refusal(422)?;
    ensure!(why.contains("came without a signature"), "{why}");
    let query = |signature: &str| format!("config=%7B%7D&signature={}", percent(signature));
    let changed = [bytes.as_slice(), b"\0"].concat();
    let answer = admin
        .upload(STAGE, &query(&ours.sign(&bytes)), &changed)
        .await?;
    let why = answer.refusal(422)?;
    ensure!(why.contains("was made of other bytes"), "{why}");
    ensure!(admin.running(STAGE).await? == 1, "something was swapped in");
    let answer = admin
        .upload(STAGE, &query(&ours.sign(&bytes)), &bytes)
        .await?;
    ensure!(answer.code == 200, "{}", answer.body);
    collector.stop().await?.expect_code(0)
}

/// A request for another config of the running plugin needs no signature, so it must not bring in
/// another plugin: not even the current bytes of its file, though the request names their digest.
/// Nor does a request's digest override the one in the configuration.
#[tokio::test]
async fn a_request_overrules_neither_signature_nor_digest() -> Result<()> {
    let backend = Backend::start().await?;
    let ours = Signer::new(1)?;
    let files = Setup::bare()?;
    let module = copy(&files, "drop-duplicates")?;
    let good = std::fs::read(&module)?;
    let other = std::fs::read(plugin("drop-health-checks")?)?;
    ours.sign_file(&module)?;
    let plugins = format!("require_signed: true, trusted_keys: [{}]", ours.public());
    let signed = config(&backend.endpoint(), &module, &plugins);
    let pin = format!(
        "{{ file: \"{}\", sha256: {} }}",
        module.display(),
        sha256(&good)
    );
    let pinned = Config::new(backend.endpoint()).stage_at("stage", &pin, "config: { window: 10m }");
    // It must be refused for this reason, and not for its configuration.
    let is_of_trust = |why: &str| {
        let reasons = ["sha256", "sign", "has changed since the running generation"];
        reasons.iter().any(|reason| why.contains(reason))
    };
    for config in [signed, pinned] {
        std::fs::write(&module, &good)?;
        let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
        let admin = collector.admin()?;
        std::fs::write(&module, &other)?;
        for request in [
            json!({ "config": {}, "sha256": sha256(&other) }),
            json!({ "config": {} }),
            json!({ "module": module, "config": {}, "sha256": sha256(&other) }),
        ] {
            let why = admin.ask_swap(STAGE, &request).await?.refusal(422)?;
            ensure!(is_of_trust(&why), "{why}");
        }
        let query = format!("config=%7B%7D&sha256={}", sha256(&other));
        let why = admin.upload(STAGE, &query, &other).await?.refusal(422)?;
        ensure!(is_of_trust(&why), "{why}");
        ensure!(admin.running(STAGE).await? == 1, "something was swapped in");
        collector.stop().await?.expect_code(0)?;
    }
    Ok(())
}

/// A module that is deployed before its signature is refused, and is swapped in automatically when
/// the signature arrives.
#[tokio::test]
async fn a_signature_may_come_after_its_module() -> Result<()> {
    let backend = Backend::start().await?;
    let ours = Signer::new(1)?;
    let files = Setup::bare()?;
    let module = copy(&files, "drop-health-checks")?;
    ours.sign_file(&module)?;
    let plugins = format!("require_signed: true, trusted_keys: [{}]", ours.public());
    let config = Config::new(backend.endpoint())
        .stage("stage", &module, "config: {}")
        .service(&format!("watch: true, plugins: {{ {plugins} }}"));
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    std::fs::copy(guest("unchanged")?, &module)?;
    admin.wait_for(STAGE, "refused", 0).await?;
    ensure!(admin.running(STAGE).await? == 1, "something was swapped in");
    ours.sign_file(&module)?;
    let event = admin.wait_for(STAGE, "published", 0).await?;
    ensure!(event.by == "file", "{event:?}");
    collector.stop().await?.expect_code(0)
}

/// A rollback does not bring back a plugin that a reload has forbidden: once everything must be
/// signed, the unsigned plugin that ran before cannot return.
#[tokio::test]
async fn what_a_reload_forbids_is_not_brought_back() -> Result<()> {
    let backend = Backend::start().await?;
    let ours = Signer::new(1)?;
    let files = Setup::bare()?;
    let next = copy(&files, "drop-health-checks")?;
    ours.sign_file(&next)?;
    let yaml = |module: &Path, plugins: &str| {
        Config::new(backend.endpoint())
            .stage("stage", module, "config: {}")
            .service(&format!("plugins: {{ {plugins} }}"))
            .yaml()
    };
    let setup = Setup::new(&yaml(&guest("unchanged")?, ""))?.admin();
    let collector = Collector::start(&setup).await?;
    let admin = collector.admin()?;
    let reload = async |yaml: String| -> Result<serde_json::Value> {
        std::fs::write(setup.file("spandrel.yaml"), yaml)?;
        let _: serde_json::Value = admin.ask("POST", "/v1/reload", "", b"").await?.ok()?;
        admin.stage(STAGE).await
    };
    let view = reload(yaml(&next, "")).await?;
    ensure!(
        view.get("previous").is_some_and(|it| !it.is_null()),
        "{view}"
    );
    let keys = format!("require_signed: true, trusted_keys: [{}]", ours.public());
    let view = reload(yaml(&next, &keys)).await?;
    ensure!(view.get("previous").is_none_or(|it| it.is_null()), "{view}");
    let why = admin.ask_to("rollback", STAGE).await?.refusal(404)?;
    ensure!(why.contains("has run no other generation"), "{why}");
    collector.stop().await?.expect_code(0)
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Returns the process id of the compiler that a collector has started. A child has its parent's
/// command line until it runs its own program, and is not counted until then.
fn compiler(of: u32) -> Option<u32> {
    let children = children(of).into_iter();
    let mut compilers = children.filter(|(_, command)| command.contains("compile-plugin"));
    compilers.next().map(|(number, _)| number)
}

/// Returns the processes that a process has started, with their command lines.
fn children(of: u32) -> Vec<(u32, String)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let child = |number: u32| {
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).ok()?;
        let line = format!("PPid:\t{of}");
        let command = std::fs::read_to_string(format!("/proc/{number}/cmdline")).ok()?;
        let is_child = status.lines().any(|said| said == line) && !command.is_empty();
        is_child.then_some((number, command))
    };
    numbers.filter_map(child).collect()
}

/// A component for which the compiler needs more memory or time than it may have is refused with
/// the limit and its key. The collector continues, and nothing of the compiler stays behind.
#[tokio::test]
async fn a_compile_bomb_harms_nobody() -> Result<()> {
    let bomb = bomb::component(2);
    for (limits, said) in [
        (
            "time: 10m, memory_mib: 1536",
            "compiling takes more than 1536 MiB of memory",
        ),
        (
            "time: 2s, memory_mib: 65536",
            "compiling takes longer than 2000 ms",
        ),
    ] {
        let backend = Backend::start().await?;
        let module = plugin("drop-duplicates")?;
        let config = config(
            &backend.endpoint(),
            &module,
            &format!("compile: {{ {limits} }}"),
        );
        let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
        let admin = collector.admin()?;
        let why = admin.upload(STAGE, "", &bomb).await?.refusal(422)?;
        ensure!(
            why.contains(said) && why.contains("service::plugins::compile::"),
            "{why}"
        );
        let left = children(collector.id());
        ensure!(left.is_empty(), "{left:?}");
        let mut client = Client::connect(&collector.address("otlp")?).await?;
        client.send(Shop::new(7).request(100)).await?;
        collector.stop().await?.expect_code(0)?;
    }
    Ok(())
}

/// A killed compiler is an error with its signal. If its collector is killed, the compiler ends
/// too.
#[tokio::test]
async fn a_compiler_ends_with_its_collector() -> Result<()> {
    let bomb = bomb::component(2);
    let backend = Backend::start().await?;
    let module = plugin("drop-duplicates")?;
    let plugins = "compile: { time: 10m, memory_mib: 65536 }";
    let setup = Setup::new(&config(&backend.endpoint(), &module, plugins).yaml())?.admin();
    let collector = Collector::start(&setup).await?;
    let (admin, id) = (collector.admin()?, collector.id());
    let compiler = || async move { compiler(id) };
    let killed = async {
        let compiler = until("a compiler", compiler).await?;
        until("a compiler that can open nothing more", || async move {
            let limits = std::fs::read_to_string(format!("/proc/{compiler}/limits")).ok()?;
            let most = |what: &str| {
                let line = limits.lines().find_map(|line| line.strip_prefix(what))?;
                line.split_whitespace().next().map(str::to_owned)
            };
            let files = most("Max open files")?;
            (files == "3" && most("Max processes")? == "0").then_some(())
        })
        .await?;
        kill(compiler)
    };
    let (answer, done) = tokio::join!(admin.upload(STAGE, "", &bomb), killed);
    done?;
    let why = answer?.refusal(422)?;
    ensure!(why.contains("ended early (signal: 9"), "{why}");
    let orphan = async {
        let compiler = until("a compiler", compiler).await?;
        collector.kill().await?;
        until("the compiler's end", || async {
            (!Path::new(&format!("/proc/{compiler}/exe")).exists()).then_some(())
        })
        .await
    };
    let (_, done) = tokio::join!(admin.upload(STAGE, "", &bomb), orphan);
    done
}

fn kill(process: u32) -> Result<()> {
    let id = i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let id = id.context("no process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::KILL).context("cannot kill")
}
