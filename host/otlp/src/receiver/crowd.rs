//! Counts the open connections, in all and by address, and limits both.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use super::fair::Connection;

/// The most connections that are open at a time. An idle one takes some 20 KiB. One that cannot be
/// read on takes up to its window of 1 MiB, the first 256 up to 4 MiB: under 5 GiB if all are
/// stuffed at once. More clients than this need more than one collector anyway.
const MOST: usize = 4 * 1024;

/// The number of files of the process that are left to others: exporters, journals, plugins, other
/// receivers. If there are few files, half of them are left.
const OTHER_FILES: usize = 256;

/// Returns the most connections that are open at a time if the process may have `files` files.
fn most(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(MOST, |files| MOST.min(files - OTHER_FILES.min(files / 2)))
}

/// The time for which a connection must have been without a request before a newcomer may get its
/// place, when all places are taken. gRPC clients connect again by themselves when they have
/// something to send.
const QUIET: Duration = Duration::from_secs(1);

/// The number of connections that are sent away at once, so that not every newcomer of a flood
/// causes a look at all connections.
const SENT_AWAY: usize = 64;

/// Numbers the connections of the process, so that those of a receiver and those of the one that
/// takes over from it have different numbers.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// The places for the connections of one receiver.
#[derive(Debug)]
pub(crate) struct Crowd {
    most: usize,
    /// The most connections of one address, so that a single client, or the clients behind one
    /// proxy, leave room for the others.
    most_of_one: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: HashMap<Connection, Taken>,
    of_one: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Taken {
    peer: IpAddr,
    activity: Activity,
    sent_away: CancellationToken,
}

/// The place of one connection; it is free again on drop.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) id: Connection,
    pub(crate) activity: Activity,
    /// Cancelled when the connection is to make room.
    pub(crate) sent_away: CancellationToken,
    /// The number of connections that were there before.
    pub(crate) before: usize,
    crowd: Arc<Crowd>,
}

impl Crowd {
    /// Creates places for as many connections as the process may have files for.
    pub(crate) fn new() -> Self {
        Self::of(most(getrlimit(Resource::Nofile).current))
    }

    fn of(most: usize) -> Self {
        Self {
            most,
            most_of_one: most - most / 4,
            places: Mutex::default(),
        }
    }

    /// Sends away some quiet connections, because their files are needed.
    pub(crate) fn make_room(&self) {
        self.lock().send_away(|_| true);
    }

    /// Returns a place for a connection of this peer, if there is one, or one can be made free.
    pub(crate) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let peer = network(peer.ip());
        let mut places = self.lock();
        let of_one = places.of_one.get(&peer).copied().unwrap_or_default();
        if of_one >= self.most_of_one {
            places.send_away(|taken| taken.peer == peer);
        } else if places.taken.len() >= self.most {
            places.send_away(|_| true);
        }
        let of_one = places.of_one.get(&peer).copied().unwrap_or_default();
        let before = places.taken.len();
        if of_one >= self.most_of_one || before >= self.most {
            return None;
        }
        let place = Place {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            activity: Activity::new(),
            sent_away: CancellationToken::new(),
            before,
            crowd: Arc::clone(self),
        };
        let taken = Taken {
            peer,
            activity: place.activity.clone(),
            sent_away: place.sent_away.clone(),
        };
        places.taken.insert(place.id, taken);
        *places.of_one.entry(peer).or_default() += 1;
        Some(place)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    /// Sends away the connections that were quiet for longest, among those that `which` selects.
    fn send_away(&mut self, which: impl Fn(&Taken) -> bool) {
        let now = Instant::now();
        let these = self.taken.iter().filter(|(_, taken)| which(taken));
        let mut quiet: Vec<_> = these
            .filter_map(|(id, taken)| Some((taken.activity.quiet_since()?, *id)))
            .filter(|(since, _)| now.duration_since(*since) >= QUIET)
            .collect();
        quiet.sort_unstable();
        for (_, id) in quiet.into_iter().take(SENT_AWAY) {
            self.leave(id, |taken| taken.sent_away.cancel());
        }
    }

