//! What happened in a run, as a hash always and as text on demand.

use halley_model::Millis;
use std::fmt::{self, Write as _};

/// The history of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    start: Millis,
    hash: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty history beginning at `start`; `keep` says whether its text is wanted.
    pub(crate) fn new(start: Millis, keep: bool) -> Self {
        Self { start, hash: 0xCBF2_9CE4_8422_2325, line: String::new(), lines: keep.then(Vec::new) }
    }

    /// Adds what happened at `now`.
    pub(crate) fn note(&mut self, now: Millis, what: fmt::Arguments<'_>) {
        let after = now - self.start;
        self.line.clear();
        write!(self.line, "{:>5}.{:03}  {what}", after / 1000, after % 1000)
            .expect("writing to a string cannot fail");
        self.hash = self.line.bytes().fold(self.hash, |hash, byte| mixed(hash, u64::from(byte)));
        if let Some(lines) = &mut self.lines {
            lines.push(self.line.clone());
        }
    }

    /// Takes a number into the hash only.
    pub(crate) fn mix(&mut self, word: u64) {
        self.hash = mixed(self.hash, word);
    }

    /// Hash of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The text, empty where it was not wanted.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}

/// One step of FNV-1a, over words.
fn mixed(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x0100_0000_01B3)
}
