//! One receiver in front of the pipelines of a signal. Each pipeline stands for itself: see
//! [`Entry`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::{Invalid, InvalidUtf8, Signal};
use tokio::sync::watch;

use super::admission::Admission;
use super::entry::{Entry, EntryError};
use super::pressure::SOONEST;
use super::valid_request::ValidRequest;
use super::{Acceptance, Ingress, OfferCounters};
use crate::refused::Refused;

/// The admissions of several pipelines, as one ingress. Clones lead to the same pipelines.
#[derive(Clone, Debug)]
pub struct FanOut {
    admissions: Arc<watch::Sender<Admissions>>,
    offered: Arc<OfferCounters>,
    /// The handling of texts that are not UTF-8.
    invalid_utf8: InvalidUtf8,
}

type Admissions = Arc<[Arc<Admission>]>;

impl FanOut {
    pub(crate) fn new(admissions: impl IntoIterator<Item = Arc<Admission>>) -> Self {
        let admissions = admissions.into_iter().collect();
        Self {
            admissions: Arc::new(watch::Sender::new(admissions)),
            offered: Arc::default(),
            invalid_utf8: InvalidUtf8::default(),
        }
    }

    /// Returns the counters of what was offered here, and of its outcome. They outlive this
    /// ingress.
    pub fn offered(&self) -> Arc<OfferCounters> {
        Arc::clone(&self.offered)
    }

    /// Leads to the pipelines of `other` from now on, in place of those before. Requests on their
    /// way in finish where they began. If a pipeline closes before it has let a request in, the
    /// request comes to the new pipelines instead. So a pipeline that is taken away must be closed
    /// after this call.
    pub fn redirect(&self, other: &Self) {
        self.admissions.send_replace(other.admissions());
    }

    /// Returns an ingress to the same pipelines, with the same counters, that handles texts that
    /// are not UTF-8 in this way.
    #[must_use]
    pub fn with_invalid_utf8(&self, invalid_utf8: InvalidUtf8) -> Self {
        Self {
            invalid_utf8,
            ..self.clone()
        }
    }

    /// Returns an ingress to the same pipelines, also after a [`redirect`](Self::redirect) of either,
    /// with counters of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            offered: Arc::default(),
            ..self.clone()
        }
    }

    fn admissions(&self) -> Admissions {
        Arc::clone(&self.admissions.borrow())
    }

    fn validate(
        &self,
        admissions: &Admissions,
        signal: Signal,
        request: Bytes,
    ) -> Result<(ValidRequest, Acceptance), Refused> {
        let Some(first) = carrying(admissions, signal).next() else {
            return Err(Refused::Invalid(Invalid::Malformed {
                what: "signal without a pipeline",
                offset: 0,
            }));
        };
        let checked = ValidRequest::check(signal, request, first.limits(), self.invalid_utf8);
        checked.map_err(|invalid| {
            carrying(admissions, signal).for_each(|admission| admission.count_invalid());
            Refused::Invalid(invalid)
        })
    }
}

impl Ingress for FanOut {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Acceptance, Refused>> {
        Box::pin(offer(self, signal, request))
    }

    fn carries(&self, signal: Signal) -> bool {
        let admissions = self.admissions.borrow();
        admissions
            .iter()
            .any(|admission| admission.signal() == signal)
    }

    fn concurrency_limit(&self, signal: Signal) -> usize {
        let admissions = self.admissions.borrow();
        let mut carrying = carrying(&admissions, signal);
        match (carrying.next(), carrying.next()) {
            (None, _) => usize::MAX,
            (Some(only), None) => only.concurrency_limit(),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(carrying);
                all.fold(0_usize, |sum, admission| {
                    sum.saturating_add(admission.concurrency_limit_beside())
                })
            }
        }
    }

    fn turned_away(&self, signal: Signal) -> Duration {
        let admissions = self.admissions.borrow();
        let hints = carrying(&admissions, signal).map(|admission| admission.retry_after());
        hints.max().unwrap_or(SOONEST)
    }
}

/// Validates the request once, and lets it in wherever there is room.
async fn offer(into: &FanOut, signal: Signal, request: Bytes) -> Result<Acceptance, Refused> {
    let mut admissions = into.admissions();
    let (valid, accepted) = into.validate(&admissions, signal, request)?;
    let (items, invalid) = (valid.items, valid.invalid);
    let offered = into.offered.offer(signal, items, invalid);
    into.offered.replaced(signal, &accepted);
    if items == 0 {
        offered.set_in(true);
        carrying(&admissions, signal).for_each(|admission| admission.ledger().refuse(invalid));
        refused_for_good(&admissions, signal, invalid);
        return Ok(accepted);
    }
    let mut entry = Entry::new(&offered);
    let mut end = entry.run(carrying(&admissions, signal), valid).await;
    let now = into.admissions();
    end = match end {
        Err(EntryError::Closed(request)) if !Arc::ptr_eq(&admissions, &now) => {
            admissions = now;
            // The limits of these pipelines may differ.
            match into.validate(&admissions, signal, request) {
                Ok((ValidRequest { request, .. }, _)) => {
                    let again = ValidRequest {
                        request,
                        items,
                        invalid,
                    };
                    entry.run(carrying(&admissions, signal), again).await
                }
                Err(refused) => Err(refused.into()),
            }
        }
        end => end,
    };
    entry.end(end)?;
    refused_for_good(&admissions, signal, invalid);
    Ok(accepted)
}

/// Books items as refused for good. This is so only with an OK: otherwise their sender may have to
/// send the whole request again.
fn refused_for_good(admissions: &Admissions, signal: Signal, invalid_items: u64) {
    if invalid_items > 0 {
        for admission in carrying(admissions, signal) {
            let ledger = admission.ledger();
            ledger.post(|books| books.invalid_items += invalid_items);
        }
    }
}

fn carrying(admissions: &Admissions, signal: Signal) -> impl Iterator<Item = &Arc<Admission>> {
    admissions
        .iter()
        .filter(move |admission| admission.signal() == signal)
}
