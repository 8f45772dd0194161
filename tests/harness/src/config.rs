//! A config in an operator's notation, with free ports and parts that a test chooses.

use std::path::Path;

/// The value of `service::telemetry::metrics::readers` that serves `/metrics` on a free port.
pub const METRICS_READERS: &str =
    "[{ pull: { exporter: { prometheus: { host: 127.0.0.1, port: 0 } } } }]";

/// A config with one receiver, one exporter, and the same pipeline for traces, metrics and logs;
/// stages are in the traces pipeline only.
#[derive(Clone, Debug)]
pub struct Config {
    backend: String,
    grpc: String,
    http: Option<String>,
    exporter: String,
    service: String,
    traces: String,
    stages: Vec<(String, String)>,
}

impl Config {
    /// Makes a config that exports to this backend (`http://host:port`).
    pub fn new(backend: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            grpc: String::new(),
            http: None,
            exporter: String::new(),
            service: String::new(),
            traces: String::new(),
            stages: Vec::new(),
        }
    }

    /// Adds a stage at the end of the traces pipeline, named `wasm/NAME`. `keys` are further keys
    /// in YAML's flow style (`on_fault: drop, config: { a: 1 }`).
    #[must_use]
    pub fn stage(mut self, name: &str, module: &Path, keys: &str) -> Self {
        let module = module.display();
        let body = format!("{{ module: \"{module}\"{} }}", more(keys));
        self.stages.push((format!("wasm/{name}"), body));
        self
    }

    /// Adds a stage in the same way, with the whole value of `module` in YAML's flow style.
    #[must_use]
    pub fn stage_at(mut self, name: &str, module: &str, keys: &str) -> Self {
        let body = format!("{{ module: {module}{} }}", more(keys));
        self.stages.push((format!("wasm/{name}"), body));
        self
    }

    /// Sets further keys of the receiver's `grpc`.
    #[must_use]
    pub fn grpc(mut self, keys: &str) -> Self {
        self.grpc = more(keys);
        self
    }

    /// Adds the receiver's `http`, with further keys.
    #[must_use]
    pub fn http(mut self, keys: &str) -> Self {
        self.http = Some(more(keys));
        self
    }

    /// Adds further keys of the exporter.
    #[must_use]
    pub fn exporter(mut self, keys: &str) -> Self {
        self.exporter.push_str(&more(keys));
        self
    }

    /// Adds further keys of the service.
    #[must_use]
    pub fn service(mut self, keys: &str) -> Self {
        self.service.push_str(&more(keys));
        self
    }

    /// Sets further keys of the traces pipeline.
    #[must_use]
    pub fn traces(mut self, keys: &str) -> Self {
        self.traces = more(keys);
        self
    }

    /// Returns the YAML.
    pub fn yaml(&self) -> String {
        let Self {
            backend,
            grpc,
            http,
            exporter,
            service,
            ..
        } = self;
        let http = http.as_ref().map_or_else(String::new, |keys| {
            format!(", http: {{ endpoint: 127.0.0.1:0{keys} }}")
        });
        let mut processors = String::new();
        for (name, body) in &self.stages {
            processors.push_str(&format!("  {name}: {body}\n"));
        }
        if !processors.is_empty() {
            processors.insert_str(0, "processors:\n");
        }
        let names: Vec<&str> = self.stages.iter().map(|(name, _)| name.as_str()).collect();
        let traces = pipeline(&names.join(", "), &self.traces);
        let plain = pipeline("", "");
        format!(
            "\
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0{grpc} }}{http} }} }}
{processors}\
exporters:
  otlp_grpc: {{ endpoint: \"{backend}\"{exporter} }}
extensions:
  health_check: {{ endpoint: 127.0.0.1:0 }}
service: {{ extensions: [health_check], telemetry: {{ logs: {{ encoding: json }}, metrics: {{ readers: {METRICS_READERS} }} }}{service}, pipelines: {{
    traces: {traces}
    metrics: {plain}
    logs: {plain}
  }} }}
"
        )
    }
}

fn pipeline(stages: &str, keys: &str) -> String {
    format!("{{ receivers: [otlp], processors: [{stages}], exporters: [otlp_grpc]{keys} }},")
}

/// Formats keys that follow others.
fn more(keys: &str) -> String {
    if keys.is_empty() {
        String::new()
    } else {
        format!(", {keys}")
    }
}
