//! Reads the configuration when nobody is writing it.

use std::time::Duration;

use spandrel_config::Config;
use spandrel_config::source::Sources;

use crate::refusal::Refusal;

/// The time between two reads that must agree, as for credentials and certificates. A write that is
/// under way makes progress within it.
const BETWEEN: Duration = Duration::from_millis(100);

/// The number of reads after which a file that keeps changing is given up. 20 take two seconds, and
/// other commands wait meanwhile.
const READS: usize = 20;

/// Reads the configuration when its files have the same content before and after. The order to
/// reload may come while a file is being written, and half a file may be a valid configuration.
pub(crate) async fn load(sources: &Sources) -> Result<Config, Refusal> {
    let mut before = sources.digests();
    for _ in 0..READS {
        let loaded = Config::load(sources);
        tokio::time::sleep(BETWEEN).await;
        let after = sources.digests();
        if after == before {
            return loaded.map_err(|bad| Refusal::Bad(bad.to_string()));
        }
        before = after;
    }
    let seconds = (BETWEEN * u32::try_from(READS).unwrap_or(u32::MAX)).as_secs();
    Err(Refusal::Conflict(format!(
        "the configuration was written to for {seconds} s without a pause: reload when it is complete"
    )))
}
