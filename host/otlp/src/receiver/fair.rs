//! A bounded amount of something, shared out so that no connection can take it from the others:
//! who waits is served in turn by connection, however many requests each of them has waiting.

mod lease;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use lease::Lease;

/// Who was passed over for lack of room for this long is not passed over any more: a large request
/// must not wait behind small ones for ever.
const PATIENCE: Duration = Duration::from_millis(250);

/// There is a shortage for this long after somebody had to wait.
const SHORTAGE: Duration = Duration::from_secs(1);

/// Grants back to which it is known who had them, and at most so many more: rounds of as many
/// connections.
const REMEMBERED: u64 = 1024;

/// Names a connection.
pub(crate) type Connection = u64;

/// How much of what is free one connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// All that nobody waits for.
    Whole,
    /// As much as is still free beside it: one connection alone gets half, two a third each, and
    /// so there is always room for one more. One request of each connection is exempt, so that
    /// however little is free, every connection gets on.
    Share {
        /// What is kept free for small requests.
        reserve: usize,
        /// What a small request takes.
        small: usize,
    },
}

/// There is no room, and there was none in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// See the module.
#[derive(Debug)]
pub(crate) struct Fair {
    rule: Rule,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    total: usize,
    taken: usize,
    /// How much of that is of what is kept for small requests, given to those behind a large one.
    kept_taken: usize,
    /// Connections that hold something or wait.
    members: HashMap<Connection, Member>,
    /// Connections that wait, who was served longest ago first, each with its turn.
    turns: VecDeque<(u64, Connection)>,
    /// How often somebody who waited was served: what turns are counted in.
    grants: u64,
    /// Whom of late, and when. Who always has one request at a time comes back to the line when the
    /// others have moved up, and would otherwise wait for a whole round from then on.
    served: HashMap<Connection, u64>,
    next_lease: u64,
    /// Between two grants to those who wait, on average, and the last of them.
    interval: Duration,
    last_grant: Option<Instant>,
    /// When there was no room for somebody the last time.
    last_short: Option<Instant>,
}

#[derive(Debug, Default)]
struct Member {
    held: usize,
    /// The request that is exempt from the share.
    exempt: Option<u64>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    lease: u64,
    more: usize,
    /// With what it holds already.
    size: usize,
    since: Instant,
    /// Told how much of it is of what is kept for small requests.
    grant: oneshot::Sender<usize>,
}

impl Fair {
    pub(crate) fn new(total: usize, rule: Rule) -> Arc<Self> {
        Arc::new(Self {
            rule,
            state: Mutex::new(State {
                total,
                taken: 0,
                kept_taken: 0,
                members: HashMap::new(),
                turns: VecDeque::new(),
                grants: 0,
                served: HashMap::new(),
                next_lease: 0,
                interval: Duration::ZERO,
                last_grant: None,
                last_short: None,
            }),
        })
    }

    /// Another total from now on; what is taken stays so.
    pub(crate) fn set_total(&self, total: usize) {
        let mut state = self.lock();
        if state.total != total {
            state.total = total;
            state.serve(self.rule);
        }
    }

    /// Nothing yet, for one request of this connection.
    pub(crate) fn lease(self: &Arc<Self>, connection: Connection) -> Lease {
        let mut state = self.lock();
        state.next_lease += 1;
        Lease {
            id: state.next_lease,
            connection,
            held: 0,
            kept: 0,
            fair: Arc::clone(self),
        }
    }

    /// Whether one more request of this connection would wait longer than this, going by how fast
    /// those before it get on.
    pub(crate) fn is_hopeless(&self, connection: Connection, wait: Duration) -> bool {
        let state = self.lock();
        if state.turns.is_empty() {
            return false;
        }
        let waiting = |connection| {
            let member = state.members.get(connection);
            member.map_or(0, |member| member.waiting.len())
        };
        let own = waiting(&connection) + 1;
        let mut turns = state.turns.iter();
        let stands = turns.find(|(_, other)| *other == connection);
        let turn = stands.map_or_else(|| state.turn(connection), |(turn, _)| *turn);
        let before: usize = state
            .turns
            .iter()
            .map(|(other_turn, other)| {
                // Who comes behind it in each round has one less before it.
                let rounds = own - usize::from(*other_turn > turn);
                waiting(other).min(rounds)
            })
            .sum();
        state.interval * u32::try_from(before).unwrap_or(u32::MAX) > wait
    }

