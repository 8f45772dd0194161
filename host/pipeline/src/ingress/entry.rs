//! The entry of one request into the pipelines behind a receiver: [`Entry::run`] decides over all
//! of them whether the request is accepted. The steps at one pipeline are in [`Admission`]. Each
//! pipeline stands for itself.
//!
//! First come the pipelines that must not lose anything: if one of them has no room, the request is
//! refused to its sender before any pipeline has it. Then come the others, all at once, each for
//! itself: the request is dropped for those that have no room if another one has it, and refused if
//! none has.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join, join_all, try_join_all};
use tokio::sync::watch;

use super::admission::{Admission, AdmittedBatch, Denial};
use super::offers::Offer;
use super::valid_request::ValidRequest;
use crate::batch::Batch;
use crate::ledger::{FullPart, Tally};
use crate::refused::Refused;

/// The entry of one request into the pipelines behind a receiver.
pub(super) struct Entry<'a> {
    offer: &'a Offer<'a>,
    /// The admissions that have let it in.
    taken: watch::Sender<Vec<Arc<Admission>>>,
    /// The admissions that had no room for it. The fate of these items is known when the others
    /// have answered.
    missed: Vec<(Arc<Admission>, Tally, FullPart)>,
}

/// The reason why the request did not get in, or not everywhere.
pub(super) enum EntryError {
    /// A pipeline takes nothing any more. Another may have come in its place, for this request.
    Closed(Bytes),
    /// The sender is told.
    Refused(Refused),
}

impl From<Refused> for EntryError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

type Offering = (Arc<Admission>, Batch);

impl<'a> Entry<'a> {
    pub(super) fn new(offer: &'a Offer<'a>) -> Self {
        Self {
            offer,
            taken: watch::Sender::new(Vec::new()),
            missed: Vec::new(),
        }
    }

