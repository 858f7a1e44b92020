//! Reads of what is no longer in memory, on threads of their own.
//!
//! Who replays may keep a disk and a processor busy for hours. So these threads are few, they give way to all others of the
//! process, and while producers send all replays together have a rate ([`halley_machine::pace`]). They read for one connection
//! after the other, so that one that replays does not keep the others waiting, and for none that has not taken what was read for
//! it before.

use bytes::Bytes;
use halley_machine::pace::Pace;
use halley_store::Log;
use parking_lot::{Condvar, Mutex};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How many threads read: a disk answers some at once, and more would only wait.
const THREADS: usize = 4;

/// Niceness of the threads: beside a busy one of the usual niceness one gets about a tenth of a processor.
const NICENESS: i32 = 10;

/// Most reads that may wait, of all connections and of one.
const WAITING_MAX: usize = 65_536;
const WAITING_PER_LANE_MAX: usize = 16_384;

/// While a connection has more bytes than this to take, nothing further is read for it; what one read gives comes on top.
const UNTAKEN_BYTES_MAX: usize = 1 << 20;

/// While all wait because of the rate, it is looked so often whether it still holds.
const NAP: Duration = Duration::from_millis(5);

/// Threads that may block on the disk. Clones are the same threads, which end when the last clone is gone.
#[derive(Clone)]
pub(crate) struct ColdReads {
    threads: Arc<Threads>,
}

/// Ends the threads when it is dropped, and waits for them: they hold the store open.
struct Threads {
    pool: Arc<Pool>,
    handles: Vec<JoinHandle<()>>,
}

struct Pool {
    waiting: Mutex<Waiting>,
    work: Condvar,
    log: Log,
    started: Instant,
}

struct Waiting {
    /// Those that have reads which may be done now, the next first.
    ready: VecDeque<Arc<Lane>>,
    reads: usize,
    pace: Pace,
    ended: bool,
}

/// The reads of one connection, or of whoever else takes turns with connections.
#[derive(Default)]
pub(crate) struct Lane {
    /// Locked after the pool's.
    reads: Mutex<Reads>,
    /// Bytes that were read and not taken yet.
    untaken: AtomicUsize,
}

#[derive(Default)]
struct Reads {
    waiting: VecDeque<Read>,
    /// Whether the lane is among the pool's ready ones.
    is_ready: bool,
    /// Nobody wants the reads any more.
    closed: bool,
}

type Read = Box<dyn FnOnce(&mut Ticket) + Send>;

/// Too many reads wait: this one is not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// What a read tells of what it read.
pub(crate) struct Ticket {
    pool: Arc<Pool>,
    lane: Arc<Lane>,
    bytes: u64,
}

/// Bytes that were read for a connection and count against it until they are written to its socket.
struct Untaken {
    bytes: Bytes,
    pool: Arc<Pool>,
    lane: Arc<Lane>,
}

impl ColdReads {
    /// Starts the threads; all replays together read at most `rate` bytes per second while the log grows.
    pub(crate) fn start(log: Log, rate: Option<u64>) -> std::io::Result<Self> {
        Self::start_threads(log, rate, THREADS)
    }

    fn start_threads(log: Log, rate: Option<u64>, threads: usize) -> std::io::Result<Self> {
        let waiting =
            Waiting { ready: VecDeque::new(), reads: 0, pace: Pace::new(rate, log.acked()), ended: false };
        let pool = Arc::new(Pool {
            waiting: Mutex::new(waiting),
            work: Condvar::new(),
            log,
            started: Instant::now(),
        });
        let mut started = Threads { pool: pool.clone(), handles: Vec::new() };
        for number in 0..threads {
            let pool = pool.clone();
            let builder = thread::Builder::new().name(format!("cold-{number}"));
            started.handles.push(builder.spawn(move || pool.run())?);
        }
        Ok(Self { threads: Arc::new(started) })
    }

