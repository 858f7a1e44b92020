//! The index of one sealed segment as a file. Byte diagram in `docs/format/log.md`.

use super::{IndexEntry, Run};
use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{u32_at, u64_at},
};
use halley_model::{LogOffset, Millis, QueueId, QueueOffset};

pub(crate) const DIR: &str = "index";
const MAGIC: u32 = 0x484C_5831;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

pub(crate) fn path_of(base: LogOffset) -> String {
    format!("{DIR}/{base:020}.idx")
}

/// The segment that a sidecar belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) base: LogOffset,
    pub(crate) length: u64,
    /// Crc and epoch of its last frame.
    pub(crate) chain: u32,
    pub(crate) epoch: u32,
    /// Store time of the last record in it or before it.
    pub(crate) stored: Millis,
}

/// A run of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) topic: String,
    pub(crate) queue: QueueId,
    pub(crate) run: Run,
}

/// Collects the runs of a segment, sorted by (topic, queue), into the bytes of a sidecar.
#[derive(Default)]
pub(crate) struct Builder {
    directory: Vec<u8>,
    entries: Vec<u8>,
    /// Where each run's position is to be filled in, and how many entries stand before it.
    positions: Vec<(usize, u64)>,
}

impl Builder {
    pub(crate) fn add(&mut self, base: LogOffset, topic: &str, queue: QueueId, entries: &[IndexEntry]) {
        let first = entries.first().expect("only queues with records in the segment are listed");
        let before = (self.entries.len() / ENTRY_BYTES) as u64;
        let topic_len = u8::try_from(topic.len()).expect("a stored topic has at most 255 bytes");
        self.directory.push(topic_len);
        self.directory.extend_from_slice(topic.as_bytes());
        self.directory.extend_from_slice(&queue.to_be_bytes());
        self.directory.extend_from_slice(&first.queue_offset.to_be_bytes());
        self.directory.extend_from_slice(&(entries.len() as u32).to_be_bytes());
        self.positions.push((self.directory.len(), before));
        self.directory.extend_from_slice(&[0; 8]);
        for entry in entries {
            self.entries.extend_from_slice(&encode(entry, base));
        }
    }

    /// The file's bytes, and the positions of the runs in the order they were added.
    pub(crate) fn finish(mut self, subject: &Subject) -> (Vec<u8>, Vec<u64>) {
        let entries_at = (HEADER_BYTES + self.directory.len()) as u64;
        let mut positions = Vec::with_capacity(self.positions.len());
        for (at, before) in &self.positions {
            let position = entries_at + before * ENTRY_BYTES as u64;
            self.directory[*at..at + 8].copy_from_slice(&position.to_be_bytes());
            positions.push(position);
        }
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.directory.len() + self.entries.len());
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&subject.base.to_be_bytes());
        bytes.extend_from_slice(&subject.length.to_be_bytes());
        bytes.extend_from_slice(&subject.chain.to_be_bytes());
        bytes.extend_from_slice(&subject.epoch.to_be_bytes());
        bytes.extend_from_slice(&subject.stored.to_be_bytes());
        bytes.extend_from_slice(&(self.positions.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&(self.directory.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&((self.entries.len() / ENTRY_BYTES) as u64).to_be_bytes());
        let crc = crc_of(&bytes, &self.directory);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.directory);
        bytes.extend_from_slice(&self.entries);
        (bytes, positions)
    }
}

/// Writes a sidecar so that it is there as a whole or not at all. [`DiskError::Full`] leaves nothing behind.
pub(crate) fn write<D: Disk>(disk: &D, base: LogOffset, bytes: &[u8]) -> Result<D::File, DiskError> {
    crate::whole_file::write(disk, DIR, &path_of(base), &[bytes])
}

