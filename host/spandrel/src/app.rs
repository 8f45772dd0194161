//! The collector put together: built eagerly, as a whole or not at all; run; drained in order.
//!
//! Building binds every socket, opens every file and loads every plugin before anything is
//! accepted, so that what can go wrong goes wrong at the start, with a name to it.

mod drain;
mod exporters;
mod plugins;
mod receivers;
mod rows;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spandrel_otlp::exporter::ExporterError;
use spandrel_otlp::receiver::BindError;
use spandrel_pipeline::ledger::Ledger;
use spandrel_pipeline::pipeline::{BuildError, Pipeline, PipelineConfig};
use spandrel_pipeline::stage::StageSpec;
use spandrel_plugin::LoadError;
use spandrel_plugin::engine::EngineError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::info;

use self::drain::Timing;
use self::exporters::Exporters;
use self::plugins::Plugins;
use self::receivers::Bound;
use crate::config::extension::ExtensionKind;
use crate::config::problem::{ConfigError, Problem};
use crate::config::{self, Config};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{PipelineSource, Sources};
use crate::web::{Answer, Handler, Web};

/// Why the collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver has no port.
    #[error("receiver `{id}` cannot start")]
    Receiver {
        /// Which.
        id: String,
        /// Why not.
        #[source]
        source: BindError,
    },
    /// Health or metrics have no port.
    #[error(
        "{what} cannot listen on {endpoint}; is another collector running? stop it or choose another port"
    )]
    Listen {
        /// What wanted to listen.
        what: String,
        /// Where.
        endpoint: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A receiver's or an exporter's file does not open.
    #[error("`{id}` cannot open {}", path.display())]
    File {
        /// Whose file.
        id: String,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// An exporter cannot be made.
    #[error("exporter `{id}` cannot start")]
    Exporter {
        /// Which.
        id: String,
        /// Why not.
        #[source]
        source: ExporterError,
    },
    /// WebAssembly does not run here.
    #[error("plugins cannot run")]
    Engine(#[from] EngineError),
    /// A plugin does not load.
    #[error("stage `{stage}` cannot start")]
    Plugin {
        /// The stage.
        stage: String,
        /// Why not.
        #[source]
        source: Box<LoadError>,
    },
    /// A pipeline does not fit together.
    #[error("a pipeline cannot start")]
    Pipeline(#[from] BuildError),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was accepted was finished, and the ledger balances.
    Drained,
    /// Something was abandoned, or the ledger does not balance.
    Abandoned,
}

/// A collector that has everything it needs, and accepts nothing yet.
#[derive(Debug)]
pub struct App {
    health: Arc<Health>,
    receivers: Vec<Bound>,
    pipelines: Vec<Pipeline>,
    addresses: Vec<(String, SocketAddr)>,
    /// Health and metrics: they answer from the start to the end.
    pages: JoinSet<()>,
    timing: Timing,
}

impl App {
    /// Everything but accepting.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        let health = Arc::new(Health::default());
        let mut addresses = Vec::new();
        let mut pages = JoinSet::new();
        let mut receivers = Vec::new();
        let timing = Timing {
            timeout: config.service.drain_timeout,
            delay: config.service.drain_delay,
        };
        for receiver in config.receivers() {
            receivers.push(Bound::bind(receiver, &timing, &mut addresses).await?);
        }
        for extension in &config.service.extensions {
            let ExtensionKind::HealthCheck(settings) = &extension.kind else {
                continue;
            };
            let id = extension.id.as_str();
            let web = bind(id, &settings.endpoint, &mut addresses).await?;
            info!(extension = id, endpoint = %web.address(), "extension listening");
            pages.spawn(web.serve(health_page(Arc::clone(&health), settings.path.clone())));
        }
        let metrics = match &config.service.telemetry.metrics {
            Some(endpoint) => Some(bind("metrics", endpoint, &mut addresses).await?),
            None => None,
        };
        let exporters = Exporters::make(&config)?;
        let plugins = Plugins::load(&config).await?;
        let pipelines = build_pipelines(&config, &exporters, &plugins).await?;
        for receiver in &mut receivers {
            receiver.connect(&config, &pipelines);
        }
        if let Some(web) = metrics {
            info!(component = "metrics", endpoint = %web.address(), "metrics listening");
            let sources = Arc::new(sources(started, &receivers, &pipelines, &plugins));
            pages.spawn(web.serve(metrics_page(sources)));
        }
        info!(
            elapsed_ms = millis(started),
            pipelines = pipelines.len(),
            "everything built"
        );
        Ok(Self {
            health,
            receivers,
            pipelines,
            addresses,
            pages,
            timing,
        })
    }

    /// Everything that `validate` can find out without listening or writing: exporters are made,
    /// plugins compiled, instantiated and configured.
    ///
    /// # Errors
    /// All that is wrong.
    pub async fn check(config: &Config) -> Result<(), ConfigError> {
        let mut problems = exporters::check(config);
        problems.extend(plugins::check(config).await);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }

    /// Where it listens, by component, with the ports that port 0 became.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The books of its pipelines, which outlive it.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        let pipelines = self.pipelines.iter();
        pipelines
            .map(|pipeline| Arc::clone(pipeline.ledger()))
            .collect()
    }

    /// Runs until `stop`, then drains; `abort` ends it at once. Both resolve to a name for the log.
    pub async fn run(
        self,
        stop: impl Future<Output = &'static str>,
        abort: impl Future<Output = &'static str>,
    ) -> Ending {
        let Self {
            health,
            receivers,
            pipelines,
            pages,
            timing,
            ..
        } = self;
        let mut serving = receivers::Serving::start(receivers);
        health.ready();
        info!("Everything is ready. Begin running and processing data.");
        let signal = stop.await;
        info!(signal, "Received signal from OS");
        let ending = drain::drain(&health, &mut serving, pipelines, &timing, abort).await;
        // The last scrape and the last probe have been answered when the process ends.
        drop(pages);
        ending
    }
}

async fn bind(
    what: &str,
    endpoint: &config::net::Listen,
    addresses: &mut Vec<(String, SocketAddr)>,
) -> Result<Web, StartError> {
    let web = Web::bind(endpoint)
        .await
        .map_err(|source| StartError::Listen {
            what: what.to_owned(),
            endpoint: endpoint.to_string(),
            source,
        })?;
    addresses.push((what.to_owned(), web.address()));
    Ok(web)
}

fn health_page(health: Arc<Health>, path: String) -> Handler {
    Arc::new(move |asked| health.answer(asked, &path))
}

fn metrics_page(sources: Arc<Sources>) -> Handler {
    Arc::new(move |asked| match asked {
        "/metrics" => Answer::metrics(sources.render()),
        _ => Answer::not_found(),
    })
}

fn sources(
    started: Instant,
    receivers: &[Bound],
    pipelines: &[Pipeline],
    plugins: &Plugins,
) -> Sources {
    let pipeline = |pipeline: &Pipeline| PipelineSource {
        ledger: Arc::clone(pipeline.ledger()),
        queues: Box::new(pipeline.queue_gauge()),
    };
    Sources {
        started,
        receivers: receivers.iter().filter_map(Bound::counters).collect(),
        pipelines: pipelines.iter().map(pipeline).collect(),
        plugins: plugins.metrics(),
    }
}

async fn build_pipelines(
    config: &Config,
    exporters: &Exporters,
    plugins: &Plugins,
) -> Result<Vec<Pipeline>, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shards = config.service.shards.unwrap_or(cores);
    let mut pipelines = Vec::with_capacity(config.service.pipelines.len());
    for pipeline in &config.service.pipelines {
        let started = Instant::now();
        let stages = pipeline.stages.iter().filter_map(|stage| {
            Some(StageSpec {
                on_fault: stage.wasm.on_fault,
                hold: stage.wasm.hold,
                ..StageSpec::new(stage.id.to_string(), plugins.generation(&stage.id)?)
            })
        });
        let built = Pipeline::build(PipelineConfig {
            name: pipeline.id.to_string(),
            signal: pipeline.signal,
            shards,
            stages: stages.collect(),
            exporters: exporters.specs(pipeline),
            ack_on: pipeline.ack_on,
            limits: spandrel_wire::Limits::default(),
        });
        pipelines.push(built.await?);
        info!(
            pipeline = %pipeline.id,
            stages = pipeline.stages.len(),
            exporters = pipeline.exporters.len(),
            elapsed_ms = millis(started),
            "pipeline built"
        );
    }
    Ok(pipelines)
}

/// Milliseconds since a moment, for the log.
pub(crate) fn millis(since: Instant) -> u64 {
    whole_millis(since.elapsed())
}

/// A number that JSON can say; `as_millis` gives one that it cannot.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An error and its causes in one line, where they are shown as a problem of the configuration.
fn problem(path: String, error: &dyn std::error::Error) -> Problem {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        what.push_str(": ");
        what.push_str(&error.to_string());
        cause = error.source();
    }
    Problem::nowhere(path, what)
}
