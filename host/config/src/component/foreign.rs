//! Types of components that the OpenTelemetry Collector has and Spandrel does not, with the
//! alternative here.

/// Returns the alternative to a component of this type; `what` is `receiver`, `processor`,
/// `exporter` or `extension`. `None` for an unknown type.
pub(crate) fn instead(what: &str, kind: &str) -> Option<&'static str> {
    match what {
        "receiver" => receiver(kind),
        "processor" => processor(kind),
        "exporter" => exporter(kind),
        "extension" => extension(kind),
        _ => None,
    }
}

const OTLP_CLIENTS: &str = "no receiver here speaks that: let a Collector in front translate it, and send OTLP/gRPC to `otlp`";

fn receiver(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "jaeger" | "zipkin" | "opencensus" | "skywalking" | "datadog" | "awsxray" | "kafka"
        | "prometheus" | "hostmetrics" | "filelog" | "fluentforward" | "k8s_cluster"
        | "k8s_events" | "kubeletstats" | "journald" | "syslog" | "statsd" => OTLP_CLIENTS,
        "otlpjsonfile" | "otlp_json_file" => "the receiver `file` reads OTLP/JSON lines",
        _ => return None,
    })
}

fn processor(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "tail_sampling" => {
            "the example plugin keep-interesting-traces does that job: `wasm/sample: { module: ... }`, \
             see examples/keep-interesting-traces"
        }
        "probabilistic_sampler" => {
            "the example plugin keep-interesting-traces does that job with `errors: false, slow: 0s, \
             ratio: 0.1`, see examples/keep-interesting-traces"
        }
        "groupbytrace" => {
            "no example does only that: keep-interesting-traces holds the spans of a trace together \
             and judges them, see examples/keep-interesting-traces"
        }
        "filter" => {
            "the example plugin drop-health-checks drops spans by route, name and attributes; for other \
             rules begin with it, see examples/drop-health-checks"
        }
        "attributes" | "resource" => {
            "the example plugin tag-by-service adds attributes to spans and resources; for other rules \
             begin with it, see examples/tag-by-service"
        }
        "logdedup" | "log_dedup" => {
            "no example does that for logs; the example plugin drop-duplicates does it for spans, see \
             examples/drop-duplicates"
        }
        "k8sattributes" | "k8s_attributes" | "resourcedetection" | "resource_detection"
        | "geoip" | "dnslookup" | "lookup" => {
            "no example does that, and plugins have no network: let the SDKs or a Collector in front add \
             them, or add them from a table as examples/tag-by-service does"
        }
        "redaction" | "transform" | "span" | "groupbyattrs" | "schema" | "unroll" | "sumologic"
        | "coralogix" | "remotetap" | "datadogsemantics" | "spanpruning" => {
            "no example does that: write a plugin that does, see guest/README.md, and begin with \
             examples/tag-by-service, which edits spans and resources"
        }
        "cumulativetodelta" | "deltatocumulative" | "deltatorate" | "interval"
        | "metricsgeneration" | "metricstarttime" | "metricstransform" | "isolationforest"
        | "logstransform" => {
            "no plugin does that: plugins take traces only, and metrics and logs pass as they are"
        }
        "routing" => "name the exporters in each pipeline: there is no routing by content",
        "queued_retry" => {
            "remove it, and write `sending_queue` and `retry_on_failure` at the exporter"
        }
        _ => return None,
    })
}

fn exporter(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "otlphttp" | "otlp_http" => {
            "use `otlp_grpc` with the port for gRPC of the backend, which is mostly 4317"
        }
        "logging" => "use `debug`, its name of today",
        "jaeger" | "jaeger_thrift" => "use `otlp_grpc`: Jaeger takes OTLP/gRPC on port 4317",
        "loadbalancing" | "load_balancing" => {
            "no exporter here spreads traces over backends: put a Collector with `loadbalancing` in front"
        }
        "zipkin"
        | "kafka"
        | "prometheus"
        | "prometheusremotewrite"
        | "elasticsearch"
        | "datadog"
        | "loki"
        | "clickhouse"
        | "googlecloud"
        | "awsxray"
        | "azuremonitor"
        | "splunk_hec" => {
            "no exporter here speaks that: send OTLP to a Collector that does, or to the backend's own \
             OTLP endpoint, with `otlp_grpc`"
        }
        _ => return None,
    })
}

fn extension(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "file_storage" | "db_storage" | "redis_storage" => {
            "remove it, and write `durability: { dir: ... }` at the pipeline: more than the queue is \
             kept then"
        }
        "healthcheckv2" | "health_check_v2" => {
            "use `health_check`, which has /livez and /readyz, too"
        }
        "memory_ballast" => "remove it: there is no garbage collector here",
        "memory_limiter" => "use the processor `memory_limiter`",
        "zpages" => "use `admin`: `spandrel plugin ls` and `spandrel plugin show` tell what runs",
        "pprof" => "remove it: a profiler of the system, such as perf, sees the whole program",
        "opamp" => {
            "remove it, and write the configuration file: a changed one comes into force by itself"
        }
        "headers_setter" => "write `headers` at the exporter: they cannot be taken from a request",
        "oauth2client" | "oidc" | "sigv4auth" | "asapclient" | "googleclientauth" | "azureauth" => {
            "use `bearertokenauth` with a `filename`, and let something else renew that file"
        }
        _ => return None,
    })
}
