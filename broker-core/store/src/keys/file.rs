//! The keys of one sealed segment as a file. Byte diagram in `docs/format/log.md`.

use super::table::entry;
use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{u32_at, u64_at},
    index::sidecar::DIR,
};
use halley_model::{LogOffset, Millis};

/// How a sealed segment ends: its file names both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Where the next segment begins.
    pub(crate) base: LogOffset,
    /// The crc of its last frame; of a stretch of RocketMQ's log what tells its file from others.
    pub(crate) chain: u32,
}

const MAGIC: u32 = 0x484C_4B31;
const HEADER_BYTES: usize = 72;
const BLOCK_BYTES: usize = 4096;
const ENTRY_BYTES: usize = 8;
/// Entries of a block; behind them stand their number and a checksum.
const BLOCK_ENTRIES: usize = BLOCK_BYTES / ENTRY_BYTES - 1;

pub(crate) fn path_of(base: LogOffset) -> String {
    format!("{DIR}/{base:020}.keys")
}

/// What is known of a segment's keys without looking at them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Earliest and latest store time of a record with a key.
    pub(crate) first: Millis,
    pub(crate) last: Millis,
    /// Position of the last such record, and its store time; 0 without one.
    pub(crate) position: u32,
    pub(crate) stored: Millis,
    /// Whether there is one.
    pub(crate) any: bool,
    /// Records from this position on must be looked for in the log.
    pub(crate) covered: u32,
}

impl Summary {
    pub(crate) fn saw(&mut self, position: u32, stored: Millis) {
        (self.first, self.last) = match self.any {
            true => (self.first.min(stored), self.last.max(stored)),
            false => (stored, stored),
        };
        (self.position, self.stored, self.any) = (position, stored, true);
    }
}

/// Writes the file of the segment that begins at `base` and goes on with `next`. It is not synced: one that a power cut
/// tore does not match its checksums, and is made anew.
pub(crate) fn write<D: Disk>(
    disk: &D,
    base: LogOffset,
    next: &Ended,
    summary: &Summary,
    entries: &mut Vec<u64>,
) -> Result<(), DiskError> {
    entries.sort_unstable();
    entries.dedup();
    let bytes = encode(base, next, summary, entries);
    let path = path_of(base);
    let temporary = format!("{path}.tmp");
    let file = disk.create(&temporary)?;
    if let Err(error) = file.preallocate(bytes.len() as u64) {
        disk.remove(&temporary)?;
        return Err(error);
    }
    file.write_at(0, &[&bytes])?;
    disk.rename(&temporary, &path)
}

