//! Counts the open connections, in all and by address, and limits both.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::fair::ConnectionId;

/// The most connections that are open at a time. An idle one takes some 20 KiB. One that cannot be
/// read on takes up to its window of 1 MiB, the first 256 up to 4 MiB: under 5 GiB if all are
/// stuffed at once. More clients than this need more than one collector anyway.
const MAX_CONNECTIONS: usize = 4 * 1024;

/// The number of files of the process that are left to others: exporters, journals, plugins, other
/// receivers. If there are few files, half of them are left.
const OTHER_FILES: usize = 256;

/// Returns the most connections that are open at a time if the process may have `files` files.
fn max_connections(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(MAX_CONNECTIONS, |files| {
        MAX_CONNECTIONS.min(files - OTHER_FILES.min(files / 2))
    })
}

/// The time for which a connection must have been without a request before a newcomer may get its
/// slot, when all slots are taken. gRPC clients connect again by themselves when they have
/// something to send.
const QUIET: Duration = Duration::from_secs(1);

/// The number of connections that are evicted at once, so that not every newcomer of a flood
/// causes a look at all connections.
const EVICTED_AT_ONCE: usize = 64;

/// Numbers the connections of the process, so that those of a receiver and those of the one that
/// takes over from it have different numbers.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The slots for the connections of one receiver.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    most: usize,
    /// The most connections of one address, so that a single client, or the clients behind one
    /// proxy, leave room for the others.
    most_of_one: usize,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    owners: HashMap<ConnectionId, SlotOwner>,
    of_one: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct SlotOwner {
    peer: IpAddr,
    activity: Activity,
    evicted: CancellationToken,
}

/// The slot of one connection; it is free again on drop.
#[derive(Debug)]
pub(crate) struct ConnectionSlot {
    pub(crate) id: ConnectionId,
    pub(crate) activity: Activity,
    /// Cancelled when the connection is to make room.
    pub(crate) evicted: CancellationToken,
    /// The number of connections that were there before.
    pub(crate) before: usize,
    limit: Arc<ConnectionLimit>,
}

impl ConnectionLimit {
    /// Creates slots for as many connections as the process may have files for.
    pub(crate) fn new() -> Self {
        Self::of(max_connections(getrlimit(Resource::Nofile).current))
    }

    fn of(most: usize) -> Self {
        Self {
            most,
            most_of_one: most - most / 4,
            slots: Mutex::default(),
        }
    }

    /// Evicts some quiet connections, because their files are needed.
    pub(crate) fn make_room(&self) {
        self.lock().evict_quiet(|_| true);
    }

    /// Returns a slot for a connection of this peer, if there is one, or one can be made free.
    pub(crate) fn acquire(self: &Arc<Self>, peer: SocketAddr) -> Option<ConnectionSlot> {
        let peer = network(peer.ip());
        let mut slots = self.lock();
        let of_one = slots.of_one.get(&peer).copied().unwrap_or_default();
        if of_one >= self.most_of_one {
            slots.evict_quiet(|owner| owner.peer == peer);
        } else if slots.owners.len() >= self.most {
            slots.evict_quiet(|_| true);
        }
        let of_one = slots.of_one.get(&peer).copied().unwrap_or_default();
        let before = slots.owners.len();
        if of_one >= self.most_of_one || before >= self.most {
            return None;
        }
        let slot = ConnectionSlot {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            activity: Activity::new(),
            evicted: CancellationToken::new(),
            before,
            limit: Arc::clone(self),
        };
        let owner = SlotOwner {
            peer,
            activity: slot.activity.clone(),
            evicted: slot.evicted.clone(),
        };
        slots.owners.insert(slot.id, owner);
        *slots.of_one.entry(peer).or_default() += 1;
        Some(slot)
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock()
    }
}

impl Slots {
    /// Evicts the connections that were quiet for longest, among those that `which` selects.
    fn evict_quiet(&mut self, which: impl Fn(&SlotOwner) -> bool) {
        let now = Instant::now();
        let these = self.owners.iter().filter(|(_, owner)| which(owner));
        let mut quiet: Vec<_> = these
            .filter_map(|(id, owner)| Some((owner.activity.quiet_since()?, *id)))
            .filter(|(since, _)| now.duration_since(*since) >= QUIET)
            .collect();
        quiet.sort_unstable();
        for (_, id) in quiet.into_iter().take(EVICTED_AT_ONCE) {
            self.release(id, |owner| owner.evicted.cancel());
        }
    }

