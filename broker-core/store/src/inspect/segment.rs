//! Walking over the segments, behind damage too.

use super::{Cache, Inspection, SegmentReport};
use crate::{
    disk::{Disk, DiskError, DiskFile},
    frame::{self, FrameError, Header, Kind},
    index::{IndexEntry, Run, sidecar},
    keys,
    scan::{CHECKS, Scanner, durable_beyond, resume},
    segment::{self, Start},
};
use halley_model::{LogOffset, QueueId, QueueOffset, RecordView, light, tag};
use std::{
    collections::BTreeMap,
    ops::{ControlFlow, Range},
};

/// At most so many missing stretches of queues are named.
const GAPS_MAX: usize = 20;

/// A queue by topic and number.
pub(crate) type QueueKey = (String, QueueId);

/// Hears how many bytes were read, of how many, and may end the walk.
pub(crate) type Progress<'p> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'p;

/// Goes from segment to segment.
pub(super) struct Walk<'a, D: Disk> {
    disk: &'a D,
    /// Whether the segments are not expected to be wanted again soon.
    once: bool,
    bases: &'a [LogOffset],
    number: usize,
    /// Where each queue goes on.
    tails: BTreeMap<QueueKey, QueueOffset>,
    /// Crc of the last frame, `None` behind damage.
    chain: Option<u32>,
    gaps: usize,
    done: u64,
    total: u64,
    found: Inspection,
}

/// What the frames of one segment gave.
#[derive(Default)]
pub(crate) struct Frames {
    pub(crate) entries: BTreeMap<QueueKey, Vec<IndexEntry>>,
    /// What could not be read.
    pub(crate) damaged: Vec<Range<LogOffset>>,
    /// Crc of the last frame, where none is damaged.
    pub(crate) chain: Option<u32>,
}

impl<'a, D: Disk> Walk<'a, D> {
    pub(super) fn new(disk: &'a D, bases: &'a [LogOffset]) -> Result<Self, DiskError> {
        let mut total = 0;
        for base in bases {
            total += disk.open_to_read(&segment::path_of(*base))?.len()?;
        }
        let (tails, found) = (BTreeMap::new(), Inspection::default());
        Ok(Self { disk, once: false, bases, number: 0, tails, chain: None, gaps: 0, done: 0, total, found })
    }

    /// Reads past the system's cache where it can.
    pub(super) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    pub(super) fn finish(mut self) -> Inspection {
        self.found.queues = self.tails.len();
        self.found
    }

    /// Looks at the next segment and gives what it holds; `None` behind the last, or when `progress` ended the walk.
    pub(super) fn next(&mut self, progress: &mut Progress<'_>) -> Result<Option<Frames>, DiskError> {
        let Some(base) = self.bases.get(self.number).copied() else { return Ok(None) };
        let next = self.bases.get(self.number + 1).copied();
        self.number += 1;
        let path = segment::path_of(base);
        let file = self.disk.open_to_read(&path)?;
        let file_bytes = file.len()?;
        let mut report = SegmentReport {
            base,
            end: base,
            file_bytes,
            created: None,
            frames: 0,
            records: 0,
            epochs: (0, 0),
            stored: None,
            index: Cache::NotYet,
            keys: Cache::NotYet,
        };
        let frames = match Start::read(&file, base)? {
            Ok((start, crc)) => {
                self.joins(&path, &start);
                report.created = Some(start.created);
                report.frames = 1;
                report.epochs = (start.epoch, start.epoch);
                let limit = next.map_or(file_bytes, |next| file_bytes.min(next - base));
                let scanner = Scanner::new(&file, &start, crc, limit, CHECKS).once(self.once);
                match self.frames(&file, scanner, limit, next, &mut report, progress)? {
                    ControlFlow::Continue(frames) => frames,
                    ControlFlow::Break(()) => return Ok(None),
                }
            }
            Err(reason) => {
                self.chain = None;
                let reason = format!("{reason}: none of its records can be trusted");
                self.found.damage(path, base, reason);
                let end = next.unwrap_or(base + file_bytes);
                Frames { damaged: std::iter::once(base..end).collect(), ..Frames::default() }
            }
        };
        if let Some(next) = next {
            self.index(base, next - base, &frames, &mut report)?;
            self.keys(base, next, &mut report)?;
        }
        self.done += file_bytes;
        self.found.end = report.end;
        self.found.segments.push(report);
        match progress(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(Some(frames)),
            ControlFlow::Break(()) => Ok(None),
        }
    }

