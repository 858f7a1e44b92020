//! The queue index: for each queue, where its records lie. A view of the log, held in memory for the active segment
//! and in one sidecar file per sealed segment.
//!
//! The log's thread owns [`IndexWriter`]; readers find topics through [`Index`]. Both meet in one lock per topic, and
//! nobody holds two locks or does I/O under one.

pub(crate) mod sidecar;

use crate::{hash, hash::BuildFixed, sequencer::StagedEntry};
use halley_model::{LogOffset, QueueId, QueueOffset, light};
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Shards of the map from topic names, so that creating topics does not stop all readers.
const SHARDS: usize = 64;

/// Where one record of a queue lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its position in its queue.
    pub queue_offset: QueueOffset,
    /// Its position in the log.
    pub log_offset: LogOffset,
    /// Its size in bytes.
    pub size: u32,
    /// Hash of its tag, see [`halley_model::tag`].
    pub tag: i32,
}

/// A queue that has new records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The topic.
    pub topic: Arc<str>,
    /// The queue.
    pub queue: QueueId,
}

/// The index as readers see it.
pub(crate) struct Index {
    shards: Vec<Shard>,
    /// How many of the topics are light queues.
    light_queues: AtomicUsize,
}

type Shard = RwLock<HashMap<Arc<str>, Arc<Topic>, BuildFixed>>;

/// A topic's queues.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    queues: RwLock<Queues>,
}

#[derive(Default)]
struct Queues {
    list: Vec<Queue>,
    /// What lies before these queue offsets is not shown to readers; by queue, and nearly always empty.
    begins: Vec<QueueOffset>,
}

/// What a queue's records lie in: first its runs in sealed segments, then single entries of segments that have no
/// sidecar yet. There may be a million queues, most of which have one of either: it needs no memory of its own.
#[derive(Default)]
struct Queue {
    /// In the order of queue offsets, without a gap.
    slots: SmallVec<[Slot; 1]>,
    /// How many of the slots are runs.
    runs: u32,
    /// Queue offset of the first single entry: where the runs end.
    recent_first: QueueOffset,
}

/// Of a run: the queue offset of its first entry, the number of its segment, the place of that entry in the sidecar. Of a
/// single entry: its log offset, its size, its tag.
#[derive(Clone, Copy)]
struct Slot(u64, u32, u32);

/// The entries of one queue in one sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Number of the segment, see [`crate::segment::Segments::at`].
    pub(crate) segment: u32,
    /// Queue offset of the first entry.
    pub(crate) first: QueueOffset,
    pub(crate) count: u32,
    /// How many entries stand before the first one in the sidecar.
    pub(crate) place: u32,
}

/// What a lookup found.
pub(crate) enum Slice {
    /// Nothing: no such queue, or it has no record at or behind the offset.
    Nothing,
    /// The record at the offset is removed: ask where the queue begins now.
    Gone,
    /// Entries were added to the caller's list.
    Added,
    /// The next entries are in this run of a sidecar.
    InRun(Run),
}

impl Queues {
    fn get(&self, queue: QueueId) -> Option<&Queue> {
        self.list.get(queue as usize)
    }

    fn begin(&self, queue: QueueId) -> QueueOffset {
        self.begins.get(queue as usize).copied().unwrap_or(0)
    }

    fn get_or_new(&mut self, queue: QueueId) -> &mut Queue {
        let at = queue as usize;
        if self.list.is_empty() {
            // A light queue is all its topic has.
            self.list.reserve_exact(at + 1);
        }
        if self.list.len() <= at {
            self.list.resize_with(at + 1, Queue::default);
        }
        &mut self.list[at]
    }
}

impl Queue {
    /// Whether it has no record; it may have had some.
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether it never had a record.
    fn is_unused(&self) -> bool {
        self.is_empty() && self.recent_first == 0
    }

    /// How many of the runs lie in segments before the one of this number.
    fn runs_before(&self, segment: u32) -> usize {
        self.runs().partition_point(|run| run.1 < segment)
    }

    fn runs(&self) -> &[Slot] {
        &self.slots[..self.runs as usize]
    }

    fn recent(&self) -> &[Slot] {
        &self.slots[self.runs as usize..]
    }

    /// The first offset there is.
    fn first(&self) -> QueueOffset {
        self.runs().first().map_or(self.recent_first, |run| run.0)
    }

