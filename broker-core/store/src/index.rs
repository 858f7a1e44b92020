//! The queue index: for each queue, where its records lie. A view of the log, held in memory for the active segment
//! and in one sidecar file per sealed segment.
//!
//! The log's thread owns [`IndexWriter`]; readers find topics through [`Index`]. Both meet in one lock per topic, and
//! nobody holds two locks or does I/O under one.

pub(crate) mod sidecar;

use crate::{hash, hash::BuildFixed, sequencer::StagedEntry};
use halley_model::{LogOffset, QueueId, QueueOffset, light};
use parking_lot::RwLock;
use std::{
    collections::HashMap,
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
    queues: RwLock<Vec<Queue>>,
}

#[derive(Default)]
struct Queue {
    /// Runs in sealed segments, oldest first, contiguous with each other and with `recent`.
    runs: Vec<Run>,
    /// What lies before this queue offset is not shown to readers.
    begins: QueueOffset,
    /// Queue offset of the first of `recent`.
    recent_first: QueueOffset,
    /// Entries of segments that have no sidecar yet.
    recent: Vec<Recent>,
    /// Base of the segment in which the queue got its last record, plus one; 0 for none.
    touched: u64,
    /// Number of the batch in which it got its last record.
    batch: u64,
}

/// The entries of one queue in one sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Base of the segment.
    pub(crate) segment: LogOffset,
    /// Queue offset of the first entry.
    pub(crate) first: QueueOffset,
    pub(crate) count: u32,
    /// Position of the first entry in the sidecar.
    pub(crate) position: u64,
}

#[derive(Clone, Copy)]
struct Recent {
    log_offset: LogOffset,
    size: u32,
    tag: i32,
}

/// What a lookup found.
pub(crate) enum Slice {
    /// Nothing: no such queue, or it has no record at or behind the offset.
    Nothing,
    /// Entries were added to the caller's list.
    Added,
    /// The next entries are in this run of a sidecar.
    InRun(Run),
}

impl Queue {
    fn is_unused(&self) -> bool {
        self.runs.is_empty() && self.recent.is_empty()
    }

    /// The first offset that readers see.
    fn first(&self) -> QueueOffset {
        self.runs.first().map_or(self.recent_first, |run| run.first).max(self.begins)
    }

    /// The end that readers see: a queue may begin behind records that are staged and not yet stored.
    fn end(&self) -> QueueOffset {
        self.next().max(self.begins)
    }

    fn next(&self) -> QueueOffset {
        self.recent_first + self.recent.len() as u64
    }

    /// Adds a run with little room for more: there are many queues, and none gets one often.
    fn add(&mut self, run: Run) {
        if self.runs.len() == self.runs.capacity() {
            self.runs.reserve_exact(self.runs.len() / 4 + 1);
        }
        self.runs.push(run);
    }
}

impl Index {
    /// An empty index, for readers and for its writer.
    pub(crate) fn new() -> (Arc<Self>, IndexWriter) {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let index = Arc::new(Self { shards, light_queues: AtomicUsize::new(0) });
        let writer =
            IndexWriter { index: Arc::clone(&index), topics: Vec::new(), touched: Vec::new(), batch: 0 };
        (index, writer)
    }

    /// The first offset of the queue and the one behind its last; `None` where it never had a record.
    pub(crate) fn bounds(&self, topic: &str, queue: QueueId) -> Option<(QueueOffset, QueueOffset)> {
        let topic = self.topic(topic)?;
        let queues = topic.queues.read();
        let queue = queues.get(queue as usize).filter(|queue| !queue.is_unused() || queue.begins > 0)?;
        Some((queue.first(), queue.end()))
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
        let Some(queue) = queues.get(queue as usize) else { return Slice::Nothing };
        if from >= queue.next() {
            return Slice::Nothing;
        }
        if from < queue.recent_first {
            let at = queue.runs.partition_point(|run| run.first + u64::from(run.count) <= from);
            return queue.runs.get(at).map_or(Slice::Nothing, |run| Slice::InRun(*run));
        }
        let skipped = (from - queue.recent_first) as usize;
        let found = queue.recent[skipped..].iter().take(entries_max).enumerate();
        out.extend(found.map(|(at, recent)| IndexEntry {
            queue_offset: from + at as u64,
            log_offset: recent.log_offset,
            size: recent.size,
            tag: recent.tag,
        }));
        Slice::Added
    }

