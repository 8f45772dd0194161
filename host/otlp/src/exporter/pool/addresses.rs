//! The addresses of a name, and the state of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Balancer;
use super::super::connection::Connection;
use super::ConnectError;

/// The most addresses of one name that are used: each costs a connection.
const MAX_ADDRESSES: usize = 64;

/// The time after which a failed address is tried again. It doubles up to the longest, as in gRPC;
/// an address is tried sooner if no other one works.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The addresses of a name, in the order in which the resolver returns them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    all: Vec<Address>,
    /// The number of picks so far.
    next: usize,
}

#[derive(Debug)]
struct Address {
    address: SocketAddr,
    connection: Option<Connection>,
    is_connecting: bool,
    /// The number of all failures; `in_a_row` counts those since the last success.
    failed: u64,
    in_a_row: u32,
    error: Option<ConnectError>,
    /// The time when it is tried again, while others work.
    due: Option<Instant>,
}

impl Addresses {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Replaces the addresses. Those that stay keep their connections; attempts on the others go
    /// on.
    pub(super) fn set(&mut self, addresses: &[SocketAddr]) {
        let mut before = std::mem::take(&mut self.all);
        for address in addresses {
            if self.all.len() == MAX_ADDRESSES {
                break;
            }
            if self.all.iter().any(|slot| slot.address == *address) {
                continue;
            }
            let known = before.iter().position(|slot| slot.address == *address);
            self.all.push(match known {
                Some(at) => before.swap_remove(at),
                None => Address::new(*address),
            });
        }
    }

    /// Drops connections that have ended. Returns true if there were any.
    pub(super) fn forget_closed(&mut self) -> bool {
        let mut any = false;
        for slot in &mut self.all {
            if slot.connection.as_ref().is_some_and(Connection::is_closed) {
                slot.connection = None;
                any = true;
            }
        }
        any
    }

    /// Drops a connection. Returns its address, or `None` if it was dropped before.
    pub(super) fn retire(&mut self, connection: &Connection) -> Option<SocketAddr> {
        let is_it =
            |slot: &&mut Address| slot.connection.as_ref().is_some_and(|it| it.is(connection));
        let slot = self.all.iter_mut().find(is_it)?;
        slot.connection = None;
        Some(slot.address)
    }

    /// Returns the addresses to connect to now. `before` has the failures that were known when the
    /// attempt began; the attempt tries each address once.
    pub(super) fn begin(
        &mut self,
        balancer: Balancer,
        before: &mut BTreeMap<SocketAddr, u64>,
        now: Instant,
    ) -> Vec<SocketAddr> {
        let works = self.all.iter().any(|slot| slot.connection.is_some());
        if !works {
            for slot in &self.all {
                before.entry(slot.address).or_insert(slot.failed);
            }
        }
        let busy = self.all.iter().any(|slot| slot.is_connecting);
        // Addresses are tried one after the other until one works.
        let is_first = balancer == Balancer::PickFirst;
        if is_first && (works || busy) {
            return Vec::new();
        }
        let wants = |slot: &&mut Address| {
            let is_free = slot.connection.is_none() && !slot.is_connecting;
            let tried = before
                .get(&slot.address)
                .is_some_and(|failed| slot.failed > *failed);
            let is_due = slot.due.is_none_or(|due| due <= now);
            is_free && if works { is_due } else { !tried }
        };
        let mut chosen: Vec<&mut Address> = self.all.iter_mut().filter(wants).collect();
        if is_first {
            // Takes the first of those that failed least: an attempt may end before it comes to the
            // second.
            chosen.sort_by_key(|slot| slot.in_a_row);
            chosen.truncate(1);
        }
        let begun = chosen.into_iter().map(|slot| {
            slot.is_connecting = true;
            slot.address
        });
        begun.collect()
    }

    /// Returns a working connection, in turn. Connections on which bytes were read come first: a
    /// process that is frozen accepts connections as well.
    pub(super) fn pick(&mut self, balancer: Balancer) -> Option<Connection> {
        let live = || self.all.iter().filter_map(|slot| slot.connection.as_ref());
        let proven = live().filter(|connection| connection.read() > 0).count();
        let among = if proven > 0 { proven } else { live().count() };
        let at = match balancer {
            Balancer::PickFirst => 0,
            Balancer::RoundRobin => self.next.checked_rem(among)?,
        };
        let mut chosen = live().filter(|connection| proven == 0 || connection.read() > 0);
        let chosen = chosen.nth(at)?.clone();
        self.next = self.next.wrapping_add(1);
        Some(chosen)
    }

    pub(super) fn connected(&mut self, address: SocketAddr, connection: Connection) {
        if let Some(slot) = self.slot(address) {
            slot.is_connecting = false;
            slot.in_a_row = 0;
            slot.due = None;
            slot.connection = Some(connection);
        }
    }

    pub(super) fn failed(&mut self, address: SocketAddr, error: ConnectError, now: Instant) {
        if let Some(slot) = self.slot(address) {
            slot.is_connecting = false;
            slot.failed += 1;
            let wait = FIRST_WAIT.saturating_mul(1 << slot.in_a_row.min(10));
            slot.in_a_row = slot.in_a_row.saturating_add(1);
            slot.due = Some(now + wait.min(LONGEST_WAIT));
            slot.error = Some(error);
        }
    }

    /// Returns the last error if every address failed since `before`.
    pub(super) fn failed_since(&self, before: &BTreeMap<SocketAddr, u64>) -> Option<ConnectError> {
        let failed = |slot: &Address| {
            let before = before.get(&slot.address);
            before.is_some_and(|before| slot.failed > *before)
        };
        let all = self.all.iter().all(failed);
        self.all.last().filter(|_| all)?.error.clone()
    }

    fn slot(&mut self, address: SocketAddr) -> Option<&mut Address> {
        self.all.iter_mut().find(|slot| slot.address == address)
    }
}

impl Address {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            is_connecting: false,
            failed: 0,
            in_a_row: 0,
            error: None,
            due: None,
        }
    }
}
