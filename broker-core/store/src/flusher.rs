//! Bringing written bytes to the medium in the background.

use crate::{
    disk::{Disk, DiskFile},
    log::{Poisoned, Shared},
    segment::Segment,
};
use halley_model::LogOffset;
use parking_lot::Mutex;
use std::sync::Arc;

/// How far the log is written, kept by its writer for the flusher.
pub(crate) struct Written<D: Disk> {
    /// The active segment, and the end of what was written to it.
    pub(crate) active: Mutex<(Arc<Segment<D::File>>, LogOffset)>,
}

/// Syncs what was written, beside the log's thread. Under [`crate::Durability::Os`], calling it every half second or so
/// bounds what a power cut can take; under [`crate::Durability::Sync`] there is nothing left to do.
pub struct Flusher<D: Disk> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) written: Arc<Written<D>>,
}

impl<D: Disk> Flusher<D> {
    /// Syncs everything written so far, and gives the end of it. Blocks on the disk.
    pub fn flush(&self) -> Result<LogOffset, Poisoned> {
        self.shared.check_poison()?;
        let (segment, written) = {
            let active = self.written.active.lock();
            (Arc::clone(&active.0), active.1)
        };
        // Segments before the active one were synced when they ended.
        if self.shared.durable() < written {
            segment.file.sync_data().map_err(|error| self.shared.poison(&error.to_string()))?;
            self.shared.raise_durable(written);
        }
        Ok(written)
    }
}
