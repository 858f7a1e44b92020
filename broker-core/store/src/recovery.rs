//! Opening a store: reading what is really there. The rule is in `docs/format/log.md`.

mod foreign;
mod rebuild;

use crate::{
    begin,
    canary::Canary,
    disk::{Disk, DiskError, DiskFile},
    flusher::{Background, Flusher},
    index::{Index, sidecar},
    keys::KeyIndex,
    log::{Log, Shared},
    options::Options,
    reader::LogReader,
    retention::Retention,
    scan::Checks,
    scrub::Scrubber,
    segment::{self, Start},
    sequencer::{Position, Sequencer},
    snapshot::{self, Snapshots},
    tail::Tail,
    writer::LogIo,
};
use halley_model::{LogOffset, Millis};
use parking_lot::Mutex;
use rebuild::Rebuild;
use std::sync::{Arc, atomic::AtomicU64};

/// The handles of an open store. The directory stays locked until all of them are gone.
pub struct Opened<D: Disk> {
    /// For producers.
    pub log: Log,
    /// For the log's thread.
    pub io: LogIo<D>,
    /// For consumers.
    pub reader: LogReader<D>,
    /// For those who look for keys, and the background thread that keeps them.
    pub keys: KeyIndex<D>,
    /// For a background thread.
    pub flusher: Flusher<D>,
    /// For a background thread that removes what is old.
    pub retention: Retention<D>,
    /// For a background thread that reads what is old again.
    pub scrubber: Scrubber<D>,
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
    /// Where the log begins, if something was removed from it.
    pub begin: Option<LogOffset>,
    /// Removed segments whose files were still there.
    pub segments_removed: usize,
    /// Segments.
    pub segments: usize,
    /// Segments read frame by frame, because they had no sidecar that could be trusted.
    pub segments_scanned: usize,
    /// Bytes of frames read for it.
    pub bytes_scanned: u64,
    /// Whole segments that were removed because something before them is missing, after a power cut only.
    pub segments_dropped: usize,
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
        "{path} is damaged at log offset {at}: {reason}; restore it from another copy; nothing was removed"
    )]
    Damaged {
        /// the segment file
        path: String,
        /// where
        at: LogOffset,
        /// what is wrong
        reason: String,
    },
    /// The log of RocketMQ's that this one goes on from cannot be used.
    #[error("{path} cannot be taken over, see log offset {at}: {reason}; nothing was changed")]
    Foreign {
        /// the file
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
    let mark = begin::read(&*disk)?.map_err(|reason| marked_wrong(0, reason.to_owned()))?;
    let segments_removed = remove_old(&*disk, mark)?;
    let first = find_segments(&*disk)?.first().copied();
    check_begin(mark, first, options.foreign.is_some())?;
    let (index, index_writer) = Index::new();
    let mut rebuild = Rebuild::new(&*disk, &options, mark, index_writer);
    rebuild.report.segments_removed = segments_removed;
    let begin = match &options.foreign {
        Some(foreign) => rebuild.read_foreign(foreign, first)?,
        None => 0,
    };
    if first.is_none() {
        create_first(&*disk, &options, begin, now)?;
    }
    let last = rebuild.read()?;
    // What the last process renamed or removed may not have become durable yet, but is relied on from now on.
    let snapshots_removed = match options.planted(Canary::SnapshotAheadOfLog) {
        true => 0,
        false => snapshot::remove_beyond(&*disk, last.end)?,
    };
    disk.sync_dir(segment::DIR)?;
    let last = rebuild.make_durable(last, now)?;

    let Rebuild { index: index_writer, tails, stored, segments, owed, mut report, .. } = rebuild;
    report.snapshots_removed = snapshots_removed;
    let position = Position { next: last.end, segment_end: last.reserved_to, stored };
    let sequencer = Sequencer::new(&options, tails, position);
    let shared = Arc::new(Shared::new(sequencer, last.end, options.durability, Box::new(lock)));
    let segments = Arc::new(segments);
    let tail = Arc::new(Tail::new(options.tail_bytes));
    let background = Arc::new(Background::new(
        Arc::clone(&disk),
        Arc::clone(&shared),
        Arc::clone(&segments),
        Arc::clone(&last.segment),
        last.end,
        owed,
    ));
    let reader = LogReader {
        shared: Arc::clone(&shared),
        index,
        segments: Arc::clone(&segments),
        tail: Arc::clone(&tail),
        checks: Checks { crc: true, chain: !options.planted(Canary::ChainSkipped) },
        damaged_lookups: Arc::new(AtomicU64::new(0)),
        damaged_reads: Arc::new(AtomicU64::new(0)),
        ahead: Arc::default(),
    };
    let keys = KeyIndex::new(Arc::clone(&disk), reader.clone());
    let scrubber = Scrubber { disk: Arc::clone(&disk), reader: reader.clone(), keys: keys.clone() };
    let retention = Retention {
        disk: Arc::clone(&disk),
        options: options.clone(),
        shared: Arc::clone(&shared),
        segments: Arc::clone(&segments),
        index: Arc::clone(&reader.index),
        working: Mutex::default(),
    };
    let mut io = LogIo {
        disk: Arc::clone(&disk),
        options,
        shared: Arc::clone(&shared),
        segments,
        tail,
        background: Arc::clone(&background),
        index: index_writer,
        active: last.segment,
        end: last.end,
        chain: last.chain,
        epoch: report.epoch,
        spare: None,
        full_until: None,
        batch: Default::default(),
        sync_put_off: false,
    };
    io.tend(now)?;
    Ok(Opened {
        log: Log { shared: Arc::clone(&shared) },
        io,
        reader,
        keys,
        flusher: Flusher { background },
        retention,
        scrubber,
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
    match disk.remove(&format!("{}.tmp", begin::PATH)) {
        Err(DiskError::NotFound { .. }) => Ok(()),
        done => done,
    }
}

/// Removes what a crash left of removed segments, oldest first: how many they were.
fn remove_old<D: Disk>(disk: &D, mark: Option<LogOffset>) -> Result<usize, DiskError> {
    let Some(begin) = mark else { return Ok(0) };
    // Who wrote the mark may have been killed before it became durable, and what is removed now may be durable sooner.
    disk.sync_dir("")?;
    let old: Vec<_> = find_segments(disk)?.into_iter().filter(|base| *base < begin).collect();
    for base in &old {
        disk.remove(&segment::path_of(*base))?;
    }
    for name in disk.list(sidecar::DIR)? {
        let base = [".idx", ".keys"].iter().find_map(|suffix| segment::number_in(&name, suffix));
        if base.is_some_and(|base| base < begin) {
            disk.remove(&format!("{}/{name}", sidecar::DIR))?;
        }
    }
    snapshot::remove_older(disk, begin)?;
    Ok(old.len())
}

/// The log begins where the mark says; without one at 0, or behind RocketMQ's. Anything else is no crash's work.
fn check_begin(mark: Option<LogOffset>, first: Option<LogOffset>, is_foreign: bool) -> Result<(), OpenError> {
    let reason = match (mark, first) {
        (Some(mark), Some(first)) if first == mark && !is_foreign => return Ok(()),
        (None, Some(0) | None) => return Ok(()),
        (None, Some(_)) if is_foreign => return Ok(()),
        (Some(_), _) if is_foreign => "a log behind RocketMQ's has no begin mark".to_owned(),
        (None, Some(first)) => format!(
            "the first segment begins at {first}, and no begin mark says that older ones were removed"
        ),
        (Some(_), Some(first)) => {
            format!("the segment that the log begins with is missing, the first begins at {first}")
        }
        (Some(_), None) => {
            "the segment that the log begins with is missing, and there is no other".to_owned()
        }
    };
    Err(marked_wrong(mark.unwrap_or(0), reason))
}

fn marked_wrong(at: LogOffset, reason: String) -> OpenError {
    OpenError::Damaged { path: begin::PATH.to_owned(), at, reason }
}

/// The bases of the segments, in log order.
fn find_segments<D: Disk>(disk: &D) -> Result<Vec<LogOffset>, DiskError> {
    let names = disk.list(segment::DIR)?;
    Ok(names.iter().filter_map(|name| segment::number_in(name, ".seg")).collect())
}

/// Makes the first segment of a new store.
fn create_first<D: Disk>(disk: &D, options: &Options, base: LogOffset, now: Millis) -> Result<(), DiskError> {
    let file = disk.create(segment::SPARE)?;
    file.preallocate(options.segment_bytes)?;
    let start = Start { base, created: now, epoch: 0, chain: 0, unsynced: 0 };
    file.write_at(0, &[&start.encode().0])?;
    file.sync_all()?;
    disk.rename(segment::SPARE, &segment::path_of(base))?;
    disk.sync_dir(segment::DIR)
}

fn damaged(segment: LogOffset, at: LogOffset, reason: String) -> OpenError {
    OpenError::Damaged { path: segment::path_of(segment), at, reason }
}
