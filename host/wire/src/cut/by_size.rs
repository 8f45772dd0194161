//! Cuts a request into parts of a size, at the borders of its items.

use alloc::vec::Vec;
use core::mem;

use crate::cut::part::{Headers, OpenPart, Part};
use crate::read::field::{Fields, messages};
use crate::read::signal::{Signal, count, is_data, points};
use crate::write::fields::write_key;
use crate::write::nested;

/// The limits of a part of a request. A single item may be longer than `bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// The number of spans, data points or log records; 0 counts as 1.
    pub items: usize,
    /// The length of the serialized part.
    pub bytes: usize,
}

/// The bytes of the key and the length of a message field: at most one byte and five.
const KEY_AND_LENGTH: usize = 6;

/// Cuts a valid request into parts within these limits, in order. Items keep their resource and
/// scope, and data points keep their metric, whose other fields each part repeats. An item that is
/// too long alone is a part of its own.
///
/// Returns `None` if the copies of resources, scopes and metrics would take more than three times
/// the request and 4 MiB: one resource of many megabytes in front of many small items must not
/// become many times its size in memory.
pub fn cut(signal: Signal, request: &[u8], most: PartLimits) -> Option<Vec<Part>> {
    let items = count(signal, request);
    let average = request.len() / items.max(1);
    let room = average.saturating_mul(most.items).min(most.bytes);
    let room = room.min(request.len());
    let mut cutter = Cutter {
        most,
        room: room + room / 8,
        headers: Headers::new(request),
        part: OpenPart::default(),
        parts: Vec::new(),
    };
    cutter.run(signal, request);
    cutter.headers.are_affordable().then_some(cutter.parts)
}

/// Does [`cut`] by items alone.
pub fn split_by_size(signal: Signal, request: &[u8], max_items: usize) -> Option<Vec<Part>> {
    let most = PartLimits {
        items: max_items,
        bytes: usize::MAX,
    };
    cut(signal, request, most)
}

struct Cutter {
    most: PartLimits,
    /// The bytes that a new part gets allocated.
    room: usize,
    headers: Headers,
    part: OpenPart,
    parts: Vec<Part>,
}

impl Cutter {
    fn run(&mut self, signal: Signal, request: &[u8]) {
        for resource in messages(request, 1) {
            self.headers.enter_resource(resource);
            for scope in messages(resource, 2) {
                self.headers.enter_scope(scope);
                for field in Fields::new(scope) {
                    let Some(record) = field.message(2) else {
                        continue;
                    };
                    match signal {
                        Signal::Metrics => self.metric(field.raw(), record),
                        Signal::Traces | Signal::Logs => self.add(field.raw(), 1),
                    }
                }
            }
        }
        self.close();
    }

    /// Writes a record field, in the open part if it fits there.
    fn add(&mut self, field: &[u8], items: usize) {
        let filled = self.part.items();
        // The lengths of the open entries may still grow.
        let written = self.part.len() + 2 * KEY_AND_LENGTH;
        let mut headers = self.part.missing(&self.headers, KEY_AND_LENGTH);
        let is_over =
            filled + items > self.most.items || written + headers + field.len() > self.most.bytes;
        // A metric without data points begins no part: there would be nothing to count in it.
        if is_over && filled > 0 && items > 0 {
            self.close();
            headers = self.headers_of_new_part();
        }
        if self.headers.may_copy(headers) {
            self.part.write(&self.headers, field, items, self.room);
        }
    }

    /// Returns the bytes of the headers of a new part.
    fn headers_of_new_part(&self) -> usize {
        OpenPart::default().missing(&self.headers, KEY_AND_LENGTH)
    }

    /// Writes a metric: whole if it fits into one part, otherwise in pieces with some of its points
    /// each.
    fn metric(&mut self, field: &[u8], metric: &[u8]) {
        let items = points(metric);
        let alone = self.headers_of_new_part() + 2 * KEY_AND_LENGTH;
        let fits = items <= self.most.items && alone + field.len() <= self.most.bytes;
        if fits || items < 2 {
            return self.add(field, items);
        }
        let Some(whole) = Metric::read(metric) else {
            return self.add(field, items);
        };
        let headers = whole.header.len() + whole.data_header.len() + 3 * KEY_AND_LENGTH;
        let room = self.most.bytes.saturating_sub(alone + headers);
        let mut some = Vec::new();
        let mut count = 0;
        for point in whole.points(metric) {
            if count > 0 && (count == self.most.items.max(1) || some.len() + point.len() > room) {
                self.piece(&whole, &some, count);
                some.clear();
                count = 0;
            }
            some.extend_from_slice(point);
            count += 1;
        }
        self.piece(&whole, &some, count);
    }

    fn piece(&mut self, whole: &Metric, points: &[u8], items: usize) {
        let copies = whole.header.len() + whole.data_header.len();
        // If this is more than may be copied, `add` writes nothing.
        self.headers.may_copy(copies);
        let mut field = Vec::with_capacity(copies + points.len() + 3 * KEY_AND_LENGTH);
        let open = nested::begin(&mut field, 2, points.len());
        field.extend_from_slice(&whole.header);
        write_key(
            &mut field,
            whole.kind,
            whole.data_header.len() + points.len(),
        );
        field.extend_from_slice(&whole.data_header);
        field.extend_from_slice(points);
        nested::end(&mut field, open);
        self.add(&field, items);
    }

    fn close(&mut self) {
        let part = mem::take(&mut self.part).finish(self.parts.len());
        self.parts.extend(part);
    }
}

/// A metric without its points.
struct Metric {
    /// The fields other than its data.
    header: Vec<u8>,
    /// The number of the fields that have its data. It tells the kind of the metric.
    kind: u32,
    /// The number of data fields that stand before these, and are replaced.
    replaced: usize,
    /// The fields of the data other than the points.
    data_header: Vec<u8>,
}

impl Metric {
    /// Reads a metric. Returns `None` if it has no data.
    fn read(metric: &[u8]) -> Option<Self> {
        let mut header = Vec::new();
        let mut data_header = Vec::new();
        let (mut kind, mut replaced, mut data) = (0, 0, 0);
        for field in Fields::new(metric) {
            if !is_data(field.number) {
                header.extend_from_slice(field.raw());
                continue;
            }
            // A later kind replaces an earlier one, and more of the same kind is merged.
            if kind != field.number {
                kind = field.number;
                replaced = data;
                data_header.clear();
            }
            data += 1;
            let others = Fields::new(field.bytes()).filter(|field| field.message(1).is_none());
            others.for_each(|field| data_header.extend_from_slice(field.raw()));
        }
        (kind != 0).then_some(Self {
            header,
            kind,
            replaced,
            data_header,
        })
    }

    /// Returns the points, each with its key and length.
    fn points<'a>(&self, metric: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let data = Fields::new(metric).filter(|field| is_data(field.number));
        data.skip(self.replaced)
            .flat_map(|field| Fields::new(field.bytes()))
            .filter_map(|field| field.message(1).map(|_| field.raw()))
    }
}
