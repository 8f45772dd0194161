//! The connections of one exporter: one to each address of its backend's name. They are made when
//! there is something to send, and again when they are lost.
//!
//! Separate tasks look names up and make connections, so that no attempt waits for one address
//! while another one works.

mod addresses;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::addresses::Addresses;
use super::Balancer;
use super::connection::{Connection, Connector};
use super::resolve::Resolve;

/// The age of a look-up at which it is repeated, while there is something to send: new backends get
/// their share before a connection is lost. gRPC waits for as long between two look-ups.
const REFRESH: Duration = Duration::from_secs(30);

/// The same age after a connection was lost or could not be made.
const REFRESH_SOON: Duration = Duration::from_secs(1);

/// The backend to send to.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The endpoint, for messages.
    pub(crate) shown: String,
}

/// The reason why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The name has no address.
    #[error("cannot look up {host}")]
    Name {
        host: String,
        #[source]
        source: Arc<io::Error>,
    },
    /// No address can be connected to; this is the cause for the last one.
    #[error("cannot connect to {address}: {cause}")]
    Address { address: SocketAddr, cause: String },
}

/// The connections of one exporter to the addresses of its backend.
#[derive(Debug)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
    /// Running look-ups and connections. They end when this value is dropped.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Inner {
    target: Target,
    balancer: Balancer,
    resolver: Arc<dyn Resolve>,
    connector: Connector,
    state: Mutex<State>,
    /// Counts the changes that attempts wait for.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    addresses: Addresses,
    looked_up: Option<Instant>,
    is_looking_up: bool,
    /// True if a connection was lost or could not be made.
    is_doubtful: bool,
    /// The number of look-ups that failed; `error` is the last error.
    failed: u64,
    error: Option<ConnectError>,
}

/// The failures that were known when an attempt began: it waits for later ones.
#[derive(Default)]
struct KnownFailures {
    look_ups: Option<u64>,
    addresses: BTreeMap<SocketAddr, u64>,
}

/// Work to begin.
enum Work {
    LookUp,
    Connect(SocketAddr),
}

impl Pool {
    pub(crate) fn new(
        target: Target,
        balancer: Balancer,
        resolver: Arc<dyn Resolve>,
        connector: Connector,
    ) -> Self {
        let inner = Inner {
            target,
            balancer,
            resolver,
            connector,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        Self {
            inner: Arc::new(inner),
            tasks: Mutex::default(),
        }
    }

    /// Returns a connection that works, as far as is known. Waits while there is none.
    ///
    /// # Errors
    /// Every address failed since the call, or the name has none.
    pub(crate) async fn connection(&self) -> Result<Connection, ConnectError> {
        let mut changes = self.inner.changes.subscribe();
        let mut before = KnownFailures::default();
        loop {
            changes.borrow_and_update();
            let (work, outcome) = self.inner.look(&mut before);
            self.begin(work);
            if let Some(outcome) = outcome {
                return outcome;
            }
            // This cannot fail: `self` holds the sender.
            drop(changes.changed().await);
        }
    }

    /// Sends nothing on this connection any more, because it is not known to work.
    pub(crate) fn retire(&self, connection: &Connection) {
        let mut state = self.inner.state();
        if let Some(address) = state.addresses.retire(connection) {
            state.is_doubtful = true;
            tracing::info!(
                endpoint = %self.inner.target.shown, %address,
                "connection was silent while an attempt waited, it is replaced"
            );
        }
    }

    /// Halves the rate of pings on the next connections, as gRPC does: the backend finds them too
    /// many.
    pub(crate) fn calm_down(&self) {
        if let Some(time) = self.inner.connector.calm_down() {
            tracing::warn!(
                endpoint = %self.inner.target.shown, ?time,
                "backend finds keepalive pings too many, they are sent less often from now on"
            );
        }
    }

    /// Forgets a connection that has ended, or is about to.
    pub(crate) fn forget(&self, connection: &Connection) {
        let mut state = self.inner.state();
        state.is_doubtful |= state.addresses.retire(connection).is_some();
    }

    fn begin(&self, work: Vec<Work>) {
        if work.is_empty() {
            return;
        }
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        for work in work {
            let inner = Arc::clone(&self.inner);
            match work {
                Work::LookUp => tasks.spawn(async move { inner.look_up().await }),
                Work::Connect(address) => tasks.spawn(async move { inner.connect(address).await }),
            };
        }
    }
}

impl Inner {
    /// Returns the work to begin now, and a connection or the reason why there is none; no outcome
    /// if that is not known yet.
    fn look(
        &self,
        before: &mut KnownFailures,
    ) -> (Vec<Work>, Option<Result<Connection, ConnectError>>) {
        let now = Instant::now();
        let mut state = self.state();
        let look_ups = *before.look_ups.get_or_insert(state.failed);
        state.is_doubtful |= state.addresses.forget_closed();
        let mut work = Vec::new();
        let age = state.looked_up.map(|at| now.duration_since(at));
        let is_due = match age {
            None => true,
            Some(age) => {
                age >= REFRESH
                    || age >= REFRESH_SOON && state.is_doubtful
                    || state.addresses.is_empty() && state.failed == look_ups
            }
        };
        if is_due && !state.is_looking_up {
            state.is_looking_up = true;
            work.push(Work::LookUp);
        }
        let connects = state
            .addresses
            .begin(self.balancer, &mut before.addresses, now);
        work.extend(connects.into_iter().map(Work::Connect));
        let outcome = match state.addresses.pick(self.balancer) {
            Some(connection) => Some(Ok(connection)),
            None if state.addresses.is_empty() => {
                let error = state.error.clone().filter(|_| state.failed > look_ups);
                error.map(Err)
            }
            None => state.addresses.failed_since(&before.addresses).map(Err),
        };
        (work, outcome)
    }

    async fn look_up(&self) {
        let Target { host, port, .. } = &self.target;
        let found = self.resolver.resolve(host, *port).await;
        let mut state = self.state();
        state.is_looking_up = false;
        state.is_doubtful = false;
        state.looked_up = Some(Instant::now());
        let none = || io::Error::new(io::ErrorKind::NotFound, "it has no address");
        match found.and_then(|found| {
            if found.is_empty() {
                Err(none())
            } else {
                Ok(found)
            }
        }) {
            Ok(found) => state.addresses.set(&found),
            // The known addresses stay.
            Err(error) => {
                tracing::debug!(endpoint = %self.target.shown, %error, "name cannot be looked up");
                state.failed += 1;
                state.error = Some(ConnectError::Name {
                    host: host.clone(),
                    source: Arc::new(error),
                });
            }
        }
        drop(state);
        self.changed();
    }

    /// Connects, and runs the connection until it ends.
    async fn connect(&self, address: SocketAddr) {
        let connected = self.connector.connect(address).await;
        let driver = {
            let mut state = self.state();
            match connected {
                Ok((connection, driver)) => {
                    state.addresses.connected(address, connection);
                    Some(driver)
                }
                Err(error) => {
                    let cause = super::chain(&*error);
                    let error = ConnectError::Address { address, cause };
                    state.addresses.failed(address, error, Instant::now());
                    state.is_doubtful = true;
                    None
                }
            }
        };
        self.changed();
        if let Some(driver) = driver {
            driver.await;
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