    fn release(&mut self, id: ConnectionId, and: impl FnOnce(&SlotOwner)) {
        // A connection that was evicted has left already.
        let Some(owner) = self.owners.remove(&id) else {
            return;
        };
        and(&owner);
        if let Some(of_one) = self.of_one.get_mut(&owner.peer) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                self.of_one.remove(&owner.peer);
            }
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limit.lock().release(self.id, |_| {});
    }
}

/// Returns the network that counts as one address: for IPv6, the part that a site is given.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        canonical @ IpAddr::V4(_) => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::front::Purpose;

    const MAX_OF_ONE: usize = MAX_CONNECTIONS / 4 * 3;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 1)
    }

    /// One address never has all slots, and another one still gets in.
    #[tokio::test(start_paused = true)]
    async fn one_address_leaves_room() {
        let limit = Arc::new(ConnectionLimit::of(MAX_CONNECTIONS));
        let acquire = |address| limit.acquire(peer(address));
        let greedy: Vec<_> = (0..MAX_CONNECTIONS)
            .map_while(|_| acquire("192.0.2.1"))
            .collect();
        assert_eq!(greedy.len(), MAX_OF_ONE);
        let other = acquire("192.0.2.2").expect("room for others");
        assert_eq!(other.before, MAX_OF_ONE);
        drop(greedy);
        assert!(acquire("192.0.2.1").is_some());
        assert_eq!(
            network(peer("::ffff:192.0.2.1").ip()),
            peer("192.0.2.1").ip()
        );
        assert_eq!(network(peer("2001:db8::1:2").ip()), peer("2001:db8::").ip());
    }

    /// A newcomer gets the slot of the connection that was quiet for longest, never of one with a
    /// request, and not before one was quiet for a while.
    #[tokio::test(start_paused = true)]
    async fn the_quiet_make_room() {
        let limit = Arc::new(ConnectionLimit::of(MAX_CONNECTIONS));
        let all: Vec<_> = (0..MAX_OF_ONE)
            .map_while(|_| limit.acquire(peer("192.0.2.1")))
            .collect();
        assert!(limit.acquire(peer("192.0.2.1")).is_none());
        let at_work = all.first().expect("many").activity.begin(Purpose::Export);
        tokio::time::advance(QUIET).await;
        let used = all.get(1).expect("many");
        drop(used.activity.begin(Purpose::Export));
        // A connection that only asks for health, even for ever, is quiet.
        let asking = all.get(2).expect("many").activity.begin(Purpose::Health);
        tokio::time::advance(QUIET * 2).await;
        drop(used.activity.begin(Purpose::Export));
        let newcomer = limit.acquire(peer("192.0.2.1")).expect("a slot");
        assert_eq!(newcomer.before, MAX_OF_ONE - EVICTED_AT_ONCE);
        let gone: Vec<_> = all.iter().map(|one| one.evicted.is_cancelled()).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), EVICTED_AT_ONCE);
        assert_eq!(gone[..3], [false, false, true]);
        drop((all, newcomer, at_work, asking));
        let slots = limit.lock();
        assert!(slots.owners.is_empty() && slots.of_one.is_empty());
    }

    /// However few files the process may have, there are slots, and files left for others. A
    /// receiver that has run out of files evicts quiet connections.
    #[tokio::test(start_paused = true)]
    async fn slots_follow_the_files() {
        for (files, slots) in [
            (None, MAX_CONNECTIONS),
            (Some(1 << 20), MAX_CONNECTIONS),
            (Some(4096), MAX_CONNECTIONS - OTHER_FILES),
            (Some(1024), 768),
            (Some(64), 32),
            (Some(1), 1),
        ] {
            assert_eq!(max_connections(files), slots, "{files:?}");
        }
        let limit = Arc::new(ConnectionLimit::of(4));
        let acquire = || limit.acquire(peer("192.0.2.1"));
        let all: Vec<_> = (0..9).map_while(|_| acquire()).collect();
        assert_eq!(all.len(), 3);
        let at_work = all.first().expect("three").activity.begin(Purpose::Export);
        tokio::time::advance(QUIET).await;
        limit.make_room();
        let gone = all.iter().filter(|one| one.evicted.is_cancelled());
        assert_eq!(gone.count(), 2);
        drop(at_work);
    }
}
