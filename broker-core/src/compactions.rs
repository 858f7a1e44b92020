//! Compaction topics as readers see them: a view of each queue, made from the log up to where the log says that the queue is compacted,
//! and taken further now and then. Nothing is deleted.

use crate::{settings::Settings, state_writer::StateWriter};
use bytes::Bytes;
use halley_machine::{
    compaction::{Files, Full, Kept, Newest, SPAN_MAX},
    state::{CompactedEnds, StateRecord},
};
use halley_model::{LogOffset, QueueId, QueueOffset, RecordView, TopicName, property};
use halley_store::{IndexEntry, LogReader, ReadError, StageError, disk::Disk};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Records looked up at once.
const ENTRIES: usize = 1024;

/// Bytes read at once.
const RUN_BYTES: usize = 1 << 20;

/// The compaction topics.
pub(crate) struct Compactions {
    topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
    /// Whether there is any: most brokers have none, and their reads pay one load.
    any: AtomicBool,
    /// Up to where the log says that queues are compacted, of topics that were not added yet.
    recovered: Mutex<CompactedEnds>,
    settings: Arc<Settings>,
    writer: StateWriter,
}

#[derive(Default)]
struct Topic {
    queues: RwLock<BTreeMap<QueueId, Arc<Queue>>>,
}

/// A queue of a compaction topic.
pub(crate) struct Queue {
    topic: TopicName,
    queue: QueueId,
    /// Up to where the log says that it is compacted.
    logged: AtomicU64,
    kept: RwLock<Arc<Kept>>,
    /// Taken only by threads that may block, while they make a view.
    work: Mutex<Files>,
}

