//! What need not be done by the log's thread: bringing written bytes to the medium where the policy does not wait for
//! it, and moving the index of ended segments from memory to sidecars.

use crate::{
    disk::{Disk, DiskError, DiskFile},
    index::{
        Topic,
        sidecar::{self, Subject},
    },
    log::{Poisoned, Shared},
    segment::{self, Segment, Segments},
};
use halley_model::{LogOffset, QueueId};
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// How many ended segments may wait for the background before the log's thread does its work.
const OWED_MAX: usize = 4;

/// Syncs and tidies up beside the log's thread. Call [`Flusher::flush`] about twice a second from a thread that may block:
/// under [`crate::Durability::Os`] this bounds what a power cut can take, and under both policies it keeps
/// the log's thread from doing it itself, which it does when four ended segments are waiting.
pub struct Flusher<D: Disk> {
    pub(crate) background: Arc<Background<D>>,
}

impl<D: Disk> Flusher<D> {
    /// Syncs everything written so far, and writes the index of ended segments. Gives how far the log is durable. Blocks on
    /// the disk; an error stops the store.
    pub fn flush(&self) -> Result<LogOffset, Poisoned> {
        let shared = &self.background.shared;
        shared.check_poison()?;
        self.background.catch_up().map_err(|error| shared.poison(&error.to_string()))?;
        Ok(shared.durable())
    }
}

/// The work, shared by the flusher and the log's thread.
pub(crate) struct Background<D: Disk> {
    disk: Arc<D>,
    shared: Arc<Shared>,
    segments: Arc<Segments<D>>,
    written: Mutex<Written<D::File>>,
    /// Sidecars to be written, oldest first. Held only for looking and changing, not while writing.
    owed: Mutex<VecDeque<Arc<Owed>>>,
    /// Held while working: one at a time.
    working: Mutex<()>,
}

/// How far the log is written.
struct Written<F> {
    active: Arc<Segment<F>>,
    end: LogOffset,
    /// Segments that ended without a sync, oldest first.
    ended: Vec<Arc<Segment<F>>>,
}

/// A sidecar to be written.
pub(crate) struct Owed {
    pub(crate) subject: Subject,
    /// The queues with records in the segment, sorted by (topic, queue).
    pub(crate) queues: Vec<(Arc<Topic>, QueueId)>,
}

impl<D: Disk> Background<D> {
    pub(crate) fn new(
        disk: Arc<D>,
        shared: Arc<Shared>,
        segments: Arc<Segments<D>>,
        active: Arc<Segment<D::File>>,
        end: LogOffset,
        owed: VecDeque<Arc<Owed>>,
    ) -> Self {
        let written = Mutex::new(Written { active, end, ended: Vec::new() });
        Self { disk, shared, segments, written, owed: Mutex::new(owed), working: Mutex::new(()) }
    }

    /// The log is written up to `end`.
    pub(crate) fn wrote_to(&self, end: LogOffset) {
        self.written.lock().end = end;
    }

    /// A segment was begun; the one before may have to be synced.
    pub(crate) fn rolled(&self, unsynced: Option<Arc<Segment<D::File>>>, active: &Arc<Segment<D::File>>) {
        let mut written = self.written.lock();
        written.ended.extend(unsynced);
        written.active = Arc::clone(active);
    }

    pub(crate) fn owe(&self, owed: Owed) {
        self.owed.lock().push_back(Arc::new(owed));
    }

    /// Whether so much waits that the log's thread must help.
    pub(crate) fn is_behind(&self) -> bool {
        self.owed.lock().len() > OWED_MAX
    }

    /// Syncs what is written, then writes the sidecars of what is synced.
    pub(crate) fn catch_up(&self) -> Result<(), DiskError> {
        let _alone = self.working.lock();
        self.sync()?;
        match self.write_sidecars() {
            // The index stays in memory until there is room.
            Err(DiskError::Full { .. }) => Ok(()),
            done => done,
        }
    }

    /// Syncs everything before `end`, which is written.
    pub(crate) fn sync_to(&self, end: LogOffset) -> Result<(), DiskError> {
        self.wrote_to(end);
        let _alone = self.working.lock();
        self.sync()
    }

    fn sync(&self) -> Result<(), DiskError> {
        let (ended, active, end) = {
            let written = self.written.lock();
            (written.ended.clone(), Arc::clone(&written.active), written.end)
        };
        if self.shared.durable() >= end {
            return Ok(());
        }
        for segment in &ended {
            segment.file.sync_all()?;
        }
        active.file.sync_data()?;
        if !ended.is_empty() {
            self.disk.sync_dir(segment::DIR)?;
            self.written.lock().ended.drain(..ended.len());
        }
        self.shared.raise_durable(end);
        Ok(())
    }

    fn write_sidecars(&self) -> Result<(), DiskError> {
        loop {
            let first = self.owed.lock().front().map(Arc::clone);
            let Some(owed) = first else { return Ok(()) };
            if owed.subject.base + owed.subject.length > self.shared.durable() {
                return Ok(());
            }
            write_sidecar(&*self.disk, &self.segments, &owed)?;
            self.owed.lock().pop_front();
        }
    }
}

/// Moves the index of a sealed and durable segment from memory to its sidecar. [`DiskError::Full`] leaves it in memory.
pub(crate) fn write_sidecar<D: Disk>(disk: &D, segments: &Segments<D>, owed: &Owed) -> Result<(), DiskError> {
    let Owed { subject, queues } = owed;
    let sidecar = sidecar::write(disk, subject, queues)?;
    let number = segments.number_of(subject.base);
    let first = segments.at(number).is_some_and(|segment| segment.sidecar.set(sidecar).is_ok());
    assert!(first, "a segment is sealed once");
    // Readers are sent to the sidecar only now that it is there.
    let (end, mut place) = (subject.base + subject.length, 0);
    for (topic, queue) in queues {
        place += topic.retire(*queue, end, number, place);
    }
    Ok(())
}
