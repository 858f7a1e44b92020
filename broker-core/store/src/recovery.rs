//! Opening a store: reading what is really there. The rule is in `docs/format/log.md`.

use crate::{
    canary::Canary,
    disk::{Disk, DiskError, DiskFile, read_full},
    flusher::{Flusher, Written},
    frame::{self, FrameError, Kind},
    index::{Index, IndexWriter, sidecar, sidecar::Subject},
    log::{Log, Shared},
    options::Options,
    reader::LogReader,
    scan::{Checks, Scanner},
    segment::{self, OPEN_BYTES, Segment, Segments, Start},
    sequencer::{Position, Sequencer, StagedEntry, Tails},
    snapshot::{self, Snapshots},
    tail::Tail,
    writer::{LogIo, Owed, write_sidecar},
};
use halley_model::{LogOffset, Millis, QUEUES_MAX, RecordView, tag};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};

/// The handles of an open store. The directory stays locked until all of them are gone.
pub struct Opened<D: Disk> {
    /// For producers.
    pub log: Log,
    /// For the log's thread.
    pub io: LogIo<D>,
    /// For consumers.
    pub reader: LogReader<D>,
    /// For a background thread.
    pub flusher: Flusher<D>,
    /// For the views' snapshots.
    pub snapshots: Snapshots<D>,
    /// What was found.
    pub recovery: Recovery,
}

/// What opening a store found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How often the store has been opened.
    pub epoch: u32,
    /// Where the recovered log ended.
    pub end: LogOffset,
    /// Segments.
    pub segments: usize,
    /// Segments read frame by frame, because they had no sidecar that could be trusted.
    pub segments_scanned: usize,
    /// Bytes of frames read for it.
    pub bytes_scanned: u64,
    /// What was cut off the end; `None` where nothing but reserved space was behind it.
    pub cut: Option<Cut>,
    /// Snapshots removed because they knew more than the log does.
    pub snapshots_removed: usize,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Where the log ends.
    pub at: LogOffset,
    /// Why what stood there does not belong to it.
    pub reason: String,
}

/// Why a store cannot be opened. Nothing was thrown away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of bounds.
    #[error("a store cannot have these settings: {0}")]
    Options(String),
    /// The disk refused; [`DiskError::Locked`] where another process has the store open.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log is damaged where no crash can have damaged it.
    #[error(
        "{path} is damaged at log offset {at}: {reason}; restore it from another copy, nothing was changed"
    )]
    Damaged {
        /// the segment file
        path: String,
        /// where
        at: LogOffset,
        /// what is wrong
        reason: String,
    },
}

/// Opens the store on `disk`, making a new one where there is none.
pub fn open<D: Disk>(disk: Arc<D>, options: Options, now: Millis) -> Result<Opened<D>, OpenError> {
    options.check().map_err(OpenError::Options)?;
    for dir in ["", segment::DIR, sidecar::DIR, snapshot::DIR] {
        disk.create_dir(dir)?;
    }
    let lock = disk.lock("lock")?;
    remove_unfinished(&*disk)?;
    let mut found = find_segments(&*disk)?;
    if found.is_empty() {
        create_first(&*disk, &options, now)?;
        found = find_segments(&*disk)?;
    }
    let (index, index_writer) = Index::new();
    let mut recovery = Recovering::new(&*disk, &options, index_writer);
    let last = recovery.read(found)?;
    // What the last process renamed or removed may not have become durable yet, but is relied on from now on.
    let snapshots_removed = snapshot::remove_beyond(&*disk, last.end)?;
    disk.sync_dir(segment::DIR)?;
    let last = recovery.reserve_and_mark(last, now)?;

    let Recovering { index: index_writer, tails, stored, segments, owed, mut report, .. } = recovery;
    report.snapshots_removed = snapshots_removed;
    let position = Position { next: last.end, segment_end: last.reserved_to, stored };
    let sequencer = Sequencer::new(&options, tails, position);
    let shared = Arc::new(Shared::new(sequencer, last.end, Box::new(lock)));
    let segments = Arc::new(segments);
    let tail = Arc::new(Tail::new(options.tail_bytes));
    let written = Arc::new(Written { active: Mutex::new((Arc::clone(&last.segment), last.end)) });
    let reader = LogReader {
        shared: Arc::clone(&shared),
        index,
        segments: Arc::clone(&segments),
        tail: Arc::clone(&tail),
        checks: Checks { crc: true, chain: !options.planted(Canary::ChainSkipped) },
        damaged_lookups: Arc::new(AtomicU64::new(0)),
    };
    let mut io = LogIo {
        disk: Arc::clone(&disk),
        options,
        shared: Arc::clone(&shared),
        segments,
        tail,
        written: Arc::clone(&written),
        index: index_writer,
        active: last.segment,
        end: last.end,
        chain: last.chain,
        epoch: report.epoch,
        spare: None,
        owed,
        full_until: None,
        batch: Default::default(),
        sync_put_off: false,
    };
    io.tend(now)?;
    Ok(Opened {
        log: Log { shared: Arc::clone(&shared) },
        io,
        reader,
        flusher: Flusher { shared: Arc::clone(&shared), written },
        snapshots: Snapshots { disk, shared },
        recovery: report,
    })
}

