//! Puts the collector together: builds it eagerly, as a whole or not at all; runs it; drains it in
//! order.
//!
//! Building binds every socket, opens every file and loads every plugin before anything is
//! accepted. What can go wrong therefore goes wrong at the start, and the error names it.

pub(crate) mod drain;
pub(crate) mod durable;
mod examination;
pub(crate) mod exporters;
pub(crate) mod live;
pub(crate) mod memory;
pub mod plugins;
pub(crate) mod receivers;
mod rows;
mod start_error;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use spandrel_config::examine::Examined;
use spandrel_config::extension::ExtensionKind;
use spandrel_config::problem::{ConfigError, Problem};
use spandrel_config::{self as config, Config};
use spandrel_pipeline::ledger::Ledger;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use self::drain::{Retiring, Timing};
pub use self::examination::Report;
use self::exporters::Exporters;
use self::live::Live;
use self::memory::Limiters;
use self::plugins::Plugins;
use self::receivers::{Bound, Serving};
pub use self::start_error::StartError;
use crate::admin;
use crate::control::board::Board;
use crate::control::changer::Changer;
use crate::control::{Commands, Control, Views as _, in_one_line};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Sources;
use crate::web::{Answer, Handler, Web};

/// The way a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was accepted was finished, and the ledger balances.
    Drained,
    /// Something was abandoned, or the ledger does not balance.
    Abandoned,
}

/// A collector that has everything it needs and accepts nothing yet.
#[derive(Debug)]
pub struct App {
    health: Arc<Health>,
    receivers: Vec<Bound>,
    live: Live,
    addresses: Vec<(String, SocketAddr)>,
    /// The servers of health, metrics and the admin API. They answer from the start to the end.
    pages: JoinSet<()>,
    commands: Commands,
    /// Kept so that the command channel stays open even if nobody sends a command.
    control: Control,
    origin: Option<Origin>,
}

/// The means to read the configuration again while the collector runs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The sources of the configuration.
    pub sources: config::source::Sources,
    /// Changes with each SIGHUP.
    pub hang_ups: watch::Receiver<u32>,
}

impl App {
    /// Builds everything, but accepts nothing yet.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        // Open journals first: a process without the lock must not bind ports.
        let durables = durable::open_all(&config).await?;
        let mut open = Open::default();
        let timing = Timing::of(&config);
        let mut receivers = Vec::new();
        for receiver in config.receivers() {
            let bound = Bound::bind(receiver, &timing, None).await?;
            open.addresses.extend(bound.address());
            receivers.push(bound);
        }
        let board = Arc::new(Board::default());
        let (control, commands) = Control::new(Arc::clone(&board) as Arc<_>);
        let sources = Arc::new(Sources::new(started, Arc::clone(&board)));
        open.extensions(&config, &control, &board).await?;
        open.metrics(&config, &sources).await?;
        let exporters = Exporters::make(&config)?;
        let Plugins { engine, stages } = Plugins::load(&config).await?;
        let mut pipelines = Vec::with_capacity(config.service.pipelines.len());
        for pipeline in &config.service.pipelines {
            let built = live::build_pipeline(&config, pipeline, &exporters, &stages, &durables);
            pipelines.push(built.await?);
        }
        for receiver in &receivers {
            receiver.connect(&config, &pipelines);
        }
        info!(
            elapsed_ms = millis(started),
            pipelines = pipelines.len(),
            "everything built"
        );
        let limiters = Limiters::watch(&config, &pipelines);
        let live = Live {
            config,
            engine,
            stages,
            numbers: BTreeMap::new(),
            exporters,
            limiters,
            pipelines,
            durables,
            serving: Serving::default(),
            retiring: Retiring::default(),
            board,
            sources,
            timing,
        };
        let Open {
            health,
            addresses,
            pages,
        } = open;
        Ok(Self {
            health,
            receivers,
            live,
            addresses,
            pages,
            commands,
            control,
            origin: None,
        })
    }

    /// Reads the configuration again when its files change, or when somebody asks for it.
    #[must_use]
    pub fn reloading(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Checks everything that `validate` can check without listening and without leaving anything
    /// written: it makes exporters, and compiles, instantiates and configures plugins.
    ///
    /// # Errors
    /// All problems, in the order of the configuration.
    pub async fn check(examined: Examined) -> Result<Report, ConfigError> {
        examination::examine(examined).await
    }

    /// Returns the addresses it listens on, by component. Port 0 is replaced by the port in use.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Returns the ledgers of its pipelines, which outlive it.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        let pipelines = self.live.pipelines.iter();
        pipelines
            .map(|pipeline| Arc::clone(pipeline.ledger()))
            .collect()
    }

    /// Runs until `stop` resolves, then drains; `abort` ends it at once. Both resolve to a name for
    /// the log.
    pub async fn run(
        self,
        stop: impl Future<Output = &'static str>,
        abort: impl Future<Output = &'static str>,
    ) -> Ending {
        let Self {
            health,
            receivers,
            mut live,
            pages,
            commands,
            control,
            origin,
            ..
        } = self;
        live.serving = Serving::start(receivers);
        live.show();
        health.ready();
        info!("Everything is ready. Begin running and processing data.");
        let mut changer = Changer::new(live, commands, origin);
        let signal = tokio::select! {
            biased;
            signal = stop => signal,
            () = changer.run() => "end of control",
        };
        info!(signal, "Received signal from OS");
        let ending = drain::drain(&health, changer.end(), abort).await;
        // The last scrape and the last probe have been answered by now.
        drop((pages, control));
        ending
    }
}

