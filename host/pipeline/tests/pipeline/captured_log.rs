//! The log of this thread, for tests of messages to the operator.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// The values of one field in all events with this message, while it lives.
pub(crate) struct Heard {
    values: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Heard {
    pub(crate) fn start(message: &'static str, field: &'static str) -> Self {
        let values = Arc::default();
        let ear = Ear {
            message,
            field,
            values: Arc::clone(&values),
        };
        Self {
            values,
            _guard: tracing::subscriber::set_default(ear),
        }
    }

    pub(crate) fn values(&self) -> Vec<String> {
        self.values.lock().unwrap().clone()
    }
}

struct Ear {
    message: &'static str,
    field: &'static str,
    values: Arc<Mutex<Vec<String>>>,
}

#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl Subscriber for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let find = |name| {
            let mut fields = fields.0.iter();
            fields.find_map(|(known, value)| (*known == name).then(|| value.clone()))
        };
        if find("message").as_deref() == Some(self.message) {
            self.values.lock().unwrap().extend(find(self.field));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
