//! One receiver in front of several pipelines of a signal: all of them take a request, or none.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use spandrel_wire::{Invalid, Signal};

use super::admission::Door;
use super::{Ingress, Offered};
use crate::refused::Refused;

/// The doors of several pipelines, as one ingress.
#[derive(Clone, Debug)]
pub struct FanOut {
    doors: Vec<Arc<Door>>,
    offered: Arc<Offered>,
}

impl FanOut {
    pub(crate) fn new(doors: Vec<Arc<Door>>) -> Self {
        Self {
            doors,
            offered: Arc::default(),
        }
    }

    /// What was offered here, and what became of it. Outlives this.
    pub fn offered(&self) -> Arc<Offered> {
        Arc::clone(&self.offered)
    }
}

impl Ingress for FanOut {
    fn offer(&self, signal: Signal, request: Bytes) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(offer(self, signal, request))
    }
}

/// Validates once, finds room everywhere, and only then lets the request in everywhere.
async fn offer(into: &FanOut, signal: Signal, request: Bytes) -> Result<(), Refused> {
    let mut doors = into.doors.iter().filter(|door| door.signal() == signal);
    let Some(first) = doors.next() else {
        return Err(Refused::Invalid(Invalid::Malformed {
            what: "signal without a pipeline",
            offset: 0,
        }));
    };
    let doors = std::iter::once(first).chain(doors).collect::<Vec<_>>();
    let summary = spandrel_wire::validate(signal, &request, first.limits()).map_err(|invalid| {
        doors.iter().for_each(|door| door.count_invalid());
        Refused::Invalid(invalid)
    })?;
    if summary.items == 0 {
        return Ok(());
    }
    let mut offered = into.offered.offer(signal, summary.items as u64);
    let mut admitted = Vec::with_capacity(doors.len());
    for door in &doors {
        admitted.push((door, door.admit(request.clone(), &summary).await?));
    }
    // What the stages make of it may be all that is left of it while its sender waits.
    drop(request);
    offered.set_in(true);
    let answers = admitted
        .into_iter()
        .map(|(door, admitted)| door.enter(admitted).wait());
    let answered = try_join_all(answers.collect::<Vec<_>>()).await;
    offered.set_in(answered.is_ok());
    answered.map(drop)
}
