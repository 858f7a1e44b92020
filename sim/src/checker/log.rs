//! The log as it should be: the groups that were staged, in order, and how many of them must survive what.

use super::{Check, Violation, ensure, violated};
use crate::message::Topic;
use halley_model::{LogOffset, QueueId, QueueOffset};
use halley_store::{Durability, Placed, disk::Crash};
use std::collections::BTreeMap;

/// What a record is to the checkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The event with this number.
    Event(u64),
    /// The dead letter of a stream's event.
    Letter { stream: usize, offset: QueueOffset },
    /// A popped message of the queue that was moved to the retry topic.
    Retry { topic: Topic, queue: QueueId, offset: QueueOffset },
    /// A delayed message, or a recall.
    Delayed,
    /// One of these or a half message, put into its queue once more.
    Moved,
    /// The half message of the event with this number.
    Half(u64),
    /// The event with this number, sent back so often.
    SentBack { number: u64, attempts: i32 },
    /// State.
    State,
}

/// A record that was staged.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) topic: Topic,
    pub(crate) queue: QueueId,
    pub(crate) placed: Placed,
    pub(crate) digest: u32,
    pub(crate) content: Content,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) topic: Topic,
    pub(crate) queue: QueueId,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) log_offset: LogOffset,
    pub(crate) digest: u32,
}

/// What a recovery left.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// How many groups are there.
    pub(crate) groups: usize,
    /// Groups that were never acknowledged and are there, and that are not.
    pub(crate) unknown_kept: usize,
    pub(crate) unknown_lost: usize,
    /// Acknowledged groups that are not there, as only a device that lies may bring about.
    pub(crate) acked_lost: usize,
}

/// The checker of the log. A group is known by its number, counted over all that are there.
#[derive(Debug)]
pub(crate) struct LogChecker {
    durability: Durability,
    groups: Vec<Vec<Entry>>,
    queues: BTreeMap<(Topic, QueueId), Vec<(usize, usize)>>,
    /// How many groups are acknowledged; how many outlive a power cut; how many must be there after the crash.
    acked: usize,
    durable: usize,
    /// How many groups some reader saw.
    read: usize,
    /// Where the log begins, or may begin since a removal was tried. What was removed stays in the books.
    begin: LogOffset,
    begin_or: Option<LogOffset>,
    /// The device lied: what should be there need not be.
    pub(crate) device_lied: bool,
}

impl LogChecker {
    pub(crate) fn new(durability: Durability) -> Self {
        let (groups, queues) = (Vec::new(), BTreeMap::new());
        let (begin, begin_or, device_lied) = (0, None, false);
        Self { durability, groups, queues, acked: 0, durable: 0, read: 0, begin, begin_or, device_lied }
    }

    /// A group was staged; gives its number.
    pub(crate) fn staged(&mut self, entries: Vec<Entry>) -> Result<usize, Violation> {
        let group = self.groups.len();
        for (at, entry) in entries.iter().enumerate() {
            let queue = self.queues.entry((entry.topic, entry.queue)).or_default();
            ensure(entry.placed.queue_offset == queue.len() as u64, Check::QueueOrder, || {
                format!("{entry:?} was given a place, but its queue has {} records", queue.len())
            })?;
            queue.push((group, at));
        }
        self.groups.push(entries);
        Ok(group)
    }

    /// The store says that it acknowledged up to `acked` and made durable up to `durable`. Gives the numbers of the groups
    /// that became acknowledged.
    pub(crate) fn watermarks(&mut self, acked: LogOffset, durable: LogOffset) -> std::ops::Range<usize> {
        let before = |end| {
            self.groups.partition_point(|group| group.first().is_some_and(|e| e.placed.log_offset < end))
        };
        let (was, now) = (self.acked, before(acked));
        self.durable = self.durable.max(before(durable).min(now));
        if self.durability == Durability::Sync {
            self.durable = self.durable.max(now);
        }
        self.acked = self.acked.max(now);
        was..self.acked
    }

    /// What lies before `begin` is about to be removed.
    pub(crate) fn may_begin(&mut self, begin: LogOffset) {
        self.begin_or = Some(begin);
    }

    /// The log begins here.
    pub(crate) fn begins(&mut self, begin: LogOffset) {
        (self.begin, self.begin_or) = (begin, None);
    }

    /// Where a record of a queue lies, removed or not; `None` at the queue's end.
    pub(crate) fn place_of(&self, topic: Topic, queue: QueueId, offset: QueueOffset) -> Option<LogOffset> {
        let (group, at) = *self.queues.get(&(topic, queue))?.get(usize::try_from(offset).ok()?)?;
        Some(self.groups[group][at].placed.log_offset)
    }

    pub(crate) fn group(&self, group: usize) -> &[Entry] {
        &self.groups[group]
    }

