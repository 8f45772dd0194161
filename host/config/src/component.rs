//! The components: receivers, processors, exporters and extensions, each with the settings of its
//! types.

pub(crate) mod authenticators;
pub(crate) mod catalog;
pub mod exporter;
pub mod extension;
mod foreign;
mod headers;
mod names;
pub mod net;
pub mod processor;
pub mod receiver;

use std::sync::Arc;

use self::catalog::Catalog;
use self::exporter::Exporter;
use self::extension::Extension;
use self::processor::Processor;
use self::receiver::Receiver;
use crate::plugins::Plugins;

/// Everything that is configured, even if no pipeline names it.
#[derive(Debug)]
pub(crate) struct Components {
    pub(crate) receivers: Catalog<Receiver>,
    pub(crate) processors: Catalog<Processor>,
    pub(crate) exporters: Catalog<Exporter>,
    pub(crate) extensions: Catalog<Extension>,
    pub(crate) plugins: Arc<Plugins>,
}
