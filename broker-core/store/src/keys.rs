//! The key index: which records have a key. A view of the log like the queue index, but nobody waits for it: it is made by a
//! background thread, segment by segment, and by whoever asks.
//!
//! - Of the segment now being filled it is a table in memory, brought up to date before each search.
//! - Of each sealed segment it is one file, sorted by hash.
//! - Where neither is there, because the file is missing, damaged or not made yet, records are looked for in the log itself.
//!
//! So the write path has no part in it, and what was acknowledged can be found at once.

mod file;
mod find;
mod table;
mod terms;

pub use find::{KeyMatches, KeyQuery};
pub use terms::KeyKind;

pub(crate) use file::{Summary, is_whole, path_of};

use crate::{
    disk::{Disk, DiskError, DiskFile},
    foreign,
    frame::{self, Header, Kind},
    reader::{LogReader, ReadError, damaged},
    scan::Scanner,
    segment::{Keys, START_BYTES, Segment, Start},
};
use halley_model::LogOffset;
use parking_lot::Mutex;
use std::{ops::ControlFlow, sync::Arc};
use table::{ENTRIES_MAX, Table};

/// Finds records by key. Clones are the same index. Every call may read from the disk.
pub struct KeyIndex<D: Disk> {
    disk: Arc<D>,
    reader: LogReader<D>,
    /// Held while the log is read for it; a search waits that long.
    active: Arc<Mutex<Active>>,
    /// Sealed segments before this one have not been checked for their files yet.
    unchecked: Arc<Mutex<LogOffset>>,
    /// Most entries of a table.
    entries_max: usize,
}

impl<D: Disk> Clone for KeyIndex<D> {
    fn clone(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            reader: self.reader.clone(),
            active: Arc::clone(&self.active),
            unchecked: Arc::clone(&self.unchecked),
            entries_max: self.entries_max,
        }
    }
}

/// The segment now being filled, as far as it was read.
struct Active {
    table: Table,
    /// Where reading goes on, and crc and epoch of the frame before; `None` where that is the segment's first frame.
    resume: Option<(LogOffset, (u32, u32))>,
}

impl Active {
    fn new(base: LogOffset, entries_max: usize) -> Self {
        Self { table: Table::new(base, entries_max), resume: None }
    }
}

impl<D: Disk> KeyIndex<D> {
    pub(crate) fn new(disk: Arc<D>, reader: LogReader<D>) -> Self {
        let last = reader.segments.last();
        Self {
            disk,
            reader,
            active: Arc::new(Mutex::new(Active::new(last, ENTRIES_MAX))),
            unchecked: Arc::new(Mutex::new(last)),
            entries_max: ENTRIES_MAX,
        }
    }

    /// Takes in what was acknowledged since the last call, and writes the files of segments that ended. Call it about once a
    /// second: what is in the log's tail in memory then need not be read from the disk.
    pub fn catch_up(&self) -> Result<(), ReadError> {
        self.bring_up(&mut self.active.lock())
    }

    /// Makes sure of the file of one older segment, newest first; whether there may be more to do. Call it from a
    /// thread that has time: without a file a segment of 128 MiB is read.
    pub fn tend_one(&self) -> Result<bool, ReadError> {
        let before = *self.unchecked.lock();
        let Some(segment) = self.reader.segments.before(before) else { return Ok(false) };
        self.tend(&segment)?;
        let mut unchecked = self.unchecked.lock();
        // A search that met damage begins anew.
        if *unchecked == before {
            *unchecked = segment.base;
        }
        Ok(true)
    }

    /// Writes the file of a sealed segment again: the one it has cannot be trusted.
    pub(crate) fn make_again(&self, segment: &Segment<D::File>) -> Result<(), ReadError> {
        self.lost(segment);
        let Some(next) = self.reader.segments.after(segment.base) else { return Ok(()) };
        let mut anew = Active::new(segment.base, self.entries_max);
        self.read(&mut anew, segment, next.base)?;
        self.write(segment, &next, &mut anew.table)
    }

    fn bring_up(&self, active: &mut Active) -> Result<(), ReadError> {
        let end = self.reader.end();
        loop {
            if active.table.base < self.reader.start() {
                // It was behind, and what it was at is removed.
                *active = Active::new(self.reader.start(), self.entries_max);
            }
            let base = active.table.base;
            let segment = self.reader.segment(base, 0)?;
            let next = self.reader.segments.after(base).filter(|next| next.base <= end);
            self.read(active, &segment, next.as_ref().map_or(end, |next| next.base))?;
            let Some(next) = next else { return Ok(()) };
            match self.write(&segment, &next, &mut active.table) {
                Ok(()) => {}
                // Searches read the log until there is room.
                Err(ReadError::Disk(DiskError::Full { .. })) => self.lost(&segment),
                Err(error) => return Err(error),
            }
            *active = Active::new(next.base, self.entries_max);
        }
    }

