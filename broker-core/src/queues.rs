//! Reading queues: what a pull finds, without ever blocking a connection on the disk.

use crate::{
    arrivals::Arrivals,
    compactions::{Compactions, Queue, key_of},
};
use bytes::Bytes;
use halley_filter::Expression;
use halley_machine::pull::{self, Answer, Position};
use halley_model::{QueueId, QueueOffset, RecordView};
use halley_store::{IndexEntry, LogReader, ReadError, disk::Disk};
use std::sync::{Arc, OnceLock};

/// The readable side of the log, and who waits for more of it.
pub(crate) struct Queues<D: Disk> {
    pub(crate) reader: LogReader<D>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) compactions: Arc<Compactions>,
}

impl<D: Disk> Clone for Queues<D> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            arrivals: self.arrivals.clone(),
            compactions: self.compactions.clone(),
        }
    }
}

/// What is asked of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) topic: Arc<str>,
    pub(crate) queue: QueueId,
    pub(crate) offset: QueueOffset,
    /// At most this many records.
    pub(crate) records_max: usize,
    /// About this many bytes, but one record at least.
    pub(crate) bytes_max: usize,
    /// Only records for which this holds, `None` for all.
    pub(crate) filter: Option<Arc<Expression>>,
}

/// What a queue holds for an [`Ask`].
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) answer: Answer,
    /// RocketMQ's name of the outcome.
    pub(crate) remark: &'static str,
    /// Where to go on.
    pub(crate) next: QueueOffset,
    pub(crate) min: QueueOffset,
    pub(crate) max: QueueOffset,
    /// Runs of whole records, in order.
    pub(crate) runs: Vec<Bytes>,
    /// How many records they are.
    pub(crate) records: usize,
    /// What is wrong with the first record, where it is damaged: it is passed over, and there are no others.
    pub(crate) damaged: Option<ReadError>,
}

impl Found {
    /// No records, and why.
    pub(crate) fn nothing(
        answer: Answer,
        remark: &'static str,
        next: QueueOffset,
        (min, max): (QueueOffset, QueueOffset),
    ) -> Self {
        Self { answer, remark, next, min, max, runs: Vec::new(), records: 0, damaged: None }
    }
}

/// Where bytes may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Memory only; a miss ends the look.
    Memory,
    /// The disk too; the call may block.
    Disk,
}

/// The records are not all in memory: ask again with [`Source::Disk`] where blocking is allowed.
#[derive(Debug)]
pub(crate) struct Cold;

impl<D: Disk> Queues<D> {
    /// The queue's first offset and its end, zeros where it never had a record.
    pub(crate) fn bounds(&self, topic: &str, queue: QueueId) -> (QueueOffset, QueueOffset) {
        self.reader.bounds(topic, queue).unwrap_or((0, 0))
    }

    /// Whether the queue's first record counts as being in memory. RocketMQ asks the system whether its page is; here it counts
    /// where it is among the log's newest bytes, of as many as RocketMQ supposes to be in memory when it does not ask
    /// (`accessMessageInMemoryMaxRatio`, 5.5: 40 % of the machine's), so that the answer outlives a restart.
    pub(crate) fn begins_in_memory(&self, topic: &str, queue: QueueId) -> Result<bool, ReadError> {
        let (min, _) = self.bounds(topic, queue);
        let mut first = Vec::with_capacity(1);
        self.reader.lookup(topic, queue, min, 1, &mut first)?;
        let behind = first.first().map(|entry| self.reader.end().saturating_sub(entry.log_offset));
        Ok(behind.is_some_and(|behind| behind <= memory_bytes() / 100 * 40))
    }

    /// What a negative offset finds.
    pub(crate) fn before_all(&self, topic: &str, queue: QueueId) -> Found {
        let (min, max) = self.bounds(topic, queue);
        let (answer, remark, next) = pull::negative(min, max);
        Found::nothing(answer, remark, next, (min, max))
    }

    /// Looks for records, of a compaction topic for those that count. `Ok(Err(Cold))` only with [`Source::Memory`].
    pub(crate) fn look(&self, ask: &Ask, source: Source) -> Result<Result<Found, Cold>, ReadError> {
        match self.compactions.queue(&ask.topic, ask.queue) {
            Some(queue) => self.look_compacted(ask, &queue, source),
            None => self.look_whole(ask, source),
        }
    }

    /// Looks for records, also those of a compaction topic that do not count any more.
    pub(crate) fn look_whole(&self, ask: &Ask, source: Source) -> Result<Result<Found, Cold>, ReadError> {
        loop {
            match self.look_once(ask, source) {
                // What was found was removed meanwhile: the queue begins later now.
                Err(ReadError::Outside { log_offset, first, .. }) if log_offset < first => {}
                looked => return looked,
            }
        }
    }

