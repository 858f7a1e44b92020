//! The sequencer decides: where each record lies, which queue offset it gets, where frames and segments end. It
//! does so in memory and without waiting; the log's thread writes what it decided, in the same order.
//!
//! Records are encoded once, straight into the frame that will be written, kept for readers and sent to consumers.
//! A record that goes into light queues too gets their offsets here, and one more index entry for each; what it says of them
//! is its last property, which nobody else may write (see [`halley_model::light`]).
//! Frames are cut from large chunks of memory, so that appending allocates once per chunk and not per record.

use crate::{
    frame::{BYTES_MAX, HEADER_BYTES},
    hash::BuildFixed,
    options::{Durability, Options},
    segment::START_BYTES,
};
use bytes::{BufMut, BytesMut};
use halley_model::{
    LogOffset, Millis, QUEUES_MAX, QueueId, QueueOffset, RecordBody, light,
    property::{self, PROPERTIES_BYTES_MAX},
    record::{Place, RecordError},
    tag,
};
use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    net::SocketAddr,
    sync::Arc,
};

/// Memory allocated at once for frames; a frame longer than this is one large group.
const CHUNK_BYTES: usize = 1 << 20;

/// Full chunks remembered beyond those that the tail holds: being written, or just given up by readers.
const SPENT_EXTRA: usize = 16;

/// How many of the oldest full chunks are looked at for one that is free.
const SPENT_TRIED: usize = 8;

/// A store time earlier than the one before by at most this is taken for the reordering of two threads' clock readings
/// and raised, so that store times rise along the log; a larger step back is a set clock and believed.
const CLOCK_JITTER_MS_MAX: Millis = 1_000;

/// Where a record will lie. It is stored once [`crate::Log::acked`] is beyond `log_offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its position in its queue.
    pub queue_offset: QueueOffset,
    /// Its position in the log.
    pub log_offset: LogOffset,
}

/// Why nothing was staged. The call had no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// A record breaks a limit of the format.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The queue's number is too high.
    #[error("queue {0} is beyond the highest possible queue, {max}", max = QUEUES_MAX - 1)]
    Queue(QueueId),
    /// The group is too long to be stored as one.
    #[error("a group of {bytes} bytes cannot be stored at once, at most {max} are possible")]
    TooLong {
        /// bytes of all records of the group
        bytes: usize,
        /// the limit
        max: usize,
    },
    /// More waits to be written than [`Options::staged_bytes_max`]; try again soon.
    #[error("{staged} bytes are waiting to be written, the limit is {max}: try again soon")]
    Overloaded {
        /// bytes waiting
        staged: usize,
        /// the limit
        max: usize,
    },
    /// The open segment is full and the next one not reserved yet; try again soon.
    #[error("the next log segment is not reserved yet: try again soon")]
    NoSegment,
    /// The disk has no room for another segment. Sends succeed again when there is room.
    #[error("the disk is full: there is no room for another log segment")]
    Full,
    /// The store stopped after a failed write or sync.
    #[error("the store stopped: {0}")]
    Poisoned(String),
}

/// One step of what is to be written.
pub(crate) enum Item {
    /// A frame whose header is still to be filled in.
    Frame(Draft),
    /// The next segment begins here; its start frame is the writer's to make.
    Roll {
        base: LogOffset,
        /// Store time of the last record before it.
        stored: Millis,
    },
}

/// A frame that lacks its header.
pub(crate) struct Draft {
    pub(crate) at: LogOffset,
    pub(crate) bytes: BytesMut,
    pub(crate) records: u32,
}

/// What the queue index needs to know of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StagedEntry {
    /// Number of the topic, in the order in which topics first appeared.
    pub(crate) topic: u32,
    pub(crate) queue: QueueId,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) log_offset: LogOffset,
    pub(crate) size: u32,
    pub(crate) tag: i32,
}

/// Everything staged between two visits of the writer. Its vectors go back and forth, so that they are not allocated
/// each time.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Item>,
    pub(crate) entries: Vec<StagedEntry>,
    /// Topics that appeared, in the order of their numbers.
    pub(crate) new_topics: Vec<Arc<str>>,
    /// Whether something in it is stored only once it is synced.
    pub(crate) must_sync: bool,
}