fn encode(base: LogOffset, next: &Ended, summary: &Summary, entries: &[u64]) -> Vec<u8> {
    let blocks = entries.len().div_ceil(BLOCK_ENTRIES);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + blocks * (4 + BLOCK_BYTES));
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&base.to_be_bytes());
    bytes.extend_from_slice(&(next.base - base).to_be_bytes());
    bytes.extend_from_slice(&next.chain.to_be_bytes());
    bytes.extend_from_slice(&summary.covered.to_be_bytes());
    bytes.extend_from_slice(&summary.first.to_be_bytes());
    bytes.extend_from_slice(&summary.last.to_be_bytes());
    bytes.extend_from_slice(&summary.stored.to_be_bytes());
    bytes.extend_from_slice(&summary.position.to_be_bytes());
    bytes.extend_from_slice(&u32::from(summary.any).to_be_bytes());
    bytes.extend_from_slice(&(blocks as u32).to_be_bytes());
    let fences = entries.chunks(BLOCK_ENTRIES).map(|block| (block[0] >> 32) as u32);
    let fences: Vec<u8> = fences.flat_map(u32::to_be_bytes).collect();
    let crc = crc_of(&bytes, &fences);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(&fences);
    for block in entries.chunks(BLOCK_ENTRIES) {
        let start = bytes.len();
        block.iter().for_each(|entry| bytes.extend_from_slice(&entry.to_be_bytes()));
        bytes.resize(start + BLOCK_BYTES - ENTRY_BYTES, 0);
        bytes.extend_from_slice(&(block.len() as u32).to_be_bytes());
        let crc = crc32fast::hash(&bytes[start..]);
        bytes.extend_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// An open file whose header and fences were checked.
pub(crate) struct KeyFile<F> {
    file: F,
    pub(crate) summary: Summary,
    /// The hash of each block's first entry.
    fences: Vec<u32>,
}

/// Opens the file of a segment; `None` where there is none, or one that is damaged or of another log.
pub(crate) fn open<D: Disk>(
    disk: &D,
    base: LogOffset,
    next: &Ended,
) -> Result<Option<KeyFile<D::File>>, DiskError> {
    let file = match disk.open(&path_of(base)) {
        Err(DiskError::NotFound { .. }) => return Ok(None),
        file => file?,
    };
    let mut header = [0; HEADER_BYTES];
    if !read_full(&file, 0, &mut header)? || u32_at(&header, 0) != MAGIC || u32_at(&header, 4) != 0 {
        return Ok(None);
    }
    let of_segment = u64_at(&header, 8) == base
        && u64_at(&header, 16) == next.base - base
        && u32_at(&header, 24) == next.chain;
    let blocks = u32_at(&header, 64) as u64;
    let len = HEADER_BYTES as u64 + blocks * (4 + BLOCK_BYTES as u64);
    if !of_segment || file.len()? != len {
        return Ok(None);
    }
    let mut fences = vec![0; blocks as usize * 4];
    if !read_full(&file, HEADER_BYTES as u64, &mut fences)?
        || crc_of(&header[..HEADER_BYTES - 4], &fences) != u32_at(&header, HEADER_BYTES - 4)
    {
        return Ok(None);
    }
    let summary = Summary {
        first: u64_at(&header, 32) as Millis,
        last: u64_at(&header, 40) as Millis,
        stored: u64_at(&header, 48) as Millis,
        position: u32_at(&header, 56),
        any: u32_at(&header, 60) != 0,
        covered: u32_at(&header, 28),
    };
    let fences = fences.as_chunks::<4>().0.iter().map(|fence| u32::from_be_bytes(*fence)).collect();
    Ok(Some(KeyFile { file, summary, fences }))
}

/// Whether the file of a segment that goes on at `next` can be used, with all its blocks.
pub(crate) fn is_whole<D: Disk>(
    disk: &D,
    base: LogOffset,
    next: LogOffset,
    chain: u32,
) -> Result<bool, DiskError> {
    let Some(keys) = open(disk, base, &Ended { base: next, chain })? else { return Ok(false) };
    for fence in &keys.fences {
        if keys.positions(*fence)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<F: DiskFile> KeyFile<F> {
    /// The positions under a hash, in log order; `None` where a block is damaged.
    pub(crate) fn positions(&self, hash: u32) -> Result<Option<Vec<u32>>, DiskError> {
        // The entries of one hash may begin in the block before the first that begins with it.
        let mut number = self.fences.partition_point(|fence| *fence < hash).saturating_sub(1);
        let blocks_at = (HEADER_BYTES + self.fences.len() * 4) as u64;
        let mut positions = Vec::new();
        let mut block = [0; BLOCK_BYTES];
        while self.fences.get(number).is_some_and(|fence| *fence <= hash) {
            let at = blocks_at + (number * BLOCK_BYTES) as u64;
            if !read_full(&self.file, at, &mut block)?
                || crc32fast::hash(&block[..BLOCK_BYTES - 4]) != u32_at(&block, BLOCK_BYTES - 4)
            {
                return Ok(None);
            }
            let count = u32_at(&block, BLOCK_BYTES - ENTRY_BYTES) as usize;
            let entries = &block.as_chunks::<ENTRY_BYTES>().0[..count.min(BLOCK_ENTRIES)];
            if entries.first().is_none_or(|first| u32_at(first, 0) != self.fences[number]) {
                return Ok(None);
            }
            let first = entries.partition_point(|bytes| u64::from_be_bytes(*bytes) < entry(hash, 0));
            let found = entries[first..].iter().map(|bytes| u64::from_be_bytes(*bytes));
            positions
                .extend(found.take_while(|entry| (entry >> 32) as u32 == hash).map(|entry| entry as u32));
            number += 1;
        }
        Ok(Some(positions))
    }
}

fn crc_of(header: &[u8], fences: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(fences);
    hasher.finalize()
}
