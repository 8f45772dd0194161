//! The settings of a run: what to send, to which collector, and how to measure it.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spandrel_wire::Signal;

/// The settings of one run of the bench.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The collector that is measured.
    pub subject: CollectorUnderTest,
    /// The address where the collector takes OTLP/gRPC.
    pub endpoint: SocketAddr,
    /// The address to which the collector sends: the counting backend listens here.
    pub backend: SocketAddr,
    /// The HTTP/2 sizes of the backend.
    pub windows: Windows,
    /// The load that is sent.
    pub load: Load,
    /// The time to wait for a collector to come up, for an answer, and for items under way.
    pub timeout: Duration,
    /// True if accepted items may be dropped on the way: lost items are reported, and are no
    /// failure.
    pub may_drop: bool,
    /// The program that runs `spandrel bench proxy` for comparison; the bench adds the arguments.
    pub yardstick: Option<CommandLine>,
}

/// The collector under test.
#[derive(Clone, Debug)]
pub enum CollectorUnderTest {
    /// The bench starts and stops it.
    Started(CommandLine),
    /// It runs already, as this process.
    Running(u32),
    /// It runs already, and its process was not named: its costs are not known.
    Unknown,
}

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// A path, or a name to look for in `PATH`.
    pub program: PathBuf,
    /// The arguments of the program.
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

/// Sizes of HTTP/2 that the backend announces. They are large, so that the backend is not what is
/// measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The number of bytes that may be under way in one stream; a connection has four times as
    /// many.
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

/// The amount of a load after which it ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LoadLength {
    /// After this many items, rounded up to whole batches.
    Items(u64),
    /// After this time.
    For(Duration),
}

/// The compression of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// No compression.
    #[default]
    None,
    /// gzip, by the generator while it sends, which costs it several times what all the rest does.
    Gzip,
}

/// The load that the generator sends.
#[derive(Clone, Debug)]
pub struct Load {
    /// The kind of items: spans, data points or log records.
    pub signal: Signal,
    /// The number of items in one request.
    pub batch: usize,
    /// The number of connections of HTTP/2.
    pub connections: usize,
    /// The number of requests under way in each connection.
    pub in_flight: usize,
    /// The amount that is measured.
    pub amount: LoadLength,
    /// Items per second that are due whether answers come or not, as long as no more requests are
    /// under way than `connections` times `in_flight`. `None` sends as fast as it goes.
    pub rate: Option<u64>,
    /// The amount that is sent before, and not measured.
    pub warm_up: LoadLength,
    /// The number of different values of `service.name`.
    pub services: usize,
    /// The number of attributes of an item.
    pub attributes: usize,
    /// The bytes of an item on average, with its share of resource and scope.
    pub size: usize,
    /// The share of items whose `http.route` is `/healthz`: a collector may drop them.
    pub health_checks: f64,
    /// The share of items that are sent again with the same ids.
    pub duplicates: f64,
    /// The compression of requests.
    pub compression: Compression,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            signal: Signal::Traces,
            batch: 512,
            connections: 4,
            in_flight: 4,
            amount: LoadLength::For(Duration::from_secs(10)),
            rate: None,
            warm_up: LoadLength::For(Duration::from_secs(2)),
            services: 20,
            attributes: 12,
            size: 640,
            health_checks: 0.2,
            duplicates: 0.0,
            compression: Compression::None,
        }
    }
}