    fn next(&self) -> QueueOffset {
        self.recent_first + self.recent().len() as u64
    }

    /// The run that holds an offset before `recent_first`.
    fn run_of(&self, offset: QueueOffset) -> Option<Run> {
        let after = self.runs().partition_point(|run| run.0 <= offset);
        let Slot(first, segment, place) = *self.runs().get(after.checked_sub(1)?)?;
        let end = self.runs().get(after).map_or(self.recent_first, |next| next.0);
        let count = u32::try_from(end - first).expect("it was a u32 when the run was made");
        Some(Run { segment, first, count, place })
    }

    /// The single entries from the `skipped`th on.
    fn entries(&self, skipped: usize) -> impl Iterator<Item = IndexEntry> {
        let first = self.recent_first + skipped as u64;
        self.recent()[skipped..].iter().zip(first..).map(|(Slot(log_offset, size, tag), queue_offset)| {
            IndexEntry { queue_offset, log_offset: *log_offset, size: *size, tag: tag.cast_signed() }
        })
    }

    /// The offset of the first record in the segment of this number or behind it.
    fn first_from(&self, segment: u32) -> QueueOffset {
        self.runs().get(self.runs_before(segment)).map_or(self.recent_first, |run| run.0)
    }

    fn forget_before(&mut self, segment: u32) {
        let count = self.runs_before(segment);
        if count > 0 {
            self.slots.drain(..count);
            self.slots.shrink_to_fit();
            self.runs -= count as u32;
        }
    }

    /// How many single entries lie before `end` in the log.
    fn count_before(&self, end: LogOffset) -> u32 {
        let count = self.recent().partition_point(|entry| entry.0 < end);
        u32::try_from(count)
            .expect("a segment is shorter than 4 GiB, and an entry stands for bytes of its own")
    }

    /// Whether the newest record lies at `log_offset` or behind it, and has no run yet.
    fn reaches(&self, log_offset: LogOffset) -> bool {
        self.recent().last().is_some_and(|last| last.0 >= log_offset)
    }
}

impl Index {
    /// An empty index, for readers and for its writer.
    pub(crate) fn new() -> (Arc<Self>, IndexWriter) {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let index = Arc::new(Self { shards, light_queues: AtomicUsize::new(0) });
        let writer =
            IndexWriter { index: Arc::clone(&index), topics: Vec::new(), touched: Vec::new(), batch_at: 0 };
        (index, writer)
    }

    /// The first offset of the queue and the one behind its last; `None` where it never had a record.
    pub(crate) fn bounds(&self, topic: &str, queue: QueueId) -> Option<(QueueOffset, QueueOffset)> {
        let topic = self.topic(topic)?;
        let queues = topic.queues.read();
        let begin = queues.begin(queue);
        let queue = queues.get(queue).filter(|queue| !queue.is_unused() || begin > 0)?;
        // A queue may begin behind records that are staged and not yet stored.
        Some((queue.first().max(begin), queue.next().max(begin)))
    }

    /// Adds to `out` up to `entries_max` entries from `from` on that are in memory, or says where they are.
    pub(crate) fn slice(
        &self,
        topic: &str,
        queue: QueueId,
        from: QueueOffset,
        entries_max: usize,
        out: &mut Vec<IndexEntry>,
    ) -> Slice {
        let Some(topic) = self.topic(topic) else { return Slice::Nothing };
        let queues = topic.queues.read();
        let Some(queue) = queues.get(queue).filter(|queue| from < queue.next()) else {
            return Slice::Nothing;
        };
        if from < queue.recent_first {
            return queue.run_of(from).map_or(Slice::Gone, Slice::InRun);
        }
        out.extend(queue.entries((from - queue.recent_first) as usize).take(entries_max));
        Slice::Added
    }

    /// Hides what lies before `offset`. A queue never begins earlier again.
    pub(crate) fn begin_at(&self, topic: &str, queue: QueueId, offset: QueueOffset) {
        let topic = self.topic_or_new(topic.into());
        let mut queues = topic.queues.write();
        queues.get_or_new(queue);
        let at = queue as usize;
        if queues.begins.len() <= at {
            queues.begins.resize(at + 1, 0);
        }
        queues.begins[at] = queues.begins[at].max(offset);
    }

