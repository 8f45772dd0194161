//! The collector's log, read while it is written.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

/// The streams of a process: stdout and stderr.
const STREAMS: usize = 2;

/// One line of the collector's log.
#[derive(Clone, Debug)]
pub struct Line {
    /// The line as it was written.
    pub raw: String,
    fields: Value,
}

impl Line {
    fn new(raw: String) -> Self {
        let parsed: Value = serde_json::from_str(&raw).unwrap_or(Value::Null);
        let fields = match parsed.get("fields") {
            Some(fields) => fields.clone(),
            None => parsed,
        };
        Self { raw, fields }
    }

    /// Returns the message; empty for a line that is not a log line.
    pub fn message(&self) -> &str {
        self.text("message").unwrap_or_default()
    }

    /// Returns a field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Returns a field that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.as_str()
    }

    /// Returns a field that is a count.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.field(name)?.as_u64()
    }

    /// Returns all fields except the message, formatted for people.
    pub fn fields(&self) -> Vec<(String, String)> {
        let Some(fields) = self.fields.as_object() else {
            return Vec::new();
        };
        fields
            .iter()
            .filter(|(name, _)| *name != "message")
            .map(|(name, value)| {
                let shown = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                (name.clone(), shown)
            })
            .collect()
    }
}

/// All lines so far, and a notification of the next one.
#[derive(Debug)]
pub struct Log {
    lines: Mutex<Vec<Line>>,
    /// Notifies of each line, and of the end of a stream.
    written: watch::Sender<()>,
    /// The number of streams that write here (stdout and stderr) and are still open.
    open: AtomicUsize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            written: watch::Sender::new(()),
            open: AtomicUsize::new(STREAMS),
        }
    }
}

impl Log {
    pub(crate) fn push(&self, raw: String) {
        let mut lines = self.lines.lock();
        lines.push(Line::new(raw));
        drop(lines);
        self.written.send_replace(());
    }

    /// Notes that one of the streams ended.
    pub(crate) fn close_one(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.written.send_replace(());
    }

    /// Returns true if nothing more will be written.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.written.subscribe()
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<Line> {
        let lines = self.lines.lock();
        lines.clone()
    }

    /// Returns the first line that satisfies `wanted`.
    pub fn find(&self, wanted: impl Fn(&Line) -> bool) -> Option<Line> {
        let lines = self.lines.lock();
        lines.iter().find(|line| wanted(line)).cloned()
    }

    /// Returns the number of lines with this message.
    pub fn count_of(&self, message: &str) -> usize {
        let lines = self.lines.lock();
        let with = lines.iter().filter(|line| line.message() == message);
        with.count()
    }

    /// Returns the last lines, as they were written, for the message of a failing test.
    pub fn tail(&self) -> String {
        const SHOWN: usize = 60;
        let lines = self.lines.lock();
        let from = lines.len().saturating_sub(SHOWN);
        let shown: Vec<&str> = lines
            .iter()
            .skip(from)
            .map(|line| line.raw.as_str())
            .collect();
        shown.join("\n")
    }
}
