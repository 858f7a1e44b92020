//! Finding and reading records.

use crate::{
    ahead::{Ahead, Window},
    disk::{Disk, DiskError, read_full},
    foreign,
    frame::{self, Kind, u32_at, u64_at},
    index::{Index, IndexEntry, Run, Slice, sidecar},
    log::Shared,
    scan::{Checks, Scanner},
    segment::{Segment, Segments, Start},
    tail::Tail,
};
use bytes::Bytes;
use halley_model::{LogOffset, Millis, QueueId, QueueOffset, RecordView, light, record};
use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Reads what is acknowledged. Clones read the same log.
pub struct LogReader<D: Disk> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: Arc<Index>,
    pub(crate) segments: Arc<Segments<D>>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) checks: Checks,
    pub(crate) damaged_lookups: Arc<AtomicU64>,
    pub(crate) damaged_reads: Arc<AtomicU64>,
    pub(crate) ahead: Arc<Ahead>,
}

/// Which of the records around a time is meant (RocketMQ's `BoundaryType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first record stored at the time or later.
    Lower,
    /// The last record stored at the time or earlier.
    Upper,
}

/// Why records could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No acknowledged record lies there.
    #[error("no record of {size} bytes lies at log offset {log_offset}: the log holds {first} to {end}")]
    Outside {
        /// where it should lie
        log_offset: LogOffset,
        /// its size
        size: u32,
        /// where the log begins
        first: LogOffset,
        /// where the acknowledged log ends
        end: LogOffset,
    },
    /// What lies there is not what was written.
    #[error("the log is damaged at {at}: {reason}")]
    Damaged {
        /// log offset
        at: LogOffset,
        /// what is wrong
        reason: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            index: Arc::clone(&self.index),
            segments: Arc::clone(&self.segments),
            tail: Arc::clone(&self.tail),
            checks: self.checks,
            damaged_lookups: Arc::clone(&self.damaged_lookups),
            damaged_reads: Arc::clone(&self.damaged_reads),
            ahead: Arc::clone(&self.ahead),
        }
    }
}

impl<D: Disk> LogReader<D> {
    /// Where the log begins.
    pub fn start(&self) -> LogOffset {
        self.segments.first()
    }

    /// Where the log of RocketMQ's ends that this one goes on from; its beginning without one.
    pub fn foreign_end(&self) -> LogOffset {
        self.segments.foreign_end()
    }

    /// Where the acknowledged log ends.
    pub fn end(&self) -> LogOffset {
        self.shared.acked()
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.count()
    }

    /// How many lookups met a damaged index entry, and scanned the log instead.
    pub fn damaged_lookups(&self) -> u64 {
        self.damaged_lookups.load(Ordering::Relaxed)
    }

    /// How many reads met a damaged record.
    pub fn damaged_reads(&self) -> u64 {
        self.damaged_reads.load(Ordering::Relaxed)
    }

