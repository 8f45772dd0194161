//! Composes replies: a chain of plugins runs on the projection of a batch, and all of their changes
//! become one splice of the batch itself.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::edit::bad_reply::BadReply;
use crate::edit::edits::{Edit, Edits, Operation, Target, TargetCounts, check_edits, snippet};
use crate::edit::reads::{Reads, Structure, project, project_span};
use crate::edit::splice::{self, Splice};
use crate::edit::verdict::{Rules, VerdictCounts, count_verdicts};
use crate::read::attributes::key_of;
use crate::write::Output;

/// A projection of a batch, which has only what a chain of plugins reads, and the changes that the
/// plugins so far made.
///
/// Each plugin sees [`Projection::bytes`], a valid request. Every count and every declared read in
/// it is that of the batch as the plugins before left it. [`Projection::apply`] takes a plugin's
/// reply. [`Projection::splice`] returns the batch with all replies applied.
#[derive(Clone, Debug)]
pub struct Projection {
    reads: Reads,
    bytes: Vec<u8>,
    structure: Structure,
    /// The place in the batch of each target that is left; `None` while all are left.
    remaining: Option<RemainingTargets>,
    changes: Changes,
}

/// The numbers that the remaining targets have in the batch.
#[derive(Clone, Debug, Default)]
struct RemainingTargets {
    items: Vec<u32>,
    resources: Vec<u32>,
    scopes: Vec<u32>,
}

/// One reply that says the same as all replies so far.
#[derive(Clone, Debug, Default)]
struct Changes {
    /// Empty, or a byte for each item of the batch: 0 for items that are left.
    verdicts: Vec<u8>,
    words: Vec<u32>,
    blob: Vec<u8>,
}

/// The result of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyCounts {
    /// The number of items that are left.
    pub kept_items: usize,
    /// The dropped items, as in [`crate::Splice`].
    pub dropped: Vec<(u8, u64)>,
}

/// The bytes of edits from which a splice is due: a quarter of what edits can name, and more than a
/// few of the largest replies.
const FULL: usize = 1 << 30;

/// The byte of a verdict that drops, for any reason.
const DROPPED: u8 = 2;

impl Projection {
    /// Makes the projection of a valid request.
    pub fn new(request: &[u8], reads: Reads) -> Self {
        let (bytes, structure) = project(request, &reads);
        Self {
            reads,
            bytes,
            structure,
            remaining: None,
            changes: Changes::default(),
        }
    }

    /// Returns the bytes that the next plugin sees.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what the projection has of each span.
    pub const fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Returns true if so much has changed that the batch should be spliced before more is applied:
    /// edits name what they need by 32 bits.
    pub fn is_full(&self) -> bool {
        self.changes.blob.len() > FULL
    }

    /// Returns true if nothing has changed yet.
    pub fn is_unchanged(&self) -> bool {
        self.remaining.is_none() && self.changes.words.is_empty()
    }

    /// Checks a reply as [`crate::splice()`] does, and applies it. A bad reply changes nothing.
    pub fn apply(
        &mut self,
        verdicts: &[u8],
        edits: Edits<'_>,
        rules: &Rules,
    ) -> Result<ReplyCounts, BadReply> {
        let rules = Rules {
            holds: false,
            ..*rules
        };
        let counts = count_verdicts(verdicts, &rules)?;
        check_edits(edits, self.counts(rules.items), &rules.limits)?;
        let base = u32::try_from(self.changes.blob.len() + edits.blob.len())
            .map(|_| self.changes.blob.len())
            .and_then(u32::try_from)
            .map_err(|_| BadReply::Growth {
                limit: u32::MAX as usize,
            })?;

        let (seen, blob) = self.seen(edits);
        let seen = Edits {
            words: seen.as_flattened(),
            blob: &blob,
        };
        let Splice {
            output,
            kept_items,
            dropped,
            ..
        } = splice::write(&self.bytes, verdicts, seen, rules.items, counts);
        match output {
            Output::Unchanged => {}
            Output::Nothing => self.bytes.clear(),
            Output::Request(bytes) => self.bytes = bytes,
        }
        self.compose(edits, base);
        if !dropped.is_empty() {
            self.drop_items(verdicts);
        }
        Ok(ReplyCounts {
            kept_items,
            dropped,
        })
    }

    /// Returns the request with everything applied that the plugins asked for.
    pub fn splice(&self, request: &[u8]) -> Output {
        let items = self.structure.items as usize;
        let counts = VerdictCounts {
            kept: self
                .remaining
                .as_ref()
                .map_or(items, |remaining| remaining.items.len()),
            held: 0,
            dropped: Vec::new(),
        };
        let Changes {
            verdicts,
            words,
            blob,
        } = &self.changes;
        splice::write(request, verdicts, Edits { words, blob }, items, counts).output
    }

    fn counts(&self, items: usize) -> TargetCounts {
        let (resources, scopes) = match &self.remaining {
            Some(remaining) => (remaining.resources.len(), remaining.scopes.len()),
            None => (self.structure.resources.len(), self.structure.scopes.len()),
        };
        TargetCounts {
            items,
            resources,
            scopes,
        }
    }

