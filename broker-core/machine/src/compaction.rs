//! Compaction topics: of what is compacted, readers see the newest message of each key, in its place
//! (`CompactionLog`, 5.5). Here is which messages those are, and up to where a queue is compacted; nothing is deleted.

use halley_model::QueueOffset;
use std::{collections::BTreeMap, ops::Range};

/// Bytes of an entry of RocketMQ's index of such a queue (`BatchConsumeQueue.CQ_STORE_UNIT_SIZE`, 5.5).
const INDEX_ENTRY_BYTES: u64 = 46;

/// Bytes that RocketMQ keeps free at the end of a file (`END_FILE_MIN_BLANK_LENGTH`, 5.5).
const BLANK_BYTES: u64 = 8;

/// What an entry of [`Newest`] takes beside its key, in bytes, as it is counted.
const ENTRY_BYTES: usize = 64;

/// Most messages between the first and the last that a queue's compacted part may have: 128 MiB as bits.
pub const SPAN_MAX: u64 = 1 << 30;

/// How long a file of RocketMQ's log of such a queue may be. A file is compacted when the next one is begun, so that the newest messages
/// always stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSizes {
    bytes: u64,
    records: u64,
}

impl FileSizes {
    /// From the settings `compactionMappedFileSize` and `compactionCqMappedFileSize` (`CompactionLog`, 5.5).
    pub fn new(log_bytes: u64, index_bytes: u64) -> Self {
        let index_bytes = (index_bytes / INDEX_ENTRY_BYTES).max(2) * INDEX_ENTRY_BYTES;
        let (times, rest) = (log_bytes / index_bytes, log_bytes % index_bytes);
        let times = match times {
            ..5 => 5,
            times if rest > 0 && rest < index_bytes / 2 => times,
            times => times + 1,
        };
        Self { bytes: times * index_bytes, records: index_bytes / INDEX_ENTRY_BYTES - 1 }
    }
}

/// Finds where files end, record by record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Files {
    bytes: u64,
    records: u64,
    next: QueueOffset,
    closed: QueueOffset,
}

impl Files {
    /// The next record to be told.
    pub fn next(&self) -> QueueOffset {
        self.next
    }

    /// Behind the last file that is closed.
    pub fn closed(&self) -> QueueOffset {
        self.closed
    }

    /// Tells a record's place and size; records come in order.
    pub fn step(&mut self, sizes: FileSizes, offset: QueueOffset, size: u32) {
        let size = u64::from(size);
        let full = self.records >= sizes.records || self.bytes + size + BLANK_BYTES > sizes.bytes;
        // A record that is longer than a file has one of its own.
        if full && self.records > 0 {
            (self.bytes, self.records, self.closed) = (0, 0, offset);
        }
        self.bytes += size;
        self.records += 1;
        self.next = offset + 1;
    }
}

/// The newest offset of each key in a stretch of a queue.
#[derive(Debug)]
pub struct Newest {
    by_key: BTreeMap<Box<str>, QueueOffset>,
    bytes: usize,
    bytes_max: usize,
}

/// There are too many keys to take in more; the stretch must end before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Newest {
    /// Of nothing yet. It takes about `bytes_max` bytes (`maxOffsetMapSize`), and one key at least.
    pub fn new(bytes_max: usize) -> Self {
        Self { by_key: BTreeMap::new(), bytes: 0, bytes_max }
    }

    /// Takes in a record; records come in order.
    pub fn put(&mut self, key: &str, offset: QueueOffset) -> Result<(), Full> {
        if let Some(newest) = self.by_key.get_mut(key) {
            *newest = offset;
            return Ok(());
        }
        let bytes = self.bytes + key.len() + ENTRY_BYTES;
        if bytes > self.bytes_max && !self.by_key.is_empty() {
            return Err(Full);
        }
        self.by_key.insert(key.into(), offset);
        self.bytes = bytes;
        Ok(())
    }

    /// Whether readers see a record of the stretch or before it. A message without a body deletes its key, and itself
    /// (`CompactionLog.shouldRetainMsg`, 5.5).
    pub fn retains(&self, key: &str, offset: QueueOffset, has_body: bool) -> bool {
        has_body && self.by_key.get(key).is_none_or(|newest| offset >= *newest)
    }
}

/// What of a queue's compacted part readers see: one bit per message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    begin: QueueOffset,
    end: QueueOffset,
    bits: Vec<u64>,
}

impl Kept {
    /// Nothing of what lies from `begin` to `end`, at most [`SPAN_MAX`] messages.
    pub fn nothing_of(begin: QueueOffset, end: QueueOffset) -> Self {
        let begin = begin.min(end);
        Self { begin, end, bits: vec![0; (end - begin).div_ceil(64) as usize] }
    }

    /// Where the compacted part ends.
    pub fn end(&self) -> QueueOffset {
        self.end
    }

    /// Readers see the message at this offset of the part.
    pub fn keep(&mut self, offset: QueueOffset) {
        debug_assert!((self.begin..self.end).contains(&offset));
        let at = offset - self.begin;
        if let Some(word) = self.bits.get_mut((at / 64) as usize) {
            *word |= 1 << (at % 64);
        }
    }

    /// The first messages from `from` on that readers see: as many as lie one behind the other. `None` where there are none in the part.
    pub fn run_from(&self, from: QueueOffset) -> Option<Range<QueueOffset>> {
        let first = self.find(from, true)?;
        Some(first..self.find(first, false).unwrap_or(self.end))
    }

    /// The first offset from `from` on whose bit is `wanted`.
    fn find(&self, from: QueueOffset, wanted: bool) -> Option<QueueOffset> {
        let at = from.max(self.begin) - self.begin;
        let mut word = (at / 64) as usize;
        let mut mask = u64::MAX << (at % 64);
        while let Some(bits) = self.bits.get(word) {
            let found = (if wanted { *bits } else { !bits }) & mask;
            if found != 0 {
                let offset = self.begin + word as u64 * 64 + u64::from(found.trailing_zeros());
                return (offset < self.end).then_some(offset);
            }
            (word, mask) = (word + 1, u64::MAX);
        }
        None
    }
}

#[cfg(test)]
mod tests;
