//! The log: on stderr, for people or as JSON.

mod json;

use spandrel_config::telemetry::{Encoding, Level, Telemetry};
use tracing::Level as TracingLevel;
use tracing_subscriber::EnvFilter;

/// Starts logging. `RUST_LOG`, if set, overrides the configured level.
pub fn start(telemetry: &Telemetry, is_terminal: bool) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(telemetry.level))
        .with_writer(std::io::stderr)
        .with_target(false);
    // Another subscriber exists only if the caller has installed one. It stays.
    let started = match telemetry.encoding {
        Encoding::Console => builder.with_ansi(is_terminal).try_init(),
        Encoding::Json => builder.event_format(json::Json).try_init(),
    };
    started.unwrap_or_default();
}

fn filter(level: Level) -> EnvFilter {
    match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::new(directives),
        _ => EnvFilter::new(directives(level)),
    }
}

fn directives(level: Level) -> String {
    let level = match level {
        Level::Trace => TracingLevel::TRACE,
        Level::Debug => TracingLevel::DEBUG,
        Level::Info => TracingLevel::INFO,
        Level::Warn => TracingLevel::WARN,
        Level::Error => TracingLevel::ERROR,
    };
    if level <= TracingLevel::INFO {
        return level.to_string();
    }
    // A user who asks for the collector's details does not ask for every HTTP/2 frame.
    let quiet = [
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "wasmtime",
        "cranelift_codegen",
        "rustls",
    ];
    let quiet = quiet.map(|name| format!("{name}=info"));
    format!("{level},{}", quiet.join(","))
}
