//! Which half messages were ended (`TransactionalMessageServiceImpl`, 4.9 and 5.5).
//!
//! That a half message was committed or rolled back is a record in [`super::OP_TOPIC`] with the tag `d`, whose body has its offset in
//! the half messages' queue: one in 4.9, several with commas behind them in 5.x. What RocketMQ went over before the offset of its
//! own group was ended, given up, or put back as a new half message.

use halley_model::{QueueOffset, RecordView, property};
use std::collections::{BTreeMap, BTreeSet};

/// The tag of a record that ends half messages (`TransactionalMessageUtil.REMOVE_TAG`, 5.5).
pub const REMOVE_TAG: &str = "d";

/// Half messages that were ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What lies before is no longer under way.
    first: QueueOffset,
    ended: BTreeSet<QueueOffset>,
}

impl Ended {
    /// RocketMQ's group committed this offset in the half messages' queue.
    pub fn new(first: QueueOffset) -> Self {
        Self { first, ended: BTreeSet::new() }
    }

    /// Takes in a record of [`super::OP_TOPIC`].
    pub fn see(&mut self, op: &RecordView<'_>) {
        if op.property(property::TAGS) != Some(REMOVE_TAG) {
            return;
        }
        let text = String::from_utf8_lossy(op.body());
        let offsets = text.split(',').filter_map(|offset| offset.trim().parse::<QueueOffset>().ok());
        self.ended.extend(offsets.filter(|offset| *offset >= self.first));
    }

    /// Whether nothing says that the half message at this offset is ended.
    pub fn is_open(&self, offset: QueueOffset) -> bool {
        offset >= self.first && !self.ended.contains(&offset)
    }

    /// Where to begin looking at half messages.
    pub fn first(&self) -> QueueOffset {
        self.first
    }
}

/// Collects half messages. RocketMQ stores one again whenever it asks about it, and counts; how far it is with its queue it writes
/// only now and then. So after a kill both are there, and the newer counts.
#[derive(Debug)]
pub struct Open {
    ended: Ended,
    open: BTreeSet<QueueOffset>,
    newest: BTreeMap<String, QueueOffset>,
}

impl Open {
    /// These were ended: all records of [`super::OP_TOPIC`] are taken in.
    pub fn new(ended: Ended) -> Self {
        Self { ended, open: BTreeSet::new(), newest: BTreeMap::new() }
    }

    /// Takes in a half message, in the queue's order.
    pub fn see(&mut self, half: &RecordView<'_>) {
        let offset = half.queue_offset();
        let is_again = half.property(property::TRANSACTION_CHECK_TIMES).is_some()
            || half.property(property::TRANSACTION_QUEUE_OFFSET).is_some();
        if let Some(key) = half.property(property::UNIQUE_KEY) {
            let before = self.newest.insert(key.to_owned(), offset);
            if let (Some(before), true) = (before, is_again) {
                self.open.remove(&before);
            }
        }
        if self.ended.is_open(offset) {
            self.open.insert(offset);
        }
    }

    /// The offsets of those that are open, rising.
    pub fn offsets(&self) -> Vec<QueueOffset> {
        self.open.iter().copied().collect()
    }
}

/// The body of a record that ends a half message.
pub fn body(offset: QueueOffset) -> String {
    format!("{offset},")
}
