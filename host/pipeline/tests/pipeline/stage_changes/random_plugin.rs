//! A plugin that keeps, drops, holds, releases, hands over, refuses and fails according to its
//! seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use spandrel_pipeline::stage::{
    Dispatch, DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance,
    InstantiateError, Manifest, Reply, State, Ticket,
};

use crate::edges::{ids, releasing};

/// The rates of failures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Temper {
    /// The share of calls with a batch, ticks and drains that fail.
    calls: f64,
    /// The share of `snapshot` and `restore` calls that fail.
    states: f64,
    /// The share of states that are refused, and of snapshots that have no state.
    refusals: f64,
}

impl Temper {
    pub(super) fn of(rng: &mut StdRng) -> Self {
        let mut often = |rate: f64| if rng.random_bool(0.5) { rate } else { 0.0 };
        Self {
            calls: often(0.05),
            states: often(0.3),
            refusals: often(0.3),
        }
    }

    /// Returns true if nothing fails: then no fault may be counted.
    pub(super) fn is_even(self) -> bool {
        self.calls + self.states == 0.0
    }
}

#[derive(Debug)]
struct WhimGeneration {
    manifest: Manifest,
    number: u64,
    seed: u64,
    temper: Temper,
    made: AtomicU64,
    /// The number of instances that can be made; failing to make another one is not a fault.
    instances: u64,
}

pub(super) fn generation(
    seed: u64,
    number: u64,
    temper: Temper,
    rng: &mut StdRng,
) -> Arc<dyn Generation> {
    let dispatch = [
        Dispatch::Any,
        Dispatch::Any,
        Dispatch::ByTrace,
        Dispatch::Single,
    ];
    let reasons = rng.random_range(1..4);
    let manifest = Manifest {
        holds: rng.random_bool(0.7),
        dispatch: dispatch[rng.random_range(0..4)],
        tick_interval: Some(Duration::from_millis(rng.random_range(10..500))),
        drop_reasons: (0..reasons).map(|n| format!("random {n}")).collect(),
        state_version: 1,
        ..Manifest::default()
    };
    let instances = match rng.random_range(0..8) {
        0 => rng.random_range(0..3),
        _ => u64::MAX,
    };
    let made = AtomicU64::new(0);
    Arc::new(WhimGeneration {
        manifest,
        number,
        seed,
        temper,
        made,
        instances,
    })
}

impl Generation for WhimGeneration {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn number(&self) -> u64 {
        self.number
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let mut rng = StdRng::seed_from_u64(self.seed ^ self.number << 8 ^ made);
        Box::pin(async move {
            pause(rng.random_range(0..4)).await;
            if made >= self.instances {
                let message = "no more of these".to_owned();
                return Err(InstantiateError {
                    message,
                    source: None,
                });
            }
            let instance: Box<dyn Instance> = Box::new(RandomPlugin {
                rng,
                manifest: self.manifest.clone(),
                temper: self.temper,
                held: Vec::new(),
            });
            Ok(instance)
        })
    }
}

/// Lets some time pass, or none.
async fn pause(much: u64) {
    match much {
        0 => {}
        1 => tokio::task::yield_now().await,
        millis => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

struct RandomPlugin {
    rng: StdRng,
    manifest: Manifest,
    temper: Temper,
    held: Vec<[u64; 2]>,
}

impl RandomPlugin {
    fn fails(&mut self, rate: f64) -> Result<(), Fault> {
        let kind = FaultKind::ALL[self.rng.random_range(0..4)];
        match self.rng.random_bool(rate) {
            true => Err(Fault::new(kind, "by chance")),
            false => Ok(()),
        }
    }

    /// Releases about this share of the held items.
    fn release(&mut self, share: f64) -> Emission {
        let reasons = self.manifest.drop_reasons.len() as u64;
        let mut words = Vec::new();
        let rng = &mut self.rng;
        self.held.retain(|&[ticket, index]| {
            let release = rng.random_bool(share);
            if release {
                let outcome = match rng.random_range(0..4) {
                    0 => 255,
                    1 => 2 + rng.random_range(0..reasons),
                    _ => 0,
                };
                words.extend([ticket, index | outcome << 32]);
            }
            !release
        });
        releasing(words).emission.unwrap()
    }

    fn judge(&mut self, ticket: Ticket, batch: &[u8]) -> Reply {
        let emission = match self.rng.random_range(0..4) {
            0 => Some(self.release(0.2)),
            _ => None,
        };
        let mut verdicts = Vec::new();
        for index in 0..ids(batch).len() as u64 {
            let mut verdict = [0, 0, 0, 1, 1, 2][self.rng.random_range(0..6)];
            if verdict == 1 && self.manifest.holds {
                self.held.push([ticket, index]);
            } else if verdict == 1 {
                verdict = 0;
            }
            verdicts.push(verdict);
        }
        Reply {
            verdicts,
            emission,
            ..Reply::default()
        }
    }
}

impl Instance for RandomPlugin {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move {
            pause(self.rng.random_range(0..4)).await;
            self.fails(self.temper.calls)?;
            Ok(self.judge(ticket, input.bytes()))
        })
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(async move {
            self.fails(self.temper.calls)?;
            Ok(self.release(0.5))
        })
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(async move {
            self.fails(self.temper.calls)?;
            let share = if self.rng.random_bool(0.9) { 1.0 } else { 0.5 };
            Ok(self.release(share))
        })
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        Box::pin(async move {
            pause(self.rng.random_range(0..4)).await;
            self.fails(self.temper.states)?;
            let words = self.held.iter().flatten();
            let bytes = words.flat_map(|word| word.to_le_bytes()).collect();
            let nothing = self.rng.random_bool(self.temper.refusals);
            Ok((!nothing).then_some(State { version: 1, bytes }))
        })
    }

    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        Box::pin(async move {
            pause(self.rng.random_range(0..4)).await;
            self.fails(self.temper.states)?;
            if self.rng.random_bool(self.temper.refusals) {
                return Ok(Err("by chance".to_owned()));
            }
            let (words, _) = state.bytes.as_chunks::<8>();
            let words: Vec<_> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
            self.held.extend_from_slice(words.as_chunks::<2>().0);
            Ok(Ok(()))
        })
    }
}
