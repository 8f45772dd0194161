//! The resources and scopes of the current batch.

use std::ops::Deref;

use spandrel_wire::{Operation, PlacedSpan, ResourceSpans, ScopeSpans};

use super::{Batch, Prepared};
use crate::edits::word;
use crate::value::{AttributeValue, write_attribute};
use span::Span;

pub(super) mod span;

/// The start of a resource in its batch: the number of scopes and spans before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    pub(super) scope: u32,
    pub(super) item: u32,
}

/// The source of spans: a process, a host, a service. It is read like a
/// [`wire::Resource`](crate::wire::Resource).
///
/// An edit applies to all its spans that leave with this batch, and to those that are held.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'b> {
    batch: &'b Batch,
    view: spandrel_wire::Resource<'b>,
    spans: ResourceSpans<'b>,
    index: u32,
    /// `None` if the resource was reached through one of its spans.
    start: Option<Start>,
}

impl<'b> Deref for Resource<'b> {
    type Target = spandrel_wire::Resource<'b>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl<'b> Resource<'b> {
    pub(super) fn new(
        batch: &'b Batch,
        spans: ResourceSpans<'b>,
        index: u32,
        start: Start,
    ) -> Self {
        Self {
            batch,
            view: spans.resource(),
            spans,
            index,
            start: Some(start),
        }
    }

    #[inline]
    pub(super) fn of(batch: &'b Batch, placed: &PlacedSpan<'b>) -> Self {
        Self {
            batch,
            view: placed.resource_spans.resource(),
            spans: placed.resource_spans,
            index: placed.resource_index,
            start: None,
        }
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn set_attribute(&self, key: &str, value: impl AttributeValue) {
        self.batch
            .edit(Operation::UpsertResourceAttribute, self.index, |blob| {
                write_attribute(blob, key, &value);
            });
    }

    /// Sets an attribute that was prepared (see [`Batch::prepare`]).
    pub fn set(&self, attribute: Prepared<'b>) {
        self.batch.push(
            Operation::UpsertResourceAttribute,
            self.index,
            attribute.snippet,
        );
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(&self, key: &str) {
        self.batch
            .edit(Operation::DeleteResourceAttribute, self.index, |blob| {
                blob.extend_from_slice(key.as_bytes());
            });
    }

    /// Returns its spans, in batch order.
    pub fn spans(&self) -> impl Iterator<Item = Span<'b>> + use<'b> {
        let Self {
            batch,
            spans: resource_spans,
            index: resource_index,
            ..
        } = *self;
        let mut start = self.start();
        let mut scopes = resource_spans.scope_spans();
        let mut current = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((scope_spans, spans)) = &mut current
                    && let Some(span) = Iterator::next(spans)
                {
                    let index = start.item;
                    start.item = index.wrapping_add(1);
                    return Some(Span::new(
                        batch,
                        PlacedSpan {
                            index,
                            resource_index,
                            scope_index: start.scope.wrapping_sub(1),
                            resource_spans,
                            scope_spans: *scope_spans,
                            span,
                        },
                    ));
                }
                let Some(scope) = scopes.next() else {
                    batch.walked.set(Some((resource_index, start)));
                    return None;
                };
                start.scope = start.scope.wrapping_add(1);
                current = Some((scope, scope.spans()));
            }
        })
    }

    /// Returns its scopes, in batch order.
    pub fn scopes(&self) -> impl Iterator<Item = Scope<'b>> + use<'b> {
        let resource = *self;
        let mut start = self.start();
        self.spans.scope_spans().map(move |spans| {
            let scope = Scope::new(resource, spans, start);
            start.scope = start.scope.wrapping_add(1);
            start.item = start.item.wrapping_add(word(spans.spans().count()));
            scope
        })
    }

    /// Returns the index of the resource in its batch, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the start of the next resource.
    pub(super) fn end(&self) -> Start {
        match self.batch.walked.get() {
            Some((index, end)) if index == self.index => end,
            _ => end_of(self.spans, self.start()),
        }
    }

    fn start(&self) -> Start {
        self.start.unwrap_or_else(|| {
            self.batch
                .traces()
                .resource_spans()
                .take(self.index as usize)
                .fold(Start::default(), |start, spans| end_of(spans, start))
        })
    }
}

fn end_of(spans: ResourceSpans<'_>, begin: Start) -> Start {
    spans.scope_spans().fold(begin, |start, scope| Start {
        scope: start.scope.wrapping_add(1),
        item: start.item.wrapping_add(word(scope.spans().count())),
    })
}

/// A library that makes spans. It is read like a [`wire::Scope`](crate::wire::Scope).
///
/// An edit applies to all its spans that leave with this batch, and to those that are held.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'b> {
    resource: Resource<'b>,
    view: spandrel_wire::Scope<'b>,
    spans: ScopeSpans<'b>,
    index: u32,
    /// The number of spans before its first one; `None` if the scope was reached through one of its
    /// spans.
    first: Option<u32>,
}

impl<'b> Deref for Scope<'b> {
    type Target = spandrel_wire::Scope<'b>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.view
    }
}

impl<'b> Scope<'b> {
    fn new(resource: Resource<'b>, spans: ScopeSpans<'b>, start: Start) -> Self {
        Self {
            resource,
            view: spans.scope(),
            spans,
            index: start.scope,
            first: Some(start.item),
        }
    }

    #[inline]
    pub(super) fn of(batch: &'b Batch, placed: &PlacedSpan<'b>) -> Self {
        Self {
            resource: Resource::of(batch, placed),
            view: placed.scope_spans.scope(),
            spans: placed.scope_spans,
            index: placed.scope_index,
            first: None,
        }
    }

    /// Sets an attribute. It replaces one with the same key.
    pub fn set_attribute(&self, key: &str, value: impl AttributeValue) {
        self.resource
            .batch
            .edit(Operation::UpsertScopeAttribute, self.index, |blob| {
                write_attribute(blob, key, &value);
            });
    }

    /// Sets an attribute that was prepared (see [`Batch::prepare`]).
    pub fn set(&self, attribute: Prepared<'b>) {
        self.resource.batch.push(
            Operation::UpsertScopeAttribute,
            self.index,
            attribute.snippet,
        );
    }

    /// Deletes an attribute, if it is there.
    pub fn delete_attribute(&self, key: &str) {
        self.resource
            .batch
            .edit(Operation::DeleteScopeAttribute, self.index, |blob| {
                blob.extend_from_slice(key.as_bytes());
            });
    }

    /// Returns its spans, in batch order.
    pub fn spans(&self) -> impl Iterator<Item = Span<'b>> + use<'b> {
        let Self {
            resource,
            spans: scope_spans,
            index: scope_index,
            ..
        } = *self;
        (self.first()..)
            .zip(scope_spans.spans())
            .map(move |(index, span)| {
                Span::new(
                    resource.batch,
                    PlacedSpan {
                        index,
                        resource_index: resource.index,
                        scope_index,
                        resource_spans: resource.spans,
                        scope_spans,
                        span,
                    },
                )
            })
    }

    /// Returns the resource that the scope belongs to.
    pub fn resource(&self) -> Resource<'b> {
        self.resource
    }

    /// Returns the index of the scope in its batch, counted through all resources, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    fn first(&self) -> u32 {
        self.first.unwrap_or_else(|| {
            self.resource
                .scopes()
                .find(|scope| scope.index == self.index)
                .and_then(|scope| scope.first)
                .unwrap_or_default()
        })
    }
}
