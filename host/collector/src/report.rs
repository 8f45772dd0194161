//! The answers and requests of the admin API, as JSON. The command line reads the same shapes.
//!
//! Times are RFC 3339 in UTC with milliseconds, durations are milliseconds, digests are hex. A
//! missing key means "none".

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `GET /v1/pipelines`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PipelineView {
    /// The name of the pipeline.
    pub name: String,
    /// The signal: `traces`, `metrics` or `logs`.
    pub signal: String,
    /// The receivers that lead to it.
    pub receivers: Vec<String>,
    /// Its stages, in their order.
    pub stages: Vec<String>,
    /// Its exporters.
    pub exporters: Vec<String>,
    /// The number of its shards; 0 without stages.
    pub shards: usize,
    /// Its ledger as it is now.
    pub ledger: LedgerView,
}

/// Columns of a ledger, as pairs of name and items, in their order.
#[derive(Clone, Debug, Default)]
pub struct LedgerColumns(pub Vec<(String, u64)>);

impl Serialize for LedgerColumns {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, items)| (name, items)))
    }
}

impl<'de> Deserialize<'de> for LedgerColumns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ColumnsVisitor)
    }
}

/// Reads columns in the order in which they come.
struct ColumnsVisitor;

impl<'de> Visitor<'de> for ColumnsVisitor {
    type Value = LedgerColumns;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from names to numbers of items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LedgerColumns, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = map.next_entry()? {
            columns.push(column);
        }
        Ok(LedgerColumns(columns))
    }
}

/// The places of all items of a pipeline: `received + created + replayed` is the sum of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LedgerView {
    /// The columns in front of the last stage, each under its own key.
    #[serde(flatten)]
    pub columns: LedgerColumns,
    /// True if every item has its place.
    pub balanced: bool,
    /// Its stages, in their order.
    pub stages: Vec<StageLedger>,
    /// Its exporters.
    pub exporters: Vec<ExporterLedger>,
}

/// One stage's column of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageLedger {
    /// The stage.
    pub stage: String,
    /// Its columns that count items, each under its own key.
    #[serde(flatten)]
    pub columns: LedgerColumns,
    /// Dropped items, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// The figures of each generation that is remembered.
    pub generations: Vec<FiguresView>,
}

/// One exporter's column of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExporterLedger {
    /// The exporter.
    pub exporter: String,
    /// Its columns, each under its own key.
    #[serde(flatten)]
    pub columns: LedgerColumns,
}

/// The figures of a generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct FiguresView {
    /// The number of the generation.
    pub generation: u64,
    /// Items that came in.
    pub input: u64,
    /// Items that went on.
    pub output: u64,
    /// Items that it dropped.
    pub dropped: u64,
    /// Calls of the plugin.
    pub calls: u64,
    /// Calls that failed.
    pub faults: u64,
    /// Items that passed it without a judgement because it failed or held them for too long.
    #[serde(default)]
    pub bypassed: u64,
    /// Mean time of a call, in microseconds.
    pub call_us: u64,
}

/// `GET /v1/stages`, and `GET /v1/stages/NAME` for one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StageView {
    /// The key of the stage in the configuration.
    pub stage: String,
    /// The pipelines that contain it.
    pub pipelines: Vec<String>,
    /// The generation that runs.
    pub running: GenerationView,
    /// The generation that a rollback brings back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<GenerationView>,
    /// The generation that runs beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<GenerationView>,
    /// The step of a swap that is under way: `loading`, `probing`, `publishing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<String>,
    /// Items that its plugin holds now.
    pub held: u64,
    /// The size of the held items, in bytes.
    pub held_bytes: u64,
    /// Shards whose breaker is open now.
    pub breakers_open: u64,
    /// Batches that are in quarantine now.
    pub quarantined: u64,
    /// Items offered again after a fault. IN does not count them twice.
    #[serde(default)]
    pub retried: u64,
    /// The policy for a batch on which the plugin fails: `pass`, `drop`, `refuse`.
    #[serde(default)]
    pub on_fault: String,
    /// True if items pass the running generation without a judgement: some did in the last 30 s, or
    /// its plugin is not there yet.
    #[serde(default)]
    pub bypassing: bool,
    /// True if `/readyz` fails while `bypassing` is true.
    #[serde(default)]
    pub bypass_fails_readiness: bool,
    /// Items dropped since the start by all generations, by reason.
    #[serde(default)]
    pub dropped: BTreeMap<String, u64>,
    /// True if the running generation is on probation and its drops are no evidence.
    #[serde(default)]
    pub expects_drops: bool,
    /// The last generation that probation took back, until the next change of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<ReversalView>,
    /// The differences between what runs and the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftView>,
}