    /// Lets it in at each of these admissions that has not let it in before, and waits until each
    /// has answered.
    pub(super) async fn run<'d>(
        &mut self,
        admissions: impl Iterator<Item = &'d Arc<Admission>>,
        valid: ValidRequest,
    ) -> Result<(), EntryError> {
        let ValidRequest {
            request,
            items,
            invalid,
        } = valid;
        let receive = |admission: &Arc<Admission>| {
            let batch = admission.receive(request.clone(), items, invalid);
            (Arc::clone(admission), batch)
        };
        let offerings: Vec<Offering> = admissions
            .filter(|admission| !self.is_taken_by(admission))
            .map(receive)
            .collect();
        // Frees this copy of the request: while its sender waits, only the output of the stages may
        // be left of it.
        drop(request);
        for (admission, _) in &offerings {
            admission.check_open()?;
        }
        let (strict, loose): (Vec<_>, Vec<_>) = offerings
            .into_iter()
            .partition(|(admission, _)| admission.must_not_lose());
        let admitted = self.admit_all(strict).await?;
        let answers = admitted
            .into_iter()
            .map(|(admission, admitted)| self.enter(admission, admitted));
        let answers = try_join_all(answers.collect::<Vec<_>>());
        let loose = join_all(loose.into_iter().map(|offering| self.let_in(offering)));
        let (answered, ends) = join(answers, loose).await;
        answered?;
        self.judge(ends)
    }

    /// Finds room at each of these admissions, or at none. If one has a journal, the request is in
    /// the journal and on its way. So one of several such admissions may have it while another
    /// refuses it, and then has it twice when the sender comes again.
    async fn admit_all(
        &self,
        offerings: Vec<Offering>,
    ) -> Result<Vec<(Arc<Admission>, AdmittedBatch)>, EntryError> {
        // Room in a queue may be long in coming. A request that waits for it must not hold a place
        // in a shard, and must not block a change of the dispatch rule.
        let reserved = offerings.into_iter().map(|(admission, batch)| async {
            let reserved = admission.reserve(batch).await;
            let reserved = reserved.map_err(|denial| entry_error(&admission, denial))?;
            Ok::<_, EntryError>((admission, reserved))
        });
        let reserved = try_join_all(reserved.collect::<Vec<_>>()).await?;
        // Those without a journal come first: a sender that is refused at one of them comes again,
        // and a request that was in a journal already would be there twice.
        let (durable, plain): (Vec<_>, Vec<_>) = reserved
            .into_iter()
            .partition(|(admission, _)| admission.is_durable());
        let admitted = plain.into_iter().map(|(admission, reserved)| async {
            let admitted = admission.admit(reserved).await;
            let admitted = admitted.map_err(|denial| entry_error(&admission, denial))?;
            Ok::<_, EntryError>((admission, admitted))
        });
        let admitted = try_join_all(admitted.collect::<Vec<_>>()).await?;
        let journaled = durable.into_iter().map(|(admission, reserved)| async move {
            admission.journal(reserved).await?;
            self.take(&admission);
            Ok::<_, Refused>(())
        });
        try_join_all(journaled.collect::<Vec<_>>()).await?;
        Ok(admitted)
    }

    /// Lets it in at one admission and waits for the answer.
    async fn enter(
        &self,
        admission: Arc<Admission>,
        admitted: AdmittedBatch,
    ) -> Result<(), Refused> {
        let answer = admission.enter(admitted);
        self.take(&admission);
        answer.wait().await
    }

    /// Lets it in at one admission, if this has room for it.
    async fn let_in(&self, (admission, batch): Offering) -> (Arc<Admission>, Result<(), Denial>) {
        let end = async {
            let reserved = admission.reserve(batch).await?;
            let mut taken = self.taken.subscribe();
            let elsewhere = async {
                // This cannot fail: the sender of the channel is `self`.
                drop(taken.wait_for(|taken| !taken.is_empty()).await);
            };
            let admitted = admission.admit_unless(reserved, elsewhere).await?;
            let entered = self.enter(Arc::clone(&admission), admitted).await;
            entered.map_err(Denial::Refused)
        };
        let end = end.await;
        (admission, end)
    }

    /// Finds the answer to the sender from these ends. Keeps the items of admissions without
    /// room in `missed`.
    fn judge(&mut self, ends: Vec<(Arc<Admission>, Result<(), Denial>)>) -> Result<(), EntryError> {
        let mut end_of_all = Ok(());
        for (admission, end) in ends {
            match end {
                Ok(()) => {}
                Err(Denial::Full(Batch { tally, .. }, full)) => {
                    self.missed.push((admission, tally, full))
                }
                Err(Denial::Closed(Batch { bytes, .. })) => {
                    end_of_all = end_of_all.and(Err(EntryError::Closed(bytes)))
                }
                Err(Denial::Refused(refused)) => end_of_all = Err(EntryError::Refused(refused)),
            }
        }
        end_of_all?;
        if self.taken.borrow().is_empty() {
            let hints = self
                .missed
                .iter()
                .map(|(admission, ..)| admission.retry_after());
            let retry_after = hints.max().unwrap_or_default();
            return Err(EntryError::Refused(Refused::Full { retry_after }));
        }
        Ok(())
    }

    /// Returns the answer. If it is an OK, the pipelines that had no room drop the items for good;
    /// otherwise the sender still has them.
    pub(super) fn end(self, end: Result<(), EntryError>) -> Result<(), Refused> {
        let end = end.map_err(|error| match error {
            EntryError::Closed(_) => Refused::Draining,
            EntryError::Refused(refused) => refused,
        });
        self.offer.set_in(end.is_ok());
        if end.is_ok() {
            for (admission, tally, full) in self.missed {
                admission.drop_alone(tally, full);
            }
        }
        end
    }

    fn take(&self, admission: &Arc<Admission>) {
        admission.count_accepted();
        self.offer.set_in(true);
        self.taken
            .send_modify(|taken| taken.push(Arc::clone(admission)));
    }

    fn is_taken_by(&self, admission: &Arc<Admission>) -> bool {
        let taken = self.taken.borrow();
        taken.iter().any(|known| Arc::ptr_eq(known, admission))
    }
}

/// Returns the answer of an admission that must not lose the request.
fn entry_error(admission: &Admission, denial: Denial) -> EntryError {
    match denial {
        Denial::Full(..) => EntryError::Refused(admission.full()),
        Denial::Closed(Batch { bytes, .. }) => EntryError::Closed(bytes),
        Denial::Refused(refused) => EntryError::Refused(refused),
    }
}
