//! The index of one sealed segment as a file. Byte diagram in `docs/format/log.md`.

use super::{IndexEntry, Run, Topic};
use crate::{
    disk::{Disk, DiskError, DiskFile, read_full},
    frame::{u32_at, u64_at},
    whole_file::{self, Pieces},
};
use halley_model::{LogOffset, Millis, QueueId, QueueOffset};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) const DIR: &str = "index";
const MAGIC: u32 = 0x484C_5831;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;
/// Bytes of a run in the directory, beside the topic.
const RUN_BYTES: usize = 25;
/// How many entries are taken from a queue at once, while nobody can add some.
const ENTRIES_AT_ONCE: usize = 1024;

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

/// An open sidecar.
pub(crate) struct Sidecar<F> {
    pub(crate) file: F,
    /// Position of its first entry.
    pub(crate) entries_at: u64,
    /// Store time of the last record in its segment or before it.
    pub(crate) stored: Millis,
}

/// A run of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) topic: Arc<str>,
    pub(crate) queue: QueueId,
    /// Queue offset of its first entry.
    pub(crate) first: QueueOffset,
    pub(crate) count: u32,
    /// How many entries stand before its first one.
    pub(crate) place: u32,
}

/// A sidecar, whose it is, and what it lists.
pub(crate) type Loaded<F> = (Sidecar<F>, Subject, Vec<Listed>);

/// Writes the index of a segment whose entries are in memory, of queues sorted by (topic, queue). It is there as a whole or
/// not at all; [`DiskError::Full`] leaves nothing behind. There can be a million runs: their bytes are never in memory
/// together.
pub(crate) fn write<D: Disk>(
    disk: &D,
    subject: &Subject,
    queues: &[(Arc<Topic>, QueueId)],
) -> Result<Sidecar<D::File>, DiskError> {
    let (mut runs, mut directory_bytes, mut entries) = (0u32, 0, 0);
    for run in written(subject, queues) {
        runs += 1;
        directory_bytes += RUN_BYTES + run.topic.name.len();
        entries += u64::from(run.count);
    }
    let mut header = header_of(subject, runs, directory_bytes, entries);
    let entries_at = (HEADER_BYTES + directory_bytes) as u64;
    let len = entries_at + entries * ENTRY_BYTES as u64;
    let file = whole_file::write_with(disk, DIR, &path_of(subject.base), len, |file| {
        let crc = write_directory(file, written(subject, queues), &header, entries_at)?;
        header.extend_from_slice(&crc.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        file.write_at(0, &[&header])?;
        write_entries(file, written(subject, queues), subject.base, entries_at)
    })?;
    Ok(Sidecar { file, entries_at, stored: subject.stored })
}

/// A run that is to be written.
struct Written<'a> {
    topic: &'a Topic,
    queue: QueueId,
    first: QueueOffset,
    count: u32,
}

fn written<'a>(
    subject: &Subject,
    queues: &'a [(Arc<Topic>, QueueId)],
) -> impl Iterator<Item = Written<'a>> + use<'a> {
    let end = subject.base + subject.length;
    queues.iter().filter_map(move |(topic, queue)| {
        let (first, count) = topic.in_memory(*queue, end);
        (count > 0).then_some(Written { topic, queue: *queue, first, count })
    })
}

/// Gives the CRC of header and directory.
fn write_directory<'a>(
    file: &impl DiskFile,
    runs: impl Iterator<Item = Written<'a>>,
    header: &[u8],
    mut position: u64,
) -> Result<u32, DiskError> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header);
    let mut pieces = Pieces::new(file, HEADER_BYTES as u64);
    for Written { topic, queue, first, count } in runs {
        let bytes = pieces.bytes();
        let before = bytes.len();
        push_run(bytes, &topic.name, queue, first, (count, position));
        crc.update(&bytes[before..]);
        position += u64::from(count) * ENTRY_BYTES as u64;
        pieces.pass_on()?;
    }
    pieces.finish()?;
    Ok(crc.finalize())
}

/// The bytes that [`write`] would write for a segment with these entries.
pub(crate) fn bytes_of(subject: &Subject, queues: &BTreeMap<(String, QueueId), Vec<IndexEntry>>) -> Vec<u8> {
    let directory_bytes: usize = queues.keys().map(|(topic, _)| RUN_BYTES + topic.len()).sum();
    let count: usize = queues.values().map(Vec::len).sum();
    let mut bytes = header_of(subject, queues.len() as u32, directory_bytes, count as u64);
    bytes.resize(HEADER_BYTES, 0);
    let mut position = (HEADER_BYTES + directory_bytes) as u64;
    for ((topic, queue), entries) in queues {
        let first = entries.first().map_or(0, |entry| entry.queue_offset);
        push_run(&mut bytes, topic, *queue, first, (entries.len() as u32, position));
        position += (entries.len() * ENTRY_BYTES) as u64;
    }
    let crc = crc_of(&bytes[..56], &bytes[HEADER_BYTES..]);
    bytes[56..60].copy_from_slice(&crc.to_be_bytes());
    for entry in queues.values().flatten() {
        bytes.extend_from_slice(&encode(entry, subject.base));
    }
    bytes
}

