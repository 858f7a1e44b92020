//! Searching: newest first, as `IndexService.queryOffset` does (RocketMQ 5.5).

use super::{
    KeyIndex,
    terms::{self, Hashing, KeyKind},
};
use crate::{
    disk::Disk,
    reader::{LogReader, ReadError, damaged},
    segment::{Keys, Segment},
};
use bytes::Bytes;
use halley_model::{LogOffset, Millis, RecordView};
use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

/// Most bytes of records in one answer, but one record at least.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Most records that one search reads, whether they match or not.
const LOOKED_AT_MAX: usize = 4096;

/// Most bytes of log that one search reads where there is no index.
const SCAN_BYTES_MAX: u64 = 256 << 20;

/// What is searched for.
#[derive(Debug, Clone)]
pub struct KeyQuery {
    /// Only records of this topic.
    pub topic: String,
    /// The whole key or tag.
    pub key: String,
    /// Which of both it is.
    pub kind: KeyKind,
    /// Only records stored at this time or later.
    pub begin: Millis,
    /// Only records stored at this time or earlier.
    pub end: Millis,
    /// At most so many records: the newest.
    pub records_max: usize,
    /// Only records before this log offset: to go on where a search for newer ones ended.
    pub before: Option<LogOffset>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct KeyMatches {
    /// The newest records that match, in log order.
    pub records: Vec<Bytes>,
    /// Log offset and store time of the newest record that the index has seen with any key, as far as the search came across
    /// it; RocketMQ tells clients.
    pub last_indexed: Option<(LogOffset, Millis)>,
    /// Older records that were not looked at, since their index is missing or the search became too long: `[from, to)`.
    pub unsearched: Option<(LogOffset, LogOffset)>,
}

impl<D: Disk> KeyIndex<D> {
    /// Finds records by key. Everything acknowledged before the call is searched, but what [`KeyMatches::unsearched`] names.
    pub fn find(&self, query: &KeyQuery) -> Result<KeyMatches, ReadError> {
        let hash = Hashing::new().hash(&query.topic, query.kind, query.key.as_bytes());
        let mut search = Search::new(&self.reader, query);
        let (base, covered, positions) = {
            let mut active = self.active.lock();
            self.bring_up(&mut active)?;
            let table = &active.table;
            search.saw(table.base, &table.summary);
            (table.base, table.end, table.positions(hash))
        };
        let segment = self.reader.segment(base, 0)?;
        search.scan(&segment, covered)?;
        search.take(base, &positions)?;
        let mut newer = base;
        while !search.is_done()
            && let Some(segment) = self.reader.segments.before(newer)
        {
            newer = segment.base;
            match self.search_sealed(&segment, hash, &mut search) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                // It was removed meanwhile, and all before it.
                Err(_) if segment.base < self.reader.start() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(search.finish())
    }

    /// Searches a sealed segment; breaks where older ones are too old.
    fn search_sealed(
        &self,
        segment: &Arc<Segment<D::File>>,
        hash: u32,
        search: &mut Search<'_, D>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let known = *segment.keys.read();
        if let Keys::Indexed(summary) = known
            && let Some(flow) = search.decide_by(segment.base, &summary)
        {
            return Ok(flow);
        }
        // Whether there is a file now is looked up even where there was none, for somebody may have made it.
        if let Some(file) = self.file_of(segment)? {
            if let Some(flow) = search.decide_by(segment.base, &file.summary) {
                return Ok(flow);
            }
            if let Some(positions) = file.positions(hash)? {
                search.scan(segment, segment.base + u64::from(file.summary.covered))?;
                search.take(segment.base, &positions)?;
                return Ok(ControlFlow::Continue(()));
            }
            self.reader.damaged_lookups.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.lost(segment);
        }
        search.scan(segment, segment.base)?;
        Ok(ControlFlow::Continue(()))
    }
}

struct Search<'q, D: Disk> {
    reader: &'q LogReader<D>,
    query: &'q KeyQuery,
    /// Records before this one are searched.
    end: LogOffset,
    /// Newest first.
    found: Vec<Bytes>,
    bytes: usize,
    looked_at: usize,
    scanned: u64,
    matches: KeyMatches,
}

impl<'q, D: Disk> Search<'q, D> {
    fn new(reader: &'q LogReader<D>, query: &'q KeyQuery) -> Self {
        let end = query.before.unwrap_or(LogOffset::MAX);
        let matches = KeyMatches::default();
        Self { reader, query, end, found: Vec::new(), bytes: 0, looked_at: 0, scanned: 0, matches }
    }

    fn is_done(&self) -> bool {
        self.found.len() >= self.query.records_max
            || self.bytes >= ANSWER_BYTES_MAX
            || self.looked_at >= LOOKED_AT_MAX
    }

