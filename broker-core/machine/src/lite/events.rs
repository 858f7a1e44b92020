//! The events of one client (`LiteEventDispatcher.ClientEventSet`).

use halley_model::Millis;
use std::collections::{BTreeSet, VecDeque};

/// Most events that a client can have, whatever its group says.
pub const EVENTS_MAX: usize = 100_000;

/// A client that does not come for so long is gone, if it has events (`CLIENT_INACTIVE_INTERVAL`).
const LEFT_MS: Millis = 10_000;

/// The same if it has none: a round of long polling (`CLIENT_LONG_POLLING_INTERVAL`).
const LEFT_EMPTY_MS: Millis = 35_000;

/// Below a fifth of what it may have, a client is shown more (`LOW_WATER_MARK`).
const LOW: usize = 5;

/// The queues that have messages for a client, each once, in the order in which they got some.
#[derive(Debug)]
pub(super) struct Events {
    queues: VecDeque<Box<str>>,
    known: BTreeSet<Box<str>>,
    max: usize,
    accessed: Millis,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is there, or was.
    Taken,
    /// There are too many.
    Full,
}

impl Events {
    pub(super) fn new(now: Millis, max: usize) -> Self {
        let max = max.clamp(1, EVENTS_MAX);
        Self { queues: VecDeque::new(), known: BTreeSet::new(), max, accessed: now }
    }

    pub(super) fn offer(&mut self, queue: &str) -> Offered {
        if self.queues.len() >= self.max {
            return Offered::Full;
        }
        if self.known.insert(queue.into()) {
            self.queues.push_back(queue.into());
        }
        Offered::Taken
    }

    pub(super) fn poll(&mut self, now: Millis) -> Option<Box<str>> {
        self.accessed = now;
        let queue = self.queues.pop_front()?;
        self.known.remove(&queue);
        Some(queue)
    }

    pub(super) fn put_back(&mut self, queue: Box<str>) {
        if self.known.insert(queue.clone()) {
            self.queues.push_front(queue);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Whether the client seems to be gone (`maybeBlock`).
    pub(super) fn is_left(&self, now: Millis) -> bool {
        now - self.accessed > if self.queues.is_empty() { LEFT_EMPTY_MS } else { LEFT_MS }
    }

    pub(super) fn is_low(&self) -> bool {
        self.queues.len() * LOW < self.max
    }

    pub(super) fn accessed(&self) -> Millis {
        self.accessed
    }

    pub(super) fn into_queues(self) -> impl Iterator<Item = Box<str>> {
        self.queues.into_iter()
    }
}