/// Why a queue was not compacted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    #[error("{0}")]
    Read(#[from] ReadError),
    #[error("{0}")]
    Stage(#[from] StageError),
}

impl Compactions {
    pub(crate) fn new(recovered: CompactedEnds, settings: Arc<Settings>, writer: StateWriter) -> Self {
        Self {
            topics: RwLock::default(),
            any: AtomicBool::new(false),
            recovered: Mutex::new(recovered),
            settings,
            writer,
        }
    }

    /// This topic is one from now on.
    pub(crate) fn add(&self, topic: &TopicName) {
        if self.is_one(topic) {
            return;
        }
        let mut recovered = self.recovered.lock();
        let logged = recovered.extract_if(.., |(of, _), _| of == topic);
        let queues = logged.map(|((_, queue), end)| (queue, Queue::new(topic, queue, end)));
        let of_topic = Topic { queues: RwLock::new(queues.collect()) };
        drop(recovered);
        self.topics.write().insert(topic.clone(), Arc::new(of_topic));
        self.any.store(true, Ordering::Release);
    }

    /// The topic is no more; one of the same name begins anew.
    pub(crate) fn remove(&self, topic: &str) {
        let mut topics = self.topics.write();
        topics.remove(topic);
        self.any.store(!topics.is_empty(), Ordering::Release);
    }

    /// Whether it is one.
    pub(crate) fn is_one(&self, topic: &str) -> bool {
        self.queues_of(topic).is_some()
    }

    /// A queue of a compaction topic; `None` for other topics.
    pub(crate) fn queue(&self, topic: &str, queue: QueueId) -> Option<Arc<Queue>> {
        let of_topic = self.queues_of(topic)?;
        if let Some(known) = of_topic.queues.read().get(&queue) {
            return Some(known.clone());
        }
        let name = TopicName::new(topic).ok()?;
        let mut queues = of_topic.queues.write();
        Some(queues.entry(queue).or_insert_with(|| Queue::new(&name, queue, 0)).clone())
    }

    /// Up to where queues are compacted, for a snapshot.
    pub(crate) fn ends(&self) -> CompactedEnds {
        let topics = self.topics.read();
        let queues =
            topics.values().flat_map(|topic| topic.queues.read().values().cloned().collect::<Vec<_>>());
        let end = |queue: Arc<Queue>| {
            let end = queue.logged.load(Ordering::Acquire);
            (end > 0).then(|| ((queue.topic.clone(), queue.queue), end))
        };
        queues.filter_map(end).collect()
    }

    /// Where in the log the first record lies that a compaction topic still shows; `None` where there is none. May block on
    /// the disk for long.
    pub(crate) fn first_shown<D: Disk>(&self, reader: &LogReader<D>) -> Result<Option<LogOffset>, ReadError> {
        let topics: Vec<_> = self.topics.read().keys().cloned().collect();
        let mut first: Option<LogOffset> = None;
        let mut found = Vec::with_capacity(1);
        for topic in topics {
            for number in 0..reader.queues(&topic) {
                let Some(queue) = self.queue(&topic, number) else { continue };
                let Some((begin, _)) = reader.bounds(&topic, number) else { continue };
                let kept = queue.made(reader, self.bytes_max())?;
                let shown = kept.run_from(begin).map_or(kept.end().max(begin), |run| run.start);
                found.clear();
                reader.lookup(&topic, number, shown, 1, &mut found)?;
                if let Some(entry) = found.first() {
                    first = Some(first.map_or(entry.log_offset, |known| known.min(entry.log_offset)));
                }
            }
        }
        Ok(first)
    }

    /// Compacts what was closed since the last time, in all queues. May block on the disk for long.
    pub(crate) fn run<D: Disk>(&self, reader: &LogReader<D>) {
        let topics: Vec<_> = self.topics.read().keys().cloned().collect();
        for topic in topics {
            for number in 0..reader.queues(&topic) {
                let Some(queue) = self.queue(&topic, number) else { continue };
                if let Err(error) = self.compact(&queue, reader) {
                    tracing::warn!(topic = &*topic, queue = number, %error, "a queue was not compacted, it is tried again");
                }
            }
        }
    }

    fn compact<D: Disk>(&self, queue: &Queue, reader: &LogReader<D>) -> Result<(), CompactError> {
        let mut files = queue.work.lock();
        let sizes = self.settings.compaction_files();
        let mut entries = Vec::new();
        loop {
            entries.clear();
            reader.lookup(&queue.topic, queue.queue, files.next(), ENTRIES, &mut entries)?;
            if entries.is_empty() {
                break;
            }
            for entry in &entries {
                files.step(sizes, entry.queue_offset, entry.size);
            }
        }
        let end = files.closed().max(queue.logged.load(Ordering::Acquire));
        let kept = queue.advance(reader, end, self.settings.offset_map_bytes())?;
        if kept.end() > queue.logged.load(Ordering::Acquire) {
            self.writer.write(&StateRecord::compacted(&queue.topic, queue.queue, kept.end()))?;
            queue.logged.store(kept.end(), Ordering::Release);
        }
        *queue.kept.write() = kept;
        Ok(())
    }

    fn queues_of(&self, topic: &str) -> Option<Arc<Topic>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.topics.read().get(topic).cloned()
    }

    /// What a view may use of memory while it is made.
    pub(crate) fn bytes_max(&self) -> usize {
        self.settings.offset_map_bytes()
    }
}

impl Queue {
    fn new(topic: &TopicName, queue: QueueId, logged: QueueOffset) -> Arc<Self> {
        Arc::new(Self {
            topic: topic.clone(),
            queue,
            logged: AtomicU64::new(logged),
            kept: RwLock::default(),
            work: Mutex::default(),
        })
    }

    /// What readers see of the compacted part; `None` while that is to be made from the log.
    pub(crate) fn kept(&self) -> Option<Arc<Kept>> {
        let kept = self.kept.read().clone();
        (kept.end() >= self.logged.load(Ordering::Acquire)).then_some(kept)
    }

