//! Makes and reads attributes.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::route::{SERVICES, Service};

/// The values of an HTTP span's ten attributes.
#[derive(Debug)]
pub(super) struct Http {
    pub(super) method: &'static str,
    pub(super) route: String,
    pub(super) path: String,
    pub(super) service: Service,
    pub(super) status: u16,
}

impl Http {
    pub(super) fn new(method: &'static str, route: &str, service: Service) -> Self {
        Self {
            method,
            route: route.to_owned(),
            path: route.to_owned(),
            service,
            status: 200,
        }
    }

    pub(super) fn attributes(self) -> Vec<KeyValue> {
        vec![
            text("http.request.method", self.method),
            text("http.route", self.route),
            text("url.path", self.path),
            text("url.scheme", "http"),
            text("server.address", host(self.service)),
            number("server.port", 8080),
            number("http.response.status_code", self.status),
            text("network.protocol.name", "http"),
            text("network.protocol.version", "1.1"),
            number("thread.id", 17),
        ]
    }
}

/// Returns the attributes of a database span.
pub(super) fn query(system: &str, sql: &str, service: Service) -> Vec<KeyValue> {
    let operation = sql.split(' ').next().unwrap_or_default();
    vec![
        text("db.system.name", system),
        text("db.query.text", sql),
        text("db.operation.name", operation),
        text("db.namespace", "shop"),
        text("db.collection.name", "main"),
        text("server.address", format!("{system}.data.svc")),
        number("server.port", 5432),
        text("network.peer.address", "10.0.4.12"),
        text("network.transport", "tcp"),
        text("peer.service", host(service)),
        number("db.response.returned_rows", 1),
        number("thread.id", 17),
    ]
}

/// Returns the attributes of a span for a service's own work.
pub(super) fn work(name: &str, visit: u64) -> Vec<KeyValue> {
    let visit = i64::try_from(visit).unwrap_or(i64::MAX);
    vec![
        text("code.function.name", name.replace(' ', "_")),
        text("code.file.path", "src/handlers.rs"),
        number("code.line.number", 212),
        number("thread.id", 17),
        text("thread.name", "worker-17"),
        number("shop.visit", visit),
        text("shop.currency", "EUR"),
        text("shop.country", "DE"),
        text("shop.tenant", "main"),
        text("feature_flag.key", "new-basket"),
        text("feature_flag.result.variant", "on"),
        text("deployment.color", "green"),
    ]
}

fn host(service: Service) -> String {
    let name = SERVICES.get(service).copied().unwrap_or("unknown");
    format!("{name}.shop.svc")
}

/// Makes a string attribute.
pub fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// Makes an integer attribute.
pub fn number(key: &str, value: impl Into<i64>) -> KeyValue {
    pair(key, Value::IntValue(value.into()))
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// Returns the value of a string attribute.
pub fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(value) => Some(value),
        _ => None,
    }
}

/// Returns the value of any attribute, as text.
pub fn show(attribute: &KeyValue) -> String {
    let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
    match value {
        Some(Value::StringValue(value)) => value.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