    /// Returns the edits that change the projection, in the form that fits it, and the blob that
    /// they point into.
    fn seen<'a>(&self, edits: Edits<'a>) -> (Vec<Edit>, Cow<'a, [u8]>) {
        let (quads, _) = edits.words.as_chunks::<4>();
        // Edits of many items are mostly the same few, in turn.
        let mut known = [([u32::MAX; 3], false); KNOWN];
        let shows = |edit: &&Edit| {
            let [operation, _, offset, length] = **edit;
            let slot = operation.wrapping_mul(31) ^ offset;
            match known.get_mut(slot as usize % KNOWN) {
                Some((known, shows)) if *known == [operation, offset, length] => *shows,
                slot => {
                    let shows = self.shows(edit, edits.blob);
                    if let Some(slot) = slot {
                        *slot = ([operation, offset, length], shows);
                    }
                    shows
                }
            }
        };
        let mut seen: Vec<Edit> = quads.iter().filter(shows).copied().collect();
        let mut blob = Cow::Borrowed(edits.blob);
        let is_new = |edit: &&mut Edit| edit[0] == Operation::Replace.number();
        for edit in seen.iter_mut().filter(is_new) {
            let start = blob.len();
            project_span(blob.to_mut(), snippet(edits.blob, edit), &self.reads);
            edit[2] = u32::try_from(start).unwrap_or(u32::MAX);
            edit[3] = u32::try_from(blob.len() - start).unwrap_or(u32::MAX);
        }
        (seen, blob)
    }

    fn shows(&self, edit: &Edit, blob: &[u8]) -> bool {
        match Operation::from_number(edit[0]) {
            Some(Operation::UpsertAttribute) => self.reads.has(key_of(snippet(blob, edit))),
            Some(Operation::DeleteAttribute) => self.reads.has(snippet(blob, edit)),
            Some(Operation::SetName | Operation::SetKind | Operation::SetStatus) => {
                self.reads.fields()
            }
            _ => true,
        }
    }

    /// Adds edits to those of the batch.
    fn compose(&mut self, edits: Edits<'_>, base: u32) {
        let (quads, _) = edits.words.as_chunks::<4>();
        self.changes.blob.extend_from_slice(edits.blob);
        self.changes.words.reserve(edits.words.len());
        for [operation, index, offset, length] in quads {
            let target = Operation::from_number(*operation).map(Operation::target);
            let map = self.remaining.as_ref().and_then(|remaining| match target? {
                Target::Item => Some(&remaining.items),
                Target::Resource => Some(&remaining.resources),
                Target::Scope => Some(&remaining.scopes),
            });
            let index = map.map_or(*index, |map| {
                map.get(*index as usize).copied().unwrap_or(u32::MAX)
            });
            let offset = if *operation == Operation::SetKind.number() {
                *offset
            } else {
                offset.wrapping_add(base)
            };
            self.changes
                .words
                .extend_from_slice(&[*operation, index, offset, *length]);
        }
    }

    /// Removes the items that these verdicts drop from those that are left, and the scopes and
    /// resources that became empty.
    fn drop_items(&mut self, verdicts: &[u8]) {
        let mut remaining = self.remaining.take().unwrap_or_else(|| RemainingTargets {
            items: (0..self.structure.items).collect(),
            ..RemainingTargets::default()
        });
        self.changes
            .verdicts
            .resize(self.structure.items as usize, 0);
        let mut verdict = verdicts.iter();
        remaining.items.retain(|item| {
            let keeps = verdict.next().is_none_or(|verdict| *verdict == 0);
            if !keeps && let Some(verdict) = self.changes.verdicts.get_mut(*item as usize) {
                *verdict = DROPPED;
            }
            keeps
        });
        remaining.recount(&self.structure);
        self.remaining = Some(remaining);
    }
}

/// The number of edits that are remembered.
const KNOWN: usize = 16;

impl RemainingTargets {
    /// Finds the scopes and resources that are left: those with remaining items, and those that
    /// came without any.
    fn recount(&mut self, structure: &Structure) {
        self.resources.clear();
        self.scopes.clear();
        let mut items = self.items.iter().peekable();
        let (mut scope, mut start) = (0, 0);
        for (resource, &end) in (0..).zip(&structure.resources) {
            let (scopes_before, resource_start) = (self.scopes.len(), start);
            let mut kept = 0;
            while scope < end {
                let scope_end = structure
                    .scopes
                    .get(scope as usize)
                    .copied()
                    .unwrap_or(start);
                let before = kept;
                while items.next_if(|item| **item < scope_end).is_some() {
                    kept += 1;
                }
                if kept > before || start == scope_end {
                    self.scopes.push(scope);
                }
                start = scope_end;
                scope += 1;
            }
            if kept > 0 || start == resource_start {
                self.resources.push(resource);
            } else {
                self.scopes.truncate(scopes_before);
            }
        }
    }
}
