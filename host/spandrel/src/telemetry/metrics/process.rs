//! Time, CPU and memory of the process. Left out where the system does not tell them.

use std::time::Duration;

use spandrel_collector::process::{cpu_seconds, memory_rss};

use super::text::Text;

pub(super) fn render(text: &mut Text, uptime: Duration) {
    text.counter("otelcol_process_uptime", &[], uptime.as_secs_f64());
    if let Some(seconds) = cpu_seconds() {
        text.counter("otelcol_process_cpu_seconds", &[], seconds);
    }
    if let Some(bytes) = memory_rss() {
        text.gauge("otelcol_process_memory_rss", &[], bytes);
    }
}
