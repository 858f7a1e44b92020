//! Building index and queue tails from what lies on the disk, up to where the log ends.

use super::{Cut, OpenError, Recovery, damaged, find_segments};
use crate::{
    canary::Canary,
    disk::{Disk, DiskError, DiskFile, read_full},
    flusher::{Owed, write_sidecar},
    frame::{self, FrameError, Kind},
    index::{IndexWriter, Run, sidecar, sidecar::Subject},
    options::Options,
    scan::{Checks, Scanner, durable_beyond},
    segment::{self, OPEN_BYTES, START_BYTES, Segment, Segments, Start},
    sequencer::{StagedEntry, Tails},
};
use halley_model::{LogOffset, Millis, QUEUES_MAX, QueueId, QueueOffset, RecordView, light, tag};
use std::{collections::VecDeque, sync::Arc};

/// See the module's documentation.
pub(super) struct Rebuild<'a, D: Disk> {
    pub(super) disk: &'a D,
    options: &'a Options,
    pub(super) tails: Tails,
    pub(super) index: IndexWriter,
    pub(super) segments: Segments<D>,
    /// Scanned segments whose sidecars could not be written for lack of room.
    pub(super) owed: VecDeque<Arc<Owed>>,
    /// Whether queues may begin anywhere: their first records may be removed.
    any_begin: bool,
    /// Up to where the log says that it was durable.
    durable: LogOffset,
    /// Store time of the last record.
    pub(super) stored: Millis,
    pub(super) report: Recovery,
}

/// A segment file whose first frame was checked.
struct Found<F> {
    file: F,
    length: u64,
    start: Start,
    start_crc: u32,
}

/// The segment that goes on.
pub(super) struct Last<F> {
    pub(super) segment: Arc<Segment<F>>,
    /// Where the log ends.
    pub(super) end: LogOffset,
    /// Up to where its space is reserved.
    pub(super) reserved_to: LogOffset,
    pub(super) chain: u32,
    epoch: u32,
}

/// How far the frames of a segment go.
struct Scanned {
    end: LogOffset,
    chain: u32,
    epoch: u32,
    /// Why there was no further frame.
    stop: FrameError,
}

impl<'a, D: Disk> Rebuild<'a, D> {
    pub(super) fn new(
        disk: &'a D,
        options: &'a Options,
        mark: Option<LogOffset>,
        index: IndexWriter,
    ) -> Self {
        Self {
            disk,
            options,
            tails: Tails::default(),
            index,
            segments: Segments::new(),
            owed: VecDeque::new(),
            any_begin: options.foreign.is_some() || mark.is_some(),
            durable: 0,
            stored: Millis::MIN,
            report: Recovery { begin: mark, ..Recovery::default() },
        }
    }

    /// Takes in all segments up to where the log ends; removes those behind the end.
    pub(super) fn read(&mut self) -> Result<Last<D::File>, OpenError> {
        let bases = find_segments(self.disk)?;
        let first = *bases.first().expect("a store without segments was given one");
        let mut found = find(self.disk, first)?.map_err(|reason| damaged(first, first, reason))?;
        let mut number = 0;
        loop {
            let base = found.start.base;
            number += 1;
            let Some(next_base) = bases.get(number).copied() else {
                return self.read_last(found);
            };
            let mut next = find(self.disk, next_base)?;
            let segment = Segment::new(base, found.file);
            let segment = Arc::new(segment);
            self.add(&segment);
            let length = next_base - base;
            next = match next {
                Ok(next) if found.length >= length && self.load_sidecar(&segment, length, &next.start)? => {
                    found = next;
                    continue;
                }
                next => next,
            };
            let limit = length.min(found.length);
            let scanned = self.scan(&segment.file, &found.start, found.start_crc, limit)?;
            match next {
                Ok(next) if scanned.end == next_base && follows(&next.start, &scanned) => {
                    self.durable = self.durable.max(next_base - next.start.unsynced.min(next_base));
                    self.end_segment(&segment, length, &scanned)?;
                    found = next;
                }
                next => {
                    let reason = match next {
                        _ if scanned.end != next_base => scanned.stop.to_string(),
                        Err(reason) => reason,
                        Ok(_) => "the next segment does not go on where this one ended".to_owned(),
                    };
                    self.check_behind(&segment, &scanned, limit)?;
                    self.drop_from(&bases[number..], base, scanned.end, reason)?;
                    return Ok(self.last(segment, &scanned));
                }
            }
        }
    }

    pub(super) fn add(&mut self, segment: &Arc<Segment<D::File>>) {
        self.segments.push(Arc::clone(segment));
        self.report.segments += 1;
    }

