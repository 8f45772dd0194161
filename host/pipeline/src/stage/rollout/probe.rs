//! A probe: finds out whether a candidate works, on an instance that is thrown away.

use spandrel_wire::{Limits, Signal};

use crate::plugin::{Fault, FaultKind, Generation, Input, InstantiateError, State};
use crate::stage::held::HeldTable;
use crate::stage::run::reply::CheckedReply;

/// The reason why a candidate must not run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No second instance of it can be made.
    #[error("no instance could be made")]
    Instantiate(#[source] InstantiateError),
    /// The candidate failed.
    #[error("the plugin failed on {with}")]
    Failed {
        /// The input on which it failed.
        with: &'static str,
        /// The fault.
        #[source]
        source: Fault,
    },
}

/// The result of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// The plugin's refusal of the state that it was given, if it refused it.
    pub state_refused: Option<String>,
    /// The number of items in the real batch that it was called with; 0 if there was none.
    pub items: usize,
}

/// Calls a fresh instance of a candidate with the running one's state, with an empty batch, and
/// with a real one. Its replies are checked like those of running plugins, and then discarded.
///
/// # Errors
/// Returns an error if the candidate fails. Refusing the state is not an error.
pub async fn probe(
    generation: &dyn Generation,
    state: Option<State>,
    sample: Option<Input>,
    limits: &Limits,
) -> Result<Probed, ProbeError> {
    let failed = |with| move |source| ProbeError::Failed { with, source };
    let instance = generation.instantiate().await;
    let mut instance = instance.map_err(ProbeError::Instantiate)?;
    let mut probed = Probed::default();
    let mut names_held = false;
    if let Some(state) = state {
        let restored = instance.restore(state).await;
        let restored = restored.map_err(failed("the running generation's state"))?;
        names_held = restored.is_ok();
        probed.state_refused = restored.err();
    }
    let batches = [
        ("an empty batch", Some(Input::default())),
        ("the last real batch", sample),
    ];
    for (ticket, (with, batch)) in (FIRST_TICKET..).zip(batches) {
        let Some(mut batch) = batch else { continue };
        batch.make_whole();
        let items = spandrel_wire::count(Signal::Traces, batch.bytes());
        let reply = instance.process(ticket, &batch).await;
        let reply = reply.map_err(failed(with))?;
        // The state may name items that are held elsewhere.
        let mut held = HeldTable::default();
        if names_held {
            held.ignore_releases_below(FIRST_TICKET);
        }
        CheckedReply::new(
            &held,
            generation.manifest(),
            limits,
            &mut batch,
            items as u64,
            reply,
        )
        .map_err(|message| failed(with)(Fault::new(FaultKind::BadReply, message)))?;
        probed.items = items;
    }
    Ok(probed)
}

/// The first ticket of a probe: above every ticket that a running instance can have.
const FIRST_TICKET: u64 = 1 << 63;
