//! The collector's config: four plugins between a receiver and an exporter, on free ports.

use std::path::Path;

/// The stages, in the order of the pipeline, as their metrics name them.
pub(crate) const STAGES: [&str; 4] = [
    "wasm/drop_health_checks",
    "wasm/drop_duplicates",
    "wasm/tag_by_service",
    "wasm/keep_interesting_traces",
];

/// The attribute that `tag-by-service` adds to every span of the shop.
pub(crate) const TAG: &str = "team";

/// Returns the config that an operator would write, with the demo's ports.
pub(crate) fn config(plugins: &Path, backend: &str) -> String {
    let plugins = plugins.display();
    format!(
        r#"
receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }} }} }}
processors:
  wasm/drop_health_checks:
    module: "{plugins}/drop_health_checks.wasm"
    config: {{}}
  wasm/drop_duplicates:
    module: "{plugins}/drop_duplicates.wasm"
    config: {{ window: 30s }}
  wasm/tag_by_service:
    module: "{plugins}/tag_by_service.wasm"
    config:
      target: both
      services:
        frontend: {{ team: storefront, tier: "1" }}
        checkout: {{ team: orders, tier: "1" }}
        payment: {{ team: orders, tier: "1" }}
        ca*: {{ team: storefront, tier: "2" }}
      default: {{ team: logistics, tier: "3" }}
  wasm/keep_interesting_traces:
    module: "{plugins}/keep_interesting_traces.wasm"
    config: {{ errors: true, slow: 1s, ratio: 0.2, settle: 500ms, timeout: 1s }}
exporters:
  otlp_grpc: {{ endpoint: "{backend}" }}
extensions:
  health_check: {{ endpoint: 127.0.0.1:0 }}
service:
  telemetry:
    logs: {{ encoding: json }}
    metrics: {{ readers: [{{ pull: {{ exporter: {{ prometheus: {{ host: 127.0.0.1, port: 0 }} }} }} }}] }}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [wasm/drop_health_checks, wasm/drop_duplicates, wasm/tag_by_service, wasm/keep_interesting_traces]
      exporters: [otlp_grpc]
"#
    )
}
