//! `spandrel bench`: measures a collector under load.

mod progress;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use spandrel_bench::{
    BenchError, CollectorUnderTest, CommandLine, Compression, Load, LoadLength, Progress, Settings,
    Signal, Windows,
};

use super::USAGE;
use values::{address, amount, duration};

/// Exit code: something was missing, or could not be started.
const COULD_NOT_RUN: u8 = 1;
/// Exit code: the run was made and is not good. For example, items were lost, or the collector
/// ended badly.
const NOT_GOOD: u8 = 3;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BenchArguments {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    run: Box<RunArguments>,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// The yardstick alone: forwards OTLP/gRPC as raw bytes, and validates nothing
    Proxy {
        /// The address to listen on
        #[arg(long, value_name = "HOST:PORT", value_parser = address)]
        listen: SocketAddr,
        /// The address to send to
        #[arg(long, value_name = "HOST:PORT", value_parser = address)]
        to: SocketAddr,
    },
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The address of the collector's OTLP/gRPC receiver
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4317", value_parser = address)]
    endpoint: SocketAddr,
    /// The address of the counting backend; the collector must export to it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4319", value_parser = address)]
    backend: SocketAddr,
    /// Measures this running collector
    #[arg(long, conflicts_with_all = ["config", "command"])]
    pid: Option<u32>,
    /// Starts this program with that configuration and measures it
    #[arg(long, value_name = "SOURCE", conflicts_with = "command")]
    config: Vec<String>,
    /// Spans, data points or log records
    #[arg(long, value_enum, default_value_t = SignalArgument::Traces)]
    signal: SignalArgument,
    /// The number of items in a request
    #[arg(long, default_value_t = 512)]
    batch: usize,
    /// The number of connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way in each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Sends this many items
    #[arg(long, conflicts_with = "duration")]
    count: Option<u64>,
    /// Sends for this time, such as 10s
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Items per second, due whether answers come or not, with at most --connections x --in-flight requests under way; without it as fast as it goes
    #[arg(long)]
    rate: Option<u64>,
    /// The warm-up, which is not counted: a time or a number of items
    #[arg(long, default_value = "2s", value_parser = amount)]
    warm_up: LoadLength,
    /// The number of different values of service.name
    #[arg(long, default_value_t = 20)]
    services: usize,
    /// The number of attributes of an item
    #[arg(long, default_value_t = 12)]
    attributes: usize,
    /// The approximate size of an item, in bytes
    #[arg(long, default_value_t = 640)]
    size: usize,
    /// The share of items with http.route=/healthz, which the collector may drop
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    health_checks: f64,
    /// The share of items that are sent again with the same ids
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    duplicates: f64,
    /// The compression of requests
    #[arg(long, value_enum, default_value_t = CompressionArgument::None)]
    compression: CompressionArgument,
    /// Lets the collector drop more than health checks: missing items are reported and are no failure
    #[arg(long)]
    may_drop: bool,
    /// Measures the raw proxy too, and prints the ratio
    #[arg(long)]
    yardstick: bool,
    /// The time to wait for a start, for an answer, for the last items
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// Bytes that the backend takes in one stream before it is read
    #[arg(long, value_name = "BYTES", default_value_t = Windows::default().stream)]
    backend_window: u32,
    /// The largest HTTP/2 frame that the backend takes
    #[arg(long, value_name = "BYTES", default_value_t = Windows::default().frame, value_parser = clap::value_parser!(u32).range(16_384..=16_777_215))]
    backend_frame: u32,
    /// Shows progress even if stderr is not a terminal
    #[arg(long, short)]
    verbose: bool,
    /// The form of the report
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Starts any other collector by its command line and measures it
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SignalArgument {
    Traces,
    Metrics,
    Logs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompressionArgument {
    None,
    Gzip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs `spandrel bench`.
pub(super) fn main(arguments: &BenchArguments) -> ExitCode {
    match &arguments.command {
        Some(BenchCommand::Proxy { listen, to }) => proxy(*listen, *to),
        None => run(&arguments.run),
    }
}

fn run(arguments: &RunArguments) -> ExitCode {
    let output = arguments.output;
    let is_terminal = std::io::stderr().is_terminal();
    let tells = arguments.verbose || is_terminal;
    let settings = match settings(arguments) {
        Ok(settings) => settings,
        Err(error) => return failed(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let mut tell = |progress: &Progress| {
        if tells {
            to_stderr(&progress::line(progress, is_terminal));
        }
    };
    let report = runtime.block_on(spandrel_bench::run(&settings, &mut tell));
    if is_terminal {
        to_stderr("\r\x1b[K");
    }
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let code = failed(&error);
            let is_usage = matches!(error, BenchError::Load(_));
            return if is_usage {
                ExitCode::from(USAGE)
            } else {
                code
            };
        }
    };
    let text = match output {
        Output::Json => report.json(),
        Output::Text => report.text(std::io::stdout().is_terminal()),
    };
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        return ExitCode::from(COULD_NOT_RUN);
    }
    if report.verdict.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_GOOD)
    }
}

