//! Messages that were under way when RocketMQ stopped: delayed, in transactions, popped.

use super::{TakeoverError, files::Files, parse};
use crate::follow::follow_queue;
use bytes::Bytes;
use halley_machine::{
    delay::TIMER_TOPIC,
    offsets::{Committed, Key},
    pop::PopQueue,
    taken_over::OpenRange,
    transactions::HALF_TOPIC,
};
use halley_model::{Millis, QueueId, QueueOffset, RecordView, property};
use halley_store::{LogReader, ReadError, disk::Disk};
use halley_takeover::{
    OP_TOPIC, REVIVE_GROUP, REVIVE_TOPIC_PREFIX, SCHEDULE_TOPIC, TRANSACTION_GROUP,
    config::{self, Offsets},
    delayed, halves,
    pops::Pops,
    timers,
};
use std::collections::BTreeMap;

/// Most offsets of timers or half messages in one state record.
const OPEN_PER_RECORD: usize = 100_000;

/// Delayed messages looked up at once.
const ENTRIES: usize = 128;

/// About the most bytes of delayed messages copied as one group.
const BYTES: usize = 1 << 20;

/// See the module's documentation.
pub(super) struct UnderWay {
    committed: Offsets,
    pops: Pops,
    /// By level: the first message that was not delivered.
    pub(super) delays: BTreeMap<u8, QueueOffset>,
    /// Timers that wait, by offset.
    pub(super) timers: Vec<QueueOffset>,
    timers_end: QueueOffset,
    /// Half messages that are open, by offset.
    pub(super) halves: Vec<QueueOffset>,
    halves_end: QueueOffset,
}

impl UnderWay {
    pub(super) fn read<D: Disk>(files: &Files, reader: &LogReader<D>) -> Result<Self, TakeoverError> {
        let committed = files.offsets()?;
        let offset_of = |topic: &str, group: &str, queue: u64| {
            let queues = committed.get(&(topic.to_owned(), group.to_owned()))?;
            QueueOffset::try_from(*queues.get(&queue)?).ok()
        };
        let mut pops = Pops::default();
        for topic in reader.topics().iter().filter(|topic| topic.starts_with(REVIVE_TOPIC_PREFIX)) {
            for queue in 0..reader.queues(topic) {
                // The group's offset is that of the last checkpoint it is through with (`PopReviveService`, 5.5).
                let from = offset_of(topic, REVIVE_GROUP, queue.into()).map_or(0, |done| done + 1);
                each(reader, topic, queue, from, |record| _ = pops.see(&record))?;
            }
        }
        let mut timers = timers::Pending::new(files.timers()?);
        let mut timers_end = 0;
        let mut of_pops = Vec::new();
        each(reader, TIMER_TOPIC, 0, 0, |record| {
            timers_end = record.queue_offset() + 1;
            if timers.see(&record)
                && record
                    .property(property::REAL_TOPIC)
                    .is_some_and(|topic| topic.starts_with(REVIVE_TOPIC_PREFIX))
                && pops.see(&record)
            {
                of_pops.push(record.queue_offset());
            }
        })?;
        let mut timers = timers.open();
        timers.retain(|offset| of_pops.binary_search(offset).is_err());
        let mut ended = halves::Ended::new(offset_of(HALF_TOPIC, TRANSACTION_GROUP, 0).unwrap_or(0));
        each(reader, OP_TOPIC, 0, 0, |op| ended.see(&op))?;
        let mut halves_end = ended.first();
        let mut halves = halves::Open::new(ended);
        each(reader, HALF_TOPIC, 0, halves_end, |half| {
            halves_end = half.queue_offset() + 1;
            halves.see(&half);
        })?;
        let halves = halves.offsets();
        let delays = files.delays()?;
        Ok(Self { committed, pops, delays, timers, timers_end, halves, halves_end })
    }

    /// Which timers and half messages of RocketMQ's are still under way.
    pub(super) fn ranges(&self) -> (Vec<OpenRange>, Vec<OpenRange>) {
        let timers = OpenRange::pieces(self.timers_end, &self.timers, OPEN_PER_RECORD);
        (timers, OpenRange::pieces(self.halves_end, &self.halves, OPEN_PER_RECORD))
    }

    /// What groups committed, with the messages that they popped and did not acknowledge.
    pub(super) fn offsets<D: Disk>(&self, reader: &LogReader<D>, now: Millis) -> Vec<(Key, Committed)> {
        let in_flight = self.pops.in_flight();
        let mut offsets = Vec::new();
        for ((topic, group), queues) in &self.committed {
            for (queue, offset) in queues {
                let Some((group, topic, queue, offset)) = config::committed(topic, group, *queue, *offset)
                else {
                    continue;
                };
                let flights = in_flight.get(&(group.to_string(), topic.to_string(), queue));
                let (min, max) = reader.bounds(&topic, queue).unwrap_or((0, 0));
                let flights =
                    flights.into_iter().flatten().filter(|flight| (min..max).contains(&flight.offset));
                let popped = PopQueue::in_flight_at(offset, flights.copied());
                let (offset, metadata) = match popped.in_flight() {
                    0 => (offset, String::new()),
                    _ => popped.cursor(now),
                };
                offsets.push(((group, topic, queue), Committed { offset, metadata }));
            }
        }
        offsets
    }
}

/// The next delayed messages of a level from `from` on; none at the end.
pub(super) fn some_of_level<D: Disk>(
    reader: &LogReader<D>,
    level: u8,
    from: QueueOffset,
) -> Result<Vec<Bytes>, TakeoverError> {
    let mut entries = Vec::new();
    reader.lookup(SCHEDULE_TOPIC, delayed::queue_of(level), from, ENTRIES, &mut entries)?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for entry in &entries {
        if bytes > BYTES {
            break;
        }
        let record = reader.read(entry)?;
        parse(&record)?;
        bytes += record.len();
        records.push(record);
    }
    Ok(records)
}

/// Calls `each` for RocketMQ's records of a queue.
fn each<D: Disk>(
    reader: &LogReader<D>,
    topic: &str,
    queue: QueueId,
    from: QueueOffset,
    mut each: impl FnMut(RecordView<'_>),
) -> Result<(), ReadError> {
    let end = reader.foreign_end();
    follow_queue(reader, topic, queue, from, |record| {
        if record.log_offset() < end {
            each(record);
        }
    })
}