    /// A scanned segment is whole: makes it durable, then writes its sidecar if there is room.
    fn end_segment(
        &mut self,
        segment: &Segment<D::File>,
        length: u64,
        scanned: &Scanned,
    ) -> Result<(), DiskError> {
        self.settle(segment, scanned.end)?;
        let (base, chain, epoch, stored) = (segment.base, scanned.chain, scanned.epoch, self.stored);
        let subject = Subject { base, length, chain, epoch, stored };
        self.owed.push_back(Arc::new(Owed { subject, queues: self.index.end_segment() }));
        self.pay()
    }

    /// RocketMQ's log, which ends at `end`, is taken in: as RocketMQ left it on the disk, it is for ever.
    pub(super) fn foreign_done(&mut self, end: LogOffset) {
        self.durable = self.durable.max(end);
    }

    /// Writes the sidecars of whole segments, as long as there is room.
    pub(super) fn pay(&mut self) -> Result<(), DiskError> {
        while let Some(owed) = self.owed.front() {
            match write_sidecar(self.disk, &self.segments, owed) {
                Err(DiskError::Full { .. }) => break,
                done => done?,
            }
            self.owed.pop_front();
        }
        Ok(())
    }

    fn read_last(&mut self, found: Found<D::File>) -> Result<Last<D::File>, OpenError> {
        let segment = Segment::new(found.start.base, found.file);
        let segment = Arc::new(segment);
        self.add(&segment);
        let stale = self.options.planted(Canary::OffsetReused).then(|| self.tails.clone());
        let scanned = self.scan(&segment.file, &found.start, found.start_crc, found.length)?;
        if let Some(stale) = stale {
            self.tails = stale;
        }
        self.check_behind(&segment, &scanned, found.length)?;
        if scanned.stop != FrameError::Nothing {
            self.report.cut = Some(Cut { at: scanned.end, reason: scanned.stop.to_string() });
        }
        Ok(self.last(segment, &scanned))
    }

    /// No frame behind the log's end in the same segment says that it was durable beyond: then what cannot be read there is the
    /// work of no crash.
    fn check_behind(
        &self,
        segment: &Segment<D::File>,
        scanned: &Scanned,
        length: u64,
    ) -> Result<(), OpenError> {
        match durable_beyond(&*segment.file, segment.base, scanned.end, length)? {
            None => Ok(()),
            Some(says) => {
                let stop = &scanned.stop;
                let reason = format!("{stop}; the frame at {says} says that what lay here was durable");
                Err(damaged(segment.base, scanned.end, reason))
            }
        }
    }

    fn last(&mut self, segment: Arc<Segment<D::File>>, scanned: &Scanned) -> Last<D::File> {
        self.report.end = scanned.end;
        Last {
            segment,
            end: scanned.end,
            reserved_to: scanned.end,
            chain: scanned.chain,
            epoch: scanned.epoch,
        }
    }

    /// The log ends at `end` in the segment at `base`, and there are segments behind it. That is the work of a power cut if
    /// nothing in them says that the log was durable beyond `end`: then they are removed. Otherwise it is damage.
    /// The directory is synced before anything is appended; a crash before that leaves a gap, read as the same end.
    fn drop_from(
        &mut self,
        behind: &[LogOffset],
        base: LogOffset,
        end: LogOffset,
        reason: String,
    ) -> Result<(), OpenError> {
        for base_behind in behind {
            // A sidecar is written only when its segment is durable.
            if self.sidecar(*base_behind)?.is_some_and(|(_, subject, _)| subject.base == *base_behind) {
                return Err(damaged(base, end, reason));
            }
            match find(self.disk, *base_behind)? {
                Ok(Found { file, length, start, start_crc }) => {
                    let mut scanner = Scanner::new(&file, &start, start_crc, length, self.checks());
                    while scanner.next()?.is_ok() {}
                    if scanner.durable > end {
                        return Err(damaged(base, end, reason));
                    }
                }
                // A first frame that was never written leaves the zeros of the reservation, and what is behind says nothing.
                Err(_) if is_blank(self.disk, *base_behind)? => {}
                Err(reason) => return Err(damaged(*base_behind, *base_behind, reason)),
            }
        }
        for base_behind in behind.iter().rev() {
            self.disk.remove(&segment::path_of(*base_behind))?;
            self.report.segments_dropped += 1;
        }
        self.report.cut = Some(Cut { at: end, reason });
        Ok(())
    }