fn proxy(listen: SocketAddr, to: SocketAddr) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        Ok::<_, std::io::Error>(spandrel_bench::proxy::run(listen, to, stop).await)
    });
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn settings(arguments: &RunArguments) -> std::io::Result<Settings> {
    let own = std::env::current_exe()?;
    let subject = subject(arguments, &own);
    Ok(Settings {
        subject,
        endpoint: arguments.endpoint,
        backend: arguments.backend,
        windows: Windows {
            stream: arguments.backend_window,
            frame: arguments.backend_frame,
        },
        load: Load {
            signal: match arguments.signal {
                SignalArgument::Traces => Signal::Traces,
                SignalArgument::Metrics => Signal::Metrics,
                SignalArgument::Logs => Signal::Logs,
            },
            batch: arguments.batch,
            connections: arguments.connections,
            in_flight: arguments.in_flight,
            amount: arguments
                .count
                .map_or(LoadLength::For(arguments.duration), LoadLength::Items),
            rate: arguments.rate,
            warm_up: arguments.warm_up,
            services: arguments.services,
            attributes: arguments.attributes,
            size: arguments.size,
            health_checks: arguments.health_checks,
            duplicates: arguments.duplicates,
            compression: match arguments.compression {
                CompressionArgument::None => Compression::None,
                CompressionArgument::Gzip => Compression::Gzip,
            },
        },
        timeout: arguments.timeout,
        may_drop: arguments.may_drop,
        yardstick: arguments.yardstick.then(|| CommandLine {
            program: own,
            arguments: vec!["bench".into(), "proxy".into()],
        }),
    })
}

fn subject(arguments: &RunArguments, own: &std::path::Path) -> CollectorUnderTest {
    if let Some(pid) = arguments.pid {
        return CollectorUnderTest::Running(pid);
    }
    if let Some((program, rest)) = arguments.command.split_first() {
        return CollectorUnderTest::Started(CommandLine {
            program: PathBuf::from(program),
            arguments: rest.to_vec(),
        });
    }
    let configs = if arguments.config.is_empty() {
        let config = pass_through(arguments.endpoint, arguments.backend);
        vec![format!("yaml:{config}")]
    } else {
        arguments.config.clone()
    };
    let mut line = vec![OsString::from("run")];
    for config in configs {
        line.extend(["--config".into(), config.into()]);
    }
    CollectorUnderTest::Started(CommandLine {
        program: own.to_owned(),
        arguments: line,
    })
}

/// Returns the configuration that is measured by default: all three signals, from a receiver to an
/// exporter. The sender gets its answer from the backend, as through the yardstick, so no queue
/// fills up meanwhile.
fn pass_through(endpoint: SocketAddr, backend: SocketAddr) -> String {
    let pipeline = "{ receivers: [otlp], exporters: [otlp_grpc], ack_on: export }";
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: \"{endpoint}\" }} }} }} }}
exporters: {{ otlp_grpc: {{ endpoint: \"http://{backend}\", compression: none, tls: {{ insecure: true }} }} }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines: {{ traces: {pipeline}, metrics: {pipeline}, logs: {pipeline} }}
"
    )
}

/// Prints an error with all of its causes.
fn failed(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("spandrel bench: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    to_stderr(&format!("{text}\n"));
    ExitCode::from(COULD_NOT_RUN)
}

fn to_stderr(text: &str) {
    // If stderr is closed, nobody reads the text. The exit code still tells the outcome.
    write!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use spandrel_config::{Config, source::Sources};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArguments,
    }

    fn settings_of(line: &str) -> Settings {
        let line = Line::try_parse_from(line.split(' ')).expect("a good line");
        settings(&line.bench.run).expect("we know our own program")
    }

    /// By default this program is measured, with a configuration that it accepts.
    #[test]
    fn the_embedded_config_is_good() {
        let settings = settings_of("bench --endpoint 127.0.0.1:7001 --backend 127.0.0.1:7002");
        let CollectorUnderTest::Started(line) = settings.subject else {
            panic!("{settings:?}");
        };
        let config = line.arguments.last().and_then(|last| last.to_str());
        let sources = Sources {
            configs: vec![config.expect("text").to_owned()],
            sets: Vec::new(),
        };
        let config = Config::load(&sources).expect("a good config");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.service.pipelines.len(), 3);
    }

    /// Other collectors are named by their command line, or by their process.
    #[test]
    fn others_are_named() {
        let settings = settings_of("bench --count 1000 --warm-up 500ms -- otelcol --config a.yaml");
        assert_eq!(settings.load.amount, LoadLength::Items(1000));
        assert_eq!(
            settings.load.warm_up,
            LoadLength::For(Duration::from_millis(500))
        );
        let CollectorUnderTest::Started(line) = settings.subject else {
            panic!("a program was named");
        };
        assert_eq!(line.to_string(), "otelcol --config a.yaml");
        let settings = settings_of("bench --pid 77 --warm-up 2000 --yardstick");
        assert!(matches!(settings.subject, CollectorUnderTest::Running(77)));
        assert_eq!(settings.load.warm_up, LoadLength::Items(2000));
        let proxy = settings.yardstick.expect("it is wanted");
        assert_eq!(proxy.arguments, ["bench", "proxy"]);
        for bad in [
            "bench --pid 1 --config a.yaml",
            "bench --duration 5",
            "bench --endpoint 4317",
        ] {
            assert!(Line::try_parse_from(bad.split(' ')).is_err(), "{bad}");
        }
    }
}
