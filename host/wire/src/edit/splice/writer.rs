//! Writes the part of a request that is left, in one pass over it.

use alloc::vec::Vec;

use crate::edit::edits::Edit;
use crate::edit::held_items::HeldItems;
use crate::edit::target_edits::{RESOURCE_ATTRIBUTE, SCOPE_ATTRIBUTE, TargetEdits};
use crate::edit::verdict::Verdict;
use crate::read::field::{Fields, skip_field};
use crate::write::nested::{self, OpenField, write_nested};

/// The key of a scope in its entry.
const SCOPE: u32 = 1 << 3 | 2;
/// The key of a span in its scope's entry.
const SPAN: u32 = 2 << 3 | 2;

/// Copies a request in runs as long as possible. A run ends where something changes. Only then are
/// the headers of the entries around the change written anew, so that entries without a change are
/// copied as they are.
pub(crate) struct Writer<'a> {
    request: &'a [u8],
    verdicts: &'a [u8],
    blob: &'a [u8],
    items: Cursor<'a>,
    resources: Cursor<'a>,
    scopes: Cursor<'a>,
    target: TargetEdits<'a>,
    /// The offset in the request of the run that is not copied yet.
    run: usize,
    index: u32,
    resource: Entry<'a>,
    scope: Entry<'a>,
    out: Vec<u8>,
    held: HeldItems,
}

/// The resource or scope entry that the pass is in.
#[derive(Clone, Copy, Default)]
struct Entry<'a> {
    /// The offset of its field in the request.
    start: usize,
    body: &'a [u8],
    /// The offset of its content in the request.
    body_start: usize,
    /// The edits of the resource or scope itself.
    edits: &'a [Edit],
    /// The beginning of its new header, once something in it changed.
    opened: Option<OpenField>,
    /// True if it is among the held headers.
    held: bool,
    kept: usize,
    lost: usize,
}

impl<'a> Entry<'a> {
    fn new(body: &'a [u8], start: usize, end: usize, edits: &'a [Edit]) -> Self {
        Self {
            start,
            body,
            body_start: end - body.len(),
            edits,
            ..Self::default()
        }
    }

    fn end(&self) -> usize {
        self.body_start + self.body.len()
    }
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        request: &'a [u8],
        verdicts: &'a [u8],
        [items, resources, scopes]: [&'a [Edit]; 3],
        blob: &'a [u8],
    ) -> Self {
        Self {
            request,
            verdicts,
            blob,
            items: Cursor::new(items),
            resources: Cursor::new(resources),
            scopes: Cursor::new(scopes),
            target: TargetEdits::default(),
            run: 0,
            index: 0,
            resource: Entry::default(),
            scope: Entry::default(),
            out: Vec::new(),
            held: HeldItems::default(),
        }
    }

    pub(crate) fn with_room(mut self, out: usize, held: HeldItems) -> Self {
        self.out = Vec::with_capacity(out);
        self.held = held;
        self
    }

    /// Makes the pass. Returns the request that is left, and the held items.
    pub(crate) fn run(mut self) -> (Vec<u8>, HeldItems) {
        let mut at = 0;
        let mut number = 0;
        for field in Fields::new(self.request) {
            let start = at;
            at += field.len();
            if let Some(body) = field.message(1) {
                let edits = self.resources.take(number);
                self.resource = Entry::new(body, start, at, edits);
                self.resource_entry();
                number += 1;
            }
        }
        self.copy_until(self.request.len());
        self.held.shrink();
        if self.out.capacity() / 4 * 3 > self.out.len() {
            self.out.shrink_to_fit();
        }
        (self.out, self.held)
    }

    fn resource_entry(&mut self) {
        let edited = !self.resource.edits.is_empty();
        if edited {
            self.open_resource();
            self.target.read(self.resource.edits, self.blob);
            write_own(
                &mut self.out,
                &mut self.target,
                &self.resource,
                RESOURCE_ATTRIBUTE,
            );
        }
        let mut at = self.resource.body_start;
        for field in Fields::new(self.resource.body) {
            let start = at;
            at += field.len();
            match (field.number, field.message(field.number)) {
                (1, Some(_)) if edited => self.cut(start, at),
                (2, Some(body)) => {
                    let edits = self.scopes.next();
                    self.scope = Entry::new(body, start, at, edits);
                    self.scope_entry();
                }
                _ => {}
            }
        }
        let resource = self.resource;
        self.close(&resource);
    }

    fn scope_entry(&mut self) {
        let edited = !self.scope.edits.is_empty();
        if edited {
            self.open_scope();
            self.target.read(self.scope.edits, self.blob);
            write_own(
                &mut self.out,
                &mut self.target,
                &self.scope,
                SCOPE_ATTRIBUTE,
            );
        }
        let end = self.scope.end();
        let mut rest = self.scope.body;
        while let Some(skipped) = skip_field(rest) {
            let from = end - rest.len();
            rest = skipped.rest;
            match skipped.key {
                SCOPE if edited => self.cut(from, end - rest.len()),
                SPAN => self.span(skipped.content, from, end - rest.len()),
                _ => {}
            }
        }
        let scope = self.scope;
        self.resource.kept += scope.kept;
        self.resource.lost += scope.lost;
        self.close(&scope);
    }

