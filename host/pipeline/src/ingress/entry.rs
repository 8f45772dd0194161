//! The entry of one request into the pipelines behind a receiver. Each pipeline stands for itself.
//!
//! First come the pipelines that must not lose anything: if one of them has no room, the request is
//! refused to its sender before any pipeline has it. Then come the others, all at once, each for
//! itself: the request is dropped for those that have no room if another one has it, and refused if
//! none has.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join, join_all, try_join_all};
use tokio::sync::watch;

use super::admission::{Admitted, Door, Out};
use super::arrived::Arrived;
use super::offered::Offer;
use crate::batch::Batch;
use crate::ledger::{Full, Tally};
use crate::refused::Refused;

/// The entry of one request into the pipelines behind a receiver.
pub(super) struct Entry<'a> {
    offer: &'a Offer<'a>,
    /// The doors that have let it in.
    taken: watch::Sender<Vec<Arc<Door>>>,
    /// The doors that had no room for it. The fate of these items is known when the others have
    /// answered.
    missed: Vec<(Arc<Door>, Tally, Full)>,
}

/// The reason why the request did not get in, or not everywhere.
pub(super) enum Shut {
    /// A pipeline takes nothing any more. Another may have come in its place, for this request.
    Closed(Bytes),
    /// The sender is told.
    Refused(Refused),
}

impl From<Refused> for Shut {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

type Offering = (Arc<Door>, Batch);

impl<'a> Entry<'a> {
    pub(super) fn new(offer: &'a Offer<'a>) -> Self {
        Self {
            offer,
            taken: watch::Sender::new(Vec::new()),
            missed: Vec::new(),
        }
    }

    /// Lets it in at each of these doors that has not let it in before, and waits until each has
    /// answered.
    pub(super) async fn run<'d>(
        &mut self,
        doors: impl Iterator<Item = &'d Arc<Door>>,
        arrived: Arrived,
    ) -> Result<(), Shut> {
        let offerings: Vec<Offering> = doors
            .filter(|door| !self.is_taken_by(door))
            .map(|door| (Arc::clone(door), door.receive(&arrived)))
            .collect();
        // Frees this copy of the request: while its sender waits, only the output of the stages may
        // be left of it.
        drop(arrived);
        for (door, _) in &offerings {
            door.shut()?;
        }
        let (strict, loose): (Vec<_>, Vec<_>) = offerings
            .into_iter()
            .partition(|(door, _)| door.must_not_lose());
        let admitted = self.admit_all(strict).await?;
        let answers = admitted
            .into_iter()
            .map(|(door, admitted)| self.enter(door, admitted));
        let answers = try_join_all(answers.collect::<Vec<_>>());
        let loose = join_all(loose.into_iter().map(|offering| self.let_in(offering)));
        let (answered, ends) = join(answers, loose).await;
        answered?;
        self.judge(ends)
    }

    /// Finds room at each of these doors, or at none. If a door has a journal, the request is in
    /// the journal and on its way. So one of several such doors may have it while another refuses
    /// it, and then has it twice when the sender comes again.
    async fn admit_all(
        &self,
        offerings: Vec<Offering>,
    ) -> Result<Vec<(Arc<Door>, Admitted)>, Shut> {
        // Room in a queue may be long in coming. A request that waits for it must not hold a place
        // in a shard, and must not block a change of the dispatch rule.
        let reserved = offerings.into_iter().map(|(door, batch)| async {
            let reserved = door.reserve(batch).await;
            let reserved = reserved.map_err(|out| shut(&door, out))?;
            Ok::<_, Shut>((door, reserved))
        });
        let reserved = try_join_all(reserved.collect::<Vec<_>>()).await?;
        // The doors without a journal come first: a sender that is refused at one of them comes
        // again, and a request that was in a journal already would be there twice.
        let (durable, plain): (Vec<_>, Vec<_>) = reserved
            .into_iter()
            .partition(|(door, _)| door.feed().is_some());
        let admitted = plain.into_iter().map(|(door, reserved)| async {
            let admitted = door.admit(reserved).await;
            let admitted = admitted.map_err(|out| shut(&door, out))?;
            Ok::<_, Shut>((door, admitted))
        });
        let admitted = try_join_all(admitted.collect::<Vec<_>>()).await?;
        let journaled = durable.into_iter().map(|(door, reserved)| async move {
            door.journal(reserved).await?;
            self.take(&door);
            Ok::<_, Refused>(())
        });
        try_join_all(journaled.collect::<Vec<_>>()).await?;
        Ok(admitted)
    }

    /// Lets it in at one door and waits for the answer.
    async fn enter(&self, door: Arc<Door>, admitted: Admitted) -> Result<(), Refused> {
        let answer = door.enter(admitted);
        self.take(&door);
        answer.wait().await
    }

    /// Lets it in at one door, if this door has room for it.
    async fn let_in(&self, (door, batch): Offering) -> (Arc<Door>, Result<(), Out>) {
        let end = async {
            let reserved = door.reserve(batch).await?;
            let mut taken = self.taken.subscribe();
            let elsewhere = async {
                // This cannot fail: the sender of the channel is `self`.
                drop(taken.wait_for(|taken| !taken.is_empty()).await);
            };
            let admitted = door.admit_unless(reserved, elsewhere).await?;
            let entered = self.enter(Arc::clone(&door), admitted).await;
            entered.map_err(Out::Refused)
        };
        let end = end.await;
        (door, end)
    }

    /// Finds the answer to the sender from these ends. Keeps the items of doors without room in
    /// `missed`.
    fn judge(&mut self, ends: Vec<(Arc<Door>, Result<(), Out>)>) -> Result<(), Shut> {
        let mut shut = Ok(());
        for (door, end) in ends {
            match end {
                Ok(()) => {}
                Err(Out::Full(Batch { tally, .. }, full)) => self.missed.push((door, tally, full)),
                Err(Out::Closed(Batch { bytes, .. })) => shut = shut.and(Err(Shut::Closed(bytes))),
                Err(Out::Refused(refused)) => shut = Err(Shut::Refused(refused)),
            }
        }
        shut?;
        if self.taken.borrow().is_empty() {
            let hints = self.missed.iter().map(|(door, ..)| door.retry_after());
            let retry_after = hints.max().unwrap_or_default();
            return Err(Shut::Refused(Refused::Full { retry_after }));
        }
        Ok(())
    }

    /// Returns the answer. If it is an OK, the pipelines that had no room drop the items for good;
    /// otherwise the sender still has them.
    pub(super) fn end(self, end: Result<(), Shut>) -> Result<(), Refused> {
        let end = end.map_err(|shut| match shut {
            Shut::Closed(_) => Refused::Draining,
            Shut::Refused(refused) => refused,
        });
        self.offer.set_in(end.is_ok());
        if end.is_ok() {
            for (door, tally, full) in self.missed {
                door.drop_alone(tally, full);
            }
        }
        end
    }

    fn take(&self, door: &Arc<Door>) {
        door.count_accepted();
        self.offer.set_in(true);
        self.taken.send_modify(|taken| taken.push(Arc::clone(door)));
    }

    fn is_taken_by(&self, door: &Arc<Door>) -> bool {
        let taken = self.taken.borrow();
        taken.iter().any(|known| Arc::ptr_eq(known, door))
    }
}

/// Returns the answer of a door that must not lose the request.
fn shut(door: &Door, out: Out) -> Shut {
    match out {
        Out::Full(..) => Shut::Refused(door.full()),
        Out::Closed(Batch { bytes, .. }) => Shut::Closed(bytes),
        Out::Refused(refused) => Shut::Refused(refused),
    }
}
