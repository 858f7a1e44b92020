//! What groups have consumed, written to the log about once a second.

use crate::{clock, state_writer::StateWriter};
use halley_machine::{
    locks::QueueLocks,
    offsets::{Committed, Key, Offsets},
    state::StateRecord,
};
use halley_model::{GroupName, LogOffset, QueueId, QueueOffset, TopicName};
use halley_store::StageError;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Offsets of one state record stay below this many bytes.
const RECORD_BYTES: usize = 1024 * 1024;

/// Committed offsets and queue locks.
pub(crate) struct Progress {
    offsets: Mutex<Offsets>,
    locks: Mutex<QueueLocks>,
    /// Where an administrator set groups that have not been told yet.
    resets: Mutex<BTreeMap<Key, QueueOffset>>,
    /// How many those are: pulls look only where there are any.
    resets_len: AtomicUsize,
    changes: AtomicU64,
    /// Where the last record of offsets ends; held while offsets are logged, so that whoever finds nothing to log
    /// knows what to wait for.
    logged: Mutex<LogOffset>,
    writer: StateWriter,
}

impl Progress {
    pub(crate) fn new(offsets: Offsets, writer: StateWriter) -> Self {
        Self {
            offsets: Mutex::new(offsets),
            locks: Mutex::default(),
            resets: Mutex::default(),
            resets_len: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            logged: Mutex::new(0),
            writer,
        }
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
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// How many commits there were since the broker started.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Sets a group to an offset on an administrator's word: what its clients commit is ignored until one of them was told
    /// by its next pull (`ConsumerOffsetManager.assignResetOffset`, 5.5).
    pub(crate) fn reset(&self, key: Key, offset: QueueOffset) {
        let mut resets = self.resets.lock();
        resets.insert(key.clone(), offset);
        self.resets_len.store(resets.len(), Ordering::Release);
        self.offsets.lock().commit(key, Committed { offset, metadata: String::new() });
    }

    /// Whether a group was reset and not told yet.
    pub(crate) fn has_reset(&self, key: &Key) -> bool {
        self.resets_len.load(Ordering::Acquire) > 0 && self.resets.lock().contains_key(key)
    }

    /// Where the group was set, for it to be told now.
    pub(crate) fn take_reset(&self, group: &GroupName, topic: &str, queue: QueueId) -> Option<QueueOffset> {
        if self.resets_len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let key = (group.clone(), TopicName::known(topic).ok()?, queue);
        let mut resets = self.resets.lock();
        let offset = resets.remove(&key);
        self.resets_len.store(resets.len(), Ordering::Release);
        offset
    }

    /// Has `delete` log that something is gone, and forgets what was committed there. No offsets are logged meanwhile, so
    /// that none come back by folding the log.
    pub(crate) fn forget<T, E>(
        &self,
        gone: impl Fn(&Key) -> bool,
        delete: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _logged = self.logged.lock();
        let deleted = delete()?;
        let mut resets = self.resets.lock();
        resets.retain(|key, _| !gone(key));
        self.resets_len.store(resets.len(), Ordering::Release);
        self.offsets.lock().forget(gone);
        Ok(deleted)
    }

    /// Commits, if `is_expected` holds for what is committed now; else returns that.
    pub(crate) fn commit_if(
        &self,
        key: Key,
        committed: Committed,
        is_expected: impl FnOnce(Option<&Committed>) -> bool,
    ) -> Result<(), Option<Committed>> {
        let mut offsets = self.offsets.lock();
        let current = offsets.get(&key.0, &key.1, key.2);
        if !is_expected(current) {
            return Err(current.cloned());
        }
        offsets.commit(key, committed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes what the log does not hold yet; everything committed before the call is durable when the returned offset
    /// is acknowledged.
    pub(crate) fn flush(&self) -> Result<LogOffset, StageError> {
        self.flush_counted(&mut 0)
    }

    /// The next flush writes all that is committed, whether the log has it or not.
    pub(crate) fn log_all_next(&self) {
        let mut offsets = self.offsets.lock();
        let all: Vec<_> = offsets.iter().map(|(key, _)| key.clone()).collect();
        offsets.mark_dirty(all);
    }

    /// Flushes, and adds how many bytes that were.
    pub(crate) fn flush_counted(&self, bytes: &mut u64) -> Result<LogOffset, StageError> {
        let mut logged = self.logged.lock();
        loop {
            let dirty = self.offsets.lock().take_dirty(RECORD_BYTES);
            if dirty.is_empty() {
                return Ok(*logged);
            }
            let record = StateRecord::offsets(dirty.iter().map(|(key, committed)| (key, committed)));
            match self.writer.write_counted(&record) {
                Ok(written) => {
                    *logged = written.end;
                    *bytes += written.bytes;
                }
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
