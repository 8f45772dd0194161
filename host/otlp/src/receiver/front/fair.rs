//! Shares out a bounded amount of something so that no connection can take it from the others:
//! waiting requests are served in turn by connection, however many requests each connection has
//! waiting.

mod permit;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use permit::Permit;

/// The time for which a waiting request may be passed over for lack of room. After that it is not
/// passed over any more: a large request must not wait behind small ones for ever.
const PATIENCE: Duration = Duration::from_millis(250);

/// The time for which the amount counts as short after a request had to wait.
const SHORTAGE: Duration = Duration::from_secs(1);

/// The number of past grants whose receivers are known, and at most as many again: rounds of that
/// many connections.
const REMEMBERED: u64 = 1024;

/// The number that names a connection.
pub(crate) type ConnectionId = u64;

/// The rule for how much of the free amount one connection may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// All of the free amount, as long as nobody waits for it.
    Whole,
    /// As much as remains free for the others: one connection alone gets half, two get a third
    /// each, so there is always room for one more. One request of each connection is exempt, so
    /// every connection makes progress, however little is free.
    Share {
        /// The amount that is kept free for small requests.
        reserve: usize,
        /// The largest size of a small request.
        small: usize,
    },
}

/// The error that there is no room, and that none came free in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An amount that is shared out between connections.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    rule: Rule,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    total: usize,
    taken: usize,
    /// The part of `taken` that came from the small-request reserve, given to requests behind a
    /// large one.
    kept_taken: usize,
    /// Connections that hold something or wait.
    members: HashMap<ConnectionId, Member>,
    /// Connections that wait, each with its turn; the one that was served longest ago comes first.
    line: VecDeque<(u64, ConnectionId)>,
    /// The number of times that a waiting request was served; turns are counted in it.
    grants: u64,
    /// The recently served connections, with the number of their last grant. A connection that
    /// always has one request at a time comes back to the line when the others have moved up, and
    /// would otherwise wait for a whole round from then on.
    served: HashMap<ConnectionId, u64>,
    next_permit: u64,
    /// The last time when there was no room for a request.
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
    permit: u64,
    more: usize,
    /// The size including what the permit holds already.
    size: usize,
    since: Instant,
    /// Receives the part of the grant that came from the small-request reserve.
    grant: oneshot::Sender<usize>,
}

impl FairSemaphore {
    pub(crate) fn new(total: usize, rule: Rule) -> Arc<Self> {
        Arc::new(Self {
            rule,
            state: Mutex::new(State {
                total,
                taken: 0,
                kept_taken: 0,
                members: HashMap::new(),
                line: VecDeque::new(),
                grants: 0,
                served: HashMap::new(),
                next_permit: 0,
                last_short: None,
            }),
        })
    }

    /// Sets another total from now on; the amount that is taken stays taken.
    pub(crate) fn set_total(&self, total: usize) {
        let mut state = self.lock();
        if state.total != total {
            state.total = total;
            state.serve(self.rule);
        }
    }

    /// Returns an empty permit, for one request of this connection.
    pub(crate) fn permit(self: &Arc<Self>, connection: ConnectionId) -> Permit {
        let mut state = self.lock();
        state.next_permit += 1;
        Permit {
            id: state.next_permit,
            connection,
            held: 0,
            kept: 0,
            fair: Arc::clone(self),
        }
    }

