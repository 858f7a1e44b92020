//! A hasher without a random key: in pure code the same input must take the same path in every run.
//!
//! Names of topics come from clients, so collisions can be made on purpose; the number of topics is bounded by
//! whoever may create them, which bounds the damage.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps keyed by topic.
pub(crate) type BuildFixed = BuildHasherDefault<FixedHasher>;

/// Folds eight bytes at a time with a multiplication whose two halves are mixed.
#[derive(Default)]
pub(crate) struct FixedHasher(u64);

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

impl FixedHasher {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ MULTIPLIER) * 0xA076_1D64_78BD_642F;
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(word));
        }
        self.fold(bytes.len() as u64);
    }

    fn write_u8(&mut self, byte: u8) {
        self.fold(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The hash of `text`, the same in every run.
pub(crate) fn of(text: &str) -> u64 {
    let mut hasher = FixedHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish()
}
