//! The thread that owns the end of the log: writes and syncs what was staged, then tells who waited.

use crate::{acks::Acks, arrivals::Arrivals, clock, metrics::BrokerMetrics, stats::Stats};
use halley_store::{LogIo, disk::Disk};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How long the thread sleeps at most without being woken; bounds how late a full disk is looked at again.
const NAP: Duration = Duration::from_millis(500);

/// What the log thread tells and obeys.
pub(crate) struct LogThread {
    pub(crate) acks: Arc<Acks>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) metrics: Arc<BrokerMetrics>,
    pub(crate) stats: Arc<Stats>,
    /// When true, the thread ends as soon as nothing is staged.
    pub(crate) stop: Arc<AtomicBool>,
    /// Set when a new segment was begun: time for a snapshot.
    pub(crate) rolled: Arc<AtomicBool>,
}

impl LogThread {
    /// Runs until told to stop, or until a write or sync fails; returns why it failed.
    pub(crate) fn run<D: Disk>(&self, mut io: LogIo<D>) -> Result<(), String> {
        let result = self.serve(&mut io);
        if result.is_err() {
            // Nobody may wait for an acknowledgement that will never come.
            self.acks.stop();
        }
        result
    }

    fn serve<D: Disk>(&self, io: &mut LogIo<D>) -> Result<(), String> {
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            let started = Instant::now();
            let progress = io.run_once(clock::now()).map_err(|poisoned| poisoned.to_string())?;
            if progress.records > 0 {
                let took = started.elapsed();
                self.metrics.appended(progress.records, progress.bytes, took);
                self.stats.batch(progress.records, took);
                self.acks.advance(progress.acked);
                self.arrivals
                    .notify(progress.arrivals.iter().map(|arrival| (&*arrival.topic, arrival.queue)));
            }
            if progress.rolled {
                self.rolled.store(true, Ordering::Release);
            }
            if progress.records == 0 {
                if stopping {
                    return Ok(());
                }
                io.wait_for_work(NAP);
            }
        }
    }
}
