//! Room for a batch behind the last stage, taken before its first one: in the queue of every
//! exporter that must not lose it, and of at least one exporter.
//!
//! An exporter that may overflow alone does not keep out a batch that others take. If its queue has
//! no room, the batch waits in its waiting room, or is dropped for it, once it is through the
//! stages.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Egress;
use super::outlets::{Outlet, Outlets};
use crate::batch::Batch;
use crate::queue::{Lane, OVERFLOW_WAIT, Permit, Seat, Waits};

/// The result of looking for room for a sender's batch.
#[derive(Debug)]
pub(crate) enum Room {
    /// There is room, and it is taken.
    Taken(Permits),
    /// There is none now, and the exporters without room say that senders wait.
    Wait,
    /// There is none anywhere, and no exporter must have the batch: it may be lost in this pipeline
    /// alone.
    Full,
    /// There is none at an exporter that must not lose it: its sender is to be told.
    Refused,
}

/// The place of a batch behind the last stage, at one exporter.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// There is room in its queue, or on the way to its log.
    Room(Permit),
    /// The batch waits for room.
    Waits(Seat),
    /// The batch is dropped for this exporter.
    Overflows,
}

/// A place for one batch at every exporter, and so the batch's way out. While there are permits for
/// an exporter, its queue is open.
#[derive(Clone, Debug)]
pub(crate) struct Permits {
    outlets: Arc<Outlets>,
    places: Vec<Place>,
    until: Instant,
    waits: Option<Waits>,
}

impl Permits {
    /// Makes permits from the room in some queues. At the other exporters, the batch waits until
    /// its time is up, or is dropped.
    fn new(outlets: &Arc<Outlets>, room: Vec<Option<Permit>>, batch: &Wanted) -> Self {
        let places = room.into_iter().zip(outlets.iter());
        let place = |(room, outlet): (Option<Permit>, &Outlet)| match room {
            Some(permit) => Place::Room(permit),
            None => outlet.aside(batch.lane, batch.bytes, batch.until),
        };
        Self {
            places: places.map(place).collect(),
            outlets: Arc::clone(outlets),
            until: batch.until,
            waits: None,
        }
    }

    /// Returns a receiver that resolves when nothing of the batch waits for room any more, and the
    /// latest time for that; `None` if nothing will wait. Call it before parts are made.
    pub(crate) fn waits(&mut self) -> Option<(oneshot::Receiver<()>, Instant)> {
        let mut places = self.places.iter();
        if !places.any(|place| matches!(place, Place::Waits(_))) {
            return None;
        }
        let (waits, told) = Waits::new();
        self.waits = Some(waits);
        Some((told, self.until))
    }

    /// Moves a batch to each exporter.
    pub(super) fn forward(&self, Batch { bytes, tally }: Batch) {
        let tallies = tally.forward(self.outlets.iter().map(Outlet::column));
        let outlets = self.outlets.iter().zip(&self.places);
        for ((outlet, place), tally) in outlets.zip(tallies) {
            let batch = Batch {
                bytes: Bytes::clone(&bytes),
                tally,
            };
            outlet.put(batch, place, self.waits.as_ref());
        }
    }
}

/// A batch that wants room.
#[derive(Clone, Copy)]
struct Wanted {
    lane: Lane,
    items: u64,
    bytes: usize,
    /// The time until which it may wait.
    until: Instant,
}

impl Wanted {
    fn new(lane: Lane, items: u64, bytes: usize) -> Self {
        let until = Instant::now() + OVERFLOW_WAIT;
        Self {
            lane,
            items,
            bytes,
            until,
        }
    }

    fn try_reserve(&self, outlet: &Outlet) -> Option<Permit> {
        outlet.try_reserve(self.lane, self.items, self.bytes)
    }

    async fn reserve(&self, outlet: &Outlet) -> Option<Permit> {
        outlet.reserve(self.lane, self.items, self.bytes).await
    }
}

/// The room in each queue, if there is any.
type Found = Vec<Option<Permit>>;

/// Returns true if a batch can be let in with this room: each exporter that must not lose it has
/// room, and at least one has.
fn is_enough(outlets: &Outlets, room: &Found) -> bool {
    let has_none = room.iter().all(Option::is_none) && !room.is_empty();
    !has_none && missing(outlets, room).all(|outlet| !outlet.refuses())
}

/// Returns the outlets without room.
fn missing<'a>(outlets: &'a Outlets, room: &'a Found) -> impl Iterator<Item = &'a Outlet> {
    let outlets = room.iter().zip(outlets.iter());
    outlets.filter_map(|(room, outlet)| room.is_none().then_some(outlet))
}

/// Waits for room at exporters that must not lose the batch, until its time is up; takes room at
/// the others if they have any now. If none has any, waits for the first that has.
async fn wait_for_room(outlets: &Outlets, batch: &Wanted) -> Found {
    let mut room = Vec::with_capacity(outlets.iter().count());
    for outlet in outlets.iter() {
        room.push(if outlet.refuses() && outlet.blocks() {
            let waited = timeout_at(batch.until, batch.reserve(outlet)).await;
            waited.ok().flatten()
        } else {
            batch.try_reserve(outlet)
        });
    }
    if room.iter().any(Option::is_some) || missing(outlets, &room).any(Outlet::refuses) {
        return room;
    }
    drop(
        timeout_at(
            batch.until,
            wait_for_one(outlets, batch, &mut room, Outlet::blocks),
        )
        .await,
    );
    room
}

