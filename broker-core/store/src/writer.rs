//! Writing what was staged: the one owner of the log's end.

use crate::{
    canary::Canary,
    disk::{Disk, DiskError, DiskFile},
    flusher::{Background, Owed},
    frame::{self, Fields, Kind},
    index::{Arrival, IndexWriter, sidecar::Subject},
    log::{Poisoned, Shared},
    options::{Durability, Options},
    segment::{self, START_BYTES, Segment, Segments, Start},
    sequencer::{Batch, Item},
    tail::Tail,
};
use bytes::Bytes;
use halley_model::{LogOffset, Millis};
use std::{sync::Arc, time::Duration};

/// A full disk is asked for room again after so long.
const FULL_RETRY_MS: Millis = 1_000;

/// Writes the log. One thread owns it and calls [`LogIo::run_once`] whenever something is staged, and about once a
/// second otherwise.
pub struct LogIo<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Arc<Segments<D>>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) background: Arc<Background<D>>,
    pub(crate) index: IndexWriter,
    pub(crate) active: Arc<Segment<D::File>>,
    /// Where the next frame goes.
    pub(crate) end: LogOffset,
    /// Crc of the last frame.
    pub(crate) chain: u32,
    pub(crate) epoch: u32,
    /// The reserved file for the next segment.
    pub(crate) spare: Option<D::File>,
    /// Not before then is a full disk asked for room again.
    pub(crate) full_until: Option<Millis>,
    /// Emptied and exchanged for a full one at each visit.
    pub(crate) batch: Batch,
    /// A sync that a planted bug put off.
    pub(crate) sync_put_off: bool,
}

/// What one visit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Everything before this is stored as the policy asks.
    pub acked: LogOffset,
    /// Queues with new records, each once.
    pub arrivals: Vec<Arrival>,
    /// Records stored.
    pub records: u64,
    /// Bytes written to the log.
    pub bytes: u64,
    /// Whether the data was synced.
    pub synced: bool,
    /// Whether a new segment was begun.
    pub rolled: bool,
}

/// A batch with all headers filled in.
struct Sealed {
    frames: Vec<(LogOffset, Bytes)>,
    roll: Option<Roll>,
    records: u64,
}

/// The beginning of a segment within a batch.
struct Roll {
    /// How many of the batch's frames belong to the segment before.
    frames_before: usize,
    base: LogOffset,
    start_frame: [u8; START_BYTES],
    ended: Subject,
}

impl<D: Disk> LogIo<D> {
    /// Writes everything staged, acknowledges it, and makes it visible to readers. After an error the store is stopped for good.
    ///
    /// Also reserves the next segment, before the batch, so that the batch that began one is not acknowledged late.
    pub fn run_once(&mut self, now: Millis) -> Result<Progress, Poisoned> {
        self.shared.check_poison()?;
        self.try_run(now).map_err(|error| self.shared.poison(&error.to_string()))
    }