    /// Hides what lies before `offset`. A queue never begins earlier again.
    pub(crate) fn begin_at(&self, topic: &str, queue: QueueId, offset: QueueOffset) {
        let topic = self.topic_or_new(topic.into());
        let mut queues = topic.queues.write();
        let at = queue as usize;
        if queues.len() <= at {
            queues.resize_with(at + 1, Queue::default);
        }
        queues[at].begins = queues[at].begins.max(offset);
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
        self.topic(topic).map_or(0, |topic| topic.queues.read().len() as QueueId)
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
    batch: u64,
}

impl IndexWriter {
    /// Adds a topic under the next number.
    pub(crate) fn add_topic(&mut self, name: Arc<str>) {
        self.topics.push(self.index.topic_or_new(name));
    }

    /// Begins a batch: each queue arrives once per batch.
    pub(crate) fn begin_batch(&mut self) {
        self.batch += 1;
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
                let at = entry.queue as usize;
                if queues.len() <= at {
                    queues.resize_with(at + 1, Queue::default);
                }
                let queue = &mut queues[at];
                if queue.is_unused() {
                    queue.recent_first = entry.queue_offset;
                }
                assert_eq!(entry.queue_offset, queue.next(), "offsets of {}/{at} are contiguous", topic.name);
                if queue.touched != segment + 1 {
                    queue.touched = segment + 1;
                    self.touched.push((entry.topic, entry.queue));
                }
                if queue.batch != self.batch {
                    queue.batch = self.batch;
                    arrived(&topic.name, entry.queue);
                }
                let (log_offset, size, tag) = (entry.log_offset, entry.size, entry.tag);
                if queue.recent.is_empty() {
                    // Most of a million queues have one.
                    queue.recent.reserve_exact(1);
                }
                queue.recent.push(Recent { log_offset, size, tag });
            }
        }
    }

    /// Adds a run of a sealed segment, read from its sidecar when the store is opened.
    pub(crate) fn add_run(&mut self, topic: u32, queue: QueueId, run: Run) -> Result<(), String> {
        let topic = &self.topics[topic as usize];
        let mut queues = topic.queues.write();
        let at = queue as usize;
        if queues.len() <= at {
            queues.resize_with(at + 1, Queue::default);
        }
        let queue = &mut queues[at];
        if !queue.is_unused() && queue.next() != run.first {
            let expected = queue.next();
            return Err(format!("queue {at} of {} goes on at {} after {expected}", topic.name, run.first));
        }
        queue.add(run);
        queue.recent_first = run.first + u64::from(run.count);
        Ok(())
    }

    /// Forgets what a queue has so far: it begins anew.
    pub(crate) fn forget_queue(&mut self, topic: u32, queue: QueueId) {
        let topic = &self.topics[topic as usize];
        if let Some(queue) = topic.queues.write().get_mut(queue as usize) {
            queue.runs.clear();
            queue.recent.clear();
            queue.recent_first = 0;
        }
    }

    /// Ends the segment now being filled: the queues with records in it, sorted by (topic, queue).
    pub(crate) fn end_segment(&mut self) -> Vec<(Arc<Topic>, QueueId)> {
        let touched = self.touched.drain(..);
        let mut queues: Vec<_> =
            touched.map(|(topic, queue)| (Arc::clone(&self.topics[topic as usize]), queue)).collect();
        queues.sort_unstable_by(|one, other| (&one.0.name, one.1).cmp(&(&other.0.name, other.1)));
        queues
    }
}

impl Topic {
    /// The entries of a queue that lie before `end`, which are the first of those in memory, and the offset of the
    /// first.
    pub(crate) fn entries_before(&self, queue: QueueId, end: LogOffset) -> (QueueOffset, Vec<IndexEntry>) {
        let queues = self.queues.read();
        let queue = &queues[queue as usize];
        let entries = queue.recent.iter().take_while(|recent| recent.log_offset < end).enumerate();
        let entries = entries.map(|(at, recent)| IndexEntry {
            queue_offset: queue.recent_first + at as u64,
            log_offset: recent.log_offset,
            size: recent.size,
            tag: recent.tag,
        });
        (queue.recent_first, entries.collect())
    }

    /// The entries of `run` are in a sidecar now: forgets them.
    pub(crate) fn retire(&self, queue: QueueId, run: Run) {
        let mut queues = self.queues.write();
        let queue = &mut queues[queue as usize];
        assert_eq!(run.first, queue.recent_first, "segments are sealed in log order");
        queue.recent.drain(..run.count as usize);
        queue.recent.shrink_to(2 * queue.recent.len());
        queue.recent_first += u64::from(run.count);
        queue.add(run);
    }
}
