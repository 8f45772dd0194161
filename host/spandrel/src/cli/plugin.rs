//! `spandrel plugin`: shows and changes the plugins of a running collector.

mod events;
mod failure;
mod notes;
mod paint;
mod progress;
pub(super) mod quarantine;
mod stages;
mod table;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use spandrel_admin::client::{self, Client};
use spandrel_collector::report::{
    EventView, PipelineView, ReloadReport, ShadowView, StageView, SwapReport, SwapRequest,
};
use spandrel_config::net::Endpoint;

use self::failure::Failure;
use self::paint::Paint;

#[derive(Debug, Args)]
pub(super) struct PluginArguments {
    #[command(subcommand)]
    command: PluginCommand,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Lists the stages and the generations that run in them
    #[command(visible_alias = "list")]
    Ls(ListArguments),
    /// Shows one stage in all its details
    Show(StageArgument),
    /// Swaps the plugin of a stage for another build of it, another configuration, or both
    Swap(Box<SwapArguments>),
    /// Brings back the generation before the running one
    Rollback(StageArgument),
    /// Publishes the canary or shadow of a stage
    Promote(PromoteArguments),
    /// Ends the canary or shadow of a stage
    Cancel(StageArgument),
    /// Shows how the verdicts of a stage's shadow differ from those of the running generation
    Shadow(StageArgument),
    /// Shows the history: generations loaded, published, refused and rolled back
    History(HistoryArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Shows what each stage dropped, by reason
    #[arg(long)]
    drops: bool,
}

#[derive(Debug, Args)]
struct StageArgument {
    /// The stage, such as wasm/tag, or tag where that is the only one
    stage: String,
}

#[derive(Debug, Args)]
struct PromoteArguments {
    /// The stage, such as wasm/tag, or tag where that is the only one
    stage: String,
    #[command(flatten)]
    watch: WatchArguments,
}

/// The watch on a generation that takes over.
#[derive(Debug, Args)]
struct WatchArguments {
    /// Keeps the new generation whatever it does: there is no automatic rollback
    #[arg(long, conflicts_with = "expect_drops")]
    no_probation: bool,
    /// Lets the new generation drop more than the one before: only faults and slowness roll it back
    #[arg(long)]
    expect_drops: bool,
}

#[derive(Debug, Args)]
struct HistoryArguments {
    /// Shows only the events of this stage
    stage: Option<String>,
    /// Keeps running, and shows events as they happen
    #[arg(long, short)]
    watch: bool,
}

#[derive(Debug, Args)]
struct SwapArguments {
    /// The stage, such as wasm/tag, or tag where that is the only one
    stage: String,
    /// The new build; without it the stage's own file is read again
    #[arg(value_name = "MODULE.wasm")]
    module: Option<PathBuf>,
    /// The SHA-256 digest that the module must have, in hex
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    /// The file with the module's signature; without it MODULE.wasm.minisig, where there is one
    #[arg(long, value_name = "PATH", requires = "module")]
    signature: Option<PathBuf>,
    /// Another `config` for the plugin, as JSON, or @FILE with JSON in it
    #[arg(long, value_name = "JSON|@FILE", value_parser = config)]
    config: Option<serde_json::Value>,
    /// Checks the swap without making it
    #[arg(long)]
    dry_run: bool,
    /// Gives this share of traces to the new generation until it passes its probation, is promoted or is cancelled
    #[arg(long, value_name = "SHARE", value_parser = percent, conflicts_with_all = ["shadow", "no_probation"])]
    canary: Option<f64>,
    /// Gives the new generation a copy of the traffic, and exports nothing of it
    #[arg(long, conflicts_with = "no_probation")]
    shadow: bool,
    /// Sends the module's bytes, for a collector that cannot read the file
    #[arg(long, requires = "module")]
    upload: bool,
    /// Uses the module and the config of the configuration, whatever runs
    #[arg(long, conflicts_with_all = ["module", "config"])]
    as_configured: bool,
    #[command(flatten)]
    watch: WatchArguments,
}

#[derive(Debug, Args)]
pub(super) struct Connection {
    /// The endpoint of the collector's admin extension: unix:PATH or host:port [env: SPANDREL_ADMIN; default: the extension's own default]
    #[arg(long, global = true, value_name = "ENDPOINT", value_parser = Endpoint::parse)]
    admin: Option<Endpoint>,
    /// A file with the bearer token [env: SPANDREL_ADMIN_TOKEN_FILE]
    #[arg(long, global = true, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// The form of the answer
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn config(text: &str) -> Result<serde_json::Value, String> {
    let (text, from) = match text.strip_prefix('@') {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            (read.map_err(|error| format!("{path}: {error}"))?, path)
        }
        None => (text.to_owned(), "it"),
    };
    serde_json::from_str(&text).map_err(|error| format!("{from} is not JSON: {error}"))
}

fn percent(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix('%').unwrap_or(text).parse();
    share
        .ok()
        .filter(|share| *share > 0.0 && *share <= 100.0)
        .ok_or_else(|| "write a share such as 10%, more than 0 and at most 100".to_owned())
}

/// Runs `spandrel plugin`.
pub(super) fn main(arguments: &PluginArguments) -> ExitCode {
    finish(&arguments.connection, async |client, output| {
        run(client, output, &arguments.command).await
    })
}

/// Runs `spandrel reload`.
pub(super) fn reload(connection: &Connection) -> ExitCode {
    finish(connection, async |client, output| {
        let path = "/v1/reload".to_owned();
        let waiting = progress::Waiting::new("reading the configuration".to_owned(), None);
        let json = waiting.show(client, client.post(&path)).await?;
        let report: ReloadReport = client::understood(&json)?;
        print(output, &json, || stages::reloaded(&report))
    })
}

fn finish(
    connection: &Connection,
    work: impl AsyncFnOnce(&Client, Output) -> Result<(), Failure>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let client = Client::new(connection.admin.clone(), connection.token_file.clone())?;
            work(&client, connection.output).await
        }),
        Err(source) => Err(Failure::Runtime(source)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

async fn run(client: &Client, output: Output, command: &PluginCommand) -> Result<(), Failure> {
    match command {
        PluginCommand::Ls(ListArguments { drops }) => {
            let json = client.get("/v1/stages").await?;
            let pipelines: Vec<PipelineView> =
                client::understood(&client.get("/v1/pipelines").await?)?;
            let mut all: Vec<StageView> = client::understood(&json)?;
            stages::sort(&mut all, &pipelines);
            let list = if *drops { stages::drops } else { stages::list };
            print(output, &json, || list(&all, Paint::stdout()))
        }
        PluginCommand::Show(StageArgument { stage }) => {
            let stage = client.stage(stage).await?;
            let json = client.get(&client::path(&stage, "")).await?;
            let view: StageView = client::understood(&json)?;
            print(output, &json, || stages::details(&view, Paint::stdout()))
        }
        PluginCommand::Shadow(StageArgument { stage }) => {
            let stage = client.stage(stage).await?;
            let json = client.get(&client::path(&stage, "/shadow")).await?;
            let view: ShadowView = client::understood(&json)?;
            print(output, &json, || events::shadow(&view, Paint::stdout()))
        }
        PluginCommand::History(arguments) => history(client, output, arguments).await,
        PluginCommand::Swap(arguments) => swap(client, output, arguments).await,
        PluginCommand::Rollback(StageArgument { stage }) => {
            change(client, output, stage, "rollback", "rolling back").await
        }
        PluginCommand::Promote(PromoteArguments { stage, watch }) => {
            let word = match (watch.no_probation, watch.expect_drops) {
                (true, _) => "promote?no_probation=true",
                (false, true) => "promote?expect_drops=true",
                (false, false) => "promote",
            };
            change(client, output, stage, word, "promoting").await
        }
        PluginCommand::Cancel(StageArgument { stage }) => {
            change(client, output, stage, "cancel", "cancelling").await
        }
    }
}

async fn change(
    client: &Client,
    output: Output,
    stage: &str,
    word: &str,
    doing: &str,
) -> Result<(), Failure> {
    let stage = client.stage(stage).await?;
    let path = client::path(&stage, &format!("/{word}"));
    let waiting = progress::Waiting::new(format!("{doing} {stage}"), Some(stage));
    let json = waiting.show(client, client.post(&path)).await?;
    report(output, &json)
}

async fn swap(client: &Client, output: Output, arguments: &SwapArguments) -> Result<(), Failure> {
    let stage = client.stage(&arguments.stage).await?;
    let path = client::path(&stage, "/swap");
    let mut request = SwapRequest {
        module: None,
        sha256: arguments.sha256.clone(),
        signature: None,
        config: arguments.config.clone(),
        dry_run: arguments.dry_run,
        canary: arguments.canary,
        shadow: arguments.shadow,
        as_configured: arguments.as_configured,
        no_probation: arguments.watch.no_probation,
        expect_drops: arguments.watch.expect_drops,
    };
    let upload = match &arguments.module {
        Some(module) if arguments.upload => {
            request.signature = client::signature(arguments.signature.as_deref(), module)?;
            Some(client::module(module)?)
        }
        Some(module) => {
            if arguments.signature.is_some() {
                request.signature = client::signature(arguments.signature.as_deref(), module)?;
            }
            request.module = Some(client::absolute(module)?);
            None
        }
        None => None,
    };
    let waiting = progress::Waiting::new(format!("swapping {stage}"), Some(stage));
    let asked = client.swap(&path, &request, upload);
    let done = waiting.show(client, asked).await;
    let readable = arguments
        .module
        .as_ref()
        .is_some_and(|module| !arguments.upload && module.is_file());
    let json = done.map_err(|error| error.after_path(readable))?;
    report(output, &json)
}

fn report(output: Output, json: &str) -> Result<(), Failure> {
    let report: SwapReport = client::understood(json)?;
    print(output, json, || stages::report(&report, Paint::stdout()))
}

async fn history(
    client: &Client,
    output: Output,
    arguments: &HistoryArguments,
) -> Result<(), Failure> {
    let path = match &arguments.stage {
        Some(stage) => client::path(&client.stage(stage).await?, "/history"),
        None => "/v1/history".to_owned(),
    };
    let json = client.get(&path).await?;
    let all: Vec<EventView> = client::understood(&json)?;
    if !arguments.watch {
        return print(output, &json, || events::history(&all, Paint::stdout()));
    }
    let mut lines = events::Lines::new(&all, Paint::stdout());
    let mut after = 0;
    let mut news = all;
    loop {
        for event in &news {
            after = after.max(event.sequence);
            let json = || serde_json::to_string(event).unwrap_or_default();
            let line = match output {
                Output::Json => json(),
                Output::Text => lines.next(event),
            };
            to_stdout(&format!("{line}\n"))?;
        }
        let wait = format!("{path}?after={after}&wait=20s");
        news = client::understood(&client.get(&wait).await?)?;
    }
}

fn print(output: Output, json: &str, text: impl FnOnce() -> String) -> Result<(), Failure> {
    match output {
        Output::Json => to_stdout(json),
        Output::Text => to_stdout(&text()),
    }
}

fn to_stdout(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(Failure::Print)
}

fn to_stderr(text: &str) {
    // If stderr is closed, nobody reads the text. The exit code still tells the outcome.
    write!(std::io::stderr().lock(), "{text}").unwrap_or_default();
}

fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
