//! One receiver in front of several pipelines of a signal: all of them take a request, or none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use spandrel_wire::{Invalid, InvalidUtf8, Signal};
use tokio::sync::watch;

use super::admission::{Admitted, Door};
use super::arrived::Arrived;
use super::pressure::SOONEST;
use super::{Accepted, Ingress, Offered};
use crate::pipeline::Pipeline;
use crate::refused::Refused;

/// The doors of several pipelines, as one ingress. Clones are the same: they lead to the same doors.
#[derive(Clone, Debug)]
pub struct FanOut {
    doors: Arc<watch::Sender<Doors>>,
    offered: Arc<Offered>,
    /// What becomes of texts that are not UTF-8.
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

    /// What was offered here, and what became of it. Outlives this.
    pub fn offered(&self) -> Arc<Offered> {
        Arc::clone(&self.offered)
    }

    /// Leads to these pipelines from now on, in place of those before. Requests that are on their
    /// way in finish where they began; one whose pipeline closes before it has let the request in
    /// comes here instead. So a pipeline that is taken away is closed after this.
    pub fn redirect<'a>(&self, pipelines: impl IntoIterator<Item = &'a Pipeline>) {
        self.doors.send_replace(doors(pipelines));
    }

    /// The same doors and counters, where this becomes of texts that are not UTF-8.
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
        let places = carrying(&doors, signal).map(|door| door.places());
        places.max().unwrap_or(usize::MAX)
    }

    fn turned_away(&self, signal: Signal) -> Duration {
        let doors = self.doors.borrow();
        let hints = carrying(&doors, signal).map(|door| door.retry_after());
        hints.max().unwrap_or(SOONEST)
    }
}

/// Validates once, finds room everywhere, and only then lets the request in everywhere.
async fn offer(into: &FanOut, signal: Signal, request: Bytes) -> Result<Accepted, Refused> {
    let mut doors = into.doors();
    let (mut arrived, accepted) = into.validate(&doors, signal, request)?;
    let invalid = arrived.invalid;
    let mut offered = into.offered.offer(signal, arrived.items, invalid);
    into.offered.replaced(signal, &accepted);
    if arrived.items == 0 {
        offered.set_in(true);
        carrying(&doors, signal).for_each(|door| door.ledger().refuse(invalid));
        refused_for_good(&doors, signal, invalid);
        return Ok(accepted);
    }
    let mut admitted = admit(&doors, signal, &arrived).await;
    if matches!(admitted, Err(Refused::Draining)) {
        let now = into.doors();
        if !Arc::ptr_eq(&doors, &now) {
            doors = now;
            // The limits may be others here.
            let (Arrived { request, .. }, _) = into.validate(&doors, signal, arrived.request)?;
            arrived.request = request;
            admitted = admit(&doors, signal, &arrived).await;
        }
    }
    let admitted = admitted?;
    carrying(&doors, signal).for_each(|door| door.count_accepted());
    // What the stages make of it may be all that is left of it while its sender waits.
    drop(arrived);
    offered.set_in(true);
    let answers = admitted
        .into_iter()
        .map(|(door, admitted)| door.enter(admitted).wait());
    let answered = try_join_all(answers.collect::<Vec<_>>()).await;
    offered.set_in(answered.is_ok());
    answered?;
    refused_for_good(&doors, signal, invalid);
    Ok(accepted)
}

/// Only with the answer of OK are items refused for good: before it, their sender may have to send the
/// whole request again.
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

/// Room behind each door, or behind none. Where there is a journal, the request is in it and on its
/// way: of several doors one may have it then while another refuses it, and has it twice when the
/// sender comes again.
async fn admit<'a>(
    doors: &'a Doors,
    signal: Signal,
    arrived: &Arrived,
) -> Result<Vec<(&'a Arc<Door>, Admitted)>, Refused> {
    // Room in a queue may be long in coming. Who waits for it keeps nobody from a shard, and no rule
    // from being changed.
    let mut reserved = Vec::with_capacity(doors.len());
    for door in carrying(doors, signal) {
        reserved.push((door, door.reserve(arrived.clone()).await?));
    }
    // First the doors that have no journal: a sender that is refused at one of them comes again, and
    // what is in a journal then would be there twice.
    let (durable, plain): (Vec<_>, Vec<_>) = reserved
        .into_iter()
        .partition(|(door, _)| door.feed().is_some());
    let mut admitted = Vec::with_capacity(plain.len());
    for (door, reserved) in plain {
        admitted.push((door, door.admit(reserved).await?));
    }
    if !durable.is_empty() {
        let durable = durable.into_iter();
        let journaled = durable.map(|(door, reserved)| door.journal(reserved));
        try_join_all(journaled.collect::<Vec<_>>()).await?;
    }
    Ok(admitted)
}