    /// Has `read` done when it is the lane's turn; never where the lane is closed before.
    pub(crate) fn read(
        &self,
        lane: &Arc<Lane>,
        read: impl FnOnce(&mut Ticket) + Send + 'static,
    ) -> Result<(), Busy> {
        let pool = &self.threads.pool;
        let mut waiting = pool.waiting.lock();
        let mut reads = lane.reads.lock();
        if waiting.reads >= WAITING_MAX || reads.waiting.len() >= WAITING_PER_LANE_MAX {
            return Err(Busy);
        }
        if reads.closed {
            return Ok(());
        }
        reads.waiting.push_back(Box::new(read));
        waiting.reads += 1;
        if !reads.is_ready {
            reads.is_ready = true;
            waiting.ready.push_back(lane.clone());
            pool.work.notify_one();
        }
        Ok(())
    }

    /// Forgets the lane's reads: nobody waits for them any more.
    pub(crate) fn close(&self, lane: &Lane) {
        let mut waiting = self.threads.pool.waiting.lock();
        let mut reads = lane.reads.lock();
        waiting.reads -= reads.waiting.len();
        reads.closed = true;
        let forgotten = std::mem::take(&mut reads.waiting);
        drop((reads, waiting));
        drop(forgotten);
    }

    /// How many reads wait.
    pub(crate) fn waiting(&self) -> usize {
        self.threads.pool.waiting.lock().reads
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let lanes = {
            let mut waiting = self.pool.waiting.lock();
            waiting.ended = true;
            std::mem::take(&mut waiting.ready)
        };
        self.pool.work.notify_all();
        for lane in lanes {
            lane.reads.lock().waiting.clear();
        }
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a thread for cold reads panicked");
            }
        }
    }
}

impl Ticket {
    /// Counts bytes that were read.
    pub(crate) fn read(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Counts bytes that were read, and holds them against the connection until they are dropped.
    pub(crate) fn hold(&mut self, bytes: Bytes) -> Bytes {
        self.read(bytes.len());
        self.lane.untaken.fetch_add(bytes.len(), Ordering::AcqRel);
        Bytes::from_owner(Untaken { bytes, pool: self.pool.clone(), lane: self.lane.clone() })
    }
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let before = self.lane.untaken.fetch_sub(self.bytes.len(), Ordering::AcqRel);
        if before > UNTAKEN_BYTES_MAX && before - self.bytes.len() <= UNTAKEN_BYTES_MAX {
            self.pool.resume(&self.lane);
        }
    }
}

impl Pool {
    fn run(self: &Arc<Self>) {
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "cold reads have the usual priority");
        }
        while let Some((lane, read)) = self.next() {
            let mut ticket = Ticket { pool: self.clone(), lane, bytes: 0 };
            read(&mut ticket);
            if ticket.bytes > 0 {
                self.waiting.lock().pace.read(self.started.elapsed(), ticket.bytes);
            }
        }
    }

    /// The next read, `None` when the threads end.
    fn next(&self) -> Option<(Arc<Lane>, Read)> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.ended {
                return None;
            }
            if waiting.ready.is_empty() {
                self.work.wait(&mut waiting);
                continue;
            }
            let wait = waiting.pace.wait(self.started.elapsed(), self.log.acked());
            if !wait.is_zero() {
                self.work.wait_for(&mut waiting, wait.min(NAP));
                continue;
            }
            let Some(lane) = waiting.ready.pop_front() else { continue };
            let mut reads = lane.reads.lock();
            // Whoever takes its bytes later makes it ready again.
            let next = match lane.untaken.load(Ordering::Acquire) <= UNTAKEN_BYTES_MAX {
                true => reads.waiting.pop_front(),
                false => None,
            };
            reads.is_ready = next.is_some() && !reads.waiting.is_empty();
            let is_ready = reads.is_ready;
            drop(reads);
            let Some(read) = next else { continue };
            waiting.reads -= 1;
            if is_ready {
                waiting.ready.push_back(lane.clone());
                self.work.notify_one();
            }
            return Some((lane, read));
        }
    }

    /// The lane's connection has taken enough.
    fn resume(&self, lane: &Arc<Lane>) {
        let mut waiting = self.waiting.lock();
        let mut reads = lane.reads.lock();
        if !reads.is_ready && !reads.waiting.is_empty() {
            reads.is_ready = true;
            waiting.ready.push_back(lane.clone());
            self.work.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
