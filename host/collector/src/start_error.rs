//! The reasons why a collector did not start.

use std::io;
use std::path::PathBuf;

use spandrel_otlp::exporter::ExporterError;
use spandrel_otlp::receiver::BindError;
use spandrel_pipeline::pipeline::ChangeError;
use spandrel_plugin::engine::EngineError;

/// The reason why the collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver has no port.
    #[error("receiver `{id}` cannot start")]
    Receiver {
        /// The receiver.
        id: String,
        /// The cause.
        #[source]
        source: BindError,
    },
    /// A receiver's or an exporter's file does not open.
    #[error("`{id}` cannot open {}", path.display())]
    File {
        /// The component.
        id: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An exporter cannot be made.
    #[error("exporter `{id}` cannot start")]
    Exporter {
        /// The exporter.
        id: String,
        /// The cause.
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
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal of a pipeline does not open.
    #[error("pipeline `{pipeline}` cannot open its journal")]
    Journal {
        /// The pipeline.
        pipeline: String,
        /// The cause.
        #[source]
        source: Box<spandrel_journal::OpenError>,
    },
    /// A pipeline does not fit together.
    #[error("a pipeline cannot start")]
    Pipeline(#[from] ChangeError),
}