    /// A queue without records goes on at `end`, or later where it would anyway.
    pub(crate) fn go_on_at(&self, topic: &str, queue: QueueId, end: QueueOffset) {
        let topic = self.topic_or_new(topic.into());
        let mut queues = topic.queues.write();
        let queue = queues.get_or_new(queue);
        if queue.is_empty() {
            queue.recent_first = queue.recent_first.max(end);
        }
    }

    /// The offset of the first record in the segment of this number or behind it: the queue's end without one.
    pub(crate) fn first_from(&self, topic: &str, queue: QueueId, segment: u32) -> QueueOffset {
        let Some(topic) = self.topic(topic) else { return 0 };
        let queues = topic.queues.read();
        queues.get(queue).map_or(0, |queue| queue.first_from(segment))
    }

    /// Calls `each` with the queues that had records and have none in the segment of this number or behind it, and where they
    /// go on. One topic is looked at after the other.
    pub(crate) fn each_ended_before(
        &self,
        segment: u32,
        mut each: impl FnMut(&Arc<str>, QueueId, QueueOffset),
    ) {
        self.each_topic(|topic| {
            let queues = topic.queues.read();
            for (number, queue) in (0..).zip(&queues.list) {
                let (first, next) = (queue.first_from(segment), queue.next());
                if first == next && next > 0 {
                    each(&topic.name, number, next);
                }
            }
        });
    }

    /// Forgets the runs of the segments before the one of this number: one topic after the other, so that nobody waits long.
    pub(crate) fn forget_before(&self, segment: u32) {
        self.each_topic(|topic| {
            let is_older = |queue: &Queue| queue.runs_before(segment) > 0;
            // Most topics have nothing in a segment, and their readers need not wait.
            if topic.queues.read().list.iter().any(is_older) {
                topic.queues.write().list.iter_mut().for_each(|queue| queue.forget_before(segment));
            }
        });
    }

    fn each_topic(&self, mut each: impl FnMut(&Topic)) {
        for shard in &self.shards {
            let topics: Vec<_> = shard.read().values().map(Arc::clone).collect();
            topics.iter().for_each(|topic| each(topic));
        }
    }

    /// The names of all topics that ever had a record, sorted.
    pub(crate) fn topics(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for shard in &self.shards {
            names.extend(shard.read().keys().cloned());
        }
        names.sort_unstable();
        names
    }

    /// How many light queues there are.
    pub(crate) fn light_queues(&self) -> usize {
        self.light_queues.load(Ordering::Relaxed)
    }

    /// One more than the highest queue of the topic that had a record.
    pub(crate) fn queues(&self, topic: &str) -> QueueId {
        self.topic(topic).map_or(0, |topic| topic.queues.read().list.len() as QueueId)
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shard(name).read().get(name).map(Arc::clone)
    }

    fn topic_or_new(&self, name: Arc<str>) -> Arc<Topic> {
        let mut shard = self.shard(&name).write();
        let new = || {
            if light::is_light(&name) {
                self.light_queues.fetch_add(1, Ordering::Relaxed);
            }
            Arc::new(Topic { name: Arc::clone(&name), queues: RwLock::default() })
        };
        Arc::clone(shard.entry(Arc::clone(&name)).or_insert_with(new))
    }

    fn shard(&self, name: &str) -> &Shard {
        &self.shards[(hash::of(name) >> 32) as usize % SHARDS]
    }
}

/// The one who adds to the index.
pub(crate) struct IndexWriter {
    index: Arc<Index>,
    /// By the sequencer's topic number.
    topics: Vec<Arc<Topic>>,
    /// Topic number and queue of each queue with a record in the segment now being filled.
    touched: Vec<(u32, QueueId)>,
    /// Where the batch's first record lies.
    batch_at: LogOffset,
}

impl IndexWriter {
    /// Adds a topic under the next number.
    pub(crate) fn add_topic(&mut self, name: Arc<str>) {
        self.topics.push(self.index.topic_or_new(name));
    }

    /// Begins a batch with the record at `at`: each queue arrives once per batch.
    pub(crate) fn begin_batch(&mut self, at: LogOffset) {
        self.batch_at = at;
    }