/// A generation that probation took back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReversalView {
    /// `rolled back`, or `cancelled` for a canary.
    pub event: String,
    /// The number of the generation.
    pub generation: u64,
    /// The time of the rollback.
    pub at: String,
    /// The reason.
    pub why: String,
}

/// One difference between what runs and what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftView {
    /// `module`, `config` or `limits`.
    pub part: String,
    /// The place in `config`, as a JSON pointer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// Both values without secrets; `None` if there is nothing at this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<serde_json::Value>,
    /// The value in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<serde_json::Value>,
}

/// One generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GenerationView {
    /// Its number. Each stage counts its own.
    pub number: u64,
    /// The plugin's name for itself.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// The file, or `upload`.
    pub module: String,
    /// sha256 of the module's bytes.
    pub sha256: String,
    /// sha256 of the configuration as JSON.
    pub config_sha256: String,
    /// The configuration without secrets.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// The time of loading.
    pub loaded_at: String,
    /// `running`, `probation`, `canary 10%`, `shadow`, `previous`.
    pub status: String,
    /// The fate of the state of the generation before: `carried`, `none`, or the reason why not.
    pub state: String,
    /// The figures since it was loaded.
    pub figures: FiguresView,
}

/// `GET /v1/history` and `GET /v1/stages/NAME/history`: oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EventView {
    /// Counts up over all stages. `?after=` asks for newer events.
    pub sequence: u64,
    /// The time of the event.
    pub at: String,
    /// The stage.
    pub stage: String,
    /// The number of the generation.
    pub generation: u64,
    /// The digest of the module's bytes.
    pub sha256: String,
    /// `loaded`, `awaited`, `published`, `refused`, `canary`, `shadow`, `promoted`, `cancelled`,
    /// `passed`, `rolled back`.
    pub event: String,
    /// The origin: `start`, `file`, `reload`, `admin`, `probation`, `source`.
    pub by: String,
    /// The reason, or the fate of the state.
    pub detail: String,
    /// The time that it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_ms: Option<u64>,
    /// The longest pause of a shard, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
}

/// `POST /v1/stages/NAME/swap`. With an upload the module is the body, and these are in the query.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapRequest {
    /// A path on the collector's machine; `None` for the stage's own file, read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// The digest that the module's bytes must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The module's signature: the text of the `.minisig` file. `None` for the file beside the
    /// module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Another `config` for the plugin; `None` for the one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Only report whether the swap would work.
    #[serde(default)]
    pub dry_run: bool,
    /// The share of traces, in percent (0 to 100), that the new generation gets at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
    /// Give the new generation a copy of the traffic, and export nothing of its output.
    #[serde(default)]
    pub shadow: bool,
    /// Use the module and the `config` of the configuration, whatever runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub as_configured: bool,
    /// Do not put the new generation on probation. Also a query key of a promotion.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_probation: bool,
    /// Drops of the new generation are no evidence on probation. Also a query key of a promotion.
    #[serde(default, skip_serializing_if = "is_false")]
    pub expect_drops: bool,
}

