//! What the admin API says and is asked, as JSON. The command line reads the same shapes.
//!
//! Times are RFC 3339 in UTC with milliseconds, durations are milliseconds, digests are hex. A key
//! that is not there means "none".

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

/// Where all items of a pipeline are: `received + created + replayed` is the sum of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LedgerView {
    pub(crate) received: u64,
    pub(crate) created: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    /// Dropped at the door: there was no room for what another pipeline took.
    #[serde(default)]
    pub(crate) overflowed: u64,
    pub(crate) forwarded: u64,
    pub(crate) abandoned: u64,
    pub(crate) held: u64,
    pub(crate) in_flight: u64,
    /// Came from the journal again.
    #[serde(default)]
    pub(crate) replayed: u64,
    /// Went back to the journal.
    #[serde(default)]
    pub(crate) journaled: u64,
    #[serde(default)]
    pub(crate) quarantined: u64,
    /// Damaged in the journal.
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
    /// Offered again after a fault, and not part of `input`.
    #[serde(default)]
    pub(crate) retried: u64,
    pub(crate) output: u64,
    pub(crate) held: u64,
    pub(crate) bypassed: u64,
    /// Dropped, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// The same of each generation that is remembered.
    pub(crate) generations: Vec<FiguresView>,
}

/// One exporter's column of a ledger.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ExporterLedger {
    pub(crate) exporter: String,
    pub(crate) queued: u64,
    pub(crate) exported: u64,
    pub(crate) lost: u64,
    /// Dropped for this exporter alone: its queue was full.
    #[serde(default)]
    pub(crate) overflowed: u64,
    /// Waited for it on disk at the start.
    #[serde(default)]
    pub(crate) recovered: u64,
    /// Wait for it on disk now.
    #[serde(default)]
    pub(crate) on_disk: u64,
    /// Given up in memory; the journal has them.
    #[serde(default)]
    pub(crate) journaled: u64,
}

/// What a generation did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FiguresView {
    pub(crate) generation: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) dropped: u64,
    pub(crate) calls: u64,
    pub(crate) faults: u64,
    /// Items that passed it without a judgement, because it failed or held them for too long.
    #[serde(default)]
    pub(crate) bypassed: u64,
    /// Mean time of a call, in microseconds.
    pub(crate) call_us: u64,
}

/// `GET /v1/stages`, and `GET /v1/stages/NAME` for one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct StageView {
    /// Its key in the configuration.
    pub(crate) stage: String,
    pub(crate) pipelines: Vec<String>,
    pub(crate) running: GenerationView,
    /// What a rollback brings back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<GenerationView>,
    /// Runs beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<GenerationView>,
    /// What is going on: `loading`, `probing`, `publishing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) swap: Option<String>,
    pub(crate) held: u64,
    pub(crate) held_bytes: u64,
    /// Shards whose breaker is open now.
    pub(crate) breakers_open: u64,
    /// Batches that are in quarantine now.
    pub(crate) quarantined: u64,
    /// Items offered again after a fault, which IN does not count twice.
    #[serde(default)]
    pub(crate) retried: u64,
    /// What happens to a batch on which the plugin fails: `pass`, `drop`, `refuse`.
    #[serde(default)]
    pub(crate) on_fault: String,
    /// Items pass the running generation without a judgement: some did in the last 30 s, or its plugin is
    /// not there yet.
    #[serde(default)]
    pub(crate) bypassing: bool,
    /// `/readyz` says no while that is so.
    #[serde(default)]
    pub(crate) bypass_fails_readiness: bool,
    /// Items dropped since the start by all generations, by reason.
    #[serde(default)]
    pub(crate) dropped: BTreeMap<String, u64>,
    /// The running generation is on probation, and what it drops is no evidence.
    #[serde(default)]
    pub(crate) expects_drops: bool,
    /// What probation took back last, until the next change of the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undone: Option<UndoneView>,
    /// Where something else runs than the configuration says.
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
    /// Where in `config`, as a JSON pointer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) at: String,
    /// Both without secrets; none where there is nothing at this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) configured: Option<serde_json::Value>,
}

/// One generation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GenerationView {
    pub(crate) number: u64,
    /// What the plugin calls itself.
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
    /// What became of the state of the generation before: `carried`, `none`, or why not.
    pub(crate) state: String,
    pub(crate) figures: FiguresView,
}

/// `GET /v1/history` and `GET /v1/stages/NAME/history`: oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct EventView {
    /// Counts up over all stages: ask for what is newer with `?after=`.
    pub(crate) sequence: u64,
    pub(crate) at: String,
    pub(crate) stage: String,
    pub(crate) generation: u64,
    pub(crate) sha256: String,
    /// `loaded`, `published`, `refused`, `canary`, `shadow`, `promoted`, `cancelled`, `passed`,
    /// `rolled back`.
    pub(crate) event: String,
    /// Who asked: `start`, `file`, `reload`, `admin`, `probation`.
    pub(crate) by: String,
    /// Why, or what became of the state.
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
    /// A path on the collector's machine; none for the stage's own file, read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) module: Option<String>,
    /// What the module's bytes must hash to, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    /// The module's signature: the text of the `.minisig` file. None for the file beside the module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signature: Option<String>,
    /// Another `config` for the plugin; none for the one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<serde_json::Value>,
    /// Only say whether it would work.
    #[serde(default)]
    pub(crate) dry_run: bool,
    /// The share of traces, in percent (0 to 100), that the new generation gets at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) canary: Option<f64>,
    /// Give the new generation a copy of the traffic, and export nothing of it.
    #[serde(default)]
    pub(crate) shadow: bool,
    /// The module and the `config` that the configuration has, whatever runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) as_configured: bool,
    /// The new generation is not on probation. As a key of the query of a promotion, too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) no_probation: bool,
    /// What the new generation drops is no evidence on probation. Of a promotion, too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) expect_drops: bool,
}

/// What is not said need not be known by who reads it.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// The answer to a swap, a rollback, a promotion, a cancellation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SwapReport {
    pub(crate) stage: String,
    /// `published`, `canary 10%`, `shadow`, `would publish` (a dry run), `unchanged`, `rolled back`,
    /// `promoted`, `cancelled`.
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

/// `POST /v1/reload`: what the new configuration changed, each as one line.
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
    /// Stages that run something else than the configuration says, and were left so.
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
    /// Items that both have judged.
    pub(crate) compared: u64,
    /// Of these, judged or edited in another way.
    pub(crate) different: u64,
    /// Held by one of them, and not yet settled by both.
    pub(crate) unsettled: u64,
    /// Calls of the shadow that failed.
    pub(crate) faults: u64,
    /// By service and span name, most frequent first.
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

/// `GET /v1/quarantine`: oldest first. `GET /v1/quarantine/ID` has it as the member `spandrel` beside the
/// request as OTLP/JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantinedView {
    pub(crate) id: String,
    pub(crate) pipeline: String,
    pub(crate) signal: String,
    pub(crate) items: u64,
    /// Of the request as it was accepted.
    pub(crate) bytes: u64,
    /// How often it was tried.
    pub(crate) attempts: u8,
    pub(crate) accepted: String,
    pub(crate) quarantined: String,
    /// What happened each time.
    pub(crate) reason: String,
    /// It is not on the shelf: it is tried again by itself, and goes there when that fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) waiting: bool,
}

/// `POST /v1/quarantine/ID/replay` and `drop`, `POST /v1/quarantine/replay` and `drop` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuarantineReport {
    /// Ids of what is not in quarantine any more.
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
    /// What, where, and the remedy, in one line with its causes.
    pub(crate) error: String,
}
