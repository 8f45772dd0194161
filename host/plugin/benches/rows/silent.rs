//! A plugin that does not report what it reads.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, Generation, Input, Instance, InstantiateError, Manifest, Reply,
    Ticket,
};

/// A generation that passes everything on except the plugin's report of its reads.
#[derive(Debug)]
pub(crate) struct Silent<T>(pub(crate) Arc<T>);

impl<T: Generation> Generation for Silent<T> {
    fn manifest(&self) -> &Manifest {
        self.0.manifest()
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(async {
            let instance = SilentInstance(self.0.instantiate().await?);
            Ok(Box::new(instance) as Box<dyn Instance>)
        })
    }
}

struct SilentInstance(Box<dyn Instance>);

impl Instance for SilentInstance {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            let mut reply = self.0.process(ticket, input).await?;
            reply.reads = None;
            Ok(reply)
        })
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        self.0.tick()
    }

    fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        self.0.drain(reason, deadline)
    }
}
