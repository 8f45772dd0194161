//! What to send, to whom, and how it is measured.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spandrel_wire::Signal;

/// One run of the bench.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is measured.
    pub subject: Subject,
    /// Where it takes OTLP/gRPC.
    pub endpoint: SocketAddr,
    /// Where it sends to: the backend that counts listens here.
    pub backend: SocketAddr,
    /// How the backend reads.
    pub windows: Windows,
    /// What is sent.
    pub load: Load,
    /// How long to wait: for a collector to come up, for an answer, for what is under way.
    pub timeout: Duration,
    /// Accepted items may be dropped on the way: what is lost is told, and no failure.
    pub may_drop: bool,
    /// Runs `spandrel bench proxy` for comparison; the arguments are added.
    pub yardstick: Option<CommandLine>,
}

/// The collector under test.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Started and stopped by the bench.
    Started(CommandLine),
    /// Running already, as this process.
    Running(u32),
    /// Running already, and nobody said where: its costs are not known.
    Unknown,
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// A path, or a name to look for in `PATH`.
    pub program: PathBuf,
    /// What follows it.
    pub arguments: Vec<OsString>,
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.display())?;
        for argument in &self.arguments {
            write!(f, " {}", argument.display())?;
        }
        Ok(())
    }
}

/// Sizes of HTTP/2 that the backend announces; large, so that it is not what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Bytes that may be under way in one stream; a connection has four times as many.
    pub stream: u32,
    /// The largest frame, 16 KiB to 16 MiB - 1.
    pub frame: u32,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            stream: 8 << 20,
            frame: 1 << 20,
        }
    }
}

/// When to end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// After this many items, rounded up to whole batches.
    Items(u64),
    /// After this time.
    For(Duration),
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By the generator while it sends, which costs it several times what all the rest does.
    Gzip,
}

/// What the generator sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// Spans, data points or log records.
    pub signal: Signal,
    /// Items of one request.
    pub batch: usize,
    /// Connections of HTTP/2.
    pub connections: usize,
    /// Requests under way in each connection.
    pub in_flight: usize,
    /// How much is measured.
    pub amount: Amount,
    /// Items per second that are due whether answers come or not, as long as no more requests are
    /// under way than `connections` times `in_flight`; as fast as it goes without.
    pub rate: Option<u64>,
    /// What is sent before, and not measured.
    pub warm_up: Amount,
    /// Different values of `service.name`.
    pub services: usize,
    /// Attributes of an item.
    pub attributes: usize,
    /// Bytes of an item on average, with its share of resource and scope.
    pub size: usize,
    /// The share of items whose `http.route` is `/healthz`: a collector may drop them.
    pub health_checks: f64,
    /// The share of items that are sent again with the same ids.
    pub duplicates: f64,
    /// How requests are compressed.
    pub compression: Compression,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            signal: Signal::Traces,
            batch: 512,
            connections: 4,
            in_flight: 4,
            amount: Amount::For(Duration::from_secs(10)),
            rate: None,
            warm_up: Amount::For(Duration::from_secs(2)),
            services: 20,
            attributes: 12,
            size: 640,
            health_checks: 0.2,
            duplicates: 0.0,
            compression: Compression::None,
        }
    }
}