/// Reads header and directory; `None` where they are damaged.
pub(crate) fn load(file: &impl DiskFile) -> Result<Option<(Subject, Vec<Listed>)>, DiskError> {
    let mut header = [0; HEADER_BYTES];
    if !read_full(file, 0, &mut header)? || u32_at(&header, 0) != MAGIC || u32_at(&header, 4) != 0 {
        return Ok(None);
    }
    let runs = u32_at(&header, 40);
    let directory_bytes = u32_at(&header, 44) as usize;
    let entries_at = (HEADER_BYTES + directory_bytes) as u64;
    let entry_bytes = u64_at(&header, 48).checked_mul(ENTRY_BYTES as u64);
    if entry_bytes.and_then(|bytes| bytes.checked_add(entries_at)) != Some(file.len()?) {
        return Ok(None);
    }
    let mut directory = vec![0; directory_bytes];
    if !read_full(file, HEADER_BYTES as u64, &mut directory)? {
        return Ok(None);
    }
    if crc_of(&header[..56], &directory) != u32_at(&header, 56) {
        return Ok(None);
    }
    let subject = Subject {
        base: u64_at(&header, 8),
        length: u64_at(&header, 16),
        chain: u32_at(&header, 24),
        epoch: u32_at(&header, 28),
        stored: u64_at(&header, 32) as Millis,
    };
    Ok(list(&directory, runs, subject.base).map(|listed| (subject, listed)))
}

fn list(mut rest: &[u8], runs: u32, segment: LogOffset) -> Option<Vec<Listed>> {
    let mut listed = Vec::new();
    for _ in 0..runs {
        let (topic_len, after) = rest.split_first()?;
        let (topic, after) = after.split_at_checked(usize::from(*topic_len))?;
        let (fixed, after) = after.split_at_checked(24)?;
        rest = after;
        let topic = std::str::from_utf8(topic).ok()?.to_owned();
        let (first, count) = (u64_at(fixed, 4), u32_at(fixed, 12));
        let run = Run { segment, first, count, position: u64_at(fixed, 16) };
        listed.push(Listed { topic, queue: u32_at(fixed, 0), run });
    }
    rest.is_empty().then_some(listed)
}

/// Reads up to `entries_max` entries of a run from queue offset `from` on; `None` where one is damaged.
pub(crate) fn read(
    file: &impl DiskFile,
    run: &Run,
    from: QueueOffset,
    entries_max: usize,
    out: &mut Vec<IndexEntry>,
) -> Result<Option<()>, DiskError> {
    let skipped = from - run.first;
    let count = (u64::from(run.count) - skipped).min(entries_max as u64) as usize;
    let mut bytes = vec![0; count * ENTRY_BYTES];
    if !read_full(file, run.position + skipped * ENTRY_BYTES as u64, &mut bytes)? {
        return Ok(None);
    }
    let before = out.len();
    for (at, bytes) in bytes.as_chunks::<ENTRY_BYTES>().0.iter().enumerate() {
        match decode(bytes, from + at as u64, run.segment) {
            Some(entry) => out.push(entry),
            None => {
                out.truncate(before);
                return Ok(None);
            }
        }
    }
    Ok(Some(()))
}

fn encode(entry: &IndexEntry, base: LogOffset) -> [u8; ENTRY_BYTES] {
    let position = u32::try_from(entry.log_offset - base).expect("a segment is shorter than 4 GiB");
    let mut bytes = [0; ENTRY_BYTES];
    bytes[..4].copy_from_slice(&position.to_be_bytes());
    bytes[4..8].copy_from_slice(&entry.size.to_be_bytes());
    bytes[8..12].copy_from_slice(&entry.tag.to_be_bytes());
    let check = check_of(&bytes, entry.queue_offset, base);
    bytes[12..].copy_from_slice(&check.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; ENTRY_BYTES], queue_offset: QueueOffset, base: LogOffset) -> Option<IndexEntry> {
    if check_of(bytes, queue_offset, base) != u32_at(bytes, 12) {
        return None;
    }
    Some(IndexEntry {
        queue_offset,
        log_offset: base + u64::from(u32_at(bytes, 0)),
        size: u32_at(bytes, 4),
        tag: u32_at(bytes, 8) as i32,
    })
}

fn check_of(bytes: &[u8; ENTRY_BYTES], queue_offset: QueueOffset, base: LogOffset) -> u32 {
    let mut checked = [0; 28];
    checked[..8].copy_from_slice(&queue_offset.to_be_bytes());
    checked[8..16].copy_from_slice(&base.to_be_bytes());
    checked[16..].copy_from_slice(&bytes[..12]);
    crc32fast::hash(&checked)
}

fn crc_of(header: &[u8], directory: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(directory);
    hasher.finalize()
}
