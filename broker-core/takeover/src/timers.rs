//! Which messages of the timer topic still wait (`TimerMessageStore`, 5.x).
//!
//! RocketMQ takes them from the topic's queue into a wheel of slots of a second, and reads the slot that is due. How far it is with both
//! stands in a file. A message that waits longer than the wheel reaches is stored again under the same topic when it comes round,
//! and counts how often that happened.

use halley_model::{Millis, QueueOffset, RecordView, property};
use std::collections::BTreeMap;

/// How far RocketMQ was: the file [`super::config::TIMERS`], all integers big-endian.
///
/// ```text
///  0 time of the slot to be read next, ms 8 · end of the wheel's log 8 · first offset not taken in 8 · the master's 8
/// 32 data version: state version 8 · time 8 · counter 8 · zeros up to 4096
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Slots of earlier times are delivered.
    pub read_to: Millis,
    /// The first offset of the topic's queue that is not in the wheel.
    pub next: QueueOffset,
}

impl Checkpoint {
    /// Bytes of the file.
    pub const BYTES: usize = 4096;

    /// Reads the file; nothing was done where it is too short.
    pub fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes)
        };
        Self { read_to: number(0), next: u64::try_from(number(16)).unwrap_or(0) }
    }
}

/// Collects the records of the timer topic's queue.
#[derive(Debug, Default)]
pub struct Pending {
    checkpoint: Checkpoint,
    open: BTreeMap<QueueOffset, (String, Millis)>,
    /// The last of each message that was stored again, by its unique key and time.
    newest: BTreeMap<(String, Millis), QueueOffset>,
}

impl Pending {
    /// RocketMQ was so far.
    pub fn new(checkpoint: Checkpoint) -> Self {
        Self { checkpoint, ..Self::default() }
    }

    /// Takes in a record, in the queue's order; whether it still waits, unless one that follows is the same message again.
    pub fn see(&mut self, record: &RecordView<'_>) -> bool {
        let offset = record.queue_offset();
        let due = record.property(property::TIMER_OUT_MS).and_then(|at| at.parse().ok()).unwrap_or(0);
        if due < self.checkpoint.read_to && offset < self.checkpoint.next {
            return false;
        }
        let key = record.property(property::UNIQUE_KEY).unwrap_or_default().to_owned();
        let rolled = record.property(property::TIMER_ROLL_TIMES).is_some_and(|times| times != "0");
        let named = (key, due);
        if !named.0.is_empty() {
            if rolled && let Some(before) = self.newest.get(&named) {
                self.open.remove(before);
            }
            self.newest.insert(named.clone(), offset);
        }
        self.open.insert(offset, named);
        true
    }

    /// The offsets of those that still wait, rising.
    pub fn open(&self) -> Vec<QueueOffset> {
        self.open.keys().copied().collect()
    }
}
