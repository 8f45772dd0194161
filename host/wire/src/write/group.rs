//! Writes a request item by item, with the items of one scope and resource together.

use alloc::vec::Vec;
use core::ops::Range;

use super::nested::{self, OpenField};

/// The expected length of an entry when it is begun: lengths from 128 bytes to 16 KiB then fit the
/// room that they were given.
const USUAL: usize = 1024;

/// A request that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    out: Vec<u8>,
    resource: Option<OpenEntry>,
    scope: Option<OpenEntry>,
}

#[derive(Clone, Debug)]
struct OpenEntry {
    field: OpenField,
    header: Range<usize>,
}

impl Group {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Returns the bytes that are written, to append whole fields of the open entry, or of the
    /// request if none is open.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Returns the number of bytes that are written.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    /// Begins a resource entry with these fields.
    pub(crate) fn enter_resource(&mut self, header: &[u8]) {
        self.leave();
        self.resource = Some(enter(&mut self.out, 1, header));
    }

    /// Begins a scope entry with these fields, in the open resource entry.
    pub(crate) fn enter_scope(&mut self, header: &[u8]) {
        self.leave_scope();
        self.scope = Some(enter(&mut self.out, 2, header));
    }

    /// Returns the fields that the open resource entry was begun with.
    pub(crate) fn resource_header(&self) -> Option<&[u8]> {
        self.out.get(self.resource.as_ref()?.header.clone())
    }

    /// Returns the fields that the open scope entry was begun with.
    pub(crate) fn scope_header(&self) -> Option<&[u8]> {
        self.out.get(self.scope.as_ref()?.header.clone())
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.leave();
        self.out
    }

    fn leave(&mut self) {
        self.leave_scope();
        if let Some(resource) = self.resource.take() {
            nested::end(&mut self.out, resource.field);
        }
    }

    fn leave_scope(&mut self) {
        if let Some(scope) = self.scope.take() {
            nested::end(&mut self.out, scope.field);
        }
    }
}

fn enter(out: &mut Vec<u8>, field: u32, header: &[u8]) -> OpenEntry {
    let field = nested::begin(out, field, USUAL);
    let start = out.len();
    out.extend_from_slice(header);
    OpenEntry {
        field,
        header: start..out.len(),
    }
}
