//! Plugins that are not trusted do not run, wherever they come from; and a compiler that runs wild is
//! ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use spandrel_tests::artifacts::plugin;
use spandrel_tests::backend::Backend;
use spandrel_tests::bomb;
use spandrel_tests::client::Client;
use spandrel_tests::collector::{Collector, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::shop::Shop;
use spandrel_tests::signing::Signer;
use spandrel_tests::site::Site;
use spandrel_tests::until::until;

const STAGE: &str = "wasm/stage";

/// A copy of the plugin in a folder of its own, so that signatures can stand beside it.
fn copy(setup: &Setup, name: &str) -> Result<PathBuf> {
    let path = setup.file(&format!("{name}.wasm"));
    std::fs::copy(plugin(name)?, &path)?;
    Ok(path)
}

/// A collector's config whose stage is this module and whose `service::plugins` are these.
fn config(backend: &str, module: &Path, plugins: &str) -> Config {
    let keys = "config: { window: 10m }, probation: { time: 300ms, batches: 3 }";
    Config::new(backend)
        .stage("stage", module, keys)
        .service(&format!("plugins: {{ {plugins} }}"))
}

/// `require_signed`: a signed plugin runs; one that is unsigned, signed by another key, or changed
/// since is refused at the start, at a swap by path and at an upload, with the key and the remedy.
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

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Processes that a process has started, by their command lines.
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

/// A component that takes the compiler more memory, or more time, than it may have is refused with
/// the limit and its key; the collector goes on, and nothing of the compiler stays behind.
#[tokio::test]
async fn a_compile_bomb_harms_nobody() -> Result<()> {
    let bomb = bomb::component(2);
    for (limits, said) in [
        (
            "time: 60s, memory_mib: 1536",
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

/// A compiler that somebody kills is an error with its signal; one whose collector is killed ends, too.
#[tokio::test]
async fn a_compiler_ends_with_its_collector() -> Result<()> {
    let bomb = bomb::component(2);
    let backend = Backend::start().await?;
    let module = plugin("drop-duplicates")?;
    let plugins = "compile: { time: 10m, memory_mib: 65536 }";
    let setup = Setup::new(&config(&backend.endpoint(), &module, plugins).yaml())?.admin();
    let collector = Collector::start(&setup).await?;
    let (admin, id) = (collector.admin()?, collector.id());
    let compiler = || async move { children(id).into_iter().next() };
    let killed = async {
        let (compiler, command) = until("a compiler", compiler).await?;
        ensure!(command.contains("compile-plugin"), "{command}");
        kill(compiler)
    };
    let (answer, done) = tokio::join!(admin.upload(STAGE, "", &bomb), killed);
    done?;
    let why = answer?.refusal(422)?;
    ensure!(why.contains("ended early (signal: 9"), "{why}");
    let orphan = async {
        let (compiler, _) = until("a compiler", compiler).await?;
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

/// What a stage with a plugin from a server on this machine needs in its config.
fn remote(backend: &str, site: &Site, more: &str, cache: &Path) -> Config {
    let host = site.host();
    let plugins = format!(
        "insecure_hosts: [\"{host}\"], allow_private: [127.0.0.1], fetch_timeout: 5s, cache_dir: \"{}\"",
        cache.display()
    );
    Config::new(backend)
        .stage_at(
            "stage",
            &format!("{{ url: \"http://{host}/p.wasm\", {more} }}"),
            "config: { window: 10m }",
        )
        .service(&format!("plugins: {{ {plugins} }}"))
}

/// A plugin comes from a server by its digest, is kept, and is there at the next start when the server
/// is not; with nothing kept, the collector does not start.
#[tokio::test]
async fn a_plugin_comes_from_a_server() -> Result<()> {
    let backend = Backend::start().await?;
    let bytes = std::fs::read(plugin("drop-duplicates")?)?;
    let mut site = Site::start().await?;
    site.put("/p.wasm", &bytes);
    let folder = Setup::bare()?;
    let pin = format!("sha256: {}", spandrel_tests::site::sha256(&bytes));
    let start = async |cache: &str| -> Result<_> {
        let config = remote(&backend.endpoint(), &site, &pin, &folder.file(cache));
        Ok(Collector::spawn(&Setup::new(&config.yaml())?)?)
    };
    let collector = start("one").await?;
    collector
        .wait_for_message(spandrel_tests::collector::READY)
        .await?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let request = Shop::new(8).request(50);
    client.send(request.clone()).await?;
    client.send(request).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ensure!(
        ended.ledger("traces")?.dropped == 50,
        "the plugin did not run"
    );
    site.close().await;
    let again = start("one").await?;
    again
        .wait_for_message(spandrel_tests::collector::READY)
        .await?;
    again.stop().await?.expect_code(0)?;
    let ended = start("two").await?.wait().await?;
    ended.expect_code(1)?;
    let tail = ended.log.tail();
    ensure!(
        tail.contains("cannot fetch plugin") && tail.contains("cannot connect to"),
        "{tail}"
    );
    Ok(())
}

/// `on_unreachable: pass`: the collector starts without its plugin, what comes passes and is counted
/// as bypassed, and the plugin is swapped in by itself when its source is there.
#[tokio::test]
async fn a_plugin_may_come_later() -> Result<()> {
    let backend = Backend::start().await?;
    let bytes = std::fs::read(plugin("drop-duplicates")?)?;
    let site = Site::start().await?;
    let folder = Setup::bare()?;
    let more = format!(
        "on_unreachable: pass, sha256: {}",
        spandrel_tests::site::sha256(&bytes)
    );
    let config = remote(&backend.endpoint(), &site, &more, &folder.file("cache"));
    site.fail("/p.wasm", 503);
    let collector = Collector::start(&Setup::new(&config.yaml())?.admin()).await?;
    let admin = collector.admin()?;
    let mut client = Client::connect(&collector.address("otlp")?).await?;
    let request = Shop::new(9).request(50);
    client.send(request.clone()).await?;
    let ledger = admin.pipeline("traces").await?;
    let bypassed = ledger
        .pointer("/ledger/stages/0/bypassed")
        .and_then(serde_json::Value::as_u64);
    ensure!(bypassed == Some(50), "{ledger}");
    site.put("/p.wasm", &bytes);
    let event = tokio::time::timeout(
        Duration::from_secs(60),
        admin.wait_for(STAGE, "published", 0),
    )
    .await??;
    ensure!(event.by == "source", "{event:?}");
    let view = admin.stage(STAGE).await?;
    ensure!(view.get("previous").is_none(), "{view}");
    client.send(request.clone()).await?;
    client.send(request).await?;
    let ended = collector.stop().await?;
    ended.expect_code(0)?;
    ensure!(
        ended.ledger("traces")?.dropped == 50,
        "{:?}",
        ended.ledger("traces")?
    );
    Ok(())
}
