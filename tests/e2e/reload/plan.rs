//! A configuration as data, so that it can be edited, written and compared with the collector's
//! views.

use std::collections::BTreeMap;
use std::path::PathBuf;

use spandrel_tests::config::METRICS_READERS;

/// A configuration. Names are written as in YAML.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Further keys of each receiver's `grpc`.
    pub(super) receivers: BTreeMap<String, String>,
    pub(super) processors: BTreeMap<String, Stage>,
    /// Each exporter in YAML's flow style.
    pub(super) exporters: BTreeMap<String, String>,
    pub(super) pipelines: BTreeMap<String, Joined>,
    /// Further keys of `service`.
    pub(super) service: String,
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) module: PathBuf,
    pub(super) config: String,
    /// The memory limit of each instance, which is a part of the generation.
    pub(super) memory_mib: u32,
    pub(super) on_fault: &'static str,
    /// The limit of held items, which is a policy of the stage.
    pub(super) held_items: u32,
}

/// One pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) receivers: Vec<String>,
    pub(super) stages: Vec<String>,
    pub(super) batch: bool,
    pub(super) exporters: Vec<String>,
    pub(super) ack_on: &'static str,
}

impl Stage {
    pub(super) fn new(module: PathBuf, config: &str) -> Self {
        Self {
            module,
            config: config.to_owned(),
            memory_mib: 64,
            on_fault: "pass",
            held_items: 100_000,
        }
    }

    /// Returns true if both are the same generation.
    pub(super) fn is_made_as(&self, other: &Self) -> bool {
        let made = |stage: &Self| {
            let Self {
                module,
                config,
                memory_mib,
                ..
            } = stage.clone();
            (module, config, memory_mib)
        };
        made(self) == made(other)
    }

    /// Returns the processor in YAML's flow style. Edits of a sampler are intended here, so a
    /// probation must not undo them.
    fn yaml(&self) -> String {
        let Self {
            module,
            config,
            memory_mib,
            on_fault,
            held_items,
        } = self;
        let module = module.display();
        format!(
            "{{ module: \"{module}\", config: {config}, on_fault: {on_fault}, \
             limits: {{ memory_mib: {memory_mib}, held_items: {held_items} }}, \
             probation: {{ max_drop_increase: 1, max_latency_ratio: 1000000 }} }}"
        )
    }
}

impl Joined {
    /// Makes a pipeline from `receivers` to `exporters`, without stages.
    pub(super) fn new(receivers: &[&str], exporters: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self {
            receivers: owned(receivers),
            exporters: owned(exporters),
            ack_on: "queue",
            ..Self::default()
        }
    }

    /// Sets the stages.
    pub(super) fn through(mut self, stages: &[&str]) -> Self {
        self.stages = stages.iter().map(ToString::to_string).collect();
        self
    }

    fn yaml(&self) -> String {
        let mut processors = self.stages.clone();
        if self.batch {
            processors.push("batch".to_owned());
        }
        format!(
            "{{ receivers: [{}], processors: [{}], exporters: [{}], ack_on: {} }}",
            self.receivers.join(", "),
            processors.join(", "),
            self.exporters.join(", "),
            self.ack_on
        )
    }
}

impl Plan {
    /// Makes a plan with a receiver `otlp`, an exporter `otlp_grpc` to this backend, and the
    /// pipeline `traces`. The file is not watched: a test that changes it asks for a reload.
    pub(super) fn new(backend: &str) -> Self {
        let mut plan = Self {
            service: "  watch: false\n".to_owned(),
            ..Self::default()
        };
        plan.receiver("otlp", "");
        plan.exporter("otlp_grpc", &format!("{{ endpoint: \"{backend}\" }}"));
        plan.pipeline("traces", Joined::new(&["otlp"], &["otlp_grpc"]));
        plan
    }

    /// Makes the collector watch the file.
    pub(super) fn watched(mut self) -> Self {
        self.service.clear();
        self
    }

    pub(super) fn receiver(&mut self, name: &str, grpc: &str) {
        self.receivers.insert(name.to_owned(), grpc.to_owned());
    }

    pub(super) fn exporter(&mut self, name: &str, body: &str) {
        self.exporters.insert(name.to_owned(), body.to_owned());
    }

    pub(super) fn stage(&mut self, name: &str, stage: Stage) {
        self.processors.insert(name.to_owned(), stage);
    }

    pub(super) fn pipeline(&mut self, name: &str, joined: Joined) {
        self.pipelines.insert(name.to_owned(), joined);
    }

    /// Returns the pipelines that contain a stage.
    pub(super) fn with_stage(&self, name: &str) -> Vec<String> {
        let stands = |joined: &Joined| joined.stages.iter().any(|known| known == name);
        let standing = self.pipelines.iter().filter(|(_, joined)| stands(joined));
        standing.map(|(id, _)| id.clone()).collect()
    }

    /// Returns true if a pipeline names this receiver: others are not started.
    pub(super) fn listens(&self, name: &str) -> bool {
        let mut receivers = self.pipelines.values().flat_map(|joined| &joined.receivers);
        receivers.any(|known| known == name)
    }

    pub(super) fn yaml(&self) -> String {
        let mut text = String::from("receivers:\n");
        for (name, grpc) in &self.receivers {
            let more = if grpc.is_empty() { "" } else { ", " };
            let grpc = format!("{{ endpoint: 127.0.0.1:0{more}{grpc} }}");
            text.push_str(&format!("  {name}: {{ protocols: {{ grpc: {grpc} }} }}\n"));
        }
        text.push_str("processors:\n  batch: { timeout: 20ms, send_batch_size: 200 }\n");
        for (name, stage) in &self.processors {
            text.push_str(&format!("  {name}: {}\n", stage.yaml()));
        }
        text.push_str("exporters:\n");
        for (name, body) in &self.exporters {
            text.push_str(&format!("  {name}: {body}\n"));
        }
        text.push_str("extensions: { health_check: { endpoint: 127.0.0.1:0 } }\nservice:\n");
        text.push_str("  extensions: [health_check]\n");
        text.push_str(&format!(
            "  telemetry: {{ logs: {{ encoding: json }}, metrics: {{ readers: {METRICS_READERS} }} }}\n"
        ));
        text.push_str(&self.service);
        text.push_str("  pipelines:\n");
        for (name, joined) in &self.pipelines {
            text.push_str(&format!("    {name}: {}\n", joined.yaml()));
        }
        text
    }
}
