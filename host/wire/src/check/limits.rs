//! Limits on the cost of a request.

/// Limits on what a request may cost its decoders, here or further on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels of attribute values inside attribute values (arrays and lists). Groups inside unknown
    /// fields count as levels, too. Values above [`Limits::DEEPEST`] count as that.
    pub depth: u32,
    /// The number of items of one request.
    pub items: usize,
    /// Bytes that the request would take as decoded objects, by the sizes that prost gives them.
    pub decoded_bytes: usize,
    /// The number of times its own size that a request above [`Limits::SMALL`] may take as decoded
    /// objects.
    pub expansion: usize,
    /// Bytes that the edits of one reply may add to a batch.
    pub edit_bytes: usize,
}

impl Limits {
    /// The deepest level of values. The recursion of prost ends at 100 messages, and each level of
    /// values is two of them.
    pub const DEEPEST: u32 = 47;

    /// The size of a small request in bytes. It takes at most 9 MiB decoded, whatever is in it. No
    /// ratio is required of it, because a few odd but honest spans may be mostly empty fields.
    pub const SMALL: usize = 64 * 1024;

    /// No limits except the one that protects the stack of this process.
    pub const NONE: Self = Self {
        depth: Self::DEEPEST,
        items: usize::MAX,
        decoded_bytes: usize::MAX,
        expansion: usize::MAX,
        edit_bytes: usize::MAX,
    };

    /// Returns the most bytes that a request of `len` bytes may take as decoded objects.
    pub(crate) fn decoded(&self, len: usize) -> usize {
        if len <= Self::SMALL {
            return self.decoded_bytes;
        }
        self.decoded_bytes.min(len.saturating_mul(self.expansion))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Decoders that are built on prost stop at 47 levels, others have no bound at all;
            // real values nest two or three deep.
            depth: 32,
            // The smallest real item, a time and a value, takes 16 bytes: the largest request that
            // a receiver takes (64 MiB) has no more than this.
            items: 4 * 1024 * 1024,
            // Eight times the largest request that a receiver takes. Real telemetry decodes to two
            // or three times its bytes.
            decoded_bytes: 512 * 1024 * 1024,
            // The tightest real data (histograms with empty buckets, arrays of small integers)
            // decodes to eight times its bytes. A request of empty spans decodes to 130 times its
            // bytes.
            expansion: 16,
            // Many edits may point to one snippet, so a small reply could ask for a huge batch. No
            // batch needs to grow by more than the largest request that a receiver takes.
            edit_bytes: 64 * 1024 * 1024,
        }
    }
}
