//! The input of a call: a batch, or the projection of one.

use std::sync::Arc;

use bytes::Bytes;
use spandrel_wire::{BadReply, Edits, HeldItems, Output, Projection, Reads, Rules, Splice, splice};

/// A batch as one stage sees it: validated OTLP bytes. Either the whole batch, or a projection: a
/// request with the same resources, scopes and spans, but with only those parts of each span that
/// the stages reported to read. The whole batch can still be produced from it.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The batch; if there is a projection, the batch as it was when the projection was made.
    batch: Bytes,
    /// The projection. It contains all changes since then.
    projection: Option<Arc<Projection>>,
    /// The number of bytes that the stages' edits may have added so far.
    grown: usize,
}

impl From<Bytes> for Input {
    fn from(batch: Bytes) -> Self {
        Self {
            batch,
            projection: None,
            grown: 0,
        }
    }
}

impl From<Vec<u8>> for Input {
    fn from(batch: Vec<u8>) -> Self {
        Bytes::from(batch).into()
    }
}

/// The effect of a checked reply.
#[derive(Debug)]
pub(crate) struct ReplyEffect {
    pub(crate) kept_items: usize,
    pub(crate) held: Option<HeldItems>,
    pub(crate) dropped: Vec<(u8, u64)>,
}

impl Input {
    /// Makes the projection of a batch to these reads.
    pub fn projected(batch: Bytes, reads: Reads) -> Self {
        let projection = Projection::new(&batch, reads);
        Self {
            batch,
            projection: Some(Arc::new(projection)),
            grown: 0,
        }
    }

    /// Returns the bytes that the plugin sees.
    pub fn bytes(&self) -> &[u8] {
        self.projection
            .as_ref()
            .map_or(&self.batch, |projection| projection.bytes())
    }

    /// Returns the parts of each span that the projection contains; `None` if the input is the
    /// whole batch.
    pub fn reads(&self) -> Option<&Reads> {
        self.projection
            .as_ref()
            .map(|projection| projection.reads())
    }

    /// Returns the whole batch, with all edits of the stages before.
    pub fn whole(&self) -> Bytes {
        let Some(projection) = &self.projection else {
            return self.batch.clone();
        };
        match projection.splice(&self.batch) {
            Output::Unchanged => self.batch.clone(),
            Output::Request(bytes) => Bytes::from(bytes),
            Output::Nothing => Bytes::new(),
        }
    }

    /// Makes a part of this batch. It has the same room left to grow as this one.
    pub(crate) fn part(&self, bytes: Bytes) -> Self {
        Self {
            batch: bytes,
            projection: None,
            grown: self.grown,
        }
    }

    /// Joins two parts of a batch again.
    pub(crate) fn join(&self, other: &Self) -> Self {
        let merged = spandrel_wire::merge([&*self.whole(), &*other.whole()]);
        Self {
            batch: merged.into(),
            projection: None,
            grown: self.grown.max(other.grown),
        }
    }

    pub(crate) fn make_whole(&mut self) {
        if self.projection.is_some() {
            self.batch = self.whole();
            self.projection = None;
        }
    }

    pub(crate) fn project(&mut self, reads: Reads) {
        self.make_whole();
        self.projection = Some(Arc::new(Projection::new(&self.batch, reads)));
    }

    /// Returns the length of the bytes that the plugin sees.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Checks a reply and applies it. A bad one changes nothing.
    ///
    /// The limit on what one reply may add applies to all stages together: a guest that sees a
    /// projection does not see how the batch grows, so its own memory does not bound the growth.
    pub(crate) fn apply(
        &mut self,
        verdicts: &[u8],
        edits: Edits<'_>,
        rules: &Rules,
    ) -> Result<ReplyEffect, BadReply> {
        let limit = rules.limits.edit_bytes;
        let grown = self.grown.saturating_add(edits.added_bytes());
        if grown > limit {
            return Err(BadReply::Growth { limit });
        }
        let applied = self.apply_within(verdicts, edits, rules)?;
        self.grown = grown;
        Ok(applied)
    }

    fn apply_within(
        &mut self,
        verdicts: &[u8],
        edits: Edits<'_>,
        rules: &Rules,
    ) -> Result<ReplyEffect, BadReply> {
        if let Some(projection) = &mut self.projection {
            // No instance keeps its input beyond the call, so this copies nothing.
            let projection = Arc::make_mut(projection);
            let applied = projection.apply(verdicts, edits, rules)?;
            if projection.is_full() {
                self.make_whole();
            }
            return Ok(ReplyEffect {
                kept_items: applied.kept_items,
                held: None,
                dropped: applied.dropped,
            });
        }
        let Splice {
            output,
            kept_items,
            held,
            dropped,
        } = splice(&self.batch, verdicts, edits, rules)?;
        match output {
            Output::Unchanged => {}
            Output::Request(bytes) => self.batch = Bytes::from(bytes),
            Output::Nothing => self.batch = Bytes::new(),
        }
        Ok(ReplyEffect {
            kept_items,
            held,
            dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use spandrel_wire::{Limits, Operation, write_key_value};

    use super::*;

    /// Stages that each stay within the limit of a reply cannot grow a batch beyond it together,
    /// whether they see the batch or a projection of it.
    #[test]
    fn a_row_grows_a_batch_no_more_than_one_stage() {
        let mut blob = Vec::new();
        write_key_value(&mut blob, "pad", "p".repeat(40).as_str());
        let length = u32::try_from(blob.len()).expect("short");
        let words = [Operation::UpsertAttribute.number(), 0, 0, length];
        let edits = Edits {
            words: &words,
            blob: &blob,
        };
        let rules = Rules {
            items: 1,
            reasons: 0,
            holds: false,
            limits: Limits {
                edit_bytes: 90,
                ..Limits::default()
            },
        };
        let one_span = Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]);
        for mut input in [
            Input::from(one_span.clone()),
            Input::projected(one_span, Reads::new()),
        ] {
            assert!(input.apply(&[], edits, &rules).is_ok());
            input.make_whole();
            let whole = input.whole();
            assert_eq!(
                input.apply(&[], edits, &rules).err(),
                Some(BadReply::Growth { limit: 90 })
            );
            assert_eq!(input.whole(), whole);
        }
    }
}
