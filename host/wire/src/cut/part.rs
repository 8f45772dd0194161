//! The parts of a request, and the fields around its items that each part repeats.

use alloc::vec::Vec;

use crate::read::field::Fields;
use crate::write::group::Group;

/// A part of a request, which is a request itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The shard that it is for, if split by trace; the number of the part, if split by size.
    pub shard: usize,
    /// The request.
    pub bytes: Vec<u8>,
    /// The number of items in it.
    pub items: usize,
}

/// The fields around the items that a pass over a request is at: those of the request, of the
/// resource entry and of the scope entry. Each part gets a copy of them.
pub(super) struct Headers {
    request: Vec<u8>,
    resource: Vec<u8>,
    scope: Vec<u8>,
    /// The numbers of the entries that the pass is in, counted from 1.
    resource_number: usize,
    scope_number: usize,
    /// The bytes that copies may still take.
    copies_left: Option<usize>,
}

impl Headers {
    /// Begins a pass. All copies together may take three times the request and 4 MiB: one resource
    /// of many megabytes in front of many small items must not become many times its size in
    /// memory.
    pub(super) fn new(request: &[u8]) -> Self {
        let mut headers = Self {
            request: Vec::new(),
            resource: Vec::new(),
            scope: Vec::new(),
            resource_number: 0,
            scope_number: 0,
            copies_left: Some(request.len().saturating_mul(3).saturating_add(4 << 20)),
        };
        copy_but(&mut headers.request, request, 1);
        headers
    }

    /// Moves to the next resource entry.
    pub(super) fn enter_resource(&mut self, entry: &[u8]) {
        copy_but(&mut self.resource, entry, 2);
        self.resource_number += 1;
    }

    /// Moves to the next scope entry.
    pub(super) fn enter_scope(&mut self, entry: &[u8]) {
        copy_but(&mut self.scope, entry, 2);
        self.scope_number += 1;
    }

    /// Counts a copy against the bytes that are left. Without enough left it returns false, and
    /// nothing more may be written.
    pub(super) fn may_copy(&mut self, bytes: usize) -> bool {
        self.copies_left = self.copies_left.and_then(|left| left.checked_sub(bytes));
        self.copies_left.is_some()
    }

    /// Returns true if all copies were within the bytes that they may take.
    pub(super) fn are_affordable(&self) -> bool {
        self.copies_left.is_some()
    }
}

/// A part that is being written, and the numbers of the entries that are open in it.
#[derive(Default)]
pub(super) struct OpenPart {
    group: Group,
    items: usize,
    /// 0 while nothing is written.
    resource_number: usize,
    scope_number: usize,
}

impl OpenPart {
    /// Returns the number of items that are written.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Returns the bytes that are written.
    pub(super) fn len(&self) -> usize {
        self.group.len()
    }

    /// Returns the bytes of the headers that must be written in front of the next item, with this
    /// many for each entry that must be begun.
    #[inline]
    pub(super) fn missing(&self, headers: &Headers, for_each_entry: usize) -> usize {
        let mut bytes = 0;
        if self.resource_number == 0 {
            bytes += headers.request.len();
        }
        if self.resource_number != headers.resource_number {
            bytes += headers.resource.len() + for_each_entry;
        }
        if self.scope_number != headers.scope_number {
            bytes += headers.scope.len() + for_each_entry;
        }
        bytes
    }

    /// Writes whole fields of a scope entry, and the headers that are missing in front of them.
    /// `room` is the number of bytes that a part gets allocated at its beginning.
    #[inline]
    pub(super) fn write(&mut self, headers: &Headers, fields: &[u8], items: usize, room: usize) {
        if self.resource_number == 0 {
            self.group = Group::with_capacity(room);
            self.group.out().extend_from_slice(&headers.request);
        }
        if self.resource_number != headers.resource_number {
            self.resource_number = headers.resource_number;
            self.group.enter_resource(&headers.resource);
        }
        if self.scope_number != headers.scope_number {
            self.scope_number = headers.scope_number;
            self.group.enter_scope(&headers.scope);
        }
        self.group.out().extend_from_slice(fields);
        self.items += items;
    }

    /// Ends the part. Returns `None` if nothing was written.
    pub(super) fn finish(self, shard: usize) -> Option<Part> {
        (self.resource_number != 0).then(|| Part {
            shard,
            bytes: self.group.finish(),
            items: self.items,
        })
    }
}

/// Copies the fields of a message except those with this number.
fn copy_but(out: &mut Vec<u8>, message: &[u8], number: u32) {
    out.clear();
    for field in Fields::new(message) {
        if field.number != number {
            out.extend_from_slice(field.raw());
        }
    }
}
