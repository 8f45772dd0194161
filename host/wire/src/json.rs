//! OTLP/JSON: [`to_protobuf`] and [`from_protobuf`], each in one pass and without objects.
//!
//! The encoding is that of the OTLP specification: proto3's JSON with ids in hexadecimal digits and
//! enums as numbers. Senders in the field write some of it a little differently, and that is read,
//! mostly as the OpenTelemetry Collector reads it:
//!
//! - Keys may be the names of the proto files (`trace_id`). Unknown keys are ignored, and `null` is
//!   a field that is not there; in a list it is an empty member.
//! - Integers are numbers or texts, also with a fraction of zeros or an exponent. Enums are numbers
//!   or names. Doubles are numbers, texts, or names such as `NaN` and `-Infinity`.
//! - Base64 has either alphabet, with or without padding.
//! - A key that stands twice has the effect of a field that stands twice in protobuf: the last value
//!   counts, lists are joined, and messages are merged.
//! - Surrogates without a partner and bytes that are not UTF-8 are replaced or refused, as
//!   [`InvalidUtf8`] says.
//! - A byte order mark is ignored. Behind the document only white space may follow.

use alloc::vec::Vec;
use core::mem;

use crate::check::findings::Findings;
use crate::check::invalid::Invalid;
use crate::check::limits::Limits;
use crate::check::valid_items::InvalidUtf8;
use crate::check::validate::validate;
use crate::read::signal::Signal;
use crate::response::PartialSuccess;

mod attribute;
mod base64;
mod draft;
mod error;
mod hex;
mod names;
mod number;
mod order;
mod place;
mod printer;
mod reader;
mod scalar;
mod scan;
mod shape;
mod text;
mod transcoder;

pub use error::JsonError;

/// Appends the protobuf bytes of a request in JSON (`ExportTraceServiceRequest` and so on, or a
/// `TracesData` document, which has the same form). Returns the texts that were replaced.
///
/// Of the limits only [`Limits::depth`] is looked at: the bytes always pass
/// [`validate`](crate::validate()) with that depth and without other limits. They are at most four
/// times as long as the text, and the work is linear in its length. Spans may have no ids:
/// [`remove_invalid_items`](crate::remove_invalid_items) takes them out.
///
/// # Errors
///
/// The text is not JSON, or a known key has a value of another type. Then nothing is appended.
pub fn to_protobuf(
    signal: Signal,
    text: &[u8],
    limits: &Limits,
    invalid_utf8: InvalidUtf8,
    out: &mut Vec<u8>,
) -> Result<Findings, JsonError> {
    transcode(shape::request(signal), text, limits, invalid_utf8, out)
}

/// Appends the JSON of a request. Fields that this version does not know are left out, and so are
/// default values. The text is at most 16 times as long as the request.
///
/// # Errors
///
/// The request is not valid: see [`validate`].
pub fn from_protobuf(signal: Signal, request: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    validate(signal, request, &Limits::NONE)?;
    printer::message(out, shape::request(signal), request);
    Ok(())
}

/// Returns the answer to a request of a signal, in JSON.
pub fn write_response(signal: Signal, partial: &PartialSuccess) -> Vec<u8> {
    let mut out = Vec::new();
    // An answer that has nothing to say must not have the field.
    let response = if *partial == PartialSuccess::default() {
        Vec::new()
    } else {
        partial.encode()
    };
    printer::message(&mut out, shape::response(signal), &response);
    out
}

/// Reads the answer to a request of a signal. If all items were accepted, nothing is rejected and
/// there is no message.
///
/// # Errors
///
/// The text is not such an answer.
pub fn read_response(signal: Signal, text: &[u8]) -> Result<PartialSuccess, JsonError> {
    let mut response = Vec::new();
    let shape = shape::response(signal);
    transcode(
        shape,
        text,
        &Limits::NONE,
        InvalidUtf8::Replace,
        &mut response,
    )?;
    Ok(PartialSuccess::decode(&response).unwrap_or_default())
}

fn transcode(
    shape: &'static shape::Shape,
    text: &[u8],
    limits: &Limits,
    invalid_utf8: InvalidUtf8,
    out: &mut Vec<u8>,
) -> Result<Findings, JsonError> {
    let depth = limits.depth.min(Limits::DEEPEST);
    let start = out.len();
    // Real requests take about half of their text, and with long values up to 60 %.
    out.reserve(text.len() / 8 * 5);
    let transcoder = transcoder::Transcoder::new(text, depth, invalid_utf8, mem::take(out));
    let (written, result) = transcoder.run(shape);
    *out = written;
    if result.is_err() {
        out.truncate(start);
    }
    result
}
