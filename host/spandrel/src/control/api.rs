//! The answers and requests of the admin API, as JSON. The command line reads the same shapes.
//!
//! Times are RFC 3339 in UTC with milliseconds, durations are milliseconds, digests are hex. A
//! missing key means "none".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `GET /v1/pipelines`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PipelineView {
    pub(crate) name: String,
    pub(crate) signal: String,
    pub(crate) receivers: Vec<String>,
    pub(crate) stages: Vec<String>,
    pub(crate) exporters: Vec<String>,
    pub(crate) shards: usize,
    pub(crate) ledger: LedgerView,
}

/// The places of all items of a pipeline: `received + created + replayed` is the sum of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LedgerView {
    pub(crate) received: u64,
    pub(crate) created: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    /// Items dropped on arrival because there was no room for items that another pipeline accepted.
    #[serde(default)]
    pub(crate) overflowed: u64,
    pub(crate) forwarded: u64,
    pub(crate) abandoned: u64,
    pub(crate) held: u64,
    pub(crate) in_flight: u64,
    /// Items that came from the journal again.
    #[serde(default)]
    pub(crate) replayed: u64,
    /// Items that went back to the journal.
    #[serde(default)]
    pub(crate) journaled: u64,
    #[serde(default)]
    pub(crate) quarantined: u64,
    /// Items damaged in the journal.
    #[serde(default)]
    pub(crate) damaged: u64,
    pub(crate) balanced: bool,
    pub(crate) stages: Vec<StageLedger>,
    pub(crate) exporters: Vec<ExporterLedger>,
}

/// One stage's column of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StageLedger {
    pub(crate) stage: String,
    pub(crate) input: u64,
    /// Items offered again after a fault. They are not part of `input`.
    #[serde(default)]
    pub(crate) retried: u64,
    pub(crate) output: u64,
    pub(crate) held: u64,
    pub(crate) bypassed: u64,
    /// Dropped items, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// The figures of each generation that is remembered.
    pub(crate) generations: Vec<FiguresView>,
}

/// One exporter's column of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ExporterLedger {
    pub(crate) exporter: String,
    pub(crate) queued: u64,
    pub(crate) exported: u64,
    pub(crate) lost: u64,
    /// Items dropped for this exporter alone because its queue was full.
    #[serde(default)]
    pub(crate) overflowed: u64,
    /// Items that waited for it on disk at the start.
    #[serde(default)]
    pub(crate) recovered: u64,
    /// Items that wait for it on disk now.
    #[serde(default)]
    pub(crate) on_disk: u64,
    /// Items given up in memory. The journal has them.
    #[serde(default)]
    pub(crate) journaled: u64,
}

/// The figures of a generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FiguresView {
    pub(crate) generation: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) dropped: u64,
    pub(crate) calls: u64,
    pub(crate) faults: u64,
    /// Items that passed it without a judgement because it failed or held them for too long.
    #[serde(default)]
    pub(crate) bypassed: u64,
    /// Mean time of a call, in microseconds.
    pub(crate) call_us: u64,
}

/// `GET /v1/stages`, and `GET /v1/stages/NAME` for one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StageView {
    /// The key of the stage in the configuration.
    pub(crate) stage: String,
    pub(crate) pipelines: Vec<String>,
    pub(crate) running: GenerationView,
    /// The generation that a rollback brings back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<GenerationView>,
    /// The generation that runs beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<GenerationView>,
    /// The step of a swap that is under way: `loading`, `probing`, `publishing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swap: Option<String>,
    pub(crate) held: u64,
    pub(crate) held_bytes: u64,
    /// Shards whose breaker is open now.
    pub(crate) breakers_open: u64,
    /// Batches that are in quarantine now.
    pub(crate) quarantined: u64,
    /// Items offered again after a fault. IN does not count them twice.
    #[serde(default)]
    pub(crate) retried: u64,
    /// The policy for a batch on which the plugin fails: `pass`, `drop`, `refuse`.
    #[serde(default)]
    pub(crate) on_fault: String,
    /// True if items pass the running generation without a judgement: some did in the last 30 s, or
    /// its plugin is not there yet.
    #[serde(default)]
    pub(crate) bypassing: bool,
    /// True if `/readyz` fails while `bypassing` is true.
    #[serde(default)]
    pub(crate) bypass_fails_readiness: bool,
    /// Items dropped since the start by all generations, by reason.
    #[serde(default)]
    pub(crate) dropped: BTreeMap<String, u64>,
    /// True if the running generation is on probation and its drops are no evidence.
    #[serde(default)]
    pub(crate) expects_drops: bool,
    /// The last generation that probation took back, until the next change of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undone: Option<UndoneView>,
    /// The differences between what runs and the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) drift: Vec<DriftView>,
}

/// A generation that probation took back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UndoneView {
    /// `rolled back`, or `cancelled` for a canary.
    pub(crate) event: String,
    pub(crate) generation: u64,
    pub(crate) at: String,
    pub(crate) why: String,
}

/// One difference between what runs and what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DriftView {
    /// `module`, `config` or `limits`.
    pub(crate) part: String,
    /// The place in `config`, as a JSON pointer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) at: String,
    /// Both values without secrets; `None` if there is nothing at this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) configured: Option<serde_json::Value>,
}

/// One generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GenerationView {
    pub(crate) number: u64,
    /// The plugin's name for itself.
    pub(crate) plugin: String,
    pub(crate) version: String,
    /// The file, or `upload`.
    pub(crate) module: String,
    /// sha256 of the module's bytes.
    pub(crate) sha256: String,
    /// sha256 of the configuration as JSON.
    pub(crate) config_sha256: String,
    /// The configuration without secrets.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub(crate) config: serde_json::Value,
    pub(crate) loaded_at: String,
    /// `running`, `probation`, `canary 10%`, `shadow`, `previous`.
    pub(crate) status: String,
    /// The fate of the state of the generation before: `carried`, `none`, or the reason why not.
    pub(crate) state: String,
    pub(crate) figures: FiguresView,
}

