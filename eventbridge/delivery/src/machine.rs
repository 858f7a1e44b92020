//! The machine of one target: which events run, which wait, which are given up.

use crate::{
    canary::{Canary, Planted},
    cursor::{Cursor, GiveUp},
    policy::{Backoff, Growth, Jitter, Policy, millis},
    random::Random,
    stream::{Backlog, Stream},
};
use halley_model::{Millis, QueueOffset};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// A stream's cursor is persisted at most this often, in milliseconds, and less often the more is open (see
/// [`persist_interval`]).
const PERSIST_INTERVAL_MS: Millis = 200;

/// Most records asked for by one fetch.
const FETCH_RECORDS_MAX: usize = 256;

/// The wait after failed fetches and failed dead-letter writes. There is no last attempt: both go on until they work.
const OWN_BACKOFF: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(30),
    growth: Growth::Exponential,
    jitter: Jitter::Full,
};

/// The number of a stream inside its machine, given by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// The bounds of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most attempts (and dead-letter writes) running at once over all streams; 0 counts as 1.
    pub inflight_max: usize,
    /// Most unfinished events remembered per stream, about 100 bytes each; 0 counts as 1.
    pub open_max: usize,
}

impl Default for Limits {
    /// 64 in flight, 100,000 open per stream.
    fn default() -> Self {
        Self { inflight_max: 64, open_max: 100_000 }
    }
}

/// What the shell tells the machine.
#[derive(Debug, Clone)]
pub enum Input {
    /// A stream begins, at its persisted cursor.
    Open {
        /// a number not used before
        stream: StreamId,
        /// the rule's retry policy
        policy: Arc<Policy>,
        /// where to go on
        cursor: Cursor,
    },
    /// A fetch ended. No records and an unchanged `next` mean that there was nothing within the wait.
    Fetched {
        /// the stream
        stream: StreamId,
        /// what was read, in queue order
        records: Vec<(QueueOffset, Fetched)>,
        /// the first offset after what was read
        next: QueueOffset,
    },
    /// A fetch could not read.
    FetchFailed {
        /// the stream
        stream: StreamId,
    },
    /// An attempt ended.
    Outcome {
        /// the stream
        stream: StreamId,
        /// the event
        offset: QueueOffset,
        /// how
        verdict: Verdict,
    },
    /// A dead letter was written, durably, or could not be.
    DeadLettered {
        /// the stream
        stream: StreamId,
        /// the event
        offset: QueueOffset,
        /// whether it is written
        written: bool,
    },
    /// Nothing happened; time passed.
    Tick,
    /// Begin to stop: nothing new is started, cursors are persisted now and when the last attempt has ended. Given again,
    /// it persists what changed since, for a shell that waits no longer.
    Stop,
}

/// What the rule says to a fetched record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It is to be delivered.
    Matched {
        /// hash of its order key, where the rule orders by one and the event has it
        key: Option<u32>,
    },
    /// It is not for this target.
    Skipped,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The target has it.
    Delivered,
    /// It may work later.
    Retry {
        /// what went wrong
        reason: String,
        /// when the target wants to be asked again
        retry_after: Option<Duration>,
    },
    /// It will never work.
    Reject {
        /// what went wrong
        reason: String,
    },
    /// The record is no longer in the log (its retention ended while it waited).
    Gone,
}

/// What the machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read records, waiting for the first; answer with [`Input::Fetched`] or [`Input::FetchFailed`].
    Fetch {
        /// the stream
        stream: StreamId,
        /// the first offset
        from: QueueOffset,
        /// most records
        max: usize,
    },
    /// Send the event to the target; answer with [`Input::Outcome`].
    Deliver {
        /// the stream
        stream: StreamId,
        /// the event
        offset: QueueOffset,
        /// which attempt this is, from 1
        attempt: u32,
    },
    /// Write the event to the dead-letter topic; answer with [`Input::DeadLettered`].
    DeadLetter {
        /// the stream
        stream: StreamId,
        /// the event
        offset: QueueOffset,
        /// why
        reason: GiveUp,
        /// attempts made
        attempts: u32,
        /// what the first failed attempt said
        first_error: Option<Arc<str>>,
        /// what the latest failed attempt said
        last_error: Option<Arc<str>>,
    },
    /// Commit the stream's cursor. There is no answer: a lost commit costs repeated deliveries, never an event.
    Persist {
        /// the stream
        stream: StreamId,
        /// what to commit
        checkpoint: Checkpoint,
    },
}

/// A cursor in the form of a group's commit, see [`Cursor::decode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything before it is finished.
    pub offset: QueueOffset,
    /// What is known of later events.
    pub metadata: String,
}

/// Delivery to one target.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    random: Random,
    streams: BTreeMap<StreamId, Stream>,
    running: usize,
    /// Streams with something to run, served in turn.
    ring: VecDeque<StreamId>,
    timers: BTreeSet<(Millis, Timer)>,
    stopping: bool,
    planted: Planted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Wake(StreamId, QueueOffset),
    Persist(StreamId),
    Fetch(StreamId),
}

