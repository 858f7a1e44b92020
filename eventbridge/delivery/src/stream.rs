//! One rule's events in one queue: which are open, which may run, and what the cursor must remember of them.

use crate::{
    cursor::{self, Cursor, ERRORS_MAX, OTHER_ERROR, OpenEvent},
    policy::Policy,
};
use halley_model::{Millis, QueueOffset};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// How much of a stream is unfinished, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The first offset not yet fetched.
    pub next: QueueOffset,
    /// The first offset that is not finished.
    pub low: QueueOffset,
    /// Fetched matching events that are not finished.
    pub open: usize,
    /// Whether `open` is at its bound, so that nothing more is fetched.
    pub full: bool,
}

/// The state of one stream. The machine decides; this keeps the queues consistent with each other.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) policy: Arc<Policy>,
    pub(crate) next: QueueOffset,
    open: BTreeMap<QueueOffset, Open>,
    /// Open offsets by order key, in log order. Only the first of each may run.
    chains: BTreeMap<u32, VecDeque<QueueOffset>>,
    /// Never tried, may run.
    fresh: VecDeque<QueueOffset>,
    /// Tried before (or to be dead-lettered), may run again.
    again: VecDeque<QueueOffset>,
    /// Whether the next to run comes from `again`: both are served in turn, so that neither many retries nor many
    /// new events starve the other.
    again_next: bool,
    /// The different error texts of open events.
    errors: BTreeSet<Arc<str>>,
    /// A fetch is running, or waits after a failed one.
    pub(crate) fetching: bool,
    pub(crate) fetch_failures: u32,
    /// Whether it is in the machine's ring of streams that have something to run.
    pub(crate) in_ring: bool,
    /// Whether something changed since the last checkpoint.
    pub(crate) dirty: bool,
    /// Whether a timer for the next checkpoint runs.
    pub(crate) persist_armed: bool,
    pub(crate) last_persist: Option<Millis>,
}

#[derive(Debug)]
struct Open {
    event: OpenEvent,
    phase: Phase,
    /// Failed writes of its dead letter.
    dead_letter_failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Behind an earlier event of its key.
    Blocked,
    /// In `fresh` or `again`.
    Ready,
    /// An attempt or the write of its dead letter runs.
    Running,
    /// Until its due time.
    Waiting,
}

impl Stream {
    /// A stream that goes on from `cursor`. Returns the events that wait, with their due times.
    pub(crate) fn restore(
        policy: Arc<Policy>,
        cursor: Cursor,
        now: Millis,
    ) -> (Self, Vec<(Millis, QueueOffset)>) {
        let mut stream = Self {
            policy,
            next: cursor.next,
            open: BTreeMap::new(),
            chains: BTreeMap::new(),
            fresh: VecDeque::new(),
            again: VecDeque::new(),
            again_next: false,
            errors: BTreeSet::new(),
            fetching: false,
            fetch_failures: 0,
            in_ring: false,
            dirty: false,
            persist_armed: false,
            last_persist: None,
        };
        let mut waiting = Vec::new();
        for (offset, mut event) in cursor.open {
            event.first_error = event.first_error.map(|text| stream.intern(&text));
            event.last_error = event.last_error.map(|text| stream.intern(&text));
            let due = event.due;
            if stream.insert(offset, event) && due > now {
                stream.unready(offset, due);
                waiting.push((due, offset));
            }
        }
        (stream, waiting)
    }

    /// Adds a fetched matching event.
    pub(crate) fn add(&mut self, offset: QueueOffset, key: Option<u32>) {
        self.insert(offset, OpenEvent { key, ..OpenEvent::default() });
    }

    /// Takes the next event that may run and marks it running.
    pub(crate) fn take(&mut self) -> Option<QueueOffset> {
        let offset = if self.again_next {
            self.again.pop_front().or_else(|| self.fresh.pop_front())
        } else {
            self.fresh.pop_front().or_else(|| self.again.pop_front())
        }?;
        self.again_next = !self.again_next;
        self.set_phase(offset, Phase::Running);
        Some(offset)
    }

    /// The running event at `offset`, `None` where there is none: an answer nobody waits for.
    pub(crate) fn running(&mut self, offset: QueueOffset) -> Option<&mut OpenEvent> {
        let open = self.open.get_mut(&offset)?;
        (open.phase == Phase::Running).then_some(&mut open.event)
    }

