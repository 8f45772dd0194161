//! A stage in which batches wait until the test lets them go on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, Generation, Input, Instance, InstantiateError, Manifest, Reply,
    StageSpec, Ticket,
};
use tokio::sync::{Semaphore, watch};

use crate::edges::ids;

/// The test's handle to the stage.
#[derive(Debug)]
pub(crate) struct Gate {
    manifest: Manifest,
    open: Semaphore,
    entered: watch::Sender<u64>,
    /// Returns true for the batches that wait.
    waits: fn(&[u64]) -> bool,
}

impl Gate {
    /// Waits until this many batches have come.
    pub(crate) async fn entered(&self, batches: u64) {
        let mut entered = self.entered.subscribe();
        entered
            .wait_for(|entered| *entered >= batches)
            .await
            .unwrap();
    }

    /// Returns true if a batch that waits has come.
    pub(crate) fn has_entered(&self) -> bool {
        *self.entered.borrow() > 0
    }

    /// Lets everything pass from now on.
    pub(crate) fn open(&self) {
        self.open.close();
    }
}

/// Makes the stage and its gate.
pub(crate) fn gated() -> (StageSpec, Arc<Gate>) {
    gated_on(|_| true)
}

/// Makes a stage in which only some batches wait.
pub(crate) fn gated_on(waits: fn(&[u64]) -> bool) -> (StageSpec, Arc<Gate>) {
    let gate = Arc::new(Gate {
        manifest: Manifest::default(),
        open: Semaphore::new(0),
        entered: watch::Sender::new(0),
        waits,
    });
    let generation = Arc::new(Gated(Arc::clone(&gate)));
    (StageSpec::new("gate", generation), gate)
}

#[derive(Clone, Debug)]
struct Gated(Arc<Gate>);

impl Generation for Gated {
    fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(async move { Ok(Box::new(self.clone()) as Box<dyn Instance>) })
    }
}

impl Instance for Gated {
    fn process<'a>(
        &'a mut self,
        _: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async {
            if !(self.0.waits)(&ids(input.bytes())) {
                return Ok(Reply::default());
            }
            self.0.entered.send_modify(|entered| *entered += 1);
            // An open gate is a closed semaphore.
            drop(self.0.open.acquire().await);
            Ok(Reply::default())
        })
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(std::future::ready(Ok(Emission::default())))
    }
}