    /// The same; what is to be made is made. May block on the disk.
    pub(crate) fn made<D: Disk>(
        &self,
        reader: &LogReader<D>,
        bytes_max: usize,
    ) -> Result<Arc<Kept>, ReadError> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let _work = self.work.lock();
        let kept = self.advance(reader, self.logged.load(Ordering::Acquire), bytes_max)?;
        *self.kept.write() = kept.clone();
        Ok(kept)
    }

    /// The view up to `end`, in as many steps as its keys need.
    fn advance<D: Disk>(
        &self,
        reader: &LogReader<D>,
        end: QueueOffset,
        bytes_max: usize,
    ) -> Result<Arc<Kept>, ReadError> {
        let mut kept = self.kept.read().clone();
        while kept.end() < end {
            let next = self.step(reader, &kept, end, bytes_max)?;
            if next.end() == kept.end() {
                tracing::warn!(
                    topic = &*self.topic,
                    queue = self.queue,
                    limit = SPAN_MAX,
                    "a queue is too long to be compacted further"
                );
                break;
            }
            kept = Arc::new(next);
        }
        Ok(kept)
    }

    fn step<D: Disk>(
        &self,
        reader: &LogReader<D>,
        before: &Kept,
        end: QueueOffset,
        bytes_max: usize,
    ) -> Result<Kept, ReadError> {
        let begin = reader.bounds(&self.topic, self.queue).map_or(0, |(begin, _)| begin);
        let mut newest = Newest::new(bytes_max);
        // A queue with more messages than bits is compacted no further than the bits go.
        let mut end = end.min(begin.saturating_add(SPAN_MAX)).max(before.end());
        let new = before.end().max(begin)..end;
        self.each(reader, new.clone(), |record| {
            let Some(key) = key_of(&record) else { return true };
            let put = newest.put(key, record.queue_offset());
            if put == Err(Full) {
                end = record.queue_offset();
            }
            put.is_ok()
        })?;
        let mut kept = Kept::nothing_of(begin, end);
        let mut keep = |record: RecordView<'_>| {
            let (offset, has_body) = (record.queue_offset(), !record.body().is_empty());
            if offset < end && key_of(&record).is_some_and(|key| newest.retains(key, offset, has_body)) {
                kept.keep(offset);
            }
            offset < end
        };
        let mut from = begin;
        while let Some(run) = before.run_from(from) {
            from = run.end;
            self.each(reader, run, &mut keep)?;
        }
        self.each(reader, new, keep)?;
        Ok(kept)
    }

    /// Calls `each` for the records of a stretch, until it says no.
    fn each<D: Disk>(
        &self,
        reader: &LogReader<D>,
        stretch: Range<QueueOffset>,
        mut each: impl FnMut(RecordView<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let mut next = stretch.start;
        let mut entries: Vec<IndexEntry> = Vec::new();
        while next < stretch.end {
            entries.clear();
            let wanted = usize::try_from(stretch.end - next).unwrap_or(ENTRIES).min(ENTRIES);
            reader.lookup(&self.topic, self.queue, next, wanted, &mut entries)?;
            entries.retain(|entry| entry.queue_offset < stretch.end);
            let Some(last) = entries.last() else { return Ok(()) };
            next = last.queue_offset + 1;
            let mut rest = &entries[..];
            while !rest.is_empty() {
                let (run, count) = reader.read_run(rest, RUN_BYTES)?;
                if !each_of(&run, &rest[..count], &mut each)? {
                    return Ok(());
                }
                rest = &rest[count..];
            }
        }
        Ok(())
    }
}

fn each_of(
    run: &Bytes,
    entries: &[IndexEntry],
    each: &mut impl FnMut(RecordView<'_>) -> bool,
) -> Result<bool, ReadError> {
    let mut bytes = &run[..];
    for entry in entries {
        let damaged = |error: &dyn std::fmt::Display| ReadError::Damaged {
            at: entry.log_offset,
            reason: error.to_string(),
        };
        let record = RecordView::parse(bytes).map_err(|error| damaged(&error))?;
        bytes = &bytes[record.total_len()..];
        if !each(record) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The key of a message of a compaction topic: all its keys as they stand. Without one it is never seen.
pub(crate) fn key_of<'r>(record: &RecordView<'r>) -> Option<&'r str> {
    record.property(property::KEYS).filter(|keys| !keys.trim().is_empty())
}