    /// Makes records of the segment beginning at `segment` visible, and tells whose they are.
    pub(crate) fn publish(
        &mut self,
        entries: &[StagedEntry],
        segment: LogOffset,
        mut arrived: impl FnMut(&Arc<str>, QueueId),
    ) {
        for of_topic in entries.chunk_by(|one, other| one.topic == other.topic) {
            let topic = &self.topics[of_topic[0].topic as usize];
            let mut queues = topic.queues.write();
            for entry in of_topic {
                let queue = queues.get_or_new(entry.queue);
                if queue.is_empty() {
                    queue.recent_first = entry.queue_offset;
                }
                let name = &topic.name;
                assert_eq!(
                    entry.queue_offset,
                    queue.next(),
                    "offsets of {name}/{} are contiguous",
                    entry.queue
                );
                // What is published gets its run later than all of its batch is published, so the last entry tells.
                if !queue.reaches(segment) {
                    self.touched.push((entry.topic, entry.queue));
                }
                if !queue.reaches(self.batch_at) {
                    arrived(name, entry.queue);
                }
                queue.slots.push(Slot(entry.log_offset, entry.size, entry.tag.cast_unsigned()));
            }
        }
    }

    /// Adds a run of a sealed segment, read from its sidecar when the store is opened.
    pub(crate) fn add_run(&mut self, topic: u32, queue: QueueId, run: Run) -> Result<(), String> {
        let topic = &self.topics[topic as usize];
        let mut queues = topic.queues.write();
        let of_topic = queues.get_or_new(queue);
        let expected = of_topic.next();
        if !of_topic.is_empty() && expected != run.first {
            return Err(format!("queue {queue} of {} goes on at {} after {expected}", topic.name, run.first));
        }
        let queue = of_topic;
        assert!(queue.recent().is_empty(), "runs come before single entries");
        // With little room for more: there are many queues, and none gets a run often.
        if queue.slots.len() == queue.slots.capacity() {
            queue.slots.reserve_exact(queue.slots.len() / 4 + 1);
        }
        queue.slots.push(Slot(run.first, run.segment, run.place));
        queue.runs += 1;
        queue.recent_first = run.first + u64::from(run.count);
        Ok(())
    }

    /// Forgets what a queue has so far: it begins anew.
    pub(crate) fn forget_queue(&mut self, topic: u32, queue: QueueId) {
        let topic = &self.topics[topic as usize];
        if let Some(queue) = topic.queues.write().list.get_mut(queue as usize) {
            *queue = Queue::default();
        }
    }

    /// Ends the segment now being filled: the queues with records in it, sorted by (topic, queue).
    pub(crate) fn end_segment(&mut self) -> Vec<(Arc<Topic>, QueueId)> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        let mut queues: Vec<_> =
            touched.map(|(topic, queue)| (Arc::clone(&self.topics[topic as usize]), queue)).collect();
        queues.sort_unstable_by(|one, other| (&one.0.name, one.1).cmp(&(&other.0.name, other.1)));
        // A queue that was forgotten and began anew was noted again.
        queues.dedup_by(|one, other| Arc::ptr_eq(&one.0, &other.0) && one.1 == other.1);
        queues
    }
}

impl Topic {
    /// The entries of a queue that have no run and lie before `end` in the log: the offset of the first, and how many they
    /// are.
    pub(crate) fn in_memory(&self, queue: QueueId, end: LogOffset) -> (QueueOffset, u32) {
        let queues = self.queues.read();
        queues.get(queue).map_or((0, 0), |queue| (queue.recent_first, queue.count_before(end)))
    }

    /// Looks at some of the entries of a queue that have no run.
    pub(crate) fn look_at(&self, queue: QueueId, range: Range<usize>, each: impl FnMut(IndexEntry)) {
        let queues = self.queues.read();
        let entries = queues.get(queue).into_iter().flat_map(|queue| queue.entries(range.start));
        entries.take(range.len()).for_each(each);
    }

    /// The entries of a queue that have no run and lie before `end` are in the sidecar of this segment now, from this place
    /// on: forgets them. Gives how many they were.
    pub(crate) fn retire(&self, queue: QueueId, end: LogOffset, segment: u32, place: u32) -> u32 {
        let mut queues = self.queues.write();
        let Some(queue) = queues.list.get_mut(queue as usize) else { return 0 };
        let count = queue.count_before(end);
        if count > 0 {
            let at = queue.runs as usize;
            queue.slots[at] = Slot(queue.recent_first, segment, place);
            queue.slots.drain(at + 1..at + count as usize);
            if queue.slots.capacity() >= 2 * queue.slots.len() {
                queue.slots.shrink_to_fit();
            }
            queue.runs += 1;
            queue.recent_first += u64::from(count);
        }
        count
    }
}

#[cfg(test)]
mod tests;