    fn saw(&mut self, base: LogOffset, summary: &super::Summary) {
        if summary.any {
            self.saw_record(base + u64::from(summary.position), summary.stored);
        }
    }

    fn saw_record(&mut self, log_offset: LogOffset, stored: Millis) {
        if self.matches.last_indexed.is_none_or(|(newest, _)| newest < log_offset) {
            self.matches.last_indexed = Some((log_offset, stored));
        }
    }

    /// What a segment's summary alone can tell: skip it, or search no further. `None`: look into it.
    fn decide_by(&mut self, base: LogOffset, summary: &super::Summary) -> Option<ControlFlow<()>> {
        self.saw(base, summary);
        let whole = self
            .reader
            .segments
            .after(base)
            .is_some_and(|next| next.base == base + u64::from(summary.covered));
        if !whole {
            return None;
        }
        if summary.any && summary.last < self.query.begin {
            return Some(ControlFlow::Break(()));
        }
        let outside = !summary.any || summary.first > self.query.end || base >= self.end;
        outside.then_some(ControlFlow::Continue(()))
    }

    /// Looks at the records at these positions of a segment, which are in log order.
    fn take(&mut self, base: LogOffset, positions: &[u32]) -> Result<(), ReadError> {
        let at = |position: &u32| base + u64::from(*position);
        let mut in_time = positions.partition_point(|position| at(position) < self.end);
        // Store times rise along the log, but where a clock was set back. Mostly the newest is in time already.
        let (mut low, mut middle) = (0, in_time.saturating_sub(1));
        while low < in_time {
            if self.stored_at(at(&positions[middle]))? <= self.query.end {
                low = middle + 1;
            } else {
                in_time = middle;
            }
            middle = low + (in_time - low) / 2;
        }
        for position in positions[..in_time].iter().rev() {
            let log_offset = at(position);
            if self.looked_at == LOOKED_AT_MAX {
                self.left_out(self.reader.start(), log_offset + 1);
            }
            if self.is_done() {
                break;
            }
            self.looked_at += 1;
            let bytes = self.reader.record_at(log_offset)?;
            let record = RecordView::parse(&bytes).map_err(|error| damaged(log_offset, error))?;
            if record.stored() < self.query.begin {
                break;
            }
            if self.matches(&record) {
                self.bytes += bytes.len();
                self.found.push(bytes);
            }
        }
        Ok(())
    }

    /// Looks at all records of a segment from `from` on.
    fn scan(&mut self, segment: &Segment<D::File>, from: LogOffset) -> Result<(), ReadError> {
        let to = segment.end().unwrap_or(LogOffset::MAX).min(self.reader.end());
        if from >= to.min(self.end) || self.is_done() {
            return Ok(());
        }
        let bytes = to - segment.base;
        if self.scanned + bytes > SCAN_BYTES_MAX {
            self.left_out(from, to);
            return Ok(());
        }
        self.scanned += bytes;
        let mut newest: VecDeque<Bytes> = VecDeque::new();
        let mut held = 0;
        let wanted = self.query.records_max - self.found.len();
        let room = ANSWER_BYTES_MAX - self.bytes;
        _ = self.reader.scan_segment(segment, from, to, &mut |record| {
            if record.log_offset() < self.end && self.matches(record) {
                held += record.total_len();
                newest.push_back(Bytes::copy_from_slice(record.bytes()));
                while newest.len() > wanted || (held > room && newest.len() > 1) {
                    held -= newest.pop_front().map_or(0, |oldest| oldest.len());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(last) = newest.back().and_then(|bytes| RecordView::parse(bytes).ok()) {
            self.saw_record(last.log_offset(), last.stored());
        }
        self.bytes += held;
        self.found.extend(newest.into_iter().rev());
        Ok(())
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        let KeyQuery { topic, key, kind, begin, end, .. } = self.query;
        (*begin..=*end).contains(&record.stored()) && terms::is_found_by(record, topic, *kind, key.as_bytes())
    }

    fn stored_at(&self, log_offset: LogOffset) -> Result<Millis, ReadError> {
        let bytes = self.reader.record_at(log_offset)?;
        Ok(RecordView::parse(&bytes).map_err(|error| damaged(log_offset, error))?.stored())
    }

    fn left_out(&mut self, from: LogOffset, to: LogOffset) {
        let (earliest, latest) = self.matches.unsearched.unwrap_or((from, to));
        self.matches.unsearched = Some((earliest.min(from), latest.max(to)));
    }

    fn finish(mut self) -> KeyMatches {
        self.found.reverse();
        self.matches.records = self.found;
        self.matches
    }
}
