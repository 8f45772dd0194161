//! The progress of a run.

use spandrel_bench::Progress;

/// Returns one line of progress. On a terminal it replaces the line before.
pub(super) fn line(progress: &Progress, is_terminal: bool) -> String {
    let seconds = progress.elapsed.as_secs_f64();
    let mut line = format!(
        "{} {}: {seconds:.0} s, {} accepted, {} arrived",
        progress.subject, progress.phase, progress.accepted, progress.arrived,
    );
    if let Some(cpu) = progress.cpu
        && progress.accepted > 0
    {
        #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
        let each = cpu.as_secs_f64() * 1e6 / progress.accepted as f64;
        line.push_str(&format!(", {each:.3} us of CPU each"));
    }
    if let Some(memory) = progress.memory {
        line.push_str(&format!(", {} MiB", memory >> 20));
    }
    if is_terminal {
        format!("\r\x1b[K{line}")
    } else {
        format!("{line}\n")
    }
}