fn remove_unfinished<D: Disk>(disk: &D) -> Result<(), DiskError> {
    for dir in [segment::DIR, sidecar::DIR, snapshot::DIR] {
        for name in disk.list(dir)?.iter().filter(|name| name.ends_with(".tmp")) {
            disk.remove(&format!("{dir}/{name}"))?;
        }
    }
    Ok(())
}

/// A segment file and its first frame.
struct FoundSegment<F> {
    file: F,
    length: u64,
    start: Start,
    start_crc: u32,
}

fn find_segments<D: Disk>(disk: &D) -> Result<Vec<FoundSegment<D::File>>, OpenError> {
    let mut found = Vec::new();
    for base in disk.list(segment::DIR)?.iter().filter_map(|name| segment::number_in(name, ".seg")) {
        let file = disk.open(&segment::path_of(base))?;
        let length = file.len()?;
        let (start, start_crc) = Start::read(&file, base)?.map_err(|reason| damaged(base, base, reason))?;
        found.push(FoundSegment { file, length, start, start_crc });
    }
    for pair in found.windows(2) {
        let end = pair[0].start.base + pair[0].length;
        if end != pair[1].start.base {
            let reason = format!("the next segment begins at {}, this one ends at {end}", pair[1].start.base);
            return Err(damaged(pair[0].start.base, end, reason));
        }
    }
    Ok(found)
}

/// Makes the first segment of a new store in the same order as every later one.
fn create_first<D: Disk>(disk: &D, options: &Options, now: Millis) -> Result<(), OpenError> {
    let file = disk.create(segment::SPARE)?;
    file.preallocate(options.segment_bytes)?;
    file.write_at(0, &[&Start { base: 0, created: now, epoch: 0, chain: 0 }.encode().0])?;
    file.sync_all()?;
    disk.rename(segment::SPARE, &segment::path_of(0))?;
    disk.sync_dir(segment::DIR)?;
    Ok(())
}

/// The segment that goes on.
struct Last<F> {
    segment: Arc<Segment<F>>,
    length: u64,
    end: LogOffset,
    reserved_to: LogOffset,
    chain: u32,
    epoch: u32,
    /// Up to where the log says that it was durable.
    durable: LogOffset,
}

struct Recovering<'a, D: Disk> {
    disk: &'a D,
    options: &'a Options,
    tails: Tails,
    index: IndexWriter,
    segments: Segments<D>,
    owed: VecDeque<Owed>,
    stored: Millis,
    report: Recovery,
}

impl<'a, D: Disk> Recovering<'a, D> {
    fn new(disk: &'a D, options: &'a Options, index: IndexWriter) -> Self {
        Self {
            disk,
            options,
            tails: Tails::default(),
            index,
            segments: Segments::new(),
            owed: VecDeque::new(),
            stored: Millis::MIN,
            report: Recovery::default(),
        }
    }