/// `GET /v1/history` and `GET /v1/stages/NAME/history`: oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventView {
    /// Counts up over all stages. `?after=` asks for newer events.
    pub(crate) sequence: u64,
    pub(crate) at: String,
    pub(crate) stage: String,
    pub(crate) generation: u64,
    pub(crate) sha256: String,
    /// `loaded`, `awaited`, `published`, `refused`, `canary`, `shadow`, `promoted`, `cancelled`,
    /// `passed`, `rolled back`.
    pub(crate) event: String,
    /// The origin: `start`, `file`, `reload`, `admin`, `probation`, `source`.
    pub(crate) by: String,
    /// The reason, or the fate of the state.
    pub(crate) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) elapsed_ms: Option<u64>,
    /// The longest pause of a shard, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_us: Option<u64>,
}

/// `POST /v1/stages/NAME/swap`. With an upload the module is the body, and these are in the query.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwapRequest {
    /// A path on the collector's machine; `None` for the stage's own file, read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) module: Option<String>,
    /// The digest that the module's bytes must have, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// The module's signature: the text of the `.minisig` file. `None` for the file beside the
    /// module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
    /// Another `config` for the plugin; `None` for the one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<serde_json::Value>,
    /// Only report whether the swap would work.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// The share of traces, in percent (0 to 100), that the new generation gets at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<f64>,
    /// Give the new generation a copy of the traffic, and export nothing of its output.
    #[serde(default)]
    pub(crate) shadow: bool,
    /// Use the module and the `config` of the configuration, whatever runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) as_configured: bool,
    /// Do not put the new generation on probation. Also a query key of a promotion.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) no_probation: bool,
    /// Drops of the new generation are no evidence on probation. Also a query key of a promotion.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) expect_drops: bool,
}

/// Returns true if the flag is off. Such a flag is left out, so that readers need not know it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The answer to a swap, a rollback, a promotion, a cancellation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SwapReport {
    pub(crate) stage: String,
    /// `published`, `canary 10%`, `shadow`, `would publish` (a dry run), `unchanged`,
    /// `rolled back`, `promoted`, `cancelled`.
    pub(crate) outcome: String,
    pub(crate) generation: u64,
    /// The generation that ran before.
    pub(crate) previous: u64,
    pub(crate) sha256: String,
    pub(crate) state: String,
    pub(crate) elapsed_ms: u64,
    /// The longest pause of a shard, in microseconds.
    pub(crate) pause_us: u64,
}

/// `POST /v1/reload`: the changes by the new configuration, each as one line.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ReloadReport {
    pub(crate) changes: Vec<String>,
    /// Names of what was added: `receiver otlp/b`.
    #[serde(default)]
    pub(crate) added: Vec<String>,
    #[serde(default)]
    pub(crate) removed: Vec<String>,
    #[serde(default)]
    pub(crate) changed: Vec<String>,
    /// Stages that run something else than the configuration says, and were left as they are.
    #[serde(default)]
    pub(crate) left: Vec<LeftView>,
    pub(crate) elapsed_ms: u64,
}

/// A stage that a reload left different from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LeftView {
    pub(crate) stage: String,
    pub(crate) drift: Vec<DriftView>,
}

/// `GET /v1/stages/NAME/shadow`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShadowView {
    pub(crate) stage: String,
    pub(crate) running: u64,
    pub(crate) shadow: u64,
    /// Items that both generations have judged.
    pub(crate) compared: u64,
    /// The compared items that the two judged or edited in different ways.
    pub(crate) different: u64,
    /// Items that one of them holds and that are not yet settled by both.
    pub(crate) unsettled: u64,
    /// Calls of the shadow that failed.
    pub(crate) faults: u64,
    /// The differences by service and span name, most frequent first.
    pub(crate) differences: Vec<DifferenceView>,
}

/// One kind of difference.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DifferenceView {
    pub(crate) service: String,
    pub(crate) span: String,
    /// `keep`, `keep, edited`, `hold`, `drop: REASON`.
    pub(crate) running: String,
    pub(crate) shadow: String,
    pub(crate) count: u64,
    /// Some spans of this kind: trace id and span id in hex.
    pub(crate) examples: Vec<(String, String)>,
}

/// `GET /v1/quarantine`: oldest first. `GET /v1/quarantine/ID` has it as the member `spandrel`
/// beside the request as OTLP/JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantinedView {
    pub(crate) id: String,
    pub(crate) pipeline: String,
    pub(crate) signal: String,
    pub(crate) items: u64,
    /// The size of the request as it was accepted.
    pub(crate) bytes: u64,
    /// The number of attempts.
    pub(crate) attempts: u8,
    pub(crate) accepted: String,
    pub(crate) quarantined: String,
    /// The outcome of each attempt.
    pub(crate) reason: String,
    /// True if the batch is not on the shelf: it is tried again automatically, and goes to the
    /// shelf if that fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) waiting: bool,
}

/// `POST /v1/quarantine/ID/replay` and `drop`, `POST /v1/quarantine/replay` and `drop` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineReport {
    /// Ids of the batches that are not in quarantine any more.
    pub(crate) done: Vec<String>,
    pub(crate) kept: Vec<KeptView>,
}

/// A batch that stays in quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptView {
    pub(crate) id: String,
    pub(crate) why: String,
}

/// The body of every answer that is not a 2xx.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ErrorView {
    /// The error, its place and the remedy, in one line with its causes.
    pub(crate) error: String,
}
