//! A guest's messages in the collector's log.
//!
//! Lines become events with the target `plugin` and the fields `plugin`, `stage` and `generation`.
//! They are limited in length and in rate; the number of lines left out is logged as well. A plugin
//! gives its name once it is configured: the lines before that wait for it.

use std::sync::OnceLock;

use parking_lot::{Mutex, MutexGuard};
use spandrel_supply::{InstanceLimits, text};
use tokio::time::Instant;
use tracing::Level;

pub(crate) mod pipe;

/// The target of every event with a guest's words, for filters.
pub const TARGET: &str = "plugin";

/// The number of lines that wait for the plugin's name: at most 256 KiB with the usual limit on a
/// line, which is more than a plugin writes while it is configured. Later lines are left out.
const EARLY_LINES: usize = 64;

/// The log of one generation's guests: all its instances share one rate.
#[derive(Debug)]
pub(crate) struct GuestLog {
    stage: String,
    generation: u64,
    /// The plugin's file, which is its name if it never gives one.
    module: String,
    /// The plugin's own name, once its first instance has given it.
    plugin: OnceLock<String>,
    early: Mutex<EarlyLines>,
    line_bytes: usize,
    lines_per_second: u32,
    bucket: Mutex<Bucket>,
}

/// The lines that were written before the name is known.
#[derive(Debug, Default)]
struct EarlyLines {
    lines: Vec<(Level, String)>,
    suppressed: u64,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    refilled: Instant,
    suppressed: u64,
}

impl GuestLog {
    pub(crate) fn new(stage: &str, generation: u64, module: &str, limits: &InstanceLimits) -> Self {
        Self {
            stage: stage.to_owned(),
            generation,
            module: module.to_owned(),
            plugin: OnceLock::new(),
            early: Mutex::default(),
            line_bytes: limits.log_line_bytes,
            lines_per_second: limits.log_lines_per_second,
            bucket: Mutex::new(Bucket {
                tokens: f64::from(limits.log_lines_per_second),
                refilled: Instant::now(),
                suppressed: 0,
            }),
        }
    }

    pub(crate) fn stage(&self) -> &str {
        &self.stage
    }

    pub(crate) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// Names the plugin in all lines, and writes those that have waited for the name.
    pub(crate) fn name_plugin(&self, name: &str) {
        let mut early = self.early.lock();
        self.plugin.get_or_init(|| name.to_owned());
        let EarlyLines { lines, suppressed } = std::mem::take(&mut *early);
        drop(early);
        for (level, line) in lines {
            self.emit(level, &line);
        }
        self.report(suppressed);
    }

    pub(crate) fn plugin(&self) -> &str {
        self.plugin.get().unwrap_or(&self.module)
    }

    /// Returns the lines that wait for the plugin's name; `None` once it is known.
    fn early_lines(&self) -> Option<MutexGuard<'_, EarlyLines>> {
        if self.plugin.get().is_some() {
            return None;
        }
        let early = self.early.lock();
        // It may have been named while this waited for the lock.
        self.plugin.get().is_none().then_some(early)
    }

    /// Writes one line of a guest. Only checks the level if that level is not logged.
    pub(crate) fn write(&self, level: Level, line: &str) {
        let line = line.trim_end();
        self.write_start(level, line, line.len());
    }

    /// Writes the start of a line of `total` bytes.
    pub(crate) fn write_start(&self, level: Level, start: &str, total: usize) {
        if !self.is_enabled(level) {
            return;
        }
        let Some(suppressed) = self.admit() else {
            return;
        };
        let line = text::printable_start(start, total, self.line_bytes);
        if let Some(mut early) = self.early_lines() {
            early.suppressed = early.suppressed.saturating_add(suppressed);
            if early.lines.len() < EARLY_LINES {
                early.lines.push((level, line));
            } else {
                early.suppressed = early.suppressed.saturating_add(1);
            }
            return;
        }
        self.report(suppressed);
        self.emit(level, &line);
    }

    /// Logs the number of lines left out since the last report; for the end of an instance.
    pub(crate) fn settle(&self) {
        let mut bucket = self.bucket.lock();
        let suppressed = std::mem::take(&mut bucket.suppressed);
        drop(bucket);
        match self.early_lines() {
            Some(mut early) => {
                early.suppressed = early.suppressed.saturating_add(suppressed);
            }
            None => self.report(suppressed),
        }
    }

    /// Takes a token. Returns the number of lines left out before this one, or `None` if this one
    /// is to be left out as well.
    fn admit(&self) -> Option<u64> {
        let rate = f64::from(self.lines_per_second);
        let mut bucket = self.bucket.lock();
        let now = Instant::now();
        let elapsed = now.duration_since(bucket.refilled).as_secs_f64();
        bucket.refilled = now;
        bucket.tokens = (bucket.tokens + elapsed * rate).min(rate);
        if bucket.tokens < 1.0 {
            bucket.suppressed = bucket.suppressed.saturating_add(1);
            return None;
        }
        bucket.tokens -= 1.0;
        Some(std::mem::take(&mut bucket.suppressed))
    }

    fn report(&self, suppressed: u64) {
        if suppressed > 0 {
            tracing::warn!(
                target: TARGET,
                plugin = self.plugin(),
                stage = %self.stage,
                generation = self.generation,
                suppressed,
                lines_per_second = self.lines_per_second,
                "plugin log lines suppressed"
            );
        }
    }

    fn is_enabled(&self, level: Level) -> bool {
        // The macros need a level that is known when compiling.
        match level {
            Level::ERROR => tracing::enabled!(target: TARGET, Level::ERROR),
            Level::WARN => tracing::enabled!(target: TARGET, Level::WARN),
            Level::INFO => tracing::enabled!(target: TARGET, Level::INFO),
            Level::DEBUG => tracing::enabled!(target: TARGET, Level::DEBUG),
            Level::TRACE => tracing::enabled!(target: TARGET, Level::TRACE),
        }
    }

    fn emit(&self, level: Level, line: &str) {
        macro_rules! event {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    plugin = self.plugin(),
                    stage = %self.stage,
                    generation = self.generation,
                    "{line}"
                )
            };
        }
        match level {
            Level::ERROR => event!(Level::ERROR),
            Level::WARN => event!(Level::WARN),
            Level::INFO => event!(Level::INFO),
            Level::DEBUG => event!(Level::DEBUG),
            Level::TRACE => event!(Level::TRACE),
        }
    }
}

impl Drop for GuestLog {
    /// Writes the waiting lines of a plugin that failed before it gave its name.
    fn drop(&mut self) {
        if self.plugin.get().is_none() {
            let module = std::mem::take(&mut self.module);
            self.name_plugin(&module);
        }
    }
}