    fn tend(&self, segment: &Arc<Segment<D::File>>) -> Result<(), ReadError> {
        let Some(next) = self.reader.segments.after(segment.base) else { return Ok(()) };
        if self.file_of(segment)?.is_some() {
            return Ok(());
        }
        let mut anew = Active::new(segment.base, self.entries_max);
        self.read(&mut anew, segment, next.base)?;
        self.write(segment, &next, &mut anew.table)
    }

    /// Takes the records of a segment up to `end` into the table: from memory where they are there.
    fn read(&self, active: &mut Active, segment: &Segment<D::File>, end: LogOffset) -> Result<(), ReadError> {
        if segment.foreign.is_some() {
            return read_foreign(&mut active.table, segment, end);
        }
        let Active { table, resume } = active;
        let first = segment.base + START_BYTES as u64;
        let mut at = resume.map_or(first, |(at, _)| at);
        while at < end && !table.is_full() {
            if let Some(bytes) = self.reader.tail.frame_at(at) {
                let head = bytes.first_chunk().ok_or_else(|| damaged(at, "a frame has no header"))?;
                let header = Header::parse(head).map_err(|error| damaged(at, error))?;
                take(table, &header, at, &bytes)?;
                at += header.length as u64;
                *resume = Some((at, (header.crc, header.epoch)));
                continue;
            }
            let limit = end - segment.base;
            let mut scanner = match *resume {
                Some((at, chain)) => {
                    Scanner::resume(&segment.file, segment.base, at, chain, limit, self.reader.checks)
                }
                None => {
                    let (start, crc) = self.start_of(segment)?;
                    Scanner::new(&segment.file, &start, crc, limit, self.reader.checks)
                }
            };
            loop {
                let found = scanner.next()?.map_err(|error| damaged(at, error))?;
                take(table, &found.header, at, found.bytes)?;
                at = scanner.position();
                *resume = Some((at, (scanner.chain, scanner.epoch)));
                if at >= end || table.is_full() || self.reader.tail.begins_at_or_before(at) {
                    break;
                }
            }
        }
        table.end = table.end.max(at);
        Ok(())
    }

    /// Writes the file of a sealed segment.
    fn write(
        &self,
        segment: &Segment<D::File>,
        next: &Segment<D::File>,
        table: &mut Table,
    ) -> Result<(), ReadError> {
        let next = self.end_of(segment, next)?;
        let summary = Summary { covered: (table.end - table.base) as u32, ..table.summary };
        file::write(&*self.disk, segment.base, &next, &summary, &mut table.entries)?;
        if segment.base < self.reader.start() {
            // It was removed meanwhile, perhaps before there was this file.
            self.disk.remove(&path_of(segment.base))?;
        }
        *segment.keys.write() = Keys::Indexed(summary);
        Ok(())
    }

    /// The file of a sealed segment; `None` where there is none that can be trusted.
    fn file_of(&self, segment: &Arc<Segment<D::File>>) -> Result<Option<file::KeyFile<D::File>>, ReadError> {
        let Some(next) = self.reader.segments.after(segment.base) else { return Ok(None) };
        let next = self.end_of(segment, &next)?;
        let found = file::open(&*self.disk, segment.base, &next)?;
        match &found {
            Some(found) => *segment.keys.write() = Keys::Indexed(found.summary),
            None => self.lost(segment),
        }
        Ok(found)
    }

    /// A segment's file is missing or damaged: it is to be made anew.
    fn lost(&self, segment: &Segment<D::File>) {
        *segment.keys.write() = Keys::Missing;
        let mut unchecked = self.unchecked.lock();
        *unchecked = (*unchecked).max(segment.base + 1);
    }

    fn end_of(&self, segment: &Segment<D::File>, next: &Segment<D::File>) -> Result<file::Ended, ReadError> {
        let chain = match segment.foreign {
            Some(fingerprint) => fingerprint,
            None => self.start_of(next)?.0.chain,
        };
        Ok(file::Ended { base: next.base, chain })
    }

    fn start_of(&self, segment: &Segment<D::File>) -> Result<(Start, u32), ReadError> {
        Start::read(&segment.file, segment.base)?.map_err(|reason| damaged(segment.base, reason))
    }
}

/// Takes the records of a stretch of RocketMQ's log into the table.
fn read_foreign<F: DiskFile>(
    table: &mut Table,
    segment: &Segment<F>,
    end: LogOffset,
) -> Result<(), ReadError> {
    let mut full_at = end;
    _ = foreign::each_record(segment, segment.base, end, &mut |record| {
        if table.is_full() {
            full_at = record.log_offset();
            return ControlFlow::Break(());
        }
        table.add(record);
        ControlFlow::Continue(())
    })?;
    table.end = full_at;
    Ok(())
}

fn take(table: &mut Table, header: &Header, at: LogOffset, bytes: &[u8]) -> Result<(), ReadError> {
    if header.kind == Kind::Records {
        frame::for_each_record(bytes, header, at, |record| {
            table.add(record);
            Ok(())
        })
        .map_err(|reason| damaged(at, reason))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