    fn look_once(&self, ask: &Ask, source: Source) -> Result<Result<Found, Cold>, ReadError> {
        let (min, max) = self.bounds(&ask.topic, ask.queue);
        let position = pull::position(ask.offset, min, max);
        if let Some((answer, remark, next)) = pull::unreadable(position, ask.offset, min, max) {
            return Ok(Ok(Found::nothing(answer, remark, next, (min, max))));
        }
        debug_assert_eq!(position, Position::Readable);
        let mut entries = Vec::new();
        let wanted = if ask.filter.is_some() { pull::SCAN_MAX } else { ask.records_max };
        if !self.lookup(ask, ask.offset, wanted, source, &mut entries)? {
            return Ok(Err(Cold));
        }
        let found = match &ask.filter {
            None => self.take_all(ask, &entries, source)?,
            Some(filter) => {
                let matches = |_: &IndexEntry, record: &RecordView<'_>| filter.matches(record.properties());
                self.take_matching(ask, &entries, |entry| filter.may_match_tag(entry.tag), matches, source)?
            }
        };
        Ok(found.map(|taken| {
            // Retention may have moved the queue's begin meanwhile.
            let last = taken.looked_at.checked_sub(1).and_then(|last| entries.get(last));
            let next = last.map_or(ask.offset.max(min), |last| last.queue_offset + 1);
            taken.found(next, min, max)
        }))
    }

    /// Where offsets are missing, the next one counts; the queue's first offset is that of its first record that counts
    /// (`CompactionLog.getMessage`, 5.5).
    fn look_compacted(
        &self,
        ask: &Ask,
        queue: &Queue,
        source: Source,
    ) -> Result<Result<Found, Cold>, ReadError> {
        let kept = match (queue.kept(), source) {
            (Some(kept), _) => kept,
            (None, Source::Memory) => return Ok(Err(Cold)),
            (None, Source::Disk) => queue.made(&self.reader, self.compactions.bytes_max())?,
        };
        let (begin, max) = self.bounds(&ask.topic, ask.queue);
        let min = kept.run_from(begin).map_or(kept.end().max(begin), |run| run.start);
        let nothing = |(answer, remark, next)| Ok(Ok(Found::nothing(answer, remark, next, (min, max))));
        match pull::position(ask.offset, min, max) {
            Position::Beyond if min == 0 => {
                return nothing((Answer::OffsetMoved, "OFFSET_OVERFLOW_BADLY", 0));
            }
            Position::TooSmall | Position::Readable => {}
            position => {
                if let Some(answer) = pull::unreadable(position, ask.offset, min, max) {
                    return nothing(answer);
                }
            }
        }
        let wanted = if ask.filter.is_some() { pull::SCAN_MAX } else { ask.records_max };
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut next = ask.offset.max(begin);
        while entries.len() < wanted {
            let room = wanted - entries.len();
            let Some(run) = kept.run_from(next) else {
                // One reply does not go from what is compacted into what is not, as there it does not go from file to file.
                if entries.is_empty() {
                    let from = next.max(kept.end());
                    if !self.lookup(ask, from, room, source, &mut entries)? {
                        return Ok(Err(Cold));
                    }
                }
                break;
            };
            let count = usize::try_from(run.end - run.start).unwrap_or(room).min(room);
            if !self.lookup(ask, run.start, count, source, &mut entries)? {
                return Ok(Err(Cold));
            }
            next = run.start + count as u64;
        }
        let filter = ask.filter.as_deref();
        let matches = |entry: &IndexEntry, record: &RecordView<'_>| {
            (entry.queue_offset < kept.end() || key_of(record).is_some())
                && filter.is_none_or(|filter| filter.matches(record.properties()))
        };
        let may = |entry: &IndexEntry| filter.is_none_or(|filter| filter.may_match_tag(entry.tag));
        Ok(self.take_matching(ask, &entries, may, matches, source)?.map(|taken| {
            let last = taken.looked_at.checked_sub(1).and_then(|last| entries.get(last));
            let next = last.map_or(max, |last| last.queue_offset + 1);
            taken.found(next, min, max)
        }))
    }

    /// Looks up entries; `false` where the disk would have to be asked and may not be.
    fn lookup(
        &self,
        ask: &Ask,
        from: QueueOffset,
        entries_max: usize,
        source: Source,
        out: &mut Vec<IndexEntry>,
    ) -> Result<bool, ReadError> {
        let (topic, queue) = (&ask.topic, ask.queue);
        match source {
            Source::Memory => self.reader.lookup_hot(topic, queue, from, entries_max, out),
            Source::Disk => self.reader.lookup(topic, queue, from, entries_max, out).map(|()| true),
        }
    }

    /// Takes entries from the front, those that are in memory by reference, adjacent ones as one run; the others as one. A damaged
    /// record is passed over, alone: what lies before it is taken first.
    fn take_all(
        &self,
        ask: &Ask,
        entries: &[IndexEntry],
        source: Source,
    ) -> Result<Result<Taken, Cold>, ReadError> {
        let entries = &entries[..fitting(entries, ask.bytes_max)];
        let mut taken = Taken::default();
        while taken.records < entries.len() {
            let rest = &entries[taken.records..];
            let (run, count) = match (self.reader.hot_run(rest), source) {
                (Some(hot), _) => hot,
                (None, Source::Memory) => return Ok(Err(Cold)),
                (None, Source::Disk) => match self.reader.read_cold(rest, ask.bytes_max) {
                    Ok(cold) => cold,
                    Err(ReadError::Damaged { .. }) if taken.records > 0 => break,
                    Err(error @ ReadError::Damaged { .. }) => {
                        return Ok(Ok(Taken { looked_at: 1, ..taken }.pass_over(ask, error)));
                    }
                    Err(error) => return Err(error),
                },
            };
            taken.runs.push(run);
            taken.records += count;
        }
        taken.looked_at = taken.records;
        Ok(Ok(taken))
    }

    /// Takes the entries whose records match: by the tag's hash where the index can tell, else by the record.
    fn take_matching(
        &self,
        ask: &Ask,
        entries: &[IndexEntry],
        may_match: impl Fn(&IndexEntry) -> bool,
        matches: impl Fn(&IndexEntry, &RecordView<'_>) -> bool,
        source: Source,
    ) -> Result<Result<Taken, Cold>, ReadError> {
        let mut taken = Taken::default();
        let mut bytes = 0;
        for entry in entries {
            if taken.records == ask.records_max || (bytes > 0 && bytes + entry.size as usize > ask.bytes_max)
            {
                break;
            }
            if may_match(entry) {
                let record = match (self.reader.hot(entry), source) {
                    (Some(hot), _) => hot,
                    (None, Source::Memory) => return Ok(Err(Cold)),
                    (None, Source::Disk) => match self.reader.read(entry) {
                        Ok(record) => record,
                        Err(ReadError::Damaged { .. }) if taken.records > 0 => break,
                        Err(error @ ReadError::Damaged { .. }) => {
                            taken.looked_at += 1;
                            return Ok(Ok(taken.pass_over(ask, error)));
                        }
                        Err(error) => return Err(error),
                    },
                };
                // The reader has checked the record; what cannot be parsed is not delivered, and not waited for.
                if RecordView::parse(&record).is_ok_and(|view| matches(entry, &view)) {
                    bytes += record.len();
                    taken.runs.push(record);
                    taken.records += 1;
                }
            }
            taken.looked_at += 1;
        }
        Ok(Ok(taken))
    }
}

