//! What must be done now and then, on a thread that may block on the disk.

use crate::{catalog::Catalog, delayed::Delayed, progress::Progress, transactions::Transactions};
use halley_machine::state::{STATE_TOPIC, Snapshot, StateRecord};
use halley_model::LogOffset;
use halley_store::{Flusher, Log, LogReader, Snapshots, disk::Disk};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest wait for the last records to be acknowledged.
const WAIT_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Housekeeping<D: Disk> {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) delayed: Arc<Delayed>,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) log: Log,
    pub(crate) reader: LogReader<D>,
    pub(crate) snapshots: Snapshots<D>,
    pub(crate) flusher: Flusher<D>,
    /// Set by the log's thread when a segment was begun.
    pub(crate) rolled: Arc<AtomicBool>,
}

impl<D: Disk> Housekeeping<D> {
    /// One round: logs offsets, brings written bytes to the medium, and snapshots the state once per segment.
    pub(crate) fn run(&self) {
        if let Err(error) = self.progress.flush() {
            tracing::warn!(%error, "offsets were not logged, they are tried again");
        }
        if let Err(error) = self.flusher.flush() {
            tracing::error!(%error, "the log was not synced");
        }
        if self.rolled.swap(false, Ordering::AcqRel) {
            self.snapshot();
        }
    }

    /// Logs the last offsets and waits until they are acknowledged.
    pub(crate) fn finish(&self) {
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
        let (timers, transactions) = (self.delayed.table(), self.transactions.table());
        let at = self.log.staged_end();
        if !self.wait_acked(at) {
            tracing::warn!("no snapshot was written, the log is behind");
            return;
        }
        let written = serde_json::to_vec(&Snapshot { next, state, timers, transactions })
            .map_err(|error| error.to_string())
            .and_then(|bytes| self.snapshots.write(at, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "no snapshot was written, the next start reads more of the log");
        }
    }
}
