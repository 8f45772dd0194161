//! The collector put together: built eagerly, as a whole or not at all; run; drained in order.
//!
//! Building binds every socket, opens every file and loads every plugin before anything is
//! accepted, so that what can go wrong goes wrong at the start, with a name to it.

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
use crate::config::examine::Examined;
use crate::config::extension::ExtensionKind;
use crate::config::problem::{ConfigError, Problem};
use crate::config::{self, Config};
use crate::control::board::Board;
use crate::control::changer::Changer;
use crate::control::{Commands, Control, Views as _, in_one_line};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Sources;
use crate::web::{Answer, Handler, Web};

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
    live: Live,
    addresses: Vec<(String, SocketAddr)>,
    /// Health, metrics and the admin API: they answer from the start to the end.
    pages: JoinSet<()>,
    commands: Commands,
    /// Kept so that commands can come, whether or not anybody sends any.
    control: Control,
    origin: Option<Origin>,
}

/// How the configuration is read again while the collector runs.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it was read.
    pub sources: config::source::Sources,
    /// Changes with each SIGHUP.
    pub hang_ups: watch::Receiver<u32>,
}

impl App {
    /// Everything but accepting.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        // Who may not have them must not listen either.
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

    /// The configuration is read again when its files change, or when somebody asks for it.
    #[must_use]
    pub fn reloading(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Everything that `validate` can find out without listening, and without writing anything that
    /// stays: exporters are made, plugins compiled, instantiated and configured.
    ///
    /// # Errors
    /// All that is wrong, in the order in which it stands in the configuration.
    pub async fn check(examined: Examined) -> Result<Report, ConfigError> {
        examination::examine(examined).await
    }

    /// Where it listens, by component, with the ports that port 0 became.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The books of its pipelines, which outlive it.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        let pipelines = self.live.pipelines.iter();
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
        // The last scrape and the last probe have been answered when the process ends.
        drop((pages, control));
        ending
    }
}

/// What listens for probes, scrapes and operators.
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
                // They are part of what names them.
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

/// Milliseconds since a moment, for the log.
pub(crate) fn millis(since: Instant) -> u64 {
    whole_millis(since.elapsed())
}

/// A number that JSON can say; `as_millis` gives one that it cannot.
fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Microseconds, for the log.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Tells what is accepted, but does not do what the operator may think.
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

/// An error and its causes in one line, where they are shown as a problem of the configuration.
fn problem(path: String, error: &dyn std::error::Error) -> Problem {
    Problem::nowhere(path, in_one_line(error))
}
