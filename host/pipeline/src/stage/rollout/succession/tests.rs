//! Every row of the table of a succession.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::{Limits, Signal, Verdict};

use super::*;
use crate::ledger::{Account, Ledger};
use crate::plugin::{
    DrainReason, Emission, FaultKind, Input, Instance, InstantiateError, Manifest, Reply,
};
use crate::stage::run::batch::StageBatch;
use crate::stage::run::output::BatchOwner;
use crate::stage::spec::StageSpec;

/// The answer of a plugin that is asked for its state, or given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Fails,
}

/// The states that the test knows, by their version.
const OF_OLD: u32 = 1;
const EARLIER: u32 = 2;
const OWN: u32 = 3;

/// A plugin that holds everything. It is its own generation.
#[derive(Clone, Debug)]
struct Holder {
    manifest: Manifest,
    /// The version of its state, and its answer when it is asked for that.
    gives: (u32, Answer),
    /// Its answers to the states of the old generation, and of its own from before.
    takes: Answer,
    takes_earlier: Answer,
}

impl Holder {
    fn new(gives: (u32, Answer), takes: Answer, takes_earlier: Answer) -> Self {
        let manifest = Manifest {
            holds: true,
            ..Manifest::default()
        };
        Self {
            manifest,
            gives,
            takes,
            takes_earlier,
        }
    }
}

fn fault() -> Fault {
    Fault::new(FaultKind::Trap, "as planned")
}

fn state(version: u32) -> State {
    State {
        version,
        bytes: Vec::new(),
    }
}

impl Instance for Holder {
    fn process<'a>(&'a mut self, _: Ticket, _: &'a Input) -> BoxFuture<'a, Result<Reply, Fault>> {
        let reply = Reply {
            verdicts: vec![Verdict::Hold.to_byte()],
            ..Reply::default()
        };
        Box::pin(ready(Ok(reply)))
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(ready(Ok(Emission::default())))
    }

    fn drain(&mut self, _: DrainReason, _: Duration) -> BoxFuture<'_, Result<Emission, Fault>> {
        Box::pin(ready(Ok(Emission::default())))
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Option<State>, Fault>> {
        let (version, answer) = self.gives;
        Box::pin(ready(match answer {
            Answer::Yes => Ok(Some(state(version))),
            Answer::No => Ok(None),
            Answer::Fails => Err(fault()),
        }))
    }

    fn restore(&mut self, state: State) -> BoxFuture<'_, Result<Result<(), String>, Fault>> {
        let answer = match state.version {
            OF_OLD => self.takes,
            EARLIER => self.takes_earlier,
            _ => Answer::Yes,
        };
        Box::pin(ready(match answer {
            Answer::Yes => Ok(Ok(())),
            Answer::No => Ok(Err("refused".to_owned())),
            Answer::Fails => Err(fault()),
        }))
    }
}

impl Generation for Holder {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn instantiate(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, InstantiateError>> {
        Box::pin(ready(Ok(Box::new(self.clone()) as Box<dyn Instance>)))
    }
}

/// A state that the new generation of a row may go back to.
#[derive(Clone, Copy, Debug)]
enum Back {
    /// It begins, and has none.
    Nothing,
    /// It begins, and has one from before; it takes that or not.
    Earlier(Answer),
    /// It has worked, and its own state can be copied or not.
    Own(Answer),
}

/// Makes a runner that holds one item under each ticket from `first` to `last`.
async fn runner(ledger: &Arc<Ledger>, plugin: Holder, first: Ticket, last: Ticket) -> StageRunner {
    let instance = Box::new(plugin.clone());
    let generation: Arc<dyn Generation> = Arc::new(plugin);
    let spec = Arc::new(StageSpec::new("a", Arc::clone(&generation)));
    let (limits, ledger) = (Limits::default(), Arc::clone(ledger));
    let mut runner = StageRunner::new(
        spec,
        generation,
        limits,
        Arc::clone(&ledger),
        instance,
        first,
    );
    for _ in first..=last {
        let mut tally = ledger.receive(1);
        tally.transfer(Account::Chain);
        let one_span = Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]);
        let batch = Batch {
            bytes: one_span,
            tally,
        };
        let output = runner.process(StageBatch::from(batch), BatchOwner::Accepted);
        assert!(output.await.kept.is_none(), "it holds the item");
    }
    runner
}

