//! The parts of spans that an instance reads, learned from its reports.

use spandrel_wire::Reads;

use crate::plugin::NewReads;

/// After this many batches without a new report the instance has probably seen every kind of span
/// that there is. If it reads more after that, it asks for the whole batch, which costs a splice;
/// this is rare enough.
const SETTLED: u32 = 8;

/// The reads that are known of one instance.
#[derive(Debug, Default)]
pub(super) struct LearnedReads {
    /// `None` until the instance reports something: plugins that never do see whole batches.
    reads: Option<Reads>,
    /// True if the instance reads something that no projection has.
    whole: bool,
    /// The number of batches since the last new report.
    batches: u32,
}

impl LearnedReads {
    /// Adds the report that the instance made with one batch.
    pub(super) fn add(&mut self, news: Option<NewReads>) {
        let Some(news) = news else {
            self.batches = self.batches.saturating_add(1);
            return;
        };
        self.batches = 0;
        let reads = self.reads.get_or_insert_default();
        if news.fields {
            reads.add_fields();
        }
        // With too many or too long keys, a projection would be most of the batch.
        let fits = |key: &String| reads.add_key(key).is_some();
        self.whole |= news.whole || !news.attributes.iter().all(fits);
    }

    /// Returns the parts that a projection must have, if the instance can be called with one.
    pub(super) fn settled(&self) -> Option<&Reads> {
        let settled = !self.whole && self.batches >= SETTLED;
        self.reads.as_ref().filter(|_| settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: &str) -> Option<NewReads> {
        Some(NewReads {
            attributes: vec![key.to_owned()],
            ..NewReads::default()
        })
    }

    fn settle(learned: &mut LearnedReads) {
        for _ in 0..SETTLED {
            learned.add(None);
        }
    }

    /// An instance that reports nothing is never called with a projection. One that reports
    /// something is, once it has reported nothing new for a while; a new report restarts the wait.
    #[test]
    fn reads_settle() {
        let mut learned = LearnedReads::default();
        settle(&mut learned);
        assert_eq!(learned.settled(), None);
        learned.add(read("a"));
        assert_eq!(learned.settled(), None);
        settle(&mut learned);
        assert_eq!(
            learned.settled().map(Reads::keys),
            Some(&["a".to_owned()][..])
        );
        learned.add(read("b"));
        assert_eq!(learned.settled(), None);
        settle(&mut learned);
        assert_eq!(learned.settled().map(|reads| reads.keys().len()), Some(2));
    }

    /// An instance that reads everything, or more or longer keys than a projection takes, sees
    /// whole batches.
    #[test]
    fn too_much_is_the_whole() {
        let many = (0..=Reads::KEYS).map(|n| n.to_string()).collect();
        let long = vec!["k".repeat(Reads::KEY_BYTES + 1)];
        for (attributes, whole) in [(many, false), (long, false), (Vec::new(), true)] {
            let mut learned = LearnedReads::default();
            learned.add(Some(NewReads {
                fields: false,
                attributes,
                whole,
            }));
            settle(&mut learned);
            assert_eq!(learned.settled(), None);
        }
    }
}
