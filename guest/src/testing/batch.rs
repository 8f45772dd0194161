//! Batches for tests.

use std::cell::Cell;
use std::time::Duration;

use spandrel_wire::{SpanKind, Status, StatusCode};

use crate::created::{NewEvent, NewLink, NewResource, NewSpan};
use crate::host;
use crate::value::AttributeValue;

thread_local! {
    /// The next id. Ids are given in order: each span of a test has its own, and they are the same
    /// in each run.
    static NEXT_ID: Cell<u64> = const { Cell::new(1) };
}

fn next_id() -> u64 {
    let id = NEXT_ID.get();
    NEXT_ID.set(id + 1);
    id
}

/// A batch under construction. Resources, scopes and spans are in the order of the calls.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TestBatch {
    complete: Vec<u8>,
    resource: Option<NewResource>,
}

impl TestBatch {
    /// Makes a batch without spans.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a resource with this `service.name`.
    pub fn service(self, name: &str) -> Self {
        self.resource().resource_attribute("service.name", name)
    }

    /// Begins a resource without attributes.
    pub fn resource(mut self) -> Self {
        self.end_resource();
        self.resource = Some(NewResource::new());
        self
    }

    /// Adds an attribute to the resource.
    pub fn resource_attribute(self, key: &str, value: impl AttributeValue) -> Self {
        self.with_resource(|resource| resource.attribute(key, value))
    }

    /// Begins a scope.
    pub fn scope(self, name: &str, version: &str) -> Self {
        self.with_resource(|resource| resource.scope(name, version))
    }

    /// Adds a span: a root with ids of its own that took 10 ms, unless `build` changes that.
    pub fn span(self, name: &str, build: impl FnOnce(TestSpan) -> TestSpan) -> Self {
        let span = build(TestSpan::new(name)).into_span();
        self.with_resource(|resource| resource.span(&span))
    }

    /// Returns the serialized request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut batch = self.clone();
        batch.end_resource();
        batch.complete
    }

    fn with_resource(mut self, change: impl FnOnce(NewResource) -> NewResource) -> Self {
        self.resource = Some(change(self.resource.take().unwrap_or_default()));
        self
    }

    fn end_resource(&mut self) {
        if let Some(resource) = self.resource.take() {
            resource.put(&mut self.complete);
        }
    }
}

/// A span of a [`TestBatch`] under construction.
#[derive(Clone, Debug)]
#[must_use]
pub struct TestSpan {
    name: String,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    start: u64,
    end: Option<u64>,
    duration: Duration,
    build: NewSpan,
}

impl TestSpan {
    fn new(name: &str) -> Self {
        let id = next_id();
        Self {
            name: name.to_owned(),
            trace: id.into(),
            id,
            parent: None,
            start: host::now(),
            end: None,
            duration: Duration::from_millis(10),
            build: NewSpan::empty(),
        }
    }

    /// Sets its trace.
    pub fn trace(mut self, trace: u128) -> Self {
        self.trace = trace;
        self
    }

    /// Sets its own id.
    pub fn id(mut self, id: u64) -> Self {
        self.id = id;
        self
    }

    /// Sets its parent: then it is not a root.
    pub fn parent(mut self, id: u64) -> Self {
        self.parent = Some(id);
        self
    }

    /// Sets its start, in nanoseconds since the Unix epoch. The default is the host's wall clock.
    pub fn start(mut self, time: u64) -> Self {
        self.start = time;
        self
    }

    /// Sets its duration.
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Sets the status "error".
    pub fn error(self, message: &str) -> Self {
        self.status(Status {
            code: StatusCode::Error,
            message,
        })
    }

    /// Sets its status.
    pub fn status(mut self, status: Status<'_>) -> Self {
        self.build = self.build.status(status);
        self
    }

    /// Sets its role in a call.
    pub fn kind(mut self, kind: SpanKind) -> Self {
        self.build = self.build.kind(kind);
        self
    }

    /// Adds an attribute.
    pub fn attribute(mut self, key: &str, value: impl AttributeValue) -> Self {
        self.build = self.build.attribute(key, value);
        self
    }

    /// Adds an event without attributes at the span's start.
    pub fn event(self, name: &str) -> Self {
        self.event_with(name, |event| event)
    }

    /// Adds an event at the span's start, unless `build` changes that:
    /// `span.event_with("exception", |event| event.attribute("exception.type", "IOException"))`.
    pub fn event_with(mut self, name: &str, build: impl FnOnce(NewEvent) -> NewEvent) -> Self {
        let event = build(NewEvent::new(self.start, name));
        self.build = self.build.add_event(&event);
        self
    }

    /// Adds a link to another span.
    pub fn link(mut self, link: &NewLink) -> Self {
        self.build = self.build.add_link(link);
        self
    }

    /// Sets the W3C `tracestate`.
    pub fn trace_state(mut self, trace_state: &str) -> Self {
        self.build = self.build.trace_state(trace_state);
        self
    }

    /// Sets the flags: W3C flags in the low 8 bits, OTLP's own above.
    pub fn flags(mut self, flags: u32) -> Self {
        self.build = self.build.flags(flags);
        self
    }

    /// Sets its end, in nanoseconds since the Unix epoch. It may be before the start.
    pub fn end(mut self, time: u64) -> Self {
        self.end = Some(time);
        self
    }

    fn into_span(self) -> NewSpan {
        let lasting = u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX);
        let span = NewSpan::new(self.trace.to_be_bytes(), self.id.to_be_bytes(), &self.name).times(
            self.start,
            self.end.unwrap_or(self.start.saturating_add(lasting)),
        );
        let span = match self.parent {
            Some(parent) => span.parent(parent.to_be_bytes()),
            None => span,
        };
        span.followed_by(&self.build)
    }
}
