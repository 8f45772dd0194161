//! The command line, and the exit codes of the process.

mod bench;
mod documents;
mod plugin;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use spandrel_collector::plugins::compile_in_child;
use spandrel_collector::problems::warn_of;
use spandrel_collector::{Ending, Origin};
use spandrel_config::examination::Examination;
use spandrel_config::problem::ConfigError;
use spandrel_config::source::Sources;
use spandrel_config::{self as config, Config};
use tracing::{error, info};

use crate::app::App;
use crate::start_error::StartError;
use crate::supervisor::Supervisor;
use crate::telemetry::logs;
use signals::Signals;

/// Exit code: the collector could not start. A port is in use, a file is missing, or a plugin does
/// not load.
const COULD_NOT_START: u8 = 1;
/// Exit code: items were abandoned at the deadline of the drain, or the ledger does not balance.
const NOT_DRAINED: u8 = 3;
/// Exit code: bad usage or configuration, `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

/// The argument with which the program starts itself to compile a plugin on its standard input and
/// output. It is not a subcommand, so that no help text and no suggestion shows it.
const COMPILE: &str = "compile-plugin";

/// The versions of the program, of the plugins' runtime and of their contract. A test compares them
/// with the workspace.
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
    /// Checks the configuration and loads its plugins without listening, and prints the checked components
    Validate(SourceArguments),
    /// Prints the JSON Schema of the configuration, with which an editor completes and checks it
    Schema,
    /// Measures a collector: sends load to it, counts the exported items, and reports CPU, memory and latency
    Bench(bench::BenchArguments),
    /// Shows and changes the plugins of a running collector, over its `admin` extension
    Plugin(plugin::PluginArguments),
    /// Shows, replays and drops the batches that failed every time
    Quarantine(plugin::quarantine::QuarantineArguments),
    /// Makes a running collector read its configuration again
    Reload(plugin::Connection),
    /// Prints the completions for a shell
    Completions(documents::CompletionArguments),
    /// Writes a man page for the program and one for each command
    Man(documents::ManArguments),
}

#[derive(Debug, Args)]
struct SourceArguments {
    /// The source of the configuration: a path, file:PATH, env:NAME or yaml:TEXT; may be repeated, later sources override earlier ones
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
        Some(Command::Schema) => print_schema(),
        Some(Command::Bench(arguments)) => bench::main(&arguments),
        Some(Command::Plugin(arguments)) => plugin::main(&arguments),
        Some(Command::Quarantine(arguments)) => plugin::quarantine::main(&arguments),
        Some(Command::Reload(connection)) => plugin::reload(&connection),
        Some(Command::Completions(arguments)) => documents::completions(&arguments),
        Some(Command::Man(arguments)) => documents::man(&arguments),
        None => run(arguments.sources),
    }
}

/// Returns true if the program was started as a compiler: with that argument and no other.
fn is_compiler(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.next().is_some_and(|first| first == COMPILE) && arguments.next().is_none()
}

/// Prints the message. Help and version are answers; anything else is a usage error.
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
    // A thread may be in a system call that does not end, on a disk or a file that hangs.
    runtime.shutdown_timeout(LAST_CALLS);
    ended
}

/// The time that file operations get to end when everything else has ended. A healthy disk needs
/// less, and the drain has waited for everything important.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Raises the limit on open files, which include connections, to the maximum. Shells and service
/// managers start processes with a thousand, for programs that use `select`. Returns the new limit;
/// `None` if there is none.
fn raise_files() -> Option<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // If raising is not allowed, receivers take fewer connections.
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
    let supervisor = Supervisor::from_environment();
    supervisor.starting().await;
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
    let _told = supervisor.follow(app.status());
    let (stop, abort) = signals.stop_and_abort();
    match app.run(stop, abort).await {
        Ending::Drained => ExitCode::SUCCESS,
        Ending::Abandoned => ExitCode::from(NOT_DRAINED),
    }
}

fn validate(arguments: SourceArguments) -> ExitCode {
    compile_in_child(COMPILE);
    let examined = Examination::read(&sources(arguments));
    let Some(runtime) = runtime() else {
        return ExitCode::from(COULD_NOT_START);
    };
    for warning in examined.warnings() {
        print_line(&format!("warning: {warning}"));
    }
    match runtime.block_on(App::check(examined)) {
        Ok(report) => {
            // If stdout is closed, nobody reads the report. The exit code still tells the outcome.
            write!(std::io::stdout().lock(), "{report}").unwrap_or_default();
            ExitCode::SUCCESS
        }
        Err(refused) => print_problems(&refused),
    }
}

fn print_schema() -> ExitCode {
    // If stdout is closed, nobody reads the schema.
    write!(std::io::stdout().lock(), "{}", config::reference::schema()).unwrap_or_default();
    ExitCode::SUCCESS
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

/// Prints a line for the operator, before there is a log.
fn print_line(line: &str) {
    // If stderr is closed, nobody reads the line. The exit code still tells the outcome.
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

    /// The process raises its limit on open files to the maximum, whatever it was started with.
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

    /// `--version` shows the actual versions of the runtime and of the contract.
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