    fn leave(&mut self, id: Connection, and: impl FnOnce(&Taken)) {
        // A connection that was sent away has left already.
        let Some(taken) = self.taken.remove(&id) else {
            return;
        };
        and(&taken);
        if let Some(of_one) = self.of_one.get_mut(&taken.peer) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                self.of_one.remove(&taken.peer);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().leave(self.id, |_| {});
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

    const MOST_OF_ONE: usize = MOST / 4 * 3;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 1)
    }

    /// One address never has all places, and another one still gets in.
    #[tokio::test(start_paused = true)]
    async fn one_address_leaves_room() {
        let crowd = Arc::new(Crowd::of(MOST));
        let enter = |address| crowd.enter(peer(address));
        let greedy: Vec<_> = (0..MOST).map_while(|_| enter("192.0.2.1")).collect();
        assert_eq!(greedy.len(), MOST_OF_ONE);
        let other = enter("192.0.2.2").expect("room for others");
        assert_eq!(other.before, MOST_OF_ONE);
        drop(greedy);
        assert!(enter("192.0.2.1").is_some());
        assert_eq!(
            network(peer("::ffff:192.0.2.1").ip()),
            peer("192.0.2.1").ip()
        );
        assert_eq!(network(peer("2001:db8::1:2").ip()), peer("2001:db8::").ip());
    }

    /// A newcomer gets the place of the connection that was quiet for longest, never of one with a
    /// request, and not before one was quiet for a while.
    #[tokio::test(start_paused = true)]
    async fn the_quiet_make_room() {
        let crowd = Arc::new(Crowd::of(MOST));
        let all: Vec<_> = (0..MOST_OF_ONE)
            .map_while(|_| crowd.enter(peer("192.0.2.1")))
            .collect();
        assert!(crowd.enter(peer("192.0.2.1")).is_none());
        let at_work = all.first().expect("many").activity.begin();
        tokio::time::advance(QUIET).await;
        let used = all.get(1).expect("many");
        drop(used.activity.begin());
        // A connection that only asks for health, even for ever, is quiet.
        let asking = all.get(2).expect("many").activity.begin_health();
        tokio::time::advance(QUIET * 2).await;
        drop(used.activity.begin());
        let newcomer = crowd.enter(peer("192.0.2.1")).expect("a place");
        assert_eq!(newcomer.before, MOST_OF_ONE - SENT_AWAY);
        let gone: Vec<_> = all.iter().map(|one| one.sent_away.is_cancelled()).collect();
        assert_eq!(gone.iter().filter(|gone| **gone).count(), SENT_AWAY);
        assert_eq!(gone[..3], [false, false, true]);
        drop((all, newcomer, at_work, asking));
        let places = crowd.lock();
        assert!(places.taken.is_empty() && places.of_one.is_empty());
    }

    /// However few files the process may have, there are places, and files left for others. A
    /// receiver that has run out of files sends quiet connections away.
    #[tokio::test(start_paused = true)]
    async fn places_follow_the_files() {
        for (files, places) in [
            (None, MOST),
            (Some(1 << 20), MOST),
            (Some(4096), MOST - OTHER_FILES),
            (Some(1024), 768),
            (Some(64), 32),
            (Some(1), 1),
        ] {
            assert_eq!(most(files), places, "{files:?}");
        }
        let crowd = Arc::new(Crowd::of(4));
        let enter = || crowd.enter(peer("192.0.2.1"));
        let all: Vec<_> = (0..9).map_while(|_| enter()).collect();
        assert_eq!(all.len(), 3);
        let at_work = all.first().expect("three").activity.begin();
        tokio::time::advance(QUIET).await;
        crowd.make_room();
        let gone = all.iter().filter(|one| one.sent_away.is_cancelled());
        assert_eq!(gone.count(), 2);
        drop(at_work);
    }
}