    /// Blocks until there is something for [`LogIo::run_once`] to do or `timeout` has passed; whether there is. Only for a
    /// thread that has nothing else to do.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let must_reserve = self.spare.is_none() && self.full_until.is_none();
        must_reserve || self.sync_put_off || self.shared.wait_for_work(timeout)
    }

    fn try_run(&mut self, now: Millis) -> Result<Progress, DiskError> {
        self.tend(now)?;
        let mut batch = std::mem::take(&mut self.batch);
        self.shared.sequencer.lock().take(&mut batch);
        let done = self.store(&mut batch, now);
        batch.items.clear();
        batch.entries.clear();
        self.batch = batch;
        done
    }

    fn store(&mut self, batch: &mut Batch, now: Millis) -> Result<Progress, DiskError> {
        for topic in batch.new_topics.drain(..) {
            self.index.add_topic(topic);
        }
        let mut progress = Progress { acked: self.shared.acked(), ..Progress::default() };
        if batch.items.is_empty() {
            return Ok(progress);
        }
        let begin = self.end;
        let active = self.active.base;
        let sealed = self.seal(batch, now);
        if self.options.planted(Canary::IndexAheadOfLog) {
            progress.arrivals = self.show(batch, &sealed, active);
        }
        self.write(&sealed)?;
        progress.synced = std::mem::take(&mut batch.must_sync) && self.sync()?;
        self.background.wrote_to(self.end);
        if !self.options.planted(Canary::IndexAheadOfLog) {
            progress.arrivals = self.show(batch, &sealed, active);
        }
        self.shared.set_acked(self.end);
        progress.acked = self.end;
        progress.records = sealed.records;
        progress.bytes = self.end - begin;
        progress.rolled = sealed.roll.is_some();
        Ok(progress)
    }

    /// Fills in the headers: each frame carries on the crc of the one before.
    fn seal(&mut self, batch: &mut Batch, now: Millis) -> Sealed {
        let mut sealed = Sealed { frames: Vec::with_capacity(batch.items.len()), roll: None, records: 0 };
        let mut durable = self.shared.durable().min(self.end);
        for item in batch.items.drain(..) {
            match item {
                Item::Frame(mut draft) => {
                    assert_eq!(draft.at, self.end, "frames follow each other without a gap");
                    let fields = Fields {
                        kind: Kind::Records,
                        epoch: self.epoch,
                        records: draft.records,
                        unsynced: draft.at - durable,
                    };
                    let crc = frame::seal(&mut draft.bytes, &fields, self.chain);
                    self.chain_to(crc);
                    self.end += draft.bytes.len() as u64;
                    sealed.records += u64::from(draft.records);
                    sealed.frames.push((draft.at, draft.bytes.freeze()));
                }
                Item::Roll { base, stored } => {
                    assert!(base == self.end && sealed.roll.is_none(), "there is one spare segment");
                    let ended = Subject {
                        base: self.active.base,
                        length: base - self.active.base,
                        chain: self.chain,
                        epoch: self.epoch,
                        stored,
                    };
                    // Under this policy the roll syncs everything before it.
                    if self.options.durability == Durability::Sync {
                        durable = base;
                    }
                    let unsynced = base - durable;
                    let start = Start { base, created: now, epoch: self.epoch, chain: self.chain, unsynced };
                    let (start_frame, crc) = start.encode();
                    self.chain_to(crc);
                    self.end += START_BYTES as u64;
                    sealed.roll = Some(Roll { frames_before: sealed.frames.len(), base, start_frame, ended });
                }
            }
        }
        sealed
    }

    fn chain_to(&mut self, crc: u32) {
        self.chain = if self.options.planted(Canary::ChainSkipped) { 0 } else { crc };
    }

    fn write(&mut self, sealed: &Sealed) -> Result<(), DiskError> {
        match &sealed.roll {
            None => self.write_frames(&sealed.frames),
            Some(roll) => {
                self.write_frames(&sealed.frames[..roll.frames_before])?;
                self.roll(roll)?;
                self.write_frames(&sealed.frames[roll.frames_before..])
            }
        }
    }

    fn write_frames(&self, frames: &[(LogOffset, Bytes)]) -> Result<(), DiskError> {
        let Some((at, first)) = frames.first() else { return Ok(()) };
        let position = at - self.active.base;
        if frames.len() == 1 {
            return self.active.file.write_at(position, &[first]);
        }
        let parts: Vec<&[u8]> = frames.iter().map(|(_, bytes)| bytes.as_ref()).collect();
        self.active.file.write_at(position, &parts)
    }

    /// Ends the active segment and begins the next. Under [`Durability::Sync`] the order is the point: the old segment is
    /// whole and durable before there is a new one, and the new one has its start frame and its name before
    /// anything else is in it. Under [`Durability::Os`] all of that is left to the background, so that a full
    /// disk queue never holds up a sender; recovery then knows from `unsynced` what it may find missing.
    fn roll(&mut self, roll: &Roll) -> Result<(), DiskError> {
        let sync = self.options.durability == Durability::Sync;
        let spare = self.spare.take().expect("the sequencer begins a segment only when told of a spare");
        self.active.file.truncate(roll.ended.length)?;
        if sync {
            self.active.file.sync_all()?;
            self.shared.raise_durable(roll.base);
        }
        spare.write_at(0, &[&roll.start_frame])?;
        if sync {
            spare.sync_all()?;
        }
        drop(spare);
        let path = segment::path_of(roll.base);
        self.disk.rename(segment::SPARE, &path)?;
        if sync && !self.options.planted(Canary::RenameUnsynced) {
            self.disk.sync_dir(segment::DIR)?;
        }
        let file = self.disk.open(&path)?;
        let ended = std::mem::replace(&mut self.active, Arc::new(Segment::new(roll.base, file)));
        self.segments.push(Arc::clone(&self.active));
        self.background.rolled((!sync).then_some(ended), &self.active);
        Ok(())
    }

    /// Syncs what is written, as something in the batch asks; whether it did.
    fn sync(&mut self) -> Result<bool, DiskError> {
        if self.options.durability == Durability::Os {
            // The segments before may not be synced either.
            self.background.sync_to(self.end)?;
            return Ok(true);
        }
        if self.options.planted(Canary::AckBeforeSync) {
            self.sync_put_off = true;
        } else {
            match self.active.file.sync_data() {
                Err(_) if self.options.planted(Canary::SyncErrorIgnored) => {}
                Err(_) if self.options.planted(Canary::SyncRetried) => self.active.file.sync_data()?,
                done => done?,
            }
        }
        self.shared.raise_durable(self.end);
        Ok(true)
    }

    /// Makes the batch visible to readers: bytes first, then the index that leads to them.
    fn show(&mut self, batch: &Batch, sealed: &Sealed, active: LogOffset) -> Vec<Arrival> {
        self.shared.set_visible(self.end);
        self.tail.push(sealed.frames.iter().map(|(at, bytes)| (*at, bytes.clone())));
        let mut arrivals = Vec::new();
        let mut arrived =
            |topic: &Arc<str>, queue| arrivals.push(Arrival { topic: Arc::clone(topic), queue });
        self.index.begin_batch(batch.entries.first().map_or(0, |first| first.log_offset));
        let Some(roll) = &sealed.roll else {
            self.index.publish(&batch.entries, active, arrived);
            return arrivals;
        };
        let before = batch.entries.partition_point(|entry| entry.log_offset < roll.base);
        self.index.publish(&batch.entries[..before], active, &mut arrived);
        let queues = self.index.end_segment();
        self.index.publish(&batch.entries[before..], roll.base, arrived);
        self.background.owe(Owed { subject: roll.ended, queues });
        arrivals
    }

    /// Reserves the next segment, and does what the background should have done where it is too far behind. A full disk
    /// is remembered and asked again later.
    pub(crate) fn tend(&mut self, now: Millis) -> Result<(), DiskError> {
        if std::mem::take(&mut self.sync_put_off) {
            self.active.file.sync_data()?;
        }
        if self.background.is_behind() {
            self.background.catch_up()?;
        }
        // A clock set back does not prolong the wait.
        let waits = self.full_until.is_some_and(|until| now < until && until - now <= FULL_RETRY_MS);
        if self.spare.is_some() || waits {
            return Ok(());
        }
        self.full_until = None;
        match self.reserve_spare() {
            Err(DiskError::Full { .. }) => self.full_until = Some(now + FULL_RETRY_MS),
            done => done?,
        }
        Ok(())
    }

    fn reserve_spare(&mut self) -> Result<(), DiskError> {
        let reserved = self.disk.create(segment::SPARE).and_then(|file| {
            file.preallocate(self.options.segment_bytes)?;
            Ok(file)
        });
        let full = match reserved {
            Ok(file) => {
                self.spare = Some(file);
                Ok(())
            }
            Err(error @ DiskError::Full { .. }) => {
                // What was reserved in vain is needed elsewhere.
                match self.disk.remove(segment::SPARE) {
                    Ok(()) | Err(DiskError::NotFound { .. }) => Err(error),
                    Err(other) => return Err(other),
                }
            }
            Err(error) => return Err(error),
        };
        self.shared.sequencer.lock().set_spare(full.is_ok(), full.is_err());
        full
    }
}