    /// What is in a queue, acknowledged or not.
    pub(crate) fn queue_len(&self, topic: Topic, queue: QueueId) -> u64 {
        self.queues.get(&(topic, queue)).map_or(0, |queue| queue.len() as u64)
    }

    /// How many groups are acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acked
    }

    /// How many groups must still be acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.groups.len() - self.acked
    }

    /// A reader saw a record while the log was acknowledged up to `acked`.
    pub(crate) fn read(&mut self, found: &Found, acked: LogOffset) -> Result<Content, Violation> {
        let queue = self.queues.get(&(found.topic, found.queue)).map_or(&[][..], Vec::as_slice);
        let at = usize::try_from(found.queue_offset).ok().and_then(|at| queue.get(at));
        let Some((group, at)) = at.copied() else {
            return violated(Check::NothingForeign, format!("a reader got {found:?}, which nobody wrote"));
        };
        let entry = &self.groups[group][at];
        ensure(found.log_offset < acked, Check::ReadsStay, || {
            format!("a reader got {found:?}, but only what is before {acked} is acknowledged")
        })?;
        ensure(same(entry, found), Check::OneRecordPerPlace, || {
            format!("a reader got {found:?} where {entry:?} was written")
        })?;
        self.read = self.read.max(group + 1);
        Ok(entry.content)
    }

    /// Everything ends; what must survive is decided.
    pub(crate) fn crashed(&mut self, crash: Crash) {
        if crash == Crash::PowerCut {
            self.acked = self.acked.min(self.durable);
            self.read = self.read.min(self.durable);
        }
    }

    /// The store is open again, begins at `begin` and holds `found`, in log order. Everything there is durable from now on.
    pub(crate) fn recovered(&mut self, begin: LogOffset, found: &[Found]) -> Result<Recovered, Violation> {
        ensure(begin == self.begin || Some(begin) == self.begin_or, Check::NothingLost, || {
            format!("the log begins at {begin} and not at {} or {:?}", self.begin, self.begin_or)
        })?;
        self.begins(begin);
        let mut rest = found;
        // What was removed was durable.
        let mut survived = self
            .groups
            .partition_point(|group| group.first().is_some_and(|entry| entry.placed.log_offset < begin));
        while let Some(group) = self.groups.get(survived)
            && !rest.is_empty()
        {
            let Some((head, tail)) = rest.split_at_checked(group.len()) else {
                return violated(Check::QueueOrder, format!("only a part of {group:?} is there: {rest:?}"));
            };
            for (entry, found) in group.iter().zip(head) {
                self.compare(entry, found)?;
            }
            rest = tail;
            survived += 1;
        }
        ensure(rest.is_empty(), Check::NothingForeign, || {
            format!("{rest:?} is there, which was not sent, was refused or was lost before")
        })?;
        let lied = self.device_lied;
        ensure(lied || survived >= self.acked, Check::NothingLost, || {
            format!("{} groups were acknowledged, {survived} are there", self.acked)
        })?;
        ensure(lied || survived >= self.read, Check::ReadsStay, || {
            format!("readers saw {} groups, {survived} are there", self.read)
        })?;
        let recovered = Recovered {
            groups: survived,
            unknown_kept: survived.saturating_sub(self.acked),
            acked_lost: self.acked.saturating_sub(survived),
            unknown_lost: self.groups.len() - survived.max(self.acked),
        };
        self.groups.truncate(survived);
        for queue in self.queues.values_mut() {
            queue.truncate(queue.partition_point(|(group, _)| *group < survived));
        }
        (self.acked, self.durable, self.read) = (survived, survived, self.read.min(survived));
        Ok(recovered)
    }

    fn compare(&self, entry: &Entry, found: &Found) -> Result<(), Violation> {
        if same(entry, found) {
            return Ok(());
        }
        let place = (entry.topic, entry.queue, entry.placed.queue_offset);
        let check = if place == (found.topic, found.queue, found.queue_offset) {
            Check::OneRecordPerPlace
        } else {
            Check::QueueOrder
        };
        violated(check, format!("{found:?} is there in place of {entry:?}"))
    }

    /// Everything that should be in a queue, as an index sees it.
    pub(crate) fn index_of(
        &self,
        topic: Topic,
        queue: QueueId,
    ) -> impl Iterator<Item = (QueueOffset, LogOffset)> {
        let entries = self.queues.get(&(topic, queue)).map_or(&[][..], Vec::as_slice);
        let entries = entries.iter().map(|(group, at)| {
            let placed = self.groups[*group][*at].placed;
            (placed.queue_offset, placed.log_offset)
        });
        entries.filter(|(_, at)| *at >= self.begin)
    }

    /// All entries that are there.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.groups.iter().flatten()
    }
}

fn same(entry: &Entry, found: &Found) -> bool {
    entry.topic == found.topic
        && entry.queue == found.queue
        && entry.placed.queue_offset == found.queue_offset
        && entry.placed.log_offset == found.log_offset
        && entry.digest == found.digest
}