    /// The names of all topics that ever had a record, sorted.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.index.topics()
    }

    /// How many light queues ever had a record.
    pub fn light_queues(&self) -> usize {
        self.index.light_queues()
    }

    /// One more than the highest queue of `topic` that ever had a record; 0 without any.
    pub fn queues(&self, topic: &str) -> QueueId {
        self.index.queues(topic)
    }

    /// The queue's first offset still there, and the one that its next record will get; `None` where it never had one.
    pub fn bounds(&self, topic: &str, queue: QueueId) -> Option<(QueueOffset, QueueOffset)> {
        self.index.bounds(topic, queue)
    }

    /// Hides what lies before `offset` in a queue, now and for ever while the store is open: a deleted topic, or records
    /// that are old enough. The caller remembers it durably, and says it again after the next opening. Offsets that
    /// are hidden are never given again.
    pub fn begin_at(&self, topic: &str, queue: QueueId, offset: QueueOffset) {
        self.index.begin_at(topic, queue, offset);
    }

    /// Says where a queue goes on whose records were all removed: what the log has of it says more. To be said after each
    /// opening, like [`crate::Log::raise_end`].
    pub fn go_on_at(&self, topic: &str, queue: QueueId, end: QueueOffset) {
        self.index.go_on_at(topic, queue, end);
    }

    /// The offset of the queue's first record in the segment that begins at `from`, or behind it; the queue's end without
    /// one. Nothing is before a segment that is gone.
    pub fn first_from(&self, topic: &str, queue: QueueId, from: LogOffset) -> QueueOffset {
        let Some(segment) = self.segments.holding(from) else { return 0 };
        self.index.first_from(topic, queue, self.segments.number_of(segment.base))
    }

    /// Calls `each` with the queues that had records and have none in the segment that begins at `from` or behind it, and
    /// with where they go on.
    pub fn each_ended_before(&self, from: LogOffset, each: impl FnMut(&Arc<str>, QueueId, QueueOffset)) {
        let Some(segment) = self.segments.holding(from) else { return };
        self.index.each_ended_before(self.segments.number_of(segment.base), each);
    }

    /// Adds to `out` up to `entries_max` entries of the queue from offset `from` on, or from its first where that is
    /// later. Nothing is added at the queue's end.
    pub fn lookup(
        &self,
        topic: &str,
        queue: QueueId,
        from: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), ReadError> {
        let all = self.lookup_in(topic, queue, from, entries_max, true, out)?;
        debug_assert!(all, "a lookup with the disk finds everything");
        Ok(())
    }

    /// Like [`LogReader::lookup`], without waiting for the disk; `false` where that would be needed. The entries of a segment
    /// that has ended while its records are still in memory were written a moment ago, and are read.
    pub fn lookup_hot(
        &self,
        topic: &str,
        queue: QueueId,
        from: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, ReadError> {
        self.lookup_in(topic, queue, from, entries_max, false, out)
    }

    fn lookup_in(
        &self,
        topic: &str,
        queue: QueueId,
        from: QueueOffset,
        entries_max: usize,
        may_wait: bool,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, ReadError> {
        let mut from = from;
        let already = out.len();
        let wanted = already.saturating_add(entries_max);
        while out.len() < wanted {
            // Retention may take the queue's first records away meanwhile.
            let Some((first, _)) = self.bounds(topic, queue) else { return Ok(true) };
            let before = out.len();
            if first > from && before > already {
                return Ok(true);
            }
            from = from.max(first);
            match self.index.slice(topic, queue, from, wanted - before, out) {
                Slice::Nothing => return Ok(true),
                Slice::Gone => continue,
                Slice::Added => {}
                Slice::InRun(run) => {
                    let Some(segment) = self.segments.at(run.segment) else { continue };
                    let room = wanted - before;
                    if may_wait {
                        self.lookup_run(topic, queue, (&run, &segment), from, room, out)?;
                    } else if !self.lookup_recent_run((&run, &segment), from, room, out)? {
                        return Ok(false);
                    }
                }
            }
            if out.len() == before {
                return Ok(true);
            }
            from += (out.len() - before) as u64;
        }
        Ok(true)
    }

    /// Only where the segment's last records are in memory.
    fn lookup_recent_run(
        &self,
        (run, segment): (&Run, &Segment<D::File>),
        from: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, ReadError> {
        let (Some(sidecar), Some(end)) = (segment.sidecar.get(), segment.end()) else { return Ok(false) };
        if !self.tail.begins_at_or_before(end.saturating_sub(1)) {
            return Ok(false);
        }
        Ok(sidecar::read(sidecar, segment.base, run, from, entries_max, out)?.is_some())
    }

    fn lookup_run(
        &self,
        topic: &str,
        queue: QueueId,
        (run, segment): (&Run, &Segment<D::File>),
        from: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Result<(), ReadError> {
        if let Some(sidecar) = segment.sidecar.get()
            && sidecar::read(sidecar, segment.base, run, from, entries_max, out)?.is_some()
        {
            return Ok(());
        }
        self.damaged_lookups.fetch_add(1, Ordering::Relaxed);
        let wanted = out.len().saturating_add(entries_max);
        let is_foreign = segment.foreign.is_some();
        let scanned = self.scan_segment(segment, segment.base, self.end(), &mut |record| {
            let found = light::position_in(record, topic, queue);
            let found = found.or_else(|| light::position_in_rocketmqs(record, topic).filter(|_| is_foreign));
            if let Some(queue_offset) = found
                && queue_offset >= from
            {
                out.push(entry_of(record, queue_offset));
            }
            if out.len() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        scanned.map(drop)
    }

    /// The record's bytes where they are in memory; nothing is copied.
    pub fn hot(&self, entry: &IndexEntry) -> Option<Bytes> {
        self.tail.get(entry.log_offset, entry.size as usize)
    }

    /// As many of the first entries as lie one behind the other in one piece of memory: their bytes as one, and how
    /// many they are. `None` where the first is not in memory.
    pub fn hot_run(&self, entries: &[IndexEntry]) -> Option<(Bytes, usize)> {
        let first = entries.first()?.log_offset;
        let frame_end = self.tail.end_of(first)?;
        let (count, end) = adjacent(entries, frame_end - first);
        let bytes = self.tail.get(first, usize::try_from(end - first).ok()?)?;
        (count > 0).then_some((bytes, count))
    }

    /// The record's bytes, from memory or else from the disk, where they are checked.
    pub fn read(&self, entry: &IndexEntry) -> Result<Bytes, ReadError> {
        match self.hot(entry) {
            Some(bytes) => Ok(bytes),
            None => Ok(self.read_cold(std::slice::from_ref(entry), 0)?.0),
        }
    }

    /// The record at one offset of a queue, `None` where none lies there. May block on the disk.
    pub fn record_of(
        &self,
        topic: &str,
        queue: QueueId,
        offset: QueueOffset,
    ) -> Result<Option<Bytes>, ReadError> {
        let mut entries = Vec::with_capacity(1);
        self.lookup(topic, queue, offset, 1, &mut entries)?;
        let entry = entries.first().filter(|entry| entry.queue_offset == offset);
        entry.map(|entry| self.read(entry)).transpose()
    }

    /// Like [`LogReader::record_at`], but only where the record is in memory.
    pub fn hot_at(&self, at: LogOffset) -> Option<Bytes> {
        if at >= self.shared.visible() {
            return None;
        }
        let size = u32_at(&self.tail.get(at, 4)?, 0) as usize;
        let bytes = self.tail.get(at, size)?;
        RecordView::parse(&bytes).is_ok_and(|record| record.log_offset() == at).then_some(bytes)
    }

    /// The record that begins at a log offset that someone claims to know, such as the one in a message id. What does not
    /// name this offset as its own place is no record. May block on the disk.
    pub fn record_at(&self, at: LogOffset) -> Result<Bytes, ReadError> {
        if let Some(bytes) = self.hot_at(at) {
            return Ok(bytes);
        }
        let outside =
            |size| ReadError::Outside { log_offset: at, size, first: self.start(), end: self.end() };
        if at >= self.shared.visible() {
            return Err(outside(0));
        }
        let segment = self.segments.holding(at).ok_or_else(|| outside(0))?;
        let mut size = [0; 4];
        if !read_full(&segment.file, segment.position(at), &mut size)? {
            return Err(outside(0));
        }
        let size = u32_at(&size, 0);
        // What claims to be longer is not a record, and no memory is taken for it.
        if !(record::RECORD_BYTES_MIN..=record::RECORD_BYTES_MAX).contains(&(size as usize)) {
            return Err(outside(size));
        }
        let entry = IndexEntry { queue_offset: 0, log_offset: at, size, tag: 0 };
        Ok(self.read_cold(std::slice::from_ref(&entry), 0)?.0)
    }

    /// Like [`LogReader::hot_run`], else from the disk, with at most `bytes_max` bytes (but one record at least). Ends before a
    /// damaged record, which is an error where it is the first. `entries` must not be empty.
    pub fn read_run(&self, entries: &[IndexEntry], bytes_max: usize) -> Result<(Bytes, usize), ReadError> {
        if let Some(hot) = self.hot_run(entries) {
            return Ok(hot);
        }
        let (count, _) = adjacent(entries, bytes_max as u64);
        self.read_cold(&entries[..count.max(1)], bytes_max)
    }

    /// Reads records from the disk, also such as lie apart, one behind the other into one piece of memory: as many of the first
    /// entries as have at most `bytes_max` bytes together, but one at least. Ends before a damaged record, which is an error
    /// where it is the first. `entries` must not be empty.
    pub fn read_cold(&self, entries: &[IndexEntry], bytes_max: usize) -> Result<(Bytes, usize), ReadError> {
        let mut fitting = 0;
        let mut len = 0;
        for entry in entries {
            len += entry.size as usize;
            if fitting > 0 && len > bytes_max {
                len -= entry.size as usize;
                break;
            }
            fitting += 1;
        }
        let mut bytes = Vec::with_capacity(len);
        let (mut count, mut window) = (0, None);
        while count < fitting {
            match self.read_adjacent(&entries[count..fitting], &mut window, &mut bytes) {
                Ok((intact, run)) => {
                    count += intact;
                    if intact < run {
                        break;
                    }
                }
                Err(error) if count == 0 => return Err(error),
                // What came before is good.
                Err(_) => break,
            }
        }
        Ok((bytes.into(), count))
    }

    /// Appends the first adjacent records, up to a damaged one: how many are intact, of how many. At least one is.
    fn read_adjacent(
        &self,
        entries: &[IndexEntry],
        window: &mut Option<Arc<Window>>,
        bytes: &mut Vec<u8>,
    ) -> Result<(usize, usize), ReadError> {
        let (count, end) = adjacent(entries, u64::MAX);
        // The size is what an index says, which may be damaged.
        let run = &entries[..count.max(1)];
        let first = run[0].log_offset;
        let outside = || ReadError::Outside {
            log_offset: first,
            size: run[0].size,
            first: self.start(),
            end: self.end(),
        };
        let visible = self.shared.visible();
        if end <= first || end > visible {
            return Err(outside());
        }
        let segment = self.segments.holding(first).ok_or_else(outside)?;
        let segment_end = segment.end().map_or(visible, |ended| ended.min(visible)).max(end);
        let from = bytes.len();
        let len = (end - first) as usize;
        if !self.ahead.read(&segment, (first, len), segment_end, window, bytes)? {
            return Err(self.met(damaged(first, "the segment ends before the record")));
        }
        let mut at = from;
        for (intact, entry) in run.iter().enumerate() {
            let record = &bytes[at..at + entry.size as usize];
            if let Err(reason) = check(entry, record) {
                let error = self.met(damaged(entry.log_offset, reason));
                bytes.truncate(at);
                return if intact > 0 { Ok((intact, count)) } else { Err(error) };
            }
            at += entry.size as usize;
        }
        Ok((count, count))
    }

    /// Whether what lies at an entry's place in this segment is its record.
    pub(crate) fn is_intact(
        &self,
        segment: &Segment<D::File>,
        entry: &IndexEntry,
    ) -> Result<bool, DiskError> {
        if entry.size as usize > record::RECORD_BYTES_MAX {
            return Ok(false);
        }
        let mut bytes = vec![0; entry.size as usize];
        let whole = read_full(&segment.file, segment.position(entry.log_offset), &mut bytes)?;
        Ok(whole && check(entry, &bytes).is_ok())
    }

    /// A reader that has read nothing ahead.
    #[cfg(test)]
    pub(crate) fn without_windows(&self) -> Self {
        Self { ahead: Arc::default(), ..self.clone() }
    }

    fn met(&self, damage: ReadError) -> ReadError {
        self.damaged_reads.fetch_add(1, Ordering::Relaxed);
        damage
    }

    /// Whether the queue index knows this record. Bytes inside a message's body can look like a record of any place.
    pub fn is_indexed(&self, record: &RecordView<'_>) -> Result<bool, ReadError> {
        self.is_indexed_at(record, (record.topic(), record.queue(), record.queue_offset()))
    }

    /// Whether a record is what a queue, perhaps not its own, has at this offset.
    pub fn is_indexed_at(
        &self,
        record: &RecordView<'_>,
        (topic, queue, offset): (&str, QueueId, QueueOffset),
    ) -> Result<bool, ReadError> {
        let mut entries = Vec::with_capacity(1);
        self.lookup(topic, queue, offset, 1, &mut entries)?;
        Ok(entries.first().is_some_and(|entry| entry.log_offset == record.log_offset()))
    }

    /// The queue offset for a time, as RocketMQ finds it (`ConsumeQueue.getOffsetInQueueByTime`, 5.5): of
    /// [`Boundary::Lower`] the first record stored at `time` or later, the queue's end without one; of
    /// [`Boundary::Upper`] the last record stored at `time` or earlier, 0 without one. 0 for a queue without records.
    /// Store times are taken to rise along the queue; after a clock was set back the answer is one of several
    /// possible.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue: QueueId,
        time: Millis,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        let Some((min, max)) = self.bounds(topic, queue) else { return Ok(0) };
        let (mut low, mut high) = (min, max);
        let mut found = Vec::with_capacity(1);
        while low < high {
            let middle = low + (high - low) / 2;
            found.clear();
            self.lookup(topic, queue, middle, 1, &mut found)?;
            let Some(entry) = found.first() else {
                // What was looked for may have been removed meanwhile.
                match self.bounds(topic, queue) {
                    Some((now, _)) if now > low => {
                        low = now.min(high);
                        continue;
                    }
                    _ => return Err(damaged(0, "the queue index has a hole")),
                }
            };
            let stored = self.stored_at(entry)?;
            let before = match boundary {
                Boundary::Lower => stored < time,
                Boundary::Upper => stored <= time,
            };
            if before { low = middle + 1 } else { high = middle }
        }
        Ok(match boundary {
            Boundary::Lower => low,
            Boundary::Upper if low == min => 0,
            Boundary::Upper => low - 1,
        })
    }

    /// When a record was stored, reading no more of it than needed.
    pub fn stored_at(&self, entry: &IndexEntry) -> Result<Millis, ReadError> {
        const BORN_HOST_AT: usize = 48;
        if let Some(bytes) = self.hot(entry) {
            return Ok(RecordView::parse(&bytes).map_err(|error| damaged(entry.log_offset, error))?.stored());
        }
        let segment = self.segment(entry.log_offset, entry.size)?;
        let mut head = [0; record::RECORD_BYTES_MIN];
        if !read_full(&segment.file, segment.position(entry.log_offset), &mut head)?
            || u64_at(&head, 28) != entry.log_offset
        {
            return Err(damaged(entry.log_offset, "another record lies here"));
        }
        let six = u32_at(&head, 36) as i32 & record::flag::BORN_HOST_V6 != 0;
        Ok(u64_at(&head, BORN_HOST_AT + if six { 20 } else { 8 }) as Millis)
    }

    /// Calls `each` for every acknowledged record from log offset `from` on, in log order, until it breaks off. Gives the
    /// offset up to which records were seen: the end of the log at the time of the call, or the end of the
    /// record at which `each` broke off. All frames are checked.
    pub fn scan(
        &self,
        from: LogOffset,
        mut each: impl FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<LogOffset, ReadError> {
        let end = self.end();
        let mut segment = self.segment(from.max(self.start()), 0)?;
        loop {
            if let ControlFlow::Break(at) = self.scan_segment(&segment, from, end, &mut each)? {
                return Ok(at);
            }
            match self.segments.after(segment.base) {
                Some(next) if next.base < end => segment = next,
                _ => return Ok(end),
            }
        }
    }

    pub(crate) fn scan_segment(
        &self,
        segment: &Segment<D::File>,
        from: LogOffset,
        end: LogOffset,
        each: &mut dyn FnMut(&RecordView<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<LogOffset>, ReadError> {
        // Not where the file ends: cutting it to its length may have been lost with the power.
        let ends = segment.end().map_or(end, |ended| ended.min(end));
        if segment.foreign.is_some() {
            return foreign::each_record(segment, from, ends, each);
        }
        let limit = ends.saturating_sub(segment.base);
        let (start, crc) =
            Start::read(&segment.file, segment.base)?.map_err(|reason| damaged(segment.base, reason))?;
        let mut scanner = Scanner::new(&segment.file, &start, crc, limit, self.checks);
        while scanner.position() < segment.base + limit {
            let at = scanner.position();
            let found = scanner.next()?.map_err(|error| damaged(at, error))?;
            if found.header.kind != Kind::Records || found.at + found.header.length as u64 <= from {
                continue;
            }
            let mut broken = None;
            let seen = frame::for_each_record(found.bytes, &found.header, found.at, |record| {
                if record.log_offset() >= from && each(record).is_break() {
                    broken = Some(record.log_offset() + record.total_len() as u64);
                    return Err(String::new());
                }
                Ok(())
            });
            match (broken, seen) {
                (Some(at), _) => return Ok(ControlFlow::Break(at)),
                (None, Err(reason)) => return Err(damaged(at, reason)),
                (None, Ok(())) => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(crate) fn segment(
        &self,
        log_offset: LogOffset,
        size: u32,
    ) -> Result<Arc<Segment<D::File>>, ReadError> {
        self.segments.holding(log_offset).ok_or_else(|| ReadError::Outside {
            log_offset,
            size,
            first: self.start(),
            end: self.end(),
        })
    }
}

/// How many of the first entries lie one behind the other within `bytes_max` bytes, and where the last of them ends.
fn adjacent(entries: &[IndexEntry], bytes_max: u64) -> (usize, LogOffset) {
    let first = entries.first().map_or(0, |entry| entry.log_offset);
    let mut end = first;
    let mut count = 0;
    for entry in entries {
        let next = end + u64::from(entry.size);
        if entry.log_offset != end || next - first > bytes_max {
            break;
        }
        end = next;
        count += 1;
    }
    (count, end)
}

/// Whether these bytes are the record that the index means.
fn check(entry: &IndexEntry, record: &[u8]) -> Result<(), String> {
    let view = RecordView::parse(record).map_err(|error| error.to_string())?;
    if view.log_offset() != entry.log_offset || view.total_len() != record.len() {
        return Err("another record lies here".to_owned());
    }
    if !view.body_is_intact() {
        return Err("the body does not match its CRC".to_owned());
    }
    Ok(())
}

fn entry_of(record: &RecordView<'_>, queue_offset: QueueOffset) -> IndexEntry {
    IndexEntry {
        queue_offset,
        log_offset: record.log_offset(),
        size: record.total_len() as u32,
        tag: halley_model::tag::code_of(record.properties()),
    }
}

pub(crate) fn damaged(at: LogOffset, reason: impl ToString) -> ReadError {
    ReadError::Damaged { at, reason: reason.to_string() }
}