    /// Whether somebody lacks what others hold, now or a moment ago.
    pub(crate) fn is_short(&self) -> bool {
        let state = self.lock();
        let recent = |at: Instant| at.elapsed() < SHORTAGE;
        !state.turns.is_empty() || state.last_short.is_some_and(recent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn free(&self) -> usize {
        self.total.saturating_sub(self.taken)
    }

    fn admits(&self, rule: Rule, member: &Member, lease: u64, more: usize, size: usize) -> bool {
        match rule {
            Rule::Whole => more <= self.free(),
            Rule::Share { reserve, small } => {
                let is_small = size <= small;
                let kept = if is_small {
                    0
                } else {
                    reserve.saturating_sub(self.kept_taken)
                };
                let is_exempt = member.exempt.is_none_or(|exempt| exempt == lease);
                more.saturating_add(kept) <= self.free()
                    && (is_exempt || member.held.saturating_add(more) <= self.free())
            }
        }
    }

    /// Whether this much of what is kept for small requests is left for this one.
    fn keeps(&self, rule: Rule, more: usize, size: usize) -> bool {
        match rule {
            Rule::Whole => false,
            Rule::Share { reserve, small } => {
                size <= small && self.kept_taken.saturating_add(more) <= reserve
            }
        }
    }

    fn take(&mut self, connection: Connection, lease: u64, more: usize) {
        self.taken += more;
        let member = self.members.entry(connection).or_default();
        member.held += more;
        member.exempt.get_or_insert(lease);
    }

    /// Takes back from a connection, and its exemption from this request.
    fn give_back(&mut self, rule: Rule, connection: Connection, exempt: Option<u64>, units: usize) {
        self.taken = self.taken.saturating_sub(units);
        if let Some(member) = self.members.get_mut(&connection) {
            member.held = member.held.saturating_sub(units);
            member.exempt = member.exempt.filter(|now| Some(*now) != exempt);
        }
        self.forget(connection);
        self.serve(rule);
    }

    /// Lets go of a connection that neither holds nor waits.
    fn forget(&mut self, connection: Connection) {
        if let Some(member) = self.members.get(&connection)
            && member.held == 0
            && member.waiting.is_empty()
        {
            self.members.remove(&connection);
        }
    }

    /// Gives to those who wait, one to each connection in turn, for as long as somebody fits.
    fn serve(&mut self, rule: Rule) {
        while !self.turns.is_empty() && self.serve_round(rule) {}
    }

    fn serve_round(&mut self, rule: Rule) -> bool {
        // Behind somebody who is not passed over any more, only what he cannot have is given.
        let mut is_behind = false;
        let mut served = VecDeque::new();
        let mut passed_over = VecDeque::new();
        while let Some((turn, connection)) = self.turns.pop_front() {
            let Some(member) = self.members.get_mut(&connection) else {
                continue;
            };
            let Some(first) = member.waiting.pop_front() else {
                continue;
            };
            let member = self.members.get(&connection);
            let (lease, more, size) = (first.lease, first.more, first.size);
            let fits = member.is_some_and(|member| {
                self.admits(rule, member, lease, more, size)
                    && (!is_behind || self.keeps(rule, more, size))
            });
            if !fits {
                is_behind |= first.since.elapsed() >= PATIENCE;
                if let Some(member) = self.members.get_mut(&connection) {
                    member.waiting.push_front(first);
                }
                passed_over.push_back((turn, connection));
                continue;
            }
            let kept = if is_behind { more } else { 0 };
            // Who gave up meanwhile takes nothing.
            if first.grant.send(kept).is_ok() {
                self.take(connection, lease, more);
                self.kept_taken += kept;
                self.granted(connection);
            }
            let waits = |member: &Member| !member.waiting.is_empty();
            if self.members.get(&connection).is_some_and(waits) {
                served.push_back((self.grants, connection));
            } else {
                self.forget(connection);
            }
        }
        let progress = !served.is_empty();
        passed_over.append(&mut self.turns);
        passed_over.append(&mut served);
        self.turns = passed_over;
        progress
    }

    /// Lets a connection into the line, at the place that it has by its turn; a newcomer at its end.
    fn stand(&mut self, connection: Connection) {
        let turn = self.turn(connection);
        let at = self.turns.partition_point(|(other, _)| *other <= turn);
        self.turns.insert(at, (turn, connection));
    }

    /// The turn of a connection that does not wait yet.
    fn turn(&self, connection: Connection) -> u64 {
        let served = self.served.get(&connection);
        served.copied().unwrap_or(self.grants)
    }

    /// Remembers who was served, and keeps the average up to date.
    fn granted(&mut self, connection: Connection) {
        self.grants += 1;
        self.served.insert(connection, self.grants);
        if self.grants.is_multiple_of(REMEMBERED) {
            let oldest = self.grants - REMEMBERED;
            self.served.retain(|_, turn| *turn > oldest);
        }
        let now = Instant::now();
        if let Some(last) = self.last_grant.replace(now) {
            self.interval = (self.interval * 7 + (now - last)) / 8;
        }
    }

    /// Whether this connection has its part already, while others wait for theirs.
    fn is_over_share(&self, connection: Connection, more: usize) -> bool {
        let others_wait = self.turns.iter().any(|(_, other)| *other != connection);
        let held = self.members.get(&connection).map_or(0, |own| own.held);
        others_wait
            && held > 0
            && held.saturating_add(more) > self.total / self.members.len().max(1)
    }
}

#[cfg(test)]
mod tests;