    #[inline]
    fn span(&mut self, span: &'a [u8], start: usize, end: usize) {
        let index = self.index;
        self.index = index.wrapping_add(1);
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let verdict = Verdict::from_byte(self.verdicts.get(place).copied().unwrap_or_default());
        let edits = self.items.take(index);
        if verdict == Verdict::Keep {
            self.scope.kept += 1;
            if edits.is_empty() {
                return;
            }
        } else {
            self.scope.lost += 1;
        }
        self.open_scope();
        self.cut(start, end);
        match verdict {
            Verdict::Keep => {
                self.target.read_span(edits, self.blob);
                self.target.write_span_field(&mut self.out, span);
            }
            Verdict::Hold => self.hold(index, span, edits),
            Verdict::Drop(_) | Verdict::Undisposed => {}
        }
    }

    fn hold(&mut self, index: u32, span: &'a [u8], edits: &'a [Edit]) {
        let (target, blob) = (&mut self.target, self.blob);
        if !self.resource.held {
            self.resource.held = true;
            let resource = &self.resource;
            self.held.add_resource(|out| {
                write_header(out, target, blob, resource, RESOURCE_ATTRIBUTE);
            });
        }
        if !self.scope.held {
            self.scope.held = true;
            let scope = &self.scope;
            self.held
                .add_scope(|out| write_header(out, target, blob, scope, SCOPE_ATTRIBUTE));
        }
        self.held.add_item(index, |out| {
            if edits.is_empty() {
                out.extend_from_slice(span);
            } else {
                target.read(edits, blob);
                target.write_span(out, span);
            }
        });
    }

    fn open_resource(&mut self) {
        if self.resource.opened.is_none() {
            self.copy_until(self.resource.start);
            let open = nested::begin(&mut self.out, 1, self.resource.body.len());
            self.resource.opened = Some(open);
            self.run = self.resource.body_start;
        }
    }

    #[inline]
    fn open_scope(&mut self) {
        if self.scope.opened.is_none() {
            self.open_resource();
            self.copy_until(self.scope.start);
            let open = nested::begin(&mut self.out, 2, self.scope.body.len());
            self.scope.opened = Some(open);
            self.run = self.scope.body_start;
        }
    }

    /// Ends an entry that was written anew: with its last bytes, or by removing it if it lost its
    /// last span.
    fn close(&mut self, entry: &Entry<'a>) {
        let Some(open) = entry.opened else {
            return;
        };
        if entry.kept == 0 && entry.lost > 0 {
            nested::cancel(&mut self.out, open);
            self.run = entry.end();
        } else {
            self.copy_until(entry.end());
            nested::end(&mut self.out, open);
        }
    }

    /// Leaves out a part of the request, and copies what is before it.
    #[inline]
    fn cut(&mut self, start: usize, end: usize) {
        self.copy_until(start);
        self.run = end;
    }

    #[inline]
    fn copy_until(&mut self, end: usize) {
        let run = self.request.get(self.run..end).unwrap_or_default();
        self.out.extend_from_slice(run);
        self.run = end;
    }
}

/// Writes the resource or scope of an entry, with the edits that `target` has read.
fn write_own(out: &mut Vec<u8>, target: &mut TargetEdits<'_>, entry: &Entry<'_>, attribute: u32) {
    write_nested(out, 1, |out| {
        target.write_pieces(out, entry.body, attribute)
    });
}

/// Writes all fields of an entry except the entries or spans in it.
fn write_header<'a>(
    out: &mut Vec<u8>,
    target: &mut TargetEdits<'a>,
    blob: &'a [u8],
    entry: &Entry<'a>,
    attribute: u32,
) {
    let edited = !entry.edits.is_empty();
    if edited {
        target.read(entry.edits, blob);
        write_own(out, target, entry, attribute);
    }
    for field in Fields::new(entry.body) {
        if field.number != 2 && !(edited && field.number == 1) {
            out.extend_from_slice(field.raw());
        }
    }
}

/// The edits of one kind of target, in order of index.
struct Cursor<'a> {
    edits: &'a [Edit],
    next: u32,
}

impl<'a> Cursor<'a> {
    fn new(edits: &'a [Edit]) -> Self {
        Self { edits, next: 0 }
    }

    /// Returns the edits of this target. Targets must be asked for in order.
    #[inline]
    fn take(&mut self, index: u32) -> &'a [Edit] {
        match self.edits.first() {
            Some(first) if first[1] == index => {}
            _ => return &[],
        }
        let count = self
            .edits
            .iter()
            .take_while(|edit| edit[1] == index)
            .count();
        let (taken, rest) = self.edits.split_at_checked(count).unwrap_or_default();
        self.edits = rest;
        taken
    }

    /// Returns the edits of the next target.
    fn next(&mut self) -> &'a [Edit] {
        let index = self.next;
        self.next = index.wrapping_add(1);
        self.take(index)
    }
}