    /// Whether the segment behind the one that was looked at last goes on from it.
    pub(super) fn joins_next(&mut self) -> Result<(), DiskError> {
        let Some(base) = self.bases.get(self.number).copied() else { return Ok(()) };
        let path = segment::path_of(base);
        // What is wrong with that start is found when that segment has its turn.
        if let Ok((start, _)) = Start::read(&self.disk.open_to_read(&path)?, base)? {
            self.joins(&path, &start);
        }
        Ok(())
    }

    /// A segment goes on where the one before it ended.
    fn joins(&mut self, path: &str, start: &Start) {
        let Some(before) = self.found.segments.last() else { return };
        if before.end != start.base {
            let what = format!("the segment before it ends at {}: what lay between is lost", before.end);
            self.found.damage(path.to_owned(), start.base, what);
        } else if self.chain.is_some_and(|chain| chain != start.chain) {
            let what = "it does not go on from the segment before it: one of the two is of another life of the store";
            self.found.damage(path.to_owned(), start.base, what.to_owned());
        }
    }

    fn frames<'f>(
        &mut self,
        file: &'f D::File,
        mut scanner: Scanner<'f, D::File>,
        limit: u64,
        next: Option<LogOffset>,
        report: &mut SegmentReport,
        progress: &mut Progress<'_>,
    ) -> Result<ControlFlow<(), Frames>, DiskError> {
        let base = report.base;
        let path = segment::path_of(base);
        let mut frames = Frames::default();
        loop {
            let at = scanner.position();
            let error = match scanner.next()? {
                Ok(found) => {
                    let (header, bytes) = (found.header, found.bytes);
                    self.frame(&path, &header, bytes, at, &mut frames, report);
                    if progress(self.done + at - base, self.total).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                Err(error) => error,
            };
            let says = match next {
                Some(_) => None,
                None => durable_beyond(file, base, at, limit)?,
            };
            let anew = |scanner: &Scanner<'f, _>| {
                Scanner::resume(file, base, at, (scanner.chain, scanner.epoch), limit, CHECKS)
            };
            if next.is_none() && anew(&scanner).next()?.is_ok() {
                // A server has written on since these bytes were read.
                scanner = anew(&scanner);
                continue;
            }
            self.chain = Some(scanner.chain).filter(|_| frames.damaged.is_empty());
            frames.chain = self.chain;
            let is_end = match next {
                Some(next) => at == next,
                None => error == FrameError::Nothing && says.is_none(),
            };
            if is_end {
                report.end = at;
                return Ok(ControlFlow::Continue(frames));
            }
            let resumed = resume(file, base, at, limit)?;
            report.end = at;
            match resumed {
                Some((behind, chain, epoch)) => {
                    frames.damaged.push(at..behind);
                    let what =
                        format!("{error}; {} bytes cannot be read, the log goes on at {behind}", behind - at);
                    self.found.damage(path.clone(), at, what);
                    report.end = behind;
                    scanner =
                        Scanner::resume(file, base, behind, (chain, epoch), limit, CHECKS).once(self.once);
                }
                None if next.is_none() => {
                    let what = format!(
                        "{error}: a write that a crash broke off, which was never acknowledged; it is cut at the next start"
                    );
                    self.found.mended(path, at, what);
                    return Ok(ControlFlow::Continue(frames));
                }
                None => {
                    frames.damaged.push(at..next.unwrap_or(base + limit));
                    (self.chain, frames.chain) = (None, None);
                    let what = format!("{error}; the rest of the segment cannot be read");
                    self.found.damage(path, at, what);
                    return Ok(ControlFlow::Continue(frames));
                }
            }
        }
    }

    fn frame(
        &mut self,
        path: &str,
        header: &Header,
        bytes: &[u8],
        at: LogOffset,
        frames: &mut Frames,
        report: &mut SegmentReport,
    ) {
        report.frames += 1;
        report.epochs.1 = header.epoch;
        report.end = at + header.length as u64;
        if header.kind != Kind::Records {
            return;
        }
        let seen = frame::for_each_record(bytes, header, at, |record| {
            report.records += 1;
            let stored = record.stored();
            report.stored = Some((report.stored.map_or(stored, |(first, _)| first), stored));
            self.place(path, (record.topic(), record.queue(), record.queue_offset()), record, frames);
            for (name, offset) in light::positions(record) {
                self.place(path, (name, light::QUEUE, offset), record, frames);
            }
            Ok(())
        });
        if let Err(reason) = seen {
            self.found.damage(path.to_owned(), at, reason);
            frames.damaged.push(at..at + header.length as u64);
        }
    }

    /// Notes a record's place in a queue, and what is missing before it.
    fn place(
        &mut self,
        path: &str,
        (topic, queue, offset): (&str, QueueId, QueueOffset),
        record: &RecordView<'_>,
        frames: &mut Frames,
    ) {
        let key = (topic.to_owned(), queue);
        let before = self.tails.insert(key.clone(), offset + 1);
        if let Some(expected) = before
            && expected != offset
        {
            self.gaps += 1;
            if self.gaps <= GAPS_MAX {
                let what = match offset.checked_sub(expected) {
                    Some(_) => {
                        format!("queue {queue} of {topic} misses offsets {expected} to {}", offset - 1)
                    }
                    None => {
                        format!("queue {queue} of {topic} has offset {offset} again, behind {}", expected - 1)
                    }
                };
                self.found.damage(path.to_owned(), record.log_offset(), what);
            }
        }
        frames.entries.entry(key).or_default().push(IndexEntry {
            queue_offset: offset,
            log_offset: record.log_offset(),
            size: record.total_len() as u32,
            tag: tag::code_of(record.properties()),
        });
    }

    /// Compares the index with the records.
    fn index(
        &mut self,
        base: LogOffset,
        length: u64,
        frames: &Frames,
        report: &mut SegmentReport,
    ) -> Result<(), DiskError> {
        let path = sidecar::path_of(base);
        report.index = match self.disk.open_to_read(&path) {
            Err(DiskError::NotFound { .. }) => Cache::Missing,
            Err(error) => return Err(error),
            Ok(file) => match wrong_index(file, base, length, self.chain, frames)? {
                None => Cache::Whole,
                Some(what) => {
                    let what = format!("{what}: the segment is read instead, and the index written again");
                    self.found.mended(path, base, what);
                    Cache::Wrong
                }
            },
        };
        Ok(())
    }

    fn keys(
        &mut self,
        base: LogOffset,
        next: LogOffset,
        report: &mut SegmentReport,
    ) -> Result<(), DiskError> {
        let path = keys::path_of(base);
        match self.disk.open_to_read(&path) {
            Err(DiskError::NotFound { .. }) => {
                report.keys = Cache::Missing;
                return Ok(());
            }
            file => drop(file?),
        }
        report.keys = Cache::Whole;
        if let Some(chain) = self.chain
            && !keys::is_whole(self.disk, base, next, chain)?
        {
            report.keys = Cache::Wrong;
            let what =
                "it is damaged or of another segment: the segment is read instead, and it is written again";
            self.found.mended(path, base, what.to_owned());
        }
        Ok(())
    }
}

