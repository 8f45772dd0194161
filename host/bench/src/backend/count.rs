//! Counts arrivals: each item arrived once, twice, or not at all.

use bytes::Bytes;
use spandrel_wire::Signal;

use crate::histogram::Histogram;
use crate::item_name::{ItemName, MAX_ITEMS};
use crate::template::now_ns;
use crate::walk::{self, ItemVisitor};

/// A set of items of a run, by their numbers: one bit for each.
#[derive(Debug, Default)]
pub(crate) struct ItemSet(Vec<u64>);

impl ItemSet {
    /// Adds a number. Returns false if it was there before.
    fn insert(&mut self, number: u64) -> bool {
        let index = usize::try_from(number / 64).unwrap_or(usize::MAX);
        if index >= self.0.len() {
            // The bitmap grows by halves, so that a run copies each bit only a few times.
            let length = (index + 1).max(self.0.len() + self.0.len() / 2);
            self.0.resize(length, 0);
        }
        let Some(word) = self.0.get_mut(index) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        let index = usize::try_from(number / 64).unwrap_or(usize::MAX);
        self.0
            .get(index)
            .is_some_and(|word| word & (1 << (number % 64)) != 0)
    }
}

/// A message that is being counted. The items of one request were sent at the same time, so their
/// latencies are added at once, and only the time of the first item is read.
struct Arrival<'a> {
    count: &'a mut Count,
    latency: Histogram,
    now: u64,
    /// The request that the last item came with.
    request: Option<u64>,
    time: u64,
    /// The number of items with that time whose latencies count.
    items: u64,
}

impl ItemVisitor for Arrival<'_> {
    #[inline]
    fn wants_time(&mut self, id: u64) -> bool {
        self.request != Some(self.count.request_of(id))
    }

    #[inline]
    fn item(&mut self, id: u64, time: u64) {
        let request = self.count.request_of(id);
        if self.request != Some(request) {
            self.latency
                .add(self.now.saturating_sub(self.time), self.items);
            (self.request, self.time, self.items) = (Some(request), time, 0);
        }
        self.items += u64::from(self.count.item(ItemName::from_bits(id)));
    }
}

/// All counts of the backend.
#[derive(Debug, Default)]
pub(crate) struct Count {
    run: u16,
    /// The number of items in a request.
    batch: u64,
    /// The items that arrived.
    pub(crate) items: ItemSet,
    /// Items that arrived for the first time and must arrive, warm-up included.
    pub(crate) plain: u64,
    /// Every arrival of an item, of any run.
    pub(crate) arrived: u64,
    /// Items of the measured part: first arrivals that must arrive. The next two fields count first
    /// arrivals of health checks, and further arrivals of either.
    pub(crate) measured_plain: u64,
    pub(crate) measured_health_checks: u64,
    pub(crate) measured_duplicates: u64,
    /// Items that belong to another run.
    pub(crate) foreign: u64,
    /// Messages that were not requests.
    pub(crate) malformed: u64,
    pub(crate) messages: u64,
    pub(crate) message_bytes: u64,
    /// The compression of the messages, if any was compressed.
    pub(crate) encoding: Option<&'static str>,
    pub(crate) latency: Histogram,
}

impl Count {
    pub(crate) fn new(run: u16, batch: u64) -> Self {
        Self {
            run,
            batch,
            ..Self::default()
        }
    }

    /// Counts the items of a message that arrived in pieces.
    pub(crate) fn message(&mut self, signal: Signal, pieces: &[Bytes]) {
        let now = now_ns();
        self.messages += 1;
        self.message_bytes += pieces
            .iter()
            .map(|p| u64::try_from(p.len()).unwrap_or(0))
            .sum::<u64>();
        let mut arrival = Arrival {
            latency: std::mem::take(&mut self.latency),
            count: self,
            now,
            request: None,
            time: 0,
            items: 0,
        };
        let is_whole = walk::items(signal, pieces, &mut arrival);
        let Arrival {
            mut latency,
            time,
            items,
            ..
        } = arrival;
        latency.add(now.saturating_sub(time), items);
        self.latency = latency;
        if !is_whole {
            self.malformed += 1;
        }
    }

    /// Returns the request that an item came with; of items of another run, any request.
    fn request_of(&self, id: u64) -> u64 {
        ItemName::from_bits(id).number / self.batch.max(1)
    }

    /// Counts an item. Returns true if its latency counts.
    fn item(&mut self, name: ItemName) -> bool {
        self.arrived += 1;
        if name.run != self.run || name.number >= MAX_ITEMS {
            self.foreign += 1;
            return false;
        }
        let is_first = self.items.insert(name.number);
        let kind = name.kind;
        if is_first && !kind.is_health_check {
            self.plain += 1;
        }
        if kind.is_warm_up {
            return false;
        }
        if !is_first {
            self.measured_duplicates += 1;
        } else if kind.is_health_check {
            self.measured_health_checks += 1;
        } else {
            self.measured_plain += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Load;
    use crate::template::{PREFIX, PatchValues, Template};

    fn message(template: &Template, first: u64, is_warm_up: bool) -> Vec<Bytes> {
        let mut copy = template.copy();
        let time = now_ns() - 1_000_000;
        template.patch(
            &mut copy,
            &PatchValues {
                run: 5,
                is_warm_up,
                first,
                time,
            },
        );
        vec![copy.freeze().slice(PREFIX..)]
    }

    /// A second arrival is counted apart from the first, and the warm-up is not counted with the
    /// rest.
    #[test]
    fn arrivals_are_told_apart() {
        let load = Load::default();
        let template = Template::new(&load, 0).expect("it can be made");
        let mut count = Count::new(5, 512);
        count.message(Signal::Traces, &message(&template, 0, true));
        assert_eq!(count.plain, template.tally.plain);
        assert_eq!((count.measured_plain, count.latency.total()), (0, 0));
        let measured = message(&template, 512, false);
        count.message(Signal::Traces, &measured);
        count.message(Signal::Traces, &measured);
        assert_eq!(count.measured_plain, template.tally.plain);
        assert_eq!(count.measured_health_checks, template.tally.health_checks);
        assert_eq!(count.measured_duplicates, 512);
        assert_eq!(count.latency.total(), 1024);
        assert!(count.latency.percentile(0.5).as_millis() >= 1);
        assert!(count.items.contains(512 + 300) && !count.items.contains(1024));
        assert_eq!((count.foreign, count.malformed), (0, 0));
    }

    /// Another run's items and garbage are counted as such, and as nothing else.
    #[test]
    fn strangers_are_told_apart() {
        let template = Template::new(&Load::default(), 0).expect("it can be made");
        let mut count = Count::new(6, 512);
        count.message(Signal::Traces, &message(&template, 0, false));
        assert_eq!((count.foreign, count.measured_plain), (512, 0));
        count.message(
            Signal::Traces,
            &[Bytes::from_static(b"\x0a\xff\x01garbage")],
        );
        assert_eq!(count.malformed, 1);
    }
}
