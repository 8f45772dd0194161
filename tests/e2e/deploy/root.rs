//! The root file system of the image: the program runs in it as its own user, read-only, with nothing
//! but what the Dockerfile puts there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use spandrel_tests::artifacts;
use spandrel_tests::backend::Backend;
use spandrel_tests::client::Client;
use spandrel_tests::metrics::get;
use spandrel_tests::ports::free_address;
use spandrel_tests::shop::Shop;
use spandrel_tests::until::{not_run, say, soon, until};
use tokio::process::Child;
use tokio::time::Instant;

/// Mounts what a container runtime mounts, takes away the right to write, and becomes the program:
/// `sh -c SCRIPT ROOT CONF HOSTS ARGUMENTS...`. The volume is as Kubernetes makes one with `fsGroup`:
/// root's, and the group's to write.
const SCRIPT: &str = r#"
root=$0 conf=$1 hosts=$2
shift 2
mount --bind "$root" "$root"
: > "$root/etc/hosts"
mount -o remount,bind,ro "$root"
mount --bind "$hosts" "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777,size=64m,noexec,nosuid,nodev shm "$root/dev/shm"
mount -t tmpfs -o mode=2775,gid=10001 volume "$root/var/lib/spandrel"
mount --bind "$conf" "$root/conf"
chroot=$(command -v chroot)
exec env -i PATH=/ XDG_CACHE_HOME=/dev/shm XDG_RUNTIME_DIR=/dev/shm \
    "$chroot" --userspec=10001:10001 --groups= "$root" /spandrel "$@"
"#;

/// Lays the image's root out with the program of the tests.
fn lay_out(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    let laid = Command::new(super::file("image/root"))
        .arg(artifacts::collector()?)
        .arg(&root)
        .output()?;
    let said = String::from_utf8_lossy(&laid.stderr);
    ensure!(laid.status.success(), "{said}");
    Ok(root)
}

/// Returns true if this process may make mounts and become another user.
fn may_mount() -> bool {
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "chroot", "--userspec=10001:10001", "/", "true"]);
    let done = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

/// Lists the files of a root, without its folders.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root)?.display().to_string());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The image has one program, no shell, and as libraries only those of the C library.
#[test]
fn the_image_is_small() -> Result<()> {
    if !super::has("readelf") {
        return not_run("the test of the image's root", "there is no readelf");
    }
    let folder = tempfile::tempdir()?;
    let root = lay_out(folder.path())?;
    let files = files(&root)?;
    let known = ["ld-linux", "libc.so", "libm.so", "libgcc_s.so"];
    for file in &files {
        let name = file.rsplit('/').next().unwrap_or_default();
        let is_library = file.starts_with("lib") && known.iter().any(|it| name.starts_with(it));
        let is_word = file.starts_with("etc/") || file.starts_with("var/lib/dpkg/status.d/");
        ensure!(
            is_library || is_word || file == "spandrel",
            "{file} in {files:?}"
        );
    }
    ensure!(files.len() < 20, "{files:?}");
    Ok(())
}

/// A plugin and a journal work on the read-only root, a name is looked up, the health check answers,
/// a request comes through, and the stop is clean.
#[tokio::test]
async fn it_runs_in_the_images_root() -> Result<()> {
    if !super::has("readelf") || !may_mount() {
        let why = "it needs readelf, and the right to make mounts and to become another user";
        return not_run("the test of the image's root", why);
    }
    let folder = tempfile::tempdir()?;
    let root = lay_out(folder.path())?;
    let conf = folder.path().join("conf");
    std::fs::create_dir(&conf)?;
    let plugin = artifacts::plugin("drop-health-checks")?;
    std::fs::copy(plugin, conf.join("drop_health_checks.wasm"))?;
    let hosts = folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost backend.test\n")?;
    let backend = Backend::start().await?;
    let (otlp, health) = (free_address()?, free_address()?);
    std::fs::write(
        conf.join("relay.yaml"),
        config(&backend, &otlp.to_string(), &health.to_string()),
    )?;
    for path in [folder.path(), &root, &conf] {
        open_to_all(path)?;
    }

    let started = Instant::now();
    let log = std::fs::File::create(folder.path().join("log"))?;
    let mut collector = tokio::process::Command::new("unshare")
        .args(["--mount", "sh", "-euc", SCRIPT])
        .args([&root, &conf, &hosts])
        // As the chart and the Operator start it.
        .arg("--config=/conf/relay.yaml")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    let used = used(
        &mut collector,
        &backend,
        &otlp.to_string(),
        &health.to_string(),
        started,
    )
    .await;
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    used.with_context(log)?;
    let ended = soon("the end", collector.wait()).await??;
    ensure!(ended.code() == Some(0), "{ended}\n{}", log());
    for words in ["cannot be used", "are not kept", "ERROR"] {
        ensure!(!log().contains(words), "{words}:\n{}", log());
    }
    Ok(())
}

fn config(backend: &Backend, otlp: &str, health: &str) -> String {
    let port = backend.endpoint();
    let port = port.rsplit(':').next().unwrap_or_default();
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"{otlp}\" }} }} }} }}
processors:
  memory_limiter: {{ check_interval: 1s, limit_percentage: 80 }}
  wasm/drop: {{ module: /conf/drop_health_checks.wasm }}
exporters: {{ otlp_grpc: {{ endpoint: \"http://backend.test:{port}\" }} }}
extensions: {{ health_check: {{ endpoint: \"{health}\" }}, admin: {{}} }}
service:
  extensions: [health_check, admin]
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, wasm/drop]
      exporters: [otlp_grpc]
      durability: {{ dir: /var/lib/spandrel }}
"
    )
}

async fn used(
    collector: &mut Child,
    backend: &Backend,
    otlp: &str,
    health: &str,
    started: Instant,
) -> Result<()> {
    let id = collector.id().context("it has ended")?;
    until("readiness", || async {
        let answer = get(health, "/readyz").await.ok()?;
        (answer.0 == 200).then_some(())
    })
    .await?;
    say(&format!(
        "ready in the image's root after {:?}",
        started.elapsed()
    ));
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let users = users.context("no user")?.split_whitespace();
    ensure!(users.clone().all(|user| user == "10001"), "{status}");
    let own = PathBuf::from(format!("/proc/{id}/root"));
    let write = std::fs::write(own.join("tmp/written"), "");
    ensure!(write.is_err(), "the root can be written");
    ensure!(
        own.join("dev/shm/spandrel/admin.sock").exists(),
        "no admin socket"
    );
    let compiled = own.join("dev/shm/spandrel/compiled").read_dir()?.count();
    ensure!(compiled == 1, "{compiled} compiled plugins are kept");
    let mut client = Client::connect(otlp).await?;
    client.send(Shop::new(3).request(10)).await?;
    let sent = client.delivered.len() as u64;
    backend
        .wait("the spans", |taken| taken.totals.spans == sent)
        .await?;
    let pid = i32::try_from(id)?;
    let pid = rustix::process::Pid::from_raw(pid).context("no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    Ok(())
}

/// Lets another user enter a folder and read what is in it.
fn open_to_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}
