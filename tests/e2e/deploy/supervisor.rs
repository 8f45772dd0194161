//! The collector and the service manager that started it, over a real socket.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram as StdDatagram};

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use spandrel_tests::backend::Backend;
use spandrel_tests::collector::{Collector, READY, Setup};
use spandrel_tests::config::Config;
use spandrel_tests::until::soon;
use tokio::net::UnixDatagram;

/// A service manager that notes what it is told.
struct Manager(UnixDatagram);

type Message = BTreeMap<String, String>;

impl Manager {
    async fn next(&self) -> Result<Message> {
        let mut bytes = vec![0; 4096];
        let length = soon("a message", self.0.recv(&mut bytes)).await??;
        let text = std::str::from_utf8(&bytes[..length])?;
        let fields = text.lines().filter_map(|line| line.split_once('='));
        Ok(fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }

    /// Waits for a message with this field. Returns it, and the number of signs of life before it.
    async fn wait(&self, field: &str) -> Result<(Message, usize)> {
        let mut beats = 0;
        loop {
            let message = self.next().await?;
            if message.contains_key(field) {
                return Ok((message, beats));
            }
            beats += usize::from(message.contains_key("WATCHDOG"));
            let is_word = message.contains_key("WATCHDOG") || message.contains_key("STATUS");
            ensure!(
                is_word && !message.contains_key("READY"),
                "{message:?} before {field}"
            );
        }
    }
}

fn monotonic_usec() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// The service manager is told of the start, of each reload from its begin to its end, taken or
/// refused, of the stop with the time that it takes, and in between that the process is alive.
#[tokio::test]
async fn the_life_is_told() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).service("watch: false, drain_timeout: 90s");
    let setup = Setup::new(&config.yaml())?;
    let path = setup.file("notify.sock");
    let manager = Manager(UnixDatagram::bind(&path)?);
    let setup = setup
        .env("NOTIFY_SOCKET", path.as_os_str())
        .env("WATCHDOG_USEC", "200000");
    let collector = Collector::spawn(&setup)?;
    let (ready, _) = manager.wait("READY").await?;
    ensure!(
        ready["READY"] == "1" && ready["STATUS"] == "Running",
        "{ready:?}"
    );
    collector.wait_for_message(READY).await?;
    for _ in 0..3 {
        manager.wait("WATCHDOG").await?;
    }

    let yaml = setup.file("spandrel.yaml");
    for (text, outcome) in [
        (
            config.traces("ack_on: export").yaml(),
            "configuration reloaded",
        ),
        ("receivers: {}".to_owned(), "not reloaded"),
    ] {
        std::fs::write(&yaml, text)?;
        let before = monotonic_usec();
        collector.hang_up()?;
        let (reloading, _) = manager.wait("RELOADING").await?;
        let at: i64 = reloading["MONOTONIC_USEC"].parse()?;
        ensure!(
            before <= at && at <= monotonic_usec(),
            "{before} {reloading:?}"
        );
        let (ready, _) = manager.wait("READY").await?;
        ensure!(ready["STATUS"].contains(outcome), "{ready:?}");
    }

    collector.sigterm()?;
    let (stopping, _) = manager.wait("STOPPING").await?;
    ensure!(
        stopping["EXTEND_TIMEOUT_USEC"] == "95000000",
        "{stopping:?}"
    );
    collector.wait().await?.expect_code(0)
}

/// A name in the abstract namespace is a socket, too; the watchdog of another process gets no signs
/// of life, and neither a socket that is gone nor one that is none keeps the collector from its work.
#[tokio::test]
async fn other_sockets() -> Result<()> {
    let backend = Backend::start().await?;
    let config = Config::new(backend.endpoint()).yaml();
    let name = format!("spandrel-test-{}", std::process::id());
    let socket = StdDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    socket.set_nonblocking(true)?;
    let manager = Manager(UnixDatagram::from_std(socket)?);
    let setup = Setup::new(&config)?
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    let collector = Collector::start(&setup).await?;
    manager.wait("READY").await?;
    collector.sigterm()?;
    let (_, beats) = manager.wait("STOPPING").await?;
    ensure!(beats == 0, "{beats} signs of life for another process");
    collector.wait().await?.expect_code(0)?;

    for socket in ["/nobody/listens/here", "no-path"] {
        let setup = Setup::new(&config)?.env("NOTIFY_SOCKET", socket);
        let collector = Collector::start(&setup).await?;
        let ended = collector.stop().await?;
        ended.expect_code(0)?;
        let told = ended
            .log
            .find(|line| line.message() == "the service manager cannot be told");
        told.with_context(|| format!("no warning of {socket}:\n{}", ended.log.tail()))?;
    }
    Ok(())
}
