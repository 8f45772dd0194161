//! A plugin's answer, checked as a whole before any part is applied: a bad reply changes nothing.

use spandrel_wire::{Edits, Limits, Rules, Signal};

use crate::stage::held::{HeldTable, Settlement};
use crate::stage::input::Applied;
use crate::stage::{Emission, Input, Manifest, Reply};

/// The checked answer: the effect on a batch, and on items held earlier.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(super) applied: Applied,
    pub(super) released: Option<Released>,
    /// The exact verdicts, if they are to be compared.
    pub(super) said: Option<Vec<u8>>,
}

impl Judgement {
    /// Applies the reply to the batch. The error is one line that names the place in the reply.
    pub(crate) fn new(
        held: &HeldTable,
        manifest: &Manifest,
        limits: &Limits,
        input: &mut Input,
        items: u64,
        reply: Reply,
    ) -> Result<Self, String> {
        let reasons = manifest.drop_reasons.len();
        let items = usize::try_from(items).unwrap_or(usize::MAX);
        let rules = Rules {
            items,
            reasons,
            holds: manifest.holds,
            limits: *limits,
        };
        let edits = Edits {
            words: &reply.edits,
            blob: &reply.blob,
        };
        let released = reply.emission.filter(|emission| !emission.is_empty());
        let released = released
            .map(|emission| Released::new(held, reasons, limits, emission))
            .transpose()?;
        let applied = input
            .apply(&reply.verdicts, edits, &rules)
            .map_err(|bad| bad.to_string())?;
        Ok(Self {
            applied,
            released,
            said: None,
        })
    }
}

/// A checked emission.
#[derive(Debug)]
pub(super) struct Released {
    pub(super) settlement: Settlement,
    pub(super) emission: Emission,
    /// The number of items that the plugin made.
    pub(super) created: u64,
}

impl Released {
    pub(super) fn new(
        held: &HeldTable,
        reasons: usize,
        limits: &Limits,
        emission: Emission,
    ) -> Result<Self, String> {
        let settlement = held.check(&emission, reasons, limits)?;
        let created = spandrel_wire::validate(Signal::Traces, &emission.created, limits)
            .map_err(|invalid| format!("created: {invalid}"))?;
        Ok(Self {
            settlement,
            emission,
            created: created.items as u64,
        })
    }
}
