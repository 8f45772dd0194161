//! A plugin's answer, checked as a whole before any part is applied: a bad reply changes nothing.

use spandrel_wire::{Edits, Limits, Rules, Signal};

use crate::plugin::{Emission, Input, Manifest, Reply, ReplyEffect};
use crate::stage::held::{HeldTable, Settlement};

/// The checked answer: the effect on a batch, and on items held earlier.
#[derive(Debug)]
pub(crate) struct CheckedReply {
    pub(super) effect: ReplyEffect,
    pub(super) emission: Option<CheckedEmission>,
    /// The exact verdicts, if they are to be recorded.
    pub(super) verdicts: Option<Vec<u8>>,
}

impl CheckedReply {
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
        let emission = reply.emission.filter(|emission| !emission.is_empty());
        let emission = emission
            .map(|emission| CheckedEmission::new(held, reasons, limits, emission))
            .transpose()?;
        let effect = input
            .apply(&reply.verdicts, edits, &rules)
            .map_err(|bad| bad.to_string())?;
        Ok(Self {
            effect,
            emission,
            verdicts: None,
        })
    }
}

/// A checked emission.
#[derive(Debug)]
pub(super) struct CheckedEmission {
    pub(super) settlement: Settlement,
    pub(super) emission: Emission,
    /// The number of items that the plugin made.
    pub(super) created: u64,
}

impl CheckedEmission {
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

    /// Returns true if the plugin made items.
    pub(super) fn creates(&self) -> bool {
        self.created > 0
    }
}
