//! One batch in quarantine, in the format of its file.
//!
//! The file is a line of OTLP/JSON: readers of OTLP/JSON find the request, and ignore the members
//! that they do not know. `spandrel`, the first member, tells what happened to the batch.
//! `spandrelBytes` exists only if the JSON does not reproduce the exact bytes of the request (for
//! example, if it has fields of a newer version). It holds these bytes in hex.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::Value;
use spandrel_pipeline::journal::Poison;
use spandrel_wire::Signal;

use crate::file::json;
use crate::report::QuarantinedView;
use crate::time_text::rfc3339;

const ABOUT: &str = "spandrel";
const BYTES: &str = "spandrelBytes";
/// The first bytes of every file.
const HEAD: &str = "{\"spandrel\":";
/// The part of a file that contains all of `spandrel`.
pub(crate) const HEAD_BYTES: u64 = 64 << 10;
/// The most of a reason that is kept, in bytes.
const LONGEST_REASON: usize = 4 << 10;

/// The reason why a file is not a batch in quarantine.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The file does not begin with `spandrel`.
    #[error("it does not begin with {HEAD}")]
    Head,
    /// The file is not JSON.
    #[error("it is not JSON")]
    Json(#[from] serde_json::Error),
    /// The file has no request that can be read.
    #[error("there is no request in it")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes of the request are not hex.
    #[error("`{BYTES}` is not hex")]
    Hex(#[from] hex::FromHexError),
}

/// Returns the line for a batch.
pub(crate) fn line(id: &str, poison: &Poison) -> Vec<u8> {
    let about = QuarantinedView {
        id: id.to_owned(),
        pipeline: poison.pipeline.clone(),
        signal: label(poison.signal).to_owned(),
        items: poison.items,
        bytes: poison.request.len() as u64,
        attempts: poison.attempts,
        accepted: rfc3339(poison.accepted),
        quarantined: rfc3339(SystemTime::now()),
        reason: cut(&poison.reason).to_owned(),
        waiting: false,
    };
    let mut line = HEAD.as_bytes().to_vec();
    line.extend(serde_json::to_vec(&about).unwrap_or_default());
    let request = json::to_line(poison.signal, &poison.request);
    // A request that other readers of OTLP cannot read is kept only as bytes.
    let request = request.unwrap_or_else(|_| format!("{{\"{}\":[]}}\n", top(poison.signal)).into());
    let is_exact = json::from_line(&request).is_ok_and(|(_, bytes)| bytes == poison.request);
    let members = request.trim_ascii().strip_prefix(b"{");
    let members = members.and_then(|rest| rest.strip_suffix(b"}"));
    if let Some(members) = members.filter(|members| !members.is_empty()) {
        line.push(b',');
        line.extend(members);
    }
    if !is_exact {
        let bytes = hex::encode(&poison.request);
        line.extend(format!(",\"{BYTES}\":\"{bytes}\"").as_bytes());
    }
    line.extend(b"}\n");
    line
}

/// Returns what happened to a batch, from the head of its file.
pub(crate) fn about(head: &[u8]) -> Result<QuarantinedView, EntryError> {
    let rest = head.strip_prefix(HEAD.as_bytes()).ok_or(EntryError::Head)?;
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
    let about = values.next().ok_or(EntryError::Head)?;
    Ok(about?)
}

/// Returns the request of a batch, byte for byte, from its whole file. If somebody removed
/// `spandrelBytes`, or changed the JSON of a file without it, the request is the one in the JSON.
pub(crate) fn request(line: &[u8]) -> Result<(Signal, Bytes), EntryError> {
    let (signal, bytes) =
        json::from_line(line).map_err(|error| EntryError::Request(Box::new(error)))?;
    let value: Value = serde_json::from_slice(line)?;
    match value.get(BYTES).and_then(Value::as_str) {
        Some(exact) => Ok((signal, hex::decode(exact)?.into())),
        None => Ok((signal, bytes)),
    }
}

/// Returns what happened to a batch, and its request as JSON for people.
pub fn shown(line: &str) -> Result<(QuarantinedView, String), EntryError> {
    let about = about(line.as_bytes())?;
    let mut value: Value = serde_json::from_str(line)?;
    if let Some(members) = value.as_object_mut() {
        members.remove(ABOUT);
        members.remove(BYTES);
    }
    Ok((about, serde_json::to_string_pretty(&value)?))
}

pub(crate) fn label(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Metrics => "metrics",
        Signal::Logs => "logs",
    }
}

fn top(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "resourceSpans",
        Signal::Metrics => "resourceMetrics",
        Signal::Logs => "resourceLogs",
    }
}

fn cut(reason: &str) -> &str {
    let end = reason.floor_char_boundary(LONGEST_REASON);
    reason
        .split_at_checked(end)
        .map_or(reason, |(kept, _)| kept)
}
