//! What must be done now and then, on a thread that may block on the disk.

use crate::{
    catalog::Catalog, delayed::Delayed, kept::Kept, pop::Pops, progress::Progress,
    request_modes::RequestModeTable, transactions::Transactions,
};
use halley_machine::state::{BeginState, STATE_TOPIC, Snapshot, StateRecord};
use halley_model::{LogOffset, QueueOffset, TopicName};
use halley_store::{Flusher, KeyIndex, Log, LogReader, ReadError, Snapshots, disk::Disk};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest wait for the last records to be acknowledged.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a round makes missing files of the key index; one segment takes about as long.
const KEYS_MAX: Duration = Duration::from_millis(200);

pub(crate) struct Housekeeping<D: Disk> {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) pops: Arc<Pops>,
    pub(crate) modes: Arc<RequestModeTable>,
    pub(crate) delayed: Arc<Delayed>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) log: Log,
    pub(crate) reader: LogReader<D>,
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) flusher: Flusher<D>,
    pub(crate) keys: KeyIndex<D>,
    /// Set by the log's thread when a segment was begun.
    pub(crate) rolled: Arc<AtomicBool>,
    /// State in the log says, or is about to say, where queues go on whose records lie before this.
    pub(crate) covered: AtomicU64,
}

impl<D: Disk> Housekeeping<D> {
    /// One round: logs offsets, brings written bytes to the medium, snapshots the state once per segment, and takes new
    /// messages into the key index.
    pub(crate) fn run(&self) {
        self.pops.commit_all();
        if let Err(error) = self.progress.flush() {
            tracing::warn!(%error, "offsets were not logged, they are tried again");
        }
        if let Err(error) = self.flusher.flush() {
            tracing::error!(%error, "the log was not synced");
        }
        if self.rolled.swap(false, Ordering::AcqRel) {
            self.snapshot();
        }
        if let Err(error) = self.tend_keys() {
            tracing::warn!(%error, "the key index is behind, queries by key read the log meanwhile");
        }
    }

    /// Brings the key index up to date, then makes missing files of older segments as long as there is time.
    fn tend_keys(&self) -> Result<(), ReadError> {
        self.keys.catch_up()?;
        let started = Instant::now();
        while started.elapsed() < KEYS_MAX && self.keys.tend_one()? {}
        Ok(())
    }

    /// Logs the last offsets and waits until they are acknowledged.
    pub(crate) fn finish(&self) {
        self.pops.commit_all();
        match self.progress.flush() {
            Ok(end) => _ = self.wait_acked(end),
            Err(error) => tracing::warn!(%error, "the last offsets were not logged"),
        }
    }

    /// Waits a while until everything before `end` is acknowledged; whether it is.
    fn wait_acked(&self, end: LogOffset) -> bool {
        let started = Instant::now();
        while self.log.acked() < end && self.log.poisoned().is_none() && started.elapsed() < WAIT_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        self.log.acked() >= end
    }

    /// Where queues go on that have no record at `covered` or behind.
    pub(crate) fn ends_before(&self, covered: LogOffset) -> Vec<BeginState> {
        let mut ended: Vec<(TopicName, Vec<QueueOffset>)> = Vec::new();
        self.reader.each_ended_before(covered, |topic, queue, end| {
            let is_last = ended.last().is_some_and(|(last, _)| **last == **topic);
            if !is_last && let Ok(name) = TopicName::known(topic) {
                ended.push((name, Vec::new()));
            }
            match ended.last_mut() {
                Some((last, queues)) if **last == **topic => {
                    queues.resize(queue as usize + 1, 0);
                    queues[queue as usize] = end;
                }
                _ => tracing::error!(%topic, queue, end, "a queue has a name that no topic can have"),
            }
        });
        ended.into_iter().map(|(topic, queues)| BeginState::new(topic, queues)).collect()
    }

    /// Writes what is known as a snapshot, so that the next start reads little of the log. A failure costs only that.
    pub(crate) fn snapshot(&self) {
        // Where folding goes on is read before the state, which may then already know more: folding the same records again
        // does no harm. The position is read last, and covers what is only staged: the state may know it. The snapshot is
        // written when all of it is acknowledged, and recovery drops one that lies beyond the log's end, so that none
        // survives that knows of records which a crash took.
        let next = self.reader.bounds(STATE_TOPIC, 0).map_or(0, |(_, max)| max);
        let state = self.catalog.with_tables(|topics, groups| {
            self.progress.with_offsets(|offsets| StateRecord::everything(topics, groups, offsets))
        });
        let state = self.kept.complete(self.catalog.complete(state));
        let state = self.modes.with(|modes| state.with_request_modes(modes));
        let timers = match self.delayed.table() {
            Ok(timers) => timers,
            Err(error) => return tracing::warn!(%error, "no snapshot was written"),
        };
        let transactions = self.transactions.table();
        // What the state records before `next` say of queues is said here.
        let covered = self.covered.load(Ordering::Acquire).max(self.reader.start());
        let state = if covered > 0 { state.with_ends(self.ends_before(covered)) } else { state };
        let at = self.log.staged_end();
        if !self.wait_acked(at) {
            tracing::warn!("no snapshot was written, the log is behind");
            return;
        }
        let snapshot = Snapshot { next, state, timers, transactions };
        if let Err(error) = self.snapshots.write(at, |out| Ok(serde_json::to_writer(out, &snapshot)?)) {
            tracing::warn!(%error, "no snapshot was written, the next start reads more of the log");
        }
    }
}
