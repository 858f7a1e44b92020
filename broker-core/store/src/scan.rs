//! Reading a segment frame by frame, checking each.

mod behind;

pub(crate) use behind::{durable_beyond, resume};

use crate::{
    disk::{DiskError, DiskFile},
    frame::{self, FrameError, HEADER_BYTES, Header, Kind},
    segment::{START_BYTES, Start},
};
use halley_model::LogOffset;

/// Bytes read at once where frames are smaller.
const READ_BYTES: usize = 256 << 10;

/// Walks over the frames behind a segment's start frame.
pub(crate) struct Scanner<'f, F> {
    file: &'f F,
    base: LogOffset,
    /// Bytes of the file that may be looked at.
    limit: u64,
    /// Position in the file of the next frame.
    at: u64,
    /// Crc and epoch of the frame before it.
    pub(crate) chain: u32,
    pub(crate) epoch: u32,
    /// Up to where the last frame says that the log was durable before it.
    pub(crate) durable: LogOffset,
    checks: Checks,
    /// Whether the bytes are not expected to be wanted again soon.
    once: bool,
    buffer: Vec<u8>,
    /// Position in the file of the buffer's first byte.
    buffer_at: u64,
}

/// Which checks a scan makes; all, but where a bug is planted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checks {
    pub(crate) crc: bool,
    pub(crate) chain: bool,
}

/// All checks.
pub(crate) const CHECKS: Checks = Checks { crc: true, chain: true };

/// A checked frame.
pub(crate) struct Found<'s> {
    /// Its address in the log.
    pub(crate) at: LogOffset,
    pub(crate) header: Header,
    /// All its bytes.
    pub(crate) bytes: &'s [u8],
}

impl<'f, F: DiskFile> Scanner<'f, F> {
    /// A scanner behind the segment's start frame, which was checked and has the crc `start_crc`.
    pub(crate) fn new(file: &'f F, start: &Start, start_crc: u32, limit: u64, checks: Checks) -> Self {
        Self {
            file,
            base: start.base,
            limit,
            at: START_BYTES as u64,
            chain: if checks.chain { start_crc } else { 0 },
            epoch: start.epoch,
            durable: start.base.saturating_sub(start.unsynced),
            checks,
            once: false,
            buffer: Vec::new(),
            buffer_at: 0,
        }
    }

    /// A scanner at `at`, behind a frame of this crc and epoch.
    pub(crate) fn resume(
        file: &'f F,
        base: LogOffset,
        at: LogOffset,
        (chain, epoch): (u32, u32),
        limit: u64,
        checks: Checks,
    ) -> Self {
        let chain = if checks.chain { chain } else { 0 };
        let at = at - base;
        let (once, buffer) = (false, Vec::new());
        Self { file, base, limit, at, chain, epoch, durable: 0, checks, once, buffer, buffer_at: 0 }
    }

    /// Reads past the system's cache where it can.
    pub(crate) fn once(self, once: bool) -> Self {
        Self { once, ..self }
    }

    /// The address behind the last good frame.
    pub(crate) fn position(&self) -> LogOffset {
        self.base + self.at
    }

    /// The next frame; `Err` inside where none that may follow stands there.
    pub(crate) fn next(&mut self) -> Result<Result<Found<'_>, FrameError>, DiskError> {
        if self.at == self.limit {
            return Ok(Err(FrameError::Nothing));
        }
        if !self.load(HEADER_BYTES)? {
            // Fewer bytes than a header: the rest of a reservation where all are zero.
            let rest = (self.limit - self.at) as usize;
            self.load(rest)?;
            let clean = self.loaded(rest).iter().all(|byte| *byte == 0);
            return Ok(Err(if clean { FrameError::Nothing } else { FrameError::CutOff }));
        }
        let head = self.loaded(HEADER_BYTES).try_into().expect("a header was loaded");
        let header = match Header::parse(head) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error)),
        };
        if !self.load(header.length)? {
            return Ok(Err(FrameError::CutOff));
        }
        if let Err(error) = self.check(&header) {
            return Ok(Err(error));
        }
        let at = self.position();
        let from = (self.at - self.buffer_at) as usize;
        self.at += header.length as u64;
        self.chain = if self.checks.chain { header.crc } else { 0 };
        self.epoch = header.epoch;
        self.durable = self.durable.max(at.saturating_sub(header.unsynced));
        Ok(Ok(Found { at, header, bytes: &self.buffer[from..from + header.length] }))
    }

    fn check(&self, header: &Header) -> Result<(), FrameError> {
        if self.checks.crc && frame::crc_of(self.loaded(header.length), self.chain) != header.crc {
            return Err(FrameError::Crc);
        }
        if self.checks.chain && header.epoch < self.epoch {
            return Err(FrameError::Epoch { found: header.epoch, before: self.epoch });
        }
        match header.kind {
            Kind::SegmentStart => Err(FrameError::Start),
            Kind::Records | Kind::Open => Ok(()),
        }
    }

    /// Makes the next `len` bytes available; `false` where there are not so many.
    fn load(&mut self, len: usize) -> Result<bool, DiskError> {
        let have_to = self.buffer_at + self.buffer.len() as u64;
        if self.at + len as u64 <= have_to {
            return Ok(true);
        }
        if self.at + len as u64 > self.limit {
            return Ok(false);
        }
        let used = (self.at - self.buffer_at).min(self.buffer.len() as u64) as usize;
        self.buffer.drain(..used);
        self.buffer_at = self.at;
        let have = self.buffer.len();
        let room = (self.limit - self.at).min(len.max(READ_BYTES) as u64) as usize;
        self.buffer.resize(room, 0);
        let (at, into) = (self.at + have as u64, &mut self.buffer[have..]);
        let read = if self.once { self.file.read_once_at(at, into)? } else { self.file.read_at(at, into)? };
        self.buffer.truncate(have + read);
        Ok(self.buffer.len() >= len)
    }

    fn loaded(&self, len: usize) -> &[u8] {
        let from = (self.at - self.buffer_at) as usize;
        &self.buffer[from..self.buffer.len().min(from + len)]
    }
}