/// The servers that listen for probes, scrapes and operators.
#[derive(Debug, Default)]
struct Open {
    health: Arc<Health>,
    addresses: Vec<(String, SocketAddr)>,
    pages: JoinSet<()>,
}

impl Open {
    async fn extensions(
        &mut self,
        config: &Config,
        control: &Control,
        board: &Arc<Board>,
    ) -> Result<(), StartError> {
        for extension in &config.service.extensions {
            let id = extension.id.as_str();
            match &extension.kind {
                ExtensionKind::HealthCheck(settings) => {
                    let web = bind(id, &settings.endpoint, &mut self.addresses).await?;
                    info!(extension = id, endpoint = %web.address(), "extension listening");
                    let health = Arc::clone(&self.health);
                    let page = health_page(health, settings.path.clone(), Arc::clone(board));
                    self.pages.spawn(web.serve(page));
                }
                ExtensionKind::Admin(settings) => {
                    let listener = admin::Listener::bind(settings).await;
                    let listener = listener.map_err(|source| StartError::Admin {
                        id: id.to_owned(),
                        source,
                    })?;
                    info!(extension = id, endpoint = %listener.endpoint(), "extension listening");
                    let address = listener.address().map(|address| (id.to_owned(), address));
                    self.addresses.extend(address);
                    self.pages.spawn(listener.serve(control.clone()));
                }
                // Authenticators are built as part of the components that name them.
                ExtensionKind::BearerTokenAuth(_) | ExtensionKind::BasicAuth(_) => {}
            }
        }
        Ok(())
    }

    async fn metrics(&mut self, config: &Config, sources: &Arc<Sources>) -> Result<(), StartError> {
        if let Some(endpoint) = &config.service.telemetry.metrics {
            let web = bind("metrics", endpoint, &mut self.addresses).await?;
            info!(component = "metrics", endpoint = %web.address(), "metrics listening");
            self.pages
                .spawn(web.serve(metrics_page(Arc::clone(sources))));
        }
        Ok(())
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

fn health_page(health: Arc<Health>, path: String, board: Arc<Board>) -> Handler {
    Arc::new(move |asked| health.answer(asked, &path, || board.stages()))
}

fn metrics_page(sources: Arc<Sources>) -> Handler {
    Arc::new(move |asked| match asked.path {
        "/metrics" => Answer::metrics(sources.render()),
        _ => Answer::not_found(),
    })
}

/// Returns the milliseconds since a moment, for the log.
pub(crate) fn millis(since: Instant) -> u64 {
    whole_millis(since.elapsed())
}

/// Returns whole milliseconds as a number that JSON can hold; the `u128` of `as_millis` does not
/// fit.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns whole microseconds, for the log.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Logs settings that are accepted but do not do what the operator may think.
pub(crate) fn warn_of(warnings: &[Problem]) {
    for Problem {
        at,
        path,
        what,
        instead,
    } in warnings
    {
        let at = at.as_ref().map(ToString::to_string);
        warn!(path, at, remedy = instead, "{what}");
    }
}

/// Returns an error and its causes, in one line, as a problem of the configuration.
fn problem(path: String, error: &dyn std::error::Error) -> Problem {
    Problem::nowhere(path, in_one_line(error))
}
