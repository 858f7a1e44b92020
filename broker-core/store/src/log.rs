//! Staging records, and knowing how far they are stored.

use crate::{
    options::Durability,
    sequencer::{Placed, Sequencer, StageError},
};
use halley_model::{LogOffset, Millis, QUEUES_MAX, QueueId, QueueOffset, RecordBody};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    any::Any,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What all handles of a store share.
pub(crate) struct Shared {
    pub(crate) sequencer: Mutex<Sequencer>,
    /// Waits with `sequencer`.
    work: Condvar,
    /// Whether the writer waits on `work`; set and cleared under `sequencer`.
    writer_waits: AtomicBool,
    /// Raised before the index leads readers to new records, `acked` after: who waits for its record finds it.
    visible: AtomicU64,
    acked: AtomicU64,
    durable: AtomicU64,
    /// Where a staging asks for nothing else.
    durability: Durability,
    poison: OnceLock<String>,
    /// Keeps others out of the directory as long as there is a handle.
    _lock: Box<dyn Any + Send + Sync>,
}

impl Shared {
    pub(crate) fn new(
        sequencer: Sequencer,
        end: LogOffset,
        durability: Durability,
        lock: Box<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            sequencer: Mutex::new(sequencer),
            work: Condvar::new(),
            writer_waits: AtomicBool::new(false),
            visible: AtomicU64::new(end),
            acked: AtomicU64::new(end),
            durable: AtomicU64::new(end),
            durability,
            poison: OnceLock::new(),
            _lock: lock,
        }
    }

    pub(crate) fn acked(&self) -> LogOffset {
        self.acked.load(Ordering::Acquire)
    }

    pub(crate) fn set_acked(&self, end: LogOffset) {
        let before = self.acked.swap(end, Ordering::AcqRel);
        assert!(before <= end, "the acknowledged end of the log moved back from {before} to {end}");
    }

    pub(crate) fn visible(&self) -> LogOffset {
        self.visible.load(Ordering::Acquire)
    }

    pub(crate) fn set_visible(&self, end: LogOffset) {
        self.visible.store(end, Ordering::Release);
    }

    pub(crate) fn durable(&self) -> LogOffset {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn raise_durable(&self, end: LogOffset) {
        self.durable.fetch_max(end, Ordering::AcqRel);
    }

    /// Stops the store; the first reason stays.
    pub(crate) fn poison(&self, reason: &str) -> Poisoned {
        Poisoned(self.poison.get_or_init(|| reason.to_owned()).clone())
    }

    pub(crate) fn check_poison(&self) -> Result<(), Poisoned> {
        self.poison.get().map_or(Ok(()), |reason| Err(Poisoned(reason.clone())))
    }

    /// Waits until something is staged, at most `timeout`; whether something is.
    pub(crate) fn wait_for_work(&self, timeout: Duration) -> bool {
        let mut sequencer = self.sequencer.lock();
        if !sequencer.has_staged() {
            self.writer_waits.store(true, Ordering::Relaxed);
            self.work.wait_for(&mut sequencer, timeout);
            self.writer_waits.store(false, Ordering::Relaxed);
        }
        sequencer.has_staged()
    }
}

/// The store stopped after a failed write or sync: the reason. Whether what was staged is in the log is unknown; the
/// process should end and recovery read what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store stopped: {0}")]
pub struct Poisoned(pub String);

/// The log as producers see it. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    pub(crate) shared: Arc<Shared>,
}

impl Log {
    /// Begins to stage records that are stored at `now`. Holds a lock that all producers and the log's thread share:
    /// stage what there is, and let go. The log's thread, if it waits, is woken when the guard goes.
    pub fn stage(&self, now: Millis) -> Result<Staging<'_>, StageError> {
        self.shared.check_poison().map_err(|Poisoned(reason)| StageError::Poisoned(reason))?;
        let sequencer = self.shared.sequencer.lock();
        let now = sequencer.store_time(now);
        Ok(Staging { shared: &self.shared, sequencer, now, durability: self.shared.durability })
    }

    /// Everything before this is stored as its staging asked. It moves by whole groups.
    pub fn acked(&self) -> LogOffset {
        self.shared.acked()
    }

    /// Everything staged so far, by whomever, is stored once [`Log::acked`] has reached this.
    pub fn staged_end(&self) -> LogOffset {
        self.shared.sequencer.lock().end()
    }

    /// A queue without records goes on at `end`: the log it was in is gone. To be said after each opening, and before
    /// anything is staged; [`crate::LogReader::begin_at`] tells readers. Queues with records stay as they are.
    pub fn raise_end(&self, topic: &str, queue: QueueId, end: QueueOffset) {
        assert!(queue < QUEUES_MAX, "queue {queue} of {topic} cannot be");
        self.shared.sequencer.lock().raise_end(topic, queue, end);
    }

    /// When a record counts as stored that nobody asks otherwise for.
    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// Everything before this outlives a power cut.
    pub fn durable(&self) -> LogOffset {
        self.shared.durable()
    }

    /// Why the store stopped, if it did.
    pub fn poisoned(&self) -> Option<String> {
        self.shared.poison.get().cloned()
    }

    /// Bytes of records that wait for the log's thread.
    pub fn staged_bytes(&self) -> usize {
        self.shared.sequencer.lock().staged_bytes()
    }
}

/// The right to stage records, see [`Log::stage`].
pub struct Staging<'a> {
    shared: &'a Shared,
    sequencer: MutexGuard<'a, Sequencer>,
    now: Millis,
    durability: Durability,
}

impl Staging<'_> {
    /// When the records that are staged from now on count as stored, whatever the store's own setting is. What lies before a
    /// synced record is synced with it.
    pub fn ask(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Stages one record. It is stored once [`Log::acked`] is beyond its log offset.
    pub fn append(&mut self, body: &RecordBody<'_>) -> Result<Placed, StageError> {
        let mut place = Placed { queue_offset: 0, log_offset: 0 };
        let how = (self.now, self.durability);
        self.sequencer.append(std::slice::from_ref(body), how, |placed| place = placed)?;
        Ok(place)
    }

    /// The offset that the next record of each queue of `topic` gets, staged ones counted; empty for a topic that never had
    /// a record.
    pub fn queue_ends(&self, topic: &str) -> Vec<QueueOffset> {
        self.sequencer.ends_of(topic)
    }

    /// Stages records of which all or none will be stored, pushing the place of each. On an error none is staged.
    pub fn append_group(
        &mut self,
        group: &[RecordBody<'_>],
        placed: &mut Vec<Placed>,
    ) -> Result<(), StageError> {
        self.sequencer.append(group, (self.now, self.durability), |place| placed.push(place))
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if self.sequencer.has_staged() && self.shared.writer_waits.swap(false, Ordering::Relaxed) {
            self.shared.work.notify_one();
        }
    }
}