/// Runs a succession. The old generation holds the tickets 5 to 7, and the new one's earlier state
/// knows of 6 only; a new one that has worked holds 1000. Returns the outcome, the tickets that are
/// to be offered then, and whether the old generation's state was retained.
async fn succeed(gives: Answer, takes: Answer, back: Back) -> (StateTransfer, Vec<Ticket>, bool) {
    let ledger = Ledger::new("traces", Signal::Traces, []);
    let old = Holder::new((OF_OLD, gives), Answer::Yes, Answer::Yes);
    let old = runner(&ledger, old, 5, 7).await;
    let (own, earlier, held) = match back {
        Back::Nothing => (Answer::No, Answer::No, 0),
        Back::Earlier(answer) => (Answer::No, answer, 0),
        Back::Own(answer) => (answer, Answer::No, 1),
    };
    let new = Holder::new((OWN, own), takes, earlier);
    let mut new = runner(&ledger, new, 1000, 999 + held).await;
    let fallback = match back {
        Back::Nothing => Fallback::Earlier(None),
        Back::Earlier(_) => Fallback::Earlier(Some(RetainedState {
            generation: Arc::clone(new.generation()),
            state: state(EARLIER),
            ticket: 6,
            unknown: BTreeSet::from([5]),
        })),
        Back::Own(_) => Fallback::Own,
    };
    let mut emitted = Vec::new();
    let succession = Succession::new(&mut new, fallback, &mut emitted);
    let (carried, retained) = succession.run(old, true).await;
    assert!(emitted.is_empty(), "nothing is let go");
    assert!(ledger.books().is_balanced(), "{ledger}");
    assert_eq!(ledger.books().held(), 3 + held);
    let unowned = new.plugin().held().unowned().collect();
    (carried, unowned, retained.is_some())
}

/// The outcome for the state, and the items that are offered again, for each combination of an old
/// and a new generation.
#[tokio::test(start_paused = true)]
async fn every_row_of_the_table() {
    use Answer::{Fails, No, Yes};
    use Back::{Earlier, Nothing, Own};
    const ALL: &[Ticket] = &[5, 6, 7];
    // The ticket that the earlier state does not know although it is older, and the later one.
    const LATER: &[Ticket] = &[5, 7];
    let refused = || StateTransfer::Failed("refused".to_owned());
    let failed = |call: &str| {
        StateTransfer::Failed(format!("the plugin failed in `{call}`: trap: as planned"))
    };
    let rows: [(Answer, Answer, Back, StateTransfer, &[Ticket]); 18] = [
        (Yes, Yes, Nothing, StateTransfer::Done, &[]),
        (Yes, No, Nothing, refused(), ALL),
        (Yes, Fails, Nothing, failed("restore"), ALL),
        (No, Yes, Nothing, StateTransfer::NoState, ALL),
        (Fails, Yes, Nothing, failed("snapshot"), ALL),
        (Yes, Yes, Earlier(Yes), StateTransfer::Done, &[]),
        (Yes, No, Earlier(Yes), StateTransfer::Earlier, LATER),
        (Yes, Fails, Earlier(Yes), StateTransfer::Earlier, LATER),
        (No, Yes, Earlier(Yes), StateTransfer::Earlier, LATER),
        (Fails, Yes, Earlier(Yes), StateTransfer::Earlier, LATER),
        (Yes, No, Earlier(No), refused(), ALL),
        (Yes, No, Earlier(Fails), refused(), ALL),
        (Yes, Yes, Own(Yes), StateTransfer::Done, &[]),
        (Yes, No, Own(Yes), refused(), ALL),
        (No, Yes, Own(Yes), StateTransfer::NoState, ALL),
        // Its own state is restored, so it knows its own item.
        (Yes, Fails, Own(Yes), failed("restore"), ALL),
        // Its own state is lost with the instance.
        (Yes, Fails, Own(No), failed("restore"), &[5, 6, 7, 1000]),
        (Yes, Yes, Own(Fails), StateTransfer::Done, &[1000]),
    ];
    for (gives, takes, back, carried, offered) in rows {
        let row = format!("gives {gives:?}, takes {takes:?}, {back:?}");
        let outcome = succeed(gives, takes, back).await;
        assert_eq!(outcome, (carried, offered.to_vec(), gives == Yes), "{row}");
    }
}
