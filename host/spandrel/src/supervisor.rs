//! Tells the service manager of the system (systemd, or another that speaks its protocol) about the
//! life of the collector: started, reloading, stopping, alive.
//!
//! The protocol is that of `sd_notify(3)`: one datagram of text to the socket that `NOTIFY_SOCKET`
//! names. Without that variable nothing is sent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use spandrel_collector::status::{Life, Phase, Status};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

/// The time that a message may wait for the service manager. A manager that hangs costs messages,
/// and never the collector.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time beyond the deadline of the drain in which the process ends: journals have 3 s, file
/// operations 1 s, and there is 1 s to spare.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// The reason why the service manager cannot be told.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    /// The variable names no unix socket.
    #[error("NOTIFY_SOCKET is `{}`, which is neither an absolute path nor an abstract name", socket.display())]
    Name {
        /// The value of the variable.
        socket: OsString,
        /// The cause, if the system gave one.
        #[source]
        source: Option<io::Error>,
    },
    /// The socket takes nothing.
    #[error("cannot send to the socket of NOTIFY_SOCKET")]
    Send(#[source] io::Error),
}

/// The service manager that started this process, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    socket: Option<SocketAddr>,
    /// The longest time that the service manager waits for a sign of life.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Returns the service manager that the environment names. The variables stay set: the only
    /// program that the collector starts is its compiler, which gets no environment.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name);
        let socket = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        let Some(socket) = socket else {
            return Self::default();
        };
        match address(&socket) {
            Ok(address) => Self {
                socket: Some(address),
                watchdog: watchdog(
                    variable("WATCHDOG_USEC").as_deref(),
                    variable("WATCHDOG_PID").as_deref(),
                ),
            },
            Err(error) => {
                warn_of(&error);
                Self::default()
            }
        }
    }

    /// Tells the service manager that the start has begun.
    pub(crate) async fn starting(&self) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, "STATUS=Opening journals and ports, loading plugins").await
        {
            warn_of(&error);
        }
    }

    /// Tells the service manager of each step from now on. The task ends when the returned set is
    /// dropped.
    pub(crate) fn follow(self, status: &Arc<Status>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        if let Some(socket) = self.socket {
            info!(
                watchdog_ms = self.watchdog.map(|limit| limit.as_millis()),
                "the service manager is told of readiness, reloads and the stop"
            );
            let follower = Follower {
                socket,
                life: status.life(),
                status: Arc::clone(status),
                told: Life::default(),
                has_warned: false,
            };
            tasks.spawn(follower.run(self.watchdog));
        }
        tasks
    }
}

/// Returns the address that a value of `NOTIFY_SOCKET` means. A value that begins with `@` is a name
/// in the abstract namespace.
fn address(socket: &OsStr) -> Result<SocketAddr, NotifyError> {
    let bad = |source| NotifyError::Name {
        socket: socket.to_owned(),
        source,
    };
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => return Err(bad(None)),
    }
    .map_err(|error| bad(Some(error)))
}

/// Returns the limit of the watchdog, if it is meant for this process.
fn watchdog(usec: Option<&OsStr>, pid: Option<&OsStr>) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(std::process::id()))) {
        return None;
    }
    let usec = usec.and_then(number).filter(|usec| *usec > 0)?;
    Some(Duration::from_micros(usec))
}

/// Sends one message.
async fn send(socket: &SocketAddr, message: &str) -> Result<(), NotifyError> {
    let connected = || -> io::Result<tokio::net::UnixDatagram> {
        // A new socket each time: the service manager may have been started again meanwhile.
        let datagram = UnixDatagram::unbound()?;
        datagram.set_nonblocking(true)?;
        datagram.connect_addr(socket)?;
        tokio::net::UnixDatagram::from_std(datagram)
    };
    let datagram = connected().map_err(NotifyError::Send)?;
    let sent = timeout(PATIENCE, datagram.send(message.as_bytes())).await;
    let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    sent.map(drop).map_err(NotifyError::Send)
}

fn warn_of(error: &NotifyError) {
    warn!(
        error = error as &dyn std::error::Error,
        "the service manager cannot be told"
    );
}

/// Returns the time since the start of the machine, by which the service manager knows that a reload
/// began after its order.
fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
    u64::try_from(usec).unwrap_or_default()
}

/// Returns what is to be said when `told` was said last. A reload that began and ended in between is
/// said, too: whoever ordered it waits for both messages.
fn messages(told: &Life, now: &Life, monotonic_usec: u64) -> Vec<String> {
    let mut messages = Vec::new();
    if let Phase::Stopping { limit } = now.phase {
        if told.phase != now.phase {
            let usec = limit.saturating_add(AFTER_DRAIN).as_micros();
            messages.push(format!(
                "STOPPING=1\nEXTEND_TIMEOUT_USEC={usec}\nSTATUS=Draining"
            ));
        }
        return messages;
    }
    let has_reloaded = told.reloads != now.reloads;
    if has_reloaded {
        messages.push(format!(
            "RELOADING=1\nMONOTONIC_USEC={monotonic_usec}\nSTATUS=Reading the configuration again"
        ));
    }
    let is_new = told.phase != now.phase || has_reloaded || told.reloading;
    if now.phase == Phase::Running && is_new && !now.reloading {
        let text = match (now.reloads, now.reload_refused) {
            (0, _) => "Running",
            (_, false) => "Running, configuration reloaded",
            (_, true) => "Running, configuration not reloaded: the log says why",
        };
        messages.push(format!("READY=1\nSTATUS={text}"));
    }
    messages
}

