//! The command line, and what the process' exit code says.

mod bench;
mod plugin;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{error, info};

use crate::app::plugins::compile_in_child;
use crate::app::{App, Ending, Origin, StartError, warn_of};
use crate::config::examine::Examined;
use crate::config::problem::ConfigError;
use crate::config::source::Sources;
use crate::config::{self, Config};
use crate::telemetry::logs;
use signals::Signals;

/// Could not start: a port in use, a file that is not there, a plugin that does not load.
const COULD_NOT_START: u8 = 1;
/// Items were abandoned at the deadline of the drain, or the ledger does not balance.
const NOT_DRAINED: u8 = 3;
/// Bad usage or configuration: `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

/// The argument that the program starts itself with, to compile a plugin on its standard input and
/// output. It is no subcommand, so that it is in no help text and no suggestion.
const COMPILE: &str = "compile-plugin";

/// What plugins run on and what they are built for; a test holds it against the workspace.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nwasmtime 48.0.8",
    "\nspandrel:plugin@0.1.0"
);

#[derive(Debug, Parser)]
#[command(name = "spandrel", version = VERSION, about = "An OpenTelemetry collector whose processors are WebAssembly components")]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    sources: SourceArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the collector; the default
    Run(SourceArguments),
    /// Checks the configuration and loads its plugins, without listening, and says what it checked
    Validate(SourceArguments),
    /// Measures a collector: sends to it, counts what it exports, and says what it took
    Bench(bench::BenchArguments),
    /// Shows and changes the plugins of a running collector, over its `admin` extension
    Plugin(plugin::PluginArguments),
    /// Shows, replays and drops the batches that failed every time
    Quarantine(plugin::quarantine::QuarantineArguments),
    /// Lets a running collector read its configuration again
    Reload(plugin::Connection),
}

#[derive(Debug, Args)]
struct SourceArguments {
    /// Where to read the configuration: a path, file:PATH, env:NAME or yaml:TEXT; may be repeated, later ones are laid over earlier ones
    #[arg(long = "config", value_name = "SOURCE")]
    configs: Vec<String>,
    /// Sets one value, such as processors::batch::timeout=2s; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    if is_compiler(std::env::args_os().skip(1)) {
        return spandrel_plugin::compile::confined::main();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return usage(&message),
    };
    match arguments.command {
        Some(Command::Validate(sources)) => validate(sources),
        Some(Command::Run(sources)) => run(sources),
        Some(Command::Bench(arguments)) => bench::main(&arguments),
        Some(Command::Plugin(arguments)) => plugin::main(&arguments),
        Some(Command::Quarantine(arguments)) => plugin::quarantine::main(&arguments),
        Some(Command::Reload(connection)) => plugin::reload(&connection),
        None => run(arguments.sources),
    }
}

/// Whether the program was started as a compiler: with that argument and no other.
fn is_compiler(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.next().is_some_and(|first| first == COMPILE) && arguments.next().is_none()
}

/// Help and version are answers; anything else is a mistake.
fn usage(message: &clap::Error) -> ExitCode {
    if message.print().is_err() {
        return ExitCode::from(USAGE);
    }
    if message.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

fn run(arguments: SourceArguments) -> ExitCode {
    compile_in_child(COMPILE);
    let is_default = arguments.configs.is_empty();
    let sources = sources(arguments);
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(refused) => return print_problems(&refused),
    };
    logs::start(&config.service.telemetry, std::io::stderr().is_terminal());
    let Some(runtime) = runtime() else {
        return ExitCode::from(COULD_NOT_START);
    };
    let ended = runtime.block_on(serve(config, sources, is_default));
    // A thread may be in a call of the system that does not end, on a disk or a file that hangs.
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

/// What was begun on files may end when everything else has: a healthy disk takes less, and the
/// drain has waited for what matters.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Lets the process have as many files as it may, connections among them: what shells and service
/// managers give at first is a thousand, for the sake of programs that use `select`. Returns how
/// many that is; none for no limit.
fn raise_files() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Where it is not allowed, receivers take fewer connections.
    setrlimit(Resource::Nofile, raised).ok();
    getrlimit(Resource::Nofile).current
}

