//! The plugin: its manifest, and its work on a batch.

use spandrel_guest::prelude::*;

use crate::decisions::Decisions;
use crate::rules::{Config, Rules};
use crate::state;
use crate::trace::{Trace, TraceId};
use crate::waiting::Waiting;

/// The reason why spans are dropped, as the ledger shows it.
const UNINTERESTING: Reason = Reason(0);

/// The plugin: the traces that wait for a decision, and the decisions on recent ones.
#[derive(Debug)]
pub struct KeepInterestingTraces {
    rules: Rules,
    pub(crate) waiting: Waiting,
    pub(crate) decisions: Decisions,
}

impl Plugin for KeepInterestingTraces {
    type Config = Config;

    fn manifest(&self) -> Manifest {
        Manifest::new()
            .dispatch(Dispatch::ByTrace)
            .drop_reasons(&["uninteresting"])
            .holds()
            .tick_interval(Duration::from_millis(250))
            .state_version(state::VERSION)
    }

    fn configure(config: Config) -> Result<Self, String> {
        let rules = Rules::new(&config)?;
        Ok(Self {
            waiting: Waiting::new(rules.max_traces, rules.timeout),
            decisions: Decisions::new(rules.max_decisions),
            rules,
        })
    }

    fn process(&mut self, batch: &mut Batch) {
        let now = Moment::now();
        let clock = self.waiting.clock();
        for span in batch.spans() {
            // A span without a trace id belongs to no trace that could be judged, so it is kept.
            let Some(id) = TraceId::of(&span) else {
                continue;
            };
            match self.decisions.get(id) {
                Some(true) => {}
                Some(false) => span.drop(UNINTERESTING),
                None => self.waiting.add(id, span, now, &clock),
            }
        }
        self.judge_what_is_due(now);
        let too_many = self.waiting.take_excess();
        self.judge(too_many);
    }

    fn tick(&mut self) {
        self.judge_what_is_due(Moment::now());
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        gauge("waiting_traces", self.waiting.len() as f64);
    }

    fn drain(&mut self, reason: DrainReason, _deadline: Duration) {
        let count = match reason {
            DrainReason::Shutdown | DrainReason::Swap => self.waiting.len(),
            DrainReason::Pressure => self.waiting.len().div_ceil(2),
        };
        let oldest = self.waiting.take_oldest(count);
        self.judge(oldest);
    }

    fn snapshot(&mut self) -> Option<Vec<u8>> {
        state::write(&self.waiting, &self.decisions)
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<(), String> {
        let state = state::read(version, state)?;
        let is_new = self.waiting.len() == 0 && self.decisions.len() == 0;
        state.add_to(&mut self.waiting, &mut self.decisions);
        if !is_new {
            // A trace that waited in one of the two instances may have been judged in the other.
            let decisions = &self.decisions;
            let judged = self.waiting.take_if(|id, _| decisions.get(id).is_some());
            for (id, trace) in judged {
                settle(trace, decisions.get(id).unwrap_or(true));
            }
        }
        let too_many = self.waiting.take_excess();
        self.judge(too_many);
        Ok(())
    }
}

impl KeepInterestingTraces {
    fn judge_what_is_due(&mut self, now: Moment) {
        let rules = &self.rules;
        let due = self.waiting.take_if(|_, trace| {
            let settled = trace.root_at.is_some_and(|at| now - at >= rules.settle);
            settled || now - trace.begun_at >= rules.timeout
        });
        self.judge(due);
    }

    fn judge(&mut self, traces: Vec<(TraceId, Trace)>) {
        for (id, trace) in traces {
            let keep = self.rules.keep(id, &trace);
            self.decisions.remember(id, keep);
            settle(trace, keep);
        }
    }
}

fn settle(trace: Trace, keep: bool) {
    for held in trace.held {
        if keep {
            held.forward();
        } else {
            held.drop(UNINTERESTING);
        }
    }
}
