//! Swaps between native generations, by the rules of the real host.

use std::fmt::Display;
use std::mem::take;

use spandrel_wire::Assembler;

use super::host::TestHost;
use super::outcome::Outcome;
use crate::bindings::spandrel::plugin::types;
use crate::instance::Instance;
use crate::plugin::Plugin;

/// The result for the state of the earlier generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The next generation has taken it over; held spans still wait under their handles.
    Carried,
    /// There was no state: one of the two has no `state_version`, or the snapshot was `None`.
    Nothing,
    /// The next generation has refused it for this reason.
    Refused(String),
}

/// A completed swap.
#[derive(Debug)]
pub struct Swapped<P: Plugin> {
    /// The next generation.
    pub host: TestHost<P>,
    /// The result for the state.
    pub state: Handover,
    /// The outcome for the held spans if the state was not carried over: then the next generation
    /// gets them as a batch.
    pub outcome: Outcome,
}

impl<P: Plugin> Swapped<P> {
    /// Returns the next generation, which must have taken over the state.
    ///
    /// # Panics
    /// Panics if it has not.
    #[track_caller]
    pub fn carried(self) -> TestHost<P> {
        assert_eq!(self.state, Handover::Carried, "the state was not carried");
        self.host
    }
}

impl<P: Plugin> TestHost<P> {
    /// Replaces the plugin by its next generation: the same plugin with this config, or another
    /// one, such as the last release's module beside this one's. It happens as in the real host:
    /// held spans stay with the host, and the state is carried over. If it cannot be, the held
    /// spans are offered to the new generation as a batch. The new one's monotonic clock starts
    /// over.
    ///
    /// ```
    /// use spandrel_guest::prelude::*;
    /// use spandrel_guest::testing::{TestBatch, TestHost};
    ///
    /// /// Counts spans, and carries the count.
    /// struct Counting(u64);
    ///
    /// # #[derive(Deserialize)]
    /// # struct Config {}
    /// # impl Plugin for Counting {
    /// #     type Config = Config;
    /// #     fn manifest(&self) -> Manifest { Manifest::new().state_version(1) }
    /// #     fn configure(_: Config) -> Result<Self, String> { Ok(Self(0)) }
    /// #     fn process(&mut self, batch: &mut Batch) { self.0 += batch.spans().count() as u64; }
    /// #     fn snapshot(&mut self) -> Option<Vec<u8>> { state::to_bytes(&self.0) }
    /// #     fn restore(&mut self, _: u32, state: &[u8]) -> Result<(), String> {
    /// #         self.0 += state::from_bytes::<u64>(state)?;
    /// #         Ok(())
    /// #     }
    /// # }
    /// let mut host = TestHost::<Counting>::configure("{}").unwrap();
    /// host.process(&TestBatch::new().span("GET /", |span| span));
    /// let host = host.swap_to::<Counting>("{}").unwrap().carried();
    /// assert_eq!(host.plugin().0, 1);
    /// ```
    ///
    /// # Errors
    /// Returns the message that an operator would see if the config is refused.
    ///
    /// # Panics
    /// Panics if the snapshot settles held spans, or if a reply does not fit the contract.
    #[track_caller]
    pub fn swap_to<Q: Plugin>(self, config: impl Display) -> Result<Swapped<Q>, String> {
        let next = TestHost::<Q>::new(&config)?;
        Ok(next.take_over(self))
    }

    /// Makes another generation beside this one, as for a canary. Both share the wall clock, the
    /// log and the metrics.
    ///
    /// # Errors
    /// Returns the message that an operator would see.
    pub fn beside<Q: Plugin>(&self, config: impl Display) -> Result<TestHost<Q>, String> {
        TestHost::new(&config)
    }

    /// Takes over the held spans and the state of another generation, in addition to those of this
    /// one, as at the end of a canary, when both have worked.
    ///
    /// # Panics
    /// Panics if the snapshot settles held spans, or if a reply does not fit the contract.
    #[track_caller]
    pub fn take_over<Q: Plugin>(mut self, mut other: TestHost<Q>) -> Swapped<P> {
        let state = self.hand_over(&mut other);
        let held = take(other.held_batches());
        let mut outcome = Outcome::default();
        if state == Handover::Carried {
            self.held_batches().extend(held);
        } else if !held.is_empty() {
            let mut request = Assembler::new();
            for batch in held.values() {
                batch.push_all(&mut request);
            }
            outcome = self.process_bytes(&request.finish().0);
        }
        Swapped {
            host: self,
            state,
            outcome,
        }
    }

    #[track_caller]
    fn hand_over<Q: Plugin>(&mut self, other: &mut TestHost<Q>) -> Handover {
        if !self.has_state() || !other.has_state() {
            return Handover::Nothing;
        }
        let Some((version, bytes)) = other.snapshot() else {
            return Handover::Nothing;
        };
        match self.restore(version, &bytes) {
            Ok(()) => Handover::Carried,
            Err(message) => Handover::Refused(message),
        }
    }

    /// Returns the plugin's state as the next generation would get it, with its version. The plugin
    /// continues as before, because the host also takes snapshots to try a candidate.
    ///
    /// # Panics
    /// Panics if the snapshot settles held spans.
    #[track_caller]
    pub fn snapshot(&mut self) -> Option<(u32, Vec<u8>)> {
        let (state, lost) = self.within(Instance::snapshot_with_lost);
        assert_eq!(
            lost, 0,
            "held spans that the snapshot let go of: write them by reference, it changes nothing"
        );
        state.map(|state| (state.version, state.bytes))
    }

    /// Gives the plugin a state.
    ///
    /// # Errors
    /// Returns the reason why the plugin does not accept it.
    pub fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        let bytes = state.to_vec();
        self.within(|instance| instance.restore(&types::State { version, bytes }))
    }
}
