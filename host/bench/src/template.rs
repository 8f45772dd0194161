//! Requests made beforehand. They differ from those that are sent in a few bytes of each item.

mod content;

use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use spandrel_wire::Signal;

use crate::item_name::{ITEMS_PER_TRACE, ItemKind, ItemName, trace_id};
use crate::settings::Load;
use crate::walk::{FieldOffsets, Shape, offsets};
pub(crate) use content::least_size;

/// The length of the prefix of each gRPC message: a flag for compression, and the message's length.
pub(crate) const PREFIX: usize = 5;

/// The role of one position of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The item must arrive.
    Plain,
    /// The item may arrive, and may be dropped on the way.
    HealthCheck,
    /// The item is sent with the name of the item at an earlier position.
    DuplicateOf(usize),
}

/// A request of one batch.
#[derive(Debug)]
pub(crate) struct Template {
    signal: Signal,
    /// The message, with room for gRPC's prefix before it.
    bytes: Bytes,
    /// The patches, in the order of the items.
    patches: Vec<PatchPlaces>,
    pub(crate) roles: Vec<Role>,
    pub(crate) tally: Tally,
    /// The length of the message if its health checks are dropped, and nothing else is done.
    pub(crate) bytes_without_health_checks: u64,
}

/// The number of items of each kind in a request, by what is expected of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) plain: u64,
    pub(crate) health_checks: u64,
    pub(crate) duplicates: u64,
}

impl Tally {
    pub(crate) fn items(self) -> u64 {
        self.plain + self.health_checks + self.duplicates
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.plain += other.plain;
        self.health_checks += other.health_checks;
        self.duplicates += other.duplicates;
    }
}

impl Template {
    /// Makes the `index`th template of a load; `None` if the items could not be made as described.
    pub(crate) fn new(load: &Load, index: usize) -> Option<Self> {
        let roles = roles(load, index);
        let content::Request { message, kept } = content::request(load, index, &roles);
        let signal = load.signal;
        let places = offsets(signal, &Bytes::copy_from_slice(&message))?;
        let patches = places.iter().zip(&roles).enumerate();
        let patches =
            patches.map(|(position, (place, role))| PatchPlaces::new(place, position, *role));
        let patches: Vec<PatchPlaces> = patches.collect::<Option<_>>()?;
        let length = u32::try_from(message.len()).ok()?;
        let mut bytes = BytesMut::with_capacity(PREFIX + message.len());
        bytes.extend_from_slice(&[0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&message);
        (places.len() == roles.len()).then(|| Self {
            signal,
            bytes: bytes.freeze(),
            patches,
            tally: Self::tally_of(&roles),
            bytes_without_health_checks: u64::try_from(kept).unwrap_or(u64::MAX),
            roles,
        })
    }

    /// Returns a copy to be patched and sent.
    pub(crate) fn copy(&self) -> BytesMut {
        BytesMut::from(&self.bytes[..])
    }

    fn tally_of(roles: &[Role]) -> Tally {
        let mut tally = Tally::default();
        for role in roles {
            match role {
                Role::Plain => tally.plain += 1,
                Role::HealthCheck => tally.health_checks += 1,
                Role::DuplicateOf(_) => tally.duplicates += 1,
            }
        }
        tally
    }

    /// Names the items of a copy, from `first` on, and sets the time when they were sent.
    pub(crate) fn patch(&self, copy: &mut [u8], stamp: &PatchValues) {
        let shape = Shape::of(self.signal);
        let time = stamp.time.to_le_bytes();
        let later = (stamp.time + content::DURATION_NS).to_le_bytes();
        let mut trace = [0; 16];
        let mut trace_of = None;
        for patch in &self.patches {
            let number = stamp.first + u64::from(patch.position);
            if trace_of != Some(number / ITEMS_PER_TRACE) {
                trace = trace_id(stamp.run, number);
                trace_of = Some(number / ITEMS_PER_TRACE);
            }
            let name = ItemName {
                run: stamp.run,
                kind: ItemKind {
                    is_health_check: patch.is_health_check,
                    is_warm_up: stamp.is_warm_up,
                },
                number,
            };
            put(copy, patch.trace, trace);
            put(copy, patch.id, shape.id_bytes(name.bits()));
            put(copy, patch.time, time);
            put(copy, patch.second_time, later);
        }
    }
}

/// The places in a request that change for one item, packed, because all of a template's are read
/// for each request. Places count from the beginning of the gRPC message's prefix; zero means none,
/// because nothing is patched in a prefix.
#[derive(Clone, Copy, Debug)]
struct PatchPlaces {
    id: u32,
    time: u32,
    second_time: u32,
    trace: u32,
    /// The position whose name it has: its own, or that of the item that it duplicates.
    position: u32,
    is_health_check: bool,
}

impl PatchPlaces {
    fn new(place: &FieldOffsets, position: usize, role: Role) -> Option<Self> {
        let at = |place: Option<usize>| place.map_or(Some(0), |at| u32::try_from(at + PREFIX).ok());
        let original = match role {
            Role::DuplicateOf(earlier) => earlier,
            Role::Plain | Role::HealthCheck => position,
        };
        let is_whole = place.id.is_some() && place.time.is_some();
        is_whole.then_some(Self {
            id: at(place.id)?,
            time: at(place.time)?,
            second_time: at(place.second_time)?,
            trace: at(place.trace)?,
            position: u32::try_from(original).ok()?,
            is_health_check: role == Role::HealthCheck,
        })
    }
}

/// Returns the time as stamps carry it, in nanoseconds since 1970.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The values that a request is patched with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatchValues {
    pub(crate) run: u16,
    pub(crate) is_warm_up: bool,
    /// The number of the first item.
    pub(crate) first: u64,
    /// The time of sending, in nanoseconds since 1970.
    pub(crate) time: u64,
}

#[inline]
fn put<const N: usize>(copy: &mut [u8], at: u32, value: [u8; N]) {
    let place = usize::try_from(at).ok().filter(|at| *at > 0);
    if let Some(place) = place.and_then(|at| copy.get_mut(at..)?.first_chunk_mut()) {
        *place = value;
    }
}

/// Returns the role of each position. Health checks and duplicates are spread evenly over the
/// positions, and over the templates: of small batches, only every few has one.
fn roles(load: &Load, index: usize) -> Vec<Role> {
    let first = index * load.batch;
    let mut roles: Vec<Role> = (first..first + load.batch)
        .map(|position| {
            if falls_on(load.health_checks, position) {
                Role::HealthCheck
            } else {
                Role::Plain
            }
        })
        .collect();
    // A duplicate that is owed takes the next plain position whose original is plain, too.
    #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^52")]
    let mut owed = (first as f64 * load.duplicates).fract();
    for position in 0..load.batch {
        owed += load.duplicates;
        let earlier = position / 2;
        let is_plain = |at: usize| roles.get(at) == Some(&Role::Plain);
        let both_plain = earlier < position && is_plain(position) && is_plain(earlier);
        if let Some(role) = roles.get_mut(position)
            && both_plain
            && owed >= 1.0
        {
            *role = Role::DuplicateOf(earlier);
            owed -= 1.0;
        }
    }
    roles
}

/// Returns true if a share of all positions, spread evenly, includes this one.
fn falls_on(share: f64, position: usize) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "positions are far below 2^52")]
    let step = |position: usize| (position as f64 * share).floor();
    step(position + 1) > step(position)
}

#[cfg(test)]
mod tests;