/// Why an index cannot be used.
fn wrong_index<F: DiskFile>(
    file: F,
    base: LogOffset,
    length: u64,
    chain: Option<u32>,
    frames: &Frames,
) -> Result<Option<&'static str>, DiskError> {
    let Some((sidecar, subject, listed)) = sidecar::load(file)? else {
        return Ok(Some("its header or directory is damaged"));
    };
    if (subject.base, subject.length) != (base, length) || chain.is_some_and(|chain| chain != subject.chain) {
        return Ok(Some("it is of another segment"));
    }
    if frames.damaged.is_empty() && listed.len() != frames.entries.len() {
        return Ok(Some("it lists other queues than the segment has"));
    }
    for one in listed {
        let run = Run { segment: 0, first: one.first, count: one.count, place: one.place };
        let mut entries = Vec::new();
        if sidecar::read(&sidecar, base, &run, one.first, one.count as usize, &mut entries)?.is_none() {
            return Ok(Some("an entry is damaged"));
        }
        let expected = frames.entries.get(&(one.topic.to_string(), one.queue));
        if frames.damaged.is_empty() && expected != Some(&entries) {
            return Ok(Some("it says other things than the segment"));
        }
    }
    Ok(None)
}

/// The bytes of the first record of a segment that is `wanted`.
pub(super) fn record_in<D: Disk>(
    disk: &D,
    base: LogOffset,
    wanted: impl Fn(&RecordView<'_>) -> bool,
) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open_to_read(&segment::path_of(base))?;
    let Ok((start, crc)) = Start::read(&file, base)? else { return Ok(None) };
    let limit = file.len()?;
    let mut scanner = Scanner::new(&file, &start, crc, limit, CHECKS);
    loop {
        let at = scanner.position();
        let Ok(found) = scanner.next()? else {
            match resume(&file, base, at, limit)? {
                Some((behind, chain, epoch)) => {
                    scanner = Scanner::resume(&file, base, behind, (chain, epoch), limit, CHECKS);
                    continue;
                }
                None => return Ok(None),
            }
        };
        if found.header.kind != Kind::Records {
            continue;
        }
        let mut bytes = None;
        // What cannot be parsed is reported by the inspection.
        let _ = frame::for_each_record(found.bytes, &found.header, found.at, |record| {
            if wanted(record) {
                bytes = Some(record.bytes().to_vec());
            }
            Ok(())
        });
        if bytes.is_some() {
            return Ok(bytes);
        }
    }
}
