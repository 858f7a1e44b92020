//! The writable side of the log.

use crate::{acks::Acks, clock, retention::Room};
use halley_machine::attributes;
use halley_model::TopicConfig;
use halley_store::{Durability, Log, StageError, Staging};
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

    /// When a message to this topic counts as stored.
    pub(crate) fn durability_of(&self, topic: &TopicConfig) -> Durability {
        match topic.attributes.get(attributes::FLUSH).map(String::as_str) {
            Some(attributes::FLUSH_ASYNC) => Durability::Os,
            Some(attributes::FLUSH_SYNC) => Durability::Sync,
            _ => self.log.durability(),
        }
    }

    /// Stages what producers send: refused where the disk is nearly full.
    pub(crate) fn stage_sent(&self) -> Result<Staging<'_>, StageError> {
        if self.room.refuses() { Err(StageError::Full) } else { self.log.stage(clock::now()) }
    }
}
