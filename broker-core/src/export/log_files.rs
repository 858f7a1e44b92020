//! The files of RocketMQ's log.

use super::{ExportError, write_error};
use halley_model::LogOffset;
use halley_store::BLANK_MAGIC;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Bytes that a file keeps free for the blank at its end (`CommitLog.END_FILE_MIN_BLANK_LENGTH`, 5.5).
const BLANK_BYTES: u64 = 8;

/// Where a record has its physical offset.
const LOG_OFFSET_AT: usize = 28;

/// Writes records one after another; none spans two files.
pub(super) struct LogFiles {
    dir: PathBuf,
    file_bytes: u64,
    base: LogOffset,
    /// Bytes in the file.
    used: u64,
    file: BufWriter<File>,
}

impl LogFiles {
    /// A log that begins with the second file.
    pub(super) fn new(dir: &Path, file_bytes: u64) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(|error| write_error(dir, error))?;
        let file = create(dir, file_bytes)?;
        Ok(Self { dir: dir.to_owned(), file_bytes, base: file_bytes, used: 0, file })
    }

    /// Writes a record with its new physical offset; where it lies.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<LogOffset, ExportError> {
        let bytes = record.len() as u64;
        if bytes + BLANK_BYTES > self.file_bytes {
            return Err(ExportError::TooLong { bytes: record.len(), max: self.file_bytes });
        }
        if self.used + bytes + BLANK_BYTES > self.file_bytes {
            self.roll()?;
        }
        let at = self.base + self.used;
        let parts = [&record[..LOG_OFFSET_AT], &at.to_be_bytes(), &record[LOG_OFFSET_AT + 8..]];
        for part in parts {
            self.file.write_all(part).map_err(|error| write_error(&self.dir, error))?;
        }
        self.used += bytes;
        Ok(at)
    }

    fn roll(&mut self) -> Result<(), ExportError> {
        let rest = (self.file_bytes - self.used) as u32;
        let mut blank = [0; BLANK_BYTES as usize];
        blank[..4].copy_from_slice(&rest.to_be_bytes());
        blank[4..].copy_from_slice(&BLANK_MAGIC.to_be_bytes());
        self.file.write_all(&blank).map_err(|error| write_error(&self.dir, error))?;
        self.close()?;
        self.base += self.file_bytes;
        self.used = 0;
        self.file = create(&self.dir, self.base)?;
        Ok(())
    }

    /// Gives the file the length that RocketMQ wants it to have.
    fn close(&mut self) -> Result<(), ExportError> {
        let mut close = || {
            self.file.flush()?;
            self.file.get_ref().set_len(self.file_bytes)?;
            self.file.get_ref().sync_all()
        };
        close().map_err(|error| write_error(&self.dir, error))
    }

    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.close()
    }
}

fn create(dir: &Path, base: LogOffset) -> Result<BufWriter<File>, ExportError> {
    let path = dir.join(format!("{base:020}"));
    let file = File::create_new(&path).map_err(|error| write_error(&path, error))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}