    /// Lets a running event wait until `due`.
    pub(crate) fn wait(&mut self, offset: QueueOffset, due: Millis) {
        self.set_phase(offset, Phase::Waiting);
        if let Some(open) = self.open.get_mut(&offset) {
            open.event.due = due;
        }
    }

    /// Lets a waiting or running event run (again).
    pub(crate) fn wake(&mut self, offset: QueueOffset) {
        let Some(open) = self.open.get_mut(&offset) else { return };
        if matches!(open.phase, Phase::Waiting | Phase::Running) {
            open.phase = Phase::Ready;
            open.event.due = 0;
            self.again.push_back(offset);
        }
    }

    /// Forgets a finished event and lets the next one of its key run.
    pub(crate) fn finish(&mut self, offset: QueueOffset) {
        let Some(open) = self.open.remove(&offset) else { return };
        if let Some(key) = open.event.key {
            self.leave_chain(offset, key);
        }
        self.dirty = true;
    }

    /// Takes an event out of its key's order, so that the next one may run.
    pub(crate) fn leave_chain(&mut self, offset: QueueOffset, key: u32) {
        let Some(chain) = self.chains.get_mut(&key) else { return };
        if chain.front() == Some(&offset) {
            chain.pop_front();
        } else {
            chain.retain(|other| *other != offset);
        }
        let head = chain.front().copied();
        match head {
            None => {
                self.chains.remove(&key);
            }
            Some(head) => {
                let blocked = self.open.get_mut(&head).filter(|open| open.phase == Phase::Blocked);
                if let Some(open) = blocked {
                    open.phase = Phase::Ready;
                    self.enqueue(head);
                }
            }
        }
    }

    /// Counts a failed write of an event's dead letter and returns how many there were.
    pub(crate) fn count_dead_letter_failure(&mut self, offset: QueueOffset) -> u32 {
        self.open.get_mut(&offset).map_or(1, |open| {
            open.dead_letter_failures = open.dead_letter_failures.saturating_add(1);
            open.dead_letter_failures
        })
    }

    /// The kept copy of an error text: equal texts share memory, and there are at most [`ERRORS_MAX`] different ones.
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        let text = cursor::cut(text);
        if let Some(known) = self.errors.get(text) {
            return known.clone();
        }
        if self.errors.len() >= ERRORS_MAX {
            self.errors.retain(|known| Arc::strong_count(known) > 1);
        }
        let kept: Arc<str> = if self.errors.len() >= ERRORS_MAX { OTHER_ERROR.into() } else { text.into() };
        if self.errors.len() < ERRORS_MAX {
            self.errors.insert(kept.clone());
        }
        kept
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.fresh.is_empty() || !self.again.is_empty()
    }

    pub(crate) fn fresh_len(&self) -> usize {
        self.fresh.len()
    }

    pub(crate) fn open_len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn low(&self) -> QueueOffset {
        self.open.keys().next().copied().unwrap_or(self.next)
    }

    /// The commit's offset and metadata.
    pub(crate) fn checkpoint(&self, now: Millis) -> (QueueOffset, String) {
        cursor::encode(now, self.next, self.open.iter().map(|(offset, open)| (*offset, &open.event)))
    }

    /// Adds an event; returns whether it may run now.
    fn insert(&mut self, offset: QueueOffset, event: OpenEvent) -> bool {
        let first_of_key = event.key.is_none_or(|key| {
            let chain = self.chains.entry(key).or_default();
            chain.push_back(offset);
            chain.len() == 1
        });
        let phase = if first_of_key { Phase::Ready } else { Phase::Blocked };
        self.open.insert(offset, Open { event, phase, dead_letter_failures: 0 });
        if first_of_key {
            self.enqueue(offset);
        }
        first_of_key
    }

    fn enqueue(&mut self, offset: QueueOffset) {
        let Some(open) = self.open.get(&offset) else { return };
        let tried = open.event.attempts > 0 || open.event.give_up.is_some();
        if tried { self.again.push_back(offset) } else { self.fresh.push_back(offset) }
    }

    /// Puts an event that was just enqueued to sleep instead.
    fn unready(&mut self, offset: QueueOffset, due: Millis) {
        if self.again.back() == Some(&offset) {
            self.again.pop_back();
        } else if self.fresh.back() == Some(&offset) {
            self.fresh.pop_back();
        }
        self.wait(offset, due);
    }

    fn set_phase(&mut self, offset: QueueOffset, phase: Phase) {
        if let Some(open) = self.open.get_mut(&offset) {
            open.phase = phase;
        }
    }
}