    /// Takes the index of a segment from its sidecar; `false` where it must be scanned. A sidecar is believed if it ends with
    /// the crc that the next segment goes on from.
    fn load_sidecar(
        &mut self,
        segment: &Segment<D::File>,
        length: u64,
        next: &Start,
    ) -> Result<bool, OpenError> {
        let base = segment.base;
        // Runs in memory and runs in sidecars do not alternate.
        if !self.owed.is_empty() {
            return Ok(false);
        }
        let Some((sidecar, subject, listed)) = self.sidecar(base)? else { return Ok(false) };
        if (subject.base, subject.length, subject.chain) != (base, length, next.chain)
            || subject.epoch > next.epoch
        {
            return Ok(false);
        }
        self.take_runs(base, listed, false)?;
        self.stored = subject.stored;
        self.durable = base + length;
        let first = segment.sidecar.set(sidecar).is_ok();
        assert!(first, "each segment is read once");
        Ok(true)
    }

    /// Takes the runs of a sidecar. Those of RocketMQ's log may begin a queue anew.
    pub(super) fn take_runs(
        &mut self,
        base: LogOffset,
        listed: Vec<sidecar::Listed>,
        foreign: bool,
    ) -> Result<(), OpenError> {
        let mut appeared = Vec::new();
        let segment = self.segments.number_of(base);
        for sidecar::Listed { topic, queue, first, count, place } in listed {
            let topic = self.tails.number_of(&topic, &mut appeared);
            appeared.drain(..).for_each(|name| self.index.add_topic(name));
            if foreign && first == 0 {
                self.index.forget_queue(topic, queue);
            }
            let next = *self.tails.next_mut(topic, queue);
            if next == 0 && first > 0 && !self.any_begin {
                let reason = format!("its index sidecar is wrong: a queue begins at {first}");
                return Err(damaged(base, base, reason));
            }
            self.index
                .add_run(topic, queue, Run { segment, first, count, place })
                .map_err(|reason| damaged(base, base, format!("its index sidecar is wrong: {reason}")))?;
            *self.tails.next_mut(topic, queue) = first + u64::from(count);
        }
        Ok(())
    }

    /// A segment's sidecar, where there is one that is whole.
    pub(super) fn sidecar(&self, base: LogOffset) -> Result<Option<sidecar::Loaded<D::File>>, DiskError> {
        let file = match self.disk.open(&sidecar::path_of(base)) {
            Err(DiskError::NotFound { .. }) => return Ok(None),
            file => file?,
        };
        sidecar::load(file)
    }