/// Returns true if the flag is off. Such a flag is left out, so that readers need not know it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The answer to a swap, a rollback, a promotion, a cancellation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SwapReport {
    /// The stage.
    pub stage: String,
    /// `published`, `canary 10%`, `shadow`, `would publish` (a dry run), `unchanged`,
    /// `rolled back`, `promoted`, `cancelled`.
    pub outcome: String,
    /// The number of the generation that this is about.
    pub generation: u64,
    /// The generation that ran before.
    pub previous: u64,
    /// The digest of the module's bytes.
    pub sha256: String,
    /// The fate of the state: `carried`, `none`, or the reason why not.
    pub state: String,
    /// The time that it took.
    pub elapsed_ms: u64,
    /// The longest pause of a shard, in microseconds.
    pub pause_us: u64,
}

/// `POST /v1/reload`: the changes by the new configuration, each as one line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReloadReport {
    /// All changes, each as one line.
    pub changes: Vec<String>,
    /// Names of what was added: `receiver otlp/b`.
    #[serde(default)]
    pub added: Vec<String>,
    /// Names of what was removed.
    #[serde(default)]
    pub removed: Vec<String>,
    /// Names of what was changed.
    #[serde(default)]
    pub changed: Vec<String>,
    /// Stages that run something else than the configuration says, and were left as they are.
    #[serde(default)]
    pub left: Vec<StageDriftView>,
    /// The time that it took.
    pub elapsed_ms: u64,
}

/// A stage that a reload left different from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageDriftView {
    /// The stage.
    pub stage: String,
    /// The differences.
    pub drift: Vec<DriftView>,
}

/// `GET /v1/stages/NAME/shadow`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShadowView {
    /// The stage.
    pub stage: String,
    /// The number of the running generation.
    pub running: u64,
    /// The number of the shadow.
    pub shadow: u64,
    /// Items that both generations have judged.
    pub compared: u64,
    /// The compared items that the two judged or edited in different ways.
    pub different: u64,
    /// Items that one of them holds and that are not yet settled by both.
    pub unsettled: u64,
    /// Calls of the shadow that failed.
    pub faults: u64,
    /// The differences by service and span name, most frequent first.
    pub differences: Vec<DifferenceView>,
}

/// One kind of difference.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DifferenceView {
    /// The service of the spans.
    pub service: String,
    /// The name of the spans.
    pub span: String,
    /// `keep`, `keep, edited`, `hold`, `drop: REASON`.
    pub running: String,
    /// The same for the shadow.
    pub shadow: String,
    /// The number of such items.
    pub count: u64,
    /// Some spans of this kind: trace id and span id in hex.
    pub examples: Vec<(String, String)>,
}

/// `GET /v1/quarantine`: oldest first. `GET /v1/quarantine/ID` has it as the member `spandrel`
/// beside the request as OTLP/JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantinedView {
    /// The id of the batch.
    pub id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The signal: `traces`, `metrics` or `logs`.
    pub signal: String,
    /// The number of its items.
    pub items: u64,
    /// The size of the request as it was accepted.
    pub bytes: u64,
    /// The number of attempts.
    pub attempts: u8,
    /// The time at which it was accepted.
    pub accepted: String,
    /// The time at which it was put there.
    pub quarantined: String,
    /// The outcome of each attempt.
    pub reason: String,
    /// True if the batch is not in the store: it is tried again automatically, and goes there
    /// if that fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
}

/// `POST /v1/quarantine/ID/replay` and `drop`, `POST /v1/quarantine/replay` and `drop` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReport {
    /// Ids of the batches that are not in quarantine any more.
    pub done: Vec<String>,
    /// The batches that stay there.
    pub kept: Vec<RemainingBatchView>,
}

/// A batch that stays in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemainingBatchView {
    /// The id of the batch.
    pub id: String,
    /// The reason why it stays.
    pub why: String,
}

/// The body of every answer that is not a 2xx.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ErrorView {
    /// The error, its place and the remedy, in one line with its causes.
    pub error: String,
}
