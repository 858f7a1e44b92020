//! The writable side of the log.

use crate::{acks::Acks, clock, retention::Room};
use halley_store::{Log, StageError, Staging};
use std::sync::Arc;

/// Where to stage records, and where to wait for them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Appends {
    pub(crate) log: Log,
    pub(crate) acks: Arc<Acks>,
    /// Whether the disk has room for what producers send.
    pub(crate) room: Arc<Room>,
}

impl Appends {
    pub(crate) fn new(log: Log, acks: Arc<Acks>, room: Arc<Room>) -> Self {
        Self { log, acks, room }
    }

    /// Stages what producers send: refused where the disk is nearly full.
    pub(crate) fn stage_sent(&self) -> Result<Staging<'_>, StageError> {
        if self.room.refuses() { Err(StageError::Full) } else { self.log.stage(clock::now()) }
    }
}
