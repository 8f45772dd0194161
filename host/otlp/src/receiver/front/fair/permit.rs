//! The amount that one request holds, and its place in line.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{ConnectionId, FairSemaphore, Full, Member, Rule, Waiter};

/// The amount that one request holds; it is given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(super) id: u64,
    pub(super) connection: ConnectionId,
    pub(super) held: usize,
    /// The part of `held` that came from the small-request reserve.
    pub(super) kept: usize,
    pub(super) fair: Arc<FairSemaphore>,
}

impl Permit {
    /// Grows the permit to at least `size`, and waits for at most `wait` if there is no room.
    pub(crate) async fn grow_to(&mut self, size: usize, wait: Duration) -> Result<(), Full> {
        let more = size.saturating_sub(self.held);
        if more == 0 {
            return Ok(());
        }
        let Some(mut waiting) = self.ask(more, size)? else {
            self.held += more;
            return Ok(());
        };
        match timeout(wait, &mut waiting.granted).await {
            Ok(Ok(kept)) => {
                waiting.is_over = true;
                drop(waiting);
                self.held += more;
                self.kept += kept;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    /// Takes the amount, or stands in line for it.
    fn ask(&self, more: usize, size: usize) -> Result<Option<PendingPermit<'_>>, Full> {
        let rule = self.fair.rule;
        let mut state = self.fair.lock();
        if state.line.is_empty() {
            let member = state.members.get(&self.connection);
            let nobody = Member::default();
            if state.admits(rule, member.unwrap_or(&nobody), self.id, more, size) {
                state.take(self.connection, self.id, more);
                return Ok(None);
            }
        }
        state.last_short = Some(Instant::now());
        if matches!(rule, Rule::Share { .. }) && state.is_over_share(self.connection, more) {
            return Err(Full);
        }
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter {
            permit: self.id,
            more,
            size,
            since: Instant::now(),
            grant,
        };
        let member = state.members.entry(self.connection).or_default();
        member.waiting.push_back(waiter);
        if member.waiting.len() == 1 {
            state.stand(self.connection);
        }
        state.serve(rule);
        Ok(Some(PendingPermit {
            permit: self,
            more,
            granted,
            is_over: false,
        }))
    }

    /// Returns true if it holds anything.
    pub(crate) fn holds(&self) -> bool {
        self.held > 0
    }

    /// Returns true if a request lacks what others hold.
    pub(crate) fn is_short(&self) -> bool {
        self.fair.is_short()
    }

    /// Shrinks the permit to at most `size`.
    pub(crate) fn shrink_to(&mut self, size: usize) {
        let less = self.held.saturating_sub(size);
        if less == 0 {
            return;
        }
        self.held = size;
        let kept = self.kept.min(less);
        self.kept -= kept;
        let mut state = self.fair.lock();
        state.kept_taken = state.kept_taken.saturating_sub(kept);
        // A permit that holds nothing is exempt from nothing, and its connection may be no member
        // any more.
        let exempt = (size == 0).then_some(self.id);
        state.give_back(self.fair.rule, self.connection, exempt, less);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A request in line. On drop it leaves the line, or gives back a grant that it has not seen.
struct PendingPermit<'a> {
    permit: &'a Permit,
    more: usize,
    granted: oneshot::Receiver<usize>,
    is_over: bool,
}

impl Drop for PendingPermit<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (fair, connection, id) = (&self.permit.fair, self.permit.connection, self.permit.id);
        let mut state = fair.lock();
        if let Ok(kept) = self.granted.try_recv() {
            state.kept_taken = state.kept_taken.saturating_sub(kept);
            let exempt = (self.permit.held == 0).then_some(id);
            return state.give_back(fair.rule, connection, exempt, self.more);
        }
        if let Some(member) = state.members.get_mut(&connection) {
            member.waiting.retain(|waiter| waiter.permit != id);
            if member.waiting.is_empty() {
                state.line.retain(|(_, other)| *other != connection);
            }
        }
        state.forget(connection);
        state.serve(fair.rule);
    }
}
