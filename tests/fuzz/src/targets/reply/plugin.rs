//! A plugin whose answers are decided by the bytes: right, almost right, and garbage.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use prost::Message;
use spandrel_pipeline::stage::{
    Dispatch, DrainReason, Emission, Fault, FaultKind, Generation, Input, Instance,
    InstantiateError, Manifest, NewReads, Reply, State, Ticket,
};
use spandrel_wire::{Signal, count};

use crate::dice::Dice;
use crate::replies::{REASONS, changes, encode, garbage, item_changes, verdicts};
use crate::requests::traces;

/// A plugin whose instances all give the same answers, one after the other.
pub(super) struct Scripted {
    manifest: Manifest,
    dice: Dice,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scripted plugin")
    }
}

impl Scripted {
    pub(super) fn new(mut dice: Dice) -> Self {
        let dispatch = match dice.roll(3) {
            0 => Dispatch::Any,
            1 => Dispatch::ByTrace,
            _ => Dispatch::Single,
        };
        let manifest = Manifest {
            name: "scripted".to_owned(),
            version: "1".to_owned(),
            dispatch,
            tick_interval: dice.some(|_| Duration::from_millis(10)),
            state_version: 1,
            holds: !dice.once_in(5),
            drop_reasons: (0..REASONS).map(|reason| format!("r{reason}")).collect(),
        };
        Self { manifest, dice }
    }
}

impl Generation for Scripted {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        let instance = ScriptedInstance {
            dice: self.dice.clone(),
            held: Vec::new(),
            last: 0,
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn Instance>) })
    }
}

struct ScriptedInstance {
    dice: Dice,
    /// Ticket and index of the items that it believes it holds.
    held: Vec<[u64; 2]>,
    last: Ticket,
}

impl ScriptedInstance {
    fn reply(&mut self, ticket: Ticket, batch: &[u8]) -> Result<Reply, Fault> {
        let mut dice = self.dice.fork(200);
        if dice.once_in(12) {
            return Err(Fault::new(FaultKind::Trap, "trap"));
        }
        self.last = ticket;
        let items = count(Signal::Traces, batch);
        let said = match dice.roll(4) {
            0 => dice.bytes(items + 1),
            1 => vec![1; items],
            _ => verdicts(&mut dice, items),
        };
        let holds = (0..).zip(&said).filter(|(_, verdict)| **verdict == 1);
        self.held.extend(holds.map(|(index, _)| [ticket, index]));
        let (edits, blob) = if dice.once_in(5) {
            garbage(&mut dice)
        } else {
            // Missing indices happen by chance: there may be fewer of each.
            encode(&changes(&mut dice, [items, 1, 1]))
        };
        Ok(Reply {
            verdicts: said,
            edits,
            blob,
            emission: dice.some(|dice| self.emission(dice)),
            reads: dice.some(|dice| NewReads {
                fields: dice.once_in(2),
                attributes: dice.list(3, Dice::key),
                whole: dice.once_in(6),
            }),
        })
    }

    fn emission(&mut self, dice: &mut Dice) -> Emission {
        let mut released: Vec<u64> = Vec::new();
        for _ in 0..dice.roll(6) {
            released.extend(self.release(dice));
        }
        if dice.once_in(20) {
            released.pop();
        }
        let (edits, blob) = if dice.once_in(6) {
            garbage(dice)
        } else {
            encode(&item_changes(dice, released.len() / 2))
        };
        Emission {
            released,
            edits,
            blob,
            created: match dice.roll(6) {
                0 => traces(dice).encode_to_vec(),
                1 => dice.bytes(40),
                _ => Vec::new(),
            },
        }
    }

    /// Makes the two words of one release: of a held item, of one that is not held, or of one that
    /// is not held any more.
    fn release(&mut self, dice: &mut Dice) -> [u64; 2] {
        let place = dice.roll(self.held.len());
        let [ticket, index] = match dice.roll(8) {
            0 => [
                self.last.wrapping_add(u64::from(dice.byte() % 3)),
                dice.word(),
            ],
            1 => [dice.word(), dice.word()],
            2 => self.held.get(place).copied().unwrap_or_default(),
            _ if self.held.is_empty() => [self.last, 0],
            _ => self.held.swap_remove(place),
        };
        let outcome = match dice.roll(6) {
            0 => u64::from(2 + dice.byte() % REASONS),
            1 => 255,
            2 => u64::from(dice.byte()),
            _ => 0,
        };
        [ticket, index | outcome << 32]
    }
}

impl Instance for ScriptedInstance {
    fn process<'a>(
        &'a mut self,
        ticket: Ticket,
        input: &'a Input,
    ) -> BoxFuture<'a, Result<Reply, Fault>> {
        let reply = self.reply(ticket, input.bytes());
        Box::pin(std::future::ready(reply))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        let mut dice = self.dice.fork(100);
        let emission = self.emission(&mut dice);
        Box::pin(std::future::ready(Ok(emission)))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        self.tick()
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