    /// Builds index and tails from all segments; the last one may end anywhere.
    fn read(&mut self, found: Vec<FoundSegment<D::File>>) -> Result<Last<D::File>, OpenError> {
        self.report.segments = found.len();
        let mut found = found.into_iter().peekable();
        let mut before = None;
        loop {
            let one = found.next().expect("there is a first segment, and the last one ends the loop");
            if let Some((chain, epoch)) = before
                && (one.start.chain != chain || one.start.epoch < epoch)
            {
                let reason = "the segment does not go on where the one before it ended".to_owned();
                return Err(damaged(one.start.base, one.start.base, reason));
            }
            let base = one.start.base;
            let segment = Segment { base, file: one.file, sidecar: OnceLock::new() };
            let segment = Arc::new(segment);
            self.segments.push(Arc::clone(&segment));
            let Some(next) = found.peek() else {
                return self.read_last(segment, &one.start, one.start_crc, one.length);
            };
            let chain = next.start.chain;
            let sealed = self.read_sealed(&segment, &one.start, one.start_crc, one.length, chain)?;
            before = Some(sealed);
        }
    }

    /// Takes the sidecar, or scans the segment and writes the sidecar again. Gives crc and epoch of the last frame.
    fn read_sealed(
        &mut self,
        segment: &Arc<Segment<D::File>>,
        start: &Start,
        start_crc: u32,
        length: u64,
        chain: u32,
    ) -> Result<(u32, u32), OpenError> {
        // Runs in memory and runs in sidecars must not alternate.
        if self.owed.is_empty()
            && let Some(sealed) = self.load_sidecar(segment, length, chain)?
        {
            return Ok(sealed);
        }
        let base = segment.base;
        let checks = Checks { crc: true, ..self.checks() };
        let scanned = self.scan(&segment.file, start, start_crc, length, checks)?;
        if scanned.stop != FrameError::Nothing || scanned.end != base + length {
            return Err(damaged(base, scanned.end, scanned.stop.to_string()));
        }
        let subject =
            Subject { base, length, chain: scanned.chain, epoch: scanned.epoch, stored: self.stored };
        let owed = Owed { subject, queues: self.index.end_segment() };
        let written = match self.owed.is_empty() {
            true => write_sidecar(self.disk, &self.segments, &mut self.index, &owed),
            false => Err(DiskError::Full { path: sidecar::path_of(base) }),
        };
        match written {
            Err(DiskError::Full { .. }) => self.owed.push_back(owed),
            done => done?,
        }
        Ok((scanned.chain, scanned.epoch))
    }

    fn load_sidecar(
        &mut self,
        segment: &Segment<D::File>,
        length: u64,
        chain: u32,
    ) -> Result<Option<(u32, u32)>, OpenError> {
        let base = segment.base;
        let file = match self.disk.open(&sidecar::path_of(base)) {
            Err(DiskError::NotFound { .. }) => return Ok(None),
            file => file?,
        };
        let Some((subject, listed)) = sidecar::load(&file)? else { return Ok(None) };
        if (subject.base, subject.length, subject.chain) != (base, length, chain) {
            return Ok(None);
        }
        let mut appeared = Vec::new();
        for one in listed {
            let topic = self.tails.number_of(&one.topic, &mut appeared);
            appeared.drain(..).for_each(|name| self.index.add_topic(name));
            self.index
                .add_run(topic, one.queue, one.run)
                .map_err(|reason| damaged(base, base, format!("its index sidecar is wrong: {reason}")))?;
            *self.tails.next_mut(topic, one.queue) = one.run.first + u64::from(one.run.count);
        }
        self.stored = subject.stored;
        let first = segment.sidecar.set(file).is_ok();
        assert!(first, "each segment is read once");
        Ok(Some((subject.chain, subject.epoch)))
    }

    fn read_last(
        &mut self,
        segment: Arc<Segment<D::File>>,
        start: &Start,
        start_crc: u32,
        length: u64,
    ) -> Result<Last<D::File>, OpenError> {
        let checks = self.checks();
        let stale = self.options.planted(Canary::OffsetReused).then(|| self.tails.clone());
        let scanned = self.scan(&segment.file, start, start_crc, length, checks)?;
        if let Some(stale) = stale {
            self.tails = stale;
        }
        if scanned.stop != FrameError::Nothing {
            self.report.cut = Some(Cut { at: scanned.end, reason: scanned.stop.to_string() });
        }
        self.report.end = scanned.end;
        let Scanned { end, chain, epoch, durable, .. } = scanned;
        Ok(Last { segment, length, end, reserved_to: end, chain, epoch, durable })
    }

