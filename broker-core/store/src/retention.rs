//! Removing the log's oldest segments. What is still needed of them is the caller's to know, and to put into the log again
//! before; here is that a crash at any point leaves a log that begins either where it did or where it should.

use crate::{
    begin,
    canary::Canary,
    disk::{Disk, DiskError},
    index::{Index, sidecar},
    keys,
    log::{Poisoned, Shared},
    options::Options,
    segment::{self, Segments},
    snapshot,
};
use halley_model::{LogOffset, Millis};
use parking_lot::Mutex;
use std::sync::Arc;

/// Removes old segments. Every call may block on the disk.
pub struct Retention<D: Disk> {
    pub(crate) disk: Arc<D>,
    pub(crate) options: Options,
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Arc<Segments<D>>,
    pub(crate) index: Arc<Index>,
    /// Held while removing: one at a time.
    pub(crate) working: Mutex<()>,
}

/// A segment that can be removed together with all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removable {
    /// Its first address.
    pub base: LogOffset,
    /// Where the log would begin without it.
    pub end: LogOffset,
    /// The store time of its last record.
    pub stored: Millis,
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many segments.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Where the log begins now.
    pub begin: LogOffset,
    /// Files that are no longer part of the log, but could not be taken away, and why. The next opening tries again.
    pub left: Vec<DiskError>,
}

/// Why nothing was removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// The log cannot begin there.
    #[error("the log cannot begin at {0}: no segment that can be removed ends there")]
    NoBoundary(LogOffset),
    /// There is no room for the mark that says where the log begins.
    #[error(transparent)]
    Full(DiskError),
    /// The store stopped.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

impl<D: Disk> Retention<D> {
    /// The segments that can be removed, oldest first: whole, durable, with their sidecars, and never the last one. None as
    /// long as the log begins with RocketMQ's files, which are not Halley's to remove.
    pub fn removable(&self) -> Vec<Removable> {
        let durable = self.shared.durable();
        let sealed = self.segments.sealed();
        let own = sealed.iter().take_while(|segment| segment.foreign.is_none());
        own.map_while(|segment| {
            let (end, sidecar) = (segment.end()?, segment.sidecar.get()?);
            // Its successor is there after a power cut, too.
            (end < durable).then_some(Removable { base: segment.base, end, stored: sidecar.stored })
        })
        .collect()
    }

    /// Removes what lies before `until`, the end of one of [`Retention::removable`]. Whatever of it is still needed is in the
    /// log at `until` or behind, and durable. Readers that have a record's place may still find the record for a while.
    pub fn remove_before(&self, until: LogOffset) -> Result<Removed, RemoveError> {
        let _alone = self.working.lock();
        self.shared.check_poison()?;
        if !self.removable().iter().any(|segment| segment.end == until) {
            return Err(RemoveError::NoBoundary(until));
        }
        let late = self.options.planted(Canary::RemovedBeforeMark);
        if !late {
            self.mark(until)?;
        }
        // Readers are led nowhere any more before segments go.
        self.index.forget_before(self.segments.number_of(until));
        let gone = self.segments.take_before(until);
        let mut removed = Removed {
            segments: gone.len(),
            bytes: gone.iter().map(|segment| until.min(segment.end().unwrap_or(until)) - segment.base).sum(),
            begin: until,
            left: Vec::new(),
        };
        for segment in gone {
            for path in paths_of(segment.base) {
                match self.disk.remove(&path) {
                    Ok(()) | Err(DiskError::NotFound { .. }) => {}
                    Err(error) => removed.left.push(error),
                }
            }
        }
        // They know a log that is no more.
        if let Err(error) = snapshot::remove_older(&*self.disk, until) {
            removed.left.push(error);
        }
        if late {
            self.mark(until)?;
        }
        Ok(removed)
    }

    fn mark(&self, until: LogOffset) -> Result<(), RemoveError> {
        begin::write(&*self.disk, until).map_err(|error| match error {
            DiskError::Full { .. } => RemoveError::Full(error),
            error => self.shared.poison(&error.to_string()).into(),
        })
    }
}

/// All files of a segment, itself first.
pub(crate) fn paths_of(base: LogOffset) -> [String; 3] {
    [segment::path_of(base), sidecar::path_of(base), keys::path_of(base)]
}
