//! RocketMQ's commit log, read in place (`CommitLog`, 4.9 and 5.5).
//!
//! Its files hold the log's addresses from the number in their name on, and touch. A file is a sequence of bare records, as
//! `halley_model::record` has them, none of which spans two files: where the next one does not fit, a *blank* ends the
//! file (its size in 4 bytes, [`BLANK_MAGIC`], and what lay there before). What is behind the last record was reserved and never
//! written, or is what a crash left of a write.
//!
//! There are no frames, so a record is believed by what it says itself: its size, its magic number, its own address, lengths that
//! add up, and the CRC of its body. That is RocketMQ's own measure, plus the address.

use crate::{
    disk::{DiskError, DiskFile},
    frame::u32_at,
    reader::{ReadError, damaged},
    segment::Segment,
};
use halley_model::{
    LogOffset, RecordView, light,
    record::{MAGIC_V1, MAGIC_V2, RECORD_BYTES_MIN, flag},
};
use std::ops::ControlFlow;

/// The magic number of the blank at the end of a file (`CommitLog.BLANK_MAGIC_CODE`, 5.5).
pub const BLANK_MAGIC: u32 = 0xCBD4_3194;

/// Longest record that is read, in bytes. RocketMQ's own limit is a setting, 4 MiB of body by default.
const RECORD_BYTES_MAX: usize = 256 << 20;

/// Bytes read at once where records are smaller.
const READ_BYTES: usize = 1 << 20;

/// The bit of a record that holds several messages (`MessageSysFlag.INNER_BATCH_FLAG`, 5.5).
const INNER_BATCH: i32 = 1 << 7;

/// Why there is no further record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// The file's last record is read; a blank follows, or no byte.
    #[error("the file ends here")]
    EndOfFile,
    /// What was reserved and never written.
    #[error("nothing is written here")]
    Nothing,
    /// Something that is not a whole record.
    #[error("{0}")]
    Broken(String),
}

/// Walks over the records of one file.
pub struct Scanner<'f, F> {
    file: &'f F,
    file_base: LogOffset,
    /// The address of the next record.
    at: LogOffset,
    /// The address behind the last byte that may be looked at.
    limit: LogOffset,
    buffer: Vec<u8>,
    /// The address of the buffer's first byte.
    buffer_at: LogOffset,
}

impl<'f, F: DiskFile> Scanner<'f, F> {
    /// A scanner at the record with address `at`, in a file whose first byte has the address `file_base`; `limit` is the address
    /// behind the last byte to look at.
    pub fn new(file: &'f F, file_base: LogOffset, at: LogOffset, limit: LogOffset) -> Self {
        Self { file, file_base, at, limit, buffer: Vec::new(), buffer_at: at }
    }

    /// The address behind the last record.
    pub fn position(&self) -> LogOffset {
        self.at
    }

    /// The next record; `Err` inside where there is none.
    pub fn next_record(&mut self) -> Result<Result<RecordView<'_>, Stop>, DiskError> {
        const HEAD: usize = 8;
        if self.at + HEAD as u64 > self.limit || !self.load(HEAD)? {
            return Ok(Err(Stop::EndOfFile));
        }
        let from = (self.at - self.buffer_at) as usize;
        let (size, magic) = (u32_at(&self.buffer, from) as usize, u32_at(&self.buffer, from + 4));
        match magic {
            MAGIC_V1 | MAGIC_V2 => {}
            BLANK_MAGIC => return Ok(Err(Stop::EndOfFile)),
            0 if size == 0 => return Ok(Err(Stop::Nothing)),
            other => return Ok(Err(broken(format!("0x{other:08X} is not a record's magic number")))),
        }
        if !(RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&size) {
            return Ok(Err(broken(format!("a record cannot have {size} bytes"))));
        }
        if self.at + size as u64 > self.limit || !self.load(size)? {
            return Ok(Err(broken(format!("a record of {size} bytes is cut off"))));
        }
        let from = (self.at - self.buffer_at) as usize;
        let record = match RecordView::parse(&self.buffer[from..from + size]) {
            Ok(record) => record,
            Err(error) => return Ok(Err(broken(error.to_string()))),
        };
        if record.log_offset() != self.at {
            return Ok(Err(broken(format!("the record here says it lies at {}", record.log_offset()))));
        }
        if !record.body().is_empty() && !record.body_is_intact() {
            return Ok(Err(broken("the body does not match its CRC".to_owned())));
        }
        self.at += size as u64;
        Ok(Ok(record))
    }

    /// Makes the next `len` bytes available; `false` where there are not so many.
    fn load(&mut self, len: usize) -> Result<bool, DiskError> {
        let used = (self.at - self.buffer_at) as usize;
        if used + len <= self.buffer.len() {
            return Ok(true);
        }
        self.buffer.drain(..used.min(self.buffer.len()));
        self.buffer_at = self.at;
        let have = self.buffer.len();
        let room = (self.limit - self.at).min(len.max(READ_BYTES) as u64) as usize;
        self.buffer.resize(room.max(have), 0);
        let position = self.at - self.file_base + have as u64;
        let read = self.file.read_at(position, &mut self.buffer[have..])?;
        self.buffer.truncate(have + read);
        Ok(self.buffer.len() >= len)
    }
}

fn broken(reason: String) -> Stop {
    Stop::Broken(reason)
}

/// Whether a record is in its queue: what RocketMQ wrote as prepared or rolled back is in none
/// (`CommitLogDispatcherBuildConsumeQueue`, 5.5). `Err` for kinds of records that this store cannot index.
pub fn is_queued(record: &RecordView<'_>) -> Result<bool, &'static str> {
    if record.system_flag() & INNER_BATCH != 0 {
        return Err(
            "it holds several messages as one record (queue type BatchCQ), which Halley does not read",
        );
    }
    if light::positions_of_rocketmq(record).any(|position| position.is_err()) {
        return Err("it is in queues of other topics than its own, which are no light message queues");
    }
    Ok(!matches!(record.system_flag() & flag::TRANSACTION, 4 | 12))
}

/// Calls `each` for the queued records of a stretch between `from` and `end`, until it breaks off: then where that record ends.
pub(crate) fn each_record<F: DiskFile>(
    segment: &Segment<F>,
    from: LogOffset,
    end: LogOffset,
    each: &mut dyn FnMut(&RecordView<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<LogOffset>, ReadError> {
    let mut scanner = segment.scanner(segment.base, end);
    loop {
        let at = scanner.position();
        let record = match scanner.next_record()? {
            Ok(record) => record,
            Err(Stop::EndOfFile) => return Ok(ControlFlow::Continue(())),
            Err(stop) if at < end => return Err(damaged(at, stop)),
            Err(_) => return Ok(ControlFlow::Continue(())),
        };
        if at >= from && is_queued(&record) == Ok(true) && each(&record).is_break() {
            return Ok(ControlFlow::Break(at + record.total_len() as u64));
        }
    }
}

impl<F: DiskFile> Segment<F> {
    /// A scanner of a stretch of RocketMQ's log from `at` on.
    pub(crate) fn scanner(&self, at: LogOffset, limit: LogOffset) -> Scanner<'_, F> {
        Scanner::new(&self.file, at - self.position(at), at, limit)
    }
}

#[cfg(test)]
mod tests;
