//! Held items: the parts of a batch that the host keeps for a plugin.

use alloc::vec::Vec;
use core::mem::size_of;

/// The items of one batch that a plugin holds, cut out of it with the edits of their span, scope
/// and resource applied. They do not need the batch any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldItems {
    /// The spans, one behind the other.
    spans: Vec<u8>,
    /// The bytes around the spans: the other fields of each scope entry and resource entry.
    headers: Vec<u8>,
    items: Vec<Item>,
    scopes: Vec<Header>,
    resources: Vec<Header>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    /// The item's number in the batch.
    index: u32,
    /// The item's entry in `scopes`.
    scope: u32,
    /// The end in `spans`. The item begins where the one before it ends.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    start: usize,
    end: usize,
    /// For a scope: its entry in `resources`.
    parent: u32,
}

impl HeldItems {
    /// Returns the number of items that are held.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns true if no items are held.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns the bytes of memory that this takes, which the limits on held items count.
    pub fn size(&self) -> usize {
        self.spans.capacity()
            + self.headers.capacity()
            + self.items.capacity() * size_of::<Item>()
            + (self.scopes.capacity() + self.resources.capacity()) * size_of::<Header>()
    }

    /// Returns the position of the item that had this number in its batch.
    pub fn position(&self, index: u32) -> Option<usize> {
        self.items
            .binary_search_by_key(&index, |item| item.index)
            .ok()
    }

    /// Returns the numbers that the items had in their batch, in order of position.
    pub fn indices(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.items.iter().map(|item| item.index)
    }

    /// Gives the items other numbers, in order of position. The numbers must grow, and there must
    /// be one for each item. Otherwise it changes nothing and returns false.
    pub fn renumber(&mut self, indices: &[u32]) -> bool {
        let fits = indices.len() == self.items.len() && indices.is_sorted_by(|a, b| a < b);
        if fits {
            for (item, index) in self.items.iter_mut().zip(indices) {
                item.index = *index;
            }
        }
        fits
    }

    /// Returns the span at a position, serialized; empty if there is none.
    pub fn span(&self, position: usize) -> &[u8] {
        let start = position
            .checked_sub(1)
            .and_then(|before| self.items.get(before))
            .map_or(0, |before| before.end);
        self.items
            .get(position)
            .and_then(|item| self.spans.get(start..item.end))
            .unwrap_or_default()
    }

    /// Drops the items for which `keep` returns false, and frees their memory. The others keep
    /// their index and get new positions. `keep` is called once for each position, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut old = core::mem::take(self);
        let mut position = 0;
        let mut start = 0;
        let mut to = 0;
        let spans = &mut old.spans;
        old.items.retain_mut(|item| {
            let span = start..item.end;
            start = item.end;
            let stays = keep(position);
            position += 1;
            if stays {
                let len = span.len();
                spans.copy_within(span, to);
                to += len;
                item.end = to;
            }
            stays
        });
        old.spans.truncate(to);
        old.keep_used_headers();
        old.shrink();
        *self = old;
    }

    /// Returns the bytes around a span: the other fields of its resource entry, and of its scope
    /// entry.
    pub(crate) fn headers_of(&self, position: usize) -> Option<(&[u8], &[u8])> {
        let scope = get(&self.scopes, self.items.get(position)?.scope)?;
        let resource = get(&self.resources, scope.parent)?;
        Some((self.header(resource)?, self.header(scope)?))
    }

    fn header(&self, header: &Header) -> Option<&[u8]> {
        self.headers.get(header.start..header.end)
    }

    fn keep_used_headers(&mut self) {
        let old = core::mem::take(&mut self.headers);
        let scopes = core::mem::take(&mut self.scopes);
        let resources = core::mem::take(&mut self.resources);
        let mut last_scope = None;
        let mut last_resource = None;
        let copy = |headers: &mut Vec<u8>, header: &Header, parent| {
            let start = headers.len();
            headers.extend_from_slice(old.get(header.start..header.end).unwrap_or_default());
            Header {
                start,
                end: headers.len(),
                parent,
            }
        };
        for item in &mut self.items {
            let Some(scope) = get(&scopes, item.scope) else {
                continue;
            };
            if last_scope != Some(item.scope) {
                last_scope = Some(item.scope);
                if last_resource != Some(scope.parent) {
                    last_resource = Some(scope.parent);
                    if let Some(resource) = get(&resources, scope.parent) {
                        self.resources.push(copy(&mut self.headers, resource, 0));
                    }
                }
                let parent = last_number(&self.resources);
                self.scopes.push(copy(&mut self.headers, scope, parent));
            }
            item.scope = last_number(&self.scopes);
        }
    }

    pub(crate) fn shrink(&mut self) {
        self.spans.shrink_to_fit();
        self.headers.shrink_to_fit();
        self.items.shrink_to_fit();
        self.scopes.shrink_to_fit();
        self.resources.shrink_to_fit();
    }

    // === Building, by the splice ===

    pub(crate) fn with_capacity(items: usize, bytes: usize) -> Self {
        Self {
            spans: Vec::with_capacity(bytes),
            items: Vec::with_capacity(items),
            ..Self::default()
        }
    }

    /// Adds a resource entry whose other fields `write` appends.
    pub(crate) fn add_resource(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let header = self.write_header(0, write);
        self.resources.push(header);
    }

    /// Adds a scope entry of the last resource entry.
    pub(crate) fn add_scope(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let header = self.write_header(last_number(&self.resources), write);
        self.scopes.push(header);
    }

    /// Adds a span of the last scope entry. Indices must grow.
    pub(crate) fn add_item(&mut self, index: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.spans);
        self.items.push(Item {
            index,
            scope: last_number(&self.scopes),
            end: self.spans.len(),
        });
    }

    fn write_header(&mut self, parent: u32, write: impl FnOnce(&mut Vec<u8>)) -> Header {
        let start = self.headers.len();
        write(&mut self.headers);
        Header {
            start,
            end: self.headers.len(),
            parent,
        }
    }
}

fn get(headers: &[Header], number: u32) -> Option<&Header> {
    headers.get(usize::try_from(number).ok()?)
}

/// Returns the number of the last entry. A batch has fewer entries than a word can count, because
/// each takes at least two bytes of it.
fn last_number(headers: &[Header]) -> u32 {
    u32::try_from(headers.len().saturating_sub(1)).unwrap_or(u32::MAX)
}
