//! What groups have consumed, written to the log about once a second.

use crate::{clock, state_writer::StateWriter};
use halley_machine::{
    locks::QueueLocks,
    offsets::{Committed, Key, Offsets},
    state::StateRecord,
};
use halley_model::{GroupName, LogOffset, QueueId, TopicName};
use halley_store::StageError;
use parking_lot::Mutex;

/// Offsets of one state record stay below this many bytes.
const RECORD_BYTES: usize = 1024 * 1024;

/// Committed offsets and queue locks.
pub(crate) struct Progress {
    offsets: Mutex<Offsets>,
    locks: Mutex<QueueLocks>,
    /// Where the last record of offsets ends; held while offsets are logged, so that whoever finds nothing to log
    /// knows what to wait for.
    logged: Mutex<LogOffset>,
    writer: StateWriter,
}

impl Progress {
    pub(crate) fn new(offsets: Offsets, writer: StateWriter) -> Self {
        Self { offsets: Mutex::new(offsets), locks: Mutex::default(), logged: Mutex::new(0), writer }
    }

    pub(crate) fn committed(
        &self,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
    ) -> Option<Committed> {
        self.offsets.lock().get(group, topic, queue).cloned()
    }

    pub(crate) fn commit(&self, key: Key, committed: Committed) {
        self.offsets.lock().commit(key, committed);
    }

    /// Writes what the log does not hold yet; everything committed before the call is durable when the returned offset
    /// is acknowledged.
    pub(crate) fn flush(&self) -> Result<LogOffset, StageError> {
        let mut logged = self.logged.lock();
        loop {
            let dirty = self.offsets.lock().take_dirty(RECORD_BYTES);
            if dirty.is_empty() {
                return Ok(*logged);
            }
            let record = StateRecord::offsets(dirty.iter().map(|(key, committed)| (key, committed)));
            match self.writer.write(&record) {
                Ok(end) => *logged = end,
                Err(error) => {
                    self.offsets.lock().mark_dirty(dirty.into_iter().map(|(key, _)| key));
                    return Err(error);
                }
            }
        }
    }

    /// Tries to lock each queue for the client; returns those it now holds.
    pub(crate) fn lock(
        &self,
        group: &GroupName,
        client: &str,
        queues: impl IntoIterator<Item = (TopicName, QueueId)>,
    ) -> Vec<(TopicName, QueueId)> {
        let now = clock::now();
        let mut locks = self.locks.lock();
        queues.into_iter().filter(|(topic, queue)| locks.lock(now, group, topic, *queue, client)).collect()
    }

    pub(crate) fn unlock(
        &self,
        group: &GroupName,
        client: &str,
        queues: impl IntoIterator<Item = (TopicName, QueueId)>,
    ) {
        let mut locks = self.locks.lock();
        for (topic, queue) in queues {
            locks.unlock(group, &topic, queue, client);
        }
    }

    /// Whether a client of the group holds a lock on any queue: the group consumes in order.
    pub(crate) fn has_locks(&self, group: &GroupName) -> bool {
        self.locks.lock().is_any_held(clock::now(), group)
    }

    /// Forgets expired locks.
    pub(crate) fn tick(&self) {
        self.locks.lock().expire(clock::now());
    }

    /// Looks at all offsets.
    pub(crate) fn with_offsets<T>(&self, look: impl FnOnce(&Offsets) -> T) -> T {
        look(&self.offsets.lock())
    }
}