    /// Returns true if a request lacks what others hold, now or a moment ago.
    pub(crate) fn is_short(&self) -> bool {
        let state = self.lock();
        let recent = |at: Instant| at.elapsed() < SHORTAGE;
        !state.line.is_empty() || state.last_short.is_some_and(recent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn free(&self) -> usize {
        self.total.saturating_sub(self.taken)
    }

    fn admits(&self, rule: Rule, member: &Member, permit: u64, more: usize, size: usize) -> bool {
        match rule {
            Rule::Whole => more <= self.free(),
            Rule::Share { reserve, small } => {
                let is_small = size <= small;
                let kept = if is_small {
                    0
                } else {
                    reserve.saturating_sub(self.kept_taken)
                };
                let is_exempt = member.exempt.is_none_or(|exempt| exempt == permit);
                more.saturating_add(kept) <= self.free()
                    && (is_exempt || member.held.saturating_add(more) <= self.free())
            }
        }
    }

    /// Returns true if this much of the small-request reserve is left for this request.
    fn keeps(&self, rule: Rule, more: usize, size: usize) -> bool {
        match rule {
            Rule::Whole => false,
            Rule::Share { reserve, small } => {
                size <= small && self.kept_taken.saturating_add(more) <= reserve
            }
        }
    }

    fn take(&mut self, connection: ConnectionId, permit: u64, more: usize) {
        self.taken += more;
        let member = self.members.entry(connection).or_default();
        member.held += more;
        member.exempt.get_or_insert(permit);
    }

    /// Takes units back from a connection, and the exemption from this request.
    fn give_back(
        &mut self,
        rule: Rule,
        connection: ConnectionId,
        exempt: Option<u64>,
        units: usize,
    ) {
        self.taken = self.taken.saturating_sub(units);
        if let Some(member) = self.members.get_mut(&connection) {
            member.held = member.held.saturating_sub(units);
            member.exempt = member.exempt.filter(|now| Some(*now) != exempt);
        }
        self.forget(connection);
        self.serve(rule);
    }

    /// Drops a connection that neither holds nor waits.
    fn forget(&mut self, connection: ConnectionId) {
        if let Some(member) = self.members.get(&connection)
            && member.held == 0
            && member.waiting.is_empty()
        {
            self.members.remove(&connection);
        }
    }

    /// Serves waiting requests in the order of the line, those that fit.
    fn serve(&mut self, rule: Rule) {
        // Behind a request that is not passed over any more, only the small-request reserve is
        // given, which that request cannot have.
        let mut is_behind = false;
        let mut at = 0;
        while let Some((_, connection)) = self.line.get(at).copied() {
            let member = self.members.get(&connection);
            let waiting = member.and_then(|member| Some((member, member.waiting.front()?)));
            let Some((member, first)) = waiting else {
                self.line.remove(at);
                continue;
            };
            let (permit, more, size) = (first.permit, first.more, first.size);
            let fits = self.admits(rule, member, permit, more, size)
                && (!is_behind || self.keeps(rule, more, size));
            if !fits {
                is_behind |= first.since.elapsed() >= PATIENCE;
                at += 1;
                continue;
            }
            let kept = if is_behind { more } else { 0 };
            // A request that gave up meanwhile takes nothing.
            if self
                .pop(connection)
                .is_some_and(|first| first.grant.send(kept).is_ok())
            {
                self.take(connection, permit, more);
                self.kept_taken += kept;
                self.remember(connection);
            }
            self.line.remove(at);
            self.stand(connection);
            self.forget(connection);
        }
    }

    fn pop(&mut self, connection: ConnectionId) -> Option<Waiter> {
        self.members.get_mut(&connection)?.waiting.pop_front()
    }

    /// Remembers that a connection was served.
    fn remember(&mut self, connection: ConnectionId) {
        self.grants += 1;
        self.served.insert(connection, self.grants);
        if self.grants.is_multiple_of(REMEMBERED) {
            let oldest = self.grants - REMEMBERED;
            self.served.retain(|_, turn| *turn > oldest);
        }
    }

    /// Puts a connection into the line if it waits, at the place that its last grant gives it; a
    /// newcomer goes to the end.
    fn stand(&mut self, connection: ConnectionId) {
        let waits = |member: &Member| !member.waiting.is_empty();
        if self.members.get(&connection).is_some_and(waits) {
            let turn = self.served.get(&connection).copied();
            let turn = turn.unwrap_or(self.grants);
            let at = self.line.partition_point(|(other, _)| *other <= turn);
            self.line.insert(at, (turn, connection));
        }
    }

    /// Returns true if this connection has its part already, while others wait for theirs.
    fn is_over_share(&self, connection: ConnectionId, more: usize) -> bool {
        let others_wait = self.line.iter().any(|(_, other)| *other != connection);
        let held = self.members.get(&connection).map_or(0, |own| own.held);
        others_wait
            && held > 0
            && held.saturating_add(more) > self.total / self.members.len().max(1)
    }
}

#[cfg(test)]
mod tests;