impl Machine {
    /// A machine without streams. `seed` decides the jitter of retries.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits: Limits { inflight_max: limits.inflight_max.max(1), open_max: limits.open_max.max(1) },
            random: Random::new(seed),
            streams: BTreeMap::new(),
            running: 0,
            ring: VecDeque::new(),
            timers: BTreeSet::new(),
            stopping: false,
            planted: Planted::default(),
        }
    }

    /// Plants a bug.
    #[cfg(feature = "canaries")]
    pub fn plant(&mut self, bug: Canary) {
        self.planted.plant(bug);
    }

    /// Takes one input at `now` (which never goes back) and appends what is to be done. Inputs about unknown streams and
    /// answers to questions not asked are ignored.
    pub fn step(&mut self, now: Millis, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Open { stream, policy, cursor } => self.open(now, stream, policy, cursor, effects),
            Input::Fetched { stream, records, next } => self.fetched(now, stream, records, next, effects),
            Input::FetchFailed { stream } => self.fetch_failed(now, stream),
            Input::Outcome { stream, offset, verdict } => self.outcome(now, stream, offset, verdict, effects),
            Input::DeadLettered { stream, offset, written } => {
                self.dead_lettered(now, stream, offset, written, effects);
            }
            Input::Tick => {}
            Input::Stop => {
                self.stopping = true;
                self.persist_all(now, effects);
            }
        }
        self.fire_timers(now, effects);
        self.dispatch(now, effects);
        if self.stopping && self.running == 0 {
            self.persist_all(now, effects);
        }
    }

    /// When to call [`Machine::step`] with [`Input::Tick`] at the latest, `None` where nothing waits for time.
    pub fn deadline(&self) -> Option<Millis> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Attempts and dead-letter writes that run now.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How much of a stream is unfinished, `None` where there is no such stream.
    pub fn backlog(&self, stream: StreamId) -> Option<Backlog> {
        self.streams.get(&stream).map(|stream| Backlog {
            next: stream.next,
            low: stream.low(),
            open: stream.open_len(),
            full: stream.open_len() >= self.limits.open_max,
        })
    }

    fn open(
        &mut self,
        now: Millis,
        id: StreamId,
        policy: Arc<Policy>,
        cursor: Cursor,
        effects: &mut Vec<Effect>,
    ) {
        if self.streams.contains_key(&id) {
            return;
        }
        let (stream, waiting) = Stream::restore(policy, cursor, now);
        self.streams.insert(id, stream);
        for (due, offset) in waiting {
            self.timers.insert((due, Timer::Wake(id, offset)));
        }
        self.refresh(now, id, effects);
    }

    fn fetched(
        &mut self,
        now: Millis,
        id: StreamId,
        records: Vec<(QueueOffset, Fetched)>,
        next: QueueOffset,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.fetching) else { return };
        stream.fetching = false;
        stream.fetch_failures = 0;
        for (offset, record) in records {
            if offset < stream.next {
                continue;
            }
            stream.next = offset.saturating_add(1);
            stream.dirty = true;
            match record {
                Fetched::Matched { key } => stream.add(offset, key),
                Fetched::Skipped => {}
            }
        }
        if next > stream.next {
            stream.next = next;
            stream.dirty = true;
        }
        self.refresh(now, id, effects);
    }

    fn fetch_failed(&mut self, now: Millis, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id).filter(|stream| stream.fetching) else { return };
        stream.fetch_failures = stream.fetch_failures.saturating_add(1);
        let delay = OWN_BACKOFF.delay(stream.fetch_failures, &mut self.random);
        self.timers.insert((now.saturating_add(delay), Timer::Fetch(id)));
    }

    fn outcome(
        &mut self,
        now: Millis,
        id: StreamId,
        offset: QueueOffset,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.running(offset).is_none() {
            return;
        }
        self.running -= 1;
        match verdict {
            Verdict::Delivered | Verdict::Gone => stream.finish(offset),
            Verdict::Retry { reason, retry_after } => {
                self.failed(now, id, offset, &reason, Some(retry_after))
            }
            Verdict::Reject { reason } => self.failed(now, id, offset, &reason, None),
        }
        self.refresh(now, id, effects);
    }

    /// An attempt failed: the event waits (`retry` says whether it may, and what the target asked for), or is given up.
    fn failed(
        &mut self,
        now: Millis,
        id: StreamId,
        offset: QueueOffset,
        reason: &str,
        retry: Option<Option<Duration>>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let error = stream.intern(reason);
        let policy = stream.policy.clone();
        let Some(event) = stream.running(offset) else { return };
        event.attempts = event.attempts.saturating_add(1);
        event.first_error.get_or_insert_with(|| error.clone());
        event.last_error = Some(error);
        let give_up = match retry {
            None => Err(GiveUp::Rejected),
            Some(_) if event.attempts >= policy.attempts_max => Err(GiveUp::Attempts),
            Some(retry_after) => {
                let due = now.saturating_add(policy.delay(event.attempts, retry_after, &mut self.random));
                let last = event.first_attempt.unwrap_or(now).saturating_add(millis(policy.age_max));
                if due > last { Err(GiveUp::Age) } else { Ok(due) }
            }
        };
        let key = event.key;
        match give_up {
            Err(reason) => {
                event.give_up = Some(reason);
                stream.wake(offset);
            }
            Ok(due) => {
                stream.wait(offset, due);
                self.timers.insert((due, Timer::Wake(id, offset)));
                if let Some(key) = key.filter(|_| self.planted.is(Canary::RetryForgetsOrder)) {
                    stream.leave_chain(offset, key);
                }
            }
        }
        stream.dirty = true;
    }

    fn dead_lettered(
        &mut self,
        now: Millis,
        id: StreamId,
        offset: QueueOffset,
        written: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.running(offset).is_none() {
            return;
        }
        self.running -= 1;
        if written {
            stream.finish(offset);
        } else {
            let failures = stream.count_dead_letter_failure(offset);
            let due = now.saturating_add(OWN_BACKOFF.delay(failures, &mut self.random));
            stream.wait(offset, due);
            self.timers.insert((due, Timer::Wake(id, offset)));
        }
        self.refresh(now, id, effects);
    }

    fn fire_timers(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while let Some((due, timer)) = self.timers.first().copied()
            && due <= now
        {
            self.timers.pop_first();
            match timer {
                Timer::Wake(id, offset) => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.wake(offset);
                    }
                    self.refresh(now, id, effects);
                }
                Timer::Fetch(id) => {
                    if let Some(stream) = self.streams.get_mut(&id) {
                        stream.fetching = false;
                    }
                    self.refresh(now, id, effects);
                }
                Timer::Persist(id) => self.persist(now, id, effects),
            }
        }
    }

    /// Starts what may run, stream after stream, one event each.
    fn dispatch(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        while !self.stopping && self.running < self.limits.inflight_max {
            let Some(id) = self.ring.pop_front() else { return };
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.in_ring = false;
            if let Some(offset) = stream.take() {
                self.start(now, id, offset, effects);
            }
            self.refresh(now, id, effects);
        }
    }

    fn start(&mut self, now: Millis, id: StreamId, offset: QueueOffset, effects: &mut Vec<Effect>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let Some(event) = stream.running(offset) else { return };
        let Some(reason) = event.give_up else {
            event.first_attempt.get_or_insert(now);
            let attempt = event.attempts.saturating_add(1);
            effects.push(Effect::Deliver { stream: id, offset, attempt });
            self.running += 1;
            return;
        };
        if self.planted.is(Canary::DeadLetterDropped) {
            stream.finish(offset);
            return;
        }
        effects.push(Effect::DeadLetter {
            stream: id,
            offset,
            reason,
            attempts: event.attempts,
            first_error: event.first_error.clone(),
            last_error: event.last_error.clone(),
        });
        self.running += 1;
    }

    /// Brings ring, fetching and persist timer in line with a stream that changed.
    fn refresh(&mut self, now: Millis, id: StreamId, effects: &mut Vec<Effect>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.has_ready() && !stream.in_ring {
            stream.in_ring = true;
            self.ring.push_back(id);
        }
        let room = self.limits.open_max.saturating_sub(stream.open_len());
        // Enough new events to fill every free slot are at hand: reading further ahead would only hold memory.
        let wanted = stream.fresh_len() < self.limits.inflight_max;
        if wanted && room > 0 && !stream.fetching && !self.stopping {
            stream.fetching = true;
            effects.push(Effect::Fetch { stream: id, from: stream.next, max: room.min(FETCH_RECORDS_MAX) });
        }
        if stream.dirty && !stream.persist_armed {
            stream.persist_armed = true;
            let due = stream
                .last_persist
                .map_or(now, |last| now.max(last.saturating_add(persist_interval(stream.open_len()))));
            self.timers.insert((due, Timer::Persist(id)));
        }
    }

    fn persist_all(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let ids: Vec<_> = self.streams.iter().filter(|(_, stream)| stream.dirty).map(|(id, _)| *id).collect();
        for id in ids {
            self.persist(now, id, effects);
        }
    }

    fn persist(&mut self, now: Millis, id: StreamId, effects: &mut Vec<Effect>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.persist_armed = false;
        if !stream.dirty {
            return;
        }
        stream.dirty = false;
        stream.last_persist = Some(now);
        let (offset, metadata) = if self.planted.is(Canary::CursorPastOpen) {
            (stream.next, String::new())
        } else {
            stream.checkpoint(now)
        };
        effects.push(Effect::Persist { stream: id, checkpoint: Checkpoint { offset, metadata } });
    }
}

/// Milliseconds between two checkpoints of a stream with `open` events: a checkpoint of 100,000 open events may have a
/// megabyte, so it is made every 10 seconds only.
fn persist_interval(open: usize) -> Millis {
    PERSIST_INTERVAL_MS.max(Millis::try_from(open / 10).unwrap_or(Millis::MAX))
}

#[cfg(test)]
mod tests;