    /// Cuts what is behind the end, durably, reserves the space again, and makes the new epoch durable: in this order,
    /// before anything is appended.
    pub(super) fn make_durable(
        &mut self,
        mut last: Last<D::File>,
        now: Millis,
    ) -> Result<Last<D::File>, OpenError> {
        self.settle(&last.segment, last.end)?;
        let file = &last.segment.file;
        let used = last.end - last.segment.base;
        let wanted = self.options.segment_bytes.max(used);
        match file.preallocate(wanted) {
            Ok(()) => last.reserved_to = last.segment.base + wanted,
            // The log goes on in the next segment, once there is room for one.
            Err(DiskError::Full { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.report.epoch = last.epoch + 1;
        let fits = last.end + OPEN_BYTES as u64 <= last.reserved_to;
        if fits && !self.options.planted(Canary::ChainSkipped) {
            let (frame, crc) = segment::open_frame(now, self.report.epoch, last.chain);
            file.write_at(used, &[&frame])?;
            file.sync_all()?;
            last.end += OPEN_BYTES as u64;
            last.chain = crc;
        }
        Ok(last)
    }

    /// Ends a segment's file at `end`, and makes everything before that durable.
    fn settle(&self, segment: &Segment<D::File>, end: LogOffset) -> Result<(), DiskError> {
        let used = end - segment.base;
        if segment.file.len()? > used && !self.options.planted(Canary::ChainSkipped) {
            segment.file.truncate(used)?;
        }
        write_again(segment, self.durable, end)?;
        segment.file.sync_all()
    }

    /// Reads frames until one does not belong to the log, and takes their records into index and tails.
    fn scan(
        &mut self,
        file: &D::File,
        start: &Start,
        start_crc: u32,
        length: u64,
    ) -> Result<Scanned, OpenError> {
        let mut scanner = Scanner::new(file, start, start_crc, length, self.checks());
        let mut entries = Vec::new();
        let stop = loop {
            let found = match scanner.next()? {
                Ok(found) => found,
                Err(stop) => break stop,
            };
            if found.header.kind == Kind::Open {
                continue;
            }
            let admitted = frame::for_each_record(found.bytes, &found.header, found.at, |record| {
                self.stored = record.stored();
                let own = (record.topic(), record.queue(), record.queue_offset());
                entries.push(self.admit(own, record)?);
                if !self.options.planted(Canary::LightQueuesForgotten) {
                    for (name, offset) in light::positions(record) {
                        entries.push(self.admit((name, light::QUEUE, offset), record)?);
                    }
                }
                Ok(())
            });
            admitted.map_err(|reason| damaged(start.base, found.at, reason))?;
            self.index.publish(&entries, start.base, |_, _| {});
            entries.clear();
        };
        if scanner.epoch == u32::MAX {
            // This opening could not have an epoch of its own.
            let reason = "the epoch of its frames is the last there can be";
            return Err(damaged(start.base, scanner.position(), reason.to_owned()));
        }
        self.report.segments_scanned += 1;
        self.report.bytes_scanned += scanner.position() - start.base;
        self.durable = self.durable.max(scanner.durable);
        Ok(Scanned { end: scanner.position(), chain: scanner.chain, epoch: scanner.epoch, stop })
    }

    fn checks(&self) -> Checks {
        Checks {
            crc: !self.options.planted(Canary::TailCrcSkipped),
            chain: !self.options.planted(Canary::ChainSkipped),
        }
    }

    /// Checks that the record goes on where a queue that it is in ended.
    fn admit(
        &mut self,
        (name, queue, queue_offset): (&str, QueueId, QueueOffset),
        record: &RecordView<'_>,
    ) -> Result<StagedEntry, String> {
        let topic = self.topic_of_queue(name, queue)?;
        let next = self.tails.next_mut(topic, queue);
        if *next == 0 && self.any_begin {
            // All records of the queue were removed, but not where it went on.
            *next = queue_offset;
        }
        if *next != queue_offset {
            return Err(format!("queue {queue} of {name} goes on at {queue_offset} after {next}"));
        }
        *next += 1;
        Ok(entry_of(record, topic, queue, queue_offset))
    }

    /// The number of the topic of a queue that a record is in, a new one where the topic is.
    pub(super) fn topic_of_queue(&mut self, name: &str, queue: QueueId) -> Result<u32, String> {
        if queue >= QUEUES_MAX {
            return Err(format!("a record is in queue {queue}, which cannot be"));
        }
        Ok(self.topic_of(name))
    }

    fn topic_of(&mut self, name: &str) -> u32 {
        let mut appeared = Vec::new();
        let topic = self.tails.number_of(name, &mut appeared);
        appeared.into_iter().for_each(|name| self.index.add_topic(name));
        topic
    }
}

/// A record's entry in one of its queues.
pub(super) fn entry_of(
    record: &RecordView<'_>,
    topic: u32,
    queue: QueueId,
    queue_offset: QueueOffset,
) -> StagedEntry {
    StagedEntry {
        topic,
        queue,
        queue_offset,
        log_offset: record.log_offset(),
        size: record.total_len() as u32,
        tag: tag::code_of(record.properties()),
    }
}

/// Opens the segment at `base` and checks its first frame; `Err` inside where that is not one.
fn find<D: Disk>(disk: &D, base: LogOffset) -> Result<Result<Found<D::File>, String>, DiskError> {
    let file = disk.open(&segment::path_of(base))?;
    let length = file.len()?;
    let start = Start::read(&file, base)?;
    Ok(start.map(|(start, start_crc)| Found { file, length, start, start_crc }))
}

/// Whether nothing was written where the first frame should be, and no frame behind says that it was durable.
fn is_blank<D: Disk>(disk: &D, base: LogOffset) -> Result<bool, DiskError> {
    let mut bytes = [0; START_BYTES];
    let file = disk.open(&segment::path_of(base))?;
    let read = file.read_at(0, &mut bytes)?;
    let is_blank = bytes[..read].iter().all(|byte| *byte == 0);
    Ok(is_blank && durable_beyond(&file, base, base, file.len()?)?.is_none())
}

/// Whether a segment goes on where the one before it ended.
fn follows(next: &Start, scanned: &Scanned) -> bool {
    next.chain == scanned.chain && next.epoch >= scanned.epoch
}

/// Writes those bytes of a segment again that are not known to be durable. A sync alone would not do: where one failed
/// before, the kernel takes the pages for clean, shows what they hold, and forgets it when the power fails.
fn write_again<F: DiskFile>(
    segment: &Segment<F>,
    durable: LogOffset,
    end: LogOffset,
) -> Result<(), DiskError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut at = durable.max(segment.base);
    let mut piece = Vec::new();
    while at < end {
        piece.resize((end - at).min(PIECE_BYTES) as usize, 0);
        let whole = read_full(&segment.file, at - segment.base, &mut piece)?;
        assert!(whole, "these bytes were scanned");
        segment.file.write_at(at - segment.base, &[&piece])?;
        at += piece.len() as u64;
    }
    Ok(())
}
