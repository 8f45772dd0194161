//! Puts the collector together: builds it eagerly, as a whole or not at all; runs it; drains it in
//! order.
//!
//! Building binds every socket, opens every file and loads every plugin before anything is
//! accepted. A fault in one of them therefore shows at the start, and the error names it.

use std::net::SocketAddr;
use std::sync::Arc;

use spandrel_config::Config;
use spandrel_pipeline::ledger::Ledger;
use tokio::time::Instant;
use tracing::info;

use crate::control::{Commands, Control};
use crate::controller::{Controller, Origin};
use crate::drain::Ending;
use crate::durable::{self, Durables};
use crate::exporters::Exporters;
use crate::pipelines::Pipelines;
use crate::plugins;
use crate::receivers::BoundReceiver;
use crate::start_error::StartError;
use crate::state::CollectorState;
use crate::status::Status;
use crate::time_text::millis;

/// A collector that has its journals and its ports, and nothing else yet.
#[derive(Debug)]
pub struct Resources {
    started: Instant,
    config: Config,
    durables: Durables,
    receivers: Vec<BoundReceiver>,
    status: Arc<Status>,
    control: Control,
    commands: Commands,
}

impl Resources {
    /// Opens the journals and binds the receivers.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn open(config: Config) -> Result<Self, StartError> {
        let started = Instant::now();
        let status = Arc::new(Status::default());
        // Open journals first: a process without the lock must not bind ports.
        let durables = durable::open_all(&config).await?;
        let timing = config.service.drain_timing();
        let mut receivers = Vec::new();
        for receiver in config.receivers() {
            receivers.push(BoundReceiver::bind(receiver, &timing, None).await?);
        }
        let (control, commands) = Control::new(Arc::clone(&status));
        Ok(Self {
            started,
            config,
            durables,
            receivers,
            status,
            control,
            commands,
        })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the addresses of the receivers that listen, by component. Port 0 is replaced by the
    /// port in use.
    pub fn addresses(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        self.receivers.iter().flat_map(BoundReceiver::addresses)
    }

    /// Returns the status, which everybody may read from now on.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Returns the handle through which changes are asked for. They are made once the collector
    /// runs.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

/// A collector that has everything it needs and accepts nothing yet.
#[derive(Debug)]
pub struct Collector {
    receivers: Vec<BoundReceiver>,
    state: CollectorState,
    commands: Commands,
    /// Kept so that the command channel stays open even if nobody sends a command.
    control: Control,
}

impl Collector {
    /// Makes the exporters, loads the plugins and builds the pipelines.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(resources: Resources) -> Result<Self, StartError> {
        let Resources {
            started,
            config,
            durables,
            receivers,
            status,
            control,
            commands,
        } = resources;
        let exporters = Exporters::make(&config)?;
        let stages = plugins::load_all(&config).await?;
        let pipelines = Pipelines::build(config, &exporters, &stages, &durables).await?;
        for receiver in &receivers {
            receiver.connect(&pipelines);
        }
        info!(
            elapsed_ms = millis(started),
            pipelines = pipelines.len(),
            "everything built"
        );
        let state = CollectorState::new(pipelines, stages, exporters, durables, status);
        Ok(Self {
            receivers,
            state,
            commands,
            control,
        })
    }

    /// Returns the status, which outlives it.
    pub fn status(&self) -> &Arc<Status> {
        self.state.status()
    }

    /// Returns the ledgers of its pipelines, which outlive it.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        self.state.pipelines().ledgers()
    }

    /// Runs until `stop` resolves, then drains; `abort` ends it at once. Both resolve to a name for
    /// the log. With an `origin`, the configuration is read again when its files change, or when
    /// somebody asks for it.
    pub async fn run(
        self,
        origin: Option<Origin>,
        stop: impl Future<Output = &'static str>,
        abort: impl Future<Output = &'static str>,
    ) -> Ending {
        let Self {
            receivers,
            mut state,
            commands,
            control,
        } = self;
        state.serve(receivers);
        state.status().ready();
        info!("Everything is ready. Begin running and processing data.");
        let mut controller = Controller::new(state, commands, origin);
        let signal = tokio::select! {
            biased;
            signal = stop => Some(signal),
            () = controller.run() => None,
        };
        match signal {
            Some(signal) => info!(signal, "Received signal from OS"),
            None => info!("control has ended"),
        }
        let ending = controller.end().drain(abort).await;
        drop(control);
        ending
    }
}
