//! Removes what is old from the log, and hides what a topic does not keep as long. What of it is still needed is put into the log again first: all state, and what waits.

use crate::{
    clock, compactions::Compactions, housekeeping::Housekeeping, metrics::BrokerMetrics, settings::Settings,
    state_writer::StateWriter,
};
use halley_machine::{
    delay::TIMER_TOPIC,
    retention::{Reason, Seen, Segment},
    state::StateRecord,
    transactions::HALF_TOPIC,
};
use halley_model::{LogOffset, Millis};
use halley_store::{ReadError, RemoveError, Retention, StageError, disk::Disk};
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use topics::OwnAges;

/// How often it is looked for something to remove.
pub(crate) const NAP: Duration = Duration::from_secs(1);

/// Queues, topics or groups that one state record names.
pub(crate) const PER_RECORD: usize = 512;

/// How long to wait before a busy store is asked again, and how often that is done.
const BUSY_NAP: Duration = Duration::from_millis(10);
const BUSY_TRIES: u32 = 1000;

/// Longest wait for what was staged to be acknowledged.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Removes old segments, one round after the other.
pub(crate) struct Retainer<D: Disk> {
    pub(crate) house: Arc<Housekeeping<D>>,
    pub(crate) retention: Retention<D>,
    pub(crate) compactions: Arc<Compactions>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) writer: StateWriter,
    pub(crate) metrics: Arc<BrokerMetrics>,
    pub(crate) room: Arc<Room>,
    pub(crate) paid: Mutex<Paid>,
    pub(crate) ages: Mutex<OwnAges>,
}

/// How much room the disk has.
pub(crate) struct Room {
    path: PathBuf,
    percent: AtomicU8,
    refuses: AtomicBool,
    /// Somebody asked for what is too old to go at once.
    asked: AtomicBool,
}

/// What was put into the log again.
#[derive(Debug, Default)]
pub(crate) struct Paid {
    /// The log can begin here, or before, without any of the state being lost.
    covers: LogOffset,
    /// Bytes of the state the last time, and of what waited.
    state: u64,
    waiting: u64,
}

