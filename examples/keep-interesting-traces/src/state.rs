//! What the next generation takes over: the traces that wait, and the judgements.
//!
//! Everything is little-endian; times are ages, because the next generation's clock starts
//! elsewhere. The held spans' names keep their meaning: the spans are the host's.

use std::time::Duration;

use spandrel_guest::Held;

use crate::decisions::Decisions;
use crate::trace::{Trace, TraceId};
use crate::waiting::Waiting;

pub(crate) const VERSION: u32 = 1;

/// An age that says "not yet".
const NEVER: u64 = u64::MAX;

pub(crate) fn write(waiting: &Waiting, decisions: &Decisions, now: Duration) -> Vec<u8> {
    let held: usize = waiting.iter().map(|(_, trace)| trace.held.len()).sum();
    let size = 16 + decisions.len() * 17 + waiting.len() * 57 + held * 12;
    let mut state = Vec::with_capacity(size);
    put(&mut state, decisions.len() as u64);
    for (id, keep) in decisions.iter() {
        state.extend_from_slice(&id.0);
        state.push(keep.into());
    }
    put(&mut state, waiting.len() as u64);
    for (id, trace) in waiting.iter() {
        state.extend_from_slice(&id.0);
        put(&mut state, age(trace.begun_at, now));
        put(&mut state, trace.root_at.map_or(NEVER, |at| age(at, now)));
        put(&mut state, trace.start);
        put(&mut state, trace.end);
        state.push(trace.failed.into());
        put(&mut state, trace.held.len() as u64);
        for held in &trace.held {
            state.extend_from_slice(&held.to_bytes());
        }
    }
    state
}

/// Reads everything before anything changes: a state that is cut short leaves all as it was.
pub(crate) fn read(
    version: u32,
    state: &[u8],
    waiting: &mut Waiting,
    decisions: &mut Decisions,
    now: Duration,
) -> Result<(), String> {
    if version != VERSION {
        return Err(format!("state version {version} is not {VERSION}"));
    }
    let mut rest = Rest(state);
    let (judged, traces) = rest.read(now).ok_or("the state ends too early")?;
    if !rest.0.is_empty() {
        return Err("the state goes on after its end".to_owned());
    }
    for (id, keep) in judged {
        decisions.remember(id, keep);
    }
    for (id, names, mut trace) in traces {
        trace.held = names.iter().copied().map(Held::from_bytes).collect();
        waiting.put(id, trace);
    }
    Ok(())
}

fn age(at: Duration, now: Duration) -> u64 {
    u64::try_from(now.saturating_sub(at).as_nanos()).unwrap_or(NEVER - 1)
}

fn put(state: &mut Vec<u8>, number: u64) {
    state.extend_from_slice(&number.to_le_bytes());
}

/// What is not read yet.
struct Rest<'s>(&'s [u8]);

type Judged = Vec<(TraceId, bool)>;
type Traces<'s> = Vec<(TraceId, &'s [[u8; 12]], Trace)>;

impl<'s> Rest<'s> {
    fn read(&mut self, now: Duration) -> Option<(Judged, Traces<'s>)> {
        let mut judged = Vec::new();
        for _ in 0..self.number()? {
            judged.push((TraceId(*self.chunk()?), self.flag()?));
        }
        let mut traces = Vec::new();
        for _ in 0..self.number()? {
            let id = TraceId(*self.chunk()?);
            let begun_at = now.saturating_sub(Duration::from_nanos(self.number()?));
            let root_age = Some(self.number()?).filter(|&age| age != NEVER);
            let trace = Trace {
                begun_at,
                root_at: root_age.map(|age| now.saturating_sub(Duration::from_nanos(age))),
                start: self.number()?,
                end: self.number()?,
                failed: self.flag()?,
                held: Vec::new(),
            };
            let count = usize::try_from(self.number()?).ok()?;
            let (names, rest) = self.0.split_at_checked(count.checked_mul(12)?)?;
            self.0 = rest;
            traces.push((id, names.as_chunks().0, trace));
        }
        Some((judged, traces))
    }

    fn chunk<const N: usize>(&mut self) -> Option<&'s [u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(chunk)
    }

    fn number(&mut self) -> Option<u64> {
        self.chunk().copied().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.chunk::<1>().map(|&[flag]| flag != 0)
    }
}