/// Waits for room at the first of these that has any, and takes room at the others that have some
/// then.
async fn wait_for_one(
    outlets: &Outlets,
    batch: &Wanted,
    room: &mut Found,
    waits: impl Fn(&Outlet) -> bool,
) {
    let waiting = outlets.iter().enumerate();
    let waiting = waiting.filter(|(_, outlet)| waits(outlet));
    let mut waiting: FuturesUnordered<_> = waiting
        .map(|(index, outlet)| async move { (index, batch.reserve(outlet).await) })
        .collect();
    let Some((first, permit)) = waiting.next().await else {
        return;
    };
    drop(waiting);
    for (index, (room, outlet)) in room.iter_mut().zip(outlets.iter()).enumerate() {
        if index != first && room.is_none() {
            *room = batch.try_reserve(outlet);
        }
    }
    if let Some(place) = room.get_mut(first) {
        *place = permit;
    }
}

/// Waits for room for a batch that was accepted before: at each exporter that must not lose it, and
/// until at least one has room, for however long it takes.
async fn reserve_accepted(outlets: &Outlets, batch: &Wanted) -> Option<Found> {
    let mut room = Vec::with_capacity(outlets.iter().count());
    for outlet in outlets.iter() {
        room.push(if outlet.refuses() {
            Some(batch.reserve(outlet).await?)
        } else {
            batch.try_reserve(outlet)
        });
    }
    if !is_enough(outlets, &room) {
        wait_for_one(outlets, batch, &mut room, |_| true).await;
    }
    Some(room)
}

impl Egress {
    /// Returns true if a full queue makes senders wait.
    pub(crate) fn makes_wait(&self) -> bool {
        self.current().iter().any(Outlet::blocks)
    }

    /// Returns true if there is an exporter without whose room senders are refused.
    pub(crate) fn must_not_lose(&self) -> bool {
        self.current().iter().any(Outlet::refuses)
    }

    /// Looks for room for a sender's batch, without waiting.
    pub(crate) fn try_reserve(&self, items: u64, bytes: usize) -> Room {
        let outlets = self.current();
        let batch = Wanted::new(Lane::Sent, items, bytes);
        let room = outlets.iter().map(|outlet| batch.try_reserve(outlet));
        let room: Found = room.collect();
        if is_enough(&outlets, &room) {
            return Room::Taken(Permits::new(&outlets, room, &batch));
        }
        let mut strict = missing(&outlets, &room)
            .filter(|outlet| outlet.refuses())
            .peekable();
        let waits = match strict.peek() {
            Some(_) => strict.all(Outlet::blocks),
            None => missing(&outlets, &room).any(Outlet::blocks),
        };
        if waits {
            return Room::Wait;
        }
        self.turn_away(&outlets, &room, items)
    }

    /// Waits for room for a sender's batch, at most for [`OVERFLOW_WAIT`]. Does not wait for a full
    /// queue without `block_on_overflow`.
    pub(crate) async fn wait_for_room(&self, items: u64, bytes: usize) -> Room {
        let batch = Wanted::new(Lane::Sent, items, bytes);
        let mut changes = self.outlets.subscribe();
        loop {
            let outlets = Arc::clone(&changes.borrow_and_update());
            tokio::select! {
                biased;
                room = wait_for_room(&outlets, &batch) => {
                    if is_enough(&outlets, &room) {
                        return Room::Taken(Permits::new(&outlets, room, &batch));
                    }
                    return self.turn_away(&outlets, &room, items);
                }
                // This cannot fail: the sender of changes is this very value.
                changed = changes.changed() => if changed.is_err() {
                    return Room::Refused;
                },
            }
        }
    }

    /// Waits for room for a batch that was accepted before. The caller bounds the wait.
    pub(crate) async fn reserve(&self, lane: Lane, items: u64, bytes: usize) -> Option<Permits> {
        let mut changes = self.outlets.subscribe();
        loop {
            let outlets = Arc::clone(&changes.borrow_and_update());
            let batch = Wanted::new(lane, items, bytes);
            tokio::select! {
                biased;
                room = reserve_accepted(&outlets, &batch) => {
                    return Some(Permits::new(&outlets, room?, &batch));
                }
                changed = changes.changed() => changed.ok()?,
            }
        }
    }

    /// Books the exporters without room, and returns what that means by the settings of this very
    /// moment: a batch that could be lost here alone when the request came may not be now.
    fn turn_away(&self, outlets: &Outlets, room: &Found, items: u64) -> Room {
        for outlet in missing(outlets, room) {
            self.ledger
                .post_exporter(outlet.column(), |column| column.enqueue_failed += items);
        }
        if room.iter().any(Option::is_some) || outlets.iter().any(Outlet::refuses) {
            return Room::Refused;
        }
        Room::Full
    }
}