#[derive(Debug, Default)]
struct Taken {
    runs: Vec<Bytes>,
    records: usize,
    looked_at: usize,
    damaged: Option<ReadError>,
}

impl Taken {
    /// The record looked at last is damaged, and nothing was taken before it.
    fn pass_over(self, ask: &Ask, error: ReadError) -> Self {
        let (topic, queue) = (&*ask.topic, ask.queue);
        tracing::error!(topic, queue, %error, "a damaged message cannot be read; `halley inspect` tells more");
        Self { damaged: Some(error), ..self }
    }

    fn found(self, next: QueueOffset, min: QueueOffset, max: QueueOffset) -> Found {
        let (answer, remark) = match (self.records, &self.damaged) {
            // As where RocketMQ finds nothing at the place that the index names (`GetMessageStatus`, 5.5).
            (0, Some(_)) => (Answer::RetryImmediately, "MESSAGE_WAS_REMOVING"),
            (0, None) => (Answer::RetryImmediately, "NO_MATCHED_MESSAGE"),
            _ => (Answer::Found, "FOUND"),
        };
        let Self { runs, records, damaged, .. } = self;
        Found { answer, remark, next, min, max, runs, records, damaged }
    }
}

/// How many of the first entries stay within `bytes_max`, one at least.
fn fitting(entries: &[IndexEntry], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for entry in entries {
        bytes += entry.size as usize;
        if count > 0 && bytes > bytes_max {
            break;
        }
        count += 1;
    }
    count
}

/// The machine's memory.
fn memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let system = rustix::system::sysinfo();
        system.totalram.saturating_mul(system.mem_unit.into())
    })
}
