//! The thread that reads what is stored again, slowly, to find decay before somebody needs the messages.

use crate::{clock, metrics::BrokerMetrics};
use halley_machine::scrub::{Policy, Scrub};
use halley_model::LogOffset;
use halley_store::{Scrubbed, Scrubber, disk::Disk};
use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often it is looked whether a file is due.
const NAP: Duration = Duration::from_secs(1);

/// Niceness of the thread: it gets what nobody else wants.
const NICENESS: i32 = 19;

/// After so many bytes it rests: the rate holds over short times too.
const PIECE_BYTES: u64 = 256 << 10;

/// At most so many places of damage are remembered as told; what is found beyond is told again and again.
const TOLD_MAX: usize = 10_000;

/// The running thread; dropping it leaves the thread to the end of the process.
pub(crate) struct ScrubThread {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ScrubThread {
    pub(crate) fn start<D: Disk>(
        scrubber: Scrubber<D>,
        policy: Policy,
        metrics: Arc<BrokerMetrics>,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work { scrubber, metrics, stop: stop.clone(), told: BTreeSet::new() };
        let thread =
            thread::Builder::new().name("scrub".into()).spawn(move || work.run(Scrub::new(policy)))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread, and waits for it.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the thread that checks the log panicked");
        }
    }
}

struct Work<D: Disk> {
    scrubber: Scrubber<D>,
    metrics: Arc<BrokerMetrics>,
    stop: Arc<AtomicBool>,
    /// Files and places whose damage was told.
    told: BTreeSet<(String, LogOffset)>,
}

impl<D: Disk> Work<D> {
    fn run(mut self, mut scrub: Scrub) {
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "the log is checked with the usual priority");
        }
        while !self.is_stopped() {
            match scrub.next(clock::now(), &self.scrubber.segments()) {
                Some(base) => {
                    self.check(&scrub, base);
                    scrub.checked(clock::now(), base);
                }
                None => self.rest(NAP),
            }
        }
    }

    fn check(&mut self, scrub: &Scrub, base: LogOffset) {
        let (mut before, mut since) = (0, Instant::now());
        let checked = self.scrubber.check(base, &mut |done| {
            let bytes = done.saturating_sub(before);
            if bytes >= PIECE_BYTES {
                self.metrics.scrubbed.inc_by(bytes);
                self.rest(scrub.rest(bytes, since.elapsed()));
                (before, since) = (done, Instant::now());
            }
            if self.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match checked {
            Ok(Some(found)) => self.tell(base, found),
            // Removed, or the process ends.
            Ok(None) => {}
            Err(error) => tracing::warn!(segment = base, %error, "a file of the log could not be checked"),
        }
    }

    fn tell(&mut self, segment: LogOffset, found: Scrubbed) {
        let Scrubbed { damage, suspects, lost, mended, unmended, .. } = found;
        for finding in mended {
            self.metrics.scrub_mended.inc();
            tracing::warn!(file = finding.path, why = finding.what, "an index was damaged and is made again");
        }
        for (finding, error) in unmended {
            tracing::warn!(file = finding.path, why = finding.what, %error, "a damaged index was not made again");
        }
        let mut is_news = false;
        for finding in damage {
            let place = (finding.path.clone(), finding.at);
            if self.told.contains(&place) {
                continue;
            }
            is_news = true;
            self.metrics.damage.inc();
            tracing::error!(
                file = finding.path,
                at = finding.at,
                what = finding.what,
                "the log is damaged: see `halley inspect` on the data directory, and check the disk"
            );
            if self.told.len() < TOLD_MAX {
                self.told.insert(place);
            }
        }
        if !is_news {
            return;
        }
        for message in &lost {
            tracing::error!(
                segment,
                at = message.at,
                topic = message.topic,
                queue = message.queue,
                offset = message.offset,
                "a message cannot be read any more: consumers pass it over"
            );
        }
        if lost.is_empty() && suspects > 0 {
            tracing::error!(
                segment,
                messages = suspects,
                "all messages beside the damage can be read; the properties of one may be wrong"
            );
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Waits for so long, or until the thread is to end.
    fn rest(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.is_stopped()
            && let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            thread::park_timeout(left);
        }
    }
}