/// Why nothing was removed this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RetainError {
    #[error("the log could not be read: {0}")]
    Read(#[from] ReadError),
    #[error("the store did not take what is still needed: {0}")]
    Stage(#[from] StageError),
    #[error("what is still needed is not durable yet")]
    Late,
    #[error("a delayed message has so many properties that it cannot be moved: it is waited for")]
    Unmovable,
    #[error("{0}")]
    Remove(#[from] RemoveError),
}

impl Room {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            percent: AtomicU8::new(0),
            refuses: AtomicBool::new(false),
            asked: AtomicBool::new(false),
        }
    }

    /// Whether producers are refused for want of room.
    pub(crate) fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// How full the disk was when it was last looked at, in percent.
    pub(crate) fn percent(&self) -> u8 {
        self.percent.load(Ordering::Relaxed)
    }

    /// What is too old goes in the next round, whatever it costs (request 329).
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Looks, as `UtilAll.getDiskPartitionSpaceUsedPercent` does (5.5): of what this process may use.
    fn look(&self) -> u8 {
        match rustix::fs::statvfs(&self.path) {
            Ok(disk) => {
                let used = disk.f_blocks.saturating_sub(disk.f_bfree);
                let percent = (used * 100).div_ceil((used + disk.f_bavail).max(1));
                self.percent.store(u8::try_from(percent).unwrap_or(100), Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "how full the disk is could not be asked"),
        }
        self.percent()
    }
}

impl<D: Disk> Retainer<D> {
    /// One round. Blocks on the disk.
    pub(crate) fn run(&self) {
        let policy = self.settings.retention();
        let disk = self.room.look();
        let refuses = policy.refuses(disk);
        if refuses != self.room.refuses.swap(refuses, Ordering::Relaxed) {
            match refuses {
                true => tracing::error!(percent = disk, "the disk is nearly full: producers are refused"),
                false => tracing::info!(percent = disk, "the disk has room again: producers are served"),
            }
        }
        let longest = self.hide();
        let asked = self.room.asked.swap(false, Ordering::Relaxed);
        if let Err(error) = self.remove(asked, longest) {
            tracing::warn!(%error, "nothing was removed from the log, it is tried again");
        }
        self.metrics.log_begin.set(self.house.reader.start() as i64);
        self.metrics.log_bytes.set((self.house.reader.end() - self.house.reader.start()) as i64);
        self.metrics.disk.set(i64::from(disk));
    }

    /// Hides what topics with a retention of their own do not keep. Gives the longest of their times. Blocks on the disk.
    pub(crate) fn hide(&self) -> Millis {
        self.ages.lock().hide(&self.house, clock::now())
    }

    fn remove(&self, asked: bool, longest: Millis) -> Result<(), RetainError> {
        let reader = &self.house.reader;
        let removable: Vec<_> = self.retention.removable();
        let Some(covered) = removable.last().map(|last| last.end) else { return Ok(()) };
        let removable: Vec<_> =
            removable.iter().map(|segment| Segment { end: segment.end, stored: segment.stored }).collect();
        let mut paid = self.paid.lock();
        let cost = if asked { 0 } else { paid.state + paid.waiting };
        let (now, begin, end, disk) = (clock::now(), reader.start(), reader.end(), self.room.percent());
        let seen = Seen { now, begin, end, removable: &removable, disk, cost };
        let policy = self.settings.retention().keeping(longest);
        let Some((until, reason)) = policy.until(&seen) else { return Ok(()) };
        let Some(until) = self.without_compacted(until, &removable)? else { return Ok(()) };

        let waiting = self.move_waiting(until)?;
        let mut needed = waiting.end;
        paid.waiting = waiting.bytes;
        if until > paid.covers {
            let state = self.write_state(covered)?;
            needed = needed.max(state.end);
            paid.state = state.bytes;
            self.make_durable(needed)?;
            paid.covers = covered;
        } else {
            self.make_durable(needed)?;
        }
        let removed = self.retention.remove_before(until)?;
        self.metrics.removed.inc_by(removed.bytes);
        let (segments, bytes, begin) = (removed.segments, removed.bytes, removed.begin);
        let reason = match reason {
            Reason::Age => "too old",
            Reason::Size => "too much",
            Reason::Disk => "the disk is too full",
        };
        tracing::info!(segments, bytes, begin, reason, "removed the oldest part of the log");
        for error in removed.left {
            tracing::warn!(%error, "a removed file is still there, the next start tries again");
        }
        Ok(())
    }

    /// Up to where the log may be removed so that compaction topics show what they show: at most `until`. `None` for not at all.
    fn without_compacted(
        &self,
        until: LogOffset,
        removable: &[Segment],
    ) -> Result<Option<LogOffset>, ReadError> {
        let Some(shown) = self.compactions.first_shown(&self.house.reader)? else { return Ok(Some(until)) };
        let mut fits = removable.iter().map(|segment| segment.end).filter(|end| *end <= shown.min(until));
        Ok(fits.next_back())
    }

    /// Moves what waits before `until` to the log's end.
    fn move_waiting(&self, until: LogOffset) -> Result<Written, RetainError> {
        let begin = |topic| self.house.reader.first_from(topic, 0, until);
        let mut written = Written::default();
        self.patiently(|| self.house.delayed.move_before(begin(TIMER_TOPIC), &mut written))?;
        let mut of_halves = Written::default();
        self.patiently(|| self.house.transactions.move_before(begin(HALF_TOPIC), &mut of_halves))?;
        written.add(of_halves);
        Ok(written)
    }

    /// Writes all state into the log, so that it can begin anywhere up to `covered`.
    fn write_state(&self, covered: LogOffset) -> Result<Written, RetainError> {
        let mut written = Written::default();
        self.write_ends(covered, &mut written)?;
        let house = &self.house;
        for topics in house.catalog.topic_names().chunks(PER_RECORD) {
            self.log(&mut written, || house.catalog.log_topics(topics))?;
        }
        for groups in house.catalog.group_names().chunks(PER_RECORD) {
            self.log(&mut written, || house.catalog.log_groups(groups))?;
        }
        self.log(&mut written, || house.catalog.log_rest())?;
        self.log(&mut written, || house.kept.log_all())?;
        self.log(&mut written, || house.modes.log_all())?;
        self.log(&mut written, || self.settings.log_all())?;
        self.log(&mut written, || house.transactions.log_moves())?;
        house.progress.log_all_next();
        let mut bytes = 0;
        let end = self.patiently(|| Ok(house.progress.flush_counted(&mut bytes)?))?;
        written.add(Written { end, bytes });
        Ok(written)
    }

    /// Writes where queues go on that have no record at `covered` or behind.
    fn write_ends(&self, covered: LogOffset, written: &mut Written) -> Result<(), RetainError> {
        // Snapshots from now on have it, too.
        self.house.covered.fetch_max(covered, Ordering::AcqRel);
        let ended = self.house.ends_before(covered);
        for some in ended.chunks(PER_RECORD) {
            self.log(written, || self.writer.write_pieces(some.to_vec(), StateRecord::ends))?;
        }
        Ok(())
    }

    /// Writes something, and counts it.
    fn log(
        &self,
        written: &mut Written,
        mut write: impl FnMut() -> Result<Written, StageError>,
    ) -> Result<(), RetainError> {
        written.add(self.patiently(|| Ok(write()?))?);
        Ok(())
    }

    /// Waits until everything before `end` outlives a power cut.
    fn make_durable(&self, end: LogOffset) -> Result<(), RetainError> {
        let log = &self.house.log;
        let started = Instant::now();
        while log.durable() < end {
            if log.acked() >= end {
                self.house.flusher.flush().map_err(RemoveError::from)?;
            } else if log.poisoned().is_some() || started.elapsed() > WAIT_MAX {
                return Err(RetainError::Late);
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Does something that stages records, again and again where the store is busy.
    fn patiently<T>(&self, mut write: impl FnMut() -> Result<T, RetainError>) -> Result<T, RetainError> {
        for _ in 0..BUSY_TRIES {
            match write() {
                Err(RetainError::Stage(StageError::NoSegment | StageError::Overloaded { .. })) => {
                    thread::sleep(BUSY_NAP);
                }
                done => return done,
            }
        }
        write()
    }
}

/// What was written into the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// It is durable when this offset is.
    pub(crate) end: LogOffset,
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn add(&mut self, other: Self) {
        self.end = self.end.max(other.end);
        self.bytes += other.bytes;
    }
}

mod topics;

#[cfg(test)]
mod tests;
