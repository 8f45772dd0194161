//! What an instance is called with: a batch, or the projection of one.

use std::sync::Arc;

use bytes::Bytes;
use spandrel_wire::{BadReply, Edits, Held, Kept, Projection, Reads, Rules, Spliced, splice};

/// A batch as one stage sees it: validated OTLP bytes. Either the whole batch, or a projection: a
/// request with the same resources, scopes and spans, but of each span only what the stages said
/// that they read. The whole batch is at hand all the same.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The batch; with a projection, as it was when that was made.
    batch: Bytes,
    /// Everything that changed since is in here.
    projection: Option<Arc<Projection>>,
}

impl From<Bytes> for Input {
    fn from(batch: Bytes) -> Self {
        Self {
            batch,
            projection: None,
        }
    }
}

impl From<Vec<u8>> for Input {
    fn from(batch: Vec<u8>) -> Self {
        Bytes::from(batch).into()
    }
}

/// What a checked reply came to.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) kept_items: usize,
    pub(super) held: Option<Held>,
    pub(super) dropped: Vec<(u8, u64)>,
}

impl Input {
    /// The projection of a batch to these reads.
    pub fn projected(batch: Bytes, reads: Reads) -> Self {
        let projection = Projection::new(&batch, reads);
        Self {
            batch,
            projection: Some(Arc::new(projection)),
        }
    }

    /// What the plugin is to see.
    pub fn bytes(&self) -> &[u8] {
        self.projection
            .as_ref()
            .map_or(&self.batch, |projection| projection.bytes())
    }

    /// What the projection has of each span; none when the whole batch is at hand.
    pub fn reads(&self) -> Option<&Reads> {
        self.projection
            .as_ref()
            .map(|projection| projection.reads())
    }

    /// The whole batch, with everything that the stages before asked for.
    pub fn whole(&self) -> Bytes {
        let Some(projection) = &self.projection else {
            return self.batch.clone();
        };
        match projection.splice(&self.batch) {
            Kept::All => self.batch.clone(),
            Kept::Some(bytes) => Bytes::from(bytes),
            Kept::Nothing => Bytes::new(),
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

    /// The length of what the plugin is to see.
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Checks a reply and applies it. A bad one changes nothing.
    pub(super) fn apply(
        &mut self,
        verdicts: &[u8],
        edits: Edits<'_>,
        rules: &Rules,
    ) -> Result<Applied, BadReply> {
        if let Some(projection) = &mut self.projection {
            // No instance keeps its input beyond the call, so nothing is copied here.
            let projection = Arc::make_mut(projection);
            let applied = projection.apply(verdicts, edits, rules)?;
            if projection.is_full() {
                self.make_whole();
            }
            return Ok(Applied {
                kept_items: applied.kept_items,
                held: None,
                dropped: applied.dropped,
            });
        }
        let Spliced {
            kept,
            kept_items,
            held,
            dropped,
        } = splice(&self.batch, verdicts, edits, rules)?;
        match kept {
            Kept::All => {}
            Kept::Some(bytes) => self.batch = Bytes::from(bytes),
            Kept::Nothing => self.batch = Bytes::new(),
        }
        Ok(Applied {
            kept_items,
            held,
            dropped,
        })
    }
}
