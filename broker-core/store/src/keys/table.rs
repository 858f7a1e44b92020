//! The keys of the segment that is being filled, or of one that is read to make its file.

use super::{
    file::Summary,
    terms::{self, Hashing},
};
use halley_model::{LogOffset, RecordView};

/// Most entries in memory, 8 bytes each. The records behind them are found by reading the log. A segment of 128 MiB has as many
/// only where its records have more than two keys and next to no body.
pub(crate) const ENTRIES_MAX: usize = 4 << 20;

/// Entries in log order: the hash in the upper half, the record's position in its segment in the lower one.
pub(crate) struct Table {
    /// Where the segment begins.
    pub(crate) base: LogOffset,
    /// All records before this were looked at.
    pub(crate) end: LogOffset,
    pub(crate) entries: Vec<u64>,
    pub(crate) summary: Summary,
    entries_max: usize,
    hashing: Hashing,
}

impl Table {
    /// A table of the segment that begins at `base`.
    pub(crate) fn new(base: LogOffset, entries_max: usize) -> Self {
        let (summary, hashing) = (Summary::default(), Hashing::new());
        Self { base, end: base, entries: Vec::new(), summary, entries_max, hashing }
    }

    /// Whether no more records are taken.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.entries_max
    }

    /// Takes a record in.
    pub(crate) fn add(&mut self, record: &RecordView<'_>) {
        let position = (record.log_offset() - self.base) as u32;
        let before = self.entries.len();
        let (topic, hashing, entries) = (record.topic(), &mut self.hashing, &mut self.entries);
        terms::for_each(record, |kind, key| {
            let hash = hashing.hash(topic, kind, key);
            entries.push(entry(hash, position));
        });
        if self.entries.len() > before {
            self.summary.saw(position, record.stored());
        }
    }

    /// The positions under a hash, in log order.
    pub(crate) fn positions(&self, hash: u32) -> Vec<u32> {
        let found = self.entries.iter().filter(|entry| (**entry >> 32) as u32 == hash);
        let mut positions: Vec<u32> = found.map(|entry| *entry as u32).collect();
        positions.dedup();
        positions
    }
}

pub(crate) fn entry(hash: u32, position: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(position)
}
