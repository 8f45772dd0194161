//! A figure of the ledger, with all that a reader needs to know of it. The log, the admin API, the
//! metrics and the tests go through the figures of a table, and so spell no name themselves.

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, as in the log and in JSON.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The unit of the value.
    pub unit: Unit,
    /// Its side of the balance.
    pub side: Side,
    /// The metric that has it; `None` if it has another form there, or is no metric.
    pub metric: Option<&'static str>,
    /// True if it concerns only a pipeline with a journal: the others do not show it as a metric.
    pub of_journal: bool,
    /// Its meaning.
    pub help: &'static str,
}

/// The things that a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Spans, metric points or log records.
    Items,
    /// Requests of senders, or to backends.
    Requests,
    /// Records and files of a journal.
    Records,
    /// Starts of the process.
    Starts,
    /// Bytes.
    Bytes,
    /// Calls of a plugin.
    Calls,
    /// Instances of a plugin.
    Instances,
    /// Shards of a pipeline.
    Shards,
    /// Batches.
    Batches,
}

/// The side of the balance on which a figure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Items that came in.
    Into,
    /// Items that went out, or that a log keeps.
    OutOf,
    /// Items that are inside now.
    Inside,
    /// Neither: a part of another figure, or no items of the balance.
    Aside,
}

impl Figure {
    pub(super) const fn new(
        name: &'static str,
        value: u64,
        side: Side,
        metric: Option<&'static str>,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            unit: Unit::Items,
            side,
            metric,
            of_journal: false,
            help,
        }
    }

    pub(super) const fn of_journal(mut self) -> Self {
        self.of_journal = true;
        self
    }

    pub(super) const fn unit(mut self, unit: Unit) -> Self {
        self.unit = unit;
        self
    }
}

/// Returns true if the items that came in are those that went out and those that are inside.
pub(super) fn balances(figures: &[Figure]) -> bool {
    let sum = |side| -> u64 {
        let of_side = figures.iter().filter(|figure| figure.side == side);
        of_side.map(|figure| figure.value).sum()
    };
    sum(Side::Into) == sum(Side::OutOf) + sum(Side::Inside)
}
