//! Decisions made by random bytes: when they run out, every decision is the simplest one.

/// A list of random bytes that is used up one by one.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    bytes: Vec<u8>,
    at: usize,
}

impl Dice {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns new dice with the next bytes, at most this many and at most a third of what is left.
    /// Otherwise the first decisions would use up all of them.
    pub(crate) fn fork(&mut self, most: usize) -> Self {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = left[..most.min(left.len() / 3)].to_vec();
        self.at += bytes.len();
        Self { bytes, at: 0 }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// Returns one of `0..sides`, mostly a low one if few bytes are left.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        let wide = usize::from(self.byte()) << 8 | usize::from(self.byte());
        wide % sides.max(1)
    }

    /// Returns true once in this many.
    pub(crate) fn once_in(&mut self, sides: u8) -> bool {
        self.byte() % sides == sides - 1
    }

    pub(crate) fn word(&mut self) -> u64 {
        let bytes = [(); 8].map(|()| self.byte());
        // Small numbers are as likely as large ones.
        u64::from_le_bytes(bytes) >> (u32::from(self.byte()) % 64)
    }

    pub(crate) fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(2).then(|| make(self))
    }

    pub(crate) fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| make(self)).collect()
    }

    /// Makes a list that is rarely empty.
    pub(crate) fn few<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let len = if self.once_in(10) {
            0
        } else {
            1 + self.roll(most)
        };
        (0..len).map(|_| make(self)).collect()
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        self.list(most, Self::byte)
    }

    /// Returns a key, mostly one of a few, so that edits meet attributes and each other.
    pub(crate) fn key(&mut self) -> String {
        match self.byte() % 6 {
            5 => self.text(),
            few => ["a", "b", "cc", "http.route", "ü"][usize::from(few)].to_owned(),
        }
    }

    pub(crate) fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "",
            "a",
            "b",
            "ü",
            "http.route",
            "service.name",
            "日本語",
            "\u{0}",
        ];
        match self.byte() % 12 {
            8 => "long ".repeat(self.roll(60)),
            9 => String::from_utf8_lossy(&self.bytes(12)).into_owned(),
            10 => (0..self.roll(30))
                .map(|_| char::from(self.byte() % 0x80))
                .collect(),
            other => TEXTS[usize::from(other) % TEXTS.len()].to_owned(),
        }
    }
}
