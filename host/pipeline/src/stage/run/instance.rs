//! The instance that is called now, and the facts that are known of it.

use std::sync::Arc;
use std::time::Duration;

use spandrel_wire::Reads;
use tokio::time::Instant;

use super::counts::StageCounts;
use super::learned::LearnedReads;
use crate::plugin::{
    DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance, InstantiateError,
    Manifest, Reply, State, Ticket,
};
use crate::stage::cpu_time::CpuSampling;

/// The instance of a generation; after a fault there is none until another one is made.
pub(super) struct CurrentInstance {
    generation: Arc<dyn Generation>,
    instance: Option<Box<dyn Instance>>,
    /// The parts of spans that this instance reads.
    reads: LearnedReads,
    sampling: CpuSampling,
    /// True if the plugin failed when it was asked for a copy of its state; it is not asked again
    /// for a probe.
    fails_to_copy: bool,
}

impl CurrentInstance {
    pub(super) fn new(generation: Arc<dyn Generation>, instance: Box<dyn Instance>) -> Self {
        Self {
            generation,
            instance: Some(instance),
            reads: LearnedReads::default(),
            sampling: CpuSampling::default(),
            fails_to_copy: false,
        }
    }

    /// Returns the generation that it is of.
    pub(super) fn generation(&self) -> &Arc<dyn Generation> {
        &self.generation
    }

    pub(super) fn manifest(&self) -> &Manifest {
        self.generation.manifest()
    }

    /// Returns true if there is an instance to call.
    pub(super) fn is_there(&self) -> bool {
        self.instance.is_some()
    }

    /// Returns the parts that the instance reads, once they are known.
    pub(super) fn reads(&self) -> Option<&Reads> {
        self.reads.settled()
    }

    /// Makes another instance.
    pub(super) async fn start(&mut self) -> Result<(), InstantiateError> {
        self.instance = Some(self.generation.instantiate().await?);
        Ok(())
    }

    /// Drops the instance.
    pub(super) fn end(&mut self) {
        self.instance = None;
        self.reads = LearnedReads::default();
        self.sampling = CpuSampling::default();
    }

    /// Offers a batch of so many items to the instance.
    pub(super) async fn process(
        &mut self,
        ticket: Ticket,
        input: &Input,
        items: u64,
        counts: &StageCounts,
    ) -> Result<Reply, Fault> {
        let Some(instance) = &mut self.instance else {
            return Err(Fault::new(FaultKind::Trap, "no instance"));
        };
        let started = Instant::now();
        let call = instance.process(ticket, input);
        let (reply, cpu_time) = self.sampling.call(call).await;
        counts.add_call(started);
        if let Some(cpu_time) = cpu_time {
            counts.add_sample(items, cpu_time);
        }
        let mut reply = reply?;
        self.reads.add(reply.reads.take());
        Ok(reply)
    }

    /// Lets time pass for the instance; `None` if there is none.
    pub(super) async fn tick(&mut self, counts: &StageCounts) -> Option<Result<Emission, Fault>> {
        let instance = self.instance.as_mut()?;
        let started = Instant::now();
        let emission = instance.tick().await;
        counts.add_call(started);
        Some(emission)
    }

    /// Asks the instance to let go of its held items; `None` if there is none.
    pub(super) async fn drain(
        &mut self,
        reason: DrainReason,
        deadline: Duration,
        counts: &StageCounts,
    ) -> Option<Result<Emission, Fault>> {
        let instance = self.instance.as_mut()?;
        let started = Instant::now();
        let emission = instance.drain(reason, deadline).await;
        counts.add_call(started);
        Some(emission)
    }

    /// Returns the state of the instance; no state if there is no instance.
    pub(super) async fn snapshot(&mut self) -> Result<Option<State>, Fault> {
        match &mut self.instance {
            Some(instance) => instance.snapshot().await,
            None => Ok(None),
        }
    }

    /// Returns a copy of the instance's state for another one. If the plugin fails at it, it is not
    /// asked again: the copy is a convenience, and each failure costs an instance.
    pub(super) async fn copy_state(&mut self) -> Result<Option<State>, Fault> {
        if self.fails_to_copy {
            return Ok(None);
        }
        let state = self.snapshot().await;
        self.fails_to_copy = state.is_err();
        state
    }

    /// Gives the instance a state, in addition to the one that it has; `None` if there is no
    /// instance. The inner error is the plugin's refusal.
    pub(super) async fn restore(
        &mut self,
        state: State,
    ) -> Option<Result<Result<(), String>, Fault>> {
        let instance = self.instance.as_mut()?;
        Some(instance.restore(state).await)
    }
}
