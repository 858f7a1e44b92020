//! What belongs to one backup.
//!
//! ```text
//! halley-backup 1
//! taken 1700000000000                                        ms since 1970: all that was acknowledged by then is in it
//! begin 0                                                    where the log begins
//! segment 0 134217700 1a2b3c4d 99aabbcc 120001 1699999999000 base, length, crc of the last frame, crc of the bytes, records,
//! …                                                          latest store time
//! crc 01234567                                               CRC-32 of all lines before
//! ```
//!
//! There is one way to write a manifest: what does not encode to the same bytes is none.

use super::{LOG, MANIFESTS};
use crate::objects::ObjectError;
use halley_model::{LogOffset, Millis};
use std::fmt::Write;

pub(super) const SUFFIX: &str = ".manifest";
const HEAD: &str = "halley-backup 1";

/// What belongs to one backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// When it was begun. Manifests of a place are in this order.
    pub taken: Millis,
    /// Where the log begins; more than 0 where older parts of it were removed before.
    pub begin: LogOffset,
    /// The log, without a gap.
    pub stretches: Vec<Stretch>,
}

/// The first bytes of a segment: all of them, but for the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The address of the first byte.
    pub base: LogOffset,
    /// How many bytes.
    pub length: u64,
    /// The crc of the last frame, which goes on from all before.
    pub chain: u32,
    /// The CRC-32 of the bytes.
    pub crc: u32,
    /// Records in it.
    pub records: u64,
    /// The latest time at which one of them was stored, 0 without any.
    pub latest: Millis,
}

/// Why a manifest cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The place refused.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// It is not what was written.
    #[error("{name} is damaged: {reason}; the backup that it describes cannot be used, remove it")]
    Damaged {
        /// the object
        name: String,
        /// what is wrong
        reason: String,
    },
}

impl Manifest {
    /// The address behind the last byte.
    pub fn end(&self) -> LogOffset {
        self.stretches.last().map_or(self.begin, Stretch::end)
    }

    /// Records in all of it.
    pub fn records(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.records).sum()
    }

    /// Its object's name.
    pub fn name(&self) -> String {
        format!("{MANIFESTS}/{:020}{SUFFIX}", self.taken)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!("{HEAD}\ntaken {}\nbegin {}\n", self.taken, self.begin);
        for Stretch { base, length, chain, crc, records, latest } in &self.stretches {
            let written = writeln!(text, "segment {base} {length} {chain:08x} {crc:08x} {records} {latest}");
            written.expect("a string takes everything");
        }
        let crc = crc32fast::hash(text.as_bytes());
        writeln!(text, "crc {crc:08x}").expect("a string takes everything");
        text.into_bytes()
    }

    /// Reads one; `Err` says what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let found = Self::parse(text).ok_or("it is not a manifest of this version")?;
        if found.encode() != bytes {
            return Err("its checksum is wrong".to_owned());
        }
        let mut next = found.begin;
        for stretch in &found.stretches {
            if stretch.base != next
                || stretch.length == 0
                || stretch.base.checked_add(stretch.length).is_none()
            {
                return Err(format!("a part of the log is missing at {next}"));
            }
            next = stretch.end();
        }
        if found.stretches.is_empty() || found.taken < 0 {
            return Err("there is nothing in it".to_owned());
        }
        Ok(found)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let taken = lines.next()?.strip_prefix("taken ")?.parse().ok()?;
        let begin = lines.next()?.strip_prefix("begin ")?.parse().ok()?;
        let segments = lines.map_while(|line| line.strip_prefix("segment ")).map(Stretch::parse);
        Some(Self { taken, begin, stretches: segments.collect::<Option<_>>()? })
    }
}

impl Stretch {
    /// The address behind the last byte.
    pub fn end(&self) -> LogOffset {
        self.base + self.length
    }

    /// Its object's name.
    pub fn name(&self) -> String {
        format!("{LOG}/{:020}-{}-{:08x}.seg", self.base, self.length, self.chain)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let hex = |word: &str| u32::from_str_radix(word, 16).ok();
        Some(Self {
            base: words.next()?.parse().ok()?,
            length: words.next()?.parse().ok()?,
            chain: hex(words.next()?)?,
            crc: hex(words.next()?)?,
            records: words.next()?.parse().ok()?,
            latest: words.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let stretch = |base, length, chain| Stretch {
            base,
            length,
            chain,
            crc: 0x1234,
            records: 12,
            latest: 1_700_000_000_000,
        };
        Manifest {
            taken: 1_700_000_000_777,
            begin: 4000,
            stretches: vec![stretch(4000, 128, 7), stretch(4128, 99, u32::MAX)],
        }
    }

    #[test]
    fn manifests_are_read_as_they_were_written() {
        let manifest = manifest();
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
        assert_eq!((manifest.end(), manifest.records()), (4227, 24));
        assert_eq!(manifest.name(), "backup/00000001700000000777.manifest");
        assert_eq!(manifest.stretches[1].name(), "log/00000000000000004128-99-ffffffff.seg");
        let mut gap = manifest.clone();
        gap.stretches[1].base += 1;
        assert!(Manifest::decode(&gap.encode()).unwrap_err().contains("missing at 4128"));
        let mut wraps = manifest;
        wraps.stretches[1].length = u64::MAX;
        assert!(Manifest::decode(&wraps.encode()).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_bit_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = manifest().encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Manifest::decode(&bytes).is_err());
        }

        #[test]
        fn cut_off_ones_are_none(until: prop::sample::Index) {
            let bytes = manifest().encode();
            prop_assert!(Manifest::decode(&bytes[..until.index(bytes.len())]).is_err());
        }
    }
}
