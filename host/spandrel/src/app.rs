//! Puts the program together: the collector, and the servers of health, metrics and the admin API
//! beside it.

use std::net::SocketAddr;
use std::sync::Arc;

use spandrel_admin::server::{self, Listener};
use spandrel_admin::web::{Answer, Handler, PageServer};
use spandrel_collector::control::Control;
use spandrel_collector::error_chain::in_one_line;
use spandrel_collector::examination::{self, Report};
use spandrel_collector::status::Status;
use spandrel_collector::{Collector, Ending, Origin, Resources};
use spandrel_config::Config;
use spandrel_config::examination::Examination;
use spandrel_config::extension::{Extension, ExtensionKind};
use spandrel_config::net::Listen;
use spandrel_config::problem::{ConfigError, Problem};
use spandrel_config::service::Service;
use spandrel_pipeline::ledger::Ledger;
use tokio::task::JoinSet;
use tracing::info;

use crate::start_error::StartError;
use crate::telemetry::{health, metrics};

/// A collector and the servers beside it. It has everything it needs and accepts nothing yet.
#[derive(Debug)]
pub struct App {
    collector: Collector,
    pages: Pages,
    origin: Option<Origin>,
}

impl App {
    /// Builds everything, but accepts nothing yet.
    ///
    /// # Errors
    /// The first thing that does not work.
    pub async fn build(config: Config) -> Result<Self, StartError> {
        let resources = Resources::open(config).await?;
        let mut pages = Pages::default();
        pages.addresses.extend(resources.addresses());
        let (config, status) = (resources.config(), resources.status());
        pages
            .extensions(config, resources.control(), status)
            .await?;
        pages.metrics(config, status).await?;
        Ok(Self {
            collector: Collector::build(resources).await?,
            pages,
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
    pub async fn check(examined: Examination) -> Result<Report, ConfigError> {
        let found = examined.service().into_iter().flat_map(tokens).collect();
        examination::examine(examined, found).await
    }

    /// Returns the addresses it listens on, by component. Port 0 is replaced by the port in use.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.pages.addresses
    }

    /// Returns its status, which outlives it.
    pub fn status(&self) -> &Arc<Status> {
        self.collector.status()
    }

    /// Returns the ledgers of its pipelines, which outlive it.
    pub fn ledgers(&self) -> Vec<Arc<Ledger>> {
        self.collector.ledgers()
    }

    /// Runs until `stop` resolves, then drains; `abort` ends it at once. Both resolve to a name for
    /// the log.
    pub async fn run(
        self,
        stop: impl Future<Output = &'static str>,
        abort: impl Future<Output = &'static str>,
    ) -> Ending {
        let Self {
            collector,
            pages,
            origin,
        } = self;
        let ending = collector.run(origin, stop, abort).await;
        // The last scrape and the last probe have been answered by now.
        drop(pages);
        ending
    }
}

/// Returns the problems of the admin API's tokens.
fn tokens(service: &Service) -> Vec<Problem> {
    let check = |extension: &Arc<Extension>| match &extension.kind {
        ExtensionKind::Admin(settings) => {
            let error = server::check(settings).err()?;
            let path = format!("extensions::{}::token_file", extension.id);
            Some(Problem::nowhere(path, in_one_line(&error)))
        }
        ExtensionKind::HealthCheck(_)
        | ExtensionKind::BearerTokenAuth(_)
        | ExtensionKind::BasicAuth(_) => None,
    };
    service.extensions.iter().filter_map(check).collect()
}

/// The servers that listen for probes, scrapes and operators.
#[derive(Debug, Default)]
struct Pages {
    addresses: Vec<(String, SocketAddr)>,
    /// They answer from the start to the end.
    servers: JoinSet<()>,
}

impl Pages {
    async fn extensions(
        &mut self,
        config: &Config,
        control: &Control,
        status: &Arc<Status>,
    ) -> Result<(), StartError> {
        for extension in &config.service.extensions {
            let id = extension.id.as_str();
            match &extension.kind {
                ExtensionKind::HealthCheck(settings) => {
                    let web = bind(id, &settings.endpoint, &mut self.addresses).await?;
                    info!(extension = id, endpoint = %web.address(), "extension listening");
                    let page = health_page(Arc::clone(status), settings.path.clone());
                    self.servers.spawn(web.serve(page));
                }
                ExtensionKind::Admin(settings) => {
                    let listener = Listener::bind(settings).await;
                    let listener = listener.map_err(|source| StartError::Admin {
                        id: id.to_owned(),
                        source,
                    })?;
                    info!(extension = id, endpoint = %listener.endpoint(), "extension listening");
                    let address = listener.address().map(|address| (id.to_owned(), address));
                    self.addresses.extend(address);
                    self.servers.spawn(listener.serve(control.clone()));
                }
                // Authenticators are built as part of the components that name them.
                ExtensionKind::BearerTokenAuth(_) | ExtensionKind::BasicAuth(_) => {}
            }
        }
        Ok(())
    }

    async fn metrics(&mut self, config: &Config, status: &Arc<Status>) -> Result<(), StartError> {
        if let Some(endpoint) = &config.service.telemetry.metrics {
            let web = bind("metrics", endpoint, &mut self.addresses).await?;
            info!(component = "metrics", endpoint = %web.address(), "metrics listening");
            self.servers
                .spawn(web.serve(metrics_page(Arc::clone(status))));
        }
        Ok(())
    }
}

async fn bind(
    what: &str,
    endpoint: &Listen,
    addresses: &mut Vec<(String, SocketAddr)>,
) -> Result<PageServer, StartError> {
    let web = PageServer::bind(endpoint)
        .await
        .map_err(|source| StartError::Listen {
            what: what.to_owned(),
            endpoint: endpoint.to_string(),
            source,
        })?;
    addresses.push((what.to_owned(), web.address()));
    Ok(web)
}

fn health_page(status: Arc<Status>, path: String) -> Handler {
    Arc::new(move |asked| health::answer(&status, asked, &path))
}

fn metrics_page(status: Arc<Status>) -> Handler {
    Arc::new(move |asked| match asked.path {
        "/metrics" => Answer::metrics(metrics::render(&status)),
        _ => Answer::not_found(),
    })
}