struct Follower {
    socket: SocketAddr,
    life: watch::Receiver<Life>,
    status: Arc<Status>,
    told: Life,
    has_warned: bool,
}

impl Follower {
    async fn run(mut self, watchdog: Option<Duration>) {
        // Twice as often as is asked for, as `sd_watchdog_enabled(3)` recommends.
        let mut beats = watchdog.map(|limit| ticks(limit / 2));
        loop {
            tokio::select! {
                changed = self.life.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *self.life.borrow_and_update();
                    for message in messages(&self.told, &now, monotonic_usec()) {
                        self.say(&message).await;
                    }
                    self.told = now;
                }
                () = next(&mut beats) => {
                    if self.is_alive().await {
                        self.say("WATCHDOG=1").await;
                    }
                }
            }
        }
    }

    /// Returns true once another task has run to its end and has read what the collector shows of
    /// itself. It does not return when the threads of the runtime, or a lock that everybody needs,
    /// are stuck: then the service manager gets no sign of life, and starts the process again.
    async fn is_alive(&self) -> bool {
        let status = Arc::clone(&self.status);
        let mut task = JoinSet::new();
        task.spawn(async move { status.pipelines().len() });
        task.join_next().await.is_some_and(|done| done.is_ok())
    }

    async fn say(&mut self, message: &str) {
        if let Err(error) = send(&self.socket, message).await
            && !std::mem::replace(&mut self.has_warned, true)
        {
            warn_of(&error);
        }
    }
}

fn ticks(every: Duration) -> Interval {
    // An interval of zero panics.
    let mut ticks = interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn next(beats: &mut Option<Interval>) {
    match beats {
        Some(beats) => {
            beats.tick().await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Life = Life {
        phase: Phase::Running,
        reloads: 0,
        reloading: false,
        reload_refused: false,
    };

    fn first_lines(told: &Life, now: &Life) -> Vec<String> {
        let all = messages(told, now, 7);
        let firsts = all.iter().filter_map(|message| message.lines().next());
        firsts.map(str::to_owned).collect()
    }

    /// Each step is said once; a reload that was over before anybody looked is said as a whole.
    #[test]
    fn steps_are_said_once() {
        let start = Life::default();
        assert_eq!(first_lines(&start, &RUNNING), ["READY=1"]);
        assert!(first_lines(&RUNNING, &RUNNING).is_empty());
        let reloading = Life {
            reloads: 1,
            reloading: true,
            ..RUNNING
        };
        assert_eq!(first_lines(&RUNNING, &reloading), ["RELOADING=1"]);
        let reloaded = Life {
            reloading: false,
            ..reloading
        };
        assert_eq!(first_lines(&reloading, &reloaded), ["READY=1"]);
        assert_eq!(first_lines(&RUNNING, &reloaded), ["RELOADING=1", "READY=1"]);
        let both = messages(&RUNNING, &reloaded, 7);
        assert!(both.iter().any(|it| it.contains("\nMONOTONIC_USEC=7\n")));
        let limit = Duration::from_secs(25);
        let stopping = Life {
            phase: Phase::Stopping { limit },
            ..reloading
        };
        assert_eq!(first_lines(&reloading, &stopping), ["STOPPING=1"]);
        let said = messages(&reloading, &stopping, 7);
        assert!(
            said.iter()
                .any(|it| it.contains("\nEXTEND_TIMEOUT_USEC=30000000\n"))
        );
        assert!(first_lines(&stopping, &stopping).is_empty());
    }

    /// A refused reload ends as well, for the service manager waits for it; the status says so.
    #[test]
    fn a_refused_reload_is_over() {
        let refused = Life {
            reloads: 1,
            reload_refused: true,
            ..RUNNING
        };
        let said = messages(&RUNNING, &refused, 7);
        let last = said.last().expect("there are two");
        assert!(last.starts_with("READY=1\nSTATUS=") && last.contains("not reloaded"));
    }

    /// Paths and abstract names are addresses; anything else is not.
    #[test]
    fn sockets_are_named() {
        let is_path =
            |text: &str| address(OsStr::new(text)).is_ok_and(|it| it.as_pathname().is_some());
        assert!(is_path("/run/systemd/notify"));
        let named = address(OsStr::new("@spandrel/test")).expect("an abstract name");
        assert_eq!(named.as_abstract_name(), Some(&b"spandrel/test"[..]));
        assert!(address(OsStr::new("vsock:2:1234")).is_err());
        assert!(address(OsStr::new(&"/long".repeat(50))).is_err());
    }

    /// The watchdog of another process is none of ours.
    #[test]
    fn the_watchdog_is_ours() {
        let own = std::process::id().to_string();
        let asked =
            |usec: &str, pid: Option<&str>| watchdog(Some(OsStr::new(usec)), pid.map(OsStr::new));
        assert_eq!(asked("500000", None), Some(Duration::from_millis(500)));
        assert_eq!(
            asked("500000", Some(&own)),
            Some(Duration::from_millis(500))
        );
        for (usec, pid) in [
            ("500000", "1"),
            ("500000", "x"),
            ("0", &own),
            ("soon", &own),
        ] {
            assert_eq!(asked(usec, Some(pid)), None, "{usec} {pid}");
        }
    }
}