/// The queues of all topics: how far each has come. Derived from the log and nothing else.
#[derive(Default, Clone)]
pub(crate) struct Tails {
    numbers: HashMap<Arc<str>, u32, BuildFixed>,
    /// By topic number and queue: the offset that the queue's next record gets.
    next: Vec<Vec<QueueOffset>>,
}

impl Tails {
    /// The topic's number; a new one where it was not seen before, announced to `appeared`.
    pub(crate) fn number_of(&mut self, topic: &str, appeared: &mut Vec<Arc<str>>) -> u32 {
        if let Some(number) = self.numbers.get(topic) {
            return *number;
        }
        let number = u32::try_from(self.next.len()).expect("four thousand million topics do not fit memory");
        let name: Arc<str> = topic.into();
        self.numbers.insert(Arc::clone(&name), number);
        self.next.push(Vec::new());
        appeared.push(name);
        number
    }

    /// The offset that the queue's next record gets, to be raised by who uses it. The topic was numbered, and the
    /// queue is below [`QUEUES_MAX`].
    pub(crate) fn next_mut(&mut self, topic: u32, queue: QueueId) -> &mut QueueOffset {
        let queues = &mut self.next[topic as usize];
        let at = queue as usize;
        if queues.len() <= at {
            queues.resize(at + 1, 0);
        }
        &mut queues[at]
    }
}

impl Tails {
    /// The offsets that the topic's queues give next, empty where it never had a record.
    fn ends_of(&self, topic: &str) -> Vec<QueueOffset> {
        self.numbers.get(topic).map_or_else(Vec::new, |number| self.next[*number as usize].clone())
    }
}

/// Where the log stands when the sequencer takes over from recovery.
pub(crate) struct Position {
    /// Where the next frame goes.
    pub(crate) next: LogOffset,
    /// Where the reserved part of the active segment ends.
    pub(crate) segment_end: LogOffset,
    /// Store time of the last record.
    pub(crate) stored: Millis,
}

/// See the module's documentation.
pub(crate) struct Sequencer {
    tails: Tails,
    /// Where the next byte goes, those of the open frame counted.
    next: LogOffset,
    segment_end: LogOffset,
    segment_bytes: u64,
    /// Whether a reserved segment waits to be used.
    spare: bool,
    /// Whether reserving one failed for lack of room.
    full: bool,
    /// The open frame, header included; empty where none is open. Its free capacity is the rest of the chunk.
    open: BytesMut,
    open_at: LogOffset,
    open_records: u32,
    /// Handles of chunks that are full, oldest first, to use their memory again.
    spent: VecDeque<BytesMut>,
    spent_max: usize,
    batch: Batch,
    staged_bytes: usize,
    staged_bytes_max: usize,
    frame_bytes_max: usize,
    store_host: SocketAddr,
    stored: Millis,
}

impl Sequencer {
    pub(crate) fn new(options: &Options, tails: Tails, position: Position) -> Self {
        Self {
            tails,
            next: position.next,
            segment_end: position.segment_end,
            segment_bytes: options.segment_bytes,
            spare: false,
            full: false,
            open: BytesMut::new(),
            open_at: position.next,
            open_records: 0,
            spent: VecDeque::new(),
            spent_max: options.tail_bytes / CHUNK_BYTES + SPENT_EXTRA,
            batch: Batch::default(),
            staged_bytes: 0,
            staged_bytes_max: options.staged_bytes_max,
            frame_bytes_max: options.frame_bytes_max(),
            store_host: options.store_host,
            stored: position.stored,
        }
    }

    /// The offsets that the topic's queues give next.
    pub(crate) fn ends_of(&self, topic: &str) -> Vec<QueueOffset> {
        self.tails.ends_of(topic)
    }

    /// The queue's next record gets this offset, or a higher one that it would get anyway.
    pub(crate) fn raise_end(&mut self, topic: &str, queue: QueueId, end: QueueOffset) {
        let topic = self.tails.number_of(topic, &mut self.batch.new_topics);
        let next = self.tails.next_mut(topic, queue);
        *next = (*next).max(end);
    }

    /// Whether something waits to be written.
    pub(crate) fn has_staged(&self) -> bool {
        self.staged_bytes > 0
    }

    /// Bytes that wait to be written.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Everything staged lies before this.
    pub(crate) fn end(&self) -> LogOffset {
        self.next
    }