async fn serve(config: Config, sources: Sources, is_default: bool) -> ExitCode {
    let files = raise_files();
    let version = env!("CARGO_PKG_VERSION");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    info!(
        version,
        cpus,
        files,
        pid = std::process::id(),
        "Starting spandrel..."
    );
    if is_default {
        info!(
            "no --config given: running the embedded default, OTLP/gRPC on 127.0.0.1:4317 printed by `debug`"
        );
    }
    warn_of(&config.warnings);
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return could_not_start(&StartError::Signals(error)),
    };
    let built = tokio::select! {
        built = App::build(config) => built,
        signal = signals.first() => {
            info!(signal, "Received signal from OS");
            info!("Shutdown complete.");
            return ExitCode::SUCCESS;
        }
    };
    let app = match built {
        Ok(app) => app.reloading(Origin {
            sources,
            hang_ups: signals.hang_ups(),
        }),
        Err(error) => return could_not_start(&error),
    };
    let (stop, abort) = signals.stop_and_abort();
    match app.run(stop, abort).await {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::Abandoned => ExitCode::from(NOT_DRAINED),
    }
}

fn validate(arguments: SourceArguments) -> ExitCode {
    compile_in_child(COMPILE);
    let examined = Examined::read(&sources(arguments));
    let Some(runtime) = runtime() else {
        return ExitCode::from(COULD_NOT_START);
    };
    for warning in examined.warnings() {
        print_line(&format!("warning: {warning}"));
    }
    match runtime.block_on(App::check(examined)) {
        Ok(report) => {
            // Whoever closed our stdout does not want to know; the exit code still says it.
            write!(std::io::stdout().lock(), "{report}").unwrap_or_default();
            ExitCode::SUCCESS
        }
        Err(refused) => print_problems(&refused),
    }
}

fn sources(arguments: SourceArguments) -> Sources {
    let SourceArguments { mut configs, sets } = arguments;
    if configs.is_empty() {
        configs.push(format!("yaml:{}", config::DEFAULT));
    }
    Sources { configs, sets }
}

fn runtime() -> Option<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("spandrel")
        .build();
    runtime
        .inspect_err(|error| {
            print_line(&format!("cannot start the runtime: {error}"));
        })
        .ok()
}

fn could_not_start(error: &StartError) -> ExitCode {
    error!(error = error as &dyn std::error::Error, "cannot start");
    ExitCode::from(COULD_NOT_START)
}

fn print_problems(refused: &ConfigError) -> ExitCode {
    print_line(&refused.to_string());
    ExitCode::from(USAGE)
}

/// To the operator, before there is a log.
fn print_line(line: &str) {
    // Without a stderr there is nobody left to tell; the exit code still says it.
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `run` is the default, and takes the same arguments.
    #[test]
    fn arguments_are_read() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        let bare = parse("spandrel --config a.yaml --config b.yaml --set a::b=c").expect("good");
        assert_eq!(bare.sources.configs, ["a.yaml", "b.yaml"]);
        assert_eq!(bare.sources.sets, ["a::b=c"]);
        let run = parse("spandrel run --config=a.yaml").expect("good");
        assert!(matches!(run.command, Some(Command::Run(s)) if s.configs == ["a.yaml"]));
        let validate = parse("spandrel validate --config a.yaml").expect("good");
        assert!(matches!(validate.command, Some(Command::Validate(_))));
        assert!(parse("spandrel --confg a.yaml").is_err());
    }

    /// Whatever it was started with, the process has as many files as it may have.
    #[test]
    fn files_are_raised() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let started = Rlimit {
            current: maximum.map_or(Some(1024), |maximum| Some(maximum.min(1024))),
            maximum,
        };
        setrlimit(Resource::Nofile, started).expect("less is always allowed");
        assert_eq!(raise_files(), maximum);
    }

    /// `--version` tells the truth about the runtime and the contract.
    #[test]
    fn the_version_is_true() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("it is there");
        let mut lines = VERSION.lines().skip(1);
        let wasmtime = lines.next().and_then(|line| line.strip_prefix("wasmtime "));
        let locked = format!(
            "name = \"wasmtime\"\nversion = \"{}\"",
            wasmtime.expect("a version")
        );
        assert!(read("Cargo.lock").contains(&locked), "{locked}");
        let package = format!("package {};", lines.next().expect("a contract"));
        assert!(read("wit/v0.1/plugin.wit").contains(&package), "{package}");
        assert_eq!(lines.next(), None);
    }
}
