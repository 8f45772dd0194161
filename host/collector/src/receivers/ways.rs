//! The ways from a receiver into its pipelines.

use spandrel_config::id::Id;
use spandrel_otlp::receiver::Transport;
use spandrel_pipeline::ingress::FanOut;
use spandrel_pipeline::pipeline::Pipeline;
use spandrel_wire::InvalidUtf8;

use crate::pipelines::Pipelines;

/// The ways into the pipelines behind a receiver: the same pipelines, each way with its counters.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// The way of gRPC, and of files.
    pub(super) main: FanOut,
    http: FanOut,
}

impl Ways {
    /// Creates ways that lead nowhere.
    pub(super) fn new() -> Self {
        let main = Pipeline::fan_out([]);
        let http = main.beside();
        Self { main, http }
    }

    pub(super) fn with_invalid_utf8(&self, invalid_utf8: InvalidUtf8) -> Self {
        Self {
            main: self.main.with_invalid_utf8(invalid_utf8),
            http: self.http.with_invalid_utf8(invalid_utf8),
        }
    }

    pub(super) fn of(&self, transport: Transport) -> &FanOut {
        match transport {
            Transport::Grpc => &self.main,
            Transport::Http => &self.http,
        }
    }

    /// Leads to the pipelines that name the receiver `id`.
    pub(super) fn connect(&self, id: &Id, pipelines: &Pipelines) {
        let pipelines = Pipeline::fan_out(pipelines.with_receiver(id));
        self.main.redirect(&pipelines);
        self.http.redirect(&pipelines);
    }
}