    /// Tells that a reserved segment is there, or that there was no room for one.
    pub(crate) fn set_spare(&mut self, spare: bool, full: bool) {
        self.spare = spare;
        self.full = full;
    }

    /// Gives out everything staged, and takes back an emptied batch for reuse.
    pub(crate) fn take(&mut self, emptied: &mut Batch) {
        self.cut();
        self.staged_bytes = 0;
        std::mem::swap(&mut self.batch, emptied);
    }

    /// The store time to give to records staged at `now`.
    pub(crate) fn store_time(&self, now: Millis) -> Millis {
        let jitter = now < self.stored && self.stored.saturating_sub(now) <= CLOCK_JITTER_MS_MAX;
        if jitter { self.stored } else { now }
    }

    /// Stages the records so that all or none are stored, pushing the place of each. On an error nothing changed.
    pub(crate) fn append(
        &mut self,
        group: &[RecordBody<'_>],
        (now, durability): (Millis, Durability),
        mut placed: impl FnMut(Placed),
    ) -> Result<(), StageError> {
        let bytes = self.measure(group)?;
        self.make_room(bytes)?;
        self.batch.must_sync |= durability == Durability::Sync;
        for body in group {
            placed(self.put(body, now));
        }
        Ok(())
    }

    /// Bytes of the group, if it can be stored at all.
    fn measure(&self, group: &[RecordBody<'_>]) -> Result<usize, StageError> {
        let mut bytes = 0usize;
        for body in group {
            body.check()?;
            if body.queue >= QUEUES_MAX {
                return Err(StageError::Queue(body.queue));
            }
            let added = added_bytes(body);
            if added > 0 && body.properties.len() + added > PROPERTIES_BYTES_MAX {
                return Err(RecordError::PropertiesTooLong(body.properties.len() + added).into());
            }
            bytes = bytes.saturating_add(body.encoded_len(&self.store_host) + added);
        }
        let max = self.frame_bytes_max - HEADER_BYTES;
        if bytes > max {
            return Err(StageError::TooLong { bytes, max });
        }
        if self.staged_bytes + bytes > self.staged_bytes_max {
            return Err(StageError::Overloaded { staged: self.staged_bytes, max: self.staged_bytes_max });
        }
        Ok(bytes)
    }

    /// Opens a frame, and a segment where needed, so that the next `bytes` bytes lie in one frame.
    fn make_room(&mut self, bytes: usize) -> Result<(), StageError> {
        let open = !self.open.is_empty();
        let in_segment = |needed: usize| self.next + needed as u64 <= self.segment_end;
        let frame_holds = self.open.len() + bytes <= self.open.capacity().min(BYTES_MAX);
        if open && frame_holds && in_segment(bytes) {
            return Ok(());
        }
        let rolls = !in_segment(HEADER_BYTES + bytes);
        if rolls && !self.spare {
            return Err(if self.full { StageError::Full } else { StageError::NoSegment });
        }
        self.cut();
        if rolls {
            self.roll();
        }
        self.open_frame(bytes);
        Ok(())
    }

    fn roll(&mut self) {
        self.batch.items.push(Item::Roll { base: self.next, stored: self.stored });
        self.spare = false;
        self.segment_end = self.next + self.segment_bytes;
        self.next += START_BYTES as u64;
    }

    fn open_frame(&mut self, bytes: usize) {
        let needed = HEADER_BYTES + bytes;
        if self.open.capacity() < needed {
            self.next_chunk(needed);
        }
        self.open_at = self.next;
        self.open.put_bytes(0, HEADER_BYTES);
        self.next += HEADER_BYTES as u64;
    }

    /// Takes memory for frames: a chunk whose frames have all left the tail and the hands of readers, else a new one.
    /// Fresh memory costs a page fault for every 4 KiB, as much as writing the records.
    fn next_chunk(&mut self, needed: usize) {
        let spent = std::mem::take(&mut self.open);
        if spent.capacity() > 0 {
            self.spent.push_back(spent);
        }
        let wanted = needed.max(CHUNK_BYTES);
        let free = self.spent.iter_mut().take(SPENT_TRIED).position(|chunk| chunk.try_reclaim(wanted));
        if let Some(chunk) = free.and_then(|at| self.spent.remove(at)) {
            self.open = chunk;
            return;
        }
        // With more than the tail holds, slow readers have the oldest: it is theirs to free.
        if self.spent.len() > self.spent_max {
            self.spent.pop_front();
        }
        self.open = BytesMut::with_capacity(wanted);
    }

    /// Ends the open frame.
    fn cut(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let bytes = self.open.split();
        let records = std::mem::take(&mut self.open_records);
        self.batch.items.push(Item::Frame(Draft { at: self.open_at, bytes, records }));
    }

    fn put(&mut self, body: &RecordBody<'_>, now: Millis) -> Placed {
        if !body.dispatched && !light::is_marked(body.properties) {
            return self.put_as_it_is(body, now);
        }
        match dispatch_of(body) {
            Some(list) => self.put_dispatched(body, list, now),
            // Its last property is the producer's, and must not be the last.
            None => {
                let ends = body.properties.ends_with(&[property::VALUE_END]);
                let properties = [body.properties, &UNMARK[usize::from(ends)..]].concat();
                self.put_as_it_is(&RecordBody { properties: &properties, ..*body }, now)
            }
        }
    }

    /// Puts a record into its own queue and into the light ones of the list.
    fn put_dispatched(&mut self, body: &RecordBody<'_>, list: &str, now: Millis) -> Placed {
        let mut offsets = String::new();
        let mut places: Vec<(u32, QueueOffset)> = Vec::new();
        for (at, name) in light::names(list, body.topic).enumerate() {
            if at > 0 {
                offsets.push(',');
            }
            let number = name.map(|name| self.tails.number_of(name, &mut self.batch.new_topics));
            // A name that comes twice counts once.
            let Some(number) = number.filter(|number| places.iter().all(|(known, _)| known != number)) else {
                continue;
            };
            let next = self.tails.next_mut(number, light::QUEUE);
            places.push((number, *next));
            write!(offsets, "{next}").expect("a string takes everything");
            *next += 1;
        }
        let properties = property::with(body.properties, &[(property::MULTI_QUEUE_OFFSETS, offsets)]);
        let placed = self.put_as_it_is(&RecordBody { properties: &properties, ..*body }, now);
        let own = *self.batch.entries.last().expect("the record's own entry was just pushed");
        let of_light =
            |(topic, queue_offset)| StagedEntry { topic, queue: light::QUEUE, queue_offset, ..own };
        self.batch.entries.extend(places.into_iter().map(of_light));
        placed
    }

    fn put_as_it_is(&mut self, body: &RecordBody<'_>, now: Millis) -> Placed {
        self.stored = now;
        let topic = self.tails.number_of(body.topic, &mut self.batch.new_topics);
        let next = self.tails.next_mut(topic, body.queue);
        let queue_offset = *next;
        *next += 1;
        let log_offset = self.next;
        let before = self.open.len();
        let store_host = self.store_host;
        body.encode(&Place { queue_offset, log_offset, stored: now, store_host }, &mut self.open);
        let size = self.open.len() - before;
        self.next += size as u64;
        assert!(self.next <= self.segment_end, "room was made before");
        self.open_records += 1;
        self.staged_bytes += size;
        self.batch.entries.push(StagedEntry {
            topic,
            queue: body.queue,
            queue_offset,
            log_offset,
            size: size as u32,
            tag: tag::code_of(body.properties),
        });
        Placed { queue_offset, log_offset }
    }
}

/// Put behind properties that end as the store's do, and one byte less where their last one is ended.
const UNMARK: [u8; 2] = [property::VALUE_END; 2];

/// The light queues that the record goes into, `None` without any.
fn dispatch_of<'a>(body: &RecordBody<'a>) -> Option<&'a str> {
    let list = property::get(body.properties, property::MULTI_DISPATCH).filter(|_| body.dispatched)?;
    (!list.trim().is_empty()).then_some(list)
}

/// The most bytes by which the record's properties grow when it is put.
fn added_bytes(body: &RecordBody<'_>) -> usize {
    const OFFSET_BYTES_MAX: usize = 21;
    const PAIR_BYTES: usize = property::MULTI_QUEUE_OFFSETS.len() + 3;
    if !body.dispatched && !light::is_marked(body.properties) {
        return 0;
    }
    match dispatch_of(body) {
        Some(list) => PAIR_BYTES + OFFSET_BYTES_MAX * list.split(',').count(),
        None => UNMARK.len(),
    }
}
