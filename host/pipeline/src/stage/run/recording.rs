//! The exact replies of a running plugin, recorded for the comparison with a shadow.

use crate::plugin::Ticket;

/// The plugin's exact replies since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct ReplyRecording {
    /// The last batch's ticket and verdicts; `None` if it was not judged.
    pub(crate) judged: Option<(Ticket, Vec<u8>)>,
    /// Ticket, index and outcome of released items, as they crossed the boundary.
    pub(crate) released: Vec<u64>,
}
