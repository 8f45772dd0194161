//! Log lines as JSON: `{"timestamp", "level", "fields": {"message", ...}}`. An error has all of its
//! causes.

use std::error::Error;
use std::fmt::{self, Debug};
use std::time::SystemTime;

use serde_json::Value;
use spandrel_collector::time_text::rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let timestamp = rfc3339(SystemTime::now());
        let level = event.metadata().level();
        write!(
            writer,
            r#"{{"timestamp":"{timestamp}","level":"{level}","fields":{{"#
        )?;
        for (index, (name, value)) in fields.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(writer, "{comma}{}:{value}", Value::from(*name))?;
        }
        writeln!(writer, "}}}}")
    }
}

/// The fields in the order in which they were written.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), value.into()));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        // A number that JSON readers cannot represent is written as text.
        let value = u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.0.push((field.name(), value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.0.push((field.name(), text.into()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), format!("{value:?}").into()));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no panic while it was locked")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Layered(#[source] io::Error);

    /// Every line is one JSON object. Numbers stay numbers, an error has its causes, and no value
    /// can break out of the object.
    #[test]
    fn a_line_is_one_json_object() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .event_format(Json)
            .with_writer(move || writer.clone())
            .finish();
        let error = Layered(io::Error::other("no \"room\"\nleft"));
        tracing::subscriber::with_default(subscriber, || {
            let error = &error as &dyn Error;
            tracing::error!(items = 3_u64, error, name = %"a\\b", "it failed");
        });
        let written = sink.0.lock().expect("nobody panicked");
        let text = String::from_utf8(written.clone()).expect("text");
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let fields = &line["fields"];
        assert_eq!(line["level"], "ERROR");
        assert_eq!(fields["message"], "it failed");
        assert_eq!(fields["items"], 3);
        assert_eq!(fields["error"], "cannot start: no \"room\"\nleft");
        assert_eq!(fields["name"], "a\\b");
    }
}
