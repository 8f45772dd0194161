//! The collector with its plugins compiled in: the baseline for a WebAssembly stage.
//!
//! It reads a configuration of the real program, and runs the same receiver, pipeline and exporter
//! with the same settings. Only the stages differ: where the configuration names the component
//! `bench_job.wasm`, the same source runs as native code in the same place. Health pages and
//! metrics are left out.

#![forbid(unsafe_code)]

#[path = "../../guests/examples/bench_job/plugin.rs"]
mod job;
mod stage;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use spandrel_config::Config;
use spandrel_config::exporter::{Exporter, ExporterKind};
use spandrel_config::receiver::ReceiverKind;
use spandrel_config::service::Pipeline as PipelineSettings;
use spandrel_config::source::Sources;
use spandrel_otlp::exporter::GrpcExporter;
use spandrel_otlp::receiver::{Closed, Receiver};
use spandrel_pipeline::egress::ExporterSpec;
use spandrel_pipeline::ingress::Ingress;
use spandrel_pipeline::pipeline::{Pipeline, PipelineConfig};
use spandrel_tests::collector::READY;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "usage: bench-native --config SOURCE [--config SOURCE]... [--set KEY=VALUE]...

Runs one pipeline of a configuration of `spandrel`, with its plugins compiled in.";

fn main() -> ExitCode {
    let Some(sources) = read_arguments(std::env::args().skip(1)) else {
        say(USAGE);
        return ExitCode::from(64);
    };
    match run(&sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cannot run: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line on stderr. An error is ignored: the exit code still reports the failure.
fn say(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").unwrap_or_default();
}

fn read_arguments(arguments: impl Iterator<Item = String>) -> Option<Sources> {
    let mut sources = Sources::default();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (argument, arguments.next()?),
        };
        match name.as_str() {
            "--config" => sources.configs.push(value),
            "--set" => sources.sets.push(value),
            _ => return None,
        }
    }
    (!sources.configs.is_empty()).then_some(sources)
}

fn run(sources: &Sources) -> Result<()> {
    let config = Config::load(sources)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("spandrel")
        .build()?;
    runtime.block_on(serve(&config))
}

async fn serve(config: &Config) -> Result<()> {
    let [settings] = config.service.pipelines.as_slice() else {
        bail!("the configuration must have exactly one pipeline");
    };
    let [receiver] = settings.receivers.as_slice() else {
        bail!("the pipeline must have exactly one receiver");
    };
    let ReceiverKind::Otlp(listen) = &receiver.kind else {
        bail!("receiver `{}` is not otlp", receiver.id);
    };
    let receiver = Receiver::bind(listen.as_ref().clone()).await?;
    let pipeline = build(config, settings).await?;
    let ingress: Arc<dyn Ingress> = Arc::new(Pipeline::fan_out([&pipeline]));
    let mut terminated = signal(SignalKind::terminate())?;
    let stop = async move {
        terminated.recv().await;
    };
    say(READY);
    let Closed { connections_cut } = receiver.serve(|_| Arc::clone(&ingress), stop).await;
    let ledger = Arc::clone(pipeline.ledger());
    let drained = pipeline
        .drain(Instant::now() + config.service.drain_timeout)
        .await;
    say(&ledger.to_string());
    if connections_cut > 0 || !drained.in_time || !ledger.books().is_balanced() {
        bail!("not everything was finished");
    }
    Ok(())
}

async fn build(config: &Config, settings: &PipelineSettings) -> Result<Pipeline> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let stages = settings.stages.iter().map(stage::native);
    let exporters = settings.exporters.iter();
    let exporters = exporters.map(|exporter| spec(exporter, settings));
    let config = PipelineConfig {
        name: settings.id.to_string(),
        signal: settings.signal,
        shards: config.service.shards.unwrap_or(cores),
        stages: stages.collect::<Result<_>>()?,
        exporters: exporters.collect::<Result<_>>()?,
        ack_on: settings.ack_on,
        limits: spandrel_wire::Limits::default(),
        durability: None,
    };
    Ok(Pipeline::build(config).await?)
}

/// Builds an exporter like the program does: its own batching takes precedence, as the more
/// specific setting.
fn spec(exporter: &Exporter, settings: &PipelineSettings) -> Result<ExporterSpec> {
    let ExporterKind::OtlpGrpc(grpc) = &exporter.kind else {
        bail!("exporter `{}` is not otlp_grpc", exporter.id);
    };
    let sender = GrpcExporter::new(&grpc.0);
    let sender = sender.with_context(|| format!("exporter `{}`", exporter.id))?;
    Ok(ExporterSpec {
        name: exporter.id.to_string(),
        exporter: Arc::new(sender),
        queue: exporter.queue.clone(),
        batcher: exporter.batch.clone().or_else(|| settings.batch.clone()),
        retry: exporter.retry.clone(),
    })
}