    /// Cuts what is behind the end, durably, reserves the space again, and makes the new epoch durable: in this order,
    /// before anything is appended.
    fn reserve_and_mark(&mut self, mut last: Last<D::File>, now: Millis) -> Result<Last<D::File>, OpenError> {
        let file = &last.segment.file;
        let used = last.end - last.segment.base;
        self.report.epoch = last.epoch + 1;
        let leave_tail = self.options.planted(Canary::ChainSkipped);
        if last.length > used && !leave_tail {
            file.truncate(used)?;
        }
        // Readers will see what the last process wrote but may not have synced.
        write_again(&last)?;
        file.sync_all()?;
        match file.preallocate(self.options.segment_bytes.max(used)) {
            Ok(()) => last.reserved_to = last.segment.base + self.options.segment_bytes.max(used),
            // The log goes on in the next segment, once there is room for one.
            Err(DiskError::Full { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if last.end + OPEN_BYTES as u64 <= last.reserved_to && !leave_tail {
            let (frame, crc) = segment::open_frame(now, self.report.epoch, last.chain);
            file.write_at(used, &[&frame])?;
            file.sync_all()?;
            last.end += OPEN_BYTES as u64;
            last.chain = crc;
        }
        Ok(last)
    }

    /// Reads frames until one does not belong to the log, and takes their records into index and tails.
    fn scan(
        &mut self,
        file: &D::File,
        start: &Start,
        start_crc: u32,
        length: u64,
        checks: Checks,
    ) -> Result<Scanned, OpenError> {
        let mut scanner = Scanner::new(file, start, start_crc, length, checks);
        let mut entries = Vec::new();
        let mut appeared = Vec::new();
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
                let topic = self.tails.number_of(record.topic(), &mut appeared);
                appeared.drain(..).for_each(|name| self.index.add_topic(name));
                entries.push(self.admit(topic, record)?);
                Ok(())
            });
            admitted.map_err(|reason| damaged(start.base, found.at, reason))?;
            self.index.publish(&entries, start.base, |_, _| {});
            entries.clear();
        };
        self.report.segments_scanned += 1;
        self.report.bytes_scanned += scanner.position() - start.base;
        let Scanner { chain, epoch, durable, .. } = scanner;
        Ok(Scanned { end: scanner.position(), chain, epoch, durable, stop })
    }

    fn checks(&self) -> Checks {
        Checks {
            crc: !self.options.planted(Canary::TailCrcSkipped),
            chain: !self.options.planted(Canary::ChainSkipped),
        }
    }

    /// Checks that the record goes on where its queue ended.
    fn admit(&mut self, topic: u32, record: &RecordView<'_>) -> Result<StagedEntry, String> {
        let (queue, queue_offset) = (record.queue(), record.queue_offset());
        if queue >= QUEUES_MAX {
            return Err(format!("a record is in queue {queue}, which cannot be"));
        }
        let next = self.tails.next_mut(topic, queue);
        if *next != queue_offset {
            let topic = record.topic();
            return Err(format!("queue {queue} of {topic} goes on at {queue_offset} after {next}"));
        }
        *next += 1;
        Ok(StagedEntry {
            topic,
            queue,
            queue_offset,
            log_offset: record.log_offset(),
            size: record.total_len() as u32,
            tag: tag::code_of(record.properties()),
        })
    }
}

/// Writes the bytes again that are not known to be durable. A sync alone would not do: where one failed before, the
/// kernel takes the pages for clean, shows what they hold, and forgets it when the power fails.
fn write_again<F: DiskFile>(last: &Last<F>) -> Result<(), DiskError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let base = last.segment.base;
    let mut at = last.durable;
    let mut piece = Vec::new();
    while at < last.end {
        piece.resize((last.end - at).min(PIECE_BYTES) as usize, 0);
        let whole = read_full(&last.segment.file, at - base, &mut piece)?;
        assert!(whole, "these bytes were scanned");
        last.segment.file.write_at(at - base, &[&piece])?;
        at += piece.len() as u64;
    }
    Ok(())
}

struct Scanned {
    end: LogOffset,
    chain: u32,
    epoch: u32,
    durable: LogOffset,
    /// Why there was no further frame.
    stop: FrameError,
}

fn damaged(segment: LogOffset, at: LogOffset, reason: String) -> OpenError {
    OpenError::Damaged { path: segment::path_of(segment), at, reason }
}
