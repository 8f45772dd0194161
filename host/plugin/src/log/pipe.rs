//! A guest's stdout and stderr: turns bytes into log lines, and keeps the message of a panic.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use spandrel_supply::text;
use tokio::io::AsyncWrite;
use tracing::Level;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::GuestLog;

/// The most bytes that a guest may write at once. 64 KiB: WASI streams commonly permit this much.
const WRITE_BYTES: usize = 64 << 10;

/// One of a guest's two output streams. Clones write to the same line.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    lines: Arc<Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    log: Arc<GuestLog>,
    level: Level,
    /// The line so far, up to the limit of a line; the rest of it is only counted.
    line: Vec<u8>,
    overflow: usize,
    panic: Panic,
}

/// The message of a panic, as far as it is known. Rust prints a line with the thread and the place,
/// then the message, then a note; the SDK prints the place and the message only.
#[derive(Debug, Default)]
struct Panic {
    text: String,
    is_open: bool,
}

impl Pipe {
    pub(crate) fn new(log: Arc<GuestLog>, level: Level) -> Self {
        Self {
            lines: Arc::new(Mutex::new(Lines {
                log,
                level,
                line: Vec::new(),
                overflow: 0,
                panic: Panic::default(),
            })),
        }
    }

    /// Logs the line that has not ended yet: nothing follows.
    pub(crate) fn finish(&self) {
        let mut lines = self.lines.lock();
        if !lines.line.is_empty() {
            lines.end_line();
        }
    }

    /// Returns the message and place of the last panic, on one line.
    pub(crate) fn panic_message(&self) -> Option<String> {
        let lines = self.lines.lock();
        let panic = &lines.panic.text;
        (!panic.is_empty()).then(|| text::printable(panic, text::MESSAGE_BYTES))
    }

    fn push(&self, bytes: &[u8]) {
        let mut lines = self.lines.lock();
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            lines.push(part);
            if parts.peek().is_some() {
                lines.end_line();
            }
        }
    }
}

impl Lines {
    fn push(&mut self, part: &[u8]) {
        // One byte over the limit tells the log that there was more.
        let room = self
            .log
            .line_bytes()
            .saturating_add(1)
            .saturating_sub(self.line.len());
        let (kept, cut) = part.split_at(part.len().min(room));
        self.line.extend_from_slice(kept);
        self.overflow = self.overflow.saturating_add(cut.len());
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let overflow = std::mem::take(&mut self.overflow);
        let line = String::from_utf8_lossy(&line);
        self.panic.observe(&line);
        if line.trim().is_empty() {
            return;
        }
        if overflow > 0 {
            let total = line.len().saturating_add(overflow);
            self.log.write_start(self.level, &line, total);
        } else {
            self.log.write(self.level, &line);
        }
    }
}

impl Panic {
    fn observe(&mut self, line: &str) {
        let place = match line.strip_prefix("thread ") {
            Some(thread) => thread.split_once(" panicked at ").map(|(_, place)| place),
            None => line.strip_prefix("panicked at "),
        };
        if let Some(place) = place {
            self.text = format!("panicked at {}", text::cut(place, text::MESSAGE_BYTES));
            self.is_open = true;
        } else if line.starts_with("note: ") || self.text.len() > text::MESSAGE_BYTES {
            self.is_open = false;
        } else if self.is_open && !line.is_empty() {
            self.text.push(' ');
            self.text.push_str(text::cut(line, text::MESSAGE_BYTES));
        }
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this stream, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spandrel_supply::InstanceLimits;
    use tracing::Level;

    use super::Pipe;
    use crate::log::GuestLog;

    fn stderr() -> Pipe {
        let log = GuestLog::new("stage", 1, "module", &InstanceLimits::default());
        Pipe::new(Arc::new(log), Level::WARN)
    }

    /// The place and message of a panic come out on one line, without the note about backtraces,
    /// however the bytes arrive.
    #[test]
    fn a_panic_is_told_on_one_line() {
        let pipe = stderr();
        let text = "before\n\nthread '<unnamed>' (1) panicked at src/lib.rs:7:9:\nindex 3\nout of range\nnote: run with `RUST_BACKTRACE=1`\nafter\n";
        for byte in text.bytes() {
            pipe.push(&[byte]);
        }
        assert_eq!(
            pipe.panic_message().as_deref(),
            Some("panicked at src/lib.rs:7:9: index 3 out of range")
        );
    }

    /// The SDK's own form of a panic message is understood as well.
    #[test]
    fn a_panic_told_by_the_sdk_is_understood() {
        let pipe = stderr();
        pipe.push(b"panicked at src/lib.rs:7:9: index 3\nout of range\n");
        assert_eq!(
            pipe.panic_message().as_deref(),
            Some("panicked at src/lib.rs:7:9: index 3 out of range")
        );
    }

    /// A panic with an endless message is kept only up to the limit of a fault's message.
    #[test]
    fn a_long_panic_is_bounded() {
        let pipe = stderr();
        pipe.push(b"thread 'main' panicked at a.rs:1:1:\n");
        for _ in 0..1000 {
            pipe.push(&[b'x'; 1000]);
            pipe.push(b"\n");
        }
        let message = pipe.panic_message().expect("a panic");
        assert!(message.len() < 600, "{} bytes", message.len());
    }

    /// Writing without a line end takes no more memory than one line.
    #[test]
    fn an_endless_line_is_bounded() {
        let pipe = stderr();
        for _ in 0..1000 {
            pipe.push(&[b'x'; 1000]);
        }
        let lines = pipe.lines.lock();
        assert_eq!(lines.line.len(), 4097);
        assert_eq!(lines.overflow, 1_000_000 - 4097);
    }
}