fn header_of(subject: &Subject, runs: u32, directory_bytes: usize, entries: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC.to_be_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&subject.base.to_be_bytes());
    header.extend_from_slice(&subject.length.to_be_bytes());
    header.extend_from_slice(&subject.chain.to_be_bytes());
    header.extend_from_slice(&subject.epoch.to_be_bytes());
    header.extend_from_slice(&subject.stored.to_be_bytes());
    header.extend_from_slice(&runs.to_be_bytes());
    header.extend_from_slice(&(directory_bytes as u32).to_be_bytes());
    header.extend_from_slice(&entries.to_be_bytes());
    header
}

fn push_run(
    bytes: &mut Vec<u8>,
    topic: &str,
    queue: QueueId,
    first: QueueOffset,
    (count, position): (u32, u64),
) {
    bytes.push(u8::try_from(topic.len()).expect("a stored topic has at most 255 bytes"));
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&queue.to_be_bytes());
    bytes.extend_from_slice(&first.to_be_bytes());
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(&position.to_be_bytes());
}

fn write_entries<'a>(
    file: &impl DiskFile,
    runs: impl Iterator<Item = Written<'a>>,
    base: LogOffset,
    entries_at: u64,
) -> Result<(), DiskError> {
    let mut pieces = Pieces::new(file, entries_at);
    for Written { topic, queue, count, .. } in runs {
        let count = count as usize;
        for from in (0..count).step_by(ENTRIES_AT_ONCE) {
            let range = from..count.min(from + ENTRIES_AT_ONCE);
            topic.look_at(queue, range, |entry| pieces.bytes().extend_from_slice(&encode(&entry, base)));
            pieces.pass_on()?;
        }
    }
    pieces.finish()
}

/// Reads header and directory; `None` where they are damaged.
pub(crate) fn load<F: DiskFile>(file: F) -> Result<Option<Loaded<F>>, DiskError> {
    let mut header = [0; HEADER_BYTES];
    if !read_full(&file, 0, &mut header)? || u32_at(&header, 0) != MAGIC || u32_at(&header, 4) != 0 {
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
    if !read_full(&file, HEADER_BYTES as u64, &mut directory)? {
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
    let listed = list(&directory, runs, entries_at);
    Ok(listed.map(|listed| {
        let stored = subject.stored;
        (Sidecar { file, entries_at, stored }, subject, listed)
    }))
}

fn list(mut rest: &[u8], runs: u32, entries_at: u64) -> Option<Vec<Listed>> {
    let mut listed: Vec<Listed> = Vec::new();
    for _ in 0..runs {
        let (topic_len, after) = rest.split_first()?;
        let (topic, after) = after.split_at_checked(usize::from(*topic_len))?;
        let (fixed, after) = after.split_at_checked(RUN_BYTES - 1)?;
        rest = after;
        let topic = std::str::from_utf8(topic).ok()?;
        // Many queues of one topic come one after the other.
        let known = listed.last().map(|last| &last.topic).filter(|known| ***known == *topic);
        let topic = known.map_or_else(|| topic.into(), Arc::clone);
        let bytes_before = u64_at(fixed, 16).checked_sub(entries_at)?;
        if !bytes_before.is_multiple_of(ENTRY_BYTES as u64) {
            return None;
        }
        let place = u32::try_from(bytes_before / ENTRY_BYTES as u64).ok()?;
        let (first, count) = (u64_at(fixed, 4), u32_at(fixed, 12));
        listed.push(Listed { topic, queue: u32_at(fixed, 0), first, count, place });
    }
    rest.is_empty().then_some(listed)
}

/// Reads up to `entries_max` entries of a run of the segment at `base` from queue offset `from` on; `None` where one is
/// damaged.
pub(crate) fn read(
    sidecar: &Sidecar<impl DiskFile>,
    base: LogOffset,
    run: &Run,
    from: QueueOffset,
    entries_max: usize,
    out: &mut Vec<IndexEntry>,
) -> Result<Option<()>, DiskError> {
    let skipped = from - run.first;
    let count = (u64::from(run.count) - skipped).min(entries_max as u64) as usize;
    let mut bytes = vec![0; count * ENTRY_BYTES];
    let position = sidecar.entries_at + (u64::from(run.place) + skipped) * ENTRY_BYTES as u64;
    if !read_full(&sidecar.file, position, &mut bytes)? {
        return Ok(None);
    }
    let before = out.len();
    for (at, bytes) in bytes.as_chunks::<ENTRY_BYTES>().0.iter().enumerate() {
        match decode(bytes, from + at as u64, base) {
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
