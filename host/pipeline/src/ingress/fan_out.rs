//! One receiver in front of the pipelines of a signal. Each pipeline stands for itself: see
//! [`Entry`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use spandrel_wire::{Invalid, InvalidUtf8, Signal};
use tokio::sync::watch;

use super::admission::Door;
use super::arrived::Arrived;
use super::entry::{Entry, Shut};
use super::pressure::SOONEST;
use super::{Accepted, Ingress, Offered};
use crate::pipeline::Pipeline;
use crate::refused::Refused;

/// The doors of several pipelines, as one ingress. Clones share the same doors.
#[derive(Clone, Debug)]
pub struct FanOut {
    doors: Arc<watch::Sender<Doors>>,
    offered: Arc<Offered>,
    /// The handling of texts that are not UTF-8.
    invalid_utf8: InvalidUtf8,
}

type Doors = Arc<[Arc<Door>]>;

impl FanOut {
    pub(crate) fn new<'a>(pipelines: impl IntoIterator<Item = &'a Pipeline>) -> Self {
        Self {
            doors: Arc::new(watch::Sender::new(doors(pipelines))),
            offered: Arc::default(),
            invalid_utf8: InvalidUtf8::default(),
        }
    }

    /// Returns the counters of what was offered here, and of its outcome. They outlive this
    /// ingress.
    pub fn offered(&self) -> Arc<Offered> {
        Arc::clone(&self.offered)
    }

    /// Leads to these pipelines from now on, in place of those before. Requests on their way in
    /// finish where they began. If a pipeline closes before it has let a request in, the request
    /// comes to the new pipelines instead. So a pipeline that is taken away must be closed after
    /// this call.
    pub fn redirect<'a>(&self, pipelines: impl IntoIterator<Item = &'a Pipeline>) {
        self.doors.send_replace(doors(pipelines));
    }

    /// Returns an ingress with the same doors and counters that handles texts that are not UTF-8 in
    /// this way.
    #[must_use]
    pub fn with_invalid_utf8(&self, invalid_utf8: InvalidUtf8) -> Self {
        Self {
            invalid_utf8,
            ..self.clone()
        }
    }

    fn doors(&self) -> Doors {
        Arc::clone(&self.doors.borrow())
    }

    fn validate(
        &self,
        doors: &Doors,
        signal: Signal,
        request: Bytes,
    ) -> Result<(Arrived, Accepted), Refused> {
        let Some(first) = carrying(doors, signal).next() else {
            return Err(Refused::Invalid(Invalid::Malformed {
                what: "signal without a pipeline",
                offset: 0,
            }));
        };
        let sifted = Arrived::sift(signal, request, first.limits(), self.invalid_utf8);
        sifted.map_err(|invalid| {
            carrying(doors, signal).for_each(|door| door.count_invalid());
            Refused::Invalid(invalid)
        })
    }
}

fn doors<'a>(pipelines: impl IntoIterator<Item = &'a Pipeline>) -> Doors {
    pipelines.into_iter().map(Pipeline::door).cloned().collect()
}

impl Ingress for FanOut {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<Accepted, Refused>> {
        Box::pin(offer(self, signal, request))
    }

    fn carries(&self, signal: Signal) -> bool {
        let doors = self.doors.borrow();
        doors.iter().any(|door| door.signal() == signal)
    }

    fn places(&self, signal: Signal) -> usize {
        let doors = self.doors.borrow();
        let mut carrying = carrying(&doors, signal);
        match (carrying.next(), carrying.next()) {
            (None, _) => usize::MAX,
            (Some(only), None) => only.places(),
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(carrying);
                all.fold(0_usize, |sum, door| {
                    sum.saturating_add(door.places_beside())
                })
            }
        }
    }

    fn turned_away(&self, signal: Signal) -> Duration {
        let doors = self.doors.borrow();
        let hints = carrying(&doors, signal).map(|door| door.retry_after());
        hints.max().unwrap_or(SOONEST)
    }
}

/// Validates the request once, and lets it in wherever there is room.
async fn offer(into: &FanOut, signal: Signal, request: Bytes) -> Result<Accepted, Refused> {
    let mut doors = into.doors();
    let (arrived, accepted) = into.validate(&doors, signal, request)?;
    let (items, invalid) = (arrived.items, arrived.invalid);
    let offered = into.offered.offer(signal, items, invalid);
    into.offered.replaced(signal, &accepted);
    if items == 0 {
        offered.set_in(true);
        carrying(&doors, signal).for_each(|door| door.ledger().refuse(invalid));
        refused_for_good(&doors, signal, invalid);
        return Ok(accepted);
    }
    let mut entry = Entry::new(&offered);
    let mut end = entry.run(carrying(&doors, signal), arrived).await;
    let now = into.doors();
    end = match end {
        Err(Shut::Closed(request)) if !Arc::ptr_eq(&doors, &now) => {
            doors = now;
            // The limits of these doors may differ.
            match into.validate(&doors, signal, request) {
                Ok((Arrived { request, .. }, _)) => {
                    let again = Arrived {
                        request,
                        items,
                        invalid,
                    };
                    entry.run(carrying(&doors, signal), again).await
                }
                Err(refused) => Err(refused.into()),
            }
        }
        end => end,
    };
    entry.end(end)?;
    refused_for_good(&doors, signal, invalid);
    Ok(accepted)
}

/// Books items as refused for good. This is so only with an OK: otherwise their sender may have to
/// send the whole request again.
fn refused_for_good(doors: &Doors, signal: Signal, invalid_items: u64) {
    if invalid_items > 0 {
        for door in carrying(doors, signal) {
            let ledger = door.ledger();
            ledger.post(|books| books.invalid_items += invalid_items);
        }
    }
}

fn carrying(doors: &Doors, signal: Signal) -> impl Iterator<Item = &Arc<Door>> {
    doors.iter().filter(move |door| door.signal() == signal)
}
