//! What an instance reads, learned from what it says.

use spandrel_wire::Reads;

/// What a plugin's instance read in a call that it never said before. The host takes it for a hint
/// of what to have at hand in the next calls, so saying too little costs time and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewReads {
    /// Ids, names, kinds, times, status, flags of spans: all that is neither attribute nor event
    /// nor link.
    pub fields: bool,
    /// Attributes of spans with these keys.
    pub attributes: Vec<String>,
    /// Everything else: all attributes of a span, events, links, bytes.
    pub whole: bool,
}

/// After so many batches without news the instance has probably seen the kinds of spans that there
/// are. One that reads more after that asks for the whole batch, which costs a splice: rare enough.
const SETTLED: u32 = 8;

/// What one instance is known to read.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// None until the instance says something: plugins that never do see whole batches.
    reads: Option<Reads>,
    /// Whether it reads what no projection has.
    whole: bool,
    /// Batches since the last news.
    batches: u32,
}

impl Learned {
    /// Adds what the instance said with one batch.
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
        // Too many keys, or too long: what is left of a projection would be most of the batch.
        let fits = |key: &String| reads.add_key(key).is_some();
        self.whole |= news.whole || !news.attributes.iter().all(fits);
    }

    /// What a projection must have, if the instance can be called with one.
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

    fn settle(learned: &mut Learned) {
        for _ in 0..SETTLED {
            learned.add(None);
        }
    }

    /// An instance that says nothing is never projected for; one that says something is, once it
    /// has no news for a while, and news begin the wait anew.
    #[test]
    fn reads_settle() {
        let mut learned = Learned::default();
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

    /// Whoever reads all, or more keys or longer ones than a projection takes, sees whole batches.
    #[test]
    fn too_much_is_the_whole() {
        let many = (0..=Reads::KEYS).map(|n| n.to_string()).collect();
        let long = vec!["k".repeat(Reads::KEY_BYTES + 1)];
        for (attributes, whole) in [(many, false), (long, false), (Vec::new(), true)] {
            let mut learned = Learned::default();
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
