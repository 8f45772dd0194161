//! A plugin's source as a native stage: the same calls, without a sandbox around them.

use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::future::BoxFuture;
use spandrel_config::service::Stage;
use spandrel_guest::instance::{Instance as GuestInstance, Package};
use spandrel_pipeline::stage::{
    DrainReason, Emission, Fault, Generation, Input, Instance, InstantiateError, Manifest, Reply,
    StageSpec, Ticket,
};

use crate::job::Job;

const PACKAGE: Package = Package {
    name: "bench-job",
    version: env!("CARGO_PKG_VERSION"),
};

/// The file name of the component with the same source.
const COMPONENT: &str = "bench_job.wasm";

/// Makes the stage that the program would make of the component, from its source.
pub(crate) fn native(stage: &Stage) -> Result<StageSpec> {
    let file = stage.wasm.module.file().and_then(Path::file_name);
    if file.is_none_or(|name| name != COMPONENT) {
        bail!("{} is not compiled in, only {COMPONENT} is", stage.id);
    }
    let config = stage.wasm.config.to_string();
    let (_, manifest) =
        GuestInstance::<Job>::configure(&config, PACKAGE).map_err(anyhow::Error::msg)?;
    let native = Native {
        config,
        // The job holds nothing, keeps no state and wants no ticks: the other fields have their
        // defaults.
        manifest: Manifest {
            name: manifest.name,
            version: manifest.version,
            drop_reasons: manifest.drop_reasons,
            ..Manifest::default()
        },
    };
    Ok(StageSpec {
        on_fault: stage.wasm.on_fault,
        hold: stage.wasm.hold,
        ..StageSpec::new(stage.id.to_string(), Arc::new(native))
    })
}

#[derive(Debug)]
struct Native {
    config: String,
    manifest: Manifest,
}

impl Generation for Native {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let made = GuestInstance::<Job>::configure(&self.config, PACKAGE);
        let made = made.map(|(job, _)| Box::new(Twin(job)) as Box<dyn Instance>);
        Box::pin(ready(made.map_err(|message| InstantiateError {
            message,
            source: None,
        })))
    }
}

struct Twin(GuestInstance<Job>);

impl Instance for Twin {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        // The SDK's batch owns its bytes, here as in a component: both pay for one copy.
        let reply = self.0.process(ticket, input.bytes().to_vec(), false);
        Box::pin(ready(Ok(Reply {
            verdicts: reply.verdicts,
            edits: reply.edits,
            blob: reply.blob,
            emission: None,
            reads: None,
        })))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(ready(Ok(Emission::default())))
    }

    fn drain(
        &mut self,
        _reason: DrainReason,
        _deadline: Duration,
    ) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(ready(Ok(Emission::default())))
    }
}
